"""The dbm interface: what it adds to the engine's get, put and iteration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.layers.conftest import ENTRIES, ROUNDS
from hutch import dbm

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture


@pytest.fixture
def database(tmp_path: Path, pairs: dict[bytes, bytes]) -> Iterator[dbm.Database]:
    with dbm.open(tmp_path / "database", "n") as opened:
        opened.update(pairs)
        yield opened


def test_get(benchmark: BenchmarkFixture, database: dbm.Database, present: Callable[[], bytes]) -> None:
    assert benchmark(lambda: database[present()])


def test_get_by_text(benchmark: BenchmarkFixture, database: dbm.Database, present: Callable[[], bytes]) -> None:
    key = present().decode()
    assert benchmark(lambda: database[key])


def test_miss(benchmark: BenchmarkFixture, database: dbm.Database, absent: Callable[[], bytes]) -> None:
    assert benchmark(lambda: database.get(absent())) is None


def test_put(benchmark: BenchmarkFixture, database: dbm.Database, absent: Callable[[], bytes]) -> None:
    benchmark.pedantic(lambda: database.__setitem__(absent(), b"value"), rounds=ROUNDS)
    assert len(database) > ENTRIES


def test_keys(benchmark: BenchmarkFixture, database: dbm.Database) -> None:
    assert len(benchmark(database.keys)) == ENTRIES


def test_transaction(benchmark: BenchmarkFixture, database: dbm.Database, absent: Callable[[], bytes]) -> None:
    def transaction() -> None:
        with database.transaction():
            for _ in range(10):
                database[absent()] = b"value"

    benchmark.pedantic(transaction, rounds=20)
    assert len(database) > ENTRIES
