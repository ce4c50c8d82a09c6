"""`hutch`: the contract of mappings over every kind of mapping below, shelve's behaviours, and what goes beyond."""

from __future__ import annotations

import array
import copy
import datetime as dt
import dbm
import dbm.dumb
import gc
import os
import pickle
import shelve
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest

import hutch
import hutch.dbm
from children import Child, Line
from contract import BreakOff, MappingContract
from hutch import Shelf, ShelveError, UnreadableValueError
from hutch.errors import HutchError, ReadOnlyError, TransactionError

NOT_TEXT = r"^shelf keys must be str, not "
CLOSED = "^invalid operation on closed shelf$"
SOURCE = Path(hutch.__file__).parent.parent


class BareMapping:
    """As little of a mapping as dbm.gnu's objects are: no iteration, no update, no clear, no close."""

    def __init__(self) -> None:
        self.data: dict[bytes, bytes] = {}

    def __getitem__(self, key: bytes) -> bytes:
        return self.data[key]

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.data[key] = value

    def __delitem__(self, key: bytes) -> None:
        del self.data[key]

    def __contains__(self, key: bytes) -> bool:
        return key in self.data

    def __len__(self) -> int:
        return len(self.data)

    def keys(self) -> list[bytes]:
        return list(self.data)


class Refusing(dict[bytes, bytes]):
    """A mapping whose writes fail when told to."""

    refuses = False

    def __setitem__(self, key: bytes, value: bytes) -> None:
        if self.refuses:
            raise OSError("no space")
        super().__setitem__(key, value)

    def update(self, other: Any) -> None:  # type: ignore[override]
        for key, value in other.items():
            self[key] = value

    def __delitem__(self, key: bytes) -> None:
        if self.refuses:
            raise OSError("no space")
        super().__delitem__(key)


class Point:
    """An object with a state."""

    def __init__(self, x: int, y: int) -> None:
        self.x = x
        self.y = y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Gone:
    """Its class is taken away before it is unpickled."""


UNPICKLABLE = [lambda: 0, (i for i in ()), threading.Lock()]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "shelf")


def stdlib_items(path: str) -> dict[str, Any]:
    """What the stdlib finds in a copy of the files (it may rewrite what it opens)."""
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".dat", ".dir"):
            Path(folder, "db" + suffix).write_bytes(Path(path + suffix).read_bytes())
        with shelve.Shelf(dbm.dumb.open(os.path.join(folder, "db"), "r")) as stdlib:
            return dict(stdlib)


def run_python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program in which every warning is an error, and which finds hutch where this process does."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.fspath(SOURCE), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# -- the contract --------------------------------------------------------------------------------------


class ShelfContract(MappingContract):
    """With text as keys and objects as values."""

    __test__ = False
    lists = False
    binary_keys = False
    text_values = False
    options: ClassVar[dict[str, Any]] = {}

    def key(self, text: str) -> Any:
        return text

    def value(self, data: bytes) -> Any:
        return {"data": [data, len(data)]}


class TestContractOverADict(ShelfContract):
    __test__ = True

    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with Shelf({}, **self.options) as shelf:
            yield shelf


class TestContractOverADictWriteback(TestContractOverADict):
    options: ClassVar[dict[str, Any]] = {"writeback": True}


class TestContractOverADictWritebackOfTwo(TestContractOverADict):
    options: ClassVar[dict[str, Any]] = {"writeback": True, "cache_size": 2}


class TestContractOverABareMapping(ShelfContract):
    __test__ = True

    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with Shelf(BareMapping()) as shelf:
            yield shelf


class TestContractOverADictInATransaction(ShelfContract):
    __test__ = True

    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with Shelf({}) as shelf, shelf.transaction():
            yield shelf


class TestContractOverDumb(ShelfContract):
    __test__ = True

    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with tempfile.TemporaryDirectory() as folder, Shelf(dbm.dumb.open(os.path.join(folder, "db"))) as shelf:
            yield shelf


class TestContractInFiles(ShelfContract):
    __test__ = True

    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "shelf")
            shelves = self.shelves = getattr(self, "shelves", {})
            shelves[path] = hutch.open(path, **self.options)
            try:
                yield shelves[path]
            finally:
                shelves.pop(path).close()

    def reopened(self, mapping: MutableMapping[Any, Any]) -> Shelf:
        assert isinstance(mapping, Shelf)
        path = mapping.dict.path
        mapping.close()
        self.shelves[path] = hutch.open(path, "w", **self.options)
        return self.shelves[path]


class TestContractInFilesWriteback(TestContractInFiles):
    options: ClassVar[dict[str, Any]] = {"writeback": True}


class TestContractInFilesWritebackOfTwo(TestContractInFiles):
    options: ClassVar[dict[str, Any]] = {"writeback": True, "cache_size": 2}


class TestContractInFilesProtocol0(TestContractInFiles):
    options: ClassVar[dict[str, Any]] = {"protocol": 0}


class TestContractInFilesInATransaction(TestContractInFiles):
    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with super().fresh() as shelf, shelf.transaction():
            yield shelf

    def reopened(self, mapping: MutableMapping[Any, Any]) -> Shelf:
        assert isinstance(mapping, Shelf)
        return mapping


# -- opening -------------------------------------------------------------------------------------------


