"""Shelves with ``writeback=True``: what is written, when, and what is never lost."""

from __future__ import annotations

import os
import pickle
import random
import shelve
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import hutch
import hutch.dbm
from children import Child, Line
from contract import BreakOff
from hutch import Shelf, UnreadableValueError
from hutch.cache import WritebackCache
from hutch.errors import ReadOnlyError

SOURCE = Path(hutch.__file__).parent.parent


class Recording(dict[bytes, bytes]):
    """A mapping that notes what is written to it, batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[bytes]] = []

    def __setitem__(self, key: bytes, value: bytes) -> None:
        self.writes.append([key])
        super().__setitem__(key, value)

    def update(self, other: Any) -> None:  # type: ignore[override]
        self.writes.append(list(other))
        super().update(other)


class Node:
    """An object with attributes, equal to another with the same."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Registered:
    """One object per name, so that unpickling gives back the one that is there, in the state of the pickle."""

    everyone: ClassVar[dict[str, Registered]] = {}

    def __new__(cls, name: str) -> Self:
        return cls.everyone.setdefault(name, super().__new__(cls))  # type: ignore[return-value]

    def __init__(self, name: str) -> None:
        self.name = name
        self.log: list[int] = []

    def __getnewargs__(self) -> tuple[str]:
        return (self.name,)


class Fickle:
    """Pickles to other bytes every time."""

    count = 0

    def __reduce__(self) -> tuple[Any, ...]:
        Fickle.count += 1
        return Fickle, (), {"count": Fickle.count}


class Shy:
    """Can be told not to pickle."""

    refuses = False

    def __getstate__(self) -> dict[str, Any]:
        if Shy.refuses:
            raise pickle.PicklingError("not now")
        return vars(self)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "shelf")


@pytest.fixture
def below() -> Recording:
    return Recording()


@pytest.fixture
def shelf(below: Recording) -> Iterator[Shelf]:
    with Shelf(below, writeback=True) as shelf:
        yield shelf


def loaded(below: Any) -> dict[str, Any]:
    return {key.decode(): pickle.loads(value) for key, value in below.items()}


# -- what is written -----------------------------------------------------------------------------------


def test_changes_in_place_are_kept(shelf: Shelf, below: Recording) -> None:
    shelf["a"] = [1]
    assert pickle.loads(below[b"a"]) == [1], "it is stored at once"
    shelf["a"].append(2)
    assert shelf["a"] == [1, 2]
    assert shelf["a"] is shelf["a"] is shelf.get("a") is shelf.cache["a"]
    assert pickle.loads(below[b"a"]) == [1]
    shelf.sync()
    assert shelf.cache == {}
    assert shelf.writeback is True
    assert pickle.loads(below[b"a"]) == [1, 2]
    shelf["a"].append(3)
    shelf.close()
    assert pickle.loads(below[b"a"]) == [1, 2, 3]


def test_only_what_has_changed_is_written_and_as_one_batch(shelf: Shelf, below: Recording) -> None:
    for number in range(10):
        shelf[str(number)] = [number]
    shelf.sync()
    below.writes.clear()
    assert len(list(shelf.values())) == len(shelf.cache) == 10
    shelf.sync()
    assert below.writes == []
    for number in (3, 5, 7):
        shelf[str(number)].append("changed")
    shelf["9"].append("changed")
    shelf["9"].pop()
    assert shelf["8"] == [8]
    shelf.sync()
    assert below.writes == [[b"3", b"5", b"7"]]
    shelf.close()
    assert len(below.writes) == 1


def test_sync_is_one_commit(path: str) -> None:
    with hutch.open(path, writeback=True) as shelf:
        shelf.update({str(number): [number] for number in range(50)})
        for value in shelf.values():
            value.append(1)
        before = shelf.dict.store.sequence
        shelf._write_back()
        assert shelf.dict.store.sequence == before + 1
    with hutch.open(path) as shelf:
        assert all(value == [int(key), 1] for key, value in shelf.items())


