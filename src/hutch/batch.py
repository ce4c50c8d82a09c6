"""Commits of many new keys with small values, such as a bulk load: the steps of `commit`, taken for all keys at once.

What is one store a key in `commit` is one for many here: values go to the heap in runs of a megabyte, and an index that
is to hold more new entries than old ones is written anew, page by page, rather than split and split again. Whatever is
unusual (a key that is there already, a large or an empty value, free space to be used) takes the other way.
"""

from __future__ import annotations

from hutch import format as fmt
from hutch.commit import Change, Plan, carry_out, make_room
from hutch.handle import Handle

__all__ = ["FEWEST", "insert_many"]

FEWEST = 64  # below, it is not worth while
_RUN_BYTES = 1024 * 1024
_hash_key = fmt.hash64
_hash64 = fmt.hash64
_pack_operation = fmt.OPERATION.pack


def insert_many(handle: Handle, changes: list[Change], *, durable: bool) -> bool:
    """Commit many insertions, all or nothing; False if it has to be `commit`, and nothing has happened. O(changes).

    Raises:
        As `commit` does; CorruptIndexError before the commit point.
    """
    index, heap, directory = handle.index, handle.heap, handle.directory
    assert index is not None
    if heap.free is not None:
        return False
    seed = handle.seed
    is_empty = not index.key_count
    entries: list[tuple[int, fmt.Entry]] = []
    lines: list[bytes] = []
    payload: list[bytes | memoryview] = []
    values: list[tuple[int, bytes | memoryview]] = []
    run: list[bytes] = []
    line = index.directory_bytes
    if line:
        line += 1
    offset = run_start = index.heap_blocks << fmt.BLOCK_SHIFT
    header_offset = 0
    for key, value, _ in changes:
        size = len(value) if type(value) is bytes else 0
        if not 0 < size <= fmt.INLINE_LIMIT_BYTES:
            return False
        key_hash = _hash_key(key, seed)
        if not is_empty:
            index.check_bucket(key_hash)  # what is written gets a new seal: never one over damage
            if index.locate(key_hash) is not None:
                return False
        checksum = _hash64(value, key_hash) & fmt.CHECKSUM_MASK
        length = len(key)
        gap_bytes = -size & fmt.BLOCK_MASK
        flagged = line
        if length < min(gap_bytes, 256):
            run += (value, fmt.KEY_LENGTHS[length], key, bytes(gap_bytes - 1 - length))
            flagged |= fmt.KEYED
        else:
            run += (value, bytes(gap_bytes))
        entries.append((key_hash, (flagged, offset, size, checksum)))
        if durable:
            payload += (_pack_operation(fmt.OP_INSERT, 1, 0, length, line, offset, size, checksum, 0), key, value)
        else:
            payload += (_pack_operation(fmt.OP_INSERT, 0, 0, length, line, offset, size, checksum, 0), key)
        literal = b"'%b'" % key if key.isalnum() else fmt.key_literal(key)
        text = b"%b, (%15d, %13d)  # %08x" % (literal, offset, size, checksum)
        if not line:
            text += fmt.pack_header_comment(seed, directory.generation, index.base_sequence)
            header_offset = len(literal) + fmt.FIELDS_BYTES
        lines.append(text)
        line += len(text) + 1
        offset += size + gap_bytes
        if offset - run_start >= _RUN_BYTES:
            values.append((run_start, b"".join(run)))
            run, run_start = [], offset
    if run:
        values.append((run_start, b"".join(run)))

    heap_blocks = offset >> fmt.BLOCK_SHIFT
    live_blocks = index.live_blocks + heap_blocks - index.heap_blocks
    count = len(entries)
    buckets: list[list[tuple[int, bytes]]] = []
    if count > index.key_count:
        buckets, late = index.arrange(entries, count, [] if is_empty else list(index.slots()))
        if late:
            return False
        index.reserve_buckets(len(buckets))
    else:
        index.reserve(count)

    def show() -> None:
        if buckets:
            index.fill(buckets)
        else:
            for key_hash, entry in entries:
                index.insert(key_hash, entry)
        index.live_blocks = live_blocks

    plan = Plan(payload, count, values, lines, line - 1, header_offset, heap_blocks, not durable, show)
    make_room(handle, plan)
    carry_out(handle, plan, durable=durable)
    return True
