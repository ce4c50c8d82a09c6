"""Directories in every state that the stdlib leaves them in, written here literally, byte for byte.

Each is opened read-only (which changes nothing on disk), then for writing; each is written to and must
then read the same in the newest stdlib.
"""

from __future__ import annotations

import importlib.util
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hutch
import hutch.dbm
from flags import READ_AND_WRITE, Flag
from hutch.errors import CorruptDirectoryError, CorruptEntryError, CorruptError, HutchError, RecoveryWarning
from hutch.store import open_store
from interpreters import newest_interpreter

FIXTURES = Path(__file__).parent / "fixtures"

# Five blocks, each of its own letter; the last is not a whole one, as dbm.dumb leaves it.
HEAP = b"A" * 512 + b"B" * 512 + b"C" * 512 + b"D" * 512 + b"E" * 100


def plant(base: Path, directory: bytes | None, heap: bytes | None = HEAP, backup: bytes | None = None) -> Path:
    """Write the three files of dbm.dumb, or those that are not None."""
    for suffix, data in ((".dir", directory), (".dat", heap), (".bak", backup)):
        if data is not None:
            Path(f"{base}{suffix}").write_bytes(data)
    return base


def on_disk(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder: its bytes and when it was last changed."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())}


@contextmanager
def _any_recovery_warning() -> Iterator[None]:
    """A RecoveryWarning may be given or not; any other warning stays an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveryWarning)
        yield


def contents(base: Path, flag: Flag = "r") -> list[tuple[bytes, bytes]]:
    with hutch.dbm.open(base, flag) as database:
        items = list(database.items())
        assert len(database) == len(items)
        assert list(database.keys()) == [key for key, _ in items]
        for key, value in items:
            assert key in database
            assert database[key] == value
    return items


# What the file holds, what it means. The order is that of the first line of each key.
READABLE = {
    "unix": (
        b"'a', (0, 3)\n'b', (512, 512)\n",
        [(b"a", b"AAA"), (b"b", b"B" * 512)],
    ),
    "no final newline": (
        b"'a', (0, 3)\n'b', (512, 5)",
        [(b"a", b"AAA"), (b"b", b"BBBBB")],
    ),
    "one line, no newline": (b"'a', (0, 3)", [(b"a", b"AAA")]),
    "crlf": (
        b"'a', (0, 3)\r\n'b', (512, 5)\r\n'c', (1024, 1)\r\n",
        [(b"a", b"AAA"), (b"b", b"BBBBB"), (b"c", b"C")],
    ),
    "crlf, no final newline": (
        b"'a', (0, 3)\r\n'b', (512, 5)",
        [(b"a", b"AAA"), (b"b", b"BBBBB")],
    ),
    "cr": (
        b"'a', (0, 3)\r'b', (512, 5)\r'c', (1024, 1)\r",
        [(b"a", b"AAA"), (b"b", b"BBBBB"), (b"c", b"C")],
    ),
    "every line end": (
        b"'a', (0, 3)\r'b', (512, 5)\r\n'c', (1024, 1)\n'd', (1536, 2)",
        [(b"a", b"AAA"), (b"b", b"BBBBB"), (b"c", b"C"), (b"d", b"DD")],
    ),
    "duplicates: the last wins": (
        b"'a', (0, 3)\n'b', (512, 5)\n'a', (1024, 4)\n'b', (512, 1)\n'a', (1536, 2)\n",
        [(b"a", b"DD"), (b"b", b"B")],
    ),
    "duplicates spelled differently": (
        b"'a', (0, 3)\n\"a\", (512, 5)\n'\\x61', (1024, 1)\n",
        [(b"a", b"C")],
    ),
    "duplicates, crlf": (
        b"'a', (0, 3)\r\n'b', (512, 5)\r\n'a', (1024, 4)\r\n",
        [(b"a", b"CCCC"), (b"b", b"BBBBB")],
    ),
    "unaligned": (
        b"'a', (7, 3)\n'b', (1000, 40)\n'c', (2047, 101)\n",
        [(b"a", b"AAA"), (b"b", b"B" * 24 + b"C" * 16), (b"c", b"D" + b"E" * 100)],
    ),
    "one block, several values": (
        b"'a', (0, 3)\n'b', (3, 4)\n'c', (100, 900)\n'd', (1000, 30)\n",
        [(b"a", b"AAA"), (b"b", b"AAAA"), (b"c", b"A" * 412 + b"B" * 488), (b"d", b"B" * 24 + b"C" * 6)],
    ),
    "overlapping values": (
        b"'a', (500, 24)\n'b', (510, 4)\n'c', (500, 24)\n",
        [(b"a", b"A" * 12 + b"B" * 12), (b"b", b"AABB"), (b"c", b"A" * 12 + b"B" * 12)],
    ),
    "empty values": (
        b"'a', (0, 0)\n'b', (0, 3)\n'c', (512, 0)\n'd', (2148, 0)\n",
        [(b"a", b""), (b"b", b"AAA"), (b"c", b""), (b"d", b"")],
    ),
    "up to the last byte": (b"'a', (2048, 100)\n", [(b"a", b"E" * 100)]),
    "the whole heap": (b"'a', (0, 2148)\n", [(b"a", HEAP)]),
    "the empty key": (b"'', (0, 3)\n", [(b"", b"AAA")]),
    "quotes": (
        b"\"it's\", (0, 1)\n'say \"so\"', (512, 1)\n'\\'\"', (1024, 1)\n'back\\\\slash', (1536, 1)\n",
        [(b"it's", b"A"), (b'say "so"', b"B"), (b"'\"", b"C"), (b"back\\slash", b"D")],
    ),
    "control characters": (
        b"'\\x00\\t\\n\\r\\x1b\\x7f', (0, 1)\n",
        [(b"\x00\t\n\r\x1b\x7f", b"A")],
    ),
    "escapes that nobody writes and everybody reads": (
        b"'\\xE9\\xfF\\n', (0, 1)\n",
        [(b"\xe9\xff\n", b"A")],
    ),
    "latin-1 as 3.x writes it": (
        b"'\xe9\xff\\x85\\xa0\\xad', (0, 1)\n",
        [(b"\xe9\xff\x85\xa0\xad", b"A")],
    ),
    "latin-1 as 2.7 writes it": (
        b"'\\xe9\\xff\\x85\\xa0\\xad', (0, 1)\n",
        [(b"\xe9\xff\x85\xa0\xad", b"A")],
    ),
    "keys that look like lines": (
        b"\"x', (0, 1)  # 00000000\", (0, 2)\n'#', (512, 2)\n'(', (1024, 1)\n",
        [(b"x', (0, 1)  # 00000000", b"AA"), (b"#", b"BB"), (b"(", b"C")],
    ),
}

readable = pytest.mark.parametrize(("directory", "expected"), READABLE.values(), ids=READABLE.keys())


@readable
def test_it_is_served_as_it_is_and_reading_changes_nothing(
    directory: bytes, expected: list[tuple[bytes, bytes]], tmp_path: Path
) -> None:
    base = plant(tmp_path / "db", directory)
    before = on_disk(tmp_path)
    assert contents(base, "r") == expected
    assert on_disk(tmp_path) == before
    assert contents(base, "w") == expected
    assert {name: on_disk(tmp_path)[name] for name in before} == before
    assert contents(base, "c") == expected


@readable
@pytest.mark.parametrize("turn", ["add", "replace", "delete", "replace all", "delete all", "clear", "reorganize"])
def test_the_first_change_keeps_everything_else(
    directory: bytes, expected: list[tuple[bytes, bytes]], turn: str, tmp_path: Path
) -> None:
    base = plant(tmp_path / "db", directory)
    now = dict(expected)
    with hutch.dbm.open(base, "w") as database:
        if turn == "add":
            database[b"new"] = now[b"new"] = b"n" * 700
        elif turn == "replace":
            key = next(iter(now))
            database[key] = now[key] = b"r" * 600
        elif turn == "delete":
            key = next(iter(now))
            del database[key]
            del now[key]
        elif turn == "replace all":
            for key in reversed(list(now)):
                database[key] = now[key] = key * 3 + b"!"
                assert dict(database.items()) == now
        elif turn == "delete all":
            for key in list(now):
                del database[key]
                del now[key]
                assert dict(database.items()) == now
        elif turn == "clear":
            database.clear()
            now.clear()
        else:
            database.reorganize()
        assert dict(database.items()) == now
    assert dict(contents(base)) == now
    assert newest_interpreter().session(base, flag="r") == now
    assert list(now) == [key for key, _ in contents(base)]
    with hutch.dbm.open(base, "w") as database:
        assert database.check().ok


def test_an_open_reader_follows_the_adoption_by_another_handle(tmp_path: Path) -> None:
    base = plant(tmp_path / "db", b"'a', (0, 3)\n'b', (3, 5)\n")
    with hutch.dbm.open(base, "r") as reader, hutch.dbm.open(base, "w") as early, hutch.dbm.open(base, "w") as writer:
        assert reader[b"a"] == early[b"a"] == b"AAA"
        writer[b"a"] = b"new"
        for handle in (reader, early, writer):
            assert dict(handle.items()) == {b"a": b"new", b"b": b"AAAAA"}
        early[b"c"] = b"more"
        for handle in (reader, early, writer):
            assert dict(handle.items()) == {b"a": b"new", b"b": b"AAAAA", b"c": b"more"}
    assert contents(base) == [(b"a", b"new"), (b"b", b"AAAAA"), (b"c", b"more")]


def test_a_directory_of_thousands_of_lines(tmp_path: Path) -> None:
    """With every third key twice, and in no order of offsets."""
    count = 3000
    heap = b"".join(b"%08d" % i + bytes(504) for i in range(count))
    lines = [b"'key %d', (%d, 8)\n" % (i, (i * 7 % count) * 512) for i in range(count)]
    lines += [b"'key %d', (%d, 4)\n" % (i, (i * 11 % count) * 512) for i in range(0, count, 3)]
    base = plant(tmp_path / "db", b"".join(lines), heap)
    expected = {b"key %d" % i: b"%08d" % (i * 7 % count) for i in range(count)}
    expected |= {b"key %d" % i: (b"%08d" % (i * 11 % count))[:4] for i in range(0, count, 3)}
    assert dict(contents(base, "r")) == expected
    with hutch.dbm.open(base, "w") as database:
        for i in range(0, count, 5):
            database[b"key %d" % i] = expected[b"key %d" % i] = b"replaced %d" % i
        for i in range(1, count, 5):
            del database[b"key %d" % i]
            del expected[b"key %d" % i]
        assert dict(database.items()) == expected
    assert dict(contents(base, "r")) == expected
    assert newest_interpreter().session(base, flag="r") == expected


# --- extents beyond the end ------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [b"(2047, 200)", b"(4096, 3)", b"(0, 2149)", b"(0, 9999999999)", b"(99999999999, 1)"])
def test_an_entry_beyond_the_end_is_damaged_and_the_others_are_not(bad: bytes, tmp_path: Path) -> None:
    base = plant(tmp_path / "db", b"'a', (0, 3)\n'bad', " + bad + b"\n'b', (512, 5)\n")
    before = on_disk(tmp_path)
    with hutch.dbm.open(base, "r") as database:
        assert list(database.keys()) == [b"a", b"bad", b"b"]
        assert database[b"a"] == b"AAA"
        assert database[b"b"] == b"BBBBB"
        with pytest.raises(CorruptEntryError) as raised:
            database[b"bad"]
        assert raised.value.key == b"bad"
        assert raised.value.offset is not None
        problems = database.check().problems
        assert [problem.key for problem in problems] == [b"bad"]
    assert on_disk(tmp_path) == before
    with hutch.dbm.open(base, "w") as database:
        database[b"c"] = b"written beside it"
        with pytest.raises(CorruptEntryError):
            database[b"bad"]
        assert (database[b"a"], database[b"b"], database[b"c"]) == (b"AAA", b"BBBBB", b"written beside it")
    with hutch.dbm.open(base, "w") as database:
        with pytest.raises(CorruptEntryError):
            database[b"bad"]
        database[b"bad"] = b"good again"
        assert database.check().ok
    good = {b"a": b"AAA", b"bad": b"good again", b"b": b"BBBBB", b"c": b"written beside it"}
    assert dict(contents(base)) == good
    assert newest_interpreter().session(base, flag="r") == good


def test_damaged_entries_can_be_deleted(tmp_path: Path) -> None:
    base = plant(tmp_path / "db", b"'bad', (4096, 3)\n'a', (0, 3)\n'worse', (0, 99999)\n")
    with hutch.dbm.open(base, "w") as database:
        del database[b"bad"]
        del database[b"worse"]
        assert dict(database.items()) == {b"a": b"AAA"}
        assert database.check().ok
    assert newest_interpreter().session(base, flag="r") == {b"a": b"AAA"}


# --- missing and empty files -----------------------------------------------------------------------------

BACKUP = b"'a', (0, 3)\n'b', (512, 5)\n"
FROM_BACKUP = [(b"a", b"AAA"), (b"b", b"BBBBB")]


def test_only_a_backup_is_recovered_with_a_warning(tmp_path: Path) -> None:
    """What dbm.dumb leaves when it dies between the rename and the writing in its commit."""
    base = plant(tmp_path / "db", None, HEAP, BACKUP)
    with pytest.warns(RecoveryWarning, match=r"\.bak"):
        database = hutch.dbm.open(base, "c")
    assert list(database.items()) == FROM_BACKUP
    database[b"c"] = b"more"
    database.close()
    assert contents(base) == [*FROM_BACKUP, (b"c", b"more")]
    assert newest_interpreter().session(base, flag="r") == {b"a": b"AAA", b"b": b"BBBBB", b"c": b"more"}


def test_only_a_backup_opened_again_without_a_write_between(tmp_path: Path) -> None:
    base = plant(tmp_path / "db", None, HEAP, BACKUP)
    with pytest.warns(RecoveryWarning):
        hutch.dbm.open(base, "c").close()
    # Either it was recovered for good, or each open says so; the entries are never lost.
    with _any_recovery_warning():
        database = hutch.dbm.open(base, "c")
    assert list(database.items()) == FROM_BACKUP
    database.close()


@pytest.mark.parametrize("flag", ["r", "w"])
def test_only_a_backup_for_readers_and_writers_that_create_nothing(flag: Flag, tmp_path: Path) -> None:
    """Served with a warning, or FileNotFoundError as in the stdlib; never empty, and a reader changes nothing."""
    base = plant(tmp_path / "db", None, HEAP, BACKUP)
    before = on_disk(tmp_path)
    try:
        with pytest.warns(RecoveryWarning):
            database = hutch.dbm.open(base, flag)
    except FileNotFoundError:
        assert on_disk(tmp_path) == before
        return
    assert list(database.items()) == FROM_BACKUP
    database.close()
    if flag == "r":
        assert on_disk(tmp_path) == before


@pytest.mark.parametrize("backup", [None, BACKUP], ids=["no backup", "backup"])
def test_an_empty_directory_beside_a_full_heap(backup: bytes | None, tmp_path: Path) -> None:
    """Every key was deleted, or the stdlib died in its commit: opening it must not destroy what is there."""
    base = plant(tmp_path / "db", b"", HEAP, backup)
    before = on_disk(tmp_path)
    with _any_recovery_warning():
        found = contents(base, "r")
    assert found in ([], FROM_BACKUP)
    assert on_disk(tmp_path) == before
    with _any_recovery_warning():
        database = hutch.dbm.open(base, "w")
    assert list(database.items()) == found
    database.close()
    assert Path(f"{base}.dat").read_bytes()[: len(HEAP)] == HEAP
    if backup is not None:
        assert Path(f"{base}.bak").read_bytes() == backup
    with _any_recovery_warning():
        database = hutch.dbm.open(base, "c")
    database[b"new"] = b"value"
    assert list(database.items()) == [*found, (b"new", b"value")]
    database.close()
    assert newest_interpreter().session(base, flag="r") == {**dict(found), b"new": b"value"}


def test_a_heap_without_a_directory(tmp_path: Path) -> None:
    """r and w say that a file is missing; c may refuse or start anew, but leaves the heap's bytes alone."""
    base = plant(tmp_path / "db", None)
    before = on_disk(tmp_path)
    for flag in READ_AND_WRITE:
        with pytest.raises(FileNotFoundError):
            hutch.dbm.open(base, flag)
        assert on_disk(tmp_path) == before
    with _any_recovery_warning():
        try:
            hutch.dbm.open(base, "c").close()
        except HutchError:
            pass
    assert Path(f"{base}.dat").read_bytes()[: len(HEAP)] == HEAP


def test_a_directory_without_a_heap(tmp_path: Path) -> None:
    base = plant(tmp_path / "db", BACKUP, None)
    before = on_disk(tmp_path)
    for flag in READ_AND_WRITE:
        with pytest.raises(FileNotFoundError):
            hutch.dbm.open(base, flag)
        assert on_disk(tmp_path) == before
    try:
        with _any_recovery_warning(), hutch.dbm.open(base, "c") as database:
            for key in (b"a", b"b"):
                with pytest.raises(CorruptEntryError):
                    database[key]
    except CorruptError:
        pass
    assert Path(f"{base}.dir").read_bytes() == BACKUP


def test_an_empty_heap_alone_is_an_interrupted_creation(tmp_path: Path) -> None:
    base = plant(tmp_path / "db", None, b"")
    assert contents(base, "c") == []
    with hutch.dbm.open(base, "w") as database:
        database[b"a"] = b"1"
    assert newest_interpreter().session(base, flag="r") == {b"a": b"1"}


def test_two_empty_files_are_an_empty_database(tmp_path: Path) -> None:
    base = plant(tmp_path / "db", b"", b"")
    before = on_disk(tmp_path)
    assert contents(base, "r") == []
    assert on_disk(tmp_path) == before
    with hutch.dbm.open(base, "w") as database:
        database[b"a"] = b"1"
    assert newest_interpreter().session(base, flag="r") == {b"a": b"1"}


@pytest.mark.parametrize("flag", ["r", "w", "c"])
def test_a_torn_directory_is_an_error_or_recovered_from_the_backup(flag: Flag, tmp_path: Path) -> None:
    """The stdlib died while it wrote the new directory; nothing is thrown away."""
    base = plant(tmp_path / "db", b"'a', (0, 3)\n'b', (51", HEAP, BACKUP)
    before = on_disk(tmp_path)
    try:
        with _any_recovery_warning():
            database = hutch.dbm.open(base, flag)
    except CorruptDirectoryError:
        assert on_disk(tmp_path) == before
        return
    assert list(database.items()) == FROM_BACKUP
    database.close()


def test_n_starts_anew_over_anything(tmp_path: Path) -> None:
    """And leaves no journal, index or backup of the old database behind that could come back."""
    for directory in (BACKUP, b"garbage\n", b"", None):
        base = plant(tmp_path / "db", directory, HEAP, BACKUP)
        Path(f"{base}.log").write_bytes(b"not a journal" * 50)
        Path(f"{base}.idx").write_bytes(b"not an index" * 50)
        assert contents(base, "n") == []
        assert contents(base, "r") == []
        assert newest_interpreter().session(base, flag="r") == {}


# --- files that the stdlib really wrote ------------------------------------------------------------------


def _fixture_entries() -> dict[bytes, bytes]:
    source = FIXTURES / "make_stdlib_fixtures.py"
    spec = importlib.util.spec_from_file_location("make_stdlib_fixtures", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entries: Iterator[tuple[bytes, bytes]] = module.entries()
    return dict(entries)


every_fixture = pytest.mark.parametrize("version", ["2.7", "3.6", "3.13"])


@every_fixture
def test_a_database_written_by_the_stdlib_opens_for_ever(version: str, tmp_path: Path) -> None:
    for source in (FIXTURES / f"python{version}").iterdir():
        shutil.copy(source, tmp_path)
    base = tmp_path / "plain"
    expected = _fixture_entries()
    before = on_disk(tmp_path)
    assert dict(contents(base, "r")) == expected
    assert on_disk(tmp_path) == before
    with hutch.dbm.open(base, "w") as database:
        database[b"written"] = expected[b"written"] = b"by hutch"
        del database[b"size 512"]
        del expected[b"size 512"]
    assert dict(contents(base, "r")) == expected
    assert newest_interpreter().session(base, flag="r") == expected
    # the backup that the stdlib left is an older state, and readable too
    Path(f"{base}.dir").unlink()
    for side in (".log", ".idx"):
        Path(f"{base}{side}").unlink(missing_ok=True)
    with _any_recovery_warning():
        recovered = hutch.dbm.open(base, "c")
    assert set(recovered.keys()) >= _fixture_entries().keys() - {b"size 512"}
    recovered.close()


@every_fixture
def test_a_shelf_written_by_the_stdlib_opens_for_ever(version: str, tmp_path: Path) -> None:
    for source in (FIXTURES / f"python{version}").iterdir():
        shutil.copy(source, tmp_path)
    with hutch.open(str(tmp_path / "shelf"), "r") as shelf:
        assert dict(shelf.items()) == {"list": [1, 2.5, None, True], "text": "Grüße", "dict": {"a": {"b": [3]}}}


def test_the_engine_serves_them_in_the_directorys_order(tmp_path: Path) -> None:
    base = plant(tmp_path / "db", b"'b', (512, 1)\n'c', (1024, 1)\n'a', (0, 1)\n'c', (1024, 2)\n")
    store = open_store(base, "w")
    assert list(store.keys()) == [b"b", b"c", b"a"]
    store.put(b"c", b"new value, old place")
    store.put(b"0", b"last")
    assert list(store.keys()) == [b"b", b"c", b"a", b"0"]
    store.close()
    store = open_store(base, "r")
    assert [key for key, _ in store.items()] == [b"b", b"c", b"a", b"0"]
    store.close()
