"""The index: find, miss, insert."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TYPE_CHECKING

import pytest

from benchmarks.layers.conftest import ROUNDS
from hutch import format as fmt
from hutch.files import MappedFile
from hutch.header import Identity
from hutch.index import Index
from hutch.table import create

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_IDENTITY = Identity(1, 1, 1, 1, 1, 1, bytes(16))
_ENTRY = (64, 512, 100, 1)


@pytest.fixture
def hashes(pairs: dict[bytes, bytes]) -> list[int]:
    return [fmt.hash64(key) for key in pairs]


@pytest.fixture
def missing() -> Iterator[int]:
    return (fmt.hash64(number.to_bytes(8, "little")) for number in range(1 << 32, 1 << 40))


@pytest.fixture
def index(mapped: Callable[[str], MappedFile], hashes: list[int]) -> Index:
    made = create(mapped("index"), _IDENTITY, ((key_hash, _ENTRY) for key_hash in hashes))
    made.end_update()
    return made


def test_find(benchmark: BenchmarkFixture, index: Index, hashes: list[int]) -> None:
    following = cycle(hashes).__next__
    assert benchmark(lambda: next(index.candidates(following()), None)) is not None


def test_miss(benchmark: BenchmarkFixture, index: Index, missing: Iterator[int]) -> None:
    assert benchmark(lambda: next(index.candidates(next(missing)), None)) is None


def test_insert(benchmark: BenchmarkFixture, index: Index, missing: Iterator[int]) -> None:
    def insert() -> None:
        index.begin_update()
        index.reserve(1)
        index.insert(next(missing), _ENTRY)
        index.end_update()

    before = index.key_count
    benchmark.pedantic(insert, rounds=ROUNDS)
    assert index.key_count > before
