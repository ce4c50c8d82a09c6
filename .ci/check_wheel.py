"""Check what is in the wheel: the package with its type marker, and nothing beside it.

Usage: check_wheel.py WHEEL
"""

import sys
from pathlib import Path
from zipfile import ZipFile


def main(wheel: str) -> str | None:
    """Return what is wrong with `wheel`, or None."""
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    if "hutch/py.typed" not in names:
        return "the wheel lacks hutch/py.typed: type checkers would ignore its annotations"
    strangers = sorted(name for name in names if not name.startswith(("hutch/", "hutch-")))
    if strangers:
        return f"the wheel installs more than the package: {', '.join(strangers)}"
    source = Path(__file__).parent.parent / "src"
    missing = {path.relative_to(source).as_posix() for path in source.rglob("*.py")} - names
    if missing:
        return f"the wheel lacks modules: {', '.join(sorted(missing))}"
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
