"""Walking the directory: keys and items in order of insertion, and what has changed since a commit.

A walk takes no lock. It reads whole lines in spans and asks the index which of them still count; where
nobody has changed a line since the last checkpoint, the lines alone are the truth. A rewritten directory does not
disturb it: the old file lives on until its last reader is done.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import repeat

from hutch import format as fmt
from hutch.journal import operations
from hutch.lines import Line, iterate_lines, simple_columns, simple_keys
from hutch.rebuild import open_journal
from hutch.spans import SPAN_BYTES, line_starts, live_entry, pairs_at_once, read_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.directory import DirectoryFile
    from hutch.index import Index
    from hutch.reading import Reader
    from hutch.transaction import Transaction

__all__ = ["changes_since", "collect", "scan"]

_FIRST_SPAN_BYTES = 2 * 1024
_ALL_LINES = -1
_hash_key = fmt.hash64
_hash64 = fmt.hash64
assert (fmt.WORD_START, fmt.WORD_END, fmt.CHECKSUM_MASK) == (8, 16, 0xFFFFFFFF)


def scan(store: Reader, transaction: Transaction | None, *, values: bool) -> Iterator[tuple[bytes, bytes]]:
    """(key, value) pairs as the calling thread sees them; the value is b"" if none is wanted."""
    return _committed(store, values) if transaction is None else _uncommitted(store, transaction, values)


def _uncommitted(store: Reader, transaction: Transaction, values: bool) -> Iterator[tuple[bytes, bytes]]:
    if not transaction.cleared:
        for key, value in _committed(store, values):
            change = transaction.changes.get(key)
            if change is None:
                yield key, value
            elif change[0] is not None and not change[1]:
                yield key, change[0]
    for key, (new, moves) in list(transaction.changes.items()):
        if new is not None and (moves or transaction.cleared or store.find_entry(key) is None):
            yield key, new


def _committed(store: Reader, values: bool) -> Iterator[tuple[bytes, bytes]]:
    store.refresh()
    index = store.index
    if index is None:
        assert store.snapshot is not None
        for key in list(store.snapshot.entries):
            yield from _fetch(store, key, values)
        return
    directory = store.directory
    # Lines that come later do not count: a key that is deleted and stored again would come twice.
    position, end = index.first_line, index.directory_bytes
    size = _FIRST_SPAN_BYTES  # whoever wants one key should not parse a thousand
    while position < end:
        store.check_open()
        if store.index is index and not index.is_current():
            store.refresh()
            continue
        version = index.number
        untouched = store.index is index and not index.changed_lines
        position, data = read_span(directory, position, end, size)
        size = min(2 * size, SPAN_BYTES)
        if untouched:
            # Nobody has changed a line that the directory does not show, so what it shows is what counts.
            count = yield from (_plain_items if values else _plain_keys)(store, index, version, data)
            if count == _ALL_LINES:
                position += len(data)
                continue
            start = _start_of(data, count)
            position, data = position + start, data[start:]
        count = yield from _changed(store, index, position, data, values)
        if count == _ALL_LINES:
            position += len(data)
            continue
        start = _start_of(data, count)
        position, data = position + start, data[start:]
        lines, position = _parse(directory, position, data)
        for number, line in enumerate(lines):
            if store.index is not index:
                yield from _rest(store, directory, lines[number:], position, end, values)
                return
            if (entry := live_entry(store, index, line.key, line.start)) is not None:
                yield from _read(store, line.key, entry, values)
            elif store.index is not index:
                yield from _rest(store, directory, lines[number:], position, end, values)
                return
            store.check_open()


def _plain_keys(store: Reader, index: Index, version: int, data: bytes) -> Generator[tuple[bytes, bytes], None, int]:
    """The keys of whole lines, as long as nobody writes; returns how many have come, or `_ALL_LINES`."""
    words = index.file.words
    keys = simple_keys(data)
    if keys is None:
        return 0
    for number, pair in enumerate(zip(keys, repeat(b""))):
        if words[1] != version or store.index is not index:
            return number
        yield pair
    return _ALL_LINES


def _plain_items(store: Reader, index: Index, version: int, data: bytes) -> Generator[tuple[bytes, bytes], None, int]:
    """Keys and values, likewise."""
    words = index.file.words
    columns = simple_columns(data)
    if columns is None:
        return 0
    pairs = pairs_at_once(store, columns)
    if pairs is not None:
        for number, pair in enumerate(pairs):
            if words[1] != version or store.index is not index:
                return number
            yield pair
        return _ALL_LINES
    for number, (key, offset, size, checksum) in enumerate(zip(*columns, strict=True)):
        if words[1] != version or store.index is not index:
            return number
        yield from _read(store, key, (0, offset, size, checksum), True)
    return _ALL_LINES


def _changed(
    store: Reader, index: Index, position: int, data: bytes, values: bool
) -> Generator[tuple[bytes, bytes], None, int]:
    """Likewise, asking the index of each line whether it still counts, and what its key has now."""
    keys = simple_keys(data)
    if keys is None:
        return 0
    for number, (key, start) in enumerate(zip(keys, line_starts(data, position), strict=False)):
        entry = live_entry(store, index, key, start)
        if entry is not None:
            yield from _read(store, key, entry, values)
            store.check_open()
        elif store.index is not index:
            return number
    return _ALL_LINES


def _start_of(data: bytes, number: int) -> int:
    """Where line `number` starts."""
    start = 0
    for _ in range(number):
        start = data.index(b"\n", start) + 1
    return start


def _rest(
    store: Reader, directory: DirectoryFile, lines: list[Line], position: int, end: int, values: bool
) -> Iterator[tuple[bytes, bytes]]:
    """Go on in a directory that has been replaced: nobody can say any more which of its lines were dead.

    Of several lines of a key the last one counted, and no line of a key that came already follows.
    """
    keys: dict[bytes, None] = {}
    while True:
        for line in lines:
            keys.pop(line.key, None)
            keys[line.key] = None
        if position >= end:
            break
        lines, position = _read_lines(directory, position, end)
    for key in keys:
        store.check_open()
        yield from _fetch(store, key, values, check=True)


def _read_lines(directory: DirectoryFile, start: int, end: int, size: int = SPAN_BYTES) -> tuple[list[Line], int]:
    """Whole lines from `start` on, and where the next ones start."""
    return _parse(directory, *read_span(directory, start, end, size))


def _parse(directory: DirectoryFile, start: int, data: bytes) -> tuple[list[Line], int]:
    """The lines of a span, and where the next ones start."""
    lines = [
        line._replace(start=start + line.start, entry=(start + line.entry[0], *line.entry[1:]))
        for line in iterate_lines(data, 0, len(data), directory.file.file.path)
    ]
    return lines, start + len(data)


def _read(store: Reader, key: bytes, entry: fmt.Entry, values: bool) -> Iterator[tuple[bytes, bytes]]:
    if not values:
        yield key, b""
        return
    flagged, offset, size, checksum = entry
    value = store.heap.read(offset, size)
    is_known = not flagged & (fmt.UNVERIFIED | fmt.LOST) and len(value) == size
    if is_known and _hash64(value, _hash_key(key, store.seed)) & 0xFFFFFFFF == checksum:
        yield key, value
    else:
        yield from _fetch(store, key, True)


def _fetch(store: Reader, key: bytes, values: bool, *, check: bool = False) -> Iterator[tuple[bytes, bytes]]:
    if values:
        value = store.get_committed(key)
        if value is not None:
            yield key, value
    elif not check or store.find_entry(key) is not None:
        yield key, b""


def collect(store: Reader) -> list[tuple[bytes, fmt.Entry]]:
    """Every key with its committed entry, in order, all of one moment. O(keys)."""
    store.refresh()
    if store.snapshot is not None:
        return list(store.snapshot.entries.items())
    if store.writable and not store.own_transaction():
        store.enter()
        try:
            return _collect(store)
        finally:
            store.leave()
    while True:
        store.refresh()
        index = store.index
        number = index.number if index is not None else 0
        entries = _collect(store)
        if store.index is index and (index is None or (index.number == number and index.is_current())):
            return entries


def _collect(store: Reader) -> list[tuple[bytes, fmt.Entry]]:
    index = store.index
    if index is None:
        assert store.snapshot is not None
        return list(store.snapshot.entries.items())
    entries: list[tuple[bytes, fmt.Entry]] = []
    position, end = index.first_line, index.directory_bytes
    while position < end:
        lines, position = _read_lines(store.directory, position, end)
        for line in lines:
            if not index.changed_lines:
                entries.append((line.key, line.entry))
                continue
            for _, entry in index.candidates(fmt.hash_key(line.key, store.seed)):
                if entry[0] & fmt.OFFSET_MASK == line.start:
                    entries.append((line.key, entry))
                    break
    return entries


def changes_since(store: Reader, sequence: int) -> list[tuple[bytes, bool]] | None:
    """See `Reader.changes_since`. O(records since the last checkpoint)."""
    store.refresh()
    index = store.index
    if index is None:
        return [] if sequence == store.sequence else None
    if sequence == index.sequence:
        return []
    if not index.base_sequence <= sequence < index.sequence:
        return None
    salt, last = index.salt, index.sequence
    journal = open_journal(store.place, writable=False)
    header = journal.load() if journal is not None else None
    if journal is None or header is None or header.salt != salt:
        return None
    changes: list[tuple[bytes, bool]] = []
    position, reached = fmt.JOURNAL_HEADER_BYTES, index.base_sequence
    if store.walked[0] == salt and store.walked[1] <= sequence:
        _, reached, position = store.walked
    for record in journal.records(position, reached):
        if record.sequence > last:
            break
        reached = record.sequence
        store.walked = (salt, reached, record.end)
        if record.sequence > sequence:
            for kind, key, _, _ in operations(record.payload):
                if kind == fmt.OP_CLEAR:
                    return None
                changes.append((key, kind != fmt.OP_DELETE))
    return changes if reached == last else None
