"""What is done to a database as a whole: close, clear, check, statistics, merging a journal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hutch import format as fmt
from hutch.checkpoint import checkpoint, rewrite
from hutch.commit import Change
from hutch.copying import backup
from hutch.errors import CorruptEntryError, CorruptIndexError, CorruptJournalError
from hutch.files import MappedFile
from hutch.journal import Journal, operations
from hutch.packing import reorganize
from hutch.rebuild import rebuild
from hutch.recovery import Snapshot
from hutch.scan import collect

if TYPE_CHECKING:
    from hutch.store import Store

__all__ = [
    "CheckReport",
    "Problem",
    "Statistics",
    "backup",
    "check",
    "clear",
    "close",
    "merge_journal",
    "reorganize",
    "statistics",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that `check` found.

    Attributes:
        key: the entry, or None where the damage is not one entry's.
        file: path of the file.
        offset: byte offset in it, or None.
        message: what is wrong.
        fixed: whether it has been mended (a damaged entry: removed).
    """

    key: bytes | None
    file: str
    offset: int | None
    message: str
    fixed: bool


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found: `problems`, and how many entries it looked at."""

    problems: tuple[Problem, ...]
    entry_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (or nothing any more)."""
        return all(problem.fixed for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts and sizes of a database at one moment.

    Attributes:
        key_count: keys.
        live_bytes: bytes of the blocks that values own.
        free_bytes: bytes of blocks below the heap's end that no value owns.
        heap_bytes, directory_bytes, journal_bytes, index_bytes: sizes of the files.
        dead_bytes: bytes of deleted lines in the directory.
        bucket_count, load: buckets of the index, and entries per bucket slot (0 to 1, without overflow pages).
        overflow_count: overflow pages in use.
        sequence: number of the last commit.
        uncheckpointed_count: commits since the last checkpoint.
        checkpoint_count: checkpoints since the index was made.
    """

    key_count: int
    live_bytes: int
    free_bytes: int
    heap_bytes: int
    directory_bytes: int
    journal_bytes: int
    index_bytes: int
    dead_bytes: int
    bucket_count: int
    load: float
    overflow_count: int
    sequence: int
    uncheckpointed_count: int
    checkpoint_count: int


def close(store: Store) -> None:
    """Checkpoint; the last handle leaves everything tidy."""
    index = store.index
    assert index is not None
    if not store.is_ready_to_write and index.is_current() and index.flag(fmt.CLEAN_AT):
        return
    wrote = store.is_ready_to_write
    store.enter()
    try:
        is_last = store.exclusive or store.locks.presence.try_lock()
        if is_last or wrote:
            checkpoint(store, last=is_last)
    finally:
        store.leave()


def clear(store: Store, changes: list[Change]) -> None:
    """Remove everything and store `changes`, in one commit: the rename of a new directory. Inside `enter`."""
    index = store.index
    assert index is not None
    floor = index.heap_blocks if store.is_pinned() else 0
    snapshot = Snapshot(
        database_id=index.identity.database_id, generation=index.identity.generation, sequence=index.sequence + 1
    )
    position = index.heap_blocks
    extents: list[tuple[int, bytes | memoryview]] = []
    for key, value, _ in changes:
        if value is not None:
            key_hash = fmt.hash_key(key, store.seed)
            entry = (0, position << fmt.BLOCK_SHIFT, len(value), fmt.checksum_of(value, key_hash))
            snapshot.entries[key] = entry
            if value:
                extents.append((entry[1], value))
            position += fmt.block_count(len(value))
    if extents:
        store.heap.reserve(position)
        store.heap.write(extents)
    try:
        rebuild(store.place, snapshot, rewrite=True, heap_floor=floor)
    finally:
        store.freed.clear()
        store.attach()
    assert store.index is not None
    store.prepare_to_write(store.index)


def check(store: Store, *, fix: bool) -> CheckReport:
    """Look at every entry; see `Store.check`."""
    store.check_open()
    problems: list[Problem] = []
    entries = collect(store)
    extents: list[tuple[int, int, bytes]] = []
    heap_path = store.heap.file.file.path
    for key, (line, offset, size, _) in entries:
        try:
            store.get_committed(key)
        except CorruptEntryError as problem:
            if fix:
                store.delete(key)
            problems.append(Problem(key, heap_path, offset, str(problem), fix))
        else:
            if size and not line & fmt.LOST:
                extents.append((offset, size, key))
    problems += _overlaps(extents, heap_path)
    problems += _index_problems(store, len(entries), fix)
    return CheckReport(tuple(problems), len(entries))


def _overlaps(extents: Iterable[tuple[int, int, bytes]], path: str) -> list[Problem]:
    problems = []
    owned_to = 0
    for offset, size, key in sorted(extents):
        if offset < owned_to:
            message = f"the value of {key!r} at offset {offset} shares bytes with the value before it"
            problems.append(Problem(key, path, offset, message, False))
        owned_to = max(owned_to, offset + size)
    return problems


def _index_problems(store: Store, entry_count: int, fix: bool) -> list[Problem]:
    index = store.index
    if index is None:
        return []
    held = store.writable
    if held:
        store.enter()
    try:
        index = store.index
        assert index is not None
        try:
            found = sum(1 for _ in index.entries())
            message = ""
            if found != index.key_count:
                message = f"the index holds {found} entries and says {index.key_count}"
        except CorruptIndexError as problem:
            message = str(problem)
        if not message or not (held or index.is_current()):
            return []
        path = index.file.file.path
        if fix:
            checkpoint(store)
            rewrite(store)
        return [Problem(None, path, None, message, fix)]
    finally:
        if held:
            store.leave()


def statistics(store: Store) -> Statistics:
    """See `Store.statistics`."""
    store.refresh()
    fs, names = store.file_system, store.names
    index = store.index

    def size_of(path: str) -> int:
        return fs.status(path).st_size if fs.exists(path) else 0

    sizes = [size_of(path) for path in (names.heap, names.directory, names.journal, names.index)]
    if index is None:
        assert store.snapshot is not None
        count = len(store.snapshot.entries)
        live = store.snapshot.live_blocks() * fmt.BLOCK_BYTES
        free = max(sizes[0] - live, 0)
        dead = store.snapshot.dead_bytes
        return Statistics(count, live, free, *sizes, dead, 0, 0.0, 0, store.snapshot.sequence, 0, 0)
    live = index.live_blocks * fmt.BLOCK_BYTES
    return Statistics(
        key_count=index.key_count,
        live_bytes=live,
        free_bytes=index.heap_blocks * fmt.BLOCK_BYTES - live,
        heap_bytes=sizes[0],
        directory_bytes=sizes[1],
        journal_bytes=sizes[2],
        index_bytes=sizes[3],
        dead_bytes=index.dead_bytes,
        bucket_count=index.bucket_count,
        load=index.key_count / (index.bucket_count * fmt.BUCKET_SLOTS),
        overflow_count=index.overflow_used,
        sequence=index.sequence,
        uncheckpointed_count=index.sequence - index.base_sequence,
        checkpoint_count=index.checkpoints,
    )


def merge_journal(store: Store, path: str) -> int:
    """See `Store.merge_journal`."""
    journal = Journal(MappedFile(store.file_system.open(path, writable=False)))
    header = journal.load()
    if header is None:
        raise CorruptJournalError(f"{path!r} is not a journal of hutch", file=path)
    applied = 0
    store.begin()
    try:
        for record in journal.records(fmt.JOURNAL_HEADER_BYTES, header.base_sequence):
            for kind, key, (_, offset, size, checksum), value in operations(record.payload):
                if kind == fmt.OP_DELETE:
                    store.delete(key)
                elif kind == fmt.OP_CLEAR:
                    store.clear()
                else:
                    if value is None:
                        value = store.heap.read(offset, size)
                    if fmt.checksum_of(value, fmt.hash_key(key, header.database_id)) != checksum:
                        raise CorruptJournalError(
                            f"{path!r}: the value of {key!r} in commit {record.sequence} has been overwritten since; "
                            "nothing has been merged",
                            file=path,
                            key=key,
                        )
                    store.put(key, value)
                applied += 1
    except BaseException:
        store.rollback()
        raise
    store.commit()
    if not applied:
        raise CorruptJournalError(f"{path!r} holds no whole commit", file=path)
    return applied
