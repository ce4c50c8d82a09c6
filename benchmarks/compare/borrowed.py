"""Extension modules that another build of the same Python has, such as Debian's.

A Python built from source has no ``_gdbm`` and ``_dbm`` unless their headers were there. Debian's packages
(python3-gdbm, python3-tkrzw; ``_dbm`` comes with libpython3) hold them for its own Python, and a module compiled for
one build of a minor version works in the others. They are linked into a folder that goes on ``PYTHONPATH``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

NAMES = ("_gdbm", "_dbm", "tkrzw")
_PLACES = ("/usr/lib/python3/dist-packages", "/usr/lib/python3.{minor}/lib-dynload")


def lend(folder: str, suffix: str, minor: int, names: Sequence[str] = NAMES, places: Sequence[str] = _PLACES) -> str:
    """Make a folder with what can be borrowed.

    Args:
        folder: the new one goes there.
        suffix: how the interpreter's extension modules end.
        minor: its minor version.
        names: of modules that it lacks.
        places: where another build of it has modules.

    Returns:
        The folder, which may have stayed empty.
    """
    lent = os.path.join(folder, f"borrowed-3.{minor}")
    os.makedirs(lent, exist_ok=True)
    for name in names:
        for place in places:
            source = Path(place.format(minor=minor)) / (name + suffix)
            target = Path(lent) / source.name
            if source.exists() and not target.exists():
                target.symlink_to(source)
    return lent
