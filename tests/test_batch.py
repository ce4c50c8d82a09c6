"""Many new keys at once: they are stored as one by one, in fewer steps."""

from __future__ import annotations

import dbm.dumb
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import hutch.store
from crash.collisions import colliding_hashes
from hutch import format as fmt
from hutch.batch import FEWEST, insert_many
from hutch.files import File
from hutch.index import Index
from hutch.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = open_store(tmp_path / "db", "n")
    yield store
    store.close()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each statement that might be a batch was one."""
    answers: list[bool] = []

    def watched(*arguments: Any, **options: Any) -> bool:
        answers.append(insert_many(*arguments, **options))
        return answers[-1]

    monkeypatch.setattr(hutch.store, "insert_many", watched)
    return answers


def entries(first: int, last: int, value_bytes: int = 100) -> dict[bytes, bytes]:
    """Keys and values that need no quotes, that do, and that leave no room behind the value."""
    return {
        (b"key%d", b"it's %d", b"\xff\n%d")[number % 3] % number: (b"%d " % number * value_bytes)[
            : value_bytes + number % 7
        ]
        for number in range(first, last)
    }


def agrees(store: Store, model: dict[bytes, bytes]) -> None:
    assert list(store.items()) == list(model.items())
    assert store.count() == len(model)
    assert all(store.get(key) == value for key, value in model.items())
    assert store.get(b"missing") is None
    assert store.check().ok


def test_into_a_new_database(store: Store, batches: list[bool], tmp_path: Path) -> None:
    model = entries(0, 1000)
    store.apply(model)
    assert batches == [True]
    agrees(store, model)
    store.close()
    with dbm.dumb.open(os.fspath(tmp_path / "db"), "r") as stdlib:
        assert {key: stdlib[key] for key in stdlib.keys()} == model  # noqa: SIM118  # no mapping to a dict


@pytest.mark.parametrize("value_bytes", [1, 495, 500, 4000])
def test_into_one_that_has_less_or_more(store: Store, batches: list[bool], value_bytes: int) -> None:
    model = entries(0, 70, value_bytes)
    for key, value in model.items():
        store.put(key, value)
    for first, last in ((70, 400), (400, 500), (500, 564), (564, 2000)):
        more = entries(first, last, value_bytes)
        store.apply(more)
        model |= more
        agrees(store, model)
    assert batches == [True] * 4
    for key in list(model)[::2]:
        assert store.delete(key)
        del model[key]
    for key in list(model)[::3]:
        store.put(key, b"new")
        model[key] = b"new"
    agrees(store, model)


@pytest.mark.parametrize("present", [0, 40, FEWEST])
def test_a_key_that_is_there_keeps_its_place(store: Store, batches: list[bool], present: int) -> None:
    model = entries(0, 100)
    store.apply(model)
    changes = {**entries(100, 100 + present), b"key0": b"replaced", **entries(100 + present, 101 + FEWEST)}
    store.apply(changes)
    assert batches == [True, False]
    agrees(store, model | changes)


@pytest.mark.parametrize("value", [b"", bytes(fmt.INLINE_LIMIT_BYTES + 1), memoryview(b"view"), None])
def test_what_is_unusual_goes_the_other_way(store: Store, batches: list[bool], value: Any) -> None:
    model = entries(0, 100)
    store.apply({**model, b"unusual": value})
    assert batches == [False]
    agrees(store, model if value is None else {**model, b"unusual": bytes(value)})


def test_free_space_is_used_by_many_as_by_one(store: Store, batches: list[bool]) -> None:
    store.apply(entries(0, 200))
    for key in entries(0, 150):
        store.delete(key)
    store.sync()
    assert store.heap.free is not None
    assert store.index is not None
    blocks = store.index.heap_blocks
    store.apply(entries(300, 400))
    assert batches == [True, False]
    assert store.index.heap_blocks == blocks
    agrees(store, entries(150, 200) | entries(300, 400))


def test_equal_hashes(store: Store, batches: list[bool]) -> None:
    """More than there are overflow pages for: by chance there never are."""
    with colliding_hashes():
        model = entries(0, 150)
        store.apply(model)
        more = entries(150, 220)
        store.apply(more)
        agrees(store, model | more)
    assert batches == [False, False]


def test_no_more_room_is_set_aside_than_the_entries_need(store: Store) -> None:
    store.apply(entries(0, 3000))
    assert store.index is not None
    assert len(store.index.file.view) < 2 * Index.table_bytes(3000 // fmt.BUCKET_LOAD)


def test_a_damaged_page_is_not_copied(store: Store, batches: list[bool]) -> None:
    model = entries(0, 100)
    store.apply(model)
    index = store.index
    assert index is not None
    at = fmt.INDEX_HEADER_BYTES + fmt.SLOTS_AT
    index.file.view[at : at + 1] = bytes((index.file.view[at : at + 1][0] ^ 1,))
    more = entries(100, 300)
    store.apply(more)
    assert store.index is not index
    assert batches == [True, True]  # the second at the second attempt
    agrees(store, model | more)


@pytest.mark.parametrize("suffix", ["dat", "idx", "log", "dir"])
def test_without_room_nothing_happens(store: Store, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    model = entries(0, 100)
    store.apply(model)
    full: list[str] = []

    def refuse(name: str) -> Callable[..., Any]:
        method = getattr(File, name)

        def attempt(self: File, *arguments: Any) -> Any:
            if self.path.endswith(suffix):
                full.append(name)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return method(self, *arguments)

        return attempt

    with monkeypatch.context() as patch:
        for name in ("allocate", "write_at"):
            patch.setattr(File, name, refuse(name))
        with pytest.raises(OSError, match="No space left"):
            store.apply(entries(100, 3000))
    assert full
    agrees(store, model)
    store.apply(entries(100, 3000))
    agrees(store, model | entries(100, 3000))


def test_durable_ones_are_synced_once(tmp_path: Path, batches: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(tmp_path / "db", "n", durability="commit")
    store.put(b"first", b"entry")
    synced: list[str] = []
    sync = File.sync
    monkeypatch.setattr(File, "sync", lambda self: (synced.append(Path(self.path).suffix), sync(self)))
    model = entries(0, 200)
    store.apply(model)
    assert synced == [".log"]
    assert batches == [True]
    agrees(store, {b"first": b"entry", **model})
    store.close()