def test_open_takes_what_shelve_s_does(path: str) -> None:
    with hutch.open(path, "n", 2, True) as shelf:
        assert isinstance(shelf, hutch.DbfilenameShelf)
        assert (shelf._protocol, shelf.writeback, shelf.keyencoding) == (2, True, "utf-8")
        shelf["key"] = [1]
    with hutch.DbfilenameShelf(filename=path, flag="r", protocol=None, writeback=False) as shelf:
        assert shelf["key"] == [1]
        assert shelf._protocol == pickle.DEFAULT_PROTOCOL
        assert shelf.cache == {}
    with hutch.open(Path(path), "r") as shelf, hutch.open(os.fsencode(path), "r") as other:
        assert dict(shelf) == dict(other) == {"key": [1]}


def test_open_passes_the_options_of_the_engine_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "mode": 0o600,
        "durability": "commit",
        "timeout": 5.0,
        "verify": False,
        "exclusive": True,
    }
    calls = []

    def opened(*args: Any, **given: Any) -> hutch.dbm.Database:
        calls.append((args, given))
        return open_database(*args, **given)

    open_database = hutch.dbm.open
    monkeypatch.setattr(hutch.dbm, "open", opened)
    hutch.open(tmp_path / "a", "n", **options).close()
    assert calls == [((tmp_path / "a", "n"), options)]
    assert (tmp_path / "a.dat").stat().st_mode & 0o777 == 0o600
    with pytest.raises(TypeError):
        hutch.open(tmp_path / "a", no_such_option=1)
    with pytest.raises(ValueError, match="Flag must be"):
        hutch.open(tmp_path / "a", "x")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        hutch.open(tmp_path / "missing", "r")


