"""docs/values.md: every answer there is run as it stands, each section in a folder of its own; its tables are whole."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
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


def test_every_codec_has_an_answer() -> None:
    needs = TEXT.partition("\n## ")[0]
    for name in set(hutch.codecs.__all__) - {"Pieces"}:
        assert f"`{name}" in needs


def test_links_within_the_page() -> None:
    places = {re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-") for title in SECTIONS}
    links = re.findall(r"\]\(#([^)]+)\)", TEXT)
    assert places == set(links)


def measured(text: str) -> tuple[str, list[str], str]:
    """What stands before, between and behind the markers."""
    head, begin, rest = text.partition("<!-- measured: begin.")
    tables, end, tail = rest.partition("<!-- measured: end -->")
    assert begin
    assert end
    return head, tables.splitlines()[1:], tail


def test_the_tables_are_measured_and_written_into_the_page(tmp_path: Path) -> None:
    """By the command that the page names; once for each figure, which is enough to see that it works."""
    page = tmp_path / "values.md"
    page.write_text(TEXT, encoding="utf-8")
    folder = tmp_path / "shelves"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(hutch.__file__).parent.parent), *sys.path])}
    command = [
        sys.executable,
        "-m",
        "benchmarks.codecs",
        "--seconds",
        "0",
        "--page",
        str(page),
        "--folder",
        str(folder),
    ]
    done = subprocess.run(
        command, cwd=PAGE.parent.parent, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert not done.returncode, done.stderr
    assert not list(folder.iterdir())
    old, new = measured(TEXT), measured(page.read_text(encoding="utf-8"))
    assert (old[0], old[2]) == (new[0], new[2])
    assert "\n".join(new[1]) == done.stdout.removesuffix("\n")

    def names(lines: list[str]) -> list[str]:
        return [line.split("|")[1].strip() for line in lines if line.startswith("|")]

    assert names(old[1]) == names(new[1])
    for name in set(hutch.codecs.__all__) - {"Codec", "Pieces"}:
        assert sum(cell.startswith(f"`{name}(") for cell in names(new[1])) >= 2


def test_a_page_without_markers_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(PAGE.parent.parent)
    from benchmarks.codecs import rewrite

    with pytest.raises(ValueError, match="the page has no"):
        rewrite("# Values\n", "tables")
