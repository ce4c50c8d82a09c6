"""Writing a database whole: directory, journal and index from a snapshot in memory.

One way for every occasion that is O(keys) anyway: recovery, adoption of a stdlib's directory, a lost or
disbelieved index, a directory with more dead bytes than live ones, clear(). The order is that of a
checkpoint: values, then a new directory under a temporary name, its rename, the folder, the journal, the index.
A crash between any two steps leaves a state that `recovery` reads as the same database.
"""

from __future__ import annotations

import errno
import os

from hutch import format as fmt
from hutch.directory import write_directory
from hutch.errors import HutchError, OutcomeUnknownError
from hutch.files import FileSystem, MappedFile
from hutch.header import Identity
from hutch.heap import Heap
from hutch.index import Index
from hutch.journal import Journal
from hutch.names import Names
from hutch.records import NamedTuple
from hutch.recovery import Snapshot
from hutch.table import create

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Place", "open_journal", "rebuild"]

_FLAGS = slice(fmt.PENDING_AT, fmt.SUPERSEDED_AT + 1)
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Place(NamedTuple):
    """Where a database lives."""

    file_system: FileSystem
    names: Names
    heap: Heap


def open_journal(place: Place, *, writable: bool, create: bool = False) -> Journal | None:
    """Open NAME.log; None if there is none."""
    file_system, names, heap = place
    try:
        file = file_system.open(names.journal, writable=writable)
    except FileNotFoundError:
        if not create:
            return None
        file = file_system.open(names.journal, writable=True, create=True, mode=0o600)
        file_system.take_attributes(file, heap.file.file.status())
    return Journal(MappedFile(file, hot=writable))


def rebuild(
    place: Place,
    snapshot: Snapshot,
    *,
    rewrite: bool,
    rewrite_values: bool = False,
    needs_index: bool = True,
    heap_floor: int = 0,
    heap_end: int = 0,
    is_pinned: Callable[[], bool] = bool,
) -> Exception | None:
    """Make the files agree with `snapshot`. Under the writer lock.

    Args:
        rewrite: write a new directory; otherwise the one on disk is the snapshot's, and only the index is new.
        rewrite_values: after a failed sync: write the large values of the last round again, too, for their
            pages may be marked clean without having reached the disk.
        needs_index: False: a disk with no room for an index, which is only a cache, is none to fail for.
        heap_floor: blocks below it are not given out again, whoever owns them.
        heap_end: the block behind all that anybody may be looking at.
        is_pinned: whether somebody may be looking at values that no entry owns any more.

    Returns:
        What kept the new index from being put in place: directory and heap are complete all the same.

    Raises:
        OSError: no space or the like; the files still say what they said.
    """
    file_system, names, heap = place
    new_directory = None
    if rewrite:
        if not snapshot.database_id:
            snapshot.database_id = file_system.random_id()
        _bring_values_in(place, snapshot, rewrite_values, heap_end if is_pinned() else 0)
        try:
            heap.file.file.sync()
        except OSError as problem:
            raise _failed_sync(place, names.heap, problem) from problem
        new_directory = _write_directory(place, snapshot)
    directory = file_system.status(new_directory or names.directory)
    journal = open_journal(place, writable=True)
    salt = file_system.random_id() if journal is not None and journal.file.file.size() else 0
    new_index = no_index = None
    try:
        cleared = _Clearing(place, snapshot) if rewrite and not snapshot.entries else None
        try:
            new_index = _write_index(place, snapshot, directory, salt, heap_floor)
        except OSError as problem:
            if needs_index or problem.errno != errno.ENOSPC:
                raise
            no_index = problem
        old_index = _open_index(place)
        if cleared is not None:
            cleared.say()
        flags = b"" if old_index is None else old_index.file.view[_FLAGS]
        try:
            # Before the rename: should it be the last that this process does, nobody goes on in the old directory.
            if old_index is not None:
                _supersede(old_index)
            if new_directory is not None:
                file_system.replace(new_directory, names.directory)
        except Exception:
            if file_system.status(names.directory).st_ino != directory.st_ino:  # it has not happened
                if cleared is not None:
                    cleared.unsay()
                if old_index is not None:
                    old_index.file.view[_FLAGS] = flags
                raise
    except BaseException:
        for temporary in (new_directory, new_index):
            if temporary is not None:
                _remove_quietly(file_system, temporary)
        raise
    # The new directory is in force. Also when this rebuild wrote none: a process that died may have renamed one and
    # not synced it, and a journal that starts from it must not be safer than the directory is.
    _sync_name(place)
    # Whatever fails from here on, no statement has failed: the next handle that attaches makes a new index.
    try:
        if journal is not None and salt:
            journal.start(snapshot.generation, snapshot.database_id, snapshot.sequence, snapshot.end, salt)
            journal.file.file.sync()
        if new_index is None:
            return no_index
        kept = is_pinned()
        if kept:
            _raise_heap_end(file_system, new_index, heap_end)
        file_system.replace(new_index, names.index)
        new_index = names.index  # from here on an error takes it away: the next handle makes another
        if not kept and is_pinned():
            # Until here what was in force before could be read: of that, no pin which comes later is.
            _raise_heap_end(file_system, names.index, heap_end)
    except Exception as problem:
        if new_index is not None:
            _remove_quietly(file_system, new_index)
        if isinstance(problem, HutchError):
            raise  # somebody else's file has the name: no later attempt would fare better
        return problem
    return None


