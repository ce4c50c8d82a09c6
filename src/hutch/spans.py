"""Whole spans of the directory at once: what a walk reads ahead, and lists of all keys or items.

A walk hands out one entry at a time and asks before each whether somebody has written. A list is taken in spans, with
few steps of the interpreter for an entry: regular expressions, and `map` over columns.
"""

from __future__ import annotations

import struct
from itertools import accumulate, repeat

from hutch import format as fmt
from hutch.commit import directory_line_bytes
from hutch.errors import CorruptDirectoryError, CorruptIndexError
from hutch.lines import simple_columns, simple_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from hutch.directory import DirectoryFile
    from hutch.index import Index
    from hutch.reading import Reader

__all__ = [
    "SPAN_BYTES",
    "items_at_once",
    "keys_at_once",
    "line_starts",
    "live_entry",
    "pairs_at_once",
    "read_span",
]

SPAN_BYTES = 64 * 1024
_hash_key = fmt.hash64
_hash64 = fmt.hash64
_MOST_VALUE_BYTES = 2 * 1024 * 1024  # of a span, to be read ahead


def read_span(directory: DirectoryFile, start: int, end: int, size: int) -> tuple[int, bytes]:
    """The bytes of whole lines from `start` on, and where they do start."""
    if start and directory.read_span(start - 1, start) == b"#":
        # The line has died since the span before, and a checkpoint has made it a part of that one's last comment.
        start += directory_line_bytes(directory, start)
        if start >= end:
            return end, b""
    while True:
        data = directory.read_span(start, min(start + size, end))
        if start + size >= end:
            stop = len(data)
            break
        stop = data.rfind(b"\n") + 1
        if stop:
            break
        size *= 4  # a line longer than the span
    if not stop:
        path = directory.file.file.path
        raise CorruptDirectoryError(f"{path!r} ends at byte {start}, before its last line", file=path, offset=start)
    # The last line's newline may not be written yet: the next line brings it.
    return start, data[:stop] if data[stop - 1 : stop] == b"\n" else data[:stop] + b"\n"


def line_starts(data: bytes, position: int) -> Iterator[int]:
    """Where each of the lines that begin at `position` begins; and where the next one would."""
    return accumulate(map(len, data.split(b"\n")), lambda start, size: start + size + 1, initial=position)


def live_entry(store: Reader, index: Index, key: bytes, line: int) -> fmt.Entry | None:
    """What the key has now if the line that begins at `line` is still its own.

    None, too, if the directory has been replaced meanwhile.
    """
    key_hash = _hash_key(key, store.seed)
    while store.index is index:
        if not index.is_current():
            store.refresh()
            continue
        number = index.number
        try:
            found = index.locate(key_hash)
            if found is not None and found[2] & fmt.OFFSET_MASK == line:
                return found[2:]
            for _, entry in index.candidates(key_hash):  # others may have the same hash
                if entry[0] & fmt.OFFSET_MASK == line:
                    return entry
            index.check_bucket(key_hash)
        except (CorruptIndexError, struct.error):
            if index.number == number and index.is_current():
                store.distrust(index)
            continue
        if index.number == number and index.is_current():
            return None  # nobody was moving entries about while we looked
    return None  # replaced: nobody can say any more of this very line


def pairs_at_once(
    store: Reader, columns: tuple[Sequence[bytes], list[int], list[int], Sequence[int]]
) -> list[tuple[bytes, bytes]] | None:
    """Keys with their values, if these are together in the heap, few bytes, and intact.

    Args:
        columns: keys, offsets, sizes, checksums.
    """
    keys, offsets, sizes, checksums = columns
    if not keys or not all(sizes):
        return None
    first = min(offsets)
    span_bytes = max(offsets) + max(sizes) - first
    if max(span_bytes, sum(sizes)) > _MOST_VALUE_BYTES:  # of damaged lines many may have one place
        return None
    heap = store.heap.read(first, span_bytes)
    values = [heap[offset - first : offset - first + size] for offset, size in zip(offsets, sizes, strict=True)]
    hashes = map(_hash_key, keys, repeat(store.seed))
    if [checksum & fmt.CHECKSUM_MASK for checksum in map(_hash64, values, hashes)] != list(checksums):
        return None
    return list(zip(keys, values, strict=True))


def keys_at_once(store: Reader) -> list[bytes] | None:
    """All keys in order, as of one moment; None if a walk has to find them. O(keys)."""

    def live_keys(index: Index, position: int, data: bytes) -> list[bytes] | None:
        keys = simple_keys(data)
        if keys is None or not index.changed_lines:
            return keys
        lines = zip(keys, line_starts(data, position), strict=False)
        return [key for key, line in lines if live_entry(store, index, key, line) is not None]

    return _at_once(store, live_keys)


def items_at_once(store: Reader) -> list[tuple[bytes, bytes]] | None:
    """All keys with their values, likewise."""

    def live_pairs(index: Index, position: int, data: bytes) -> list[tuple[bytes, bytes]] | None:
        if not index.changed_lines:
            columns = simple_columns(data)
            return None if columns is None else pairs_at_once(store, columns)
        keys = simple_keys(data)
        if keys is None:
            return None
        live: list[bytes] = []
        entries: list[fmt.Entry] = []
        for key, line in zip(keys, line_starts(data, position), strict=False):
            entry = live_entry(store, index, key, line)
            if entry is not None:
                live.append(key)
                entries.append(entry)
        if not live:
            return []
        flagged, offsets, sizes, checksums = map(list, zip(*entries, strict=True))
        if any(line & (fmt.UNVERIFIED | fmt.LOST) for line in flagged):
            return None
        return pairs_at_once(store, (live, offsets, sizes, checksums))

    return _at_once(store, live_pairs)


def _at_once(store: Reader, entries_of: Callable[[Index, int, bytes], list[Any] | None]) -> list[Any] | None:
    store.refresh()
    index = store.index
    if index is None:
        return None
    number = index.number
    found: list[Any] = []
    position, end = index.first_line, index.directory_bytes
    while position < end:
        position, data = read_span(store.directory, position, end, SPAN_BYTES)
        entries = entries_of(index, position, data)
        is_as_it_was = store.index is index and index.number == number and index.is_current()
        if entries is None or not is_as_it_was:
            return None
        found += entries
        position += len(data)
    return found
