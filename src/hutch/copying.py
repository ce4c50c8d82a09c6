"""A consistent copy of a database while others go on writing.

The copy pins the heap: what is given up meanwhile is not reused, so the values of the moment at which the keys
were collected stay readable for as long as it takes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hutch import format as fmt
from hutch.directory import write_directory
from hutch.errors import CorruptEntryError
from hutch.files import File
from hutch.heap import LARGE_BYTES
from hutch.names import Names
from hutch.scan import collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.reports import Progress
    from hutch.store import Store

__all__ = ["backup", "pinned"]

_CHUNK_BYTES = 1024 * 1024


@contextmanager
def pinned(store: Store) -> Iterator[None]:
    """Keep what is given up from being reused, by any process."""
    with store.thread_lock:
        if not store.pins:
            store.locks.pin.wait(shared=True)
        store.pins += 1
    try:
        yield
    finally:
        with store.thread_lock:
            store.pins -= 1
            if not store.pins and not store.closed:
                store.locks.pin.unlock()


def backup(store: Store, names: Names, *, progress: Progress | None = None) -> None:
    """Copy the committed database to `names`; see `Store.backup`.

    The heap comes first, so an unfinished copy has no directory.

    Raises:
        FileExistsError: one of the target's files exists.
        CorruptEntryError: a value is damaged; there is no copy then.
    """
    store.check_open()
    fs = store.file_system
    for path in (names.heap, names.directory, names.backup, names.journal, names.index):
        if fs.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
    temporary = names.temporary(names.heap)
    heap = fs.open(temporary, writable=True, new=True, mode=0o600)
    temporary_directory = names.temporary(names.directory)
    placed = False
    try:
        fs.take_attributes(heap, store.heap.file.file.status())
        with pinned(store):
            database_id = fs.random_id()
            entries = _copy_values(store, heap, database_id, progress)
        heap.sync()
        header = fmt.pack_header_comment(database_id, 1, 0)
        write_directory(fs, temporary_directory, temporary, header, entries)
        fs.replace(temporary, names.heap)
        placed = True
        fs.replace(temporary_directory, names.directory)
        fs.sync_folder(names.directory)
    except BaseException:
        for path in (names.heap if placed else temporary, temporary_directory):
            if fs.exists(path):
                fs.unlink(path)
        raise
    finally:
        heap.close()


def _copy_values(
    store: Store, heap: File, database_id: int, progress: Progress | None
) -> list[tuple[bytes, fmt.Entry]]:
    entries: list[tuple[bytes, fmt.Entry]] = []
    position = 0
    found = collect(store)
    for key, entry in found:
        if progress is not None:
            progress(len(entries), len(found))
        size = entry[2]
        if size > LARGE_BYTES:
            checksum = _copy_large(store, key, entry, heap, position, database_id)
        else:
            value = store.read_value(entry)
            if len(value) != size:
                raise _damaged(store, key, entry)
            _compare(store, key, entry, fmt.checksum_of(value, fmt.hash_key(key, store.seed)))
            checksum = fmt.checksum_of(value, fmt.hash_key(key, database_id))
            if size:
                heap.write_at(position, value)
        entries.append((key, (0, position if size else 0, size, checksum)))
        position += fmt.block_count(size) * fmt.BLOCK_BYTES
    if progress is not None:
        progress(len(entries), len(entries))
    return entries


def _copy_large(store: Store, key: bytes, entry: fmt.Entry, heap: File, position: int, database_id: int) -> int:
    """Copy a value chunk by chunk; returns its checksum in the copy."""
    _, offset, size, _ = entry
    old, new = fmt.Hasher(seed=fmt.hash_key(key, store.seed)), fmt.Hasher(seed=fmt.hash_key(key, database_id))
    for start in range(0, size, _CHUNK_BYTES):
        wanted = min(_CHUNK_BYTES, size - start)
        chunk = store.heap.read(offset + start, wanted)
        if len(chunk) != wanted:
            raise _damaged(store, key, entry)
        old.update(chunk)
        new.update(chunk)
        heap.write_at(position + start, chunk)
    _compare(store, key, entry, old.intdigest() & fmt.CHECKSUM_MASK)
    return new.intdigest() & fmt.CHECKSUM_MASK


def _compare(store: Store, key: bytes, entry: fmt.Entry, checksum: int) -> None:
    if entry[0] & fmt.LOST or not (entry[0] & fmt.UNVERIFIED or checksum == entry[3]):
        raise _damaged(store, key, entry)


def _damaged(store: Store, key: bytes, entry: fmt.Entry) -> CorruptEntryError:
    offset, path = entry[1], store.heap.file.file.path
    return CorruptEntryError(
        f"the value of {key!r} in {path!r} at offset {offset} is damaged, so there is no whole copy to be had; "
        "check(fix=True) removes damaged entries",
        file=path,
        offset=offset,
        key=key,
    )
