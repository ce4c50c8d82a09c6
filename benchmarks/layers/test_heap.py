"""The heap: write and read a value, and find space for one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, cycle
from typing import TYPE_CHECKING

import pytest

from benchmarks.layers.conftest import ENTRIES, ROUNDS
from hutch import format as fmt
from hutch.files import MappedFile
from hutch.heap import FreeSpace, Heap

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_VALUE = b"v" * 100


@pytest.fixture
def heap(mapped: Callable[[str], MappedFile]) -> Heap:
    made = Heap(mapped("heap"))
    made.reserve(ENTRIES)
    made.write([(at * fmt.BLOCK_BYTES, _VALUE) for at in range(ENTRIES)])
    return made


def test_read(benchmark: BenchmarkFixture, heap: Heap) -> None:
    offset = cycle(range(0, ENTRIES * fmt.BLOCK_BYTES, fmt.BLOCK_BYTES)).__next__
    assert benchmark(lambda: heap.read(offset(), len(_VALUE))) == _VALUE


def test_append(benchmark: BenchmarkFixture, heap: Heap) -> None:
    blocks = count(ENTRIES)

    def append() -> None:
        block = next(blocks)
        heap.reserve(block + 1)
        heap.write([(block * fmt.BLOCK_BYTES, _VALUE)])

    benchmark.pedantic(append, rounds=ROUNDS)
    assert heap.read(ENTRIES * fmt.BLOCK_BYTES, len(_VALUE)) == _VALUE


def test_take_and_give_back(benchmark: BenchmarkFixture) -> None:
    free = FreeSpace((start, 1 + start % 7) for start in range(0, 10 * ENTRIES, 10))
    lengths = cycle(range(1, 8)).__next__

    def turn() -> None:
        length = lengths()
        start = free.take(length)
        assert start is not None
        free.add(start, length)

    before = free.block_count
    benchmark(turn)
    assert free.block_count == before