VALUES: dict[str, Any] = {
    "number": 10**30,
    "words": {f"word {number}" for number in range(50)},
    "frozen": frozenset(("some", "words", "in", "no", "order")),
    "shared": [(text := str(b"shared", "ascii")), text, {text: text}],
    "equal": [str(b"equal", "ascii") for _ in range(3)],
    "object": Node(name="name", value="value", same="name", child=Node(name="x")),
    "objects": [Node(a=number, b="b") for number in range(10)],
    "bytes": bytearray(b"x" * 100),
    "large": ["x" * 1000] * 100,
    "cycle": [],
}
VALUES["cycle"].append(VALUES["cycle"])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_was_only_read_is_not_written_whoever_pickled_it(protocol: int) -> None:
    """Other protocols and other orders of sets make other bytes for the same object."""
    program = f"import pickle, sys; sys.stdout.buffer.write(pickle.dumps({set(VALUES['words'])!r}, {protocol}))"
    below = Recording()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=True)
        dict.__setitem__(below, b"words " + seed.encode(), done.stdout)
    for key, value in VALUES.items():
        dict.__setitem__(below, key.encode(), pickle.dumps(value, protocol))
    stored = dict(below)
    for _ in range(2):
        with Shelf(below, writeback=True) as shelf:
            assert shelf["words 1"] == shelf["words 2"] == VALUES["words"]
            for key in VALUES:
                shelf[key]
    assert below.writes == []
    assert dict(below) == stored


def test_every_change_is_seen(path: str) -> None:
    changes: dict[str, Any] = {
        "words": lambda value: value.add("more"),
        "shared": lambda value: value.__setitem__(1, "other"),
        "equal": list.clear,
        "object": lambda value: setattr(value.child, "name", "y"),
        "objects": lambda value: setattr(value[7], "b", None),
        "bytes": lambda value: value.__setitem__(99, 0),
        "large": lambda value: value.__setitem__(99, "y" * 1000),
        "cycle": lambda value: value.append(1),
    }
    for key, change in changes.items():
        with hutch.open(path, "n", writeback=True) as shelf:
            shelf.update(VALUES)
        with hutch.open(path, writeback=True) as shelf:
            change(shelf[key])
            expected = shelf[key]
        with hutch.open(path) as shelf:
            if key == "cycle":
                assert shelf[key][1:] == [1]
            else:
                assert shelf[key] == expected != VALUES[key]


def test_comparing_never_unpickles(shelf: Shelf, below: Recording) -> None:
    """It would put the registered object back into the state that is in the file."""
    registered = shelf["a"] = Registered("a")
    shelf.sync()
    assert shelf["a"] is registered
    registered.log.append(1)
    shelf.sync()
    assert registered.log == [1]
    assert shelf["a"].log == [1]
    shelf["a"].log.append(2)
    with shelf.transaction():
        shelf["b"] = 1
    with shelf.edit("a") as value:
        value.log.append(3)
    shelf.sync()
    Registered.everyone.clear()
    assert pickle.loads(below[b"a"]).log == [1, 2, 3]


def test_what_pickles_otherwise_each_time_is_written(shelf: Shelf, below: Recording) -> None:
    shelf["a"] = Fickle()
    shelf.sync()
    assert shelf["a"]
    below.writes.clear()
    shelf.sync()
    assert below.writes == [[b"a"]]


def test_a_change_of_type_is_a_change(shelf: Shelf, below: Recording) -> None:
    for old, new in ((1, True), (1, 1.0), ("", b""), ([], ()), (0.0, -0.0), (None, False), ({}, set())):
        shelf["a"] = [old]
        shelf["a"][0] = new
        shelf.sync()
        assert repr(pickle.loads(below[b"a"])) == repr([new])


def test_what_users_put_into_the_cache_is_written(shelf: Shelf, below: Recording) -> None:
    shelf["a"] = [1]
    shelf.cache["a"] = [2]
    shelf.cache["b"] = [3]
    assert shelf["b"] == [3]
    shelf.sync()
    assert loaded(below) == {"a": [2], "b": [3]}
    shelf["a"].append("forgotten")
    del shelf.cache["a"]
    assert shelf["a"] == [2]


def test_writeback_can_be_switched(below: Recording) -> None:
    with Shelf(below) as shelf:
        shelf["a"] = [1]
        shelf["a"].append("lost")
        shelf.writeback = True
        shelf["a"].append(2)
        shelf.sync()
        assert loaded(below) == {"a": [1, 2]}
        shelf["a"].append("in the cache")
        shelf.writeback = False
        assert shelf["a"] == [1, 2, "in the cache"]
        shelf["b"] = 1
        shelf["a"] = "stored"
        assert shelf.cache == {}
        assert shelf["a"] == "stored"
    assert loaded(below) == {"a": "stored", "b": 1}


