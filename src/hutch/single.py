"""Commits of one key by the owner of a database, unrolled: the steps of `commit`, in its order, and nothing else.

A put costs as much as the calls that it makes; what is a loop over steps in `commit` is straight-line code here, and
state that is at hand is not asked for again. Whatever is unusual goes the long way round: a value too large for the
journal, the first line, no room left in one of the files, equal hashes.
"""

from __future__ import annotations

from binascii import hexlify
from struct import Struct

from hutch import format as fmt
from hutch.commit import cut_off, directory_line_bytes, find
from hutch.errors import CorruptIndexError, is_own
from hutch.handle import Handle

__all__ = ["delete_as_owner", "put_as_owner"]

_hash_key = fmt.hash64
_hash64 = fmt.hash64
_key_literal = fmt.key_literal
_pack_record = fmt.SINGLE_RECORD.pack
_pack_slot = fmt.SLOT.pack
_pack_counts = Struct("<6Q").pack  # the first of `fmt.STATE`: what an insertion changes
_pack_state = fmt.STATE.pack
_unpack_place = Struct("<8xQQQ").unpack_from  # of `fmt.SLOT`: line, offset, size
_MAGIC = fmt.RECORD_MAGIC
_INSERT, _REPLACE, _DELETE = fmt.OP_INSERT, fmt.OP_REPLACE, fmt.OP_DELETE
_KEYED, _LOST = fmt.KEYED, fmt.LOST
_KEY_LENGTHS = fmt.KEY_LENGTHS
_OFFSET_MASK = fmt.OFFSET_MASK
_NO_LINK = bytes(fmt.LINK.size)
_MAX_LITERAL_FACTOR = len(r"\xff")
_BEFORE, _COMMITTING, _COMMITTED = range(3)
# What stands as a number below.
assert (fmt.INDEX_HEADER_BYTES, fmt.BUCKET_BYTES, fmt.BUCKET_SLOTS, fmt.OVERFLOW_SHIFT) == (4096, 512, 15, 3)
assert (fmt.SLOTS_AT, fmt.SLOT_BYTES, fmt.LINK_AT, fmt.LINK.size, fmt.SEAL_AT) == (16, 32, 496, 4, 504)
assert (fmt.WORD_START, fmt.PENDING_AT, fmt.GATE_END, fmt.BUCKET_LOAD, fmt.INLINE_LIMIT_BYTES) == (8, 16, 20, 6, 4096)
assert (fmt.STATE_AT, fmt.STATE.size, fmt.CHECKSUM_MASK, fmt.HASH_LOW_MASK) == (32, 64, 0xFFFFFFFF, 0xFFFFFFFF)
assert (fmt.OPERATION_BYTES, fmt.RECORD_FRAME_BYTES) == (40, 32)


class _Sizes(dict[int, bytes]):
    """How a line goes on behind the offset, for each size that has come: values are often of a few sizes."""

    def __missing__(self, size: int) -> bytes:
        text = self[size] = b", %13d)  # " % size
        return text


_SIZES = _Sizes()


