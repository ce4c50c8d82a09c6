"""The engine: get, miss, put, delete, a batch, a durable put, iterate, open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.layers.conftest import ENTRIES, ROUNDS
from hutch.store import Store, open_store

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_VALUE = b"v" * 100


@pytest.fixture
def path(tmp_path: Path, pairs: dict[bytes, bytes]) -> str:
    """A database that is closed."""
    made = open_store(tmp_path / "store", "n")
    made.apply(pairs)
    made.close()
    return str(tmp_path / "store")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    opened = open_store(path, "w")
    yield opened
    opened.close()


def test_get(benchmark: BenchmarkFixture, store: Store, present: Callable[[], bytes]) -> None:
    assert benchmark(lambda: store.get(present())) is not None


def test_miss(benchmark: BenchmarkFixture, store: Store, absent: Callable[[], bytes]) -> None:
    assert benchmark(lambda: store.get(absent())) is None


def test_put(benchmark: BenchmarkFixture, store: Store, absent: Callable[[], bytes]) -> None:
    benchmark.pedantic(lambda: store.put(absent(), _VALUE), rounds=ROUNDS)
    assert store.count() > ENTRIES


def test_overwrite(benchmark: BenchmarkFixture, store: Store, present: Callable[[], bytes]) -> None:
    benchmark.pedantic(lambda: store.put(present(), _VALUE), rounds=ROUNDS)
    assert store.count() == ENTRIES


def test_delete(benchmark: BenchmarkFixture, store: Store, present: Callable[[], bytes]) -> None:
    benchmark.pedantic(lambda: store.delete(present()), rounds=ROUNDS)
    assert store.count() < ENTRIES


def test_apply(benchmark: BenchmarkFixture, store: Store, absent: Callable[[], bytes]) -> None:
    benchmark.pedantic(lambda: store.apply({absent(): _VALUE for _ in range(100)}), rounds=10)
    assert store.count() > ENTRIES


def test_durable_put(benchmark: BenchmarkFixture, path: str, absent: Callable[[], bytes]) -> None:
    store = open_store(path, "w", durability="commit")
    benchmark.pedantic(lambda: store.put(absent(), _VALUE), rounds=20)
    assert store.count() > ENTRIES
    store.close()


def test_iterate(benchmark: BenchmarkFixture, store: Store) -> None:
    assert benchmark(lambda: sum(1 for _ in store.items())) == ENTRIES


def test_open_get_close(benchmark: BenchmarkFixture, path: str, present: Callable[[], bytes]) -> None:
    def visit() -> bytes | None:
        store = open_store(path, "r")
        value = store.get(present())
        store.close()
        return value

    assert benchmark(visit) is not None
