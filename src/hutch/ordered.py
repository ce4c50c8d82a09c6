"""A database in the order of its keys: the first, the next, a range, a prefix.

The files keep the order of insertion, so the sorted keys live in memory: the first use costs O(n log n)
time and the memory of all keys; from then on each use takes in what any process has changed since.
"""

from __future__ import annotations

import os
import threading
from heapq import merge
from itertools import islice

from hutch.encoding import encode_key
from hutch.errors import ClosedError
from hutch.scan import scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from sortedcontainers import SortedList

    from hutch.encoding import Key
    from hutch.store import Store
    from hutch.transaction import Transaction

    Item = tuple[bytes, bytes]

__all__ = ["OrderedAccess", "SortedKeys"]

# How many keys a range takes at a time, at first and at most.
_FIRST_CHUNK_KEYS = 64
_LARGEST_CHUNK_KEYS = 4096


class SortedKeys:
    """The keys of a store in the order of their bytes, in step with every process that writes."""

    __slots__ = ("_lock", "_pid", "_state", "_store")

    def __init__(self, store: Store) -> None:
        self._store = store
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        # What is committed, and up to which commit: one tuple, so that both are of one moment.
        self._state: tuple[SortedList[bytes], int] | None = None
        self._pid = os.getpid()

    def above(self, key: bytes | None, *, inclusive: bool = False, count: int = 1) -> list[bytes]:
        """Return up to `count` keys that come after `key` (None: from the first one on), ascending.

        Args:
            inclusive: `key` itself counts too.

        O(log n + count), beyond what has changed since the last call.
        """
        return self._walk(key, None, inclusive, count, reverse=False)

    def below(self, key: bytes | None, *, count: int = 1) -> list[bytes]:
        """Return up to `count` keys that come before `key` (None: from the last one on), descending."""
        return self._walk(None, key, False, count, reverse=True)

    def _walk(
        self, low: bytes | None, high: bytes | None, inclusive: bool, count: int, *, reverse: bool
    ) -> list[bytes]:
        if self._pid != os.getpid():
            self._start()  # a thread of the parent may have been half-way through when it forked
        committed = self._catch_up()
        transaction = self._store.own_transaction()
        with self._lock:
            found = committed.irange(low, high, (inclusive, inclusive), reverse)
            if transaction is None:
                return list(islice(found, count))
            return list(islice(_overlay(found, transaction, low, high, inclusive, reverse), count))

    def _catch_up(self) -> SortedList[bytes]:
        """Take in what has been committed since the last time, and return the keys.

        The store is asked without the lock here: it may have to wait for a thread that is in a
        transaction, and that one may be waiting for the lock.
        """
        store = self._store
        while True:
            state = self._state
            sequence = store.sequence
            changes = None
            if state is not None:
                if state[1] == sequence:
                    return state[0]
                changes = store.changes_since(state[1])
            if state is None or changes is None:
                from sortedcontainers import SortedList  # here, because most programs never need it

                # Without the transaction under way, which is looked at anew each time. What is committed
                # while this reads comes once more as a change, and does no harm. A set, for a key that is
                # deleted and stored anew meanwhile is read twice.
                keys = SortedList({key for key, _ in scan(store, None, values=False)})
                changes = []
            else:
                keys = state[0]
            with self._lock:
                # Old news would bring back keys that a thread which was faster has removed.
                if state is self._state:
                    for key, present in changes:
                        if not present:
                            keys.discard(key)
                        elif key not in keys:
                            keys.add(key)
                    self._state = keys, sequence
                    return keys


def _overlay(
    committed: Iterator[bytes],
    transaction: Transaction,
    low: bytes | None,
    high: bytes | None,
    inclusive: bool,
    reverse: bool,
) -> Iterator[bytes]:
    """The keys of a range as the transaction under way sees them."""
    changes = transaction.changes
    own = sorted(
        (
            key
            for key, (value, _) in changes.items()
            if value is not None
            and (low is None or key > low or (inclusive and key == low))
            and (high is None or key < high or (inclusive and key == high))
        ),
        reverse=reverse,
    )
    if transaction.cleared:
        return iter(own)
    return merge((key for key in committed if key not in changes), own, reverse=reverse)