def test_deleting(shelf: Shelf, below: Recording) -> None:
    shelf.update(a=[1], b=[2], c=[3], d=[4])
    shelf["a"].append(1)
    del shelf["a"]
    shelf["b"].append(2)
    assert shelf.pop("b") == [2, 2]
    assert shelf.popitem() == ("c", [3])
    shelf["d"].append("gone")
    shelf.clear()
    assert shelf.cache == {}
    for key in "abcd":
        assert key not in shelf
        with pytest.raises(KeyError):
            shelf[key]
    shelf.close()
    assert below == {}


def test_setdefault_gives_what_is_cached(shelf: Shelf, below: Recording) -> None:
    shelf.setdefault("a", []).append(1)
    shelf.setdefault("a", []).append(2)
    shelf.sync()
    shelf.setdefault("a", []).append(3)
    shelf.close()
    assert loaded(below) == {"a": [1, 2, 3]}


@pytest.mark.parametrize("cache_size", [None, 1, 3])
def test_changes_while_iterating_are_kept(path: str, cache_size: int | None) -> None:
    with hutch.open(path, writeback=True, cache_size=cache_size) as shelf:
        shelf.update({str(number): [] for number in range(20)})
        for value in shelf.values():
            value.append("values")
        for key, value in shelf.items():
            value.append(key)
        for key in shelf:
            shelf[key].append("keys")
    with hutch.open(path) as shelf:
        assert dict(shelf) == {str(number): ["values", str(number), "keys"] for number in range(20)}


# -- what cannot be written ----------------------------------------------------------------------------


def test_a_sync_that_cannot_pickle_changes_nothing(shelf: Shelf, below: Recording) -> None:
    shelf.update(a=[1], b=[1], c=[1])
    for key in "abc":
        shelf[key].append(2)
    shelf["b"].append(lambda: 0)
    cached, stored = dict(shelf.cache), dict(below)
    for attempt in (shelf.sync, shelf.reorganize, shelf.sync):
        with pytest.raises((pickle.PicklingError, AttributeError)) as caught:
            attempt()
        assert caught.value.__notes__ == ["hutch: this was the value for key 'b', which has not been stored"]
        assert below == stored
        assert shelf.cache == cached
        assert shelf.writeback is True
    shelf["b"].pop()
    shelf.sync()
    assert loaded(below) == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}


def test_close_stores_what_it_can(path: str) -> None:
    shelf = hutch.open(path, writeback=True)
    shelf.update(a=[1], b=[1], c=[1], d=[1])
    for key in "abcd":
        shelf[key].append(2)
    shelf["b"].append(lambda: 0)
    shelf["c"].append(lambda: 0)
    with pytest.raises((pickle.PicklingError, AttributeError)) as caught:
        shelf.close()
    assert caught.value.__notes__ == [
        "hutch: this was the value for key 'b', which has not been stored",
        "hutch: 1 more of the changed values could not be stored either",
    ]
    with pytest.raises(ValueError, match="closed shelf"):
        len(shelf)
    shelf.close()
    with hutch.open(path, exclusive=True) as shelf:
        assert dict(shelf) == {"a": [1, 2], "b": [1], "c": [1], "d": [1, 2]}


