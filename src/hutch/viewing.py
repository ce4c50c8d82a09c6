"""Values without a copy: read-only memory of the mapped heap, whose bytes stay what they are.

While any view of any process lives, no process gives its blocks out again, moves a value onto them, or cuts them off:
whoever is about to asks (`Shared.is_pinned`, `Shared.pinned_spans`). The answer is a lock that belongs to the open
file description from which the memory was mapped. It is never released, only let go of: so it lives as long as the
mapping, which every memoryview and every array that was made of it keeps alive, also when the handle has been closed,
and in the children of a fork.

A large value has a mapping of its own, under a lock of its own extent: one file descriptor a view, and nobody is kept
from using other blocks. Small ones share a mapping of the whole heap under the pin, so that any number of them costs
one descriptor; while one of them lives, nothing at all is given out again. Where there are no descriptors left, large
ones are treated as small ones are. A system that cannot lock an extent gives each a pin.
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

    from hutch.files import File
    from hutch.store import Store

__all__ = ["Lent", "Mappings", "lend", "view"]

_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


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


class Lent:
    """A large value that somebody reads once: memory, or a file for ``pickle.load``.

    Making an object out of memory goes through two page faults for each page, the value's and the object's. Out of
    a file the system copies straight to where the object is to be.

    Attributes:
        view: the value, as memory that stays what it is.
    """

    __slots__ = ("_end", "_file", "_position", "view")

    def __init__(self, view: memoryview, offset: int, file: File) -> None:
        self.view = view
        self._file = file
        self._position = offset
        self._end = offset + len(view)

    def __len__(self) -> int:
        return len(self.view)

    def __bytes__(self) -> bytes:
        return bytes(self.view)

    def unpickled(self) -> object:
        """``pickle.loads`` of the value, once."""
        from pickle import load, loads

        if self.view[0] == 0x80 and self.view[1] >= 4:
            return load(self)  # noqa: S301  # as `Shelf` does with all values
        return loads(self.view)  # noqa: S301  # no frames: out of a file that would be a call for each opcode

    def read(self, size_bytes: int) -> bytes:
        data = self._file.read_at(self._position, min(size_bytes, self._end - self._position))
        self._position += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:
        count = self._file.read_into(self._position, memoryview(buffer)[: self._end - self._position])
        self._position += count
        return count

    def readline(self) -> bytes:
        rest = self.view[self._position - self._end :] if self._position < self._end else self.view[:0]
        size_bytes = 256
        while (at := bytes(rest[:size_bytes]).find(b"\n")) < 0 and size_bytes < len(rest):
            size_bytes *= 4
        return self.read(at + 1 if at >= 0 else len(rest))


def lend(store: Store, key: bytes, *, verify: bool) -> bytes | Lent | None:
    """See `Store.lend`."""
    if store.own_transaction() is None:
        entry = store.find_entry(key)
        if entry is not None and entry[2] > LARGE_BYTES:
            found = _find(store, key, verify)
            return Lent(*found, store.heap.file.file) if isinstance(found, tuple) else found
    return store.get(key)


def view(store: Store, key: bytes, *, verify: bool) -> memoryview | None:
    """See `Store.view`."""
    found = _find(store, key, verify)
    if isinstance(found, tuple):
        return found[0]
    return None if found is None else memoryview(found)


def _find(store: Store, key: bytes, verify: bool) -> tuple[memoryview, int] | bytes | None:
    """A value's memory and where it lies in the heap; a copy where there is no memory to be had."""
    transaction = store.own_transaction()
    if transaction is not None:
        change = transaction.changes.get(key)
        if change is not None:
            return change[0]
        if transaction.cleared:
            return None
    entry = store.find_entry(key)
    while entry is not None:
        line, offset, size, checksum = entry
        snapshot = store.snapshot
        if line & fmt.LOST or (snapshot is not None and offset in snapshot.inline):
            break
        value = _memory(store, offset, size) if size else memoryview(b"")
        # Once more under the lock: whoever gives these blocks up from now on sees it before giving them out.
        again = store.find_entry(key)
        if again != entry:
            entry = again
            continue
        if value is None:
            break
        if not verify or line & fmt.UNVERIFIED:
            return value, offset
        if fmt.checksum_of(value, fmt.hash_key(key, store.seed)) == checksum:
            return value, offset
        break
    # Lost, damaged, only in the journal, or a heap that cannot be mapped: by way of a copy, which is checked.
    return store.get_committed(key, verify=verify)


def _memory(store: Store, offset: int, size: int) -> memoryview | None:
    """The memory of an extent, in a mapping that has its lock; None where there can be none."""
    if offset + size > store.heap.file.file.size():
        return None
    first, second = (_window, _whole) if size > LARGE_BYTES else (_whole, _window)
    try:
        return first(store, offset, size)
    except OSError as problem:
        if problem.errno not in _NO_RESOURCES:
            raise
    try:
        return second(store, offset, size)
    except OSError as problem:
        problem.add_note(
            "hutch: a view takes a file descriptor and a part of the address space. Let go of other views, or read the "
            "value as bytes"
        )
        raise


def _window(store: Store, offset: int, size: int) -> memoryview | None:
    """A mapping of one value."""
    windows, heap = store.mappings.windows, store.heap.file.file
    window = windows.get((offset, size))
    if window is not None:
        return memoryview(window)[-size:]
    memory = store.file_system.map_pinned(heap.path, heap.status(), (offset, size))
    if memory is not None:
        windows[offset, size] = memory.obj
    return memory


def _whole(store: Store, offset: int, size: int) -> memoryview | None:
    """The mapping of the whole heap, or a new one where that is too short by now."""
    mappings, heap = store.mappings, store.heap.file.file
    end = offset + size
    whole = mappings.whole()
    memory = None if whole is None else memoryview(whole)
    if memory is None or end > len(memory):
        memory = store.file_system.map_pinned(heap.path, heap.status())
        if memory is None or end > len(memory):
            return None
        mappings.whole = weakref.ref(memory.obj)
    return memory[offset:end]
