"""Values without a copy: read-only memory of the mapped heap, whose bytes stay what they are.

While any view of any process lives, no process gives its blocks out again, moves a value onto them, or cuts them off:
whoever is about to asks (`Shared.is_pinned`, `Shared.pinned_spans`). The answer is a lock that belongs to the open
file description from which the memory was mapped. It is never released, only let go of: so it lives as long as the
mapping, which every memoryview and every array that was made of it keeps alive, also when the handle has been closed,
and in the children of a fork.

A large value has a mapping of its own, under a lock of its own extent: one file descriptor a view, and nobody is kept
from using other blocks. Small ones share a mapping of the whole heap under the pin, so that any number of them costs
one descriptor; while one of them lives, nothing at all is given out again. Where the system cannot lock an extent, or
has no descriptors left, large ones are treated as small ones are.
"""

from __future__ import annotations

import errno
import weakref

from hutch import format as fmt
from hutch.heap import LARGE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from typing_extensions import Buffer

    from hutch.store import Store

__all__ = ["Mappings", "view"]

_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class Mappings:
    """The mappings of one handle that live, because somebody refers to their memory.

    Attributes:
        whole: gives that of the whole heap, or None.
        windows: of large values, by offset and size.
    """

    __slots__ = ("whole", "windows")

    def __init__(self) -> None:
        self.whole: Callable[[], Buffer | None] = _nothing
        self.windows: MutableMapping[tuple[int, int], Buffer] = weakref.WeakValueDictionary()


def _nothing() -> None:
    return None


def view(store: Store, key: bytes, *, verify: bool) -> memoryview | None:
    """See `Store.view`."""
    transaction = store.own_transaction()
    if transaction is not None:
        change = transaction.changes.get(key)
        if change is not None:
            return None if change[0] is None else memoryview(change[0])
        if transaction.cleared:
            return None
    entry = store.find_entry(key)
    while entry is not None:
        line, offset, size, checksum = entry
        if not size:
            return memoryview(b"")
        snapshot = store.snapshot
        if line & fmt.LOST or (snapshot is not None and offset in snapshot.inline):
            break
        value = _memory(store, offset, size)
        # Once more under the lock: whoever gives these blocks up from now on sees it before giving them out.
        again = store.find_entry(key)
        if again != entry:
            entry = again
            continue
        if value is None:
            break
        if not verify or line & fmt.UNVERIFIED:
            return value
        if fmt.checksum_of(value, fmt.hash_key(key, store.seed)) == checksum:
            return value
        break
    # Lost, damaged, only in the journal, or a heap that cannot be mapped: by way of a copy, which is checked.
    copy = store.get_committed(key)
    return None if copy is None else memoryview(copy)


def _memory(store: Store, offset: int, size: int) -> memoryview | None:
    """The memory of an extent, in a mapping that has its lock; None where there can be none."""
    mappings = store.mappings
    heap = store.heap.file.file
    end = offset + size
    if end > heap.size():
        return None
    if size > LARGE_BYTES:
        window = mappings.windows.get((offset, size))
        if window is not None:
            return memoryview(window)[-size:]
        try:
            value = store.file_system.map_pinned(heap.path, heap.status(), (offset, size))
        except OSError as problem:
            if problem.errno not in _NO_DESCRIPTORS:
                raise
        else:
            if value is not None:
                mappings.windows[offset, size] = value.obj
            return value
    whole = mappings.whole()
    memory = None if whole is None else memoryview(whole)
    if memory is None or end > len(memory):
        memory = store.file_system.map_pinned(heap.path, heap.status())
        if memory is None or end > len(memory):
            return None
        mappings.whole = weakref.ref(memory.obj)
    return memory[offset:end]
