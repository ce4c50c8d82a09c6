"""What the shell completes: asked as the shell asks, and typed into each shell that is here."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pexpect
import pytest

from command_line import HUTCH, make_all, spawn
from hutch import dbm
from hutch.cli.escapes import escaped

PATIENCE = 60
KEYS = ["user:1 x", "naïve\n", "it's", "$HOME", "*", "a=b", 'q"q', "comma,tab\t", "\\", "~"]

# How each is started without anybody's settings, and what docs/cli.md says is to be in them.
SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(_HUTCH_COMPLETE=bash_source hutch)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(_HUTCH_COMPLETE=zsh_source hutch)"'),
    "fish": (["--no-config", "-i"], "_HUTCH_COMPLETE=fish_source hutch | source"),
}
HERE = [name for name in SHELLS if shutil.which(name)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_all(folder)
    with dbm.open(folder / "odd") as database:
        database.update({key: f"value {number}" for number, key in enumerate(KEYS)})
    (folder / "sub").mkdir()
    (folder / "sub" / "inner.dat").touch()
    program = folder / "bin" / "hutch"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.join(HUTCH)} "$@"\n')
    program.chmod(0o755)
    return folder


def completed(folder: Path, line: str) -> list[str]:
    """What bash gets for a line, as it would be typed."""
    answer = spawn(env={**os.environ, "_HUTCH_COMPLETE": "bash_complete", "COMP_LINE": line}, cwd=folder)
    assert answer.err == ""
    return [line.partition(",")[2] for line in answer.out.splitlines() if line]


def test_completion(world: Path) -> None:
    assert completed(world, "hutch re") == ["reorganize", "recode"]
    assert completed(world, "hutch get st") == ["stdlib", "stock"]
    assert completed(world, "hutch get sub/") == ["sub/inner"]
    assert completed(world, "hutch get su") == ["sub/"]
    assert completed(world, "hutch get stock p") == ["pears", "plums"]
    assert completed(world, "hutch get stock ") == ["apples", "pears", "plums", "since", r"naïve\\n", r"\\xff\\\\"]
    assert completed(world, "hutch del stock apples na") == [r"naïve\\n"]
    assert completed(world, "hutch get missing p") == []
    assert completed(world, "hutch get stock --key-f") == ["--key-format", "--key-file"]
    assert completed(world, "hutch get stock apples --codec js") == ["json"]


@pytest.mark.parametrize(
    ("typed", "inserted"),
    [
        ("us", r"user:1\ x"),
        ("user:", r"1\ x"),  # bash completes what stands behind the colon
        ("'user:", "user:1 x"),
        ('"user:', "user:1 x"),
        ("a=", "b"),
        ("'it", r"it'\''s"),
        ("it", r"it\'s"),
        (r"\$", r"\$HOME"),
        (r'"\$', r"\$HOME"),
        (r"\*", r"\*"),
        ("'q", 'q"q'),
        ('"q', r"q\"q"),
        ("com", r"comma,tab\\t"),
        ("'com", r"comma,tab\t"),
        ("'~", "~"),
    ],
)
def test_completion_is_quoted_as_the_word_is(world: Path, typed: str, inserted: str) -> None:
    assert completed(world, f"hutch get odd {typed}") == [inserted]


@pytest.mark.parametrize("shell", HERE)
def test_keys_complete_in_a_real_shell(world: Path, tmp_path: Path, shell: str) -> None:
    """The beginning of each key, a tab, and Enter: what comes is the value of that key."""
    arguments, setting = SHELLS[shell]
    child = pexpect.spawn(
        shell,
        arguments,
        encoding="utf-8",
        timeout=PATIENCE,
        dimensions=(40, 200),
        cwd=world,
        env={
            **os.environ,
            "PATH": f"{world / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "TERM": "dumb",
            "LC_ALL": "C.UTF-8",
            "PYTHONWARNINGS": "",
        },
    )
    try:
        child.sendline(f"{setting}; echo rea''dy")
        child.expect(r"ready\s")
        for number, key in enumerate(KEYS):
            text = escaped(key.encode())
            # As much as tells it from the others, in quotes where the shell would take it for something else.
            if shell == "fish" and text.startswith("\\"):
                continue  # fish has escapes within quotes too, and completes none
            start = text[:1] if re.match(r"\w", text) else f"'{text[:1]}"
            child.send(f"hutch get --text odd {start}\t")
            child.send(f"\recho do''ne {number}\r")
            child.expect(rf"done {number}\s")
            assert f"value {number}" in child.before, (key, child.before)
    finally:
        child.close(force=True)


def test_the_shells_are_those_of_the_docs() -> None:
    text = (Path(__file__).parent.parent / "docs" / "cli.md").read_text("utf-8").replace("\\|", "|")
    for shell, (_, setting) in SHELLS.items():
        line = setting.rpartition("; ")[2]
        assert f"| {shell} | `{line}` |" in text
    assert sys.executable
