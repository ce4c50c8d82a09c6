"""Threads of one handle: they share what it believes about the index, so what one does moves what another compares."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from hutch import format as fmt
from hutch import reading
from hutch import store as statements
from hutch.errors import ClosedError, LockTimeout, TransactionError
from hutch.journal import Journal
from hutch.store import Store, open_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "db", "n")
    yield opened
    opened.close()


def about_to_move(store: Store) -> bytes:
    """Store keys until the next one splits a bucket; one that moves then, alone with its tag, on the first page."""
    number = 0
    while True:
        store.put(b"key %d" % number, b"value")
        number += 1
        index = store.index
        assert index is not None
        if index.key_count != index.bucket_count * fmt.BUCKET_LOAD or (index.bucket_count + 1) & index.bucket_count:
            continue  # where the masks change, `set_bucket_count` is what shows the table that the key has moved
        level = index.low_mask + 1
        old = index.bucket_count & index.low_mask
        hashes = {b"key %d" % n: fmt.hash_key(b"key %d" % n, store.seed) for n in range(number)}
        inside = {key: key_hash for key, key_hash in hashes.items() if key_hash & index.low_mask == old}
        tags = [fmt.tag_of(key_hash) for key_hash in inside.values()]
        for key, key_hash in inside.items():
            if key_hash & level and tags.count(fmt.tag_of(key_hash)) == 1 and len(inside) <= fmt.BUCKET_SLOTS:
                return key


@pytest.mark.parametrize("is_behind", [False, True])
def test_a_key_is_not_missed_while_another_thread_moves_it(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_behind: bool
) -> None:
    """The writer is inside while the page is read, and has finished before the reader makes sure of the miss."""
    key = about_to_move(store)
    index = store.index
    assert index is not None
    index.check_bucket(fmt.hash_key(key, store.seed))
    halfway, go_on = threading.Event(), threading.Event()
    writer = threading.Thread(target=store.put, args=(b"one more", b"value"))
    set_bucket_count, hash_key = index.set_bucket_count, reading._hash_key
    is_miss, is_checked = index.is_miss, index.is_checked

    def pause(bucket_count: int) -> None:
        halfway.set()
        assert go_on.wait(60)
        set_bucket_count(bucket_count)

    def hash_beside_writer(key: bytes, seed: int) -> int:
        monkeypatch.undo()
        monkeypatch.setattr(index, "set_bucket_count", pause)
        monkeypatch.setattr(index, "is_miss", lambda *page: False if is_behind else finish() and is_miss(*page))
        monkeypatch.setattr(index, "is_checked", lambda *of: finish() and is_checked(*of))
        writer.start()
        assert halfway.wait(60)
        return hash_key(key, seed)

    def finish() -> Any:
        go_on.set()
        writer.join(60)
        return not writer.is_alive()

    monkeypatch.setattr(reading, "_hash_key", hash_beside_writer)
    assert store.get(key) == b"value"
    assert finish()
    assert store.get(b"one more") == b"value"


def test_nothing_is_stored_between_the_last_checkpoint_and_the_end(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By another thread: it would be in the journal only, where no stdlib looks."""
    store.put(b"first", b"value")
    problems: list[BaseException] = []

    def put() -> None:
        try:
            store.put(b"late", b"value")
        except ClosedError as problem:
            problems.append(problem)

    other = threading.Thread(target=put)
    close_tidily = statements.close_tidily

    def close_beside_the_other(handle: Store) -> None:
        close_tidily(handle)
        other.start()
        other.join(0.2)  # it waits for this thread

    monkeypatch.setattr(statements, "close_tidily", close_beside_the_other)
    store.close()
    other.join()
    assert problems
    assert b"late" not in (tmp_path / "db.dir").read_bytes()


def test_a_handle_with_a_transaction_of_another_thread_stays_open(store: Store) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        store.begin()
        store.put(b"key", b"value")
        begun.set()
        go_on.wait(60)
        store.commit()

    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(60)
    with pytest.raises(TransactionError, match="another thread"):
        store.close()
    go_on.set()
    thread.join()
    assert store.get(b"key") == b"value"


def test_closing_gives_up_waiting_for_another_threads_statement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves the handle open: with its locks gone, that statement would write beside others."""
    store = open_store(tmp_path / "db", "n", timeout=0.05)
    store.put(b"first", b"value")
    inside, go_on = threading.Event(), threading.Event()
    append = Journal.append

    def pause(*arguments: Any) -> int:
        inside.set()
        go_on.wait(60)
        return append(*arguments)

    thread = threading.Thread(target=store.put, args=(b"second", b"value"))
    with monkeypatch.context() as patched:
        patched.setattr(Journal, "append", pause)
        thread.start()
        assert inside.wait(60)
        with pytest.raises(LockTimeout):
            store.close()
        go_on.set()
        thread.join()
    assert store.get(b"second") == b"value"
    store.close()
    with closing(open_store(tmp_path / "db", "r")) as reader:
        assert reader.get(b"second") == b"value"
