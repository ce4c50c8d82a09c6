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
from hutch.names import Names
from hutch.scan import collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.store import Store

__all__ = ["backup", "pinned"]


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


def backup(store: Store, names: Names) -> None:
    """Copy the committed database to `names`. The heap comes first, so an unfinished copy has no directory.

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
            entries = _copy_values(store, heap, database_id)
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


def _copy_values(store: Store, heap: File, database_id: int) -> list[tuple[bytes, fmt.Entry]]:
    entries: list[tuple[bytes, fmt.Entry]] = []
    position = 0
    for key, entry in collect(store):
        line, offset, size, checksum = entry
        value = store.read_value(entry)
        is_whole = len(value) == size and not line & fmt.LOST
        if is_whole and not line & fmt.UNVERIFIED:
            is_whole = fmt.checksum_of(value, fmt.hash_key(key, store.seed)) == checksum
        if not is_whole:
            raise CorruptEntryError(
                f"the value of {key!r} at offset {offset} is damaged, so there is no whole copy to be had; "
                "check(fix=True) removes damaged entries",
                file=store.heap.file.file.path,
                offset=offset,
                key=key,
            )
        if size:
            heap.write_at(position, value)
        new_checksum = fmt.checksum_of(value, fmt.hash_key(key, database_id))
        entries.append((key, (0, position if size else 0, size, new_checksum)))
        position += fmt.block_count(size) * fmt.BLOCK_BYTES
    return entries
