"""Ctrl-C in the middle of each long command, and a reader that leaves early: the database is whole afterwards.

The child stops by itself inside its work, says so, and waits; nothing depends on how fast anything is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from command_line import Answer, command, make_all, spawn
from hutch import dbm

# Stops in step number AFTER of the part that is called LABEL.
CHILD = """
import sys
from hutch.cli import main, progress

label, after, *sys.argv[1:] = sys.argv[1:]
plain = progress.Steps.advance

def advance(self, count=1):
    plain(self, count)
    if self.label == label and self.done >= int(after):
        print("inside", file=sys.stderr, flush=True)
        sys.stdin.buffer.raw.read()

progress.Steps.advance = advance
sys.exit(main())
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_all(folder)
    with dbm.open(folder / "holes") as database:
        database.update({f"key{number}": b"x" * 600 for number in range(300)})
        for number in range(0, 300, 3):
            del database[f"key{number}"]
    (folder / "big.jsonl").write_text(command("dump", folder / "big").out)
    return folder


@pytest.fixture
def own(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("big.*", "holes.*", "secret"):
        for file in world.glob(name):
            shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def interrupt(label: str, after: int, *arguments: str) -> Answer:
    """Run a command, and press Ctrl-C when it is inside."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, label, str(after), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stderr is not None
    before = []
    for line in child.stderr:
        if line == "inside\n":
            break
        before.append(line)
    else:
        raise AssertionError(f"it never got there: {before}")
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)  # the end of stdin wakes it where the signal came just before it slept
    return Answer(child.returncode, out, "".join(before) + err)


def contents(name: str) -> dict[bytes, bytes]:
    with dbm.open(name, "r") as database:
        assert database.check().ok
        return dict(database.items())


READING: list[tuple[str, list[str]]] = [
    ("checking", ["check", "big"]),
    ("checking", ["check", "big", "--fix"]),
    ("measuring", ["stat", "big"]),
    ("copying", ["backup", "big", "copy"]),
    ("copying", ["convert", "big", "copy.sqlite"]),
    ("verifying", ["convert", "big", "copy"]),
    ("dumping", ["dump", "big"]),
    ("dumping", ["dump", "big", "copy.jsonl"]),
    ("comparing", ["diff", "big", "holes"]),
    ("reading", ["classes", "big"]),
    ("looking", ["recode", "big", "--codec", "json"]),
]


@pytest.mark.parametrize(("label", "arguments"), READING, ids=[f"{label} {words[0]}" for label, words in READING])
def test_what_only_reads_leaves_nothing_behind(own: Path, label: str, arguments: list[str]) -> None:
    before, files = contents("big"), set(os.listdir())
    answer = interrupt(label, 200, *arguments)
    assert answer.code == 130
    assert answer.err.splitlines()[-2:] == [f"Stopped while {label}, after 200 of 5,000.", "Interrupted."] or (
        arguments[0] in ("diff", "convert") and answer.err.endswith("Interrupted.\n")
    )
    assert contents("big") == before
    assert set(os.listdir()) - files <= {"big.log", "big.idx", "holes.log", "holes.idx"}


def test_reorganize(own: Path) -> None:
    before = contents("holes")
    answer = interrupt("packing", 20, "reorganize", "holes")
    assert answer.code == 130
    assert re.search(r"Stopped while packing, after \d+ of 200\.", answer.err)
    assert contents("holes") == before
    done = command("reorganize", "holes")
    assert done.code == 0
    assert contents("holes") == before


@pytest.mark.parametrize("options", [["--codec", "plist"], ["--codec", "json"]], ids=lambda each: each[1])
def test_recode_is_finished_by_running_it_again(own: Path, options: list[str]) -> None:
    before = contents("big")
    assert interrupt("rewriting", 2050, "recode", "big", *options).code == 130
    between = contents("big")
    assert between.keys() == before.keys()
    changed = sum(between[key] != before[key] for key in before)
    assert 0 < changed <= 2050
    assert command("recode", "big", *options).code == 0
    assert command("get", "big", "key00096", *options).out == f"{ {'number': 96, 'text': 'x' * 96}!r}\n"
    assert command("get", "big", "key04999", *options).out == f"{ {'number': 4999, 'text': 'x' * 52}!r}\n"


def test_recode_to_what_cannot_be_told_is_all_or_nothing(own: Path) -> None:
    before = contents("big")
    assert interrupt("rewriting", 2050, "recode", "big", "--from", "pickle", "--codec", "json").code == 130
    assert contents("big") == before


def test_recode_leaves_no_mixture_of_what_is_signed_and_what_is_not(own: Path) -> None:
    """In a mixture nobody could tell what is still unsigned from what was planted."""
    before = contents("big")
    signing = ["recode", "big", "--signed", "--key-file", "secret"]
    assert interrupt("rewriting", 2050, *signing).code == 130
    assert contents("big") == before
    assert command(*signing).code == 0
    signed = contents("big")
    assert all(signed[key] != before[key] for key in before)
    assert command("get", "big", "key04999", "--key-file", "secret").out.startswith("{'number': 4999")
    assert interrupt("rewriting", 2050, "recode", "big", "--key-file", "secret").code == 130
    assert contents("big") == signed
    assert command("recode", "big", "--key-file", "secret").code == 0
    assert contents("big") == before


def test_load_keeps_what_came_before_and_may_be_run_again(own: Path, world: Path) -> None:
    dump = str(world / "big.jsonl")
    answer = interrupt("loading", 2000, "load", "new", dump, "--create")
    assert answer.code == 130
    assert "Stopped while loading, after 2,000 of 5,000." in answer.err
    everything = contents("big")
    loaded = contents("new")
    assert len(loaded) == 2000
    assert loaded.items() <= everything.items()
    assert command("load", "new", dump).out == "5,000 entries stored\n"
    assert contents("new") == everything


def test_load_as_one_transaction_keeps_nothing(own: Path, world: Path) -> None:
    assert interrupt("loading", 2000, "load", "holes", str(world / "big.jsonl"), "--atomic").code == 130
    assert len(contents("holes")) == 200


def test_set_waiting_for_stdin(own: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", WAITING, "set", "big", "new", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stderr is not None
    assert child.stderr.readline() == b"inside\n"
    child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (130, b"Interrupted.\n")
    assert len(contents("big")) == 5000


WAITING = """
import sys
from hutch.cli import entries, main

class Stdin:
    buffer = property(lambda self: self)
    def read(self):
        print("inside", file=sys.stderr, flush=True)
        plain.buffer.raw.read()
        return b""

plain, sys.stdin = sys.stdin, Stdin()
sys.exit(main())
"""


# A reader that leaves early.


@pytest.mark.parametrize("arguments", [["keys"], ["items"], ["dump"], ["keys", "--json"]], ids=" ".join)
def test_a_broken_pipe_is_quiet(world: Path, arguments: list[str]) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "hutch", arguments[0], str(world / "big"), *arguments[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline()
    child.stdout.close()  # 5,000 lines do not fit into the pipe
    assert child.stderr.read() == b""
    assert child.wait(60) == 128 + signal.SIGPIPE
    child.stderr.close()


def test_nobody_reads_from_the_beginning(world: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "hutch", "len", str(world / "stock")],
        check=False,
        stdout=writing,
        stderr=subprocess.PIPE,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_may_be_closed(world: Path, closed: str) -> None:
    for words, code in (
        ("len stock", 0),
        ("keys stock", 0),
        ("get stock nothing", 1),
        ("set stock apples - --as json", 2),
    ):
        line = f"{sys.executable} -m hutch {words} {closed}"
        done = subprocess.run(["bash", "-c", line], check=False, capture_output=True, text=True, cwd=world, timeout=60)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


def test_a_full_disk_is_an_error(world: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "hutch", "keys", str(world / "big")],
            check=False,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 4
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_while_starting_is_no_traceback() -> None:
    program = """
import sys
from hutch import cli

class Pressed:
    def find_spec(self, name, *rest):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Pressed())
sys.exit(cli.main())
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "")


def test_python_m_hutch_is_the_same(world: Path) -> None:
    assert spawn("len", world / "stock") == Answer(0, "6\n", "")
    assert json.loads(spawn("stat", world / "stock", "--json").out)["key_count"] == 6


def test_python_m_hutch_dbm_prints_whichdb(world: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hutch.dbm", "stock", "foreign", "stdlib", "nothing", "secret"],
        check=True,
        capture_output=True,
        text=True,
        cwd=world,
    )
    assert done.stdout.splitlines() == [
        "hutch.dbm stock",
        "dbm.sqlite3 foreign",
        "hutch.dbm stdlib",
        "UNKNOWN nothing",
        "UNKNOWN secret",
    ]
    assert done.stderr == ""
