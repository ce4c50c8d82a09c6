"""Commits of one key by the owner of a database, unrolled: the steps of `commit`, in its order, and nothing else.

A put costs as much as the calls that it makes; what is a loop over steps in `commit` is straight-line code here, and
state that is at hand is not asked for again. Whatever is unusual goes the long way round: a value too large for the
journal, the first line, no room left in one of the files, equal hashes.
"""

from __future__ import annotations

from struct import Struct

from hutch import format as fmt
from hutch.commit import cut_off, directory_line_bytes, find
from hutch.errors import CorruptIndexError, is_own
from hutch.handle import Handle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hutch.shared import AtHand

__all__ = ["delete_as_owner", "put_as_owner"]

_hash_key = fmt.hash64
_hash64 = fmt.hash64
_key_literal = fmt.key_literal
_pack_slot = fmt.SLOT.pack
_pack_tail = fmt.LINE_RECORD_TAIL.pack
_pack_counts = Struct("<6Q").pack  # the first of `fmt.STATE`: what an insertion changes
_pack_state = fmt.STATE.pack
_NO_ENTRY = bytes(32)
_unpack_place = Struct("<8xQQQ").unpack_from  # of `fmt.SLOT`: line, offset, size
_KEYED, _LOST = fmt.KEYED, fmt.LOST
_KEY_LENGTHS = fmt.KEY_LENGTHS
_OFFSET_MASK = fmt.OFFSET_MASK
_COMMON_KEY_BYTES = 1024
_BEFORE, _COMMITTING, _COMMITTED, _ELSEWHERE = range(4)
# What stands as a number below.
assert (fmt.INDEX_HEADER_BYTES, fmt.BUCKET_BYTES, fmt.BUCKET_SLOTS, fmt.OVERFLOW_SHIFT) == (4096, 512, 15, 3)
assert (fmt.SLOTS_AT, fmt.SLOT_BYTES, fmt.LINK_AT, fmt.LINK.size, fmt.SEAL_AT) == (16, 32, 496, 4, 504)
assert (fmt.WORD_START, fmt.PENDING_AT, fmt.GATE_END, fmt.BUCKET_LOAD, fmt.INLINE_LIMIT_BYTES) == (8, 16, 20, 6, 4096)
assert (fmt.STATE_AT, fmt.STATE.size, fmt.CHECKSUM_MASK, fmt.HASH_LOW_MASK) == (32, 64, 0xFFFFFFFF, 0xFFFFFFFF)
assert (fmt.OPERATION_BYTES, fmt.RECORD_FRAME_BYTES, len(r"\xff")) == (40, 32, 4)
assert fmt.MAX_LINE_RECORD_KEY_BYTES == 255 < len(fmt.KEY_LENGTHS)


class _Records(dict[int, "tuple[Callable[..., bytes], bytes, bytes]"]):
    """What makes the record of one operation, for each length of a key: keys are often of a few lengths.

    That is, a packer of everything but the checksum, and what it is to be given around the number of the record.
    """

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __missing__(self, length: int) -> tuple[Callable[..., bytes], bytes, bytes]:
        packed = fmt.SINGLE_RECORD.pack(fmt.RECORD_MAGIC, 1, 40 + length, 0, self.kind, 0, 0, length, *bytes(5))
        made = Struct(f"<16sQ8sQQQQ{length}s").pack, packed[:16], packed[24:32]
        if length <= _COMMON_KEY_BYTES:
            self[length] = made
        return made


_INSERTIONS, _REPLACEMENTS, _DELETIONS = map(_Records, (fmt.OP_INSERT, fmt.OP_REPLACE, fmt.OP_DELETE))


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
            words,
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
        number = index.number  # first: who writes from here on, a signal handler for one, moves it
        size = len(value)
        length = len(key)
        end = index.directory_bytes
        position = index.journal_bytes
        heap_blocks = index.heap_blocks
        offset = heap_blocks << 9
        most = 4 * length  # of the key's literal, without its quotes
        # Values of 1 to 4096 bytes.
        if position + most > journal_limit or offset + size > heap_limit or size - 1 >> 12:
            return False
        handle.is_busy = True
        handle.depth = 1
        view[16] = 1  # pending
        if words[2] != gate or words[1] != number:
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
        tags = view[at : at + 16]
        tag = key_hash >> 56 or 255
        if tag in tags or words[at + 496 >> 3]:  # or the bucket has another page
            found = index.locate(key_hash)
            if found is not None:
                stage = _ELSEWHERE
                return _replace(handle, at_hand, key, value, key_hash, found)
        slot = tags.find(0)
        # Whether it has a place, and the table need not grow.
        stays = slot < 15 and index.key_count < index.most_keys
        if end + most > directory_limit or not (stays or index.bucket_count < index.room_for_buckets):
            view[16] = 0
            handle.depth = 0
            handle.is_busy = False
            return False
        blocks = (size + 511) >> 9
        if free is None or (reused := free.take(blocks)) is None:
            heap_blocks += blocks
        else:
            offset = reused << 9
        checksum = _hash64(value, key_hash) & 0xFFFFFFFF
        if key.isalnum():
            text = b"\n'%b', (%15d, %13d)  # %08x" % (key, offset, size, checksum)
        else:
            text = b"\n%b, (%15d, %13d)  # %08x" % (_key_literal(key), offset, size, checksum)
        line = end + 1
        directory_end = end + len(text)
        directory[end:directory_end] = text
        # The value does not travel along, as in a durable commit: it need not be safe before the next sync.
        if length < 256:
            if length < -size & 511:
                heap[offset : offset + size + 1 + length] = b"".join((value, _KEY_LENGTHS[length], key))
                flagged = line | _KEYED
            else:
                heap[offset : offset + size] = value
                flagged = line
            record = text + _pack_tail(line, _hash64(text, salt ^ line))
        else:
            heap[offset : offset + size] = value
            flagged = line
            pack, head, kind = _INSERTIONS[length]
            record = pack(head, index.sequence + 1, kind, line, offset, size, checksum, key)
            record += _hash64(record, salt).to_bytes(8, "little")
        record_end = position + len(record)
        stage = _COMMITTING
        journal[position:record_end] = record
        stage = _COMMITTED
        words[1] = number | 1  # as `Index.begin_update`: readers wait
        if index.is_loading:
            index.wait_for_loading()
        index.sequence = sequence = index.sequence + 1
        index.journal_bytes = record_end
        index.directory_bytes = directory_end
        index.heap_blocks = heap_blocks
        index.live_blocks = live_blocks = index.live_blocks + blocks
        if slot < 15:
            start = at + 16 + slot * 32
            view[start : start + 32] = _pack_slot(key_hash & 0xFFFFFFFF, checksum, flagged, offset, size)
            view[at + slot] = tag
            seal = at + 504
            words[seal >> 3] = _hash64(view[at:seal], at)
            index.key_count = key_count = index.key_count + 1
            if stays:
                # As `Index.end_update`, of which nothing else has changed.
                view[32:80] = _pack_counts(sequence, record_end, directory_end, heap_blocks, live_blocks, key_count)
                index.number = number = number + 2 & 0xFFFFFFFFFFFFFFFF
                words[1] = number
            else:
                index.split()
                index.end_update()
        else:
            index.insert(key_hash, (flagged, offset, size, checksum))
            index.end_update()
        view[16] = 0
        handle.depth = 0
        handle.is_busy = False
        return True
    except BaseException as problem:
        if stage == _ELSEWHERE:
            raise
        if _fail(handle, stage, position, problem):
            return True
        if isinstance(problem, CorruptIndexError) and stage == _BEFORE:
            return False  # the long way round makes a new one
        raise
    finally:
        handle.thread_lock.release()