def test_a_value_that_pickled_once_and_no_more(shelf: Shelf, below: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf["shy"] = Shy()
    shelf.sync()
    monkeypatch.setattr(Shy, "refuses", True)
    assert isinstance(shelf["shy"], Shy), "it can be read all the same"
    with pytest.raises(pickle.PicklingError):
        shelf.sync()
    monkeypatch.setattr(Shy, "refuses", False)
    shelf["shy"].state = 1
    shelf.sync()
    assert loaded(below)["shy"].state == 1


def test_reading_a_read_only_shelf_writes_nothing(path: str) -> None:
    with shelve.Shelf(__import__("dbm.dumb").dumb.open(path), protocol=0) as stdlib:
        stdlib.update(VALUES)
    with hutch.open(path, "r", writeback=True) as shelf:
        assert len(list(shelf.values())) == len(VALUES)
        shelf.sync()
        assert shelf["bytes"] == b"x" * 100
    shelf = hutch.open(path, "r", writeback=True)
    shelf["equal"].append("changed")
    with pytest.raises(ReadOnlyError):
        shelf.sync()
    assert shelf.cache["equal"][-1] == "changed"
    with pytest.raises(ReadOnlyError):
        shelf.close()
    with pytest.raises(ValueError, match="closed shelf"):
        len(shelf)


# -- a bounded cache -----------------------------------------------------------------------------------


def test_the_least_recently_used_go_first(below: Recording) -> None:
    with Shelf(below, writeback=True, cache_size=3) as shelf:
        for key in "abc":
            shelf[key] = [key]
        assert list(shelf.cache) == ["a", "b", "c"]
        shelf["a"].append("changed")
        assert list(shelf.cache) == ["b", "c", "a"]
        below.writes.clear()
        shelf["d"] = ["d"]
        assert list(shelf.cache) == ["c", "a", "d"]
        assert below.writes == [[b"d"]], "b had not been changed"
        assert shelf["b"] == ["b"]
        assert shelf["e" if "e" in shelf else "c"] == ["c"]
        assert list(shelf.cache) == ["d", "b", "c"]
        assert below.writes == [[b"d"], [b"a"]]
        assert shelf["a"] == ["a", "changed"]
        shelf.sync()
        assert shelf.cache == {}


def test_a_bounded_cache_stays_within_its_bounds_and_loses_nothing(path: str) -> None:
    chaos = random.Random(1)
    model: dict[str, list[int]] = {}
    with hutch.open(path, writeback=True, cache_size=40) as shelf:
        for step in range(1500):
            key = str(chaos.randrange(120))
            if chaos.random() < 0.1:
                shelf.pop(key, None)
                model.pop(key, None)
            else:
                shelf.setdefault(key, []).append(step)
                model.setdefault(key, []).append(step)
            assert len(shelf.cache) <= 40
            if chaos.random() < 0.01:
                shelf.sync()
    with hutch.open(path) as shelf:
        assert dict(shelf) == model


def test_many_are_dropped_as_one_batch(below: Recording) -> None:
    with Shelf(below, writeback=True, cache_size=320) as shelf:
        shelf.update({str(number): [] for number in range(320)})
        for value in shelf.values():
            value.append(1)
        below.writes.clear()
        shelf["more"] = []
        assert [len(keys) for keys in below.writes] == [1, 11]
        assert len(shelf.cache) == 310


def test_update_and_items_with_a_bounded_cache(path: str) -> None:
    with hutch.open(path, writeback=True, cache_size=2) as shelf:
        shelf.update({str(number): [number] for number in range(10)})
        assert list(shelf.cache) == ["8", "9"]
        assert [value for _, value in shelf.items()] == [[number] for number in range(10)]
        assert shelf.get_many(map(str, range(10))) == {str(number): [number] for number in range(10)}
        assert len(shelf.cache) == 2


def test_what_cannot_be_pickled_is_not_dropped(below: Recording) -> None:
    shelf = Shelf(below, writeback=True, cache_size=2)
    shelf["bad"] = [1]
    shelf["bad"].append(lambda: 0)
    for number in range(5):
        shelf[str(number)] = [number]
        assert shelf[str(number)] == [number]
        assert "bad" in shelf.cache
    with pytest.raises((pickle.PicklingError, AttributeError)):
        shelf.sync()
    shelf["bad"].pop()
    shelf["bad"].append(2)
    shelf.close()
    assert loaded(below)["bad"] == [1, 2]


def test_an_object_that_is_being_edited_is_not_dropped(path: str) -> None:
    with hutch.open(path, writeback=True, cache_size=1) as shelf:
        shelf.update(a=[1], b=[2], c=[3])
        with shelf.edit("a") as value:
            value.append("first")
            shelf["b"].append(1)
            shelf["c"].append(1)
            assert shelf["a"] is value
            value.remove("first")
        assert shelf["a"] == [1]
    with hutch.open(path) as shelf:
        assert dict(shelf) == {"a": [1], "b": [2, 1], "c": [3, 1]}


def test_the_size_of_a_cache_is_checked() -> None:
    for size in (0, -1):
        with pytest.raises(ValueError, match=f"^cache_size must be at least 1, not {size}$"):
            Shelf({}, writeback=True, cache_size=size)


# -- transactions --------------------------------------------------------------------------------------


@pytest.fixture(params=["dict", "files"])
def both(request: pytest.FixtureRequest, path: str) -> Iterator[Shelf]:
    with Shelf({}, writeback=True) if request.param == "dict" else hutch.open(path, writeback=True) as shelf:
        yield shelf


def test_a_transaction_writes_back_what_it_changes(both: Shelf) -> None:
    both.update(a=[1], b=[1])
    with both.transaction():
        both["a"].append(2)
        both["c"] = [1]
        both["c"].append(2)
        assert pickle.loads(both.dict[b"a"]) == [1]
    assert loaded(dict(both.dict)) == {"a": [1, 2], "b": [1], "c": [1, 2]}
    both["a"].append(3)
    assert both["a"] == [1, 2, 3]


def test_a_failed_transaction_restores_the_cache(both: Shelf) -> None:
    both.update({key: [key] for key in ("untouched", "clean", "pending", "held", "replaced", "deleted")})
    both.sync()
    both["clean"]
    held, untouched = both["held"], both["untouched"]
    both["pending"].append("not written yet")
    stored = dict(both.dict)
    with pytest.raises(BreakOff), both.transaction():
        both["clean"].append("in vain")
        both["pending"].append("in vain")
        held.append("in vain")
        both["replaced"] = "in vain"
        del both["deleted"]
        both["new"] = ["in vain"]
        both.setdefault("more", []).append("in vain")
        raise BreakOff
    assert dict(both.dict) == stored
    assert dict(both) == {
        "untouched": ["untouched"],
        "clean": ["clean"],
        "pending": ["pending", "not written yet"],
        "held": ["held"],
        "replaced": ["replaced"],
        "deleted": ["deleted"],
    }
    untouched.append("still cached")
    held.append("no more")
    both.sync()
    assert both["untouched"] == ["untouched", "still cached"]
    assert both["pending"] == ["pending", "not written yet"]
    assert both["held"] == ["held"]


def test_a_failed_transaction_restores_what_was_dropped(path: str) -> None:
    with hutch.open(path, writeback=True, cache_size=2) as shelf:
        shelf.update(a=[1], b=[1], c=[1], d=[1])
        shelf["a"].append("pending")
        with pytest.raises(BreakOff), shelf.transaction():
            for key in "bcd":
                shelf[key].append("in vain")
            assert "a" not in shelf.cache
            raise BreakOff
        assert dict(shelf) == {"a": [1, "pending"], "b": [1], "c": [1], "d": [1]}
    with hutch.open(path) as shelf:
        assert dict(shelf) == {"a": [1, "pending"], "b": [1], "c": [1], "d": [1]}


def test_a_transaction_that_cannot_pickle_fails_whole(both: Shelf) -> None:
    both.update(a=[1], b=[1])
    with pytest.raises((pickle.PicklingError, AttributeError)), both.transaction():
        both["a"].append(2)
        both["b"].append(lambda: 0)
        both["c"] = 1
    assert dict(both) == {"a": [1], "b": [1]}


def test_edit_in_a_failed_transaction(both: Shelf) -> None:
    both["a"] = [1]
    with pytest.raises(BreakOff), both.transaction():
        with both.edit("a") as value:
            value.append(2)
        raise BreakOff
    assert both["a"] == [1]
    with pytest.raises(BreakOff), both.edit("a") as value:
        value.append(2)
        both["b"] = 1
        raise BreakOff
    assert dict(both) == {"a": [1]}


def test_edit_leaves_other_changes_for_later(both: Shelf) -> None:
    both.update(a=[1], b=[1])
    both["b"].append("pending")
    with both.edit("a") as value:
        assert value is both["a"]
        value.append(2)
    assert loaded(dict(both.dict)) == {"a": [1, 2], "b": [1]}
    both["b"].append(lambda: 0)
    with both.edit("a") as value:
        value.append(3)
    assert pickle.loads(both.dict[b"a"]) == [1, 2, 3]
    both["b"].pop()
    assert both["b"] == [1, "pending"]


def test_edit_stores_a_change_made_before(both: Shelf) -> None:
    both["a"] = [1]
    both["a"].append("before")
    with both.edit("a") as value:
        assert value == [1, "before"]
    assert pickle.loads(both.dict[b"a"]) == [1, "before"]


def test_modify_and_the_cache(both: Shelf) -> None:
    both["a"] = [1]
    both["a"].append(2)
    assert both.modify("a", lambda value: [*value, 3]) == [1, 2, 3]
    both["a"].append(4)
    assert both.modify("n", lambda value: value + 1, 0) == both["n"] == 1
    both.sync()
    assert loaded(dict(both.dict)) == {"a": [1, 2, 3, 4], "n": 1}


# -- others write too ----------------------------------------------------------------------------------


def test_an_unchanged_object_does_not_overwrite_what_others_wrote(path: str) -> None:
    with hutch.open(path, writeback=True) as one, hutch.open(path) as two:
        one.update(a=[1], b=[1], c=[1])
        assert one["a"] == one["b"] == one["c"] == [1]
        two["a"] = "other"
        del two["b"]
        one["c"].append("mine")
        one.sync()
        assert dict(two) == dict(one) == {"a": "other", "c": [1, "mine"]}


def test_edit_sees_what_others_wrote(path: str) -> None:
    with hutch.open(path, writeback=True) as one, hutch.open(path) as two:
        one.update(a=[1], b=[1], c=[1])
        two["a"] = [1, "other"]
        with one.edit("a") as value:
            value.append("mine")
        assert two["a"] == one["a"] == [1, "other", "mine"]
        del two["b"]
        with pytest.raises(KeyError), one.edit("b"):
            pass
        assert "b" not in one.cache
        one["c"].append("unsaved")
        two["c"] = ["other"]
        with one.edit("c") as value:
            assert value == [1, "unsaved"], "a change that is not written yet goes before"
        assert two["c"] == [1, "unsaved"]
        del two["c"]
        del one["c"]
        with pytest.raises(KeyError):
            del one["c"]


def _append(line: Line, path: str, times: int) -> None:
    with hutch.open(path, writeback=True) as shelf:
        line.hear()
        for number in range(times):
            with shelf.edit("shared") as value:
                value.append((os.getpid(), number))
            with shelf.transaction():
                shelf.setdefault(str(os.getpid()), []).append(number)


def test_processes_that_edit_lose_nothing(path: str) -> None:
    times = 40
    with hutch.open(path, writeback=True) as shelf:
        shelf["shared"] = []
        children = [Child(_append, path, times) for _ in range(2)]
        for child in children:
            child.say()
        for number in range(times):
            with shelf.edit("shared") as value:
                value.append((os.getpid(), number))
        for child in children:
            child.finish()
            assert shelf[str(child.pid)] == list(range(times))
    with hutch.open(path) as shelf:
        assert len(set(shelf["shared"])) == 3 * times


def test_threads_get_the_same_object(path: str) -> None:
    threads, keys = 4, 30
    with hutch.open(path, "n", writeback=True) as shelf:
        shelf.update({str(number): [] for number in range(keys)})
        shelf.sync()
        barrier = threading.Barrier(threads)

        def work(name: int) -> list[int]:
            seen = []
            for number in range(keys):
                barrier.wait(60)
                value = shelf[str(number)]
                value.append(name)
                seen.append(id(value))
            return seen

        with ThreadPoolExecutor(threads) as pool:
            seen = list(pool.map(work, range(threads)))
        assert all(each == seen[0] for each in seen)
    with hutch.open(path) as shelf:
        assert all(sorted(value) == list(range(threads)) for value in shelf.values())


def test_threads_and_a_bounded_cache(path: str) -> None:
    """Each thread changes its own objects, under the others' feet, and in transactions."""
    threads, steps = 4, 150
    with hutch.open(path, "n", writeback=True, cache_size=3) as shelf:

        def work(name: int) -> None:
            for step in range(steps):
                key = f"{name} {step % 5}"
                if step % 3:
                    shelf[key] = [*shelf.get(key, []), step]
                else:
                    with shelf.edit(key, default=[]) as value:
                        value.append(step)
                if step % 10 == 0:
                    shelf.sync()

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    with hutch.open(path) as shelf:
        for name in range(threads):
            for rest in range(5):
                assert shelf[f"{name} {rest}"] == list(range(rest, steps, 5))


# -- any history ---------------------------------------------------------------------------------------

KEYS = st.sampled_from("abcde")


class WritebackMachine(RuleBasedStateMachine):
    """A writeback shelf beside a dict of lists that are changed in the same way."""

    @initialize(cache_size=st.sampled_from([None, None, 1, 3]), in_files=st.booleans())
    def start(self, cache_size: int | None, in_files: bool) -> None:
        self.folder = __import__("tempfile").TemporaryDirectory()
        path = os.path.join(self.folder.name, "shelf")
        self.make = lambda: Shelf(
            hutch.dbm.open(path) if in_files else self.below, writeback=True, cache_size=cache_size
        )
        self.below: dict[bytes, bytes] = {}
        self.bounded = cache_size is not None
        self.shelf = self.make()
        self.model: dict[str, list[Any]] = {}
        self.held: list[tuple[list[Any], list[Any]]] = []
        self.count = 0

    def next(self) -> int:
        self.count += 1
        return self.count

    @rule(key=KEYS)
    def store(self, key: str) -> None:
        value = [self.next()]
        self.shelf[key], self.model[key] = value, list(value)

    @rule(key=KEYS)
    def change(self, key: str) -> None:
        if key in self.model:
            number = self.next()
            self.shelf[key].append(number)
            self.model[key].append(number)

    @rule(key=KEYS, default=st.booleans())
    def edit(self, key: str, default: bool) -> None:
        number = self.next()
        if key in self.model or default:
            with self.shelf.edit(key, *([[]] if default else [])) as value:
                value.append(number)
            self.model.setdefault(key, []).append(number)

    @rule(key=KEYS)
    def hold(self, key: str) -> None:
        """Remember an object and change it later, as long as it is sure to be in the cache."""
        if key in self.model and not self.bounded:
            self.held.append((self.shelf[key], self.model[key]))

    @rule()
    def change_held(self) -> None:
        for value, model in self.held:
            if any(model is current for current in self.model.values()):
                number = self.next()
                value.append(number)
                model.append(number)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        assert self.shelf.pop(key, None) == self.model.pop(key, None)

    @rule(key=KEYS)
    def put_and_break_off(self, key: str) -> None:
        if key in self.model:
            with suppress(BreakOff), self.shelf.edit(key) as value:
                value.append("in vain")
                self.shelf["new"] = "in vain"
                raise BreakOff
            self.held.clear()

    @rule(keys=st.lists(KEYS), fails=st.booleans())
    def transact(self, keys: list[str], fails: bool) -> None:
        model = {key: list(value) for key, value in self.model.items()}
        with suppress(BreakOff), self.shelf.transaction():
            for place, key in enumerate(keys):
                number = self.next()
                if place % 3 == 2:
                    self.shelf.pop(key, None)
                    model.pop(key, None)
                else:
                    self.shelf.setdefault(key, []).append(number)
                    model.setdefault(key, []).append(number)
            if fails:
                raise BreakOff
        if not fails:
            self.model = model
        self.held.clear()

    @rule()
    def sync(self) -> None:
        self.shelf.sync()
        self.held.clear()

    @rule()
    def reopen(self) -> None:
        self.shelf.close()
        self.shelf = self.make()
        self.held.clear()

    @rule()
    def read_all(self) -> None:
        assert dict(self.shelf.items()) == self.model

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "shelf"):
            assert set(self.shelf) == set(self.model)
            assert all(self.shelf.cache[key] == self.model[key] for key in self.shelf.cache)

    def teardown(self) -> None:
        if hasattr(self, "shelf"):
            self.shelf.close()
            with self.make() as shelf:
                assert dict(shelf) == self.model
            self.folder.cleanup()


TestWritebackMachine = WritebackMachine.TestCase
TestWritebackMachine.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_a_damaged_value_is_not_cached(shelf: Shelf, below: Recording) -> None:
    dict.__setitem__(below, b"bad", b"no pickle")
    for _ in range(2):
        with pytest.raises(UnreadableValueError):
            shelf["bad"]
        assert shelf.cache == {}
    shelf.sync()
    assert below[b"bad"] == b"no pickle"


def test_the_cache_is_a_dict(shelf: Shelf) -> None:
    shelf["a"] = [1]
    assert isinstance(shelf.cache, dict)
    assert isinstance(shelf.cache, WritebackCache)
    assert shelf.cache == {"a": [1]}
