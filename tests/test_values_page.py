"""docs/values.md: every answer there is run as it stands, each section in a folder of its own; its tables are whole."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
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
def prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """What a reader has who types the examples: an empty folder, and ``__main__``, where their classes are found."""
    main = ModuleType("__main__")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "__main__", main)
    return main


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


def test_the_program_that_forgets_to_store(tmp_path: Path) -> None:
    """It says on the screen what the page says."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (expected,) = re.findall(r"^```text\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    (tmp_path / "cook.py").write_text(program, encoding="utf-8")
    done = run(["cook.py"], tmp_path)
    assert doctest.OutputChecker().check_output(expected, done.stderr.replace(f"{tmp_path}/", ""), doctest.ELLIPSIS)


def run(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """A Python with this hutch."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(hutch.__file__).parent.parent), *sys.path])}
    environment.pop("PYTHONWARNINGS", None)
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert not done.returncode, done.stderr
    return done


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
    options = ["--seconds", "0", "--page", str(page), "--folder", str(folder)]
    done = run(["-m", "benchmarks.codecs", *options], PAGE.parent.parent)
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
