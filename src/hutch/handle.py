"""One open database: its files, its locks, and what it believes about the shared state.

A handle reads either through the index on the disk (`index`), shared with every other process, or, where
there is none to believe and none may be written (read-only media, a stdlib's directory before its first
change), from a `snapshot` in memory. Everything that other handles can change is cached together with
`index.seen` and believed only while the header still says the same.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
import warnings
import weakref

from hutch import format as fmt
from hutch.directory import DirectoryFile
from hutch.errors import (
    ClosedError,
    CorruptDirectoryError,
    CorruptHeapError,
    CorruptIndexError,
    HutchError,
    LockTimeout,
    OutcomeUnknownError,
    ReadOnlyError,
    RecoveryWarning,
)
from hutch.files import FileSystem, MappedFile
from hutch.heap import FreeSpace, Heap, gaps
from hutch.index import Index
from hutch.journal import Journal, operations
from hutch.lines import parse_directory
from hutch.locking import Locks
from hutch.names import Names
from hutch.rebuild import Place, open_journal, rebuild
from hutch.recovery import Snapshot, load_snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["Handle"]

_SPINS = 100
_PAUSE_SECONDS = 0.0005
_MIN_FREE_BLOCKS = 64
_WATCHED = slice(fmt.WORD_START, fmt.HEAP_DIRTY_AT + 1)
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_open_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


class Handle:
    """Files, locks and cached state of one open database. Floor 4; `Store` adds the statements."""

    def __init__(self, names: Names, file_system: FileSystem, *, writable: bool, timeout_seconds: float | None) -> None:
        self.names = names
        self.file_system = file_system
        self.writable = writable
        self.timeout_seconds = timeout_seconds
        self.exclusive = False
        self.closed = True
        self.failed = False
        self.thread_lock = threading.RLock()
        self.depth = 0  # of writer-lock holders in this handle: a transaction and the statements in it
        self.is_forked = False  # in a child that has not opened files and locks of its own yet
        self.seed = 0
        self.index: Index | None = None
        self.snapshot: Snapshot | None = None
        self.journal: Journal | None = None
        self.rejected: Index | None = None  # the index that `_try_index` has looked at last, and not believed
        # While reading from memory: the index that was rejected (kept open, so that no other gets its inode) and
        # what its header said then. It is tried again when either changes.
        self.watched: Index | None = None
        self.watched_header = b""
        self.is_ready_to_write = False
        self.left_at = b""  # version word and pending flag when this handle last gave the writer lock back
        self.directory: DirectoryFile
        self.heap: Heap
        self.locks: Locks
        self.pins = 0
        self.freed: list[tuple[int, int]] = []  # (block, blocks) given up since the checkpoint
        self.freed_blocks = 0

    # --- opening ---

    def open(self, flag: str, mode: int, *, exclusive: bool) -> None:
        """Open the files, wait for the locks, recover if need be. O(1) where the index can be believed.

        Raises:
            FileNotFoundError: a file is missing, and the flag does not create it. Nothing was made.
            CorruptDirectoryError, LockTimeout, OSError: as they say.
        """
        fs, names = self.file_system, self.names
        creates = flag in ("c", "n")
        if not creates and not fs.exists(names.directory) and not fs.exists(names.backup):
            fs.open(names.heap, writable=False).close()  # if that is missing too, it is the one to name
            fs.open(names.directory, writable=False).close()
        if flag == "c" and not fs.exists(names.heap) and fs.exists(names.directory):
            raw = fs.open(names.directory, writable=False)
            lines = parse_directory(raw.read_at(0, raw.size()), names.directory).lines
            if lines:
                raise CorruptHeapError(
                    f"{names.heap!r} is missing, but {names.directory!r} lists {len(lines)} values in it; nothing has "
                    "been changed. Restore the heap from a backup, or open with flag 'n' to start anew",
                    file=names.heap,
                )
        self.heap = Heap(MappedFile(fs.open(names.heap, writable=self.writable, create=creates, mode=mode)))
        self.locks = fs.open_locks(names.heap, writable=self.writable)
        try:
            self.locks.acquire_presence(exclusive=exclusive, timeout_seconds=self.timeout_seconds)
            self.exclusive = exclusive
            if exclusive:
                self.locks.acquire_writer(self.timeout_seconds)
            self._find_directory(flag, mode)
            if flag == "n":
                self.locked(self._start_anew)
            self.closed = False
            self.attach()
        except BaseException:
            self.closed = True
            self._release()
            raise
        _open_handles.add(self)

    def locked(self, action: object) -> None:
        """Run `action` under the writer lock."""
        if not self.exclusive:
            self.locks.acquire_writer(self.timeout_seconds)
        try:
            action()  # type: ignore[operator]
        finally:
            if not self.exclusive:
                self.locks.release_writer()

    def _find_directory(self, flag: str, mode: int) -> None:
        """Make sure that there is a directory: dbm.dumb's backup of it, or a new one where nothing can be lost."""
        fs, names = self.file_system, self.names
        if fs.exists(names.directory) or flag == "n":
            return
        if fs.exists(names.backup):
            warnings.warn(
                f"{names.directory!r} is missing, as dbm.dumb leaves it when it dies while writing it; "
                f"its backup {names.backup!r} is used: changes of that last session may be missing",
                RecoveryWarning,
                stacklevel=6,
            )
            if self.writable:
                self.locked(self._restore_backup)
            return
        if flag != "c":
            fs.open(names.directory, writable=False).close()
        self.locked(lambda: self._create_directory(mode))

    def _restore_backup(self) -> None:
        fs, names = self.file_system, self.names
        if fs.exists(names.directory):
            return
        source = fs.open(names.backup, writable=False)
        temporary = names.temporary(names.directory)
        target = fs.open(temporary, writable=True, new=True, mode=0o600)
        fs.take_attributes(target, source.status())
        target.write_at(0, source.read_at(0, source.size()))
        target.sync()
        target.close()
        source.close()
        fs.replace(temporary, names.directory)
        fs.sync_folder(names.directory)

    def _create_directory(self, mode: int) -> None:
        fs, names = self.file_system, self.names
        if fs.exists(names.directory):
            return
        size_bytes = self.heap.file.file.size()
        if size_bytes:
            journal = open_journal(self.place, writable=False)
            header = journal.load() if journal is not None else None
            if header is None or header.directory_bytes:
                raise CorruptDirectoryError(
                    f"{names.directory!r} is missing, but {names.heap!r} holds {size_bytes} bytes of values; "
                    "nothing has been changed. Restore the directory from a backup, or open with 'n' to start anew",
                    file=names.directory,
                )
        fs.open(names.directory, writable=True, create=True, mode=mode).close()

    def _start_anew(self) -> None:
        """Flag 'n': an empty database in the place of whatever is there. Under the writer lock."""
        fs, names = self.file_system, self.names
        snapshot = Snapshot()
        is_alone = self.exclusive or self.locks.presence.try_lock()
        self.rebuild(snapshot, rewrite=True, heap_floor=0 if is_alone else self.heap_file_blocks())
        if is_alone:
            self.heap.file.view = b""  # type: ignore[assignment]
            self.heap.file.file.truncate(0)
            self.heap.file.refresh()
            if not self.exclusive:
                self.locks.presence.try_lock(shared=True)
        if fs.exists(names.backup):
            fs.unlink(names.backup)

    @property
    def place(self) -> Place:
        return Place(self.file_system, self.names, self.heap)

    def heap_file_blocks(self) -> int:
        return fmt.block_count(self.heap.file.file.size())

    # --- attaching to the shared state ---

    def attach(self) -> None:
        """Believe the index on the disk, or mend it, or fall back to memory."""
        self.index = self.snapshot = self.journal = self.watched = None
        self.is_ready_to_write = False
        self.heap.free = None
        if self._try_index():
            self._mind_dead_writer()
            return
        if not self.writable:
            deadline = None if self.timeout_seconds is None else time.monotonic() + self.timeout_seconds
            while self.locks.writer.is_taken_elsewhere() and (deadline is None or time.monotonic() < deadline):
                time.sleep(_PAUSE_SECONDS)  # a writer is replacing the index right now
                if self._try_index():
                    return
            if not self._try_index():
                rejected = self.rejected
                self._load_snapshot()
                self._watch(rejected)
            return
        held = self.depth > 0 or self.exclusive
        if not held:
            self.locks.acquire_writer(self.timeout_seconds)
        try:
            if not self._try_index():
                rejected = self.rejected
                self._load_snapshot()
                if self.index is None:
                    self._watch(rejected)
        finally:
            if not held:
                self.locks.release_writer()

    def _mind_dead_writer(self) -> None:
        """A writer that died behind its commit point has committed: show it to whoever opens from now on."""
        index = self.index
        if index is None or self.depth or not index.flag(fmt.PENDING_AT) or self.locks.writer.is_taken_elsewhere():
            return
        if self.writable:
            if self.exclusive or self.locks.writer.try_lock():
                self.depth += 1
                try:
                    self.catch_up()
                finally:
                    self.depth -= 1
                    if not self.exclusive:
                        self.locks.writer.unlock()
            return
        self.index = None
        self._load_snapshot()
        self._watch(index)

    def _watch(self, index: Index | None) -> None:
        """Read from memory until somebody has been at this index, or has put another in its place."""
        self.watched = index
        if index is not None:
            self.watched_header = index.file.view[_WATCHED]

    def _open_directory(self) -> DirectoryFile:
        fs, names = self.file_system, self.names
        path = names.directory
        if not self.writable and not fs.exists(path) and fs.exists(names.backup):
            path = names.backup
        return DirectoryFile(MappedFile(fs.open(path, writable=self.writable)))

    def _try_index(self) -> bool:
        """Attach to the index on the disk if it provably belongs to the directory and has seen everything."""
        fs, names = self.file_system, self.names
        self.directory = directory = self._open_directory()
        self.rejected = None
        try:
            file = fs.open(names.index, writable=self.writable)
        except OSError as problem:
            if problem.errno in _NO_RESOURCES:
                raise
            return False  # missing, or not ours to read: it is only a cache
        try:
            index = self.rejected = Index(MappedFile(file))
            index.load_identity()
            for _ in range(_SPINS):
                if index.load():
                    break
            else:
                return False
            if not self._is_believable(index, directory):
                return False
        except (CorruptIndexError, OSError, ValueError) as problem:
            if isinstance(problem, OSError) and problem.errno in _NO_RESOURCES:
                raise
            return False
        self.index, self.rejected = index, None
        self.seed = directory.database_id
        return True

    def _is_believable(self, index: Index, directory: DirectoryFile) -> bool:
        identity = index.identity
        status = index.file.file.status()
        directory_status = directory.file.file.status()
        if index.flag(fmt.SUPERSEDED_AT) or index.flag(fmt.SYNC_FAILED_AT):
            return False
        directory.database_id = identity.database_id
        directory.generation = identity.generation
        directory.header_offset = index.header_offset
        if index.directory_bytes:
            header = directory.header()
            if header is None or header[:2] != (identity.database_id, identity.generation):
                return False
        if directory_status.st_size != index.directory_file_bytes:
            return False
        if self.heap.file.file.size() < (index.heap_blocks - 1) * fmt.BLOCK_BYTES:
            return False
        if index.is_clean():
            if directory_status.st_mtime_ns != index.directory_mtime_ns:
                return False
            try:
                return self.file_system.status(self.names.journal).st_size == 0
            except FileNotFoundError:
                return True
        # Not clean: only the very file, in the page cache of the very boot, has seen everything.
        if (status.st_dev, status.st_ino) != (identity.device, identity.inode):
            return False
        boot_id = self.file_system.boot_id()
        if directory_status.st_ino != identity.directory_inode or boot_id != identity.boot_id or not any(boot_id):
            return False
        if index.sequence == index.base_sequence and not index.salt:
            return True
        journal = open_journal(self.place, writable=False)
        header_of_journal = journal.load() if journal is not None else None
        return header_of_journal is not None and header_of_journal.salt == index.salt

    def _load_snapshot(self) -> None:
        """Read directory and journal; then, if this handle may write, make the files agree with them."""
        directory = self.directory
        raw = directory.file.file
        data = raw.read_at(0, raw.size())
        journal = open_journal(self.place, writable=False)
        snapshot = load_snapshot(data, raw.path, journal, self.heap)
        self._mind_lost_commits(snapshot)
        if snapshot.foreign_journal:
            snapshot.notes.append(self._set_aside())
        for note in snapshot.notes:
            warnings.warn(note, RecoveryWarning, stacklevel=8)
        is_hutch = snapshot.database_id and (snapshot.entries or snapshot.must_rewrite)
        if self.writable and is_hutch and not self.failed:
            try:
                self._rebuild(snapshot, rewrite=snapshot.must_rewrite or self._has_failed_sync())
                return
            except OSError as problem:
                if isinstance(problem, HutchError):
                    raise
                # No space, say. Reading goes on from memory; a statement that writes tries again, and reports.
        self.snapshot = snapshot
        self.seed = snapshot.database_id

    def _rebuild(self, snapshot: Snapshot, *, rewrite: bool) -> None:
        was_plain = not snapshot.database_id
        floor = 0
        if self.is_pinned() or (was_plain and not snapshot.entries):
            floor = self.heap_file_blocks()
        problem = self.rebuild(snapshot, rewrite=rewrite, rewrite_values=self._has_failed_sync(), heap_floor=floor)
        if problem is not None:
            raise problem
        if not self._try_index():
            raise CorruptIndexError(f"{self.names.index!r} was written anew and does not verify; check the disk")

    def rebuild(
        self,
        snapshot: Snapshot,
        *,
        rewrite: bool,
        rewrite_values: bool = False,
        needs_index: bool = True,
        heap_floor: int = 0,
    ) -> Exception | None:
        """`rebuild.rebuild` for this handle, which writes no more after a failed sync in it."""
        try:
            return rebuild(
                self.place,
                snapshot,
                rewrite=rewrite,
                rewrite_values=rewrite_values,
                needs_index=needs_index,
                heap_floor=heap_floor,
            )
        except OutcomeUnknownError:
            self.failed = True
            raise

    def _has_failed_sync(self) -> bool:
        try:
            index = Index(MappedFile(self.file_system.open(self.names.index, writable=False)))
            index.load_identity()
        except (OSError, ValueError):
            return False
        return index.flag(fmt.SYNC_FAILED_AT)

    def _mind_lost_commits(self, snapshot: Snapshot) -> None:
        """Say so when the journal of an unclean end is gone: that is a silent step back."""
        if snapshot.has_journal or not snapshot.database_id or snapshot.foreign_journal:
            return
        lost = "commits since the last checkpoint may be lost" if snapshot.is_padded else ""
        try:
            index = Index(MappedFile(self.file_system.open(self.names.index, writable=False)))
            index.load_identity()
            is_whole = index.load() and not index.flag(fmt.CLEAN_AT) and not index.flag(fmt.SUPERSEDED_AT)
            if is_whole and index.identity.database_id == snapshot.database_id:
                count = index.sequence - max(snapshot.sequence, index.base_sequence)
                lost = f"up to {count} commits since the last checkpoint may be lost" if count > 0 else ""
        except (OSError, ValueError):
            pass  # no index to ask
        if lost:
            snapshot.notes.append(
                f"{self.names.journal!r} is missing, empty or of another time, after an end without close(): {lost}"
            )
            snapshot.must_rewrite = True

    def _set_aside(self) -> str:
        """Keep a journal that is not this directory's, out of the way."""
        names = self.names
        kept = names.journal
        if self.writable:
            kept = f"{names.journal}.{os.urandom(4).hex()}.orphan"
            self.file_system.replace(names.journal, kept)
            self.file_system.sync_folder(names.journal)
        return (
            f"the journal {names.journal!r} is not the one of {names.directory!r}: another program, or an older copy, "
            f"has replaced the directory since the last crash. It was not applied; it is kept as {kept!r}, "
            "and merge_journal() applies it if you want its commits"
        )

    # --- reading ---

    def check_open(self) -> None:
        if self.closed:
            raise ClosedError
        if self.is_forked:
            self._reopen_after_fork()

    def refresh(self) -> None:
        """Catch up with other handles. Takes no lock unless a writer died.

        Raises:
            ClosedError, LockTimeout, CorruptDirectoryError.
        """
        self.check_open()
        index = self.index
        if index is None:
            self.refresh_snapshot()
            return
        spins = 0
        while True:
            if index.flag(fmt.SUPERSEDED_AT):
                with self.thread_lock:
                    if self.index is index:
                        self.attach()
                return
            try:
                if index.load():
                    return
            except CorruptIndexError:
                pass
            spins += 1
            if spins % _SPINS:
                time.sleep(0 if spins < _SPINS else _PAUSE_SECONDS)
                continue
            # Odd for long: a writer is at work, or died. One of our own threads has the thread lock.
            with self.thread_lock:
                if self.index is not index:
                    return
                if (self.depth or not self.locks.writer.is_taken_elsewhere()) and index.is_writer_inside():
                    self.attach()
                    return

    def refresh_snapshot(self) -> None:
        """A writer that came after us has made an index: use it."""
        if self.snapshot is None:
            with self.thread_lock:  # an earlier attempt has failed half-way
                if self.index is None and self.snapshot is None:
                    self.attach()
            return
        try:
            status = self.file_system.status(self.names.index)
        except OSError:
            return
        watched = self.watched
        if watched is not None and watched.file.view[_WATCHED] == self.watched_header:
            own = watched.file.file.status()
            if (own.st_dev, own.st_ino) == (status.st_dev, status.st_ino):
                return
        if self.depth:
            return
        with self.thread_lock:
            if self.index is not None or self.depth:
                return
            if self._try_index():
                self.snapshot = None
                self._mind_dead_writer()
            elif not self.locks.writer.is_taken_elsewhere():
                self.attach()  # its writer died: what it committed is in directory and journal

    def confirm(self) -> None:
        """Look again under the writer lock, where nothing moves: before calling an entry damaged."""
        if not self.writable:
            return
        self.enter()
        self.leave()

    # --- writing ---

    def enter(self) -> None:
        """Take the thread lock and the writer lock; catch up; recover what a dead writer left.

        Raises:
            ReadOnlyError, ClosedError, LockTimeout, OutcomeUnknownError.
        """
        timeout = self.timeout_seconds
        if not self.thread_lock.acquire(True, -1 if timeout is None else timeout):
            raise LockTimeout(f"{self.names.base!r} is being written by another thread; try again")
        try:
            if self.depth:
                self.depth += 1
            else:
                if self.closed or self.is_forked or not self.writable:
                    self.check_open()
                    if not self.writable:
                        raise ReadOnlyError
                if not self.exclusive:
                    self.locks.acquire_writer(timeout)
                self.depth = 1
        except BaseException:
            self.thread_lock.release()
            raise
        try:
            index = self.index
            # The word and the pending flag: what reading saw meanwhile does not count, for writing needs more.
            if (
                index is None
                or self.failed
                or not self.is_ready_to_write
                or index.file.view[8:17] != (self.left_at if self.depth == 1 else index.seen)
            ):
                self.catch_up()
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Undo one `enter`."""
        if self.depth == 1 and sys.exception() is not None:
            self._settle()
        self.depth -= 1
        try:
            if not self.depth:
                self.left_at = self.index.seen if self.index is not None else b""
                if not self.exclusive and not self.closed:
                    self.locks.release_writer()
        finally:
            self.thread_lock.release()

    def _settle(self) -> None:
        """A statement has failed: if it had passed its commit point, let the readers see that it has."""
        index = self.index
        try:
            if index is not None and not self.failed and (index.flag(fmt.PENDING_AT) or index.is_writer_inside()):
                self.catch_up()
        except BaseException:  # noqa: BLE001  # the statement's own problem is to be raised; the next writer tries again
            pass

    def catch_up(self) -> None:
        """Make this handle fit to write: see what others have done, finish what a dead writer left."""
        if self.failed:
            raise OutcomeUnknownError(
                f"a sync of {self.names.base!r} failed, so the outcome of its last write is unknown; close every "
                "handle, check the disk, and open the database again: recovery keeps what is whole"
            )
        index = self.index
        if index is not None and index.flag(fmt.SUPERSEDED_AT):
            self.attach()
            index = self.index
        if index is None:
            self._adopt()
            index = self.index
            assert index is not None, "adoption makes an index or raises"
        if index.flag(fmt.SYNC_FAILED_AT):
            self.failed = True
            self.catch_up()
        if index.is_writer_inside() or not index.load():
            self.attach()  # not believable: a writer died inside; rebuilt from directory and journal
            index = self.index
            assert index is not None
        elif index.flag(fmt.PENDING_AT):
            self._redo_tail(index)
        elif self.is_ready_to_write:
            self.heap.free = None  # others have allocated since, and may have begun a new round
            self.freed.clear()
            for file in (self.directory.file, self.heap.file):
                if len(file.view) != file.file.size():
                    file.refresh()
            if self.journal is None or self.journal.salt != index.salt:
                self.is_ready_to_write = False
        self.directory.header_offset = index.header_offset
        if not self.is_ready_to_write:
            self.prepare_to_write(index)

    def _adopt(self) -> None:
        """The first change of a directory in the stdlib's form, or of an empty one: make it hutch's."""
        if self._try_index():
            self.snapshot = None
            return
        self.snapshot = None
        raw = self.directory.file.file
        journal = open_journal(self.place, writable=False)
        snapshot = load_snapshot(raw.read_at(0, raw.size()), raw.path, journal, self.heap)
        if snapshot.foreign_journal:
            warnings.warn(self._set_aside(), RecoveryWarning, stacklevel=8)
        self._rebuild(snapshot, rewrite=True)

    def _redo_tail(self, index: Index) -> None:
        """A writer died between its journal record and the index: show the index what it has missed."""
        journal = self._journal_of(index)
        if journal is not None:
            for record in journal.records(index.journal_bytes, index.sequence):
                changes = list(operations(record.payload))
                if any(change.kind == fmt.OP_CLEAR for change in changes):
                    self._reload()
                    return
                index.reserve(len(changes))
                try:
                    index.begin_update()
                    for kind, key, entry, _ in changes:
                        redo_in_index(index, kind, fmt.hash_key(key, self.seed), entry, self.directory, key)
                    index.sequence = record.sequence
                    index.journal_bytes = record.end
                    index.end_update()
                finally:
                    index.abandon_update()
        self.directory.file.warm()
        self.directory.file.refresh()
        self.directory.blank(index.directory_bytes)
        index.set_flag(fmt.PENDING_AT, False)
        self.heap.free = None

    def _reload(self) -> None:
        """Throw the index away and start from directory and journal."""
        assert self.index is not None
        self.index.set_flag(fmt.SUPERSEDED_AT, True)
        self.attach()

    def _journal_of(self, index: Index) -> Journal | None:
        if self.journal is None:
            self.journal = open_journal(self.place, writable=True)
        if self.journal is not None:
            self.journal.file.refresh()
            header = self.journal.load()
            if header is None or header.salt != index.salt:
                return None
        return self.journal

    def prepare_to_write(self, index: Index) -> None:
        """Once a handle: map for writing, and say durably that the index is no longer clean."""
        for file in (index.file, self.directory.file, self.heap.file):
            file.warm()
            file.refresh()
        if index.flag(fmt.CLEAN_AT):
            # Were this lost in a power cut, an index that missed commits would be believed.
            index.set_flag(fmt.CLEAN_AT, False)
            identity = index.identity._replace(boot_id=self.file_system.boot_id())
            status = index.file.file.status()
            identity = identity._replace(
                device=status.st_dev,
                inode=status.st_ino,
                directory_inode=self.directory.file.file.status().st_ino,
            )
            index.store_identity(identity)
            try:
                index.file.file.sync()
            except OSError as problem:
                self.fail(problem)
        if self._journal_of(index) is None:
            self.journal = open_journal(self.place, writable=True, create=True)
            assert self.journal is not None
            try:
                self.file_system.sync_folder(self.names.journal)
                self.start_round(index)
                # Recovery needs this header to tell what a crash has left behind the directory's known end.
                self.journal.file.file.sync()
            except OSError as problem:
                if problem.errno == errno.ENOSPC:
                    raise
                self.fail(problem)
            index.set_flag(fmt.FOLDER_SYNCED_AT, True)
        self.is_ready_to_write = True
        if index.sequence == index.base_sequence:
            self.find_free_space(index)

    def start_round(self, index: Index) -> None:
        """An empty journal with a new salt, starting where the directory stands."""
        assert self.journal is not None
        salt = self.file_system.random_id()
        identity = index.identity
        self.journal.reserve(fmt.JOURNAL_HEADER_BYTES)
        try:
            # First the odd word: whoever dies in between leaves a journal that the index knows nothing of.
            index.begin_update()
            self.journal.start(identity.generation, identity.database_id, index.sequence, index.directory_bytes, salt)
            index.salt = salt
            index.base_sequence = index.sequence
            index.journal_bytes = fmt.JOURNAL_HEADER_BYTES
            index.changed_lines = 0
            index.store_round()
            index.end_update()
        finally:
            index.abandon_update()

    def find_free_space(self, index: Index) -> None:
        """List the free extents if they are worth a scan of the index: O(keys), after a quarter of them moved.

        Only right after a checkpoint: until then recovery may need what has been given up since the last one.
        """
        if self.is_pinned():
            self.heap.free = None
        elif self.heap.free is not None:
            for start, blocks in self.freed:
                self.heap.free.add(start, blocks)
        else:
            free_blocks = index.heap_blocks - index.heap_floor - index.live_blocks
            if free_blocks >= _MIN_FREE_BLOCKS and free_blocks * 4 >= index.heap_blocks:
                owned = (
                    (entry[1] >> fmt.BLOCK_SHIFT, fmt.block_count(entry[2]))
                    for _, entry in index.entries()
                    if entry[2] and not entry[0] & fmt.LOST
                )
                try:
                    self.heap.free = FreeSpace(gaps(owned, index.heap_floor, index.heap_blocks))
                except CorruptIndexError:
                    self.heap.free = None  # whoever needs the damaged page makes a new index
        self.freed.clear()
        self.freed_blocks = 0

    def is_pinned(self) -> bool:
        """Whether somebody may be looking at values that no entry owns any more."""
        return self.pins > 0 or self.locks.pin.is_taken_elsewhere()

    def fail(self, problem: OSError) -> NoReturn:
        """A sync has failed: no handle writes any more until a recovery."""
        self.failed = True
        if self.index is not None:
            self.index.set_flag(fmt.SYNC_FAILED_AT, True)
            self.index.set_flag(fmt.PENDING_AT, True)  # so that every other handle looks
        raise OutcomeUnknownError(
            f"a sync of {self.names.base!r} failed ({problem}): whether the last write would survive a power cut is "
            "unknown, and this handle writes no more. Check the disk, close every handle, and open the database again"
        ) from problem

    # --- closing, forking ---

    def _release(self) -> None:
        self.closed = True
        _open_handles.discard(self)
        if hasattr(self, "locks"):
            self.locks.close()
        self.index = self.snapshot = self.journal = None
        if hasattr(self, "heap"):
            self.heap.file.close()

    def forget(self) -> None:
        """In a forked child: the parent's locks are not ours."""
        self.thread_lock = threading.RLock()
        self.depth = 0
        self.pins = 0
        self.index = self.snapshot = self.journal = None
        if not self.closed and not self.is_forked:
            self.is_forked = True
            self.locks.forget()

    def _reopen_after_fork(self) -> None:
        with self.thread_lock:
            if not self.is_forked:
                return
            if self.exclusive:
                raise ClosedError("the parent process has this database open with exclusive=True; open it anew")
            fs, names = self.file_system, self.names
            self.heap = Heap(MappedFile(fs.open(names.heap, writable=self.writable)))
            self.locks = fs.open_locks(names.heap, writable=self.writable)
            self.locks.acquire_presence(exclusive=False, timeout_seconds=self.timeout_seconds)
            self.is_forked = False
            self.attach()


