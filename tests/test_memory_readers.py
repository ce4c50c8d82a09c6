"""Handles that may not write and find no index to believe read directory and journal, beside writers that go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hutch import attaching
from hutch.attaching import Attaching
from hutch.store import Store, open_store


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "db"


@pytest.fixture
def writer(base: Path) -> Iterator[Store]:
    store = open_store(base, "n")
    store.put(b"key", b"old" * 100)
    store.sync()
    yield store
    store.close()


def rewrite(writer: Store) -> None:
    """Give the key a new value, in the same files."""
    writer.put(b"key", b"new" * 100)
    writer.put(b"other", b"xyz" * 100)
    writer.sync()


class Between:
    """Runs the writer between the reading of directory and journal and whatever comes then, so many times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writer: Store, times: int = 1) -> None:
        self.snapshots = 0
        load_snapshot = attaching.load_snapshot

        def beside_a_writer(*arguments: Any) -> Any:
            found = load_snapshot(*arguments)
            self.snapshots += 1
            if self.snapshots <= times:
                rewrite(writer)
            return found

        monkeypatch.setattr(attaching, "load_snapshot", beside_a_writer)


def reject(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let a reader find a writer inside each time that it looks, so many times."""
    try_index = Attaching._try_index
    looks = 0

    def find_a_writer(store: Attaching) -> bool:
        nonlocal looks
        found = try_index(store)
        if store.writable or looks == times:
            return found
        looks += 1
        store.rejected, store.index = store.index, None
        return False

    monkeypatch.setattr(Attaching, "_try_index", find_a_writer)


@pytest.mark.parametrize("times", [2, 3, 100])
def test_what_was_written_while_it_read_is_seen(
    base: Path, writer: Store, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    """However long the index cannot be believed, and nobody seems to be inside when it asks."""
    between = Between(monkeypatch, writer)
    reject(monkeypatch, times)
    reader = open_store(base, "r")
    assert between.snapshots >= 1
    assert reader.get(b"key") == b"new" * 100
    reader.close()


def test_a_writer_that_never_rests_does_not_keep_it_from_opening(
    base: Path, writer: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    between = Between(monkeypatch, writer, times=1000)
    reject(monkeypatch, 10**6)
    reader = open_store(base, "r")
    assert 1 < between.snapshots < 100
    monkeypatch.undo()
    assert reader.get(b"key") == b"new" * 100
    reader.close()


def test_nor_does_it_miss_what_comes_when_it_has_stopped_believing(
    base: Path, writer: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = open_store(base, "r")
    assert reader.get(b"key") == b"old" * 100
    assert reader.index is not None
    Between(monkeypatch, writer)
    reject(monkeypatch, 2)
    reader.distrust(reader.index)
    assert reader.get(b"key") == b"new" * 100
    assert reader.get(b"other") == b"xyz" * 100
    reader.close()
