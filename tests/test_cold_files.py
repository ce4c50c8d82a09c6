"""Large files are read with pread until it pays to map them: the same bytes come either way."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from hutch.files import FileSystem, MappedFile

SIZE_BYTES = 5 * 1024 * 1024


@pytest.fixture
def content() -> bytes:
    return random.Random(1).randbytes(SIZE_BYTES)


@pytest.fixture
def file(tmp_path: Path, content: bytes) -> MappedFile:
    path = tmp_path / "large"
    path.write_bytes(content)
    return MappedFile(FileSystem().open(os.fspath(path), writable=False))


END = SIZE_BYTES
SPANS = [(0, 16), (8, 16), (4080, 4096), (4090, 4100), (4096, 4608), (END - 5, END + 5), (END, END + 9)]


def test_the_same_bytes(file: MappedFile, content: bytes) -> None:
    for _ in range(2):
        for start, stop in SPANS:
            assert file.view[start:stop] == content[start:stop]
        file.warm()


def test_reads_of_the_head_need_no_call_each(file: MappedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look-up in an index reads its version word first, and perhaps once more."""
    file.view[8:16]
    monkeypatch.setattr(os, "pread", None)
    for _ in range(10_000):
        file.view[8:16]
    assert not file.hot


def test_many_reads_make_it_a_mapping_but_not_those_of_a_thousand_look_ups(file: MappedFile) -> None:
    reads = 0
    while not file.hot:
        file.view[8192:8292]
        reads += 1
    assert 2000 < reads < 4000
    assert file.view[8192:8292] == file.file.read_at(8192, 100)
