"""reorganize(): the heap packed to its front, the directory without dead lines, in place and without risk.

A value moves as any change does: it is written to free blocks, committed, and its old blocks are free only after
the next checkpoint. The free gap in front of the next value slides towards the end, a gap's length a round; where the
first gap is too narrow for that to be few rounds, the values behind it go to the end of the heap first.
"""

from __future__ import annotations

from hutch import format as fmt
from hutch.checkpoint import checkpoint, rewrite
from hutch.commit import Change, commit
from hutch.heap import LARGE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.reports import Progress
    from hutch.store import Store

__all__ = ["reorganize"]

_BATCH_BYTES = 8 * 1024 * 1024
_BATCH_COUNT = 10_000
_GAP_FRACTION = 8  # a gap of an eighth of the heap packs it in some ten rounds
_MAX_GAP_BLOCKS = 128 * 1024


def reorganize(store: Store, *, progress: Progress | None = None) -> None:
    """Pack heap and directory. Inside `enter`; others read meanwhile, and write afterwards. O(bytes moved).

    While somebody has a pin, nothing can be written over what no entry owns: only the directory is packed.

    Args:
        progress: see `Store.reorganize`.
    """
    checkpoint(store)
    # A pin that comes during a round is one of values that their entries own, and a round writes over none of these.
    while store.index is not None and not store.is_pinned() and _pack_round(store, progress):
        checkpoint(store)
    if store.index is None:
        return  # no space for an index: nothing is lost, and nothing more can be moved
    rewrite(store, heap_floor=0)
    index = store.index
    if index is None:
        return
    store.heap.free = None
    if store.exclusive or store.locks.presence.try_lock():
        heap_bytes = index.heap_blocks * fmt.BLOCK_BYTES
        raw = store.heap.file
        if raw.file.size() > heap_bytes:
            raw.view = b""  # type: ignore[assignment]
            raw.file.truncate(heap_bytes)
            raw.refresh()
        if not store.exclusive:
            store.locks.presence.try_lock(shared=True)


def _pack_round(store: Store, progress: Progress | None) -> bool:
    """Move what fits into the first gap; False when nothing is left to move."""
    index = store.index
    assert index is not None
    store.heap.free = None  # space freed in an earlier round is given out here, and only here
    owned = sorted(
        (entry[1] >> fmt.BLOCK_SHIFT, fmt.block_count(entry[2]), entry[0])
        for _, entry in index.entries()
        if entry[2] and not entry[0] & fmt.LOST
    )
    total_blocks = sum(blocks for _, blocks, _ in owned)
    target = min(max(total_blocks // _GAP_FRACTION, 1), _MAX_GAP_BLOCKS)
    position = 0
    for number, (start, blocks, _) in enumerate(owned):
        if start > position:
            if progress is not None:
                progress(number, len(owned))  # what lies in front of the first gap lies where it stays
            if _fill(store, owned[number:], position, target):
                return True
        position = max(position, start + blocks)
    if progress is not None:
        progress(len(owned), len(owned))
    return False


def _fill(store: Store, behind: list[tuple[int, int, int]], gap: int, target: int) -> bool:
    """Fill the gap in front of `behind`, or widen it; False if nothing could be moved."""
    limit = behind[0][0]
    left = sum(blocks for _, blocks, _ in behind)
    moves: list[tuple[int, int | None]] = []  # line, new first block (None: the end of the heap)
    if limit - gap < min(target, left):
        for start, blocks, line in behind:
            if start + blocks - gap > 2 * target and moves:
                break
            moves.append((line, None))
            if start + blocks - gap >= target:
                break
    else:
        position = gap
        for _, blocks, line in behind:
            if position + blocks <= limit:
                moves.append((line, position))
                position += blocks
            elif not moves:
                moves.append((line, None))
                break
            else:
                break
    return _move(store, moves)


def _move(store: Store, moves: list[tuple[int, int | None]]) -> bool:
    batch: list[Change] = []
    places: dict[bytes, int] = {}
    batch_bytes = 0
    moved = False
    for line, place in moves:
        key = store.directory.key_at(line & fmt.OFFSET_MASK)
        try:
            value = _value(store, key)
        except OSError:
            continue  # damaged: it stays where it is, for check() to report
        if value is None:
            continue
        batch.append((key, value, False))
        if place is not None:
            places[key] = place
        batch_bytes += len(value)
        if batch_bytes >= _BATCH_BYTES or len(batch) >= _BATCH_COUNT:
            commit(store, batch, len(batch), durable=False, places=places)
            moved, batch, places, batch_bytes = True, [], {}, 0
    if batch:
        commit(store, batch, len(batch), durable=False, places=places)
        moved = True
    return moved


def _value(store: Store, key: bytes) -> bytes | memoryview | None:
    """The value of a key; a large one is not copied to be written elsewhere."""
    entry = store.find_entry(key)
    if entry is not None and entry[2] > LARGE_BYTES and not entry[0] & (fmt.UNVERIFIED | fmt.LOST):
        _, offset, size, checksum = entry
        heap: Any = store.heap.file.view  # a mapping, since this handle writes
        value = memoryview(heap)[offset : offset + size]
        if len(value) == size and fmt.checksum_of(value, fmt.hash_key(key, store.seed)) == checksum:
            return value
    return store.get_committed(key, verify=True)