def redo_in_index(
    index: Index, kind: int, key_hash: int, entry: fmt.Entry, directory: DirectoryFile, key: bytes
) -> None:
    """Apply one journaled operation to the index; a second time it changes nothing."""
    line = entry[0] & fmt.OFFSET_MASK
    found = None
    for position, old in index.candidates(key_hash):
        if old[0] & fmt.OFFSET_MASK == line:
            found = position, old
            break
    if kind == fmt.OP_DELETE:
        if found is not None:
            index.remove(found[0])
            index.live_blocks -= fmt.block_count(found[1][2])
            index.changed_lines += 1
            index.dead_bytes += len(fmt.key_literal(key)) + fmt.FIELDS_BYTES + 1
        return
    if found is not None:
        index.replace(found[0], key_hash, entry)
        index.live_blocks -= fmt.block_count(found[1][2])
        index.changed_lines += 1
    else:
        index.insert(key_hash, entry)
        literal_bytes = len(fmt.key_literal(key))
        if not index.directory_bytes:
            index.header_offset = literal_bytes + fmt.FIELDS_BYTES
            directory.header_offset = index.header_offset
            index.store_round()
        index.directory_bytes = max(
            index.directory_bytes,
            line + literal_bytes + fmt.FIELDS_BYTES + (0 if line else fmt.HEADER_COMMENT_BYTES),
        )
    size = entry[2]
    index.live_blocks += fmt.block_count(size)
    index.heap_blocks = max(index.heap_blocks, fmt.block_count(entry[1] + size))


def _forget_all() -> None:
    for handle in list(_open_handles):
        handle.forget()


os.register_at_fork(after_in_child=_forget_all)
