"""Records of the journal that are lines of the directory: what the owner of a database writes for a new key."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch import format as fmt
from hutch.files import FileSystem, MappedFile
from hutch.journal import Journal, Record, operations
from hutch.store import Store, open_store

SALT = 0x0123_4567_89AB_CDEF
BEGIN = fmt.JOURNAL_HEADER_BYTES
Insertion = tuple[bytes, int, int, int, int]  # key, line, offset, size, checksum

ODD_KEYS = [b"", b")  # 01234567", b")  # " * 51, b"'\"\n", b"\xff" * 255]
KEYS = st.one_of(st.binary(max_size=255), st.sampled_from(ODD_KEYS))
INSERTIONS = st.tuples(
    KEYS, st.integers(0, 2**56 - 1), st.integers(0, fmt.MAX_OFFSET), st.integers(1, 4096), st.integers(0, 2**32 - 1)
)


def line_record(insertion: Insertion, salt: int = SALT) -> bytes:
    key, line, offset, size, checksum = insertion
    text = b"\n" + fmt.format_line(fmt.key_literal(key), (line, offset, size, checksum))
    return text + fmt.LINE_RECORD_TAIL.pack(line, fmt.hash64(text, salt ^ line))


def plain_record(sequence: int, insertion: Insertion, salt: int = SALT) -> bytes:
    payload = fmt.OPERATION.pack(fmt.OP_INSERT, 0, 0, len(insertion[0]), *insertion[1:], 0) + insertion[0]
    record = fmt.RECORD_HEADER.pack(fmt.RECORD_MAGIC, 1, len(payload), sequence) + payload
    return record + fmt.RECORD_CHECKSUM.pack(fmt.hash64(record, salt))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bytes], list[Record]]:
    path = os.fspath(tmp_path_factory.mktemp("journal") / "log")

    def read_records(data: bytes) -> list[Record]:
        Path(path).write_bytes(bytes(BEGIN) + data)
        journal = Journal(MappedFile(FileSystem().open(path, writable=False)))
        journal.salt = SALT
        return list(journal.records(BEGIN, 7))

    return read_records


def insertions_of(records: list[Record]) -> list[Insertion]:
    return [(key, *entry) for record in records for _, key, entry, _ in operations(record.payload)]


@given(st.lists(st.tuples(INSERTIONS, st.booleans()), max_size=5), st.binary(max_size=100))
def test_both_kinds_of_records_say_the_same(
    read: Callable[[bytes], list[Record]], work: list[tuple[Insertion, bool]], behind: bytes
) -> None:
    pieces = [
        line_record(insertion) if is_line else plain_record(8 + number, insertion)
        for number, (insertion, is_line) in enumerate(work)
    ]
    records = read(b"".join(pieces) + behind)
    assert insertions_of(records) == [insertion for insertion, _ in work]
    assert [record.sequence for record in records] == list(range(8, 8 + len(work)))
    ends = [BEGIN + sum(map(len, pieces[: number + 1])) for number in range(len(pieces))]
    assert [record.end for record in records] == ends


SAMPLE = (b"it's )  # 01234567", 123_456, 512 * 99, 100, 0xFEDC_BA98)
BEFORE = (b"before", 123_400, 512 * 98, 17, 1)
BEHIND = (b"behind", 123_600, 512 * 100, 17, 2)


def test_a_changed_byte_ends_the_journal(read: Callable[[bytes], list[Record]]) -> None:
    before, record, behind = map(line_record, (BEFORE, SAMPLE, BEHIND))
    assert len(read(before + record + behind)) == 3
    for at in range(len(record)):
        for bit in (1, 16, 128):
            damaged = record[:at] + bytes((record[at] ^ bit,)) + record[at + 1 :]
            assert insertions_of(read(before + damaged + behind)) == [BEFORE], at


def test_a_torn_record_ends_the_journal(read: Callable[[bytes], list[Record]]) -> None:
    before, record = map(line_record, (BEFORE, SAMPLE))
    for size in range(1, len(record)):
        for rest in (b"", bytes(200), line_record(BEHIND)):
            assert insertions_of(read(before + record[:size] + rest)) == [BEFORE], size


def test_a_record_of_another_round_or_place_does_not_count(read: Callable[[bytes], list[Record]]) -> None:
    assert read(line_record(SAMPLE, SALT + 1)) == []
    moved = line_record(SAMPLE)[:-16] + struct.pack("<Q", SAMPLE[1] + 1) + line_record(SAMPLE)[-8:]
    assert read(moved) == []


ODD_TEXTS = [
    b"\n'key', (            5_12,           100)  # 01234567",  # int() takes it
    b"\n'key', (           +512,           100)  # 01234567",
    b"\n'key', (            512,            -1)  # 01234567",
    b"\n'key', (            512,           100)  # 0123456g",
    b"\n'key', (            512,           100)  # 0123456A",
    b"\n'key', (            512,           100)  # --------",
    b"\n'\\q', (            512,           100)  # 01234567",
    b'\n"key", (            512,           100)  # 01234567',
    b"\nkey, (            512,           100)  # 01234567",
    b"\n'k\ny', (            512,           100)  # 01234567",
    b"\n'k\xffy', (            512,           100)  # 01234567",
    b"\n, (            512,           100)  # 01234567",
    b"\n)  # 01234567",
    b"\n'key', (            512,           100)   )  # 01234567",
]


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_what_is_no_line_does_not_count_whatever_its_checksum_says(
    read: Callable[[bytes], list[Record]], text: bytes
) -> None:
    record = text + fmt.LINE_RECORD_TAIL.pack(100, fmt.hash64(text, SALT ^ 100))
    assert insertions_of(read(line_record(BEFORE) + record + line_record(BEHIND))) == [BEFORE]


def test_an_offset_with_flags_does_not_count(read: Callable[[bytes], list[Record]]) -> None:
    assert read(line_record((b"key", fmt.LOST | 100, 512, 100, 1))) == []


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "db", "n")
    yield opened
    opened.close()


def owner_of(store: Store) -> Store:
    for number in range(store.patience + 1):
        store.put(b"calm", b"%d" % number)
    assert store.is_owner
    return store


def first_bytes_of_records(store: Store) -> list[bytes]:
    assert store.journal is not None
    assert store.index is not None
    starts = [BEGIN]
    starts += [record.end for record in store.journal.records(BEGIN, store.index.base_sequence)]
    return [store.journal.file.view[start : start + 1] for start in starts[:-1]]


def test_who_writes_them(store: Store) -> None:
    """The owner, for new keys; and no longer ones than a reader looks for."""
    owner_of(store).sync()
    owner_of(store)
    for length in (3, 255, 256):
        store.put(b"k" * length, b"value")
    store.put(b"kkk", b"another")
    store.delete(b"kkk")
    assert first_bytes_of_records(store)[-5:] == [b"\n", b"\n", b"h", b"h", b"h"]


def test_changes_are_told_from_them(store: Store) -> None:
    owner_of(store)
    sequence = store.sequence
    store.put(b"new", b"value")
    store.put(b"it's", b"value")
    store.delete(b"new")
    assert store.changes_since(sequence) == [(b"new", True), (b"it's", True), (b"new", False)]


def test_a_checkpoint_patches_behind_them(store: Store, tmp_path: Path) -> None:
    owner_of(store)
    store.put(b"one", b"1")
    store.put(b"two", b"2")
    store.put(b"one", b"11")
    store.delete(b"two")
    store.put(b"three", b"3")
    store.sync()
    with open(tmp_path / "db.dir", "rb") as file:
        assert fmt.format_line(b"'one'", store.find_entry(b"one"))[:-8] in file.read()  # type: ignore[arg-type]
    assert dict(store.items()) == {b"calm": b"%d" % store.patience, b"one": b"11", b"three": b"3"}


def test_records_end_where_the_journal_does(store: Store) -> None:
    """Short keys fill it to the last bytes, in each of the steps in which it grows."""
    owner_of(store)
    for number in range(3000):
        store.put(b"%d" % number, b"v")
    assert store.is_owner
    assert store.journal is not None
    assert len(store.journal.file.view) > 200_000
    assert store.count() == 3001
    assert store.check().ok
