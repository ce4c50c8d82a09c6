"""The order of writes of a checkpoint.

1. sync heap and journal;
2. then, and only then, patch the directory in place: numbers, checksums, deletions, the header's sequence.
   The page cache may write patches back in any order, so none may exist before what it stands for is safe;
3. sync the directory;
4. begin a new round of the journal (or, for the last handle, empty it), sync it;
5. tell the index; for the last handle: sync it and mark it clean.

A directory whose first line died, or that is mostly dead bytes, is rewritten whole instead (`rebuild`).
"""

from __future__ import annotations

from hutch import format as fmt
from hutch.commit import publish_round
from hutch.handle import Handle
from hutch.index import Index
from hutch.journal import Journal, operations
from hutch.recovery import load_snapshot

__all__ = ["checkpoint", "close_tidily", "rewrite"]

_MIN_DEAD_BYTES = 4096


def checkpoint(handle: Handle, *, last: bool = False) -> None:
    """Bring directory and heap up to date, on the disk. Inside `Handle.enter`. O(changes since the last one).

    Args:
        last: nobody else has the database open: cut padding off, empty the journal, mark the index clean.

    Raises:
        OutcomeUnknownError: a sync failed.
        OSError: no space for a rewritten directory; nothing is lost.
    """
    index = handle.index
    assert index is not None and handle.journal is not None
    if last:
        _trim_heap(handle, index)  # first: on a full disk this is the room for what follows
    if index.sequence != index.base_sequence:
        _sync_data(handle, index)
        # The first line carries the header: when its key goes, the directory is written anew.
        dies = index.first_line > 0 or _is_mostly_dead(index)
        patches = _collect_patches(handle.journal, index) if index.changed_lines and not dies else {}
        if dies or patches.get(0, (0, index))[1] is None:
            rewrite(handle, needs_index=not last)
            if handle.index is None:
                return
            index = handle.index
        else:
            _patch(handle, index, patches, last)
            _begin_round(handle, index, last)
        handle.find_free_space(index)
    if last:
        _finish(handle, index)


def _sync_data(handle: Handle, index: Index) -> None:
    assert handle.journal is not None
    try:
        handle.heap.file.file.sync()
        handle.journal.file.file.sync()
    except OSError as problem:
        handle.fail(problem)
    handle.heap.file.fill_less()
    index.set_flag(fmt.HEAP_DIRTY_AT, False)


def _is_mostly_dead(index: Index) -> bool:
    return index.dead_bytes >= _MIN_DEAD_BYTES and 2 * index.dead_bytes > index.directory_bytes


def _collect_patches(journal: Journal, index: Index) -> dict[int, tuple[int, fmt.Entry | None]]:
    """Old lines that have changed: offset to (bytes of the key literal, entry, or None for a dead line)."""
    patches: dict[int, tuple[int, fmt.Entry | None]] = {}
    for record in journal.records(fmt.JOURNAL_HEADER_BYTES, index.base_sequence, insertions=False):
        for kind, key, entry, _ in operations(record.payload):
            if kind == fmt.OP_REPLACE:
                patches[entry[0] & fmt.OFFSET_MASK] = len(fmt.key_literal(key)), entry
            elif kind == fmt.OP_DELETE:
                patches[entry[0] & fmt.OFFSET_MASK] = 0, None
    return patches


def _patch(handle: Handle, index: Index, patches: dict[int, tuple[int, fmt.Entry | None]], last: bool) -> None:
    directory = handle.directory
    for line, (literal_bytes, entry) in sorted(patches.items()):
        if entry is None:
            directory.kill(line)
        else:
            directory.patch_fields(line, literal_bytes, entry)
    if index.directory_bytes:
        directory.patch_header(index.sequence)
    if last:
        directory.trim(index.directory_bytes)
    try:
        directory.file.file.sync()
    except OSError as problem:
        handle.fail(problem)


def _begin_round(handle: Handle, index: Index, last: bool) -> None:
    """Only once the journal's new header is on the disk may a record overwrite an old one."""
    assert handle.journal is not None
    index.checkpoints += 1
    if last:
        return  # _finish empties it
    try:
        handle.start_round(index)
        handle.journal.file.file.sync()
    except OSError as problem:
        handle.fail(problem)


def rewrite(handle: Handle, *, heap_floor: int | None = None, needs_index: bool = True) -> None:
    """Write the directory anew, without its dead lines. O(keys)."""
    old = handle.index
    assert old is not None
    raw = handle.directory.file.file
    snapshot = load_snapshot(raw.read_at(0, raw.size()), raw.path, handle.journal, None)
    snapshot.inline.clear()  # the heap has them
    floor = old.heap_floor if heap_floor is None else heap_floor
    checkpoints = old.checkpoints + 1
    handle.rebuild(snapshot, rewrite=True, heap_floor=floor, needs_index=needs_index)
    handle.attach()
    index = handle.index
    if index is None:
        return  # no space for an index: the directory is complete, and is read from memory
    handle.prepare_to_write(index)
    index.checkpoints = checkpoints
    publish_round(index)


def close_tidily(handle: Handle) -> None:
    """Checkpoint; the last handle leaves everything tidy."""
    index = handle.index
    assert index is not None
    if not handle.is_ready_to_write and index.is_current() and index.flag(fmt.CLEAN_AT):
        return
    wrote = handle.is_ready_to_write
    if not wrote and not handle.exclusive and not handle.locks.presence.try_lock():
        return  # others are there: the last one tidies up
    if not wrote and not handle.file_system.exists(handle.names.directory):
        return  # somebody has removed the database, and nothing of ours is lost with it
    handle.enter()
    try:
        is_last = handle.exclusive or handle.locks.presence.try_lock()
        if is_last or wrote:
            checkpoint(handle, last=is_last)
    finally:
        handle.leave()


def _trim_heap(handle: Handle, index: Index) -> None:
    """Cut off what no value reaches. Only the last handle may: others would have mapped it."""
    heap = handle.heap.file
    end = index.heap_blocks * fmt.BLOCK_BYTES
    if heap.file.size() > end and not index.heap_floor:
        heap.view = b""  # type: ignore[assignment]
        heap.file.truncate(end)
        heap.refresh()


def _finish(handle: Handle, index: Index) -> None:
    """The last handle leaves directory and heap as the whole database, and a clean index."""
    journal = handle.journal
    assert journal is not None
    directory, heap = handle.directory, handle.heap
    try:
        if len(directory.file.view) > index.directory_bytes + 1:
            directory.trim(index.directory_bytes)
            directory.file.file.sync()
        journal.empty()
        journal.file.file.sync()
        if heap.free is not None:
            extents = heap.free.extents()
            if extents and sum(extents[-1]) == index.heap_blocks:
                index.heap_blocks = extents[-1][0]
        _trim_heap(handle, index)
        status = directory.file.file.status()
        index.directory_file_bytes = status.st_size
        index.directory_mtime_ns = status.st_mtime_ns
        index.base_sequence = index.sequence
        index.journal_bytes = fmt.JOURNAL_HEADER_BYTES
        index.changed_lines = 0
        index.salt = 0
        publish_round(index)
        index.file.file.sync()
        index.mark_clean()
    except OSError as problem:
        handle.fail(problem)