def put_as_owner(handle: Handle, key: bytes, value: bytes) -> bool:
    """Store a value; False if it has to go the long way round, and nothing has happened. O(1). See `owning`."""
    if not handle.thread_lock.acquire(False):
        return False
    stage, position = _BEFORE, 0
    try:
        at_hand = handle.at_hand
        if at_hand is None or handle.is_busy:
            return False
        (
            index,
            view,
            checked,
            directory,
            heap,
            journal,
            directory_limit,
            heap_limit,
            journal_limit,
            seed,
            salt,
            gate,
            free,
        ) = at_hand
        word = index.word  # first: who writes from here on, a signal handler for one, moves it
        size = len(value)
        length = len(key)
        end = directory_end = index.directory_bytes
        position = index.journal_bytes
        record_end = position + 72 + length
        heap_blocks = index.heap_blocks
        offset = heap_blocks << 9
        if record_end > journal_limit or offset + size > heap_limit or not 0 < size <= 4096:
            return False
        handle.is_busy = True
        handle.depth = 1
        view[16] = 1  # pending
        if view[8:20] != word + gate:
            handle.depth = 0
            handle.is_busy = False
            handle.give_up_owning()  # before waiting for who has the writer lock: he waits for us
            return False

        key_hash = _hash_key(key, seed)
        bucket = key_hash & index.high_mask
        if bucket >= index.bucket_count:
            bucket &= index.low_mask
        if not checked[bucket]:
            index.check_bucket(key_hash)  # what is written gets a new seal: never one over damage
        at = 4096 + (bucket + (bucket >> 3)) * 512
        page = view[at : at + 512]
        old_blocks = -1
        if 0 <= page.find(key_hash >> 56 or 255) < 15 or page[496:500] != _NO_LINK:
            found = index.locate(key_hash)
            if found is not None:
                place, slot, line, old_offset, old_size, _ = found
                old_end = old_offset + old_size
                is_keyed = line & _KEYED and length < 256
                if not is_keyed or heap[old_end : old_end + 1 + length] != _KEY_LENGTHS[length] + key:
                    literal = _key_literal(key)
                    start = line & _OFFSET_MASK
                    if line & _LOST or directory[start : start + len(literal)] != literal:
                        view[16] = 0
                        handle.depth = 0
                        handle.is_busy = False
                        return False
                line &= _OFFSET_MASK
                old_blocks = (old_size + 511) >> 9
        checksum = _hash64(value, key_hash) & 0xFFFFFFFF
        sequence = index.sequence + 1
        if old_blocks < 0:
            slot = page.find(0)
            has_slot = 0 <= slot < 15
            stays = has_slot and index.key_count < index.bucket_count * 6  # the table need not grow
            if end + _MAX_LITERAL_FACTOR * length > directory_limit or not (
                stays or index.bucket_count < index.room_for_buckets
            ):
                view[16] = 0
                handle.depth = 0
                handle.is_busy = False
                return False
        blocks = (size + 511) >> 9
        reused = None if free is None else free.take(blocks)
        if reused is None:
            heap_blocks += blocks
        else:
            offset = reused << 9
        if old_blocks < 0:
            line = end + 1
            digits = b"%15d" % offset, _SIZES[size], hexlify(checksum.to_bytes(4, "big"))
            if key.isalnum():
                text = b"".join((b"\n'", key, b"', (", *digits))
            else:
                text = b"".join((b"\n", _key_literal(key), b", (", *digits))
            directory_end = end + len(text)
            directory[end:directory_end] = text
        if length < 256 and length < -size & 511:
            heap[offset : offset + size + 1 + length] = b"".join((value, _KEY_LENGTHS[length], key))
            flagged = line | _KEYED
        else:
            heap[offset : offset + size] = value
            flagged = line
        kind = _INSERT if old_blocks < 0 else _REPLACE
        # The value does not travel along, as in a durable commit: it need not be safe before the next sync.
        record = _pack_record(_MAGIC, 1, 40 + length, sequence, kind, 0, 0, length, line, offset, size, checksum, 0)
        record += key
        stage = _COMMITTING
        journal[position:record_end] = record + _hash64(record, salt).to_bytes(8, "little")
        stage = _COMMITTED
        view[8] = index.number & 255 | 1  # as `Index.begin_update`: readers wait
        if index.is_loading:
            index.wait_for_loading()
        index.sequence = sequence
        index.journal_bytes = record_end
        index.directory_bytes = directory_end
        index.heap_blocks = heap_blocks
        if old_blocks < 0:
            index.live_blocks = live_blocks = index.live_blocks + blocks
            if has_slot:
                start = at + 16 + slot * 32
                view[start : start + 32] = _pack_slot(key_hash & 0xFFFFFFFF, checksum, flagged, offset, size)
                view[at + slot] = key_hash >> 56 or 255
                view[at + 504 : at + 512] = _hash64(view[at : at + 504], at).to_bytes(8, "little")
                index.key_count = key_count = index.key_count + 1
            else:
                index.insert(key_hash, (flagged, offset, size, checksum))
            if stays:
                # As `Index.end_update`, of which nothing else has changed.
                view[32:80] = _pack_counts(sequence, record_end, directory_end, heap_blocks, live_blocks, key_count)
                index.number = number = index.number + 2 & 0xFFFFFFFFFFFFFFFF
                index.word = word = number.to_bytes(8, "little")
                view[8:16] = word
            else:
                if has_slot:
                    index.split()
                index.end_update()
        else:
            index.replace((place, slot), key_hash, (flagged, offset, size, checksum))
            index.live_blocks += blocks - old_blocks
            index.changed_lines += 1
            handle.freed_blocks += old_blocks
            handle.freed.append((old_offset >> 9, old_blocks))
            index.end_update()
        view[16] = 0
        handle.depth = 0
        handle.is_busy = False
        return True
    except BaseException as problem:
        if _fail(handle, stage, position, problem):
            return True
        if isinstance(problem, CorruptIndexError) and stage == _BEFORE:
            return False  # the long way round makes a new one
        raise
    finally:
        handle.thread_lock.release()


