"""Values without a copy: read-only memory of the mapped heap, whose bytes stay what they are.

A view pins the heap: no process gives blocks out again, moves values onto them or cuts them off while any view of any
process lives (`Shared.is_pinned`, which is asked wherever blocks are about to be free). The pin is a lock that belongs
to the open file description from which the memory was mapped, and is never released, only let go of: so it lives as
long as the mapping, which every memoryview and every array made of it keeps alive, after the handle has been closed
and in the children of a fork as well.

All views of a handle share one mapping of the whole heap, so any number of them costs one file descriptor. When the
last of them dies, the pin goes; a value behind the mapping's end brings a new mapping.
"""

from __future__ import annotations

import weakref

from hutch import format as fmt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.store import Store

__all__ = ["view"]


def view(store: Store, key: bytes, *, verify: bool) -> memoryview | None:
    """See `Store.view`."""
    transaction = store.own_transaction()
    if transaction is not None:
        change = transaction.changes.get(key)
        if change is not None:
            return None if change[0] is None else memoryview(change[0])
        if transaction.cleared:
            return None
    mapping = _mapping(store)
    while True:
        # The pin comes first: whoever frees these blocks from now on sees it before they are given out.
        entry = store.find_entry(key)
        if entry is None:
            return None
        line, offset, size, checksum = entry
        if not size:
            return memoryview(b"")
        end = offset + size
        if mapping is not None and end > len(mapping):
            mapping = _map(store)
            if mapping is not None and end <= len(mapping):
                continue  # a pin of its own: look again under it
        snapshot = store.snapshot
        is_journaled = snapshot is not None and offset in snapshot.inline
        if mapping is not None and end <= len(mapping) and not line & fmt.LOST and not is_journaled:
            value = mapping[offset:end]
            if not verify or line & fmt.UNVERIFIED:
                return value
            if fmt.checksum_of(value, fmt.hash_key(key, store.seed)) == checksum:
                return value
        # Lost, damaged, journaled only, or a heap that cannot be pinned: by way of a copy, which is checked.
        copy = store.get_committed(key)
        return None if copy is None else memoryview(copy)


def _mapping(store: Store) -> memoryview | None:
    """All of the heap under a pin: the mapping of a view that lives, or a new one."""
    mapping = store.pinned_mapping()
    return _map(store) if mapping is None else memoryview(mapping)


def _map(store: Store) -> memoryview | None:
    store.check_open()
    heap = store.heap.file.file
    memory = store.file_system.map_pinned(heap.path, heap.status())
    if memory is not None:
        store.pinned_mapping = weakref.ref(memory.obj)
    return memory