def _raise_heap_end(file_system: FileSystem, path: str, heap_end: int) -> None:
    """The heap is pinned: an index that nobody writes to yet is to give out only what lies behind all values."""
    index = Index(MappedFile(file_system.open(path, writable=True), hot=True))
    index.load_identity()
    index.load()
    index.begin_update()
    index.heap_blocks = max(index.heap_blocks, heap_end)
    index.end_update()


class _Clearing:
    """An empty directory cannot say which journal it replaces: so the journal says that it ends in nothing."""

    def __init__(self, place: Place, snapshot: Snapshot) -> None:
        """Find the end of the journal, and give the commit that empties the database its number."""
        self.place = place
        journal = open_journal(place, writable=True)
        header = journal.load() if journal is not None else None
        self.journal = journal if header is not None else None
        if journal is None or header is None:
            return
        self.position, sequence = fmt.JOURNAL_HEADER_BYTES, header.base_sequence
        for record in journal.records(self.position, sequence):
            self.position, sequence = record.end, record.sequence
        self.sequence = sequence + 1
        snapshot.sequence = max(snapshot.sequence, self.sequence)
        journal.reserve(self.position + fmt.RECORD_FRAME_BYTES + fmt.OPERATION_BYTES)

    def say(self) -> None:
        """Commit it. Should the rename never come, the next writer finds `pending` and does it again."""
        if self.journal is not None:
            index = _open_index(self.place)
            if index is not None:
                index.set_flag(fmt.PENDING_AT, True)
            payload = fmt.OPERATION.pack(fmt.OP_CLEAR, 0, 0, 0, 0, 0, 0, 0, 0)
            try:
                self.journal.append(self.position, self.sequence, 1, payload)
                self.journal.file.file.sync()
            except OSError as problem:
                raise _failed_sync(self.place, self.place.names.journal, problem) from problem
            except BaseException:
                self.unsay()
                raise

    def unsay(self) -> None:
        """Cut it off again, durably."""
        if self.journal is not None:
            try:
                self.journal.cut(self.position)
            except OSError as problem:
                raise _failed_sync(self.place, self.place.names.journal, problem) from problem


def _sync_name(place: Place) -> None:
    file_system, names, _ = place
    try:
        try:
            file_system.sync_folder(names.directory)
        except MemoryError:
            file_system.sync_folder(names.directory)  # nothing has been tried yet
    except OSError as problem:
        raise _failed_sync(place, names.directory, problem) from problem


