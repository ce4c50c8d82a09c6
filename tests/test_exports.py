"""The public names are the ones that docs/api.md lists, no more and no fewer."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

API = Path(__file__).parent.parent / "docs" / "api.md"
# A module's table stands under a heading of its name; a row begins with the name it exports.
HEADING = re.compile(r"^## `(hutch[\w.]*)`")
ROW = re.compile(r"^\| *`(\w+)`")


def read_api(text: str) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    here: list[str] = []
    for line in text.splitlines():
        if heading := HEADING.match(line):
            here = names.setdefault(heading[1], [])
        elif row := ROW.match(line):
            here.append(row[1])
    return names


LISTED = read_api(API.read_text(encoding="utf-8"))


def test_the_public_modules_are_listed() -> None:
    assert list(LISTED) == ["hutch", "hutch.dbm", "hutch.errors"]


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