def test_wrong_options_leave_the_files_alone(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["key"] = "precious"
    with pytest.raises(ShelveError):
        hutch.open(path, "n", serializer=pickle.dumps)
    with pytest.raises(ShelveError):
        hutch.open(path, "n", deserializer=pickle.loads)
    with pytest.raises(ValueError, match="cache_size"):
        hutch.open(path, "n", cache_size=0)
    with hutch.open(path, "r") as shelf:
        assert dict(shelf) == {"key": "precious"}


@pytest.mark.parametrize("flag", ["r", "w", "c"])
def test_a_shelf_of_another_kind_is_not_hidden_by_an_empty_one(tmp_path: Path, flag: Any) -> None:
    (tmp_path / "sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))
    (tmp_path / "gnu").write_bytes(bytes.fromhex("ce9a5713") + bytes(100))
    before = sorted(os.listdir(tmp_path))
    for name in before:
        for filename in (tmp_path / name, os.fspath(tmp_path / name), os.fsencode(tmp_path / name)):
            with pytest.raises(HutchError, match=name):
                hutch.open(filename, flag)
    assert sorted(os.listdir(tmp_path)) == before
    with hutch.open(tmp_path / "gnu", "n") as shelf:
        shelf["key"] = 1
    with hutch.open(tmp_path / "gnu") as shelf:
        assert shelf["key"] == 1
    (tmp_path / "other").write_bytes(b"what nobody knows")
    with hutch.open(tmp_path / "other", "c") as shelf:
        assert len(shelf) == 0


@pytest.mark.parametrize("make", [Shelf, hutch.BsdDbShelf])
def test_a_serializer_needs_a_deserializer(make: Any) -> None:
    assert issubclass(ShelveError, Exception)
    for given in ("serializer", "deserializer"):
        with pytest.raises(ShelveError, match=f"^a {given} needs"):
            make({}, protocol=2, writeback=False, **{given: repr})


def test_an_init_that_failed_is_collected_quietly() -> None:
    for wrong in ({"serializer": repr}, {"cache_size": 0}):
        with suppress(ShelveError, ValueError):
            Shelf({}, **wrong)  # type: ignore[arg-type]
    Shelf.__new__(Shelf).__del__()
    gc.collect()


def test_the_attributes_of_shelve() -> None:
    below: dict[bytes, bytes] = {}
    shelf = Shelf(below)
    assert shelf.dict is below
    assert (shelf.cache, shelf.writeback, shelf.keyencoding) == ({}, False, "utf-8")
    assert shelf._protocol == pickle.DEFAULT_PROTOCOL
    assert (shelf.serializer, shelf.deserializer) == (pickle.dumps, pickle.loads)
    shelf = Shelf(below, 1, True, "latin-1")
    assert (shelf._protocol, shelf.writeback, shelf.keyencoding) == (1, True, "latin-1")


# -- values as bytes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_values_are_plain_pickles(protocol: int) -> None:
    below: dict[bytes, bytes] = {}
    shelf = Shelf(below, protocol)
    for value in (None, 1, "text", b"bytes", [1, [2]], {"a": (1, 2)}, Point(1, 2), dt.date(2026, 1, 1)):
        shelf["key"] = value
        assert below == {b"key": pickle.dumps(value, protocol)}
        assert shelf["key"] == value


def test_the_stdlib_reads_and_writes_the_same_shelf(path: str) -> None:
    values = {"a": [1, 2, 3], "é": Point(1, 2), "": None, "long": "x" * 100_000}
    with hutch.open(path) as shelf:
        shelf.update(values)
    assert stdlib_items(path) == values
    with shelve.Shelf(dbm.dumb.open(path, "w"), writeback=True) as stdlib:
        stdlib["a"].append(4)
        stdlib["new"] = {1}
        del stdlib[""]
    with hutch.open(path) as shelf:
        assert dict(shelf) == {"a": [1, 2, 3, 4], "é": Point(1, 2), "long": "x" * 100_000, "new": {1}}
        shelf["a"] = 5
    assert stdlib_items(path)["a"] == 5


def test_a_serializer_gets_object_and_protocol(path: str) -> None:
    calls = []

    def serialize(obj: Any, protocol: int) -> bytes:
        calls.append((obj, protocol))
        return repr(obj).encode()

    def deserialize(data: bytes) -> Any:
        assert type(data) is bytes
        return data.decode()

    with hutch.open(path, protocol=3, serializer=serialize, deserializer=deserialize) as shelf:
        shelf["key"] = [1, 2]
        assert shelf["key"] == "[1, 2]"
        assert calls == [([1, 2], 3)]
        assert shelf.dict[b"key"] == b"[1, 2]"
        assert (shelf.serializer, shelf.deserializer) == (serialize, deserialize)


@pytest.mark.parametrize("writeback", [False, True])
def test_a_serializer_may_return_anything_like_bytes(path: str, writeback: bool) -> None:
    made: list[Any] = [bytearray(b"one"), memoryview(b"two"), array.array("B", b"three"), "four"]
    options: dict[str, Any] = {"serializer": lambda obj, protocol: made[obj], "deserializer": bytes}
    with hutch.open(path, writeback=writeback, **options) as shelf:
        for number in range(len(made)):
            shelf[str(number)] = number
    with hutch.open(path, **options) as shelf:
        assert list(shelf.values()) == [b"one", b"two", b"three", b"four"]


def test_a_serializer_that_returns_nothing(path: str) -> None:
    with hutch.open(path, serializer=lambda obj, protocol: None, deserializer=bytes) as shelf:
        with pytest.raises(TypeError):
            shelf["key"] = 1
        assert "key" not in shelf
    with hutch.open(path, serializer=lambda obj, protocol: b"", deserializer=lambda data: None) as shelf:
        shelf["key"] = 1
        assert shelf["key"] is None
        assert shelf.get("key", "default") is None


def test_the_encoding_of_keys() -> None:
    below: dict[bytes, bytes] = {}
    Shelf(below)["Pöp"] = 1
    Shelf(below, keyencoding="latin-1")["Pöp"] = 2
    assert list(below) == ["Pöp".encode(), "Pöp".encode("latin-1")]
    shelf = Shelf(below, keyencoding="ascii")
    for attempt in (lambda: shelf["Pöp"], lambda: shelf.update({"Pöp": 1}), lambda: "Pöp" in shelf):
        with pytest.raises(UnicodeEncodeError):
            attempt()
    with pytest.raises(UnicodeDecodeError):
        list(shelf)


@pytest.mark.parametrize("key", [b"bytes", 1, None, ("a",)])
def test_a_key_that_is_no_text_is_a_type_error(key: Any) -> None:
    for shelf in (Shelf({}), Shelf({}, writeback=True)):
        with pytest.raises(TypeError, match=NOT_TEXT):
            shelf[key]
        for attempt in (shelf.__delitem__, shelf.get, shelf.pop, shelf.setdefault, shelf.__contains__, shelf.edit):
            with pytest.raises(TypeError, match=NOT_TEXT):
                attempt(key).__enter__()
        for change in (lambda s: s.update({"a": 1, key: 2}), lambda s: s.__setitem__(key, 1)):
            with pytest.raises(TypeError, match=NOT_TEXT):
                change(shelf)
        assert len(shelf) == 0


# -- what does not pickle ------------------------------------------------------------------------------


@pytest.mark.parametrize("writeback", [False, True])
@pytest.mark.parametrize("value", UNPICKLABLE, ids=lambda value: type(value).__name__)
def test_a_value_that_does_not_pickle_changes_nothing(path: str, writeback: bool, value: Any) -> None:
    with hutch.open(path, writeback=writeback) as shelf:
        shelf["a"] = [1]
        before, cached = dict(shelf.dict), dict(shelf.cache)
        attempts = [
            lambda: shelf.__setitem__("a", value),
            lambda: shelf.__setitem__("new", value),
            lambda: shelf.update({"b": 1, "a": value}),
            lambda: shelf.update(b=1, c=[value]),
            lambda: shelf.setdefault("new", value),
            lambda: shelf.modify("a", lambda old: value),
            lambda: shelf.modify("new", lambda old: value, 0),
        ]
        for attempt in attempts:
            with pytest.raises((pickle.PicklingError, TypeError, AttributeError)) as caught:
                attempt()
            assert any("hutch: this was the value for key" in note for note in caught.value.__notes__)
            assert dict(shelf.dict) == before
            assert shelf.cache == cached
            assert shelf.writeback is writeback
            assert "new" not in shelf
    assert stdlib_items(path) == {"a": [1]}


def test_a_write_that_fails_changes_nothing() -> None:
    below = Refusing()
    shelf = Shelf(below, writeback=True)
    shelf["a"] = [1]
    shelf["a"].append(2)
    below.refuses = True
    for attempt in (
        lambda: shelf.__setitem__("a", 5),
        lambda: shelf.update({"a": 5, "b": 6}),
        lambda: shelf.__delitem__("a"),
        lambda: shelf.pop("a"),
        lambda: shelf.setdefault("b", 7),
        shelf.sync,
    ):
        with pytest.raises(OSError, match="no space"):
            attempt()
        assert shelf.cache == {"a": [1, 2]}
    below.refuses = False
    shelf.close()
    assert pickle.loads(below[b"a"]) == [1, 2]


# -- what does not unpickle ----------------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["plain", "writeback"])
def damaged(request: pytest.FixtureRequest, path: str) -> Iterator[Shelf]:
    """Good entries, and between them: no pickle at all, half of one, a class that is gone."""
    with hutch.open(path) as shelf:
        shelf["one"] = 1
        shelf.dict["garbage"] = b"\xff\xfegarbage"
        shelf["two"] = [2]
        shelf.dict["half"] = pickle.dumps(list(range(100)))[:-20]
        shelf.dict["gone"] = pickle.dumps(Gone()).replace(b"Gone", b"None")
        shelf.dict["empty"] = b""
        shelf["three"] = "three"
    with hutch.open(path, writeback=request.param) as shelf:
        yield shelf


DAMAGED = {
    "garbage": pickle.UnpicklingError,
    "half": pickle.UnpicklingError,
    "gone": Exception,
    "empty": EOFError,
}


def test_a_value_that_does_not_unpickle_names_its_key(damaged: Shelf) -> None:
    for key, cause in DAMAGED.items():
        for read in (
            damaged.__getitem__,
            damaged.get,
            damaged.pop,
            damaged.setdefault,
            lambda k: damaged.get_many([k]),
        ):
            with pytest.raises(UnreadableValueError, match=f"the value of key '{key}' cannot be read: ") as caught:
                read(key)
            assert isinstance(caught.value, ShelveError)
            assert isinstance(caught.value, ValueError)
            assert caught.value.key == key
            assert isinstance(caught.value.__cause__, cause)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (again.key, str(again)) == (key, str(caught.value))
        with pytest.raises(UnreadableValueError), damaged.edit(key):
            pass
        assert key in damaged
        assert key not in damaged.cache


def test_the_other_entries_stay_usable(damaged: Shelf) -> None:
    assert (damaged["one"], damaged["two"], damaged["three"]) == (1, [2], "three")
    assert len(damaged) == len(list(damaged)) == 7
    found, lost = {}, []
    items = iter(damaged.items())
    while True:
        try:
            key, value = next(items)
        except StopIteration:
            break
        except UnreadableValueError as problem:
            lost.append(problem.key)
        else:
            found[key] = value
    assert found == {"one": 1, "two": [2], "three": "three"}
    assert lost == list(DAMAGED)
    for key in DAMAGED:
        damaged[key] = "mended"
        assert damaged[key] == "mended"
    del damaged["one"]
    assert set(damaged.values()) >= {"mended", "three"} if not isinstance(damaged["two"], list) else True


def test_a_damaged_value_can_be_deleted(damaged: Shelf) -> None:
    for key in DAMAGED:
        del damaged[key]
    assert dict(damaged) == {"one": 1, "two": [2], "three": "three"}


def test_a_key_error_while_unpickling_is_no_missing_key() -> None:
    def deserialize(data: bytes) -> Any:
        raise KeyError("inside")

    shelf = Shelf({b"key": b"data"}, serializer=pickle.dumps, deserializer=deserialize)
    for read in (shelf.__getitem__, shelf.get, lambda key: shelf.pop(key, None), lambda key: shelf.setdefault(key, 1)):
        with pytest.raises(UnreadableValueError, match="KeyError"):
            read("key")
    assert shelf.dict == {b"key": b"data"}


def test_running_out_of_memory_is_no_damage() -> None:
    def deserialize(data: bytes) -> Any:
        raise MemoryError

    shelf = Shelf({b"key": b"data"}, serializer=pickle.dumps, deserializer=deserialize)
    with pytest.raises(MemoryError) as caught:
        shelf["key"]
    assert caught.value.__notes__ == ["hutch: this was the value of key 'key'"]


# -- closing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writeback", [False, True])
@pytest.mark.parametrize("in_files", [False, True])
def test_a_closed_shelf_refuses_everything(path: str, in_files: bool, writeback: bool) -> None:
    shelf = hutch.open(path, writeback=writeback) if in_files else Shelf({}, writeback=writeback)
    shelf["key"] = [1]
    views = shelf.keys(), shelf.values(), shelf.items()
    shelf.close()
    shelf.close()
    for attempt in (
        lambda: shelf["key"],
        lambda: shelf["other"],
        lambda: shelf.get("key"),
        lambda: "key" in shelf,
        lambda: len(shelf),
        lambda: bool(shelf),
        lambda: iter(shelf),
        lambda: list(shelf),
        lambda: dict(shelf),
        lambda: shelf == {"key": [1]},
        *(lambda view=view: list(view) for view in views),
        *(lambda view=view: len(view) for view in views),
        lambda: shelf.__setitem__("key", 1),
        lambda: shelf.__delitem__("key"),
        lambda: shelf.pop("key"),
        lambda: shelf.pop("key", None),
        shelf.popitem,
        lambda: shelf.setdefault("key", 1),
        lambda: shelf.update({"key": 1}),
        lambda: shelf.update({}),
        shelf.clear,
        lambda: shelf.get_many(["key"]),
        shelf.sync,
        shelf.reorganize,
        lambda: shelf.transaction().__enter__(),
        lambda: shelf.edit("key").__enter__(),
        lambda: shelf.edit("key", default=1).__enter__(),
        lambda: shelf.modify("key", int, 0),
        lambda: pickle.dumps(shelf),
    ):
        with pytest.raises(ValueError, match=CLOSED):
            attempt()
    assert shelf.cache == {}
    assert repr(shelf) == f"<{type(shelf).__name__} over <closed>>"
    with shelf:
        pass


def test_close_closes_what_is_below(path: str) -> None:
    database = hutch.dbm.open(path)
    with Shelf(database) as shelf:
        shelf["key"] = 1
    assert database.closed
    Shelf({}).close()


def test_close_after_the_database_was_closed(path: str) -> None:
    with hutch.open(path, writeback=True) as shelf:
        shelf["key"] = [1]
        shelf.dict.close()
    with pytest.raises(ValueError, match=CLOSED):
        shelf["key"]


def test_a_shelf_closes_when_it_is_collected(path: str) -> None:
    shelf = hutch.open(path, writeback=True)
    database = shelf.dict
    shelf["key"] = [1]
    shelf["key"].append(2)
    del shelf
    assert database.closed, "it takes no garbage collection"
    assert stdlib_items(path) == {"key": [1, 2]}


def test_sync_and_reorganize(path: str) -> None:
    with hutch.open(path) as shelf:
        for number in range(100):
            shelf[str(number)] = b"x" * 2000
        for number in range(1, 100):
            del shelf[str(number)]
        shelf.sync()
        assert stdlib_items(path) == {"0": b"x" * 2000}
        size = os.path.getsize(path + ".dat")
        shelf.reorganize()
        assert os.path.getsize(path + ".dat") < size
        assert dict(shelf) == {"0": b"x" * 2000}
    for below in ({}, BareMapping()):
        shelf = Shelf(below)
        shelf["key"] = 1
        shelf.sync()
        shelf.reorganize()
        assert dict(shelf) == {"key": 1}


def test_reading_only(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["key"] = [1]
    for writeback in (False, True):
        with hutch.open(path, "r", writeback=writeback) as shelf:
            for attempt in (
                lambda: shelf.__setitem__("key", 2),
                lambda: shelf.__delitem__("key"),
                lambda: shelf.update({"a": 1}),
                shelf.clear,
                lambda: shelf.pop("key"),
                lambda: shelf.setdefault("a", 1),
                lambda: shelf.modify("key", len),
            ):
                with pytest.raises(ReadOnlyError):
                    attempt()
            assert dict(shelf) == {"key": [1]}


# -- many entries --------------------------------------------------------------------------------------


def test_get_many(path: str) -> None:
    for options in ({}, {"writeback": True}):
        with hutch.open(path, **options) as shelf:  # type: ignore[arg-type]
            shelf.update({str(number): [number] for number in range(10)})
            assert shelf.get_many(["3", "missing", "1", "3"]) == {"3": [3], "1": [1]}
            assert list(shelf.get_many(iter(["3", "1"]))) == ["3", "1"]
            assert shelf.get_many([]) == {}


def test_update_is_one_commit(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["0"] = 0
        before = shelf.dict.store.sequence
        shelf.update({str(number): number for number in range(100)}, more=1)
        assert shelf.dict.store.sequence == before + 1
        assert len(shelf) == 101


def test_update_stores_nothing_if_its_source_fails() -> None:
    def pairs() -> Iterator[tuple[str, int]]:
        yield "a", 1
        raise BreakOff

    shelf = Shelf({})
    with pytest.raises(BreakOff):
        shelf.update(pairs())
    assert len(shelf) == 0


def test_a_subclass_sees_every_key(path: str) -> None:
    class Upper(hutch.DbfilenameShelf):
        def __getitem__(self, key: str) -> Any:
            return super().__getitem__(key.upper())

        def __setitem__(self, key: str, value: Any) -> None:
            if value is None:
                raise BreakOff
            super().__setitem__(key.upper(), value)

        def __iter__(self) -> Iterator[str]:
            return map(str.lower, super().__iter__())

    with Upper(path) as shelf:
        shelf.update({"a": 1}, b=2)
        assert dict(shelf.items()) == {"a": 1, "b": 2}
        assert list(shelf.values()) == [1, 2]
        assert (shelf.get("a"), shelf.setdefault("c", 3), shelf["c"]) == (1, 3, 3)
        with pytest.raises(BreakOff):
            shelf.update({"d": 1, "e": None})
        with shelf.edit("e", default=[]) as value:
            value.append(1)
        with shelf.edit("e") as value:
            value.append(2)
        assert shelf.modify("c", str) == "3"
        with pytest.raises(KeyError), shelf.edit("f"):
            pass
        assert sorted(shelf.dict.keys()) == [b"A", b"B", b"C", b"E"]
        assert shelf["e"] == [1, 2]


# -- transactions --------------------------------------------------------------------------------------


@pytest.fixture(params=["dict", "bare", "dumb", "files"])
def shelf(request: pytest.FixtureRequest, path: str) -> Iterator[Shelf]:
    below: Any
    if request.param == "dict":
        below = {}
    elif request.param == "bare":
        below = BareMapping()
    elif request.param == "dumb":
        below = dbm.dumb.open(path)  # noqa: SIM115  # the shelf closes it
    else:
        below = hutch.dbm.open(path)
    with Shelf(below) as shelf:
        yield shelf
        assert shelf.dict is below


def test_a_transaction_that_ends_is_stored(shelf: Shelf) -> None:
    shelf["a"] = 1
    with shelf.transaction() as inside:
        assert inside is shelf
        shelf["b"] = [2]
        del shelf["a"]
        assert dict(shelf) == {"b": [2]}
        shelf.update(c=3)
    assert dict(shelf) == {"b": [2], "c": 3}


def test_a_transaction_that_fails_never_was(shelf: Shelf) -> None:
    model = {str(number): [number] for number in range(6)}
    shelf.update(model)
    changes: list[Any] = [
        lambda: shelf.__setitem__("0", "other"),
        lambda: shelf.__setitem__("new", "new"),
        lambda: shelf.__delitem__("1"),
        lambda: shelf.pop("2"),
        shelf.popitem,
        lambda: shelf.setdefault("more", 1),
        lambda: shelf.update({"3": None, "most": 1}),
        lambda: shelf.modify("4", len),
        shelf.clear,
        lambda: shelf.__setitem__("0", "again"),
    ]
    for count in range(len(changes) + 1):
        with pytest.raises(BreakOff), shelf.transaction():
            for change in changes[:count]:
                with suppress(KeyError):
                    change()
            raise BreakOff
        assert list(shelf.items()) == list(model.items())


def test_transactions_join(shelf: Shelf) -> None:
    with pytest.raises(BreakOff), shelf.transaction():
        with shelf.transaction():
            shelf["a"] = 1
        with shelf.edit("b", default=[]) as b:
            b.append(1)
        assert dict(shelf) == {"a": 1, "b": [1]}
        raise BreakOff
    assert dict(shelf) == {}
    with shelf.transaction(), shelf.transaction():
        shelf["a"] = 1
    assert dict(shelf) == {"a": 1}


def test_a_failed_transaction_fails_the_one_around_it(shelf: Shelf) -> None:
    with pytest.raises(TransactionError), shelf.transaction():
        shelf["a"] = 1
        with suppress(BreakOff), shelf.transaction():
            shelf["b"] = 1
            raise BreakOff
    assert dict(shelf) == {}


def test_a_statement_that_fails_does_not_fail_the_transaction(shelf: Shelf) -> None:
    shelf.dict[b"bad"] = b"no pickle"
    with shelf.transaction():
        shelf["a"] = 1
        for attempt in (
            lambda: shelf["missing"],
            lambda: shelf.pop("missing"),
            lambda: shelf.pop("bad"),
            lambda: shelf.setdefault("bad"),
            lambda: shelf.setdefault("b", UNPICKLABLE[0]),
            lambda: shelf.__setitem__("b", UNPICKLABLE[0]),
            lambda: shelf.update(b=UNPICKLABLE[0]),
            lambda: shelf.edit("missing").__enter__(),
            lambda: shelf.edit("bad").__enter__(),
            lambda: shelf.modify("missing", int),
            lambda: shelf.modify("bad", int),
            lambda: shelf.__delitem__("missing"),
        ):
            with pytest.raises((KeyError, UnreadableValueError, pickle.PicklingError, AttributeError)):
                attempt()
        del shelf["bad"]
    assert dict(shelf) == {"a": 1}


def test_others_see_a_transaction_when_it_ends(path: str) -> None:
    with hutch.open(path) as one, hutch.open(path) as two:
        with one.transaction():
            one["a"] = [1]
            assert "a" not in two
        assert two["a"] == [1]


# -- edit and modify -----------------------------------------------------------------------------------


def test_edit_stores_what_was_changed(shelf: Shelf) -> None:
    shelf["a"] = {"n": [1]}
    with shelf.edit("a") as value:
        value["n"].append(2)
        assert shelf["a"] == {"n": [1]}
    assert shelf["a"] == {"n": [1, 2]}


def test_edit_stores_nothing_if_nothing_was_changed(path: str) -> None:
    values: dict[str, Any] = {
        "list": [1],
        "set": {"some", "words", "in", "no", "order"},
        "object": Point(1, 2),
        "shared": {"a": "a", "b": "a"},
    }
    with shelve.Shelf(dbm.dumb.open(path, "n"), protocol=0) as stdlib:
        stdlib.update(values)  # in another protocol than ours
    with hutch.open(path) as shelf:
        before = dict(shelf.dict)
        for key, value in values.items():
            with shelf.edit(key) as found:
                assert found == value
        assert dict(shelf.dict) == before


def test_edit_of_a_missing_key(shelf: Shelf) -> None:
    with pytest.raises(KeyError) as caught, shelf.edit("a"):
        pass
    assert caught.value.args == ("a",)
    with shelf.edit("a", default=[]) as value:
        value.append(1)
    with shelf.edit("a", default=[]) as value:
        value.append(2)
    assert shelf["a"] == [1, 2]
    with shelf.edit("b", default=0):
        pass
    assert shelf["b"] == 0


def test_edit_rolls_back(shelf: Shelf) -> None:
    shelf["a"] = [1]
    with pytest.raises(BreakOff), shelf.edit("a") as value:
        value.append(2)
        shelf["b"] = 1
        raise BreakOff
    assert dict(shelf) == {"a": [1]}
    with pytest.raises((pickle.PicklingError, AttributeError)), shelf.edit("a") as value:
        value.append(UNPICKLABLE[0])
    with pytest.raises(BreakOff), shelf.edit("new", default=[]):
        raise BreakOff
    assert dict(shelf) == {"a": [1]}


def test_an_edit_inside_another(shelf: Shelf) -> None:
    shelf["a"] = [1]
    with shelf.edit("a") as outer:
        with shelf.edit("a") as inner:
            assert inner is outer
            inner.append(2)
        with shelf.edit("b", default=[]) as other:
            other.append(1)
        outer.append(3)
    assert dict(shelf) == {"a": [1, 2, 3], "b": [1]}
    with shelf.edit("a") as value:
        assert value == [1, 2, 3]
        shelf["a"] = "put in its place, and the object was not changed"
    assert shelf["a"] == "put in its place, and the object was not changed"


def test_modify(shelf: Shelf) -> None:
    assert shelf.modify("n", lambda n: n + 1, 0) == 1
    assert shelf.modify("n", lambda n: n + 1, 0) == 2
    assert shelf.modify("n", str) == "2"
    assert shelf["n"] == "2"
    with pytest.raises(KeyError) as caught:
        shelf.modify("missing", str)
    assert caught.value.args == ("missing",)

    def fail(value: Any) -> Any:
        shelf["other"] = 1
        raise BreakOff

    with pytest.raises(BreakOff):
        shelf.modify("n", fail)
    assert dict(shelf) == {"n": "2"}


def _count(line: Line, path: str, times: int) -> None:
    with hutch.open(path, "w") as shelf:
        line.hear()
        for number in range(times):
            with shelf.edit("list") as value:
                value.append((os.getpid(), number))
            shelf.modify("sum", lambda n: n + 1)
            shelf.setdefault(f"{number}", os.getpid())
            with suppress(KeyError):
                shelf["popped"] = shelf.get("popped", 0)
                line.say(shelf.pop(f"token {number}"))


def test_no_update_is_lost_between_processes(path: str) -> None:
    times = 40
    with hutch.open(path) as shelf:
        shelf.update({f"token {number}": number for number in range(times)}, list=[], sum=0)
        with Child(_count, path, times) as one, Child(_count, path, times) as two:
            one.say()
            two.say()
            popped = one.finish() + two.finish()
        assert shelf["sum"] == 2 * times
        assert len(shelf["list"]) == len(set(shelf["list"])) == 2 * times
        assert sorted(popped) == list(range(times)), "each token to one process only"


@pytest.mark.parametrize("kind", ["dict", "files", "writeback"])
def test_no_update_is_lost_between_threads(path: str, kind: str) -> None:
    times, threads = 50, 4
    with Shelf({}) if kind == "dict" else hutch.open(path, writeback=kind == "writeback") as shelf:
        shelf.update({f"token {number}": number for number in range(times)}, list=[], sum=0)

        def work(name: int) -> list[int]:
            popped = []
            for number in range(times):
                with shelf.edit("list") as value:
                    value.append((name, number))
                shelf.modify("sum", lambda n: n + 1)
                with shelf.transaction():
                    shelf["sum"] += 1
                token = shelf.pop(f"token {number}", None)
                if token is not None:
                    popped.append(token)
            return popped

        with ThreadPoolExecutor(threads) as pool:
            popped = [token for tokens in pool.map(work, range(threads)) for token in tokens]
        assert shelf["sum"] == 2 * threads * times
        assert len(set(shelf["list"])) == threads * times
        assert sorted(popped) == list(range(times))


# -- sorted access -------------------------------------------------------------------------------------


@pytest.mark.parametrize("writeback", [False, True])
def test_a_cursor(path: str, writeback: bool) -> None:
    values = {"cherry": [3], "apple": [1], "banana": [2], "é": [4]}
    with hutch.BsdDbShelf(hutch.dbm.open(path), writeback=writeback) as shelf:
        shelf.update(values)
        assert shelf.first() == ("apple", [1])
        assert shelf.next() == ("banana", [2])
        assert shelf.next() == ("cherry", [3])
        assert shelf.previous() == ("banana", [2])
        assert shelf.last() == ("é", [4])
        with pytest.raises(KeyError):
            shelf.next()
        assert shelf.set_location("b") == ("banana", [2])
        assert shelf.set_location(b"cherry") == ("cherry", [3])
        assert shelf.set_location("é") == ("é", [4])
        shelf.first()[1].append("changed")
        assert shelf["apple"] == ([1, "changed"] if writeback else [1])


def test_a_cursor_of_another_make() -> None:
    class Bsd(dict[bytes, bytes]):
        """Like the bsddb modules: next() is the iterator's."""

        def __next__(self) -> tuple[bytes, bytes]:
            return next(iter(self.items()))

        first = last = previous = __next__

        def set_location(self, key: bytes) -> tuple[bytes, bytes]:
            return key, self[key]

    shelf = hutch.BsdDbShelf(Bsd(), keyencoding="latin-1")
    shelf["é"] = [1]
    assert shelf.first() == shelf.last() == shelf.previous() == shelf.next() == ("é", [1])
    assert shelf.set_location("é") == shelf.set_location(b"\xe9") == ("é", [1])


# -- pickle, fork, exit --------------------------------------------------------------------------------


def test_a_pickled_shelf_is_opened_anew(path: str) -> None:
    with hutch.open(path, "n", 2, writeback=True, cache_size=5) as shelf:
        shelf["a"] = [1]
        shelf["a"].append("not written back yet")
        with pickle.loads(pickle.dumps(shelf)) as other:
            assert type(other) is type(shelf)
            assert (other._protocol, other.writeback, other.cache_size, other.cache) == (2, True, 5, {})
            assert other["a"] == [1]
            other["b"] = 2
        assert shelf["b"] == 2
        assert shelf["a"] == [1, "not written back yet"]
    below: dict[bytes, bytes] = {}
    shelf = Shelf(below)
    shelf["a"] = 1
    copied = copy.copy(shelf)
    copied["b"] = 2
    assert dict(shelf) == {"a": 1, "b": 2}
    assert dict(copy.deepcopy(shelf)) == dict(shelf)


def _in_child(line: Line, shelf: Shelf) -> None:
    assert shelf.cache == {}, "what the parent has changed is the parent's to write back"
    line.say(dict(shelf))
    shelf["child"] = [1]
    shelf["child"].append(2)
    with shelf.edit("edited", default=[]) as value:
        value.append("child")
    shelf.close()


def test_a_fork(path: str) -> None:
    with hutch.open(path, writeback=True) as shelf:
        shelf["parent"] = [1]
        shelf["parent"].append(2)
        with Child(_in_child, shelf) as child:
            assert child.hear() == {"parent": [1]}
            child.finish()
        assert shelf["child"] == [1, 2]
        with shelf.edit("edited") as value:
            value.append("parent")
    assert stdlib_items(path) == {"parent": [1, 2], "child": [1, 2], "edited": ["child", "parent"]}


def test_a_fork_while_another_thread_is_busy(path: str) -> None:
    with hutch.open(path, writeback=True) as shelf:
        shelf["a"] = [1]
        inside, done = threading.Event(), threading.Event()

        def work() -> None:
            with shelf._lock:
                inside.set()
                done.wait(60)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert inside.wait(60)
            with Child(_in_child, shelf) as child:
                assert child.hear() == {"a": [1]}
                child.finish()
        finally:
            done.set()
            thread.join()
        assert shelf["child"] == [1, 2]


class TestExit:
    """Programs that end without closing, in an interpreter of their own."""

    def end(self, path: str, program: str, *, status: int = 0) -> str:
        ended = run_python("import hutch, sys, atexit\n" + program, path)
        assert ended.returncode == status, ended.stderr
        return ended.stderr

    def test_everything_is_there(self, path: str) -> None:
        program = "shelf = hutch.open(sys.argv[1]); shelf['a'] = [1]; other = hutch.open(sys.argv[1]); other['b'] = 2"
        assert self.end(path, program) == ""
        assert stdlib_items(path) == {"a": [1], "b": 2}

    def test_changes_are_written_back(self, path: str) -> None:
        program = (
            "class Own: pass\n"
            "shelf = hutch.open(sys.argv[1], writeback=True)\n"
            "shelf['a'] = [1]; shelf['a'].append(2)\n"
            "shelf['own'] = Own(); shelf['own'].of = shelf['a']\n"
            "cycle = [shelf]; cycle.append(cycle)\n"
        )
        assert self.end(path, program) == ""
        with hutch.open(path) as shelf:
            assert shelf["a"] == [1, 2]
            assert b"of" in shelf.dict[b"own"]

    def test_a_function_registered_before_can_still_use_it(self, path: str) -> None:
        program = (
            "import hutch.dbm\n"  # whose own function runs last, because it is registered first
            "atexit.register(lambda: (shelf['a'].append('at exit'), shelf.update(late=1), shelf.close()))\n"
            "shelf = hutch.open(sys.argv[1], writeback=True)\n"
            "shelf['a'] = [1]\n"
        )
        assert self.end(path, program) == ""
        assert stdlib_items(path) == {"a": [1, "at exit"], "late": 1}

    def test_what_cannot_be_stored_is_said_once_and_the_rest_is_stored(self, path: str) -> None:
        program = (
            "shelf = hutch.open(sys.argv[1], writeback=True)\n"
            "shelf.update(a=[1], b=[1], c=[1])\n"
            "shelf['a'].append(2); shelf['b'].append(lambda: 0); shelf['c'].append(3)\n"
        )
        said = self.end(path, program)
        assert said.count("this was the value for key 'b'") == 1
        assert said.count("Traceback") == 1
        assert stdlib_items(path) == {"a": [1, 2], "b": [1], "c": [1, 3]}

    def test_an_uncaught_error(self, path: str) -> None:
        program = "shelf = hutch.open(sys.argv[1], writeback=True); shelf['a'] = [1]; shelf['a'].append(2); 1 / 0"
        assert self.end(path, program, status=1).count("Traceback") == 1
        assert stdlib_items(path) == {"a": [1, 2]}


# -- importing -----------------------------------------------------------------------------------------


def test_a_shelf_over_a_dict_needs_no_more_of_hutch_than_that() -> None:
    done = run_python("import hutch, sys; assert 'hutch.store' not in sys.modules; print(dir(hutch)); hutch.dbm.open")
    assert done.returncode == 0, done.stderr
    for name in (*hutch.__all__, "dbm", "errors"):
        assert repr(name) in done.stdout


def test_names_that_are_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'hutch' has no attribute 'missing'"):
        hutch.missing  # noqa: B018


def test_repr() -> None:
    assert repr(Shelf({})) == "<Shelf over {}>"
