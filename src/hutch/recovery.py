"""What a database holds, read from directory and journal alone: after a crash, or without an index.

The result is a prefix of history: the directory as of the last checkpoint, plus every whole and valid
record of its own journal, never past the first bad one. Nothing here writes; reading twice gives the same.

Which journal belongs to a directory:

| journal | verdict |
|---|---|
| same id and generation, starts where the directory's checkpoint ended or before | redo |
| same id, older generation, ends no later than the directory says | superseded: the directory was rewritten from it |
| directory empty or torn at its very beginning, journal starts with an empty directory | redo |
| directory empty, journal holds a commit that emptied it | redo from there |
| anything else | somebody else's: set aside, never applied, never deleted |
"""

from __future__ import annotations

from hutch import format as fmt
from hutch.errors import CorruptDirectoryError
from hutch.heap import Heap
from hutch.journal import Journal, JournalHeader, Record, operations
from hutch.lines import Directory, parse_directory, read_header, starts_plain

__all__ = ["Snapshot", "apply_record", "load_snapshot"]


_CLEAR = bytes((fmt.OP_CLEAR,))


class Snapshot:
    """A database in memory: everything but the values.

    Attributes:
        entries: key to entry, in the order of insertion.
        database_id: 0 for a directory that has none (a stdlib's, or an empty one).
        generation, sequence: of the directory; the sequence includes redone records.
        end: where the directory's last line ends.
        dead_bytes: bytes of deleted lines in the directory.
        header_offset: offset of the directory's header comment.
        must_rewrite: the file differs from `entries`: only a rewritten directory makes them agree.
        inline: (offset, value) of journaled values, to be written again.
        has_journal: the journal is this directory's, and its records are redone here.
        is_plain: a stdlib wrote the directory.
        foreign_journal: the journal holds records of another database or time.
        notes: what was found and mended, for a warning.
        is_padded: the last handle did not close it.
        adopted: keys of plain lines that a stdlib appended behind hutch lines.
    """

    def __init__(self, *, database_id: int = 0, generation: int = 0, sequence: int = 0, end: int = 0) -> None:
        self.entries: dict[bytes, fmt.Entry] = {}
        self.database_id = database_id
        self.generation = generation
        self.sequence = sequence
        self.end = end
        self.dead_bytes = 0
        self.header_offset = 0
        self.must_rewrite = False
        self.inline: dict[int, bytes] = {}
        self.foreign_journal = False
        self.has_journal = False
        self.is_plain = False
        self.notes: list[str] = []
        self.adopted: set[bytes] = set()
        self.is_padded = False

    def live_blocks(self) -> int:
        return sum(fmt.block_count(entry[2]) for entry in self.entries.values() if not entry[0] & fmt.LOST)


def _choose(
    data: bytes, path: str, journal: Journal | None, header: JournalHeader | None
) -> tuple[Directory, JournalHeader | None, bool]:
    """(the directory, the journal's header if it is to be redone, whether the journal is a stranger's)."""
    if journal is None or header is None:
        return parse_directory(data, path), None, False
    own = read_header(data)
    known = header.directory_bytes  # the checkpoint synced so much; behind it a crash may have left anything
    if own is not None and own.database_id == header.database_id and own.generation > header.generation:
        return parse_directory(data, path), None, False  # superseded: written anew from this very journal
    if own is not None and known and own.database_id == header.database_id:
        if own.generation == header.generation and header.base_sequence <= own.sequence:
            if len(data) >= known:
                return parse_directory(data, path, trusted_bytes=known), header, False
            raise CorruptDirectoryError(
                f"{path!r} has {len(data)} bytes, but its journal says that {known} were synced; nothing has been "
                "changed. Restore the directory from a backup",
                file=path,
                offset=len(data),
            )
    elif not known and not starts_plain(data) and (own is None or own.database_id == header.database_id):
        return parse_directory(data, path, trusted_bytes=0), header, False  # it began with an empty directory
    elif not data and _find_clear(journal):
        return parse_directory(data, path), header, False  # it made the directory empty
    return parse_directory(data, path), None, True


