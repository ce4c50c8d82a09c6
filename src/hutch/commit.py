"""The order of writes of a commit.

1. the writer lock is held, the handle has caught up (`Handle.enter`);
2. reserve: index buckets, heap blocks, directory padding, journal: what can fail for want of space fails here;
3. values to free extents of the heap (large ones already while the statement is being prepared);
4. `pending` = 1; lines for new keys into the directory's padding;
5. the journal record: THE COMMIT POINT (with durability "commit": heap if values wait there alone, then the journal);
6. the index, under its version word; `pending` = 0.

Lines go before the commit point, unlike values' numbers in old lines, which only a checkpoint touches: so a
full disk is found out while the statement can still fail, and what a crash leaves behind the directory's known
end is cut off. Past the commit point nothing raises but an interrupt, what a signal handler raises, or a failed sync;
`pending`, or an odd version word, tells the next holder of the lock to finish.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hutch import format as fmt
from hutch.errors import CorruptDirectoryError, CorruptIndexError, is_own
from hutch.format import hash64
from hutch.handle import Handle
from hutch.heap import LARGE_BYTES
from hutch.index import Index, Position
from hutch.journal import Journal
from hutch.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.directory import DirectoryFile

__all__ = [
    "Change",
    "Plan",
    "append",
    "carry_out",
    "commit",
    "cut_off",
    "directory_line_bytes",
    "find",
    "make_durable",
    "make_room",
    "publish_round",
]

_INSERT, _REPLACE, _DELETE = fmt.OP_INSERT, fmt.OP_REPLACE, fmt.OP_DELETE

# A key, its new value, and whether the key is to move to the end if it exists. The value is bytes, a memoryview
# of bytes, if it is large also Pieces, or None: delete the key.
# Kind, hash of the key, where it is in the index, its new entry, and the blocks that it gives up.
_Step = tuple[int, int, "Position | None", fmt.Entry, int, int]
Change = tuple[bytes, "Any", bool]


class Plan(NamedTuple):
    """A commit of which nothing has happened yet."""

    payload: list[bytes | memoryview]  # of the journal's record
    operation_count: int
    values: list[tuple[int, bytes | memoryview]]  # by their offsets in the heap
    lines: list[bytes]
    directory_end: int  # behind the lines
    header_offset: int  # if one of them is the first of all
    heap_blocks: int  # the end of the heap with the values
    values_apart: bool  # some are not in the record
    show: Callable[[], None]  # step 6: bring the index up to date


def find(
    index: Index, directory: DirectoryFile, key: bytes, key_hash: int, literal: bytes
) -> tuple[Position, fmt.Entry] | None:
    """Where the index has the key, by comparing the directory lines of the candidates."""
    for position, entry in index.candidates(key_hash):
        line = entry[0] & fmt.OFFSET_MASK
        if directory.has_literal(line, literal):
            return position, entry
        try:
            if directory.key_at(line) == key:
                return position, entry
        except CorruptDirectoryError as problem:  # no line begins there: it is the index that is wrong
            raise CorruptIndexError(str(problem), offset=position[0]) from problem
    return None


def commit(
    handle: Handle, changes: Iterable[Change], count: int, *, durable: bool, places: dict[bytes, int] | None = None
) -> None:
    """Make `count` changes to distinct keys, all or nothing. O(changes). Inside `Handle.enter`.

    Args:
        places: first free block for the value of a key, where the caller has chosen it.

    Raises:
        OSError: no space or the like, before the commit point; nothing has changed.
        OutcomeUnknownError: the sync after the commit point failed.
    """
    index, heap, directory = handle.index, handle.heap, handle.directory
    assert index is not None
    seed = handle.seed
    index.reserve(count)

    steps: list[_Step] = []
    payload: list[bytes | memoryview] = []
    values: list[tuple[int, bytes | memoryview]] = []
    lines: list[bytes] = []
    taken: list[tuple[int, int]] = []
    end = line_at = index.directory_bytes
    if line_at:
        line_at += 1
    heap_blocks = index.heap_blocks
    free = heap.free
    values_apart = False
    header = b""
    header_offset = 0
    try:
        for key, value, moves in changes:
            key_hash = fmt.hash_key(key, seed)
            literal = b"'%b'" % key if key.isalnum() else fmt.key_literal(key)
            index.check_bucket(key_hash)  # what is written gets a new seal: never one over damage
            found = None if index.locate(key_hash) is None else find(index, directory, key, key_hash, literal)
            if found is None:
                if value is None:
                    continue
                position, old_blocks, old_offset = None, 0, 0
                line = line_at
            else:
                position, old = found
                old_blocks = 0 if old[0] & fmt.LOST else (old[2] + 511) >> 9
                old_offset = old[1]
                line = old[0] & fmt.OFFSET_MASK
                if value is None or moves:
                    steps.append((_DELETE, key_hash, position, old, old_blocks, old_offset))
                    payload += (fmt.OPERATION.pack(_DELETE, 0, 0, len(key), line, 0, 0, 0, 0), key)
                    if value is None:
                        continue
                    position, old_blocks, old_offset = None, 0, 0
                    line = line_at
            size = len(value)
            blocks = (size + 511) >> 9
            if not blocks:
                start = 0
            elif places and key in places:
                start = places[key]
            elif free is None or (reused := free.take(blocks)) is None:
                start = heap_blocks
                heap_blocks += blocks
            else:
                start = reused
                taken.append((start, blocks))
            offset = start << 9
            if size > LARGE_BYTES:
                heap.reserve(max(heap_blocks, start + blocks))
                checksum = heap.write_large(offset, value, key_hash)
            else:
                checksum = hash64(value, key_hash) & fmt.CHECKSUM_MASK
            entry = indexed = (line, offset, size, checksum)
            length = len(key)
            # The key goes behind the value if it fits into the rest of the last block, with its length in a byte.
            if blocks and size <= fmt.INLINE_LIMIT_BYTES and length < min(-size & fmt.BLOCK_MASK, 256):
                values.append((offset, b"".join((value, fmt.KEY_LENGTHS[length], key))))
                indexed = (line | fmt.KEYED, offset, size, checksum)
            elif blocks and size <= LARGE_BYTES:
                values.append((offset, value))
            if position is None:
                if not line:
                    header = fmt.pack_header_comment(seed, directory.generation, index.base_sequence)
                    header_offset = len(literal) + fmt.FIELDS_BYTES
                text = fmt.format_line(literal, entry, b"" if line else header)
                lines.append(text)
                line_at += len(text) + 1
                kind = _INSERT
            else:
                kind = _REPLACE
            steps.append((kind, key_hash, position, indexed, old_blocks, old_offset))
            if durable and size <= fmt.INLINE_LIMIT_BYTES:
                payload += (fmt.OPERATION.pack(kind, 1, 0, length, line, offset, size, checksum, 0), key, value)
            else:
                values_apart = True
                payload += (fmt.OPERATION.pack(kind, 0, 0, length, line, offset, size, checksum, 0), key)
        if not steps:
            return
        plan = Plan(
            payload,
            len(steps),
            values,
            lines,
            line_at - 1 if lines else end,
            header_offset,
            heap_blocks,
            values_apart,
            lambda: _show_index(handle, index, steps),
        )
        make_room(handle, plan)
    except BaseException:
        if free is not None:
            for start, blocks in taken:
                free.add(start, blocks)
        raise
    carry_out(handle, plan, durable=durable)


def make_room(handle: Handle, plan: Plan) -> None:
    """Steps 2 and 3: what a commit needs of heap, journal and directory, and its values.

    Raises:
        OSError: no space or the like; nothing has changed.
    """
    index, heap, directory, journal = handle.index, handle.heap, handle.directory, handle.journal
    assert index is not None and journal is not None
    record_bytes = fmt.RECORD_FRAME_BYTES + sum(map(len, plan.payload))
    journal.reserve(index.journal_bytes + record_bytes)
    if plan.values:
        heap.reserve(plan.heap_blocks)
        heap.write(plan.values)
    if plan.lines and index.directory_bytes and directory.reserve(plan.directory_end + 1):
        index.directory_file_bytes = len(directory.file.view)
        publish_round(index)


def carry_out(handle: Handle, plan: Plan, *, durable: bool) -> None:
    """Steps 4 to 6.

    Raises:
        OSError: the commit failed, and is cut off.
        OutcomeUnknownError: the sync after the commit point failed.
    """
    index, directory, journal = handle.index, handle.directory, handle.journal
    assert index is not None and journal is not None
    end = index.directory_bytes
    index.set_flag(fmt.PENDING_AT, True)
    if plan.lines and end:
        directory.write_lines(end, b"\n".join(plan.lines))
    elif plan.lines:
        _write_first(handle, b"\n".join(plan.lines))
        index.directory_file_bytes = len(directory.file.view)
        index.header_offset = directory.header_offset = plan.header_offset
        publish_round(index)
    if plan.values_apart:
        index.set_flag(fmt.HEAP_DIRTY_AT, True)
    sequence = index.sequence + 1
    journal_bytes = append(handle, journal, index.journal_bytes, sequence, plan.operation_count, b"".join(plan.payload))
    if durable:
        make_durable(handle, index)

    try:
        index.begin_update()
        plan.show()
        index.sequence = sequence
        index.journal_bytes = journal_bytes
        index.directory_bytes = plan.directory_end
        index.heap_blocks = plan.heap_blocks
        index.end_update()
        index.set_flag(fmt.PENDING_AT, False)
    except Exception as problem:
        if not is_own(problem):
            raise
        handle.is_unsettled = True  # committed all the same


def _write_first(handle: Handle, text: bytes) -> None:
    try:
        handle.directory.write_first(text)
    except OSError:
        # An empty directory is not synced again. After a power cut there could be a part of what did not fit.
        try:
            handle.directory.file.file.sync()
        except OSError as problem:
            handle.fail(problem)
        raise


def append(handle: Handle, journal: Journal, position: int, sequence: int, count: int, payload: bytes) -> int:
    """THE COMMIT POINT. What fails here is cut off durably before its blocks are used again."""
    try:
        return journal.append(position, sequence, count, payload)
    except Exception:
        cut_off(handle, journal, position)
        raise


def cut_off(handle: Handle, journal: Journal, position: int) -> None:
    """Make sure that a record which failed half-way never counts."""
    try:
        journal.cut(position)
    except OSError as problem:
        handle.fail(problem)


def _show_index(handle: Handle, index: Index, steps: list[_Step]) -> None:
    """Step 6: nothing here needs space, so nothing here fails."""
    in_place = len(steps) == 1
    if not in_place:
        index.spread(len(steps))
    for kind, key_hash, position, entry, old_blocks, old_offset in steps:
        if kind == _INSERT:
            index.insert(key_hash, entry)
            index.live_blocks += (entry[2] + 511) >> 9
            continue
        if not in_place:  # an insertion may have moved it
            position = _locate(index, key_hash, entry[0])
        assert position is not None
        if kind == _DELETE:
            _show_deleted(handle, index, position, entry[0] & fmt.OFFSET_MASK, old_offset, old_blocks)
            continue
        index.live_blocks += ((entry[2] + 511) >> 9) - old_blocks
        index.changed_lines += 1
        if old_blocks:
            handle.freed_blocks += old_blocks
            handle.freed.append((old_offset >> 9, old_blocks))
        index.replace(position, key_hash, entry)


def _show_deleted(
    handle: Handle, index: Index, position: Position, line: int, old_offset: int, old_blocks: int
) -> None:
    """Take an entry out of the index, and count what it leaves behind."""
    index.remove(position)
    index.live_blocks -= old_blocks
    index.changed_lines += 1
    if old_blocks:
        handle.freed_blocks += old_blocks
        handle.freed.append((old_offset >> 9, old_blocks))
    # The last line goes on into the padding: that is not dead.
    line_bytes = min(directory_line_bytes(handle.directory, line), index.directory_bytes + 1 - line)
    index.dead_bytes += line_bytes
    if line == index.first_line:
        index.first_line += line_bytes  # whoever takes from the front need not step over the dead
        index.store_round()


def publish_round(index: Index) -> None:
    """Let the other handles see the state that a checkpoint, or a longer directory, has changed."""
    index.begin_update()
    index.store_round()
    index.end_update()


def _locate(index: Index, key_hash: int, line: int) -> Position:
    for position, entry in index.candidates(key_hash):
        if not (entry[0] ^ line) & fmt.OFFSET_MASK:
            return position
    raise AssertionError("an entry that was found under the lock has vanished")


def directory_line_bytes(directory: DirectoryFile, line: int) -> int:
    """Bytes of a line with its newline: what is dead when its key goes."""
    size = 256
    while True:
        span = directory.read_span(line, line + size)
        newline = span.find(b"\n")
        if newline >= 0:
            return newline + 1
        if len(span) < size:
            return len(span)
        size *= 4


def make_durable(handle: Handle, index: Index) -> None:
    """Sync what has been committed, by whichever process: heap first if values wait there, then the journal.

    Raises:
        OutcomeUnknownError: a sync failed. It is never tried again: its pages may count as clean now.
    """
    assert handle.journal is not None
    try:
        if index.flag(fmt.HEAP_DIRTY_AT):
            handle.heap.file.file.sync()
            index.set_flag(fmt.HEAP_DIRTY_AT, False)
        if not index.flag(fmt.FOLDER_SYNCED_AT):
            handle.file_system.sync_folder(handle.names.heap)
            index.set_flag(fmt.FOLDER_SYNCED_AT, True)
        handle.journal.file.file.sync()
    except OSError as problem:
        handle.fail(problem)
