"""The floors of docs/design.md hold in the code: the table there is what this module reads."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import hutch

PACKAGE = Path(hutch.__file__).parent
DESIGN = Path(__file__).parent.parent / "docs" / "design.md"
ROW = re.compile(r"^\| *(\d+) *\| *((?:`[\w.]+`(?: *, *| *→ *| *· *)?)+) *\|")

# What importing hutch must leave alone: what is seldom needed (a view of sorted keys, a rebuild, a report)
# is imported by the statement that needs it. `typing` brings `re` along up to Python 3.12.
HEAVY = {
    "ast",
    "asyncio",
    "click",
    "concurrent.futures",
    "dataclasses",
    "dbm",
    "decimal",
    "hashlib",
    "importlib.metadata",
    "inspect",
    "json",
    "logging",
    "multiprocessing",
    "pathlib",
    "random",
    "rich",
    "secrets",
    "shelve",
    "shutil",
    "socket",
    "sortedcontainers",
    "sqlite3",
    "subprocess",
    "tempfile",
    "traceback",
    "unicodedata",
    "urllib",
}


class Floor(NamedTuple):
    """A row of the table: its modules, each of which may use those to its left unless they are strangers."""

    number: int
    modules: list[str]
    strangers: bool


class Import(NamedTuple):
    """One module that another names in an import statement."""

    module: str
    line: int
    typing_only: bool


def read_floors(text: str) -> list[Floor]:
    rows = [(ROW.match(line), line) for line in text.splitlines()]
    return [
        Floor(int(match[1]), re.findall(r"`([\w.]+)`", match[2]), "→" not in match[2] and "·" in match[2])
        for match, _ in rows
        if match
    ]


def module_name(path: Path) -> str:
    """`__init__` and `__main__` keep their names; a module of a subpackage is named by the whole path."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and parts[-1] == "__init__" else parts)


def placed(module: str, floors: list[Floor]) -> tuple[int, int] | None:
    """Where a module stands: floor and place on it. A subpackage takes its modules along."""
    for floor in floors:
        for place, name in enumerate(floor.modules):
            if module == name or module.startswith(name + "."):
                return floor.number, place
    return None


