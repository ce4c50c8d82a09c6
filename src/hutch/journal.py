"""The journal: one record a commit since the last checkpoint.

A record is believed when its magic, length, sequence number and checksum agree, the checksum being
seeded with a salt that each checkpoint draws anew: stale records of an earlier round, zeros of a file
that grew before its bytes arrived, and torn tails all end the scan.

What most commits do, one insertion, may also be said by the line that it puts into the directory: a record of that kind
costs half as much. Its checksum covers the offset of the line, which each insertion of a round moves on.
"""

from __future__ import annotations

from collections.abc import Iterator

from hutch import format as fmt
from hutch.files import MappedFile
from hutch.lines import decode_literal
from hutch.records import NamedTuple

__all__ = ["Journal", "JournalHeader", "Operation", "Record", "operations", "pack_operation"]

_FIRST_GROWTH_BYTES = 16 * 1024
_MAX_GROWTH_BYTES = 8 * 1024 * 1024
_MAX_LINE_RECORD_BYTES = (
    len("\n''") + len(r"\xff") * fmt.MAX_LINE_RECORD_KEY_BYTES + fmt.FIELDS_BYTES + fmt.LINE_RECORD_TAIL.size
)


class JournalHeader(NamedTuple):
    """Which database and round the records belong to."""

    generation: int
    database_id: int
    base_sequence: int
    directory_bytes: int
    salt: int
    round: int


def _unpack_header(head: bytes) -> JournalHeader | None:
    if len(head) < fmt.JOURNAL_HEADER.size:
        return None
    magic, version, *fields, checksum = fmt.JOURNAL_HEADER.unpack(head)
    if magic != fmt.JOURNAL_MAGIC or version != fmt.JOURNAL_VERSION or fmt.hash64(head[:-8]) != checksum:
        return None
    return JournalHeader(*fields)


class Record(NamedTuple):
    """One commit."""

    sequence: int
    payload: bytes
    end: int  # offset behind the record


class Operation(NamedTuple):
    """What is needed to redo one change."""

    kind: int
    key: bytes
    entry: fmt.Entry
    value: bytes | None


def pack_operation(kind: int, key: bytes, entry: fmt.Entry, value: bytes | memoryview | None) -> tuple[bytes, ...]:
    """The pieces of one operation; `value` is None where it does not travel along."""
    line, offset, size, checksum = entry
    if value is None:
        return fmt.OPERATION.pack(kind, 0, 0, len(key), line, offset, size, checksum, 0), key
    return fmt.OPERATION.pack(kind, 1, 0, len(key), line, offset, size, checksum, 0), key, bytes(value)


def operations(payload: bytes) -> Iterator[Operation]:
    """Take a record's payload apart; a payload that does not come out even ends early."""
    position, end = 0, len(payload)
    while position + fmt.OPERATION_BYTES <= end:
        kind, inline, _, key_bytes, line, offset, size, checksum, _ = fmt.OPERATION.unpack_from(payload, position)
        position += fmt.OPERATION_BYTES
        key = payload[position : position + key_bytes]
        position += key_bytes
        value = None
        if inline:
            value = payload[position : position + size]
            position += size
        if position > end:
            return
        yield Operation(kind, key, (line, offset, size, checksum), value)


def _insertion(text: bytes, line: int) -> bytes | None:
    """The operation that a line record stands for; None if that is no line of hutch's, whatever its checksum says."""
    literal, fields = text[1 : -fmt.FIELDS_BYTES], text[-fmt.FIELDS_BYTES :]
    try:
        key = decode_literal(literal)
        offset, size, checksum = fmt.unpack_fields(fields)
    except ValueError:
        return None
    written = fmt.format_line(fmt.key_literal(key), (line, offset, size, checksum))
    if written != text[1:] or line & ~fmt.OFFSET_MASK or offset < 0 or size < 0:
        return None
    return fmt.OPERATION.pack(fmt.OP_INSERT, 0, 0, len(key), line, offset, size, checksum, 0) + key


