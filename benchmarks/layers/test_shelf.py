"""The shelf: objects, changes in place, and write-back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import hutch
from benchmarks.compare.data import Data
from benchmarks.compare.task import OBJECTS
from benchmarks.layers.conftest import ROUNDS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_ENTRIES = 500


@pytest.fixture
def records() -> dict[str, Any]:
    return dict(Data(OBJECTS, 0).pairs(range(_ENTRIES)))


@pytest.fixture
def shelf(tmp_path: Path, records: dict[str, Any]) -> Iterator[hutch.Shelf]:
    with hutch.open(tmp_path / "shelf", "n") as opened:
        opened.update(records)
        yield opened


def test_get(benchmark: BenchmarkFixture, shelf: hutch.Shelf, records: dict[str, Any]) -> None:
    key = next(iter(records))
    assert benchmark(lambda: shelf[key]) == records[key]


def test_put(
    benchmark: BenchmarkFixture, shelf: hutch.Shelf, records: dict[str, Any], absent: Callable[[], bytes]
) -> None:
    record = next(iter(records.values()))
    benchmark.pedantic(lambda: shelf.__setitem__(absent().decode(), record), rounds=ROUNDS)
    assert len(shelf) > _ENTRIES


def test_edit(benchmark: BenchmarkFixture, shelf: hutch.Shelf, records: dict[str, Any]) -> None:
    key = next(iter(records))
    shelf[key] = {"count": 0}

    def edit() -> None:
        with shelf.edit(key) as record:
            record["count"] += 1

    benchmark.pedantic(edit, rounds=ROUNDS)
    assert shelf[key]["count"] >= 1


def test_writeback(benchmark: BenchmarkFixture, tmp_path: Path, records: dict[str, Any]) -> None:
    with hutch.open(tmp_path / "kept", "n", writeback=True) as kept:
        kept.update(records)
        kept.sync()

        def change_all() -> None:
            for key in records:
                kept[key]["turns"] = kept[key].get("turns", 0) + 1
            kept.sync()

        benchmark.pedantic(change_all, rounds=3)
        assert all(kept[key]["turns"] >= 1 for key in records)
