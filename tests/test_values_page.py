"""docs/values.md: every answer there is run as it stands, each section in a folder of its own, and its links lead on."""

from __future__ import annotations

import doctest
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import hutch.codecs

PAGE = Path(__file__).parent.parent / "docs" / "values.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")[1:]}
EXAMPLE = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MEASURED = "Sizes and speeds"


@pytest.fixture
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """What a reader has who types the examples: an empty folder, ``__main__``, and warnings on the screen."""
    main = ModuleType("__main__")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", main)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("default", hutch.errors.UnstoredChangeWarning)
        monkeypatch.setattr(warnings, "showwarning", show)
        yield main


def show(message: Warning | str, kind: type[Warning], filename: str, lineno: int, *rest: object) -> None:
    assert filename.startswith("<doctest ")
    print(f"<stdin>:{lineno}: {kind.__name__}: {message}")


@pytest.mark.parametrize("title", [title for title in SECTIONS if title != MEASURED])
def test_a_section(title: str, prompt: ModuleType) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE | doctest.ELLIPSIS)
    report: list[str] = []
    for block in EXAMPLE.finditer(SECTIONS[title]):
        line = TEXT.count("\n", 0, TEXT.index(SECTIONS[title]) + block.start(1))
        test = doctest.DocTestParser().get_doctest(block[1], {}, title, str(PAGE), line)
        test.globs = vars(prompt)
        runner.run(test, out=report.append, clear_globs=False)
    assert runner.tries
    assert not runner.failures, "".join(report)