def is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def imports_of(tree: ast.AST, known: set[str], typing_only: bool = False) -> Iterator[Import]:
    """Every module of hutch that an import statement names, inside functions too."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "hutch":
                    yield Import(alias.name.removeprefix("hutch").lstrip(".") or "__init__", node.lineno, typing_only)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: relative imports hide the floor"
            base, _, rest = (node.module or "").partition(".")
            if base != "hutch":
                continue
            for alias in node.names:
                name = f"{rest}.{alias.name}" if rest else alias.name
                yield Import(name if name in known else rest or "__init__", node.lineno, typing_only)
        elif isinstance(node, ast.If) and is_type_checking(node.test):
            for part, only in ((node.body, True), (node.orelse, typing_only)):
                yield from imports_of(ast.Module(part, []), known, only)
        else:
            yield from imports_of(node, known, typing_only)


def complaint(user: str, used: Import, floors: list[Floor]) -> str | None:
    """Why `user` may not import `used`, or None."""
    here, there = placed(user, floors), placed(used.module, floors)
    if here is None or there is None:
        return f"{user if here is None else used.module} stands on no floor of docs/design.md"
    if here == there or there[0] < here[0]:
        return None
    if there[0] > here[0]:
        return f"floor {here[0]} imports {used.module} of floor {there[0]}"
    if next(floor for floor in floors if floor.number == here[0]).strangers:
        return f"the modules of floor {here[0]} are to know nothing of one another, but it imports {used.module}"
    if there[1] > here[1] and not used.typing_only:
        return f"{used.module} stands to its right on floor {here[0]}"
    return None


FLOORS = read_floors(DESIGN.read_text(encoding="utf-8"))
SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
USES = {
    name: list(imports_of(ast.parse(path.read_text(encoding="utf-8")), set(SOURCES))) for name, path in SOURCES.items()
}


def test_the_table_is_read() -> None:
    assert [floor.number for floor in FLOORS] == sorted({floor.number for floor in FLOORS})
    assert len(FLOORS) >= 8
    assert [floor.number for floor in FLOORS if floor.strangers] == [0, 2]


def test_every_module_stands_on_one_floor() -> None:
    listed = [name for floor in FLOORS for name in floor.modules]
    assert len(listed) == len(set(listed)), "a module stands on two floors"
    homeless = [name for name in SOURCES if placed(name, FLOORS) is None]
    assert not homeless, f"give these a floor in docs/design.md: {homeless}"
    gone = [name for name in listed if name not in SOURCES]
    assert not gone, f"docs/design.md gives a floor to what does not exist: {gone}"


@pytest.mark.parametrize("module", SOURCES)
def test_imports_go_down(module: str) -> None:
    complaints = [
        f"{SOURCES[module]}:{used.line}: {reason}"
        for used in USES[module]
        if (reason := complaint(module, used, FLOORS)) is not None
    ]
    assert not complaints, "\n".join(complaints)


def test_no_module_needs_itself() -> None:
    """No cycle of imports, not even a deferred one; the modules of a subpackage are looked at one by one."""
    needs = {name: {used.module for used in uses if not used.typing_only} & set(SOURCES) for name, uses in USES.items()}
    while leaves := [name for name, used in needs.items() if not used & needs.keys()]:
        for name in leaves:
            del needs[name]
    assert not needs, f"these import one another: {needs}"


@pytest.mark.parametrize(
    ("user", "source", "said"),
    [
        ("low", "from hutch import high", "of floor 3"),
        ("low", "from hutch.high import name", "of floor 3"),
        ("low", "import hutch.high", "of floor 3"),
        ("low", "def f():\n    from hutch.high import name", "of floor 3"),
        ("low", "if TYPE_CHECKING:\n    from hutch.high import name", "of floor 3"),
        ("low", "import hutch", "of floor 4"),
        ("left", "from hutch.right import name", "to its right"),
        ("one", "from hutch import two", "know nothing"),
        ("one", "if TYPE_CHECKING:\n    from hutch import two", "know nothing"),
        ("stray", "from hutch import low", "no floor"),
        ("high", "from hutch import stray", "of floor 4"),
        ("high", "from hutch.stray import name", "no floor"),
        ("right", "from hutch.left import name", None),
        ("left", "if TYPE_CHECKING:\n    from hutch.right import name", None),
        ("high.part", "from hutch.high import name\nfrom hutch.one import name\nimport os", None),
    ],
)
def test_a_breach_is_seen(user: str, source: str, said: str | None) -> None:
    floors = read_floors(
        "| 0 | `low` | a |\n| 1 | `left` → `right` | b |\n| 2 | `one` · `two` | c |\n| 3 | `high` | d |\n"
        "| 4 | `__init__` | e |\n"
    )
    known = {"low", "left", "right", "one", "two", "high", "__init__"}
    found = [reason for used in imports_of(ast.parse(source), known) if (reason := complaint(user, used, floors))]
    assert found == [] if said is None else said in found[0]


def test_importing_hutch_loads_nothing_heavy() -> None:
    """In an interpreter without site, whose own start may have loaded some of these."""
    program = (
        "import sys; sys.path[:] = sys.argv[1:]; before = set(sys.modules); "
        "import hutch, hutch.dbm; hutch.open; print(*sorted(set(sys.modules) - before))"
    )
    command = [sys.executable, "-I", "-S", "-c", program, str(PACKAGE.parent), *filter(None, sys.path)]
    loaded = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert {"hutch.shelf", "hutch.store"} <= set(loaded)
    assert not HEAVY & set(loaded), "import these where they are needed, not with hutch"
