"""The holes of a heap, counted in bounded memory, however many values there are and in whatever order they come."""

from __future__ import annotations

from collections.abc import Callable, Iterable

__all__ = ["WINDOW_BLOCKS", "gaps"]

BLOCK_BYTES = 512
# A byte of memory for each block of a window of the heap; what lies behind the window takes another look at all values.
WINDOW_BLOCKS = 1 << 26  # of 32 GiB


def gaps(extents: Callable[[], Iterable[tuple[int, int]]], window_blocks: int = WINDOW_BLOCKS) -> tuple[int, int]:
    """Count the runs of blocks that no value owns, each in front of one that a value owns.

    Args:
        extents: gives offset and size of every value; it is called once for each window that the heap has.
        window_blocks: what is looked at in one go.

    Returns:
        How many there are, and how many bytes the longest has.
    """
    count = longest = run = 0
    first, end = 0, 1
    while first < end:
        marks = bytearray()
        is_full = False
        for offset, size in extents():
            if not size:
                continue
            start = offset // BLOCK_BYTES
            stop = -(-(offset + size) // BLOCK_BYTES)
            end = max(end, stop)
            start, stop = max(start - first, 0), min(stop - first, window_blocks)
            is_full |= stop - start == window_blocks
            if start < stop and not is_full:
                if stop > len(marks):
                    marks.extend(bytes(stop - len(marks)))
                marks[start:stop] = b"\1" * (stop - start)
        first += window_blocks
        if is_full:  # a value of terabytes fills hundreds of them
            count, longest, run = count + (run > 0), max(longest, run), 0
            continue
        position = 0
        while position < len(marks):
            owned = marks.find(1, position)
            run += owned - position if owned >= 0 else len(marks) - position
            if owned < 0:
                break
            count, longest, run = count + (run > 0), max(longest, run), 0
            free = marks.find(0, owned)
            position = free if free >= 0 else len(marks)
        run += window_blocks - len(marks)
    return count, longest * BLOCK_BYTES
