"""The journal: append a record of one operation, and read records back."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from benchmarks.layers.conftest import ROUNDS
from hutch import format as fmt
from hutch.files import MappedFile
from hutch.journal import Journal, operations, pack_operation

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

_ENTRY = (64, 512, 100, 1)
_PAYLOAD = b"".join(pack_operation(1, b"k" * 16, _ENTRY, b"v" * 100))


@pytest.fixture
def journal(mapped: Callable[[str], MappedFile]) -> Journal:
    made = Journal(mapped("journal"))
    made.start(generation=1, database_id=1, base_sequence=0, directory_bytes=0, salt=7)
    return made


def test_append(benchmark: BenchmarkFixture, journal: Journal) -> None:
    end, sequence = fmt.JOURNAL_HEADER_BYTES, 0

    def append() -> None:
        nonlocal end, sequence
        sequence += 1
        journal.reserve(end + fmt.RECORD_HEADER_BYTES + len(_PAYLOAD) + fmt.RECORD_CHECKSUM.size)
        end = journal.append(end, sequence, 1, _PAYLOAD)

    benchmark.pedantic(append, rounds=ROUNDS)
    assert [record.sequence for record in journal.records(fmt.JOURNAL_HEADER_BYTES, 0)] == list(range(1, sequence + 1))


def test_read_back(benchmark: BenchmarkFixture, journal: Journal) -> None:
    end = fmt.JOURNAL_HEADER_BYTES
    for sequence in range(1, 101):
        journal.reserve(end + fmt.RECORD_HEADER_BYTES + len(_PAYLOAD) + fmt.RECORD_CHECKSUM.size)
        end = journal.append(end, sequence, 1, _PAYLOAD)

    def read() -> int:
        found = journal.records(fmt.JOURNAL_HEADER_BYTES, 0)
        return sum(operation.entry == _ENTRY for record in found for operation in operations(record.payload))

    assert benchmark(read) == 100
