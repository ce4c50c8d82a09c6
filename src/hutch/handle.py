"""One open database: opening it, its statements' locks, catching up for reading, forking, letting go."""

from __future__ import annotations

import os
import sys
import threading
import time
import warnings
import weakref

from hutch import format as fmt
from hutch.catching_up import CatchingUp
from hutch.errors import (
    ClosedError,
    CorruptDirectoryError,
    CorruptHeapError,
    CorruptIndexError,
    DeadlockError,
    LockTimeout,
    ReadOnlyError,
    RecoveryWarning,
)
from hutch.files import MappedFile
from hutch.heap import Heap
from hutch.lines import parse_directory
from hutch.rebuild import open_journal
from hutch.recovery import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["Handle"]

_SPINS = 100
_PAUSE_SECONDS = 0.0005
_OWNERS_STATEMENTS = ("put_as_owner", "delete_as_owner")
_open_handles: weakref.WeakSet[Handle] = weakref.WeakSet()


class Handle(CatchingUp):
    """An open database. `Reader` and `Store` add the statements."""

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
                self.take_writer_lock()
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

    def locked(self, action: Callable[[], object]) -> None:
        """Run `action` under the writer lock."""
        if not self.exclusive:
            self.take_writer_lock()
        try:
            action()
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
        is_pinned = self.is_pinned()  # by views of handles that have been closed: beside others, none is cut off anyway
        self.rebuild(snapshot, rewrite=True, heap_floor=0 if is_alone else self.heap_file_blocks())
        if is_alone:
            if not is_pinned:
                self.heap.file.view = b""  # type: ignore[assignment]
                self.heap.file.file.truncate(0)
                self.heap.file.refresh()
            if not self.exclusive:
                self.locks.presence.try_lock(shared=True)
        if fs.exists(names.backup):
            fs.unlink(names.backup)

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
                if self.is_busy:
                    self.mind_interrupted()
                word = index.file.view[fmt.WORD_START : fmt.WORD_END]
                if (
                    (self.depth or not self.is_writing_elsewhere())
                    and index.is_writer_inside()
                    and index.file.view[fmt.WORD_START : fmt.WORD_END] == word  # not another one since we looked
                ):
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
        if watched is not None and not self.is_outdated():
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
            elif not self.is_writing_elsewhere():
                self.attach()  # its writer died: what it committed is in directory and journal

    def confirm(self) -> None:
        """Look again under the writer lock, where nothing moves: before calling an entry damaged."""
        if self.writable:
            self.enter()
            self.leave()
        elif self.is_outdated():
            with self.thread_lock:
                self.attach()

    def enter(self) -> None:
        """Take the thread lock and the writer lock; catch up; recover what a dead writer left.

        Raises:
            ReadOnlyError, ClosedError, LockTimeout, DeadlockError, OutcomeUnknownError.
        """
        timeout = self.timeout_seconds
        self.take_thread_lock()
        try:
            self.is_busy = True
            self.statement = sys._getframe(1)
            if self.depth:
                self.depth += 1
            else:
                self.at_hand = None
                if self.closed or self.is_forked or not self.writable:
                    self.check_open()
                    if not self.writable:
                        raise ReadOnlyError
                if not self.exclusive:
                    self.locks.acquire_writer(timeout)
                self.depth = 1
        except BaseException:
            self.statement = None
            self.is_busy = False
            self.thread_lock.release()
            raise
        try:
            index = self.index
            # What reading saw meanwhile does not count, for writing needs more.
            if (
                index is None
                or self.failed
                or not self.is_ready_to_write
                or index.file.view[8:20]
                != (index.word + self.gate if self.depth > 1 or self.is_owner else self.left_word + self.gate)
            ):
                self.calm = 0
                if self.depth == 1 and not self.exclusive:
                    if self.is_owner:
                        self.give_up_owning()
                    self.end_other_ownership(None if timeout is None else time.monotonic() + timeout)
                self.catch_up()
                self.expect_gate()
        except BaseException:
            self._back_out()
            raise

    def take_thread_lock(self) -> None:
        """Wait for the other threads of this handle.

        Raises:
            LockTimeout; DeadlockError: this thread is in the middle of a statement.
        """
        timeout = self.timeout_seconds
        if not self.thread_lock.acquire(True, -1 if timeout is None else timeout):
            raise LockTimeout(f"{self.names.base!r} is being written by another thread; try again")
        try:
            if self.is_busy:
                self.mind_interrupted()
        except BaseException:
            self.thread_lock.release()
            raise

    def mind_interrupted(self) -> None:
        """A statement of this very thread seems to be under way, and holds the thread lock, as the caller does.

        An interrupt may strike where a statement ends, so that it never says so. Then it is not on the stack any more,
        and this lets go of what it has held.

        Raises:
            DeadlockError: it is under way.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            is_owners = frame.f_code.co_name in _OWNERS_STATEMENTS and frame.f_globals.get("__name__") == "hutch.single"
            if frame is self.statement or (is_owners and frame.f_locals.get("handle") is self):
                raise DeadlockError(
                    f"{self.names.base!r} is in the middle of a statement of this thread, which calls this one, or has "
                    "been interrupted by a signal handler or a finalizer: use the database when that statement is done"
                )
            frame = frame.f_back
        has_lock = self.statement is not None  # the owner needs none for a small statement
        self.statement = None
        self.left_word = b""  # never what a header says: the next one catches up from the start
        lasting = self.lasting_depth()
        while self.depth > lasting:
            self.depth -= 1
            if has_lock:
                if not self.depth and not self.exclusive and not self.closed:
                    self.locks.release_writer()
                self.thread_lock.release()
        self.is_busy = False

    def lasting_depth(self) -> int:
        """What a transaction of this thread holds of the depth between its statements."""
        return 0

    def _back_out(self) -> None:
        """Undo an `enter` that has not made this handle fit to write: another one may be writing, so touch nothing."""
        self.depth -= 1
        self.statement = None
        self.is_busy = False
        self.left_word = b""  # never what a header says: the next one catches up from the start
        try:
            if not self.depth and not self.exclusive and not self.closed:
                self.locks.release_writer()
        finally:
            self.thread_lock.release()

    def leave(self) -> None:
        """Undo one `enter`."""
        try:
            if self.depth == 1 and (self.is_unsettled or sys.exception() is not None):
                self.is_unsettled = False
                self._settle()
            self.depth -= 1
            if not self.depth:
                index = self.index
                if index is not None:
                    self.left_word = index.word
                    if not self.is_owner:
                        if self.gate.endswith(b"\1"):  # given up inside this statement, which began as the owner's
                            self.expect_gate()
                        self.consider_owning()
                    elif self.failed or index.flag(fmt.PENDING_AT) or index.is_writer_inside():
                        self.give_up_owning()  # unfinished: whoever is to finish it would wait until we are outside
                    if self.is_owner:
                        try:
                            self.lay_out()
                        except MemoryError:
                            pass  # the statement has been made all the same
        finally:
            try:
                if not self.depth and not self.exclusive and not self.closed:
                    self.locks.release_writer()
            finally:
                self.statement = None
                self.is_busy = False
                self.thread_lock.release()

    def _settle(self) -> None:
        """A statement has failed: if it had passed its commit point, let the readers see that it has."""
        index = self.index
        try:
            if index is not None and not self.failed and (index.flag(fmt.PENDING_AT) or index.is_writer_inside()):
                self.catch_up()
        except BaseException:  # noqa: BLE001  # the statement's own problem is to be raised; the next writer tries again
            pass

    def finish_quietly(self) -> None:
        """After a statement that failed: under the writer lock, finish what it may have committed."""
        try:
            self.enter()
            self.leave()
        except BaseException:  # noqa: BLE001  # the statement's own problem is to be raised; the next writer tries again
            pass

    def _release(self) -> None:
        self.closed = True
        if hasattr(self, "locks"):
            self.give_up_owning()
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
        self.statement = None
        self.is_busy = False
        self.is_owner = False
        self.at_hand = None
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


def _forget_all() -> None:
    for handle in list(_open_handles):
        handle.forget()


os.register_at_fork(after_in_child=_forget_all)
