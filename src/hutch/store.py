"""The engine's statements: get, put, delete, apply, transactions, iteration, sync, close.

`get` is the hot path and takes no lock: remember the version word, probe the index, compare the key in the
directory line, copy the value, verify its checksum, which is seeded with the key. What verifies is a value
that this key had at some moment of the call. Everything unusual (a miss under a moving word, a torn entry,
a transaction, no index at all) goes the slow way round.
"""

from __future__ import annotations

import os
import struct
import threading
import weakref
from collections.abc import Iterator, Mapping

from hutch import format as fmt
from hutch.checkpoint import checkpoint, close_tidily
from hutch.commit import Change, commit, commit_delete, commit_put, find
from hutch.errors import CorruptEntryError, CorruptError, CorruptIndexError, TransactionError
from hutch.files import FileSystem
from hutch.handle import Handle
from hutch.index import Index
from hutch.names import Names
from hutch.scan import changes_since, scan
from hutch.transaction import Transaction

__all__ = ["Store", "close_all", "open_store"]

_JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024
_MIN_FREED_BLOCKS = 32 * 1024
_MIN_DEAD_BYTES = 16 * 1024 * 1024
_EXIT_TIMEOUT_SECONDS = 10.0
_DURABILITIES = ("close", "commit")
_TORN = (CorruptError, struct.error, OverflowError, MemoryError, ValueError)

_hash64 = fmt.hash64
_unpack_slot = fmt.SLOT.unpack_from
_HEADER_BYTES = fmt.INDEX_HEADER_BYTES
# `get` has these as numbers.
assert (fmt.WORD_START, fmt.WORD_END, fmt.CHECKSUM_MASK, fmt.KEYED) == (8, 16, 0xFFFFFFFF, 1 << 60)
assert (fmt.BUCKET_BYTES, fmt.BUCKET_SLOTS, fmt.SLOTS_AT, fmt.SLOT_BYTES, fmt.OVERFLOW_SHIFT) == (512, 15, 16, 32, 3)
_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()