def load_snapshot(data: bytes, path: str, journal: Journal | None, heap: Heap | None) -> Snapshot:
    """Read a database from the bytes of its directory and from its journal. O(lines + records).

    Args:
        path: the directory's name, for messages.
        journal: None where there is no journal file.
        heap: to check values that are too large for the journal; None believes them.

    Raises:
        CorruptDirectoryError: a line that neither form of directory allows.
    """
    header = journal.load() if journal is not None else None
    directory, redo, stranger = _choose(data, path, journal, header)
    snapshot = Snapshot(end=directory.end)
    snapshot.dead_bytes = directory.dead_bytes
    own = directory.header
    if own is not None:
        snapshot.database_id, snapshot.generation, snapshot.sequence = own[:3]
        snapshot.header_offset = own.comment_offset
    snapshot.is_padded = own is not None and b"  " in data[directory.end :]
    snapshot.is_plain = own is None and bool(directory.lines)
    lines = directory.lines
    if redo is not None:
        snapshot.must_rewrite = directory.torn_from is not None
    kept = lines[: directory.plain_from]
    for key, _, _, entry in kept:
        snapshot.entries[key] = entry
    if len(snapshot.entries) != len(kept) or directory.has_returns:
        snapshot.must_rewrite = True  # a key on two lines, or lines that cannot be patched in place
    if journal is not None and header is None and journal.is_doubtful:
        # Torn in the very first start of a round: then no record follows.
        at = fmt.JOURNAL_HEADER_BYTES
        snapshot.foreign_journal = any(journal.file.view[at : at + fmt.RECORD_FRAME_BYTES])
    if journal is not None and header is not None:
        first = next(journal.records(fmt.JOURNAL_HEADER_BYTES, header.base_sequence), None)
        snapshot.foreign_journal = stranger and first is not None
        snapshot.has_journal = redo is not None
        if redo is not None:
            snapshot.database_id, snapshot.generation = redo.database_id, redo.generation
            snapshot.sequence = redo.base_sequence
            records = list(journal.records(fmt.JOURNAL_HEADER_BYTES, redo.base_sequence))
            # What has been cleared away need not be whole any more.
            cleared = max((number for number, record in enumerate(records) if _clears(record)), default=0)
            for record in records[cleared:]:
                if heap is not None and not _values_are_whole(record, heap, redo.database_id):
                    break
                apply_record(snapshot, record)
            reached = read_header(data)
            if journal.is_doubtful and reached is not None and snapshot.sequence < reached.sequence:
                # Not a header torn in the start of a round, whose predecessor reaches as far as the directory.
                return _without_journal(data, path)
    if directory.plain_from < len(lines):
        adopted = lines[directory.plain_from :]
        snapshot.notes.append(f"{len(adopted)} lines that another program appended to {path!r} were adopted")
        snapshot.must_rewrite = True
        for key, _, _, entry in adopted:
            snapshot.entries[key] = entry
            snapshot.adopted.add(key)
    return snapshot


def _without_journal(data: bytes, path: str) -> Snapshot:
    """The directory alone, beside a journal with a damaged header, which is to be set aside."""
    try:
        parse_directory(data, path)
    except CorruptDirectoryError as problem:
        data = data[: problem.offset]  # a line that a crash has torn
    snapshot = load_snapshot(data, path, None, None)
    snapshot.foreign_journal = snapshot.must_rewrite = True
    return snapshot


def _find_clear(journal: Journal) -> int:
    """Sequence number of the last commit that emptied the database, or 0."""
    assert journal.header is not None
    cleared = 0
    for record in journal.records(fmt.JOURNAL_HEADER_BYTES, journal.header.base_sequence, insertions=False):
        if _clears(record):
            cleared = record.sequence
    return cleared


def _clears(record: Record) -> bool:
    return record.payload[:1] == _CLEAR


def _values_are_whole(record: Record, heap: Heap, seed: int) -> bool:
    """Whether the values that did not travel in the journal reached the heap."""
    for kind, key, (_, offset, size, checksum), value in operations(record.payload):
        if kind in (fmt.OP_INSERT, fmt.OP_REPLACE):
            if value is None:
                value = heap.read(offset, size)
            if len(value) != size or fmt.checksum_of(value, fmt.hash_key(key, seed)) != checksum:
                return False
    return True


def apply_record(snapshot: Snapshot, record: Record) -> None:
    """Redo one commit in memory."""
    for kind, key, entry, value in operations(record.payload):
        if kind == fmt.OP_INSERT or kind == fmt.OP_REPLACE:
            snapshot.entries[key] = entry
            if value:  # empty values own no place of their own
                snapshot.inline[entry[1]] = value
        elif kind == fmt.OP_DELETE:
            snapshot.entries.pop(key, None)
        elif kind == fmt.OP_CLEAR:
            snapshot.entries.clear()
    snapshot.sequence = record.sequence
    snapshot.must_rewrite = True
