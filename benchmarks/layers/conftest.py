"""What the layers' benchmarks share: entries, and files that are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count, cycle
from pathlib import Path

import pytest

from benchmarks import inputs
from hutch.files import FileSystem, MappedFile

ENTRIES = 2_000
# Of benchmarks that change something: enough to be timed, few enough for a test run.
ROUNDS = 500


@pytest.fixture(scope="session")
def pairs() -> dict[bytes, bytes]:
    return dict(zip(inputs.keys(ENTRIES), inputs.values(ENTRIES), strict=True))


@pytest.fixture
def present(pairs: dict[bytes, bytes]) -> Callable[[], bytes]:
    """The next key, round and round, in no order."""
    return cycle(pairs).__next__


@pytest.fixture
def absent() -> Callable[[], bytes]:
    """A key that nobody has had."""
    numbers = count(1 << 32)
    return lambda: inputs.key(next(numbers))


@pytest.fixture
def mapped(tmp_path: Path) -> Iterator[Callable[[str], MappedFile]]:
    """Make a new file of that name and map it."""
    opened: list[MappedFile] = []

    def make(name: str) -> MappedFile:
        file = FileSystem().open(str(tmp_path / name), writable=True, create=True)
        opened.append(MappedFile(file, hot=True))
        return opened[-1]

    yield make
    for each in opened:
        each.file.close()