def _failed_sync(place: Place, path: str, problem: OSError) -> OutcomeUnknownError:
    """Let no handle write any more until a recovery; the error to raise."""
    index = _open_index(place)
    if index is not None:
        index.set_flag(fmt.SYNC_FAILED_AT, True)
        index.set_flag(fmt.PENDING_AT, True)  # so that every other handle looks
    return OutcomeUnknownError(
        f"a sync of {path!r} or of its folder failed ({problem}): whether what was written would survive a power cut "
        "is unknown. Check the disk, close every handle, and open the database again"
    )


def _remove_quietly(file_system: FileSystem, path: str) -> None:
    try:
        file_system.unlink(path)
    except OSError:
        pass  # a temporary that stays is ugly, nothing more


def _bring_values_in(place: Place, snapshot: Snapshot, rewrite_values: bool, first_free: int) -> None:
    """Write journaled values, give shared or unaligned extents blocks of their own, mark what is lost."""
    heap = place.heap
    heap.file.warm()
    heap_bytes = heap.file.file.size()
    end = max(
        (_end_block(entry) for entry in snapshot.entries.values() if not entry[0] & fmt.LOST),
        default=0,
    )
    heap_end = fmt.block_count(heap_bytes)
    adopted = [snapshot.entries[key] for key in snapshot.adopted]
    blocked = {
        block
        for _, offset, size, _ in adopted
        for block in range(offset >> fmt.BLOCK_SHIFT, min(fmt.block_count(offset + size), heap_end))
    }
    move_to = max(min(end, heap_end), first_free)
    for entry in snapshot.entries.values():
        if entry[1] in snapshot.inline:
            move_to = max(move_to, _end_block(entry))
    shared = _sharing(snapshot, heap_bytes)
    for key, (line, offset, size, checksum) in snapshot.entries.items():
        value: bytes | None = snapshot.inline.get(offset) if not line & fmt.UNVERIFIED else None
        if value is not None and len(value) == size:
            first = offset >> fmt.BLOCK_SHIFT
            if blocked and not blocked.isdisjoint(range(first, first + fmt.block_count(size))):
                offset, move_to = move_to << fmt.BLOCK_SHIFT, move_to + fmt.block_count(size)
        elif line & fmt.LOST:
            continue
        elif offset + size > heap_bytes and size:
            snapshot.entries[key] = (line & ~fmt.UNVERIFIED | fmt.LOST, *_bounded(offset, size), 0)
            continue
        elif key in shared:
            value = heap.read(offset, size)
            offset, move_to = move_to << fmt.BLOCK_SHIFT, move_to + fmt.block_count(size)
        elif rewrite_values:
            value = heap.read(offset, size)
        elif not size:
            offset = 0
        if value:
            heap.reserve(fmt.block_count(offset + len(value)))
            heap.file.file.write_at(offset, value)
        snapshot.entries[key] = (line, offset, size, checksum)


def _bounded(offset: int, size: int) -> tuple[int, int]:
    """An extent that a directory line can hold, for an entry whose value is lost anyway."""
    return min(offset, fmt.MAX_OFFSET), min(size, fmt.MAX_VALUE_BYTES)


def _end_block(entry: fmt.Entry) -> int:
    return fmt.block_count(entry[1] + entry[2]) if entry[2] else 0


def _sharing(snapshot: Snapshot, heap_bytes: int) -> set[bytes]:
    """Keys whose extents begin inside a block, or in one that another entry owns (an adopted directory only)."""
    if not snapshot.is_plain and not snapshot.adopted:
        return set()
    shared: set[bytes] = set()
    owned_to = 0
    extents = sorted(
        (offset, size, key)
        for key, (line, offset, size, _) in snapshot.entries.items()
        if size and offset + size <= heap_bytes and offset not in snapshot.inline
    )
    for offset, size, key in extents:
        if offset & fmt.BLOCK_MASK or offset >> fmt.BLOCK_SHIFT < owned_to:
            shared.add(key)
        owned_to = max(owned_to, fmt.block_count(offset + size))
    return shared


