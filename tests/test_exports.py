"""The public names are the ones that docs/api.md lists, no more and no fewer: exports, methods, options, fields."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import hutch
import hutch.dbm
from hutch import reports

API = Path(__file__).parent.parent / "docs" / "api.md"
# A module's table stands under a heading of its name; a row begins with the name it exports.
HEADING = re.compile(r"^## `(hutch[\w.]*)`")
ROW = re.compile(r"^\| *`(\w+)`")


SECTION = re.compile(r"^## ", re.MULTILINE)
CALL = re.compile(r"`(\w+)\(")
NAME = re.compile(r"`(\w+)`")

PAGE = API.read_text(encoding="utf-8")


def section(title: str) -> str:
    return next(part for part in SECTION.split(PAGE) if part.startswith(title + "\n"))


def first_cells(text: str, column: str) -> str:
    """The first cells of the table whose first column has this title."""
    lines = text[text.index(f"| {column} |") :].partition("\n\n")[0].splitlines()[2:]
    return "\n".join(line.split(" | ")[0] for line in lines)


def public(kind: type) -> set[str]:
    """Public names of a class, but for what every mapping has."""
    return {name for name in dir(kind) if not name.startswith("_")}


def read_api(text: str) -> dict[str, list[str]]:
    """The names in the first table under the heading of each module."""
    names: dict[str, list[str]] = {}
    here: list[str] | None = None
    for line in text.splitlines():
        if heading := HEADING.match(line):
            here = names.setdefault(heading[1], [])
        elif row := ROW.match(line):
            if here is not None:
                here.append(row[1])
        elif here and not line.startswith("|"):
            here = None  # behind the table
    return names


LISTED = read_api(PAGE)


def test_the_public_modules_are_listed() -> None:
    assert list(LISTED) == ["hutch", "hutch.dbm", "hutch.codecs", "hutch.foreign", "hutch.errors"]


@pytest.mark.parametrize("name", LISTED)
def test_exports_are_what_the_docs_list(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(LISTED[name]) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("name", LISTED)
def test_every_export_is_there_and_says_what_it_is(name: str) -> None:
    module = importlib.import_module(name)
    for export in module.__all__:
        thing = getattr(module, export)
        if inspect.isclass(thing) or inspect.isroutine(thing):
            assert inspect.getdoc(thing), f"{name}.{export} has no docstring"


@pytest.mark.parametrize("name", LISTED)
def test_public_methods_say_what_they_do(name: str) -> None:
    module = importlib.import_module(name)
    mute = [
        f"{name}.{export}.{method}"
        for export in module.__all__
        if inspect.isclass(getattr(module, export))
        for method, thing in vars(getattr(module, export)).items()
        if not method.startswith("_") and inspect.isroutine(thing) and not inspect.getdoc(thing)
    ]
    assert not mute


def test_star_import_takes_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from hutch import *", names)
    names.pop("__builtins__")
    assert sorted(names) == sorted(LISTED["hutch"])


@pytest.mark.parametrize("kind", [hutch.dbm.Database, hutch.Shelf], ids=lambda kind: kind.__name__)
def test_methods_and_attributes_are_what_the_docs_list(kind: type) -> None:
    text = section(f"Methods of `{kind.__module__.replace('.shelf', '')}.{kind.__name__}`")
    methods = set(CALL.findall(first_cells(text, "method")))
    attributes = set(NAME.findall(first_cells(text, "attribute")))
    assert not methods & attributes
    with_instance = public(kind) | ({"cache", "cache_size", "dict", "keyencoding", "serializer", "deserializer",
                                     "writeback"} if kind is hutch.Shelf else set())  # fmt: skip
    assert methods | attributes == with_instance
    assert all(callable(getattr(kind, name)) for name in methods)


@pytest.mark.parametrize(
    ("title", "column", "record"),
    [
        ("What `check` returns", "field of the report", reports.CheckReport),
        ("What `check` returns", "field of a problem", reports.Problem),
        ("What `statistics` returns", "field of the statistics", reports.Statistics),
    ],
)
def test_fields_are_what_the_docs_list(title: str, column: str, record: type) -> None:
    listed = NAME.findall(first_cells(section(title), column))
    assert len(listed) == len(set(listed))
    assert set(listed) == public(record)


@pytest.mark.parametrize("function", [hutch.open, hutch.Shelf, hutch.dbm.open], ids=lambda f: f.__module__ + f.__name__)
def test_options_are_what_the_docs_list(function: Callable[..., object]) -> None:
    """Each signature in the page is that of the code: names, order, kinds and defaults."""
    name = function.__name__
    title = "`hutch.dbm`" if function is hutch.dbm.open else "`hutch`"
    match = re.search(rf"`{name}\(([^`]*)\)`", section(title))
    assert match is not None
    written: dict[str, object] = {}
    exec(f"def {name}({match[1]}): pass", written)
    there = inspect.signature(written[name]).parameters.values()  # type: ignore[arg-type]
    here = inspect.signature(function).parameters.values()
    assert [(p.name, p.kind, p.default) for p in there] == [(p.name, p.kind, p.default) for p in here]
