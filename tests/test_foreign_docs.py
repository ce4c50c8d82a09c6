"""docs/migrating.md: every recipe there is run as it stands, and its table tells the truth."""

from __future__ import annotations

import doctest
import gc
import os
import pickle
import re
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hutch
from hutch.foreign import READABLE, WRITABLE
from test_foreign import HASHES, OTHERS, TREES, unpacked

PAGE = Path(__file__).parent.parent / "docs" / "migrating.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in TEXT.split("\n## ")}
EXAMPLE = re.compile(r"^```pycon\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def make_gnu(folder: Path) -> None:
    os.rename(unpacked("gnu_shelf", folder), folder / "inventory.gdbm")


def make_ndbm(folder: Path) -> None:
    os.rename(unpacked("ndbm_phones", folder), folder / "phones.db")


def make_sqlite3(folder: Path) -> None:
    connection = sqlite3.connect(folder / "words")
    connection.execute("CREATE TABLE Dict (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)")
    connection.execute("INSERT INTO Dict VALUES (?, ?)", (b"spam", pickle.dumps(2)))
    connection.commit()
    connection.close()


SETUP: dict[str, Callable[[Path], None]] = {
    "From dbm.gnu": make_gnu,
    "From dbm.ndbm": make_ndbm,
    "From dbm.sqlite3": make_sqlite3,
    "In a shell": make_gnu,
}


@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")  # diskcache leaves one, also when it is closed
@pytest.mark.parametrize("title", [title for title, section in SECTIONS.items() if EXAMPLE.search(section)])
def test_a_recipe(title: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    SETUP.get(title, lambda folder: None)(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE)
    names: dict[str, object] = {}
    report: list[str] = []
    for block in EXAMPLE.finditer(SECTIONS[title]):
        test = doctest.DocTestParser().get_doctest(block[1], names, title, str(PAGE), 0)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
    names.clear()
    gc.collect()  # here, where the filter holds
    assert runner.tries
    assert not runner.failures, "".join(report)


def test_the_shell(tmp_path: Path) -> None:
    SETUP["In a shell"](tmp_path)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(hutch.__file__).parent.parent), *sys.path])}
    lines = [line for block in SHELL.finditer(TEXT) for line in block[1].splitlines()]
    assert len(lines) >= 4
    for line in lines:
        program, *arguments = shlex.split(line)
        assert program == "hutch"
        done = subprocess.run(
            [sys.executable, "-m", "hutch", *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert not done.returncode, (line, done.stdout, done.stderr)
    with hutch.open(tmp_path / "copy", "r") as shelf:
        assert dict(shelf) == {"apples": {"count": 3}}


def test_the_table_tells_the_truth() -> None:
    reads: dict[str, bool] = {}
    writes: dict[str, bool] = {}
    for row in re.findall(r"^\|([^|]+)\|([^|]+)\|([^|]+)\|([^|]+)\|$", TEXT, re.MULTILINE)[2:]:
        for kind in re.findall(r"`([\w.]+)`", row[1].partition(",")[0] if "any other" in row[0] else row[1]):
            if "any other" not in row[0]:
                reads[kind] = row[2].strip() == "yes"
                writes[kind] = row[3].strip().startswith("yes")
    assert {kind for kind, is_read in reads.items() if is_read} == READABLE | {"hutch.dbm"}
    assert {kind for kind, is_written in writes.items() if is_written} == WRITABLE | {"hutch.dbm"}
    assert {*HASHES.values(), *TREES.values(), *OTHERS.values()} <= reads.keys()


def test_every_section_with_a_library_has_an_example() -> None:
    assert all(EXAMPLE.search(section) for title, section in SECTIONS.items() if title.startswith("From "))