def _write_directory(place: Place, snapshot: Snapshot) -> str:
    """Write the next generation of the directory under a temporary name; point the entries into it."""
    file_system, names, _ = place
    snapshot.generation = snapshot.generation % fmt.MAX_GENERATION + 1
    header = fmt.pack_header_comment(snapshot.database_id, snapshot.generation, snapshot.sequence)
    temporary = names.temporary(names.directory)
    entries = list(snapshot.entries.items())
    starts = write_directory(file_system, temporary, names.heap, header, entries)
    snapshot.end = snapshot.header_offset = snapshot.dead_bytes = 0
    flags = fmt.UNVERIFIED | fmt.LOST
    for (key, entry), start in zip(entries, starts, strict=True):
        snapshot.entries[key] = (start | entry[0] & flags, *entry[1:])
    if entries:
        snapshot.header_offset = len(fmt.key_literal(entries[0][0])) + fmt.FIELDS_BYTES
        last_bytes = len(fmt.key_literal(entries[-1][0])) + fmt.FIELDS_BYTES
        snapshot.end = starts[-1] + last_bytes + (fmt.HEADER_COMMENT_BYTES if len(entries) == 1 else 0)
    return temporary


def _write_index(place: Place, snapshot: Snapshot, directory: os.stat_result, salt: int, heap_floor: int) -> str:
    """Write an index under a temporary name."""
    file_system, names, heap = place
    temporary = names.temporary(names.index)
    raw = file_system.open(temporary, writable=True, new=True, mode=0o600)
    try:
        file_system.take_attributes(raw, heap.file.file.status())
        status = raw.status()
        identity = Identity(
            fmt.INDEX_VERSION,
            snapshot.generation,
            snapshot.database_id,
            status.st_dev,
            status.st_ino,
            directory.st_ino,
            file_system.boot_id(),
        )
        seed = snapshot.database_id
        hashed = ((fmt.hash_key(key, seed), entry) for key, entry in snapshot.entries.items())
        index = create(MappedFile(raw, hot=True), identity, hashed)
        live = [entry for entry in snapshot.entries.values() if not entry[0] & fmt.LOST]
        index.sequence = index.base_sequence = snapshot.sequence
        index.journal_bytes = fmt.JOURNAL_HEADER_BYTES
        index.directory_bytes = snapshot.end
        index.heap_floor = heap_floor
        index.heap_blocks = max(map(_end_block, live), default=0)
        index.heap_blocks = max(index.heap_blocks, heap_floor)
        index.live_blocks = sum(fmt.block_count(entry[2]) for entry in live)
        index.dead_bytes = snapshot.dead_bytes
        index.header_offset = snapshot.header_offset
        index.salt = salt
        index.directory_file_bytes = directory.st_size
        index.store_round()
        index.end_update()
    except BaseException:
        raw.close()
        _remove_quietly(file_system, temporary)
        raise
    raw.close()
    return temporary


def _supersede(index: Index) -> None:
    """Tell the handles that have this index mapped that it no longer counts, and make them look."""
    index.set_flag(fmt.SUPERSEDED_AT, True)
    index.set_flag(fmt.PENDING_AT, True)
    view = index.file.view
    word = int.from_bytes(view[fmt.WORD_START : fmt.WORD_END], "little")
    view[fmt.WORD_START : fmt.WORD_END] = fmt.WORD.pack((word + 2) & 0xFFFF_FFFF_FFFF_FFFE)


def _open_index(place: Place) -> Index | None:
    """The index that is in force; None if there is none, or a stranger's file, which is not ours to write to.

    Raises:
        OSError: it could not be opened for want of resources, so others might go on believing it.
    """
    try:
        index = Index(MappedFile(place.file_system.open(place.names.index, writable=True), hot=True))
        index.load_identity()
    except OSError as problem:
        if problem.errno in _NO_RESOURCES:
            raise
        return None
    except ValueError:
        return None
    return index