class OrderedAccess:
    """Sorted access for a class with a `store`: what BSD's db gave to shelve, ranges and prefixes.

    `first`, `last`, `next`, `previous` and `set_location` move a cursor, of which each thread has its
    own. It is a key, not a number, so that it keeps its place whatever is inserted or deleted.
    """

    __slots__ = ("_cursor", "_sorted", "store")

    def __init__(self, store: Store) -> None:
        self.store = store
        self._cursor = threading.local()
        self._sorted: SortedKeys | None = None

    def first(self) -> Item:
        """Go to the first entry in the order of keys and return it.

        Raises:
            KeyError: the database is empty.
        """
        return self._go(None, reverse=False)

    def last(self) -> Item:
        """Go to the last entry in the order of keys and return it.

        Raises:
            KeyError: the database is empty.
        """
        return self._go(None, reverse=True)

    def next(self) -> Item:
        """Go on to the next entry in the order of keys, at first to the first, and return it.

        Raises:
            KeyError: there is none; the cursor stays where it is.
        """
        return self._go(getattr(self._cursor, "key", None), reverse=False)

    def previous(self) -> Item:
        """Go back to the previous entry in the order of keys, at first to the last, and return it.

        Raises:
            KeyError: there is none; the cursor stays where it is.
        """
        return self._go(getattr(self._cursor, "key", None), reverse=True)

    def set_location(self, key: Key) -> Item:
        """Go to `key`, or else to the first key after it, and return that entry.

        Raises:
            KeyError: there is none; the cursor stays where it is.
        """
        return self._go(encode_key(key), reverse=False, inclusive=True)

    def range(self, start: Key | None = None, stop: Key | None = None, *, reverse: bool = False) -> Iterator[Item]:
        """Iterate over the entries from `start` up to but not including `stop`, in the order of keys.

        Keys compare as bytes. Updates meanwhile do no harm: an entry that is there all the while comes
        exactly once, one that is inserted further on may come or not.

        Args:
            start: the lowest key; None: from the first one on.
            stop: the key to stop before; None: to the last one.
            reverse: the same entries, highest key first.
        """
        sorted_keys = self._sorted_keys()
        low = None if start is None else encode_key(start)
        high = None if stop is None else encode_key(stop)
        return self._walk(sorted_keys, low, high, reverse=reverse)

    def prefix(self, prefix: Key, *, reverse: bool = False) -> Iterator[Item]:
        """Iterate over the entries whose keys begin with `prefix`, in the order of keys.

        >>> import hutch.dbm, os, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with hutch.dbm.open(os.path.join(folder.name, "people")) as db:
        ...     db.update({"user/2": "Bo", "user/1": "Al", "group/1": "all"})
        ...     list(db.prefix("user/"))
        [(b'user/1', b'Al'), (b'user/2', b'Bo')]
        >>> folder.cleanup()
        """
        low = encode_key(prefix)
        stem = low.rstrip(b"\xff")
        high = stem[:-1] + bytes([stem[-1] + 1]) if stem else None
        return self.range(low, high, reverse=reverse)

    def _sorted_keys(self) -> SortedKeys:
        if self.store.closed:
            raise ClosedError
        if self._sorted is None:
            self._sorted = SortedKeys(self.store)
        return self._sorted

    def _go(self, key: bytes | None, *, reverse: bool, inclusive: bool = False) -> Item:
        sorted_keys = self._sorted_keys()
        while found := sorted_keys.below(key) if reverse else sorted_keys.above(key, inclusive=inclusive):
            key = found[0]
            inclusive = False
            value = self.store.get(key)
            if value is not None:  # else it has just been deleted elsewhere
                self._cursor.key = key
                return key, value
        if key is None:
            raise KeyError("the database is empty")
        raise KeyError(key)

    def _walk(self, sorted_keys: SortedKeys, low: bytes | None, high: bytes | None, *, reverse: bool) -> Iterator[Item]:
        get = self.store.get
        count = _FIRST_CHUNK_KEYS
        inclusive = True
        while True:
            if reverse:
                keys = sorted_keys.below(high, count=count)
            else:
                keys = sorted_keys.above(low, inclusive=inclusive, count=count)
            if not keys:
                return
            for key in keys:
                if (low is not None and key < low) if reverse else (high is not None and key >= high):
                    return
                value = get(key)
                if value is not None:
                    yield key, value
            if reverse:
                high = keys[-1]
            else:
                low, inclusive = keys[-1], False
            count = min(2 * count, _LARGEST_CHUNK_KEYS)