def _replace(
    handle: Handle, at_hand: AtHand, key: bytes, value: bytes, key_hash: int, found: tuple[int, int, int, int, int, int]
) -> bool:
    """The rest of `put_as_owner`, inside of it, where the hash of the key has been found."""
    stage, position = _BEFORE, 0
    try:
        index, view, words, _, directory, heap, journal, _, _, _, _, salt, _, free = at_hand
        size = len(value)
        length = len(key)
        place, slot, line, old_offset, old_size, _ = found
        old_end = old_offset + old_size
        is_keyed = line & _KEYED and length < 256
        if not is_keyed or heap[old_end : old_end + 1 + length] != _KEY_LENGTHS[length] + key:
            literal = _key_literal(key)
            start = line & _OFFSET_MASK
            if line & _LOST or directory[start : start + len(literal)] != literal:  # equal hashes
                view[16] = 0
                handle.depth = 0
                handle.is_busy = False
                return False
        line &= _OFFSET_MASK
        old_blocks = (old_size + 511) >> 9
        blocks = (size + 511) >> 9
        heap_blocks = index.heap_blocks
        if free is None or (reused := free.take(blocks)) is None:
            offset = heap_blocks << 9
            heap_blocks += blocks
        else:
            offset = reused << 9
        if length < 256 and length < -size & 511:
            heap[offset : offset + size + 1 + length] = b"".join((value, _KEY_LENGTHS[length], key))
            flagged = line | _KEYED
        else:
            heap[offset : offset + size] = value
            flagged = line
        checksum = _hash64(value, key_hash) & 0xFFFFFFFF
        sequence = index.sequence + 1
        position = index.journal_bytes
        pack, head, kind = _REPLACEMENTS[length]
        record = pack(head, sequence, kind, line, offset, size, checksum, key)
        record_end = position + len(record) + 8
        stage = _COMMITTING
        journal[position:record_end] = record + _hash64(record, salt).to_bytes(8, "little")
        stage = _COMMITTED
        words[1] = index.number | 1
        if index.is_loading:
            index.wait_for_loading()
        index.sequence = sequence
        index.journal_bytes = record_end
        index.heap_blocks = heap_blocks
        index.live_blocks += blocks - old_blocks
        index.changed_lines += 1
        index.replace((place, slot), key_hash, (flagged, offset, size, checksum))
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
            return False
        raise


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
        index, view, words, checked, directory, heap, journal, _, _, journal_limit, seed, salt, gate, _ = at_hand
        number = index.number  # first: see `put_as_owner`
        length = len(key)
        position = index.journal_bytes
        if position + 4 * length > journal_limit:
            return None
        record_end = position + 72 + length
        handle.is_busy = True
        handle.depth = 1
        view[16] = 1  # pending
        if words[2] != gate or words[1] != number:
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
        pack, head, kind = _DELETIONS[length]
        record = pack(head, sequence, kind, line, 0, 0, 0, key)
        stage = _COMMITTING
        journal[position:record_end] = record + _hash64(record, salt).to_bytes(8, "little")
        stage = _COMMITTED
        words[1] = number | 1  # as `Index.begin_update`: readers wait
        if index.is_loading:
            index.wait_for_loading()
        # As `_show_deleted`.
        view[at + slot] = 0
        start = at + 16 + 32 * slot
        view[start : start + 32] = _NO_ENTRY
        words[at + 504 >> 3] = _hash64(view[at : at + 504], at)
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
        index.number = number = number + 2 & 0xFFFFFFFFFFFFFFFF
        words[1] = number
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
