"""Every command on a damaged, a huge, an empty and a foreign database, and others: how it ends, and what it leaves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from command_line import Answer, command, make_all, make_giant
from hutch import dbm
from hutch.cli.app import _COMMANDS

# A key of each database: the damaged one, one 200 GiB into the file, none, and so on.
KEYS = {
    "damaged": "key2",
    "giant": "far",
    "empty": "none",
    "foreign": "one",
    "mixed": "sealed",
    "stdlib": "pears",
    "stock": "apples",
}
# NAME and KEY are those above. Exit codes in the order of KEYS: 1 no such key, or a difference; 3 damage; 4 not in this
# form; 5 a value that cannot be read.
CODES = {
    "get NAME KEY": (3, 0, 1, 0, 5, 0, 0),
    "inspect NAME KEY": (3, 0, 1, 0, 0, 0, 0),
    "keys NAME": (0, 0, 0, 0, 0, 0, 0),
    "items NAME": (3, 0, 0, 0, 5, 0, 0),
    "len NAME": (0, 0, 0, 0, 0, 0, 0),
    "stat NAME": (0, 0, 0, 0, 0, 0, 0),
    "check NAME": (3, 0, 0, 0, 0, 0, 0),
    "check NAME --values": (3, 5, 0, 5, 5, 5, 0),
    "check NAME --fix": (0, 0, 0, 4, 0, 0, 0),
    "classes NAME": (3, 0, 0, 0, 5, 0, 0),
    "dump NAME": (3, 0, 0, 0, 0, 0, 0),
    "dump NAME file": (3, 0, 0, 0, 0, 0, 0),
    "diff NAME NAME": (3, 0, 0, 0, 0, 0, 0),
    "diff NAME stock": (3, 1, 1, 1, 1, 1, 0),
    "shell NAME -c print(len(shelf))": (0, 0, 0, 0, 0, 0, 0),
    "backup NAME copy": (3, 0, 0, 4, 0, 0, 0),
    "convert NAME copy": (3, 0, 0, 0, 0, 0, 0),
    "convert NAME copy.sqlite": (3, 0, 0, 0, 0, 0, 0),
    "convert NAME copy.jsonl": (3, 0, 0, 0, 0, 0, 0),
    "set NAME new value --codec raw": (0, 0, 0, 0, 0, 0, 0),
    "del NAME KEY": (0, 0, 1, 0, 0, 0, 0),
    "load NAME dump": (0, 0, 0, 0, 0, 0, 0),
    "recode NAME --compress zlib": (3, 0, 0, 0, 5, 0, 0),
    "reorganize NAME": (0, 0, 0, 4, 0, 0, 0),
}
WRITES = ("check NAME --fix", "set", "del", "load", "recode")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_all(folder)
    (folder / "dump").write_text(command("dump", folder / "stock").out)
    return folder


@pytest.fixture
def own(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in world.iterdir():
        if not file.name.startswith(("big", "giant")):
            shutil.copy(file, tmp_path)
    make_giant(tmp_path / "giant")  # a copy would not be a hole
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, name: str) -> Answer:
    return command(*line.replace("NAME", name).replace("KEY", KEYS[name]).split(" ", 3 if "shell" in line else -1))


def contents(name: str) -> dict[bytes, bytes | None]:
    """What is in it; None for what is damaged."""
    found: dict[bytes, bytes | None] = {}
    with dbm.open(name, "r") as database:
        for key in database:
            try:
                found[key] = database[key]
            except dbm.error:
                found[key] = None
    return found


@pytest.mark.parametrize("line", CODES)
def test_each_command_on_each_database(own: Path, line: str) -> None:
    for name, code in zip(KEYS, CODES[line], strict=True):
        before, files = contents(name), set(os.listdir())
        answer = run(line, name)
        assert answer.code == code, (name, answer)
        assert "Traceback" not in answer.err
        assert answer.err or code in (0, 1, 5) or "check" in line, "what is wrong is said"
        if not line.startswith(WRITES):
            assert contents(name) == before, name
        if code and code != 5:
            left = {file for file in set(os.listdir()) - files if not file.endswith((".idx", ".log"))}
            assert left <= ({"file"} if line.startswith("dump") else set()), name
        for file in set(os.listdir()) - files:
            if file.startswith(("copy", "file")):
                os.unlink(file)


def test_every_command_is_here() -> None:
    tried = {line.split()[0] for line in CODES}
    assert set(_COMMANDS) - tried == {"watch", "demo"}  # those that go on until they are stopped have their own tests
