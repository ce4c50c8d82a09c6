"""The engine's statements: put, delete, apply, transactions, sync, close, and whatever keeps a database."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Mapping

from hutch.batch import FEWEST, insert_many
from hutch.checkpoint import checkpoint, close_tidily
from hutch.commit import Change, commit
from hutch.errors import CorruptIndexError, OutcomeUnknownError, TransactionError, is_own
from hutch.files import FileSystem
from hutch.heap import LARGE_BYTES
from hutch.names import Names
from hutch.reading import Reader
from hutch.shared import JOURNAL_LIMIT_BYTES
from hutch.single import delete_as_owner, put_as_owner
from hutch.transaction import Transaction

__all__ = ["Store", "close_all", "flat", "open_store"]

_MIN_FREED_BLOCKS = 128 * 1024
_MIN_DEAD_BYTES = 16 * 1024 * 1024
_EXIT_TIMEOUT_SECONDS = 10.0
_DURABILITIES = ("close", "commit")

_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from typing_extensions import Buffer

    from hutch.codecs.base import Pieces
    from hutch.reports import CheckReport, Progress, Statistics
    from hutch.viewing import Lent, Mappings

    Value = Buffer | Pieces


def open_store(
    file: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    flag: str = "c",
    mode: int = 0o666,
    *,
    durability: str = "close",
    exclusive: bool = False,
    timeout: float | None = None,
    verify: bool = True,
    file_system: FileSystem | None = None,
) -> Store:
    """Open a database.

    Args:
        file: its name without suffix.
        flag: 'r' read, 'w' write, 'c' create if missing, 'n' always start anew.
        mode: permission bits of files that are created, before the umask.
        durability: 'close': `sync` and `close` are safe against a power cut, and every statement against the
            death of the process; 'commit': every statement is safe against both.
        exclusive: nobody else may open the database meanwhile.
        timeout: seconds to wait for a lock; None waits as long as it takes.
        verify: check every value read against its checksum.

    Raises:
        ValueError: an unknown flag or durability, or an exclusive reader.
        OSError, HutchError: see `Handle.open`.
    """
    if flag not in ("r", "w", "c", "n"):
        raise ValueError("Flag must be one of 'r', 'w', 'c', or 'n'")
    if exclusive and flag == "r":
        raise ValueError("exclusive=True is for writing: it goes with flag 'w', 'c' or 'n', not with 'r'")
    if durability not in _DURABILITIES:
        raise ValueError(f"durability must be 'close' or 'commit', not {durability!r}")
    store = Store(
        Names.of(file),
        file_system or FileSystem(),
        writable=flag != "r",
        timeout_seconds=timeout,
        durable=durability == "commit",
        verify=verify,
    )
    store.open(flag, mode, exclusive=exclusive)
    _open_stores.add(store)
    return store


class Store(Reader):
    """An open database of bytes to bytes."""

    def __init__(
        self,
        names: Names,
        file_system: FileSystem,
        *,
        writable: bool,
        timeout_seconds: float | None,
        durable: bool,
        verify: bool,
    ) -> None:
        super().__init__(names, file_system, writable=writable, timeout_seconds=timeout_seconds, verify=verify)
        self.durable = durable
        self.batch_from = FEWEST  # so many changes at once may be a batch
        self._mappings: Mappings | None = None  # of views that live

    @property
    def path(self) -> str:
        return self.names.base

    @property
    def readonly(self) -> bool:
        return not self.writable

    def view(self, key: bytes, *, verify: bool = False) -> memoryview | None:
        """The value of `key` as read-only memory of the mapped heap, without a copy, or None. O(1).

        The bytes stay what they are for as long as the view, or anything made of it, lives: whoever writes or
        deletes the entry, closes or reorganizes the database meanwhile, blocks of the heap are not used again.

        Args:
            verify: compare the value with its checksum first. O(size).

        Raises:
            CorruptEntryError: the value is lost, or `verify` finds it damaged.
            OSError: no file descriptor or no memory for a mapping.
        """
        from hutch.viewing import view

        return view(self, key, verify=verify)

    def lend(self, key: bytes, *, verify: bool | None = None) -> bytes | Lent | None:
        """The value of `key` for who makes something else of it: bytes, or what stands for a large one; or None.

        Args:
            verify: compare a large value with its checksum first; None: as this handle does.
        """
        from hutch.viewing import lend

        return lend(self, key, verify=self.verify if verify is None else verify)

    @property
    def mappings(self) -> Mappings:
        """What the views of this handle, as far as they live, have mapped."""
        if self._mappings is None:
            from hutch.viewing import Mappings

            self._mappings = Mappings()
        return self._mappings

    # --- writing ---

    def put(self, key: bytes, value: Value) -> None:
        """Store a value. O(1).

        Raises:
            ReadOnlyError, ClosedError, LockTimeout, OutcomeUnknownError; OSError where there is no space.
        """
        data: Any = value
        if type(value) is not bytes:
            data = flat(value)
        elif self.at_hand is not None and put_as_owner(self, key, value):
            return
        self.enter()
        try:
            transaction = self.transaction
            if transaction is None:
                self._commit([(key, data, False)])
            else:
                is_committed = not transaction.cleared and self.find_entry(key) is not None
                transaction.put(key, bytes(data), is_committed=is_committed)
        finally:
            self.leave()

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there. O(1)."""
        if self.at_hand is not None:
            found = delete_as_owner(self, key)
            if found is not None:
                if found and self._is_checkpoint_due():
                    self._checkpoint_on_its_own()
                return found
        self.enter()
        try:
            transaction = self.transaction
            if transaction is not None:
                is_committed = not transaction.cleared and self.find_entry(key) is not None
                return transaction.delete(key, is_committed=is_committed)
            found = self.find_entry(key) is not None
            if found:
                self._commit([(key, None, False)])
            return found
        finally:
            self.leave()

    def apply(self, changes: Mapping[bytes, Value | None]) -> None:
        """Store (or, with None, delete) many keys in one commit: all or nothing."""
        self.enter()
        try:
            transaction = self.transaction
            if transaction is None:
                self._commit(
                    [
                        (key, value if value is None or type(value) is bytes else flat(value), False)
                        for key, value in changes.items()
                    ]
                )
                return
            for key, value in changes.items():
                is_committed = not transaction.cleared and self.find_entry(key) is not None
                if value is None:
                    transaction.delete(key, is_committed=is_committed)
                else:
                    transaction.put(key, bytes(flat(value)), is_committed=is_committed)
        finally:
            self.leave()

    def clear(self) -> None:
        """Remove everything, in one commit."""
        self.enter()
        try:
            if self.transaction is not None:
                self.transaction.clear()
            elif self.count():
                _maintenance().clear(self, [])
        finally:
            self.leave()

    def _commit(self, changes: list[Change]) -> None:
        if not changes:
            return
        try:
            self._commit_once(changes)
        except CorruptIndexError:  # before the commit point: once more
            self._renew_index()
            self._commit_once(changes)
        self._checkpoint_if_due()

    def _commit_once(self, changes: list[Change]) -> None:
        if len(changes) < self.batch_from or not insert_many(self, changes, durable=self.durable):
            commit(self, changes, len(changes), durable=self.durable)

    def _renew_index(self) -> None:
        if self.index is not None:
            self.distrust(self.index)
        self.catch_up()

    def _is_checkpoint_due(self) -> bool:
        index = self.index
        return index is not None and (
            index.journal_bytes > JOURNAL_LIMIT_BYTES
            or (index.dead_bytes > _MIN_DEAD_BYTES and 5 * index.dead_bytes > 4 * index.directory_bytes)
            or (self.freed_blocks > _MIN_FREED_BLOCKS and self.freed_blocks > index.live_blocks)
        )

    def _checkpoint_if_due(self) -> None:
        """The statement has been committed: only a sync that fails is still its business."""
        if not self._is_checkpoint_due():
            return
        try:
            checkpoint(self)
        except OutcomeUnknownError:
            raise
        except Exception as problem:
            if not is_own(problem):
                raise
            # No space, say: the journal goes on, and the next checkpoint reports.

    def _checkpoint_on_its_own(self) -> None:
        self.enter()
        try:
            self._checkpoint_if_due()
        finally:
            self.leave()

    # --- transactions ---

    def begin(self) -> None:
        """Begin a transaction, or join the one that this thread is in. Waits for the writer lock."""
        self.enter()
        try:
            if self.transaction is None:
                self.transaction = Transaction()
            else:
                self.transaction.depth += 1
        except BaseException:
            self.leave()
            raise
        self.statement = None
        self.is_busy = False  # until its next statement

    def commit(self) -> None:
        """End the innermost level; the outermost one commits.

        Raises:
            TransactionError: there is none, or an inner level was rolled back (and so the whole is).
            OSError: the commit failed, and the transaction is rolled back.
        """
        transaction = self._end_level()
        if transaction.depth:
            self.leave()
            return
        self.transaction = None
        try:
            if transaction.failed:
                raise TransactionError("an inner transaction was rolled back, so the outer one is, too")
            changes = transaction.to_commit()
            if transaction.cleared:
                _maintenance().clear(self, changes)
            else:
                self._commit(changes)
        finally:
            self.leave()

    def rollback(self) -> None:
        """End the innermost level; nothing of the whole transaction will be stored."""
        transaction = self._end_level()
        transaction.failed = True
        if not transaction.depth:
            self.transaction = None
        self.leave()

    def lasting_depth(self) -> int:
        transaction = self.own_transaction()
        return 0 if transaction is None else transaction.depth

    def _end_level(self) -> Transaction:
        self.check_open()
        transaction = self.own_transaction()
        if transaction is None:
            raise TransactionError("no transaction of this thread is open (a forked child does not inherit one)")
        if self.is_busy:
            self.mind_interrupted()
        self.is_busy = True
        self.statement = sys._getframe(1)
        transaction.depth -= 1
        return transaction

    # --- keeping ---

    def sync(self) -> None:
        """Checkpoint: what has been stored survives a power cut, and any stdlib sees it."""
        if not self.writable:
            self.check_open()
            return
        self.enter()
        try:
            checkpoint(self)
        finally:
            self.leave()

    def close(self) -> None:
        """Checkpoint and let go. Closing twice is fine.

        Raises:
            OSError: the checkpoint failed; the handle is closed, and the journal keeps what was stored.
            TransactionError, DeadlockError, LockTimeout: the handle is in use in this process, and stays open.
        """
        if self.closed:
            return
        if self.is_forked:
            self._release()
            return
        self._refuse_to_leave_transaction()
        # No other thread's statement comes between the checkpoint and the end: it would be lost to the stdlib.
        thread_lock = self.thread_lock
        self.take_thread_lock()
        try:
            self._refuse_to_leave_transaction()  # it may have begun meanwhile
            self._close()
        finally:
            thread_lock.release()

    def _refuse_to_leave_transaction(self) -> None:
        if self.transaction is not None and self.own_transaction() is None:
            raise TransactionError("another thread of this handle is in a transaction; end it before closing")

    def _close(self) -> None:
        _open_stores.discard(self)
        try:
            transaction = self.transaction
            self.transaction = None
            for _ in range(0 if transaction is None else transaction.depth):
                self.leave()
            if self.writable and self.index is None:
                self.refresh()  # a child of ours, say, may have written and died
            if self.writable and self.index is not None and not self.failed:
                close_tidily(self)
        finally:
            self._release()

    def reorganize(self, *, progress: Progress | None = None) -> None:
        """Pack the heap and the directory: give all free space back. Safe against a crash at any moment.

        Args:
            progress: called before each round of moves, with the number of values that lie where they will stay, and
                that of all values that are not empty. Once this handle has no gap left, both are the same. It may read
                through this handle, not write.
        """
        self.enter()
        try:
            if self.transaction is not None:
                raise TransactionError("reorganize() inside a transaction is not possible; end it first")
            _maintenance().reorganize(self, progress=progress)
        finally:
            self.leave()

    def backup(
        self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes], *, progress: Progress | None = None
    ) -> None:
        """Write a consistent copy while others go on writing. O(bytes).

        Args:
            progress: called with the number of entries copied, and that of all.

        Raises:
            FileExistsError: there is a database of that name.
        """
        _maintenance().backup(self, Names.of(path), progress=progress)

    def check(self, fix: bool = False, *, progress: Progress | None = None) -> CheckReport:
        """Verify every line, entry and value. O(bytes).

        Args:
            fix: remove damaged entries, rebuild what can be rebuilt.
            progress: called with the number of entries looked at, and that of all.
        """
        report: CheckReport = _maintenance().check(self, fix=fix, progress=progress)
        return report

    def statistics(self) -> Statistics:
        """Counts and sizes. O(buckets)."""
        answer: Statistics = _maintenance().statistics(self)
        return answer

    def merge_journal(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> int:
        """Apply a journal that was set aside; returns the number of its operations that were applied."""
        applied: int = _maintenance().merge_journal(self, os.path.abspath(os.fsdecode(path)))
        return applied

    # --- copying ---

    def forget(self) -> None:
        super().forget()
        self.transaction = None
        self._mappings = None  # the parent's locks are not to last as long as our views

    def __reduce__(self) -> tuple[object, ...]:
        options = {"durability": "commit" if self.durable else "close", "verify": self.verify}
        options["timeout"] = self.timeout_seconds  # type: ignore[assignment]
        return _reopen, (self.names.base, "w" if self.writable else "r", options)


def flat(value: Value) -> bytes | memoryview | Pieces:
    """A value as one run of bytes, copied only where it is not one; large pieces stay as they are.

    Raises:
        TypeError: it has no buffer.
    """
    if type(value) is bytes:
        return value
    try:
        view = memoryview(value)  # type: ignore[arg-type]
    except TypeError:
        from hutch.codecs.base import Pieces

        if not isinstance(value, Pieces):
            raise
        return value if len(value) > LARGE_BYTES else bytes(value)
    if not view.c_contiguous:
        return view.tobytes()
    if view.format == "B" and view.ndim == 1:
        return view
    from pickle import PickleBuffer

    return PickleBuffer(view).raw()  # `cast` refuses formats that no single letter stands for


def _reopen(path: str, flag: str, options: dict[str, object]) -> Store:
    return open_store(path, flag, **options)  # type: ignore[arg-type]


def _maintenance() -> ModuleType:
    """What is seldom needed, and brings dataclasses along, is imported when it is."""
    from hutch import maintenance

    return maintenance


def close_all() -> None:
    """At exit: checkpoint what is open, without hanging on a lock; an error is printed, not swallowed."""
    problems = []
    for store in list(_open_stores):
        store.timeout_seconds = _EXIT_TIMEOUT_SECONDS
        try:
            store.close()
        except Exception as problem:  # noqa: BLE001  # the other databases are to be closed all the same
            problems.append(problem)
    if problems:
        raise problems[0]
