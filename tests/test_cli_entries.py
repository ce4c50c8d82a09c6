"""get, set, del, keys, items and len, on databases of every kind."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hutch
from command_line import SECRET, Answer, command, make_all, spawn
from hutch import dbm
from hutch.cli.app import _COMMANDS
from hutch.cli.app import hutch as group
from hutch.cli.escapes import escaped, unescaped
from hutch.codecs import Json


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases that the tests only read."""
    folder = tmp_path_factory.mktemp("world")
    make_all(folder)
    return folder


@pytest.fixture
def own(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own copy of the small ones."""
    for file in world.iterdir():
        if not file.name.startswith(("giant", "big")):
            shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def _nothing_is_run(world: Path) -> object:
    yield
    assert not (world / "unpickled").exists()


# Keys.


@given(st.binary())
def test_every_key_has_a_line_of_its_own(key: bytes) -> None:
    text = escaped(key)
    assert unescaped(text) == key
    assert text.isprintable() or not text


@given(st.binary(), st.binary())
def test_no_two_keys_look_alike(one: bytes, other: bytes) -> None:
    assert (escaped(one) == escaped(other)) == (one == other)


@pytest.mark.parametrize("text", ["\\", "a\\", r"\q", r"\x1", r"\xgg", r"\0"])
def test_a_wrong_escape_is_explained(world: Path, text: str) -> None:
    answer = command("get", world / "stock", text)
    assert answer.code == 2
    assert r"a backslash is \\" in answer.err
    assert "--key-format raw" in answer.err


def test_keys_are_listed_in_order_and_escaped(world: Path) -> None:
    assert command("keys", world / "stock").out.splitlines() == [
        "apples",
        "pears",
        "plums",
        "since",
        r"naïve\n",
        r"\xff\\",
    ]


@pytest.mark.parametrize("suffix", ["", ".dir", ".dat", ".idx", ".log"])
def test_a_suffix_may_be_there_or_not(world: Path, suffix: str) -> None:
    assert command("len", str(world / "stock") + suffix) == Answer(0, "6\n", "")


def test_a_name_with_a_suffix_of_its_own_comes_first(tmp_path: Path) -> None:
    with dbm.open(tmp_path / "a") as outer, dbm.open(tmp_path / "a.dat") as inner:
        outer["x"], inner["y"] = b"1", b"2"
    assert command("keys", tmp_path / "a").out == "x\n"
    assert command("keys", tmp_path / "a.dat").out == "y\n"


@pytest.mark.parametrize("key", ["apples", r"naïve\n", r"\xff\\"])
def test_what_keys_prints_get_takes(world: Path, key: str) -> None:
    assert command("get", world / "stock", key).code == 0


def test_other_key_formats(world: Path) -> None:
    stock = world / "stock"
    assert command("keys", stock, "-k", "base64").out.splitlines()[-1] == base64.b64encode(b"\xff\\").decode()
    assert command("get", stock, "-k", "base64", base64.b64encode(b"\xff\\").decode()).code == 0
    assert command("get", stock, "-k", "base64", "?").code == 2
    assert command("get", stock, "-k", "raw", "naïve\n").out == "'text'\n"
    assert command("keys", stock, "--prefix", "p", "--sorted").out == "pears\nplums\n"
    assert command("keys", stock, "-n", "1").out == "apples\n"
    assert command("keys", stock, "-n", "0").out == ""
    assert command("keys", stock, "-0", "-n", "2").out == "apples\0pears\0"
    lines = command("keys", stock, "--json").out.splitlines()
    assert [json.loads(line) for line in lines[-2:]] == ["naïve\n", {"$bytes": "/1w="}]


# Values.


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("plain", repr(["data"] * 20)),
        ("old", "{'a': 1}"),
        ("zipped", repr(["data"] * 20)),
        ("fraction", "Fraction(1, 3)"),
        ("json", """b'{"a": [1, 2]}'"""),
        ("text", "b'just text'"),
        ("nothing", "b''"),
    ],
)
def test_get_shows_what_runs_nothing(world: Path, key: str, shown: str) -> None:
    assert command("get", world / "mixed", key) == Answer(0, shown + "\n", "")


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("loud", "names posix.mkdir; --unpickle makes it an object"),
        ("signed", "it is signed: --key-file"),
        ("encrypted", "it is encrypted: --key-file"),
        ("torn", "pickle, protocol 4"),
    ],
)
def test_get_describes_what_it_may_not_show(world: Path, key: str, said: str) -> None:
    answer = command("get", world / "mixed", key)
    assert answer.code == 5
    assert said in answer.out
    assert answer.out.startswith("<")


@pytest.mark.parametrize("key", ["signed", "encrypted", "sealed"])
def test_a_key_file_opens_what_is_sealed(world: Path, tmp_path: Path, key: str) -> None:
    shown = repr(["data"] * 20) + "\n"
    assert command("get", world / "mixed", key, "--key-file", world / "secret").out == shown
    (tmp_path / "bytes").write_bytes(SECRET)
    (tmp_path / "other").write_bytes(b"another key, of 32 bytes exactly")
    found = command("get", world / "mixed", key, "--key-file", tmp_path / "other", "--key-file", tmp_path / "bytes")
    assert found.out == shown
    wrong = command("get", world / "mixed", key, "--key-file", tmp_path / "other")
    assert wrong.code == 5
    assert "another key is needed" in wrong.err


def test_unpickle_is_asked_for(world: Path) -> None:
    answer = command("get", world / "mixed", "loud", "--unpickle")
    assert answer == Answer(0, "None\n", "")
    (world / "unpickled").rmdir()


def test_a_class_may_be_allowed(tmp_path: Path) -> None:
    (tmp_path / "cellar.py").write_text("class Jam:\n    def __repr__(self): return f'Jam({self.fruit!r})'\n")
    program = "import cellar, hutch; jam = cellar.Jam(); jam.fruit = 'plum'; hutch.open('x').update(jam=jam, open=open)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=60)
    assert spawn("get", "x", "jam", cwd=tmp_path).code == 5
    assert spawn("get", "x", "jam", "--allow", "cellar.Jam", cwd=tmp_path) == Answer(0, "Jam('plum')\n", "")
    assert spawn("get", "x", "open", "--allow", "cellar.Jam", cwd=tmp_path).code == 5
    for wrong in ("builtins.eval", "nothing"):
        answer = spawn("get", "x", "jam", "--allow", wrong, cwd=tmp_path)
        assert answer.code == 2
        assert "Traceback" not in answer.err


def test_forms_of_a_value(world: Path) -> None:
    stock = world / "stock"
    assert command("get", stock, r"naïve\n", "--text").out == "text\n"
    assert json.loads(command("get", stock, "plums", "--json").out) == {
        "key": "plums",
        "value": {"$tuple": [{"$bytes": "AP8="}, {"$set": ["blue"]}]},
    }
    assert json.loads(command("get", world / "mixed", "loud", "--json").out)["names"] == ["posix.mkdir"]
    assert command("get", world / "mixed", "text", "--raw").out == "just text"
    assert command("get", world / "mixed", "json", "--codec", "json").out == "{'a': [1, 2]}\n"


def test_a_wrong_codec_is_an_error(world: Path) -> None:
    answer = command("get", world / "mixed", "text", "--codec", "json")
    assert answer.code == 5
    assert "text" in answer.err
    assert command("get", world / "mixed", "text", "--codec", "pickle").code == 5
    assert command("get", world / "mixed", "text", "--codec", "marshal").code == 5


def test_a_bomb_of_shared_parts_is_not_printed(tmp_path: Path) -> None:
    bomb: list[object] = []
    for _ in range(60):
        bomb = [bomb, bomb]
    loop: list[object] = []
    loop.append(loop)
    deep: object = ()
    for _ in range(900):
        deep = (deep,)
    with hutch.open(tmp_path / "x") as shelf:
        shelf["bomb"], shelf["loop"], shelf["deep"] = bomb, loop, deep
        shelf["digits"] = 1 << 1_000_000
    for key in ("bomb", "loop", "digits"):
        answer = command("get", tmp_path / "x", key)
        assert answer == Answer(0, answer.out, "")
        assert "too large or too deep to show" in answer.out
    assert command("get", tmp_path / "x", "deep").code in (0, 5)
    assert command("items", tmp_path / "x").code in (0, 5)
    dumped = command("dump", tmp_path / "x")
    assert command("load", tmp_path / "y", "--create", data=dumped.out.encode()).code == 0
    assert command("diff", tmp_path / "x", tmp_path / "y").code in (0, 1)
    assert len(dumped.out) < 400_000


def test_items_goes_on_behind_what_it_cannot_show(world: Path) -> None:
    answer = command("items", world / "mixed")
    lines = dict(line.split("\t") for line in answer.out.splitlines())
    assert answer.code == 5
    assert lines["fraction"] == "Fraction(1, 3)"
    assert lines["loud"].startswith("<pickle, protocol 4; ")
    damaged = command("items", world / "damaged")
    assert damaged.code == 3
    assert [line.split("\t")[0] for line in damaged.out.splitlines()] == ["key0", "key1", "key3", "key4"]
    assert damaged.err.startswith("Damaged: the value of b'key2'")
    assert command("get", world / "damaged", "key2").code == 3


def test_nothing_that_a_stranger_chose_reaches_the_terminal(tmp_path: Path) -> None:
    pickle = b"\x80\x04\x8c\x07evil\x1b[m\x8c\x05\xed\xb2\x80\r\n\x93."
    with dbm.open(tmp_path / "x") as database:
        database["k\x1b[2J"] = pickle
        database["text"] = b"\x1b[31m"
    for arguments in (["items"], ["get", "text"], ["get", r"k\x1b[2J"], ["classes"], ["inspect", r"k\x1b[2J"]):
        answer = command(arguments[0], tmp_path / "x", *arguments[1:])
        assert "\x1b" not in answer.out + answer.err
        assert "\r" not in answer.out + answer.err
    for arguments in (["get", r"k\x1b[2J", "--codec", "safe"], ["items", "--codec", "safe"], ["check", "--values"]):
        answer = command(arguments[0], tmp_path / "x", *arguments[1:])
        assert answer.code == 5
        assert "\x1b" not in answer.out + answer.err
        assert r"evil\x1b[m" in answer.out + answer.err
    assert r"evil\x1b[m.\xed\xb2\x80\r\n" in command("classes", tmp_path / "x").out


def test_output_in_a_poor_encoding(world: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    answer = spawn("keys", world / "stock", env=environment)
    assert (answer.code, answer.err) == (0, "")
    assert spawn("dump", world / "stock", env=environment).code == 0
    told = spawn("get", world / "stock", "naïve", env=environment)
    assert told.code == 1
    assert "Traceback" not in told.err
    stat = spawn("stat", world / "stock", env=environment)
    assert (stat.code, stat.out.isascii()) == (0, True)


def test_a_value_that_no_memory_holds(tmp_path: Path) -> None:
    size = 1 << 42
    (tmp_path / "x.dir").write_text(f"'k', (0, {size})\n")
    with open(tmp_path / "x.dat", "wb") as heap:
        try:
            heap.truncate(size)
        except OSError:
            heap.truncate(4096)  # this file system has no files of that size
    for arguments in (["get", "k"], ["check"], ["items"], ["dump"], ["stat"], ["keys"]):
        answer = command(arguments[0], tmp_path / "x", *arguments[1:])
        assert answer.code in ((0,) if arguments[0] in ("stat", "keys") else (3, 4)), answer


def test_what_was_repaired_is_a_warning(own: Path) -> None:
    os.rename("stdlib.dir", "stdlib.bak")  # what dbm.dumb leaves when it dies while it writes
    answer = command("keys", "stdlib")
    assert answer.code == 0
    assert answer.out == "apples\npears\n"
    assert answer.err.startswith("Warning: ")
    assert "stdlib.bak" in answer.err


# Writing.


def test_set_makes_nothing_by_accident(tmp_path: Path) -> None:
    answer = command("set", tmp_path / "new", "a", "1")
    assert answer.code == 4
    assert "--create" in answer.err
    assert not list(tmp_path.iterdir())
    assert command("set", tmp_path / "none" / "new", "a", "1", "--create").code == 4
    assert command("set", tmp_path / "new", "a", "1", "--create").code == 0
    with hutch.open(tmp_path / "new", "r") as shelf:
        assert dict(shelf) == {"a": "1"}


@pytest.mark.parametrize(
    ("arguments", "stored"),
    [
        (["2"], "2"),
        (["2", "--as", "json"], 2),
        (['{"a": [1, null]}', "--as", "json"], {"a": [1, None]}),
        (["(1, {2}, b'x')", "--as", "literal"], (1, {2}, b"x")),
        (["x" * 2000, "--compress", "zlib"], "x" * 2000),
        (["x", "--signed", "--key-file", "secret"], "x"),
        (["x", "--encrypted", "--key-file", "secret", "--compress", "bz2"], "x"),
        (["x", "--protocol", "2"], "x"),
        (["x", "--codec", "safe"], "x"),
    ],
)
def test_set_stores_what_get_shows(own: Path, arguments: list[str], stored: object) -> None:
    assert command("set", "stock", "new", *arguments) == Answer(0, "", "")
    assert command("get", "stock", "new", "--key-file", "secret").out == f"{stored!r}\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{", "--as", "json"], "no json"),
        (["f()", "--as", "literal"], "no literal"),
        (["(" * 20_000, "--as", "literal"], "no literal"),
        (["[" * 200_000, "--as", "json"], "no json"),
        (["x", "--signed"], "--key-file"),
        (["x", "--encrypted", "--key-file", "nowhere"], "nowhere"),
        (["x", "--encrypted", "--key-file", "stock.dir"], "16, 24 or 32 bytes"),
        (["{1}", "--as", "literal", "--codec", "json"], "cannot be stored"),
    ],
)
def test_set_refuses(own: Path, arguments: list[str], said: str) -> None:
    answer = command("set", "stock", "new", *arguments)
    assert answer.code == 2
    assert said in answer.err
    assert command("len", "stock").out == "6\n"


def test_set_reads_stdin_to_the_last_byte(own: Path) -> None:
    assert command("set", "stock", "new", "-", data=b"a\nb\n").code == 0
    assert command("get", "stock", "new").out == "'a\\nb\\n'\n"
    refused = command("set", "stock", "new", "-", data=b"\xff")
    assert refused.code == 2
    assert "--codec raw" in refused.err
    assert command("set", "stock", "new", "-", "--codec", "raw", data=b"\xff\0").code == 0
    with dbm.open("stock", "r") as database:
        assert database["new"] == b"\xff\0"


def test_set_puts_no_pickle_among_other_values(own: Path) -> None:
    answer = command("set", "stdlib", "apples", "yellow")
    assert answer.code == 2
    assert "--codec raw" in answer.err
    assert command("set", "stdlib", "apples", "yellow", "--codec", "raw").code == 0
    assert command("get", "stdlib", "apples", "--raw").out == "yellow"
    assert command("set", "stdlib", "apples", "1", "--as", "json", "--codec", "json").code == 0
    with hutch.open("stdlib", "r", codec=Json()) as shelf:
        assert shelf["apples"] == 1


def test_set_puts_no_plain_value_among_secret_ones(own: Path) -> None:
    secret = ["--encrypted", "--key-file", "secret"]
    assert command("set", "vault", "pin", "0000", "--create", *secret).code == 0
    answer = command("set", "vault", "other", "1111")
    assert answer.code == 2
    assert "--encrypted stores one of their kind" in answer.err
    assert command("set", "vault", "other", "1111", *secret).code == 0
    assert command("set", "vault", "plain", "1111", "--codec", "pickle").code == 0
    assert b"0000" not in Path("vault.dat").read_bytes()


def test_del_is_all_or_nothing(own: Path) -> None:
    answer = command("del", "stock", "apples", "nothing")
    assert answer.code == 1
    assert "'nothing'" in answer.err
    assert command("len", "stock").out == "6\n"
    assert command("del", "stock", "apples", "nothing", "apples", "--force").code == 0
    assert command("del", "stock", "pears").code == 0
    assert command("len", "stock").out == "4\n"
    assert command("get", "stock", "pears").code == 1


# Every kind of database.

READERS = [["keys"], ["items"], ["len"], ["stat"], ["check"], ["dump"], ["classes"]]


@pytest.mark.parametrize("arguments", READERS, ids=lambda each: each[0])
@pytest.mark.parametrize("name", ["empty", "stdlib", "giant", "foreign", "stock", "big"])
def test_reading_changes_no_file(world: Path, name: str, arguments: list[str]) -> None:
    def files() -> dict[str, tuple[int, int]]:
        # Next to a file of SQLite its readers, too, leave word that they are there.
        found = [file for file in world.iterdir() if not file.name.endswith(("-shm", "-wal"))]
        return {file.name: (file.stat().st_size, file.stat().st_mtime_ns) for file in found}

    before = files()
    answer = command(arguments[0], world / name, *arguments[1:])
    assert answer.code == 0, answer.err
    assert files() == before


OTHERS = [
    ["get", "x"],
    ["inspect", "x"],
    ["watch"],
    ["del", "x"],
    ["check", "--fix"],
    ["reorganize"],
    ["backup", "y"],
    ["load", os.devnull],
    ["recode"],
    ["shell"],
]


@pytest.mark.parametrize("arguments", [*READERS, *OTHERS], ids=lambda each: each[0])
def test_what_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.chdir(tmp_path)
    answer = command(arguments[0], "missing", *arguments[1:])
    assert answer.code == 4
    assert answer.err.startswith("Error: missing: no such database (missing.dat and missing.dir are not there)")
    assert not list(tmp_path.iterdir())


def test_a_foreign_database_is_read_and_written(own: Path) -> None:
    assert command("get", "foreign", "one").out == "b'1'\n"
    assert command("set", "foreign", "three", "3", "--codec", "raw").code == 0
    assert command("del", "foreign", "one").code == 0
    assert command("keys", "foreign").out == "two\nthree\n"
    assert "2 keys, dbm.sqlite3" in command("stat", "foreign").out
    assert json.loads(command("stat", "foreign", "--json").out)["value_bytes"] == 2
    assert command("check", "foreign").out == "foreign: 2 entries, all as they were stored\n"
    for arguments in (["check", "--fix"], ["backup", "copy"], ["watch"]):
        answer = command(arguments[0], "foreign", *arguments[1:])
        assert answer.code == 4
        assert "hutch convert" in answer.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["keys", ""], 2, "it is empty"),
        (["set", "", "key", "value", "--create"], 2, "it is empty"),
        (["backup", "stock", ""], 2, "it is empty"),
        (["convert", "stock", ""], 2, "it is empty"),
        (["keys", "."], 4, ". is a folder, and no database"),
        (["keys", "none/x"], 4, "none/x: there is no folder none"),
        (["set", "none/x", "key", "value", "--create"], 4, "none/x: there is no folder none"),
        (["backup", "stock", "none/x"], 4, "none/x: there is no folder none"),
        (["convert", "stock", "none/x"], 4, "none/x: there is no folder none"),
        (["dump", "stock", "none/x"], 4, "none/x: there is no folder none"),
        (["get", "stock", "apples", "-k", "base64"], 2, "'apples' is no base64"),
        (["convert", "stock", "x", "--to", "nonsense"], 2, "'nonsense' is no form that can be written"),
        (["convert", "stock", "x", "--from", "nonsense"], 2, "'nonsense' is no form that can be read"),
        (["convert", "stock", "x.plist", "--objects"], 5, "leave --objects and --codec away; nothing has been written"),
        (["get", "damaged", "key2"], 3, "`hutch check` lists the damaged ones, `hutch check --fix` removes them"),
        (["backup", "damaged", "x"], 3, "damaged.dat' at offset 1024 is damaged"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_what_is_wrong_is_said_with_what_to_do(own: Path, arguments: list[str], code: int, said: str) -> None:
    before = sorted(os.listdir())
    answer = command(*arguments)
    assert (answer.code, answer.out) == (code, "")
    assert said in " ".join(answer.err.split())
    assert sorted(os.listdir()) == before


def test_numbers_for_machines(own: Path) -> None:
    assert json.loads(command("len", "stock", "--json").out) == 6
    assert json.loads(command("backup", "stock", "copy", "--json").out) == {"entry_count": 6}
    assert json.loads(command("reorganize", "stock", "--json").out).keys() == {"before_bytes", "after_bytes"}
    dump = command("dump", "stock").out.encode()
    assert json.loads(command("load", "copy", "--json", data=dump).out) == {"entry_count": 6}


@pytest.mark.parametrize("suffix", [".dat", ".dir"])
def test_a_new_database_has_no_suffix_twice(own: Path, suffix: str) -> None:
    assert command("set", f"new{suffix}", "key", "value", "--create").code == 0
    assert command("get", f"new{suffix}", "key").out == command("get", "new", "key").out == "'value'\n"
    assert command("backup", f"new{suffix}", f"copy{suffix}").out == "copy: 1 entry copied\n"
    assert command("convert", f"new{suffix}", f"other{suffix}").out.startswith("other: 1 entry")
    assert command("load", f"third{suffix}", "--create", data=command("dump", "new").out.encode()).code == 0
    assert not [name for name in os.listdir() if re.search(r"\.(dat|dir)\.", name)]
    assert "none.dat and none.dir are not there" in command("keys", f"none{suffix}").err
    for taken in ("new", "new.dat"):
        assert "exists already" in command("backup", "stock", taken).err
        assert "exists already" in command("convert", "stock", taken).err


@pytest.mark.parametrize("name", ["keys", "items"])
def test_the_first_keys_come_without_a_walk_through_all(own: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of a format that does not say how many there are."""
    monkeypatch.setattr("hutch.foreign.sqlite_table.SqliteTable._count", lambda table: 1 / 0)
    assert command(name, "foreign", "-n", "1").code == 0


def test_what_is_no_database_is_said_to_be_none(own: Path) -> None:
    Path("notes.txt").write_text("nothing in particular")
    answer = command("get", "notes.txt", "x")
    assert answer.code == 4
    assert answer.err == "Error: notes.txt is no database that hutch knows\n"
    assert command("set", "notes.txt", "x", "1", "--create").code == 4
    assert not Path("notes.txt.dat").exists()


FOREIGN = Path(__file__).parent / "fixtures" / "foreign"


@pytest.mark.parametrize("name", ["gnu_shelf", "gnu_s390x", "ndbm", "btree", "old_hash", "sqlitedict"])
def test_what_other_libraries_wrote(tmp_path: Path, name: str) -> None:
    with gzip.open(FOREIGN / f"{name}.gz") as source:
        data = source.read()
    base = tmp_path / name
    file = base.with_suffix(".db") if name == "ndbm" else base
    file.write_bytes(data)
    count = int(command("len", base).out)
    assert count > 0
    assert len(command("keys", base).out.splitlines()) == count
    for reader in READERS:
        assert command(reader[0], base).code in (0, 5), reader
    assert command("get", base, command("keys", base).out.splitlines()[0]).code in (0, 5)
    loaded = command("load", tmp_path / "copy", "--create", data=command("dump", base, "--bytes").out.encode())
    assert loaded.out.endswith(" stored\n")
    assert command("diff", base, tmp_path / "copy") == (0, "", "")
    assert command("convert", base, tmp_path / "other").code == 0
    assert command("diff", base, tmp_path / "other", "-q").code == 0
    for damaged in (data[: len(data) // 2], data[:1500], data[:700] + bytes(len(data) - 700)):
        file.write_bytes(damaged)
        for reader in [*READERS, ["get", "x"], ["inspect", "x"], ["convert", str(tmp_path / "none")]]:
            answer = command(reader[0], base, *reader[1:])
            assert answer.code in (0, 1, 3, 4, 5), (reader, answer)


# The list of commands.


def test_help_and_version_import_little() -> None:
    for arguments in (["--help"], ["--version"], ["no-such-command"]):
        program = (
            "import sys; from hutch.cli import main\n"
            f"try: sys.argv[1:] = {arguments!r}; main()\n"
            "except SystemExit: print(*sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
        loaded = done.stdout.splitlines()[-1].split()
        assert "hutch.cli.app" in loaded
        assert not {"rich", "hutch.store", "hutch.codecs", "hutch.cli.entries", "pickle", "sqlite3"} & set(loaded)


def test_get_imports_no_rich(world: Path) -> None:
    program = f"import sys; sys.argv[1:] = ['get', {str(world / 'stock')!r}, 'pears']; from hutch.cli import main\n"
    program += "try: main()\nexcept SystemExit: print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("[1, 2.5, None, True]\n")
    assert not {"rich", "unittest", "hutch.cli.stat", "sqlite3"} & set(done.stdout.split())


def test_the_list_of_commands_says_what_each_does() -> None:
    import click

    ctx = click.Context(group)
    for name, (_, line) in _COMMANDS.items():
        found = group.get_command(ctx, name)
        assert found is not None
        assert found.get_short_help_str(200).removesuffix(".") == line.removesuffix("."), name


def test_help_names_every_command_and_exit_code() -> None:
    answer = command("--help")
    assert answer.code == 0
    assert all(f"  {name} " in answer.out for name in _COMMANDS)
    assert "130 interrupted" in answer.out
    assert command().code in (0, 2)


def test_help_spells_escapes_as_they_are_typed() -> None:
    assert r"in which \xHH stands for one byte and \\ for a backslash" in " ".join(command("--help").out.split())


@pytest.mark.parametrize("name", _COMMANDS)
def test_help_of_each(name: str) -> None:
    assert command(name, "--help").out.startswith(f"Usage: hutch {name} ")
