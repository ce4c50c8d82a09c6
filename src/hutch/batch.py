"""Commits of many new keys with small values, such as a bulk load: the steps of `commit`, taken for all keys at once.

What is one store a key in `commit` is one for many here: values go to the heap in runs of a megabyte, and an index that
is to hold more new entries than old ones is written anew, page by page, rather than split and split again. Whatever is
unusual (a key that is there already, a large or an empty value, free space to be used) takes the other way.
"""

from __future__ import annotations

from itertools import accumulate, chain, repeat

from hutch import format as fmt
from hutch.commit import Change, Plan, carry_out, make_room
from hutch.handle import Handle
from hutch.table import Table, arrange, fill, pack_slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["FEWEST", "insert_many"]

FEWEST = 64  # below, it is not worth while
_RUN_BYTES = 1024 * 1024
_hash_key = fmt.hash64
_hash64 = fmt.hash64


def insert_many(handle: Handle, changes: list[Change], *, durable: bool) -> bool:
    """Commit many insertions, all or nothing; False if it has to be `commit`, and nothing has happened. O(changes).

    Raises:
        As `commit` does; CorruptIndexError before the commit point.
    """
    index, heap, directory = handle.index, handle.heap, handle.directory
    assert index is not None
    if heap.free is not None:
        return False
    keys: tuple[bytes, ...]
    values: tuple[bytes, ...]
    keys, values, _ = zip(*changes, strict=True)
    if set(map(type, values)) != {bytes}:
        return False
    sizes = list(map(len, values))
    if not 0 < min(sizes) <= max(sizes) <= fmt.INLINE_LIMIT_BYTES:
        return False
    hashes = list(map(_hash_key, keys, repeat(handle.seed)))
    is_empty = not index.key_count
    if not is_empty:
        for key_hash in hashes:
            index.check_bucket(key_hash)  # what is written gets a new seal: never one over damage
            if index.locate(key_hash) is not None:
                return False

    checksums = [number & fmt.CHECKSUM_MASK for number in map(_hash64, values, hashes)]
    extent_bytes = [size + (-size & fmt.BLOCK_MASK) for size in sizes]
    offsets = list(accumulate(extent_bytes, initial=index.heap_blocks << fmt.BLOCK_SHIFT))
    heap_blocks = offsets.pop() >> fmt.BLOCK_SHIFT
    live_blocks = index.live_blocks + heap_blocks - index.heap_blocks

    lines = _format_lines(keys, offsets, sizes, checksums)
    header_offset = 0
    if not index.directory_bytes:
        header_offset = len(lines[0])
        lines[0] += fmt.pack_header_comment(handle.seed, directory.generation, index.base_sequence)
    first_start = index.directory_bytes + 1 if index.directory_bytes else 0
    starts = list(accumulate(map(len, lines), lambda at, size: at + size + 1, initial=first_start))
    directory_end = starts.pop() - 1

    lengths = list(map(len, keys))
    pack = fmt.OPERATION.pack
    constants = repeat(fmt.OP_INSERT), repeat(durable), repeat(0)
    operations = map(pack, *constants, lengths, starts, offsets, sizes, checksums, repeat(0))
    parts: list[Iterable[bytes]] = [operations, keys, values] if durable else [operations, keys]
    payload = b"".join(chain.from_iterable(zip(*parts, strict=True)))

    room = [extent - size for extent, size in zip(extent_bytes, sizes, strict=True)]
    fits = [length < gap and length < 256 for length, gap in zip(lengths, room, strict=True)]  # see `commit`
    indexed = [start | fmt.KEYED if is_keyed else start for start, is_keyed in zip(starts, fits, strict=True)]
    runs: list[tuple[int, bytes | memoryview]] = []
    at_once = _RUN_BYTES // max(extent_bytes)
    for first in range(0, len(keys), at_once):
        some = slice(first, first + at_once)
        columns = (values[some], keys[some], lengths[some], fits[some], extent_bytes[some])
        extents = [
            (b"".join((value, fmt.KEY_LENGTHS[length], key)) if is_keyed else value).ljust(extent, b"\0")
            for value, key, length, is_keyed, extent in zip(*columns, strict=True)
        ]
        runs.append((offsets[first], b"".join(extents)))

    table: Table | None = None
    if len(keys) > index.key_count:
        low_hashes = [key_hash & fmt.HASH_LOW_MASK for key_hash in hashes]
        tags = [key_hash >> 56 or 255 for key_hash in hashes]
        slots = list(map(pack_slot, low_hashes, checksums, indexed, offsets, sizes, tags))
        table, late = arrange(hashes, slots, [] if is_empty else list(index.slots()), index.bucket_count)
        if late:
            return False
        index.reserve_buckets(len(table.sizes))
    else:
        index.reserve(len(keys))

    def show() -> None:
        if table is not None:
            fill(index, table)
        else:
            for key_hash, entry in zip(hashes, zip(indexed, offsets, sizes, checksums, strict=True), strict=True):
                index.insert(key_hash, entry)
        index.live_blocks = live_blocks

    plan = Plan([payload], len(keys), runs, lines, directory_end, header_offset, heap_blocks, not durable, show)
    make_room(handle, plan)
    carry_out(handle, plan, durable=durable)
    return True


def _format_lines(
    keys: Sequence[bytes], offsets: Sequence[int], sizes: Sequence[int], checksums: Sequence[int]
) -> list[bytes]:
    """Directory lines without their newlines."""
    if b"".join(keys).isalnum():
        return [b"'%b', (%15d, %13d)  # %08x" % line for line in zip(keys, offsets, sizes, checksums, strict=True)]
    return [
        fmt.format_line(fmt.key_literal(key), (0, offset, size, checksum))
        for key, offset, size, checksum in zip(keys, offsets, sizes, checksums, strict=True)
    ]
