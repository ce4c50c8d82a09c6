"""What README.md shows is true: its examples run, and its files are there."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
DOCUMENTS = [README, *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLE = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!\w+:)([^)#]+)")


def test_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One session from top to bottom, as a reader would type it."""
    monkeypatch.chdir(tmp_path)
    text = README.read_text(encoding="utf-8")
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    names: dict[str, object] = {}
    report: list[str] = []
    for block in EXAMPLE.finditer(text):
        line = text.count("\n", 0, block.start(1))
        test = doctest.DocTestParser().get_doctest(block[1], names, "README.md", str(README), line)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
    assert runner.tries > 5
    assert not runner.failures, "".join(report)


def test_starts_with_the_two_commands() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    commands = [line.partition("#")[0].strip() for line in lines[lines.index("```sh") + 1 : lines.index("```")]]
    assert commands == ["pip install '.[cli]' && hutch demo", "pip install '.[test]' && pytest"]
    assert lines.index("```sh") < 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name} links to {target}, which is not there"
