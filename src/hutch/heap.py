"""The heap: values at 512-byte-aligned offsets of NAME.dat, exactly as dbm.dumb lays them out.

A live value is never overwritten. Free space is derived, never stored: it is what no entry owns. Blocks are
the unit of allocation; offsets and sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Iterable

from hutch import format as fmt
from hutch.files import MappedFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sortedcontainers import SortedList

    from hutch.codecs.base import Pieces

__all__ = ["LARGE_BYTES", "FreeSpace", "Heap"]

_GROWTH_BYTES = 16 * 1024
_MAX_GROWTH_BYTES = 64 * 1024 * 1024
# Neighbouring small values are written with one call up to this size.
_RUN_BYTES = 1024 * 1024
# A value above this size is written in chunks, each of which is still in the processor's cache when it has been hashed.
LARGE_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024


class FreeSpace:
    """Free extents, merged with their neighbours, found by best fit. Lengths and positions in blocks.

    `take` and `add` are O(log n).
    """

    def __init__(self, extents: Iterable[tuple[int, int]] = ()) -> None:
        from sortedcontainers import SortedList  # only a database with free space pays for the import

        self._by_length: SortedList = SortedList()
        self._end_of: dict[int, int] = {}  # start -> end
        self._start_of: dict[int, int] = {}  # end -> start
        self.block_count = 0
        for start, length in extents:
            self.add(start, length)

    def take(self, length: int) -> int | None:
        """The first block of the smallest free extent that holds `length` blocks, or None."""
        position = self._by_length.bisect_left((length, 0))
        if position == len(self._by_length):
            return None
        found, start = self._by_length.pop(position)
        end = start + found
        del self._end_of[start]
        if found > length:
            self._insert(start + length, end)
        else:
            del self._start_of[end]
        self.block_count -= length
        return int(start)

    def add(self, start: int, length: int) -> None:
        """Give `length` blocks back."""
        if not length:
            return
        end = start + length
        before = self._start_of.pop(start, None)
        if before is not None:
            del self._end_of[before]
            self._by_length.remove((start - before, before))
            start = before
        after = self._end_of.pop(end, None)
        if after is not None:
            self._by_length.remove((after - end, end))
            end = after
        self._insert(start, end)
        self.block_count += length

    def _insert(self, start: int, end: int) -> None:
        self._end_of[start] = end
        self._start_of[end] = start
        self._by_length.add((end - start, start))

    def extents(self) -> list[tuple[int, int]]:
        """(start, length) of each free extent, in order."""
        return sorted((start, end - start) for start, end in self._end_of.items())


def gaps(owned: Iterable[tuple[int, int]], first_block: int, end_block: int) -> list[tuple[int, int]]:
    """What no entry owns between two blocks: (start, length) extents. O(n log n)."""
    free: list[tuple[int, int]] = []
    position = first_block
    for start, length in sorted(owned):
        if start > position:
            free.append((position, start - position))
        position = max(position, start + length)
    if end_block > position:
        free.append((position, end_block - position))
    return free


def apart(
    extents: Iterable[tuple[int, int]], barred: list[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Divide (start, length) extents into what lies outside of the barred (start, end) spans, and what inside."""
    outside: list[tuple[int, int]] = []
    inside: list[tuple[int, int]] = []
    spans = sorted(barred)
    for start, length in extents:
        end = start + length
        for first, last in spans:
            if start < last and first < end:
                if start < first:
                    outside.append((start, first - start))
                inside.append((max(start, first), min(end, last) - max(start, first)))
                start = last
        if start < end:
            outside.append((start, end - start))
    return outside, inside


class Heap:
    """NAME.dat, open. `free` is None until there is enough free space to be worth a list."""

    __slots__ = ("file", "free")

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.free: FreeSpace | None = None

    def read(self, offset: int, size_bytes: int) -> bytes:
        """A value's bytes; fewer if the heap ends before them."""
        if not size_bytes:
            return b""
        view = self.file.view
        if offset + size_bytes > len(view):
            end = self.file.file.size()
            if offset >= end:
                return b""
            if end > len(view):
                self.file.refresh()
                view = self.file.view
        return view[offset : offset + size_bytes]

    def reserve(self, end_block: int) -> None:
        """Have space behind every block below `end_block`.

        Raises:
            OSError: no space; nothing has changed.
        """
        needed = end_block * fmt.BLOCK_BYTES
        have = len(self.file.view)
        if have < needed:
            # A new mapping starts without pages, so it had better be a rare one. On a full disk, what close() cuts off
            # again is the room for what else it does.
            least, better = (min(max(needed >> part, _GROWTH_BYTES), _MAX_GROWTH_BYTES) for part in (3, 1))
            self.file.grow(needed + least, needed + better)

    def write(self, extents: list[tuple[int, bytes | memoryview]]) -> None:
        """Write values at their offsets, neighbours together."""
        if len(extents) == 1:
            offset, value = extents[0]
            self.file.write(offset, value)
            return
        run: list[bytes | memoryview] = []
        run_start = run_end = 0
        for offset, value in extents:
            if run and (offset - run_end >= fmt.BLOCK_BYTES or offset < run_end or run_end - run_start > _RUN_BYTES):
                self.file.write(run_start, b"".join(run))
                run = []
            if not run:
                run_start = offset
            elif offset > run_end:
                run.append(bytes(offset - run_end))
            run.append(value)
            run_end = offset + len(value)
        if run:
            self.file.write(run_start, b"".join(run))

    def write_large(self, offset: int, value: bytes | memoryview | Pieces, key_hash: int) -> int:
        """Write one value above LARGE_BYTES into reserved space without joining or copying it whole.

        Returns:
            The checksum of what has been written: of a buffer that another thread changes meanwhile, too.
        """
        hasher = fmt.Hasher(seed=key_hash)
        write_at = self.file.file.write_at
        if type(value) is bytes:
            whole = memoryview(value)
            for start in range(0, len(whole), _CHUNK_BYTES):
                piece = whole[start : start + _CHUNK_BYTES]
                hasher.update(piece)
                write_at(offset + start, piece)
            return hasher.intdigest() & fmt.CHECKSUM_MASK
        buffers = [value] if isinstance(value, memoryview) else value.buffers  # type: ignore[union-attr]
        chunk = memoryview(bytearray(_CHUNK_BYTES))
        used = 0
        for buffer in buffers:
            start, left = 0, len(buffer)
            while left:
                count = min(left, _CHUNK_BYTES - used)
                chunk[used : used + count] = buffer[start : start + count]
                used, start, left = used + count, start + count, left - count
                if used == _CHUNK_BYTES:
                    hasher.update(chunk)
                    write_at(offset, chunk)
                    offset, used = offset + used, 0
        if used:
            hasher.update(chunk[:used])
            write_at(offset, chunk[:used])
        return hasher.intdigest() & fmt.CHECKSUM_MASK
