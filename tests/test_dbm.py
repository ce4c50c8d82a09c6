"""`hutch.dbm`: the contract of mappings, the stdlib's behaviours and messages, and what goes beyond them."""

from __future__ import annotations

import array
import dbm
import dbm.dumb
import gc
import importlib
import os
import pickle
import stat
import subprocess
import sys
import tempfile
import threading
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hutch.dbm
from children import Child, Line
from contract import AWKWARD_BYTES, AWKWARD_TEXTS, SIZES, BreakOff, MappingContract, broken_off
from hutch.dbm import Database
from hutch.errors import ClosedError, HutchError, ReadOnlyError, TransactionError

SUFFIXES = (".dat", ".dir", ".bak", ".log", ".idx")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "db")


@pytest.fixture
def db(path: str) -> Iterator[Database]:
    with hutch.dbm.open(path) as database:
        yield database


def stdlib_items(path: str) -> list[tuple[bytes, bytes]]:
    """What the stdlib finds in a copy of the files (it may rewrite what it opens)."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".dat", ".dir"):
            Path(folder, "db" + suffix).write_bytes(Path(path + suffix).read_bytes())
        with dbm.dumb.open(os.path.join(folder, "db"), "r") as stdlib:
            return list(stdlib.items())


class TestContract(MappingContract):
    options: ClassVar[dict[str, Any]] = {}

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "db")
            self.newest = getattr(self, "newest", {})
            self.newest[path] = hutch.dbm.open(path, **self.options)
            try:
                yield self.newest[path]
            finally:
                self.newest.pop(path).close()

    def reopened(self, mapping: MutableMapping[Any, Any]) -> Database:
        assert isinstance(mapping, Database)
        mapping.close()
        self.newest[mapping.path] = hutch.dbm.open(mapping.path, "w", **self.options)
        return self.newest[mapping.path]

    def iterators(self) -> list[Callable[[MutableMapping[Any, Any]], Iterator[Any]]]:
        return [
            *super().iterators(),
            lambda mapping: mapping.iterkeys(),  # type: ignore[attr-defined]
            lambda mapping: (key for key, _ in mapping.iteritems()),  # type: ignore[attr-defined]
        ]


class TestContractInATransaction(TestContract):
    """Everything holds before it is committed, too."""

    @contextmanager
    def fresh(self) -> Iterator[Database]:
        with super().fresh() as database, database.transaction():
            yield database

    def reopened(self, mapping: MutableMapping[Any, Any]) -> Database:
        assert isinstance(mapping, Database)
        return mapping


class TestContractThroughTheStdlib(TestContract):
    """Whenever it reopens, the stdlib has rewritten the directory meanwhile."""

    def reopened(self, mapping: MutableMapping[Any, Any]) -> Database:
        assert isinstance(mapping, Database)
        path, items = mapping.path, mapping.items()
        mapping.close()
        with dbm.dumb.open(path) as stdlib:
            assert stdlib.items() == items
            stdlib[b"of the stdlib"] = b"its value"
            del stdlib[b"of the stdlib"]  # which rewrites the directory
        self.newest[path] = hutch.dbm.open(path, "w")
        return self.newest[path]


# -- opening -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["x", "rf", "", "R", "cn", None, 5, b"r", ["r"]])
def test_an_unknown_flag_is_refused(path: str, flag: Any) -> None:
    with pytest.raises(ValueError, match=r"^Flag must be one of 'r', 'w', 'c', or 'n'$"):
        hutch.dbm.open(path, flag)
    assert os.listdir(os.path.dirname(path)) == []


def test_an_unknown_durability_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"^Durability must be one of 'close' or 'commit'$"):
        hutch.dbm.open(path, durability="never")  # type: ignore[arg-type]
    assert os.listdir(os.path.dirname(path)) == []


@pytest.mark.parametrize("flag", ["r", "w"])
def test_reading_what_is_missing_creates_nothing(path: str, flag: Any) -> None:
    with pytest.raises(FileNotFoundError):
        hutch.dbm.open(path, flag)
    assert os.listdir(os.path.dirname(path)) == []
    for suffix in (".dat", ".dir"):
        Path(path + suffix).touch()
        with pytest.raises(FileNotFoundError):
            hutch.dbm.open(path, flag)
        assert os.listdir(os.path.dirname(path)) == ["db" + suffix]
        os.unlink(path + suffix)


def test_a_missing_folder_is_not_found(tmp_path: Path) -> None:
    for flag in ("r", "w", "c", "n"):
        with pytest.raises(FileNotFoundError):
            hutch.dbm.open(tmp_path / "missing" / "db", flag)  # type: ignore[arg-type]


def test_create_opens_what_is_there(path: str) -> None:
    for number in range(3):
        with hutch.dbm.open(path) as database:
            assert len(database) == number
            database[str(number)] = b""


def test_new_forgets_what_is_there(path: str) -> None:
    for _ in range(3):
        with hutch.dbm.open(path, "n") as database:
            assert database.keys() == []
            database[b"key"] = b"value" * 200
    assert stdlib_items(path) == [(b"key", b"value" * 200)]


def test_new_forgets_what_the_stdlib_wrote(path: str) -> None:
    with dbm.dumb.open(path, "n") as stdlib:
        stdlib[b"old"] = b"old"
    with dbm.dumb.open(path, "w") as stdlib:
        del stdlib[b"old"]  # leaves a .bak that still has it
    with hutch.dbm.open(path, "n") as database:
        assert database.items() == []
    with hutch.dbm.open(path) as database:
        assert database.items() == []


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Named:
        def __init__(self, name: str | bytes) -> None:
            self.name = name

        def __fspath__(self) -> str | bytes:
            return self.name

    text = os.fspath(tmp_path / "name with spaces é")
    names: list[Any] = [text, os.fsencode(text), Path(text), Named(text), Named(os.fsencode(text))]
    for number, name in enumerate(names):
        with hutch.dbm.open(name) as database:
            assert database.path == text
            assert len(database) == number
            database[str(number)] = b""
    monkeypatch.chdir(tmp_path)
    with hutch.dbm.open("name with spaces é", "r") as database:
        assert database.path == text
        os.chdir("/")  # an open database does not depend on the working directory
        assert len(database) == len(names)
    undecodable = os.fsencode(tmp_path) + b"/\xff\xfe"
    with hutch.dbm.open(undecodable) as database:
        database[b"k"] = b"v"
        assert os.fsencode(database.path) == undecodable
    assert os.path.exists(undecodable + b".dat")


@pytest.mark.parametrize("name", [5, None, 1.5, ["db"]])
def test_what_is_no_name(name: Any) -> None:
    with pytest.raises(TypeError):
        hutch.dbm.open(name)


def test_a_name_with_nul_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="null"):
        hutch.dbm.open(os.fspath(tmp_path / "a\0b"))


@pytest.mark.parametrize(
    ("mode", "umask", "expected"), [(0o666, 0o022, 0o644), (0o637, 0o002, 0o635), (0o600, 0, 0o600)]
)
def test_the_mode_of_every_file(path: str, mode: int, umask: int, expected: int) -> None:
    former = os.umask(umask)
    try:
        with hutch.dbm.open(path, "c", mode) as database:
            database[b"key"] = b"value"
            assert modes(path) == {expected}
            database.reorganize()
            database.sync()
            assert modes(path) == {expected}
    finally:
        os.umask(former)
    assert modes(path) == {expected}


def test_a_mode_survives_rewrites(path: str) -> None:
    with hutch.dbm.open(path) as database:
        database[b"first"] = b"value"
    os.chmod(path + ".dat", 0o640)
    os.chmod(path + ".dir", 0o640)
    with hutch.dbm.open(path, "w") as database:
        del database[b"first"]  # the directory is rewritten for it
        database[b"second"] = b"value"
        database.reorganize()
    assert modes(path, (".dat", ".dir")) == {0o640}
    with hutch.dbm.open(path, "n") as database:
        database[b"third"] = b"value"
    assert stdlib_items(path) == [(b"third", b"value")]


def modes(path: str, suffixes: tuple[str, ...] = SUFFIXES) -> set[int]:
    return {stat.S_IMODE(os.stat(path + suffix).st_mode) for suffix in suffixes if os.path.exists(path + suffix)}


@pytest.mark.parametrize(
    "content",
    [
        b"str(print('evaluated')), 0\n",
        b"__import__('os').abort(), (0, 0)\n",
        b"'a', (0, 0)\nnonsense\n",
        b"'a', (0, 0)\n\n'b', (0, 0)\n",
        b"# only a comment\n",
        b"'a', (0, 0\n",
        b"'a', (0,)\n",
        b"'a', (0, -1)\n",
        b"'a', (0, 1e9)\n",
        b"\0" * 64,
        b"'\\u20ac', (0, 0)\n",
        b"(" * 20_000 + b"\n",
    ],
)
def test_a_malformed_directory_is_refused_untouched(
    path: str, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    Path(path + ".dir").write_bytes(content)
    with pytest.raises(ValueError, match=r"directory|line"):
        hutch.dbm.open(path, "c")
    assert os.listdir(os.path.dirname(path)) == ["db.dir"]
    Path(path + ".dat").touch()
    for flag in ("r", "w", "c"):
        with pytest.raises(ValueError, match=r"directory|line") as caught:
            hutch.dbm.open(path, flag)  # type: ignore[arg-type]
        assert isinstance(caught.value, hutch.dbm.error)
        assert Path(path + ".dir").read_bytes() == content
        assert Path(path + ".dat").read_bytes() == b""
        assert sorted(os.listdir(os.path.dirname(path))) == ["db.dat", "db.dir"]
    assert capfd.readouterr() == ("", "")


# -- errors --------------------------------------------------------------------------------------------


def test_error_is_caught_as_the_stdlib_s(path: str) -> None:
    assert issubclass(hutch.dbm.error, OSError)
    assert hutch.dbm.error is HutchError
    database = hutch.dbm.open(path)
    database.close()
    for family in (hutch.dbm.error, dbm.dumb.error, dbm.error, OSError):
        with pytest.raises(family):
            database[b"key"]


NO_KEYS: list[Any] = [5, None, 1.5, ["a"], ("a",), object()]


@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_key(db: Database, key: Any) -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: db[key],
        lambda: db.__setitem__(key, b""),
        lambda: db.__delitem__(key),
        lambda: key in db,
        lambda: db.get(key),
        lambda: db.get(key, b""),
        lambda: db.get_many([key]),
        lambda: db.pop(key),
        lambda: db.pop(key, None),
        lambda: db.setdefault(key, b""),
        lambda: db.update({key: b""} if isinstance(key, (int, float)) else [(key, b"")]),
        lambda: db.modify(key, lambda value: value),
        lambda: db.edit(key),
        lambda: db.set_location(key),
        lambda: db.prefix(key),
    ]
    for attempt in attempts:
        with pytest.raises(TypeError, match=r"^keys must be bytes or strings$"):
            attempt()
    assert len(db) == 0


@pytest.mark.parametrize("value", [5, None, 1.5, ["a"], {"a": "b"}, object()])
def test_what_is_no_value(db: Database, value: Any) -> None:
    db[b"known"] = b"old"
    attempts: list[Callable[[], Any]] = [
        lambda: db.__setitem__(b"k", value),
        lambda: db.setdefault(b"k", value),
        lambda: db.update({b"first": b"", b"k": value}),
        lambda: db.update(name=value),
    ]
    if value is not None:  # which deletes
        attempts.append(lambda: db.modify(b"known", lambda _: value))
    for attempt in attempts:
        with pytest.raises(TypeError, match=r"^values must be bytes or strings$"):
            attempt()
    assert db.items() == [(b"known", b"old")]


def test_setdefault_without_a_default(db: Database) -> None:
    db[b"empty"] = b""
    assert db.setdefault(b"empty") == b""  # nothing has to be stored
    with pytest.raises(TypeError, match=r"^values must be bytes or strings$"):
        db.setdefault(b"missing")


def test_text_that_utf8_cannot_hold(db: Database) -> None:
    for attempt in (lambda: db["\ud800"], lambda: db.update(k="\ud800"), lambda: "\udfff" in db):
        with pytest.raises(UnicodeEncodeError):
            attempt()  # type: ignore[no-untyped-call]
    assert len(db) == 0


def test_anything_like_bytes_is_taken(db: Database) -> None:
    class Sub(bytes):
        pass

    class Text(str):
        __slots__ = ()

    numbers = array.array("i", [1, 2, 3])
    for value in (
        Sub(b"data"),
        bytearray(b"data"),
        memoryview(b"data"),
        memoryview(b"d-a-t-a")[::2],
        "data",
        Text("data"),
    ):
        db[b"k"] = value
        assert (db[b"k"], type(db[b"k"])) == (b"data", bytes)
        assert db.setdefault(b"other", value) == b"data"
        del db[b"other"]
    db[b"k"] = numbers
    assert db[b"k"] == numbers.tobytes()
    db[b"k"] = memoryview(numbers)
    assert db[b"k"] == numbers.tobytes()
    for key in (Sub(b"k"), bytearray(b"k"), memoryview(b"k"), Text("k"), "k"):
        assert key in db
        assert db[key] == numbers.tobytes()
        db[key] = b"new"
        del db[key]
        assert db.pop(key, None) is None
        db.update([(key, numbers)])
    assert [type(key) for key in db] == [bytes]


def test_a_buffer_is_copied(db: Database) -> None:
    buffer = bytearray(b"before")
    db[b"k"] = buffer
    with db.transaction():
        db[b"t"] = buffer
        buffer[:] = b"after."
    buffer.clear()  # nobody holds on to it
    assert db.items() == [(b"k", b"before"), (b"t", b"before")]


def writes(db: Database) -> list[Callable[[], Any]]:
    return [
        lambda: db.__setitem__(b"new", b"x"),
        lambda: db.__setitem__("a", "x"),
        lambda: db.__delitem__(b"a"),
        lambda: db.pop(b"a"),
        db.popitem,
        lambda: db.setdefault(b"new", b"x"),
        lambda: db.update({b"new": b"x"}),
        db.clear,
        lambda: db.modify(b"a", lambda value: value),
        lambda: db.edit(b"a").__enter__(),
        lambda: db.transaction().__enter__(),
        db.reorganize,
    ]


def test_read_only(path: str) -> None:
    with hutch.dbm.open(path) as database:
        database[b"a"] = b"1"
    before = {suffix: Path(path + suffix).read_bytes() for suffix in (".dat", ".dir")}
    with hutch.dbm.open(path, "r") as database:
        assert database.readonly
        for write in writes(database):
            with pytest.raises(ReadOnlyError, match=r"^The database is opened for reading only$"):
                write()
        assert database.pop(b"missing", None) is None
        assert database.setdefault(b"a", b"2") == b"1"
        assert database.items() == [(b"a", b"1")]
        assert database.first() == database.last() == (b"a", b"1")
        assert database.check().ok
        database.sync()
    assert {suffix: Path(path + suffix).read_bytes() for suffix in (".dat", ".dir")} == before


def test_closed(path: str, tmp_path: Path) -> None:
    database = hutch.dbm.open(path)
    database[b"a"] = b"1"
    iterators = [database.iterkeys(), database.iteritems(), database.itervalues(), database.range()]
    values = database.values()
    database.close()
    database.close()
    assert database.closed
    attempts: list[Callable[[], Any]] = [
        *writes(database),
        lambda: database[b"a"],
        lambda: database["a"],
        lambda: database[b"missing"],
        lambda: b"a" in database,
        lambda: len(database),
        lambda: bool(database),
        lambda: iter(database),
        lambda: list(database),
        database.keys,
        database.iterkeys,
        database.items,
        database.iteritems,
        database.values,
        database.itervalues,
        lambda: list(values),
        lambda: database.get(b"a"),
        lambda: database.get("missing", b""),
        lambda: database.get_many([]),
        lambda: database.pop(b"a", None),
        lambda: database.setdefault(b"a", b""),
        database.update,
        lambda: database.update({}),
        lambda: database == {},
        database.sync,
        lambda: database.backup(tmp_path / "copy"),
        database.check,
        database.statistics,
        database.first,
        database.last,
        database.next,
        database.previous,
        lambda: database.set_location(b"a"),
        database.range,
        lambda: database.prefix(b""),
        *(lambda iterator=iterator: next(iterator) for iterator in iterators),  # type: ignore[misc]
    ]
    for attempt in attempts:
        with pytest.raises(ClosedError, match=r"^DBM object has already been closed$"):
            attempt()
    assert stdlib_items(path) == [(b"a", b"1")]


def test_context_manager(path: str) -> None:
    with hutch.dbm.open(path) as database:
        assert not database.closed
        database[b"a"] = b"1"
    assert database.closed
    with broken_off(), hutch.dbm.open(path) as database:
        database[b"b"] = b"2"
        raise BreakOff
    assert database.closed
    assert stdlib_items(path) == [(b"a", b"1"), (b"b", b"2")]


def test_what_nobody_closes_is_closed(path: str) -> None:
    database = hutch.dbm.open(path)
    database[b"a"] = b"1"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del database
        gc.collect()
    assert stdlib_items(path) == [(b"a", b"1")]


def test_repr_and_properties(path: str) -> None:
    database = hutch.dbm.open(path)
    assert (database.path, database.readonly, database.closed) == (path, False, False)
    assert repr(database) == f"<Database {path!r}, open>"
    database.close()
    assert repr(database) == f"<Database {path!r}, closed>"
    with hutch.dbm.open(path, "r") as database:
        assert repr(database) == f"<Database {path!r}, read-only>"


# -- iteration -----------------------------------------------------------------------------------------


def test_forms_of_iteration(db: Database) -> None:
    db.update({"b": "2", "a": "1", "c": "3"})
    assert db.keys() == list(db) == list(db.iterkeys()) == [b"b", b"a", b"c"]
    assert db.items() == list(db.iteritems()) == [(b"b", b"2"), (b"a", b"1"), (b"c", b"3")]
    assert list(db.values()) == list(db.itervalues()) == [b"2", b"1", b"3"]
    assert b"3" in db.values()
    assert "3" not in db.values()


def test_iteration_holds_one_value_at_a_time(db: Database) -> None:
    size_bytes = 200_000
    for number in range(20):
        db[str(number)] = bytes(size_bytes)
    tracemalloc.start()
    try:
        for value in db.values():
            assert len(value) == size_bytes
        for _, value in db.iteritems():
            assert len(value) == size_bytes
        assert tracemalloc.get_traced_memory()[1] < 6 * size_bytes
    finally:
        tracemalloc.stop()


def test_an_iterator_sees_what_another_handle_does(path: str, db: Database) -> None:
    db.update((str(number), b"old") for number in range(10))
    with hutch.dbm.open(path) as other:
        keys = iter(db)
        assert next(keys) == b"0"
        del other["5"]
        other["7"] = b"new" * 500
        seen = [b"0", *keys]
        assert len(seen) == len(set(seen))
        assert set(seen) - {b"5"} == {b"%d" % number for number in range(10)} - {b"5"}
        assert db["7"] == b"new" * 500
        assert "5" not in db


# -- batches and transactions --------------------------------------------------------------------------


def test_get_many(db: Database) -> None:
    db.update({"a": "1", "b": "2", "é": "3"})
    assert db.get_many(["a", "missing", "é"]) == {"a": b"1", "é": b"3"}
    assert db.get_many([b"b", b"missing", b"a"]) == {b"b": b"2", b"a": b"1"}
    assert list(db.get_many(iter(["é", "a"]))) == ["é", "a"]
    assert db.get_many([]) == {}
    with db.transaction():
        db["a"] = b"changed"
        assert db.get_many(["a"]) == {"a": b"changed"}


def test_update_is_all_or_nothing(db: Database) -> None:
    db["a"] = b"1"

    def source() -> Iterator[tuple[str, Any]]:
        yield "a", b"2"
        yield "b", b"2"
        raise BreakOff

    with pytest.raises(BreakOff):
        db.update(source())
    with pytest.raises(TypeError):
        db.update({"a": b"2", "b": 5})
    assert db.items() == [(b"a", b"1")]


def test_update_is_one_commit(path: str, db: Database) -> None:
    with hutch.dbm.open(path) as other:
        before = other.store.sequence
        db.update((str(number), b"") for number in range(1000))
        assert other.store.sequence == before + 1
        assert len(other) == 1000


def test_a_transaction_commits(path: str, db: Database) -> None:
    with hutch.dbm.open(path, "r") as other:
        with db.transaction() as inside:
            assert inside is db
            db["a"] = "1"
            db["b"] = "2"
            assert db["a"] == b"1"
            assert len(db) == 2
            assert len(other) == 0
            assert "a" not in other
        assert other.items() == [(b"a", b"1"), (b"b", b"2")]


def test_an_exception_rolls_back(path: str, db: Database) -> None:
    db.update({"kept": "old", "deleted": "old"})
    with broken_off(), db.transaction():
        db["kept"] = "new" * 500
        db["added"] = "new"
        del db["deleted"]
        assert db.keys() == [b"kept", b"added"]
        raise BreakOff
    assert db.items() == [(b"kept", b"old"), (b"deleted", b"old")]
    with broken_off(KeyboardInterrupt), db.transaction():
        db.clear()
        db["only"] = ""
        assert db.keys() == [b"only"]
        raise KeyboardInterrupt
    assert db.items() == [(b"kept", b"old"), (b"deleted", b"old")]
    db.close()
    assert stdlib_items(path) == [(b"kept", b"old"), (b"deleted", b"old")]


def test_nested_transactions_join(path: str, db: Database) -> None:
    with hutch.dbm.open(path, "r") as other:
        with db.transaction():
            db["a"] = "1"
            with db.transaction():
                db["b"] = "2"
                db.update(c="3")
                assert db.pop("a") == b"1"
                assert db.setdefault("d", "4") == b"4"
                assert db.modify("b", lambda value: (value or b"") + b"!") == b"2!"
            assert len(other) == 0
        assert other.items() == [(b"b", b"2!"), (b"c", b"3"), (b"d", b"4")]


def test_a_nested_transaction_that_fails_fails_the_whole(db: Database) -> None:
    with broken_off(TransactionError), db.transaction():
        db["a"] = "1"
        with broken_off(), db.transaction():
            db["b"] = "2"
            raise BreakOff
    assert db.items() == []
    db["a"] = "2"
    assert db.items() == [(b"a", b"2")]


def test_a_transaction_that_an_exception_leaves_whole(db: Database) -> None:
    with broken_off(), db.transaction():
        db["a"] = "1"
        with db.transaction():
            db["b"] = "2"
        raise BreakOff
    assert db.items() == []


def test_other_threads_see_what_is_committed(db: Database) -> None:
    db["a"] = "old"
    with ThreadPoolExecutor(1) as pool:
        with db.transaction():
            db["a"] = "new"
            db["b"] = "new"
            assert pool.submit(db.items).result() == [(b"a", b"old")]
            assert pool.submit(lambda: (db.get("b"), len(db), "b" in db)).result() == (None, 1, False)
        assert pool.submit(db.items).result() == [(b"a", b"new"), (b"b", b"new")]


def test_transactions_of_threads_take_turns(db: Database) -> None:
    db["n"] = "0"
    gate = threading.Barrier(4)

    def count() -> None:
        gate.wait()
        for _ in range(50):
            with db.transaction():
                db["n"] = str(int(db["n"]) + 1)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(count) for _ in range(4)]:
            future.result()
    assert db["n"] == b"200"


def test_transactions_of_processes_take_turns(path: str, db: Database) -> None:
    db["n"] = "0"

    def count(line: Line) -> None:
        with hutch.dbm.open(path) as mine:
            line.hear()
            for _ in range(50):
                with mine.transaction():
                    mine["n"] = str(int(mine["n"]) + 1)
                mine.modify("m", lambda value: b"%d" % (int(value or 0) + 1))

    with Child(count) as first, Child(count) as second:
        first.say()
        second.say()
        first.finish()
        second.finish()
    assert (db["n"], db["m"]) == (b"100", b"100")


def test_modify(db: Database) -> None:
    assert db.modify("n", lambda value: b"1" if value is None else b"?") == b"1"
    assert db.modify(b"n", lambda value: (value or b"").decode() + "é") == "1é".encode()
    assert db["n"] == "1é".encode()
    assert db.modify("n", lambda value: None) is None
    assert "n" not in db
    assert db.modify("n", lambda value: None) is None
    with pytest.raises(ZeroDivisionError):
        db.modify("n", lambda value: b"%d" % (1 // 0))
    assert db.items() == []


def test_edit(path: str, db: Database) -> None:
    with hutch.dbm.open(path, "r") as other:
        with db.edit("a") as slot:
            assert (slot.key, slot.value) == (b"a", None)
            slot.value = bytearray(b"1")
            assert "a" not in other
        assert other["a"] == db["a"] == b"1"
        with db.edit("a") as slot:
            assert slot.value == b"1"
        with db.edit("a") as slot:
            slot.value = "2"
        assert other["a"] == b"2"
        with db.edit("a") as slot:
            slot.value = None
        assert "a" not in other
        with db.edit("a") as slot:
            assert slot.value is None
        assert "a" not in other


def test_an_edit_that_fails_changes_nothing(db: Database) -> None:
    db["a"] = "1"
    with broken_off(), db.edit("a") as slot:
        slot.value = b"2"
        db["b"] = b"2"
        raise BreakOff
    wrong: Any = 5
    with pytest.raises(TypeError, match="values must be bytes or strings"), db.edit("a") as slot:
        slot.value = wrong
    assert db.items() == [(b"a", b"1")]
    db["a"] = "3"  # and nothing is locked any more
    assert not db.store.in_transaction


def test_an_edit_that_changes_nothing_writes_nothing(db: Database) -> None:
    db["a"] = "1"
    before = db.store.sequence
    with db.edit("a") as slot:
        slot.value = b"1"
    assert db.store.sequence == before


def test_pop_gives_each_value_to_one(db: Database) -> None:
    db.update((str(number), str(number)) for number in range(100))
    gate = threading.Barrier(4)

    def take() -> list[bytes | None]:
        gate.wait()
        return [db.pop(str(number), None) for number in range(100)]

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(take) for _ in range(4)]
        taken = [value for future in futures for value in future.result() if value is not None]
    assert sorted(taken) == sorted(b"%d" % number for number in range(100))


def test_popitem_takes_the_oldest(db: Database) -> None:
    db.update(a="1", b="2")
    assert db.popitem() == (b"a", b"1")
    assert db.popitem() == (b"b", b"2")
    with pytest.raises(KeyError, match="the database is empty"):
        db.popitem()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_history_of_three_handles_is_a_dict_s(data: st.DataObject) -> None:
    """Two write, one only reads; now and then all are closed and the stdlib writes."""
    keys = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
    values = st.builds(lambda piece, count: piece * count, st.binary(max_size=3), st.sampled_from([1, 400, 3000]))
    some = st.dictionaries(keys, values, max_size=4)
    steps = [
        "put",
        "put",
        "pop",
        "update",
        "clear",
        "sync",
        "reorganize",
        "reopen",
        "rollback",
        "transaction",
        "stdlib",
    ]
    model: dict[bytes, bytes] = {}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        path = os.path.join(folder, "db")

        def opened(flag: Any) -> Database:
            return stack.enter_context(hutch.dbm.open(path, flag))

        handles = [opened("c"), opened("c"), opened("r")]
        for step in data.draw(st.lists(st.sampled_from(steps), max_size=20)):
            which = data.draw(st.integers(0, 1))
            handle = handles[which]
            if step == "put":
                key = data.draw(keys)
                handle[key] = model[key] = data.draw(values)
            elif step == "pop":
                key = data.draw(keys)
                assert handle.pop(key, None) == model.pop(key, None)
            elif step == "update":
                changes = data.draw(some)
                handle.update(changes)
                model.update(changes)
            elif step == "clear":
                handle.clear()
                model.clear()
            elif step == "sync":
                handle.sync()
            elif step == "reorganize":
                handle.reorganize()
            elif step == "reopen":
                handle.close()
                handles[which] = opened("w")
            elif step == "rollback":
                with broken_off(), handle.transaction():
                    handle[data.draw(keys)] = b"undone"
                    raise BreakOff
            elif step == "transaction":
                with handle.transaction():
                    if data.draw(st.booleans()):
                        handle.clear()
                        model.clear()
                    for key, value in data.draw(some).items():
                        assert handle.pop(key, None) == model.pop(key, None)
                        handle[key] = model[key] = value
                    assert handle.items() == list(model.items())
            elif step == "stdlib":
                for each in handles:
                    each.close()
                with dbm.dumb.open(path, "w") as stdlib:
                    assert stdlib.items() == list(model.items())
                    changes = data.draw(some)
                    for key, value in changes.items():
                        stdlib[key] = value
                model.update(changes)
                handles = [opened("w"), opened("w"), opened("r")]
            if data.draw(st.booleans()):  # reading and writing each catch up in their own way
                for each in handles:
                    assert each.items() == list(model.items())
        for each in handles:
            assert each.items() == list(model.items())
            assert [key for key, _ in each.range()] == sorted(model)
            assert each.check().ok
            each.close()
        assert stdlib_items(path) == list(model.items())


# -- upkeep --------------------------------------------------------------------------------------------


def test_sync_shows_the_stdlib_everything(path: str, db: Database) -> None:
    db.update({"a": "1", "b": "2"})
    db["a"] = "3"
    db.sync()
    assert stdlib_items(path) == [(b"a", b"3"), (b"b", b"2")]
    del db["a"]
    db.sync()
    assert stdlib_items(path) == [(b"b", b"2")]
    db.sync()


def test_close_shows_the_stdlib_everything(path: str) -> None:
    model: dict[bytes, bytes] = {}
    with hutch.dbm.open(path) as database:
        for text in AWKWARD_TEXTS:
            database[text] = text
            model[text.encode()] = text.encode()
        for data in AWKWARD_BYTES:
            database[data] = model[data] = data
        for size in SIZES:
            database[str(size)] = model[b"%d" % size] = b"x" * size
        for key in list(model)[::5]:
            del database[key], model[key]
    assert stdlib_items(path) == list(model.items())


def test_reorganize_gives_space_back(path: str, db: Database) -> None:
    db.update((str(number), b"v" * 3000) for number in range(100))
    for number in range(95):
        del db[str(number)]
    expected = db.items()
    db.reorganize()
    assert db.items() == expected
    db.close()
    assert os.path.getsize(path + ".dat") <= 5 * 3072
    assert stdlib_items(path) == expected


def test_backup(path: str, db: Database, tmp_path: Path) -> None:
    db.update({"a": "1", "b": "2" * 5000})
    copy = tmp_path / "copy"
    for name in (copy, os.fsencode(tmp_path / "second"), os.fspath(tmp_path / "third")):
        db.backup(name)
        assert stdlib_items(os.fsdecode(name)) == db.items()
    with pytest.raises(FileExistsError):
        db.backup(copy)
    db["c"] = "3"
    with hutch.dbm.open(copy) as other:
        assert other.keys() == [b"a", b"b"]
        other["d"] = "4"
    assert "d" not in db


def test_check_finds_damage(path: str) -> None:
    with hutch.dbm.open(path) as database:
        database.update({"a": "1" * 100, "b": "2" * 100, "c": "3" * 100})
        report = database.check()
        assert (report.ok, report.problems, report.entry_count) == (True, (), 3)
    heap = bytearray(Path(path + ".dat").read_bytes())
    offset = heap.index(b"2" * 100)
    heap[offset + 50] ^= 1
    Path(path + ".dat").write_bytes(heap)
    with hutch.dbm.open(path) as database:
        report = database.check()
        assert not report.ok
        (problem,) = report.problems
        assert (problem.key, problem.file, problem.offset) == (b"b", path + ".dat", offset)
        with pytest.raises(hutch.dbm.error) as caught:
            database["b"]
        assert caught.value.key == b"b"  # type: ignore[attr-defined]
        assert (database["a"], database["c"]) == (b"1" * 100, b"3" * 100)
        assert "b" in database
        database["b"] = b"mended"
        assert database.check().ok


def test_statistics_do_not_change(db: Database) -> None:
    db.update({"a": "1", "b": "2"})
    statistics = db.statistics()
    with pytest.raises(AttributeError):
        statistics.key_count = 5  # type: ignore[misc]
    db["c"] = "3"
    assert statistics != db.statistics()


# -- fork, pickle --------------------------------------------------------------------------------------


def test_pickle(path: str) -> None:
    for flag in ("n", "c", "w", "r"):
        with hutch.dbm.open(path, flag) as database:  # type: ignore[arg-type]
            if flag != "r":
                database[flag] = flag
            for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
                with pickle.loads(pickle.dumps(database, protocol)) as twin:
                    assert type(twin) is Database
                    assert twin is not database
                    assert twin.path == path
                    assert twin.items() == database.items()
                    assert twin.readonly == database.readonly
    with pytest.raises(ClosedError):
        pickle.dumps(database)


def test_fork(path: str, db: Database) -> None:
    db["parent"] = "1"
    assert db.first() == (b"parent", b"1")

    def child(line: Line) -> None:
        line.say((db["parent"], len(db), db.keys(), db.first()))
        db["child"] = "2"
        with db.transaction():
            db["another"] = "3"
        line.say(db.first())
        db.close()

    with Child(child) as forked:
        assert forked.hear() == (b"1", 1, [b"parent"], (b"parent", b"1"))
        assert forked.hear() == (b"another", b"3")
        forked.finish()
    assert db["child"] == b"2"
    assert db.first() == (b"another", b"3")
    db["parent"] = "4"
    db.close()
    assert dict(stdlib_items(path)) == {b"parent": b"4", b"child": b"2", b"another": b"3"}


# -- whichdb -------------------------------------------------------------------------------------------


def test_whichdb_names_a_module_that_opens_it(path: str) -> None:
    with hutch.dbm.open(path):
        assert hutch.dbm.whichdb(path) == "hutch.dbm"
    with hutch.dbm.open(path) as database:
        assert hutch.dbm.whichdb(path) == "hutch.dbm"
        database[b"a"] = b"1"
        assert hutch.dbm.whichdb(path) == "hutch.dbm"
    for name in (path, os.fsencode(path), Path(path)):
        found = hutch.dbm.whichdb(name)
        assert found == "hutch.dbm"
        with importlib.import_module(found).open(name) as database:
            assert database[b"a"] == b"1"


def test_whichdb_of_what_the_stdlib_wrote(path: str) -> None:
    with dbm.dumb.open(path) as stdlib:
        stdlib[b"a"] = b"1"
    assert hutch.dbm.whichdb(path) == "hutch.dbm"
    os.replace(path + ".dir", path + ".bak")  # as it dies in its commit
    assert hutch.dbm.whichdb(path) == "hutch.dbm"


def test_whichdb_of_others(tmp_path: Path) -> None:
    path = os.fspath(tmp_path / "other")
    assert hutch.dbm.whichdb(path) is None
    Path(path).write_bytes(b"no database at all")
    assert hutch.dbm.whichdb(path) == ""
    Path(path).write_bytes((0x13579ACE).to_bytes(4, sys.byteorder) + bytes(60))
    assert hutch.dbm.whichdb(path) == dbm.whichdb(path) == "dbm.gnu"
    Path(path + ".bak").touch()
    assert hutch.dbm.whichdb(path) == "dbm.gnu"


def test_whichdb_as_a_command(path: str, tmp_path: Path) -> None:
    with hutch.dbm.open(path):
        pass
    unknown = os.fspath(tmp_path / "unknown")
    Path(unknown).write_bytes(b"no database at all")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "hutch.dbm", path, unknown, unknown + "?"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == [f"hutch.dbm {path}", f"UNKNOWN {unknown}", f"UNKNOWN {unknown}?"]
    assert done.stderr == ""


def test_nobody_reads_exclusively(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db", "n") as database:
        database["key"] = "value"
    with pytest.raises(ValueError, match="exclusive"):
        hutch.dbm.open(tmp_path / "db", "r", exclusive=True)
    with hutch.dbm.open(tmp_path / "db", "w", exclusive=True) as database:
        assert database["key"] == b"value"
