"""stat, check, reorganize, backup, inspect, classes and recode."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hutch
from command_line import SECRET, command, make_all, spawn
from hutch import dbm
from hutch.cli import recode
from hutch.cli.gaps import gaps
from hutch.cli.quantities import size_text
from hutch.codecs import Compressed, Encrypted, Json, Pickle, Signed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_all(folder)
    return folder


@pytest.fixture
def own(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in world.iterdir():
        if not file.name.startswith(("giant", "big")):
            shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_sizes_are_short() -> None:
    sizes = [0, 1023, 1024, 1536, 99 * 1024, 1024**2, 200 * 1024**3, 5 * 1024**5]
    shown = ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "99.0 KiB", "1.0 MiB", "200 GiB", "5,120 TiB"]
    assert [size_text(size) for size in sizes] == shown


# stat.


def test_stat_counts(own: Path) -> None:
    with dbm.open("x") as database:
        for size in (0, 1, 5, 600, 600, 5000):
            database[f"k{len(database)}"] = bytes(size)
        del database["k3"]
    facts = json.loads(command("stat", "x", "--json").out)
    assert facts["path"] == os.path.abspath("x")
    assert (facts["key_count"], facts["value_bytes"], facts["key_bytes"], facts["largest"]) == (5, 5606, 10, 5000)
    assert facts["histogram"] == [
        {"from": 0, "to": 0, "count": 1},
        {"from": 1, "to": 1, "count": 1},
        {"from": 4, "to": 7, "count": 1},
        {"from": 512, "to": 1023, "count": 1},
        {"from": 4096, "to": 8191, "count": 1},
    ]
    assert (facts["free_bytes"], facts["gap_count"], facts["largest_gap_bytes"]) == (1024, 1, 1024)
    text = command("stat", "x.dat").out
    assert "5 keys" in text
    assert "1.0 KiB free (1 gap, the longest 1.0 KiB)" in text
    assert "\x1b" not in text


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1500)), max_size=12),
    st.integers(1, 60),
)
def test_gaps_are_counted_in_any_window(places: list[tuple[int, int]], window_blocks: int) -> None:
    extents = [(512 * block, size) for block, size in places]
    owned = {block + more for block, size in places for more in range(-(-size // 512))}
    runs = "".join("x" if block in owned else " " for block in range(max(owned, default=-1) + 1)).split("x")
    holes = [len(run) for run in runs if run]
    assert gaps(lambda: extents, window_blocks) == (len(holes), 512 * max(holes, default=0))


def test_stat_of_odd_databases(world: Path) -> None:
    assert "0 keys" in command("stat", world / "empty").out
    giant = command("stat", world / "giant").out
    assert "200 GiB" in giant
    assert "not in use: the directory is read instead" in giant
    assert "5,000 keys" in command("stat", world / "big").out
    assert command("stat", world / "damaged").code == 0  # it reads no value


# check, reorganize, backup.


def test_check_finds_and_mends(own: Path) -> None:
    assert command("check", "stock").out == "stock: 6 entries, all as they were stored\n"
    found = command("check", "damaged.dir")
    assert found.code == 3
    assert found.out.startswith("DAMAGED: the value of b'key2' in ")
    assert found.out.endswith("damaged: 5 entries, 1 problem; `hutch check --fix damaged` mends what can be mended\n")
    facts = json.loads(command("check", "damaged", "--json").out)
    assert not facts["ok"]
    assert facts["problems"][0]["key"] == "key2"
    mended = command("check", "damaged", "--fix")
    assert mended.code == 0
    assert mended.out.endswith("damaged: 5 entries, 1 problem, all mended\n")
    assert command("check", "damaged").out == "damaged: 4 entries, all as they were stored\n"


def test_check_of_another_librarys_database(own: Path) -> None:
    assert command("check", "foreign").out == "foreign: 2 entries, all as they were stored\n"
    with sqlite3.connect("foreign") as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("UPDATE Dict SET value = 7.5 WHERE key = x'6f6e65'")
    connection.close()
    answer = command("check", "foreign")
    assert answer.code == 3
    assert "DAMAGED: " in answer.out
    assert "neither bytes nor text" in answer.out
    assert answer.out.endswith("`hutch dump foreign | hutch load COPY --create` brings over what can be read\n")
    dump = command("dump", "foreign")
    assert dump.code == 3
    assert command("load", "copy", "--create", data=dump.out.encode()).code == 0
    assert command("get", "copy", "two").out == "b'2'\n"


def test_check_looks_into_values(world: Path) -> None:
    answer = command("check", world / "mixed", "--values", "--key-file", world / "secret")
    assert answer.code == 5
    keys = [line.split(": ")[1] for line in answer.out.splitlines() if line.startswith("UNREADABLE: ")]
    assert keys == ["json", "text", "binary", "torn", "nothing"]
    assert "it is no pickle: --codec says what it is" in answer.out
    assert command("check", world / "stock", "--values").code == 0
    assert command("check", world / "damaged", "--values", "--codec", "raw").code == 3
    assert command("check", world / "stdlib", "--values", "--codec", "json", "--json").code == 5
    assert not (world / "unpickled").exists()


def test_a_class_that_is_gone_is_found_without_looking_for_it(tmp_path: Path) -> None:
    with dbm.open(tmp_path / "x") as database:
        database["old"] = b"\x80\x04\x8c\x0bhutch.cellar\x8c\x03Jam\x93.".replace(b"\x0bhutch", b"\x0chutch")
    assert "it names hutch.cellar.Jam, which is not there" in command("check", tmp_path / "x", "--values").out
    assert "missing  hutch.cellar.Jam" in command("classes", tmp_path / "x").out


def test_a_damaged_directory_is_an_error_that_names_it(own: Path) -> None:
    with open("stock.dir", "ab") as directory:
        directory.write(b"nonsense\n")
    os.unlink("stock.idx")
    for arguments in (["get", "stock", "apples"], ["check", "stock"], ["keys", "stock"], ["stat", "stock"]):
        answer = command(*arguments)
        assert answer.code == 3
        assert "stock.dir" in answer.err
        assert "Traceback" not in answer.err


def test_a_locked_database_is_waited_for_and_then_an_error(own: Path) -> None:
    line = ["set", "stock", "new", "1", "--timeout", "0.05"]
    with dbm.open("stock", "w", exclusive=True):
        answer = spawn(*line)
    assert answer.code == 4
    assert "--timeout" in answer.err
    assert spawn(*line).code == 0


def test_reorganize_gives_space_back(own: Path) -> None:
    with dbm.open("x") as database:
        database.update({f"k{number}": bytes(2000) for number in range(50)})
        for number in range(0, 50, 2):
            del database[f"k{number}"]
    size = os.path.getsize("x.dat")
    answer = command("reorganize", "x")
    assert answer.code == 0
    assert answer.out.startswith("x: ")
    assert os.path.getsize("x.dat") <= size / 2 + 2048
    assert command("len", "x").out == "25\n"


def test_backup(own: Path) -> None:
    assert command("backup", "stock", "copy").out == "copy: 6 entries copied\n"
    assert command("diff", "stock", "copy").code == 0
    again = command("backup", "stock", "copy")
    assert again.code == 4
    assert "exists already" in again.err
    assert command("backup", "damaged", "other").code == 3
    assert not list(own.glob("other*"))


def test_backup_of_what_is_being_written(own: Path) -> None:
    with dbm.open("stock", "w") as writer, writer.transaction():
        writer["new"] = b"not yet"
        assert spawn("backup", "stock", "copy").code == 0
    assert spawn("len", "copy").out == "6\n"


# inspect.


def test_inspect_takes_everything_apart(world: Path) -> None:
    answer = command("inspect", world / "mixed", "loud")
    assert answer.code == 0
    lines = answer.out.splitlines()
    assert lines[2] == f"value   pickle, protocol 4, {lines[1].removeprefix('stored  ')}"
    assert lines[3] == "names   posix.mkdir  (SafePickle refuses it)"
    assert any("STACK_GLOBAL" in line for line in lines)
    sealed = command("inspect", world / "mixed", "sealed", "--key-file", world / "secret").out
    assert "layer   encrypted (verified)\nlayer   compressed (zlib)\nvalue   pickle, protocol 4" in sealed
    signed = command("inspect", world / "mixed", "signed").out
    assert "layer   signed (not verified: no --key-file)\nvalue   pickle" in signed
    assert "closed  it is encrypted" in command("inspect", world / "mixed", "encrypted").out


def test_inspect_of_other_bytes(world: Path) -> None:
    assert "value   Json, 13 B" in command("inspect", world / "mixed", "json").out
    assert "0  6a 75 73 74 20" in command("inspect", world / "mixed", "text").out
    assert "value   bytes, 0 B" in command("inspect", world / "mixed", "nothing").out
    assert command("inspect", world / "mixed", "no such key").code == 1
    torn = command("inspect", world / "mixed", "torn")
    assert torn.code == 0
    assert "the pickle is damaged here" in torn.out
    facts = json.loads(command("inspect", world / "stock", "since", "--json").out)
    assert facts["names"] == [{"module": "datetime", "name": "date", "safe": True}]
    assert facts["disassembly"][0] == "    0: \\x80 PROTO      4"
    short = command("inspect", world / "stock", "since", "--lines", "2").out.splitlines()
    assert short[-1] == "… 14 lines more"
    assert command("inspect", world / "damaged", "key2").code == 3


# classes.


def test_names_of_python_2_are_those_of_today(own: Path) -> None:
    """A pickle of protocol 2 says `__builtin__.set`, and is none the worse for it."""
    for value in ("{1, 2}", "b'xyz'"):
        assert command("set", "old", value, value, "--as", "literal", "--protocol", "2", "--create").code == 0
    answer = command("classes", "old", "--json")
    assert {(each["module"], each["name"]): each["found"] for each in json.loads(answer.out)["classes"]} == {
        ("builtins", "set"): True,
        ("_codecs", "encode"): True,
    }
    assert "safe     builtins.set" in command("classes", "old").out
    assert command("check", "old", "--values").code == 0
    with hutch.open("old", "r") as shelf:
        assert {(use.module, use.name) for use in shelf.classes().classes} == {
            ("builtins", "set"),
            ("_codecs", "encode"),
        }


def test_classes_are_listed_without_being_run(world: Path) -> None:
    answer = command("classes", world / "mixed", "--key-file", world / "secret")
    assert answer.code == 5
    assert answer.err.startswith("Unreadable: torn: ")
    assert answer.out.splitlines() == [
        "       1  safe     fractions.Fraction  (fraction)",
        "       1  refused  posix.mkdir  (loud)",
        "8 pickles, 2 classes and functions; 4 other values",
    ]
    assert "fractions" not in command("classes", world / "mixed", "--refused").out
    facts = json.loads(command("classes", world / "stock", "--json").out)
    assert [(each["module"], each["name"], each["count"]) for each in facts["classes"]] == [
        ("decimal", "Decimal", 2),
        ("datetime", "date", 1),
    ]
    assert facts["classes"][0]["examples"] == ["apples", {"$bytes": "/1w="}]
    assert not (world / "unpickled").exists()


# recode.


def test_recode_changes_the_wrapping_and_runs_nothing(own: Path) -> None:
    with hutch.open("x", codec=Pickle(2)) as shelf:
        shelf["long"], shelf["short"] = "x" * 3000, "x"
    with dbm.open("mixed", "r") as database:
        loud = database["loud"]
    with dbm.open("x", "w") as database:
        database["loud"] = loud
    assert command("recode", "x", "--compress", "zlib").out == "1 of 3 values rewritten\n"
    with hutch.open("x", "r", codec=Compressed(Pickle())) as shelf:
        assert shelf["long"] == "x" * 3000
    assert command("recode", "x", "--encrypted", "--key-file", "secret").code == 0
    with hutch.open("x", "r", codec=Encrypted(Pickle(), SECRET)) as shelf:
        assert shelf["long"] == "x" * 3000
    assert command("recode", "x").code == 5
    assert command("recode", "x", "--key-file", "secret").code == 0
    with dbm.open("x", "r") as database:
        assert database["loud"] == loud
        assert database["short"] == Pickle(2).encode(b"", "x")


def test_recode_to_json_and_back(own: Path) -> None:
    with hutch.open("x") as shelf:
        shelf.update(a=[1, 2], b={"c": None})
    assert command("recode", "x", "--codec", "json").out == "2 of 2 values rewritten\n"
    facts = json.loads(command("recode", "x", "--codec", "json", "--json").out)
    assert facts == {"rewritten_count": 0, "entry_count": 2}
    with hutch.open("x", "r", codec=Json()) as shelf:
        assert dict(shelf) == {"a": [1, 2], "b": {"c": None}}
    assert command("recode", "x", "--codec", "pickle", "--signed", "--key-file", "secret").code == 0
    with hutch.open("x", "r", codec=Signed(Pickle(), SECRET)) as shelf:
        assert dict(shelf) == {"a": [1, 2], "b": {"c": None}}


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("mixed", ["--codec", "json"], "--key-file"),
        ("stdlib", ["--codec", "json"], "--from says it"),
        ("stock", ["--codec", "json"], "cannot be written so"),
        ("damaged", ["--codec", "json", "--from", "raw"], "nothing has been changed"),
    ],
)
def test_recode_changes_nothing_if_one_value_cannot_be(own: Path, name: str, arguments: list[str], said: str) -> None:
    before = Path(f"{name}.dat").read_bytes()
    answer = command("recode", name, *arguments)
    assert answer.code == 5
    assert said in answer.err
    assert "nothing has been changed" in answer.err
    assert Path(f"{name}.dat").read_bytes()[: len(before)] == before


def test_recode_takes_in_what_others_store_meanwhile(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hutch.open("x") as shelf:
        shelf.update({f"k{number}": number for number in range(250)})
    plain = recode._rewrite_batch
    with hutch.open("x", "w") as other:

        def rewrite(*arguments: Any) -> int:
            changed = plain(*arguments)
            if "late" not in other:
                other["late"] = "stored under the old codec"
            return changed

        monkeypatch.setattr(recode, "_rewrite_batch", rewrite)
        assert command("recode", "x", "--codec", "json").out == "251 of 251 values rewritten\n"
    with hutch.open("x", "r", codec=Json()) as shelf:
        assert shelf["late"] == "stored under the old codec"
        assert shelf["k7"] == 7


def test_recode_takes_no_planted_value_along(own: Path) -> None:
    """Neither signs it with a new key, nor leaves it behind where a signature was taken off."""
    Path("next").write_bytes(SECRET[::-1])
    with dbm.open("mixed", "r") as database:
        loud = database["loud"]
    with hutch.open("x", codec=Signed(Pickle(), SECRET)) as shelf:
        shelf.update(a=1, b=[2])
    with dbm.open("x", "w") as database:
        database["planted"] = loud
        before = dict(database.items())
    for arguments in (
        ["--key-file", "secret"],
        ["--signed", "--key-file", "next", "--key-file", "secret"],
        ["--encrypted", "--key-file", "secret"],
        ["--compress", "zlib", "--key-file", "secret"],
        ["--codec", "pickle", "--unpickle", "--key-file", "secret"],
        ["--codec", "json", "--unpickle", "--key-file", "secret"],
    ):
        answer = command("recode", "x", *arguments)
        assert answer.code == 5, arguments
        assert "planted" in answer.err
        assert "nothing has been changed" in answer.err
        with dbm.open("x", "r") as database:
            assert dict(database.items()) == before
    assert not Path("unpickled").exists()
    assert command("recode", "x", "--key-file", "secret", "--trust-unsigned").code == 0
    with dbm.open("x", "w") as database:
        assert database["planted"] == loud
        del database["planted"]
    with hutch.open("x", "r") as shelf:
        assert dict(shelf) == {"a": 1, "b": [2]}


def test_recode_runs_no_pickle_among_other_values(own: Path) -> None:
    with dbm.open("mixed", "r") as database:
        loud = database["loud"]
    with hutch.open("x", codec=Json()) as shelf:
        shelf.update(a=1, b=[2])
        shelf.dict["planted"] = loud
    for arguments in ([], ["--unpickle"], ["--from", "json"], ["--from", "json", "--unpickle"]):
        answer = command("recode", "x", "--codec", "pickle", *arguments)
        assert answer.code == 5, arguments
        assert "planted" in answer.err
        assert not Path("unpickled").exists()


def test_recode_of_other_values(own: Path) -> None:
    assert command("recode", "stdlib", "--from", "raw", "--codec", "msgpack").code == 0
    assert command("get", "stdlib", "pears", "--codec", "msgpack").out == "b'green'\n"
    assert command("recode", "empty", "--codec", "json").out == "0 of 0 values rewritten\n"
