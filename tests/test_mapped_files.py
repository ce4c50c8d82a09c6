"""Files that are read and written through memory: with pread until a mapping pays, and filled ahead of many stores."""

from __future__ import annotations

import errno
import os
import random
import struct
from pathlib import Path

import pytest

import hutch.dbm
from hutch.files import File, FileSystem, MappedFile, words_of

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


@pytest.mark.parametrize(("size_bytes", "fewest", "most"), [(SIZE_BYTES, 10, 100), (13 << 20, 2000, 4000)])
def test_many_reads_make_it_a_mapping(
    file: MappedFile, tmp_path: Path, size_bytes: int, fewest: int, most: int
) -> None:
    """But not, where it is so large that memory would be felt, those of a thousand look-ups."""
    os.truncate(tmp_path / "large", size_bytes)
    file.refresh()
    reads = 0
    while not file.hot:
        file.view[8192:8292]
        reads += 1
    assert fewest < reads < most
    assert file.view[8192:8292] == file.file.read_at(8192, 100)


@pytest.fixture
def growing(tmp_path: Path) -> MappedFile:
    grown = MappedFile(FileSystem().open(os.fspath(tmp_path / "growing"), writable=True, create=True))
    grown.grow(4 << 20)
    return grown


@pytest.mark.parametrize("start", [0, 1, 4095, 4096, 5000, 1 << 20, (4 << 20) - 3, 4 << 20, (4 << 20) + 1])
def test_what_lies_before_stays_when_space_is_filled(growing: MappedFile, start: int) -> None:
    end = min(start, len(growing.view))
    growing.view[0:end] = b"v" * end
    ready = 0
    for _ in range(20):
        ready = growing.fill(max(start, ready))
        assert ready <= len(growing.view) == growing.file.size()
    assert growing.view[0:end] == b"v" * end
    assert not growing.view[end : len(growing.view)].strip(b"\0")


def test_stores_behind_what_was_filled_are_not_undone(growing: MappedFile) -> None:
    ready = growing.fill(0)
    assert growing.fill(0) == ready  # there is enough
    growing.view[ready - 100 : ready + 9000] = b"v" * 9100
    assert growing.fill(ready + 9000) > ready + 9000
    assert growing.view[ready - 100 : ready + 9000] == b"v" * 9100


def test_more_is_filled_each_time_until_a_sync(growing: MappedFile) -> None:
    steps = []
    at = 0
    for _ in range(8):
        now = growing.fill(at)
        steps.append(now - at)
        at = now
    assert steps[0] == 64 << 10
    assert steps == sorted(steps)
    assert steps[-1] == steps[-2] == 512 << 10
    growing.fill_less()
    assert growing.fill(at) == at + (64 << 10)


def test_space_that_cannot_be_filled_can_be_used(growing: MappedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is allocated: what fails is a help only."""

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(File, "write_at", fail)
    assert growing.fill(0) > 0
    growing.view[0:5] = b"value"
    assert growing.view[0:5] == b"value"


def limit_space(monkeypatch: pytest.MonkeyPatch, most_bytes: int) -> None:
    allocate = File.allocate

    def of_a_small_disk(file: File, size_bytes: int) -> None:
        if size_bytes > most_bytes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        allocate(file, size_bytes)

    monkeypatch.setattr(File, "allocate", of_a_small_disk)


def test_a_small_disk_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Much space that is taken ahead is no reason to fail while there is some."""
    most_bytes = 3 << 20
    limit_space(monkeypatch, most_bytes)
    value = bytes(1 << 16)
    stored = 0
    with hutch.dbm.open(os.fspath(tmp_path / "db"), "n") as db:
        with pytest.raises(OSError, match="No space left"):
            while True:
                db[b"%d" % stored] = value
                stored += 1
        assert (stored + 1) * len(value) * 9 / 8 > most_bytes
        assert len(db) == stored


def test_the_same_memory_as_numbers(growing: MappedFile) -> None:
    """Whatever makes them: a mapping, or slices of any view."""
    growing.make_words()
    growing.view[0:24] = bytes(range(24))
    for words in (growing.words, words_of(bytearray(growing.view[0:24]))):  # type: ignore[arg-type]
        assert [words[number] for number in range(3)] == list(struct.unpack("<3Q", bytes(range(24))))
        words[1] = 0xFEDC_BA98_7654_3210
        assert words[1] == 0xFEDC_BA98_7654_3210
    assert growing.view[0:24] == bytes(range(8)) + bytes.fromhex("1032547698badcfe") + bytes(range(16, 24))


def test_what_is_not_mapped_has_no_numbers_that_anything_agrees_with(file: MappedFile) -> None:
    file.make_words()
    assert file.words[1] == int.from_bytes(file.view[8:16], "little")
    assert file.mapped_words[1] == -1
    file.warm()
    assert file.mapped_words[1] == file.words[1] == int.from_bytes(file.view[8:16], "little")
    file.close()
    assert file.mapped_words[1] == -1


def test_a_value_comes_before_and_after_its_files_are_mapped(tmp_path: Path) -> None:
    base = os.fspath(tmp_path / "db")
    pairs = {b"%d" % number: b"%d" % -number * 100 for number in range(60_000)}
    with hutch.dbm.open(base, "n") as db:
        db.update(pairs)
    assert os.path.getsize(base + ".idx") > 4 << 20
    with hutch.dbm.open(base, "r") as db:
        index = db.store.index
        assert index is not None
        assert index.file.mapped_words[1] == -1
        for key in list(pairs)[::200]:
            assert db[key] == pairs[key]
        assert index.file.mapped_words[1] == index.number
        assert b"missing" not in db
