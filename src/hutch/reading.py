"""Reading: get, find, count, keys, items. No lock, unless a writer has died.

`Reader.get` is the hot path: remember the version word, probe the index, compare the key, copy the value,
verify its checksum, which is seeded with the key. What verifies is a value that this key had at some moment of
the call. Everything unusual (a miss under a moving word, a torn entry, a transaction, no index at all) goes the
slow way round.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator
from operator import itemgetter

from hutch import format as fmt
from hutch.commit import find
from hutch.errors import CorruptEntryError, CorruptError, CorruptIndexError
from hutch.files import FileSystem
from hutch.handle import Handle
from hutch.index import Index
from hutch.names import Names
from hutch.scan import changes_since, scan
from hutch.spans import items_at_once, keys_at_once
from hutch.transaction import Transaction

__all__ = ["NEVER", "Reader"]

_TORN = (CorruptError, struct.error, OverflowError, MemoryError, ValueError)
_hash_key = fmt.hash64
_hash64 = fmt.hash64
_unpack_entry = fmt.SLOT_ENTRY.unpack_from
_HEADER_BYTES = fmt.INDEX_HEADER_BYTES
NEVER = 1 << 64  # `get` with it costs less than without: a default is one more thing to look up
_KEY_LENGTHS = fmt.KEY_LENGTHS
_first = itemgetter(0)
# `get` has these as numbers.
assert (fmt.WORD_START, fmt.WORD_END, fmt.CHECKSUM_MASK, fmt.KEYED) == (8, 16, 0xFFFFFFFF, 1 << 60)
assert (fmt.BUCKET_BYTES, fmt.BUCKET_SLOTS, fmt.SLOTS_AT, fmt.SLOT_BYTES, fmt.OVERFLOW_SHIFT) == (512, 15, 16, 32, 3)


class Reader(Handle):
    """An open database, as far as it is read."""

    def __init__(
        self,
        names: Names,
        file_system: FileSystem,
        *,
        writable: bool,
        timeout_seconds: float | None,
        verify: bool,
    ) -> None:
        super().__init__(names, file_system, writable=writable, timeout_seconds=timeout_seconds)
        self.verify = verify
        self.transaction: Transaction | None = None
        self.walked = (0, 0, 0)  # how far `changes_since` has read: salt, sequence, offset in the journal

    @property
    def sequence(self) -> int:
        """Number of the last commit, of whichever process."""
        if self.index is None or not self.index.is_current():
            self.refresh()
        if self.index is not None:
            return self.index.sequence
        assert self.snapshot is not None
        return self.snapshot.sequence

    @property
    def in_transaction(self) -> bool:
        """Whether the calling thread is inside a transaction of this handle."""
        return self.own_transaction() is not None

    def own_transaction(self) -> Transaction | None:
        transaction = self.transaction
        if transaction is None or transaction.thread_id != threading.get_ident():
            return None
        return transaction

    def get(self, key: bytes, large: int = NEVER, verify: bool | None = None) -> bytes | None:
        """The value of `key`, or None. O(1), no lock.

        Args:
            large: above this size `lend` gives what stands for the value, without a copy.
            verify: what `lend` is told.

        Raises:
            CorruptEntryError: the value is damaged; names key and offset.
        """
        index = self.index
        if index is not None and self.transaction is None:
            file = index.file
            number = index.number
            if file.words[1] == number:
                # `Index.locate`, unrolled: a call costs as much as all that it does.
                key_hash = _hash_key(key, self.seed)
                bucket = key_hash & index.high_mask
                if bucket >= index.bucket_count:
                    bucket &= index.low_mask
                at = _HEADER_BYTES + (bucket + (bucket >> 3)) * 512
                page = file.view[at : at + 512]
                slot = page.find(key_hash >> 56 or 255)
                if 0 <= slot < 15:
                    checksum, line, offset, size = _unpack_entry(page, 16 + 32 * slot)
                    length = len(key)
                    if line >> 60 == 1 and length < 256:  # only `KEYED`
                        end = offset + size
                        heap = self.heap.file.view
                        if heap[end : end + length + 1] == _KEY_LENGTHS[length] + key:
                            value = heap[offset:end]
                            if _hash64(value, key_hash) & 0xFFFFFFFF == checksum:
                                return value
                    literal = b"'%b'" % key if key.isalnum() else ascii(key.decode("latin-1")).encode()
                    if self.directory.file.view[line : line + len(literal)] == literal:
                        if size > large:
                            return self.lend(key, verify=verify)  # type: ignore[return-value]
                        value = self.heap.file.view[offset : offset + size]
                        if _hash64(value, key_hash) & 0xFFFFFFFF == checksum:
                            return value
                elif index.is_miss(bucket, page) and file.words[1] == number:
                    return None
                if large == NEVER:
                    return self._get_behind(index, key, key_hash, number)
        return self._get_slowly(key) if large == NEVER else self.lend(key, verify=verify)  # type: ignore[return-value]

    def _get_behind(self, index: Index, key: bytes, key_hash: int, number: int) -> bytes | None:
        """What is not behind the first tag that agrees: one in thirty keys is in another slot, or on another page.

        Args:
            number: the version word before the first look. `Index.number` does not do for a miss: another thread of
                this handle may have written in between, and it moves that one, too.
        """
        try:
            found = index.locate(key_hash)
        except _TORN:
            return self._get_slowly(key)
        if found is None:
            if index.is_checked(key_hash) and index.file.words[1] == number:
                return None
        else:
            _, _, line, offset, size, checksum = found
            value = self.heap.file.view[offset : offset + size]
            if _hash64(value, key_hash) & 0xFFFFFFFF == checksum:
                literal = fmt.key_literal(key)
                start = line & fmt.OFFSET_MASK
                if self.directory.file.view[start : start + len(literal)] == literal:
                    return value
        return self._get_slowly(key)

    def lend(self, key: bytes, *, verify: bool | None = None) -> object:
        """What `get` gives of a large value: see `Store.lend`."""
        raise NotImplementedError

    def _get_slowly(self, key: bytes) -> bytes | None:
        transaction = self.own_transaction()
        if transaction is not None:
            change = transaction.changes.get(key)
            if change is not None:
                return change[0]
            if transaction.cleared:
                return None
        return self.get_committed(key)

    def get_committed(self, key: bytes, *, verify: bool = False) -> bytes | None:
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
                (self.verify or verify)
                and not line & fmt.UNVERIFIED
                and fmt.checksum_of(value, fmt.hash_key(key, self.seed)) != checksum
            ):
                problem = "its bytes do not match their checksum"
            if index is not None and not index.is_current():
                continue
            if problem is None:
                return value
            if not is_confirmed or self.is_outdated():
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
            number = index.number
            try:
                found = find(index, directory, key, key_hash, literal)
                if found is None:
                    index.check_bucket(key_hash)
            except _TORN:
                if index.is_current() and index.number == number:
                    failures += 1
                    if failures == 2:
                        self.distrust(index)
                continue
            if index.is_current() and index.number == number:
                return None if found is None else found[1]

    def distrust(self, index: Index) -> None:
        """The index contradicts itself though nobody is writing: read directory and journal instead."""
        with self.thread_lock:
            if self.index is not index or self.index is None:
                return
            if not self.writable:
                self.index = None
                self.read_from_memory(index)
                return
            if not self.depth and not self.exclusive:
                self.take_writer_lock()
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
        return map(_first, scan(self, self.own_transaction(), values=False))

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values, as `keys` goes.

        Raises:
            CorruptEntryError: from ``next``; the iteration may be begun anew, but not gone on with.
        """
        self.check_open()
        return scan(self, self.own_transaction(), values=True)

    def all_keys(self) -> list[bytes]:
        """The keys that `keys` would give, sooner. O(keys)."""
        self.check_open()
        found = keys_at_once(self) if self.own_transaction() is None else None
        return list(self.keys()) if found is None else found

    def all_items(self) -> list[tuple[bytes, bytes]]:
        """The pairs that `items` would give, sooner. O(keys)."""
        self.check_open()
        found = items_at_once(self) if self.own_transaction() is None else None
        return list(self.items()) if found is None else found

    def changes_since(self, sequence: int) -> list[tuple[bytes, bool]] | None:
        """What commits after number `sequence` did: (key, whether it is there after it), in order.

        None if the journal does not reach back so far: read everything anew.
        """
        return changes_since(self, sequence)