Value = bytes | bytearray | memoryview

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

    from hutch.reports import CheckReport, Statistics


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
        ValueError: an unknown flag or durability.
        OSError, HutchError: see `Handle.open`.
    """
    if flag not in ("r", "w", "c", "n"):
        raise ValueError("Flag must be one of 'r', 'w', 'c', or 'n'")
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


class Store(Handle):
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
        super().__init__(names, file_system, writable=writable, timeout_seconds=timeout_seconds)
        self.durable = durable
        self.verify = verify
        self.transaction: Transaction | None = None
        self.walked = (0, 0, 0)  # how far `changes_since` has read: salt, sequence, offset in the journal

    @property
    def path(self) -> str:
        return self.names.base

    @property
    def readonly(self) -> bool:
        return not self.writable

    @property
    def sequence(self) -> int:
        """Number of the last commit, of whichever process."""
        if self.index is None or not self.index.is_current():
            self.refresh()
        if self.index is not None:
            return self.index.sequence
        assert self.snapshot is not None
        return self.snapshot.sequence

    # --- reading ---

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, or None. O(1), no lock.

        Raises:
            CorruptEntryError: the value is damaged; names key and offset.
        """
        index = self.index
        if index is not None and self.transaction is None:
            view = index.file.view
            if view[8:16] == index.word:
                # `Index.probe`, unrolled: a call costs as much as all that it does.
                key_hash = _hash64(key, self.seed)
                bucket = key_hash & index.high_mask
                if bucket >= index.bucket_count:
                    bucket &= index.low_mask
                at = _HEADER_BYTES + (bucket + (bucket >> 3)) * 512
                page = view[at : at + 512]
                slot = page.find(key_hash >> 56 or 255, 0, 15)
                if slot >= 0:
                    _, checksum, line, offset, size = _unpack_slot(page, 16 + 32 * slot)
                    if line >> 60 == 1:  # KEYED
                        end = offset + size
                        heap = self.heap.file.view
                        if heap[end : end + len(key)] == key:
                            value = heap[offset:end]
                            if _hash64(value, key_hash) & 0xFFFFFFFF == checksum:
                                return value
                    literal = b"'%b'" % key if key.isalnum() else ascii(key.decode("latin-1")).encode()
                    if self.directory.file.view[line : line + len(literal)] == literal:
                        value = self.heap.file.view[offset : offset + size]
                        if _hash64(value, key_hash) & 0xFFFFFFFF == checksum:
                            return value
                elif index.is_miss(bucket, page) and view[8:16] == index.word:
                    return None
        return self._get_slowly(key)

    def _get_slowly(self, key: bytes) -> bytes | None:
        transaction = self.own_transaction()
        if transaction is not None:
            change = transaction.changes.get(key)
            if change is not None:
                return change[0]
            if transaction.cleared:
                return None
        return self.get_committed(key)

    def get_committed(self, key: bytes) -> bytes | None:
        is_confirmed = False
        while True:
            entry = self.find_entry(key)
            if entry is None:
                return None
            index = self.index
            line, offset, size, checksum = entry
            problem = None
            value = self.read_value(entry)
            if line & fmt.LOST or len(value) != size:
                problem = "its bytes lie behind the end of the heap"
            elif (
                self.verify
                and not line & fmt.UNVERIFIED
                and fmt.checksum_of(value, fmt.hash_key(key, self.seed)) != checksum
            ):
                problem = "its bytes do not match their checksum"
            if index is not None and not index.is_current():
                continue
            if problem is None:
                return value
            if not is_confirmed:
                self.confirm()
                if index is not None and self.index is index:
                    self._suspect(index, key)
                is_confirmed = True
                continue
            path = self.heap.file.file.path
            raise CorruptEntryError(
                f"the value of {key!r} in {path!r}, {size} bytes at offset {offset}, is damaged: {problem}. Every "
                "other entry stays readable; check() lists the damaged ones, check(fix=True) removes them",
                file=path,
                offset=offset,
                key=key,
            )

    def _suspect(self, index: Index, key: bytes) -> None:
        """Before a value is called damaged: perhaps it is the index that is."""
        try:
            index.check_bucket(fmt.hash_key(key, self.seed), again=True)
        except CorruptIndexError:
            if index.is_current():
                self.distrust(index)

    def read_value(self, entry: fmt.Entry) -> bytes:
        """The bytes of an entry's value, unverified; fewer or none where they are lost."""
        line, offset, size, _ = entry
        if line & fmt.LOST or not size:
            return b""
        snapshot = self.snapshot
        if snapshot is not None and offset in snapshot.inline:
            return snapshot.inline[offset]  # journaled, and not in the heap yet
        try:
            return self.heap.read(offset, size)
        except _TORN:
            return b""

    def find_entry(self, key: bytes) -> fmt.Entry | None:
        """The committed entry of `key`, or None."""
        self.check_open()
        key_hash = fmt.hash_key(key, self.seed)
        literal = fmt.key_literal(key)
        failures = 0
        while True:
            index, directory = self.index, self.directory
            if index is None:
                self.refresh_snapshot()
                if self.snapshot is not None:
                    return self.snapshot.entries.get(key)
                key_hash = fmt.hash_key(key, self.seed)
                continue
            if not index.is_current():
                self.refresh()
                key_hash = fmt.hash_key(key, self.seed)
                continue
            word = index.word
            try:
                found = find(index, directory, key, key_hash, literal)
                if found is None:
                    index.check_bucket(key_hash)
            except _TORN:
                if index.is_current() and index.word == word:
                    failures += 1
                    if failures == 2:
                        self.distrust(index)
                continue
            if index.is_current() and index.word == word:
                return None if found is None else found[1]

    def distrust(self, index: Index) -> None:
        """The index contradicts itself though nobody is writing: read directory and journal instead."""
        with self.thread_lock:
            if self.index is not index or self.index is None:
                return
            if not self.writable:
                self.index = None
                self._load_snapshot()
                self._watch(index)
                return
            if not self.depth and not self.exclusive:
                self.locks.acquire_writer(self.timeout_seconds)
            self.depth += 1
            try:
                self.index.set_flag(fmt.SUPERSEDED_AT, True)
                self.attach()
            finally:
                self.depth -= 1
                if not self.depth and not self.exclusive:
                    self.locks.release_writer()

    def contains(self, key: bytes) -> bool:
        """Whether there is such a key. O(1)."""
        transaction = self.own_transaction()
        if transaction is not None:
            change = transaction.changes.get(key)
            if change is not None:
                return change[0] is not None
            if transaction.cleared:
                return False
        return self.find_entry(key) is not None

    def count(self) -> int:
        """Number of keys. O(1)."""
        transaction = self.own_transaction()
        if transaction is not None and transaction.cleared:
            return transaction.added
        self.check_open()
        if self.index is None or not self.index.is_current():
            self.refresh()
        if self.index is not None:
            committed = self.index.key_count
        else:
            assert self.snapshot is not None
            committed = len(self.snapshot.entries)
        return committed + (0 if transaction is None else transaction.added)

    def keys(self) -> Iterator[bytes]:
        """The keys in order of insertion.

        A key that is there all the while comes exactly once, whatever is written meanwhile, by anybody.
        """
        self.check_open()
        return (key for key, _ in scan(self, self.own_transaction(), values=False))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, as `keys` goes.

        Raises:
            CorruptEntryError: from ``next``; the iteration may be begun anew, but not gone on with.
        """
        self.check_open()
        return scan(self, self.own_transaction(), values=True)

    def changes_since(self, sequence: int) -> list[tuple[bytes, bool]] | None:
        """What commits after number `sequence` did: (key, whether it is there after it), in order.

        None if the journal does not reach back so far: read everything anew.
        """
        return changes_since(self, sequence)

    # --- writing ---

    def put(self, key: bytes, value: Value) -> None:
        """Store a value. O(1).

        Raises:
            ReadOnlyError, ClosedError, LockTimeout, OutcomeUnknownError; OSError where there is no space.
        """
        if type(value) is not bytes:
            value = _flat(value)
        self.enter()
        try:
            transaction = self.transaction
            if transaction is None:
                try:
                    commit_put(self, key, value, durable=self.durable)
                except CorruptIndexError:
                    self._commit([(key, value, False)])
                    return
                if self._is_checkpoint_due():
                    checkpoint(self)
            else:
                is_committed = not transaction.cleared and self.find_entry(key) is not None
                transaction.put(key, bytes(value), is_committed=is_committed)
        finally:
            self.leave()

    def delete(self, key: bytes) -> bool:
        """Remove a key; False if it was not there. O(1)."""
        self.enter()
        try:
            transaction = self.transaction
            if transaction is not None:
                is_committed = not transaction.cleared and self.find_entry(key) is not None
                return transaction.delete(key, is_committed=is_committed)
            try:
                found = commit_delete(self, key, durable=self.durable)
            except CorruptIndexError:
                self._renew_index()
                found = commit_delete(self, key, durable=self.durable)
            if found and self._is_checkpoint_due():
                checkpoint(self)
            return found
        finally:
            self.leave()

    def apply(self, changes: Mapping[bytes, Value | None]) -> None:
        """Store (or, with None, delete) many keys in one commit: all or nothing."""
        self.enter()
        try:
            transaction = self.transaction
            if transaction is None:
                self._commit([(key, None if value is None else _flat(value), False) for key, value in changes.items()])
                return
            for key, value in changes.items():
                is_committed = not transaction.cleared and self.find_entry(key) is not None
                if value is None:
                    transaction.delete(key, is_committed=is_committed)
                else:
                    transaction.put(key, bytes(value), is_committed=is_committed)
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
            commit(self, changes, len(changes), durable=self.durable)
        except CorruptIndexError:  # before the commit point: once more
            self._renew_index()
            commit(self, changes, len(changes), durable=self.durable)
        if self._is_checkpoint_due():
            checkpoint(self)

    def _renew_index(self) -> None:
        if self.index is not None:
            self.distrust(self.index)
        self.catch_up()

    def _is_checkpoint_due(self) -> bool:
        index = self.index
        assert index is not None
        if index.dead_bytes > _MIN_DEAD_BYTES and 5 * index.dead_bytes > 4 * index.directory_bytes:
            return True
        return index.journal_bytes > _JOURNAL_LIMIT_BYTES or (
            self.freed_blocks > _MIN_FREED_BLOCKS and self.freed_blocks > index.heap_blocks
        )

    # --- transactions ---

    @property
    def in_transaction(self) -> bool:
        """Whether the calling thread is inside a transaction of this handle."""
        return self.own_transaction() is not None

    def own_transaction(self) -> Transaction | None:
        transaction = self.transaction
        if transaction is None or transaction.thread_id != threading.get_ident():
            return None
        return transaction

    def begin(self) -> None:
        """Begin a transaction, or join the one that this thread is in. Waits for the writer lock."""
        self.enter()
        if self.transaction is None:
            self.transaction = Transaction()
        else:
            self.transaction.depth += 1

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

    def _end_level(self) -> Transaction:
        self.check_open()
        transaction = self.own_transaction()
        if transaction is None:
            raise TransactionError("no transaction of this thread is open (a forked child does not inherit one)")
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
        """
        if self.closed:
            return
        if self.is_forked:
            self._release()
            return
        _open_stores.discard(self)
        try:
            if self.transaction is not None:
                self._abandon_transaction()
            if self.writable and self.index is None:
                self.refresh()  # a child of ours, say, may have written and died
            if self.writable and self.index is not None and not self.failed:
                close_tidily(self)
        finally:
            self._release()

    def _abandon_transaction(self) -> None:
        transaction = self.own_transaction()
        if transaction is None:
            raise TransactionError("another thread of this handle is in a transaction; end it before closing")
        self.transaction = None
        for _ in range(transaction.depth):
            self.leave()

    def reorganize(self) -> None:
        """Pack the heap and the directory: give all free space back. Safe against a crash at any moment."""
        self.enter()
        try:
            if self.transaction is not None:
                raise TransactionError("reorganize() inside a transaction is not possible; end it first")
            _maintenance().reorganize(self)
        finally:
            self.leave()

    def backup(self, path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> None:
        """Write a consistent copy while others go on writing. O(bytes).

        Raises:
            FileExistsError: there is a database of that name.
        """
        _maintenance().backup(self, Names.of(path))

    def check(self, fix: bool = False) -> CheckReport:
        """Verify every line, entry and value. O(bytes).

        Args:
            fix: remove damaged entries, rebuild what can be rebuilt.
        """
        report: CheckReport = _maintenance().check(self, fix=fix)
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

    def __reduce__(self) -> tuple[object, ...]:
        options = {"durability": "commit" if self.durable else "close", "verify": self.verify}
        options["timeout"] = self.timeout_seconds  # type: ignore[assignment]
        return _reopen, (self.names.base, "w" if self.writable else "r", options)


def _flat(value: Value) -> bytes | memoryview:
    """A value as one run of bytes, copied only where it is not one."""
    if type(value) is bytes:
        return value
    view = memoryview(value)
    return view.cast("B") if view.c_contiguous else view.tobytes()


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
