"""What is done to a database as a whole: close, clear, check, statistics, merging a journal."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

from hutch import format as fmt
from hutch.commit import Change
from hutch.copying import backup
from hutch.errors import CorruptEntryError, CorruptIndexError, CorruptJournalError, RecoveryWarning
from hutch.files import MappedFile
from hutch.heap import LARGE_BYTES
from hutch.journal import Journal, operations
from hutch.packing import reorganize
from hutch.recovery import Snapshot
from hutch.reports import CheckReport, Problem, Statistics
from hutch.scan import collect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.reports import Progress
    from hutch.store import Store

__all__ = [
    "CheckReport",
    "Problem",
    "Statistics",
    "backup",
    "check",
    "clear",
    "merge_journal",
    "reorganize",
    "statistics",
]


def clear(store: Store, changes: list[Change]) -> None:
    """Remove everything and store `changes`, in one commit: the rename of a new directory. Inside `enter`."""
    index = store.index
    assert index is not None
    snapshot = Snapshot(
        database_id=index.identity.database_id, generation=index.identity.generation, sequence=index.sequence + 1
    )
    position = index.heap_blocks
    extents: list[tuple[int, bytes | memoryview]] = []
    for key, value, _ in changes:
        if value is not None:
            key_hash = fmt.hash_key(key, store.seed)
            offset = position << fmt.BLOCK_SHIFT
            position += fmt.block_count(len(value))
            if len(value) > LARGE_BYTES:
                store.heap.reserve(position)
                checksum = store.heap.write_large(offset, value, key_hash)
            else:
                checksum = fmt.checksum_of(value, key_hash)
                if value:
                    extents.append((offset, value))
            snapshot.entries[key] = (0, offset, len(value), checksum)
    if extents:
        store.heap.reserve(position)
        store.heap.write(extents)
    store.rebuild(snapshot, rewrite=True)
    store.freed.clear()
    store.index = None  # the next statement attaches to the new one


def check(store: Store, *, fix: bool, progress: Progress | None = None) -> CheckReport:
    """Look at every entry; see `Store.check`."""
    store.check_open()
    problems: list[Problem] = []
    entries = collect(store)
    extents: list[tuple[int, int, bytes]] = []
    heap_path = store.heap.file.file.path
    for number, (key, (line, offset, size, _)) in enumerate(entries):
        if progress is not None:
            progress(number, len(entries))
        try:
            store.get_committed(key)
        except CorruptEntryError as problem:
            if fix:
                store.delete(key)
            problems.append(Problem(key, heap_path, offset, str(problem), fix))
        else:
            if size and not line & fmt.LOST:
                extents.append((offset, size, key))
    if progress is not None:
        progress(len(entries), len(entries))
    problems += _overlaps(extents, heap_path)
    problems += _index_problems(store)
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


def _index_problems(store: Store) -> list[Problem]:
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
        if held:
            store.distrust(index)  # the directory knows everything, so the index can always be made anew
        return [Problem(None, path, None, message, held)]
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

    heap_bytes, directory_bytes = size_of(names.heap), size_of(names.directory)
    journal_bytes, index_bytes = size_of(names.journal), size_of(names.index)
    if index is None:
        assert store.snapshot is not None
        count = len(store.snapshot.entries)
        live = store.snapshot.live_blocks() * fmt.BLOCK_BYTES
        free = max(heap_bytes - live, 0)
        return Statistics(
            key_count=count,
            live_bytes=live,
            free_bytes=free,
            heap_bytes=heap_bytes,
            directory_bytes=directory_bytes,
            journal_bytes=journal_bytes,
            index_bytes=index_bytes,
            dead_bytes=store.snapshot.dead_bytes,
            bucket_count=0,
            load=0.0,
            overflow_count=0,
            sequence=store.snapshot.sequence,
            uncheckpointed_count=0,
            checkpoint_count=0,
        )
    live = index.live_blocks * fmt.BLOCK_BYTES
    return Statistics(
        key_count=index.key_count,
        live_bytes=live,
        free_bytes=index.heap_blocks * fmt.BLOCK_BYTES - live,
        heap_bytes=heap_bytes,
        directory_bytes=directory_bytes,
        journal_bytes=journal_bytes,
        index_bytes=index_bytes,
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
    gone: set[bytes] = set()
    store.begin()
    try:
        for record in journal.records(fmt.JOURNAL_HEADER_BYTES, header.base_sequence):
            for kind, key, (_, offset, size, checksum), value in operations(record.payload):
                if kind == fmt.OP_DELETE:
                    store.delete(key)
                elif kind == fmt.OP_CLEAR:
                    store.clear()
                    gone.clear()
                else:
                    if value is None:
                        value = store.heap.read(offset, size)
                    if fmt.checksum_of(value, fmt.hash_key(key, header.database_id)) != checksum:
                        gone.add(key)  # whoever has overwritten it came later
                        continue
                    store.put(key, value)
                gone.discard(key)
                applied += 1
    except BaseException:
        store.rollback()
        raise
    store.commit()
    if gone:
        warnings.warn(
            f"{path!r}: {len(gone)} of its values have been overwritten since, that of {min(gone)!r} for one; "
            "these keys were left as they are",
            RecoveryWarning,
            stacklevel=4,
        )
    if not applied:
        raise CorruptJournalError(f"{path!r} holds no whole commit", file=path)
    return applied
