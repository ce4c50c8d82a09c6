"""Commits of one key, unrolled: the steps of `commit`, in its order, with everything else left out.

A put costs as much as the calls that it makes; what is a loop over steps there is straight-line code here. Whatever
is unusual (free space to be reused, a value too large for the journal, the first line, equal hashes) goes to `commit`.
"""

from __future__ import annotations

from hutch import format as fmt
from hutch.commit import append, commit, cut_off, find, make_durable, publish_round, show_deleted
from hutch.handle import Handle

__all__ = ["commit_delete", "commit_put"]

_hash_key = fmt.hash64
_hash64 = fmt.hash64
_pack_operation = fmt.OPERATION.pack
_pack_record = fmt.RECORD_HEADER.pack
_OPERATION_BYTES = fmt.OPERATION_BYTES
_RECORD_HEADER_BYTES = fmt.RECORD_HEADER_BYTES
_RECORD_MAGIC = fmt.RECORD_MAGIC
_CHECKSUM_AT = fmt.RECORD_HEADER.size
_KEY_LENGTHS = fmt.KEY_LENGTHS


def commit_put(handle: Handle, key: bytes, value: bytes | memoryview, *, durable: bool) -> None:
    """`commit` of one small value, with everything unrolled: the same steps in the same order. O(1)."""
    index, heap, directory, journal = handle.index, handle.heap, handle.directory, handle.journal
    assert index is not None and journal is not None
    size = len(value)
    free = heap.free
    end = index.directory_bytes
    if free is not None or not 0 < size <= fmt.INLINE_LIMIT_BYTES or not end:
        commit(handle, ((key, value, False),), 1, durable=durable)
        return
    key_hash = _hash_key(key, handle.seed)
    literal = b"'%b'" % key if key.isalnum() else ascii(key.decode("latin-1")).encode()
    if not index.is_checked(key_hash):
        index.check_bucket(key_hash)  # what is written gets a new seal: never one over damage
    found = index.locate(key_hash)
    if found is not None:
        line = found[2] & fmt.OFFSET_MASK
        if directory.file.view[line : line + len(literal)] != literal:
            commit(handle, ((key, value, False),), 1, durable=durable)
            return
    start = index.heap_blocks
    heap_blocks = start + ((size + 511) >> 9)
    offset = start << 9
    checksum = _hash64(value, key_hash) & 0xFFFFFFFF
    text = b""
    directory_end = end
    if found is None:
        line = end + 1
        text = b"\n%b, (%15d, %13d)  # %08x" % (literal, offset, size, checksum)
        directory_end = end + len(text)
        kind = fmt.OP_INSERT
        index.reserve(1)
        if directory_end >= len(directory.file.view) and directory.reserve(directory_end + 1):
            index.directory_file_bytes = len(directory.file.view)
            publish_round(index)
    else:
        kind = fmt.OP_REPLACE
    sequence = index.sequence + 1
    operation = _pack_operation(kind, 1, 0, len(key), line, offset, size, checksum, 0)
    record_bytes = _OPERATION_BYTES + len(key) + size
    body = b"".join((_pack_record(_RECORD_MAGIC, 1, record_bytes, sequence), operation, key, value))
    position = index.journal_bytes
    journal_bytes = position + _RECORD_HEADER_BYTES + record_bytes
    if journal_bytes > len(journal.file.view):
        journal.reserve(journal_bytes)
    if heap_blocks << 9 > len(heap.file.view):
        heap.reserve(heap_blocks)
    flagged = line
    if fmt.has_room_for_key(size, key):
        flagged |= fmt.KEYED
        heap.file.view[offset : offset + size + 1 + len(key)] = b"".join((value, _KEY_LENGTHS[len(key)], key))
    else:
        heap.file.view[offset : offset + size] = value

    view = index.file.view
    view[16:17] = b"\1"  # pending
    if text:
        directory.file.view[end:directory_end] = text
    try:
        journal.file.view[position:journal_bytes] = (
            body[:_CHECKSUM_AT] + _hash64(body, journal.salt).to_bytes(8, "little") + body[_CHECKSUM_AT:]
        )
    except Exception:
        cut_off(handle, journal, position)
        raise
    if durable:
        make_durable(handle, index)

    try:
        index.begin_update()
        if found is None:
            index.insert(key_hash, (flagged, offset, size, checksum))
            index.live_blocks += heap_blocks - start
        else:
            at, slot, old_line, old_offset, old_size, _ = found
            old_blocks = 0 if old_line & fmt.LOST else (old_size + 511) >> 9
            index.replace((at, slot), key_hash, (flagged, offset, size, checksum))
            index.live_blocks += heap_blocks - start - old_blocks
            index.changed_lines += 1
            handle.freed_blocks += old_blocks
            handle.freed.append((old_offset >> 9, old_blocks))
        index.sequence = sequence
        index.journal_bytes = journal_bytes
        index.directory_bytes = directory_end
        index.heap_blocks = heap_blocks
        index.end_update()
        view[16:17] = b"\0"
    except Exception:  # noqa: BLE001  # see `commit`
        pass
    finally:
        index.abandon_update()


def commit_delete(handle: Handle, key: bytes, *, durable: bool) -> bool:
    """`commit` of one deletion, unrolled likewise; False if there is no such key. O(1)."""
    index, directory, journal = handle.index, handle.directory, handle.journal
    assert index is not None and journal is not None
    key_hash = _hash_key(key, handle.seed)
    index.check_bucket(key_hash)
    found = find(index, directory, key, key_hash, fmt.key_literal(key))
    if found is None:
        return False
    place, entry = found
    flagged, offset, size, _ = entry
    line = flagged & fmt.OFFSET_MASK
    sequence = index.sequence + 1
    payload = _pack_operation(fmt.OP_DELETE, 0, 0, len(key), line, 0, 0, 0, 0) + key
    position = index.journal_bytes
    journal.reserve(position + _RECORD_HEADER_BYTES + len(payload))
    index.set_flag(fmt.PENDING_AT, True)
    journal_bytes = append(handle, journal, position, sequence, 1, payload)
    if durable:
        make_durable(handle, index)
    try:
        index.begin_update()
        old_blocks = 0 if flagged & fmt.LOST else (size + 511) >> 9
        show_deleted(handle, index, place, line, offset, old_blocks)
        index.sequence = sequence
        index.journal_bytes = journal_bytes
        index.end_update()
        index.set_flag(fmt.PENDING_AT, False)
    except Exception:  # noqa: BLE001  # see `commit`
        pass
    finally:
        index.abandon_update()
    return True