def _fail(handle: Handle, stage: int, position: int, problem: BaseException) -> bool:
    """A statement of the owner was interrupted: whether it is to be taken as done. Somebody may wait for us."""
    assert handle.journal is not None
    try:
        if stage == _COMMITTING and isinstance(problem, Exception):
            cut_off(handle, handle.journal, position)
    finally:
        handle.depth = 0
        handle.is_busy = False
        handle.heap.free = None  # it may have been interrupted, too; the next checkpoint makes a new one
        handle.give_up_owning()
    if not isinstance(problem, CorruptIndexError):
        handle.finish_quietly()
    return stage == _COMMITTED and is_own(problem)


def delete_as_owner(handle: Handle, key: bytes) -> bool | None:
    """Delete a key: whether it was there; None if it has to go the long way round, and nothing has happened. O(1)."""
    if not handle.thread_lock.acquire(False):
        return None
    stage, position = _BEFORE, 0
    try:
        at_hand = handle.at_hand
        if at_hand is None or handle.is_busy:
            return None
        index, view, checked, directory, heap, journal, _, _, journal_limit, seed, salt, gate, _ = at_hand
        word = index.word  # first: see `put_as_owner`
        length = len(key)
        position = index.journal_bytes
        record_end = position + 72 + length
        if record_end > journal_limit:
            return None
        handle.is_busy = True
        handle.depth = 1
        view[16] = 1  # pending
        if view[8:20] != word + gate:
            handle.depth = 0
            handle.is_busy = False
            handle.give_up_owning()
            return None

        key_hash = _hash_key(key, seed)
        bucket = key_hash & index.high_mask
        if bucket >= index.bucket_count:
            bucket &= index.low_mask
        if not checked[bucket]:
            index.check_bucket(key_hash)
        at = 4096 + (bucket + (bucket >> 3)) * 512
        page = view[at : at + 512]
        slot = page.find(key_hash >> 56 or 255)
        is_found = False
        if 0 <= slot < 15:
            line, offset, size = _unpack_place(page, 16 + 32 * slot)
            end = offset + size
            if line >> 60 == 1 and length < 256:  # only `KEYED`
                is_found = heap[end : end + 1 + length] == _KEY_LENGTHS[length] + key
        if not is_found:
            found = find(index, handle.directory, key, key_hash, _key_literal(key))
            if found is None:
                view[16] = 0
                handle.depth = 0
                handle.is_busy = False
                return False
            (at, slot), (line, offset, size, _) = found
        old_blocks = 0 if line & _LOST else (size + 511) >> 9
        line &= _OFFSET_MASK
        line_bytes = directory[line : line + 256].find(b"\n") + 1 or directory_line_bytes(handle.directory, line)
        sequence = index.sequence + 1
        record = _pack_record(_MAGIC, 1, 40 + length, sequence, _DELETE, 0, 0, length, line, 0, 0, 0, 0)
        record += key
        stage = _COMMITTING
        journal[position:record_end] = record + _hash64(record, salt).to_bytes(8, "little")
        stage = _COMMITTED
        view[8] = index.number & 255 | 1  # as `Index.begin_update`: readers wait
        if index.is_loading:
            index.wait_for_loading()
        # As `_show_deleted`.
        view[at + slot] = 0
        view[at + 504 : at + 512] = _hash64(view[at : at + 504], at).to_bytes(8, "little")
        if old_blocks:
            handle.freed_blocks += old_blocks
            handle.freed.append((offset >> 9, old_blocks))
        directory_end = index.directory_bytes
        if line + line_bytes > directory_end + 1:
            line_bytes = directory_end + 1 - line
        if line == index.first_line:
            index.first_line += line_bytes
            index.store_round()
        index.sequence = sequence
        index.journal_bytes = record_end
        index.live_blocks = live_blocks = index.live_blocks - old_blocks
        index.key_count = key_count = index.key_count - 1
        index.dead_bytes = dead_bytes = index.dead_bytes + line_bytes
        index.changed_lines = changed_lines = index.changed_lines + 1
        # As `Index.end_update`, of which nothing else has changed.
        view[32:96] = _pack_state(
            sequence,
            record_end,
            directory_end,
            index.heap_blocks,
            live_blocks,
            key_count,
            dead_bytes,
            changed_lines,
        )
        index.number = number = index.number + 2 & 0xFFFFFFFFFFFFFFFF
        index.word = word = number.to_bytes(8, "little")
        view[8:16] = word
        view[16] = 0
        handle.depth = 0
        handle.is_busy = False
        return True
    except BaseException as problem:
        if _fail(handle, stage, position, problem):
            return True
        if isinstance(problem, CorruptIndexError) and stage == _BEFORE:
            return None  # the long way round makes a new one
        raise
    finally:
        handle.thread_lock.release()