class Journal:
    """NAME.log, open."""

    __slots__ = ("file", "header", "is_doubtful", "salt")

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.header: JournalHeader | None = None
        self.is_doubtful = False  # a slot of the header is neither whole nor empty
        self.salt = 0

    def load(self) -> JournalHeader | None:
        """Read the header; None if the journal is empty or has no whole one."""
        self.header = None
        self.is_doubtful = False
        for at in (0, fmt.JOURNAL_SLOT_BYTES):
            head = self.file.view[at : at + fmt.JOURNAL_HEADER.size]
            header = _unpack_header(head)
            if header is None:
                self.is_doubtful = self.is_doubtful or any(head)
            elif self.header is None or header.round > self.header.round:
                self.header = header
                self.salt = header.salt
        return self.header

    def start(self, generation: int, database_id: int, base_sequence: int, directory_bytes: int, salt: int) -> None:
        """Begin a round: from now on every older record is stale."""
        self.reserve(fmt.JOURNAL_HEADER_BYTES)
        number = 1 if self.load() is None or self.header is None else self.header.round + 1
        header = JournalHeader(generation, database_id, base_sequence, directory_bytes, salt, number)
        packed = fmt.JOURNAL_HEADER.pack(fmt.JOURNAL_MAGIC, fmt.JOURNAL_VERSION, *header, 0)[:-8]
        packed += fmt.RECORD_CHECKSUM.pack(fmt.hash64(packed))
        self.file.write((number & 1) * fmt.JOURNAL_SLOT_BYTES, packed)
        self.header = header
        self.salt = salt

    def reserve(self, end: int) -> None:
        """Have space up to `end`.

        Raises:
            OSError: no space; nothing has changed.
        """
        have = len(self.file.view)
        if have < end:
            self.file.grow(end + min(max(have, _FIRST_GROWTH_BYTES), _MAX_GROWTH_BYTES))

    def append(self, position: int, sequence: int, count: int, payload: bytes) -> int:
        """Write a record into reserved space; returns the offset behind it."""
        head = fmt.RECORD_HEADER.pack(fmt.RECORD_MAGIC, count, len(payload), sequence)
        record = head + payload
        record += fmt.RECORD_CHECKSUM.pack(fmt.hash64(record, self.salt))
        self.file.write(position, record)
        return position + len(record)

    def cut(self, position: int) -> None:
        """Make sure that what was written at `position` never counts, now and after a power cut."""
        end = min(position + fmt.RECORD_HEADER_BYTES, len(self.file.view))
        self.file.write(position, bytes(end - position))
        self.file.file.sync()

    def records(self, position: int, sequence: int, *, insertions: bool = True) -> Iterator[Record]:
        """Valid records from `position` on, the first of which must be number ``sequence + 1``.

        Args:
            insertions: False: those that are a line of the directory come without a payload.
        """
        size = self.file.file.size()
        if len(self.file.view) < size:
            self.file.refresh()
        view = self.file.view
        while position + fmt.RECORD_FRAME_BYTES <= size:
            head = view[position : position + fmt.RECORD_HEADER_BYTES]
            if head[:1] == b"\n":
                found = self._line_record(position)
                payload = found and (_insertion(*found) if insertions else b"")
                if found is None or payload is None:
                    return
                position, sequence = position + len(found[0]) + fmt.LINE_RECORD_TAIL.size, sequence + 1
                yield Record(sequence, payload, position)
                continue
            magic, _, payload_bytes, number = fmt.RECORD_HEADER.unpack_from(head)
            end = position + fmt.RECORD_FRAME_BYTES + payload_bytes
            if magic != fmt.RECORD_MAGIC or number != sequence + 1 or end > size:
                return
            record = view[position:end]
            covered, checksum = record[: -fmt.RECORD_CHECKSUM.size], record[-fmt.RECORD_CHECKSUM.size :]
            if fmt.hash64(covered, self.salt) != int.from_bytes(checksum, "little"):
                return
            yield Record(number, covered[fmt.RECORD_HEADER_BYTES :], end)
            position, sequence = end, number

    def _line_record(self, position: int) -> tuple[bytes, int] | None:
        """The line, with the newline before it, and its offset, of a record that is one; None if it does not count."""
        chunk = self.file.view[position : position + _MAX_LINE_RECORD_BYTES]
        mark = chunk.find(fmt.LINE_RECORD_MARK)
        while mark >= 0:  # a key may have some, too
            end = mark + len(fmt.LINE_RECORD_MARK) + fmt.CHECKSUM_DIGITS
            if end + fmt.LINE_RECORD_TAIL.size > len(chunk):
                return None
            line, checksum = fmt.LINE_RECORD_TAIL.unpack_from(chunk, end)
            if fmt.hash64(chunk[:end], self.salt ^ line) == checksum:
                return chunk[:end], line
            mark = chunk.find(fmt.LINE_RECORD_MARK, mark + 1)
        return None

    def empty(self) -> None:
        """Cut everything off. Only the last handle may: others would have mapped it."""
        self.file.view = b""  # type: ignore[assignment]
        self.file.file.truncate(0)
        self.file.refresh()
        self.header = None
