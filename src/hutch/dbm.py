"""A drop-in for ``dbm`` and ``dbm.dumb``: the same files, the same interface, and what those lack.

>>> import os, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> with open(os.path.join(folder.name, "stock")) as db:
...     db["apples"] = "3"
...     with db.transaction():
...         db["pears"] = "5"
...         del db["apples"]
...     db.items()
[(b'pears', b'5')]
>>> folder.cleanup()

Keys and values are bytes; text is stored as UTF-8. Any number of processes and threads may have the
same database open. ``python -m hutch.dbm FILE...`` prints which module opens each.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping, ValuesView

from hutch import format as fmt
from hutch.blocks import Slot, Transaction
from hutch.encoding import encode_key, encode_value
from hutch.errors import ClosedError, HutchError
from hutch.heap import LARGE_BYTES
from hutch.ordered import OrderedAccess
from hutch.reading import NEVER
from hutch.single import put_as_owner
from hutch.store import flat, open_store
from hutch.whichdb import whichdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Any, Literal, Self, TypeVar, overload

    from _typeshed import SupportsKeysAndGetItem

    from hutch.codecs.base import Pieces
    from hutch.encoding import FileName, Key, Value
    from hutch.maintenance import CheckReport, Statistics
    from hutch.reports import Progress
    from hutch.store import Store

    Default = TypeVar("Default")
    AnyKey = TypeVar("AnyKey", str, bytes)
else:

    def overload(function: object) -> object:
        return function


__all__ = ["Database", "error", "open", "whichdb"]

error = HutchError

_FLAGS = ("r", "w", "c", "n")
_DURABILITIES = ("close", "commit")
_MISSING: Any = object()
_hash_key = fmt.hash64
_hash64 = fmt.hash64
_KEY_LENGTHS = fmt.KEY_LENGTHS
_unpack_extent = fmt.SLOT_EXTENT.unpack_from
_PLACES = fmt.SLOT_PLACES


class _Values(ValuesView[bytes]):
    """The values, read one at a time as they are asked for."""

    __slots__ = ()
    _mapping: Database

    def __iter__(self) -> Iterator[bytes]:
        return self._mapping.itervalues()

    def __contains__(self, value: object) -> bool:
        return any(stored == value for stored in self)


class Database(OrderedAccess, MutableMapping[bytes, bytes]):
    """An open database: a mapping of bytes to bytes that lives in files.

    Any method may raise `ClosedError` once the handle is closed; one that changes something,
    `ReadOnlyError` and `LockTimeout`; one that reads a value, `CorruptEntryError`, for a value that comes
    back is the one that was stored. A key that is neither text nor bytes is a TypeError everywhere.
    One entry is found, stored or deleted in O(1).

    Attributes:
        store: the engine below.
    """

    __slots__ = ("__weakref__", "_contains", "_delete", "_get", "_put")

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        # Bound once: a lookup here is to cost hardly more than the engine's own.
        self._get = store.get
        self._put = store.put
        self._delete = store.delete
        self._contains = store.contains

    def __getitem__(self, key: Key) -> bytes:
        if type(key) is not bytes:
            key = encode_key(key)
        store = self.store
        index = store.index
        if index is not None and store.transaction is None:
            # `Reader.get` for a small value, without the call.
            file = index.file
            if file.mapped_words[1] == index.number:
                key_hash = _hash_key(key, store.seed)
                bucket = key_hash & index.high_mask
                if bucket >= index.bucket_count:
                    bucket &= index.low_mask
                at = 4096 + (bucket + (bucket >> 3)) * 512
                view = file.view
                place = _PLACES[view[at : at + 16].find(key_hash >> 56 or 255)]
                if place:
                    checksum, offset, size = _unpack_extent(view, at + place)  # type: ignore[arg-type]
                    length = len(key)
                    if length < 256:
                        # Where the key is not behind the value, the checksum, which is bound to it, will not agree.
                        end = offset + size
                        heap = store.heap.file.view
                        if heap[end : end + length + 1] == _KEY_LENGTHS[length] + key:
                            value = heap[offset:end]
                            if _hash64(value, key_hash) & 0xFFFFFFFF == checksum:
                                return value
        found = self._get(key, NEVER)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: Key, value: Value) -> None:
        if type(key) is not bytes:
            key = encode_key(key)
        if type(value) is bytes:
            if put_as_owner(self.store, key, value):  # `Store.put`, without the call
                return
            self._put(key, value)
        else:
            self._put(key, _as_stored(value))

    def __delitem__(self, key: Key) -> None:
        if type(key) is not bytes:
            key = encode_key(key)
        if not self._delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self._contains(key if type(key) is bytes else encode_key(key))  # type: ignore[arg-type]

    def __len__(self) -> int:
        return self.store.count()

    @overload
    def get(self, key: Key, default: None = None) -> bytes | None: ...
    @overload
    def get(self, key: Key, default: Default) -> bytes | Default: ...  # noqa: F811
    def get(self, key: Key, default: Any = None) -> Any:  # noqa: F811
        """Return the value of `key`, or `default`."""
        value = self._get(key if type(key) is bytes else encode_key(key), NEVER)
        return default if value is None else value

    def view(self, key: Key, *, verify: bool = False) -> memoryview:
        """Return a value as read-only memory of the mapped file, without a copy. O(1), whatever its size.

        The bytes stay what they are for as long as the view, or anything that was made of it (a slice, a NumPy
        array), lives: also when the entry is replaced or deleted, by whichever process, when the database is
        closed, and in the children of a fork. What others give up is not used again meanwhile, so a view that is
        kept for long makes the file grow. The stdlib knows nothing of it, and overwrites values in place.

        >>> import os, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with open(os.path.join(folder.name, "film")) as db:
        ...     db["frame"] = b"clouds " * 100_000
        ...     view = db.view("frame")
        >>> view.readonly, bytes(view[:6])
        (True, b'clouds')
        >>> folder.cleanup()

        Args:
            key: the key.
            verify: compare the value with its checksum first, which reads all of it.

        Raises:
            KeyError: no such key.
            CorruptEntryError: the value is lost; with `verify`, it is damaged.
            OSError: no file descriptor or no memory for a mapping.
        """
        key = encode_key(key)
        value = self.store.view(key, verify=verify)
        if value is None:
            raise KeyError(key)
        return value

    def get_many(self, keys: Iterable[AnyKey]) -> dict[AnyKey, bytes]:
        """Return the values of those of `keys` that exist, under the keys as they were given.

        Inside a transaction they are all of one moment; outside, another process may write in between.
        """
        get = self._get
        self._check_open()
        pairs = ((key, get(encode_key(key))) for key in keys)
        return {key: value for key, value in pairs if value is not None}

    @overload
    def pop(self, key: Key) -> bytes: ...
    @overload
    def pop(self, key: Key, default: Default) -> bytes | Default: ...  # noqa: F811
    def pop(self, key: Key, default: Any = _MISSING) -> Any:  # noqa: F811
        """Remove `key` and return its value: to one caller only, whoever else tries at the same time.

        Raises:
            KeyError: no such key, and no default.
        """
        key = encode_key(key)
        value = self._get(key)
        if value is not None:
            with self.transaction():
                value = self._get(key)
                self._delete(key)
        if value is not None:
            return value
        if default is _MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[bytes, bytes]:
        """Remove the first entry and return it as (key, value).

        Raises:
            KeyError: the database is empty.
        """
        if self.store.count():
            with self.transaction():
                for key in self:
                    value = self[key]
                    del self[key]
                    return key, value
        raise KeyError("popitem(): the database is empty")

    def setdefault(self, key: Key, default: Value = None) -> bytes:  # type: ignore[assignment]
        """Return the value of `key`; where there is none, first store `default`.

        Raises:
            TypeError: a default has to be stored, and is neither text nor bytes.
        """
        key = encode_key(key)
        value = self._get(key)
        if value is None:
            stored = encode_value(default)
            with self.transaction():
                value = self._get(key)
                if value is None:
                    self._put(key, stored)
                    return stored
        return value

    def update(
        self, other: SupportsKeysAndGetItem[Any, Value] | Iterable[tuple[Key, Value]] = (), /, **more: Value
    ) -> None:
        """Store many entries as one: all of them or, if anything goes wrong, none.

        Args:
            other: a mapping, an object with ``keys()``, or pairs of key and value.
            more: entries whose keys are text.
        """
        changes: dict[bytes, bytes | memoryview | Pieces | None] = {}
        source: Any = other
        pairs: Iterable[tuple[Any, Any]]
        if type(source) is dict:
            pairs = source.items()
        elif hasattr(source, "keys"):
            pairs = ((key, source[key]) for key in source.keys())  # noqa: SIM118  # all that it must have, besides []
        else:
            pairs = source
        for key, value in pairs:
            changes[key if type(key) is bytes else encode_key(key)] = (
                value if type(value) is bytes else _as_stored(value)
            )
        for name, value in more.items():
            changes[encode_key(name)] = _as_stored(value)
        self.store.apply(changes)

    def clear(self) -> None:
        """Delete every entry, in one step."""
        self.store.clear()

    def modify(self, key: Key, function: Callable[[bytes | None], Value | None]) -> bytes | None:
        """Replace a value by what `function` makes of it, with nobody writing in between.

        >>> import os, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> with open(os.path.join(folder.name, "count")) as db:
        ...     db.modify("visits", lambda visits: str(int(visits or 0) + 1))
        b'1'
        >>> folder.cleanup()

        Args:
            function: takes the value, or None where there is none; returns the new one, or None to delete.

        Returns:
            What is stored now, or None.
        """
        with self.edit(key) as slot:
            value = function(slot.value)  # type: ignore[arg-type]
            slot.value = value = None if value is None else encode_value(value)
        return value

    def edit(self, key: Key) -> Slot:
        """Work on one value in a ``with`` block while nobody else can write: see `Slot`."""
        return Slot(self.store, encode_key(key))

    def transaction(self) -> Transaction:
        """Make a ``with`` block all or nothing, in memory, for other processes, and after a crash.

        The block sees its own writes; others see them when it ends. An exception undoes them and goes
        on. A transaction inside another joins it. Others who want to write wait, so keep it short.
        """
        return Transaction(self)

    # Iteration is in the order of insertion and survives updates: an entry that is there throughout
    # comes exactly once. Nothing is held in memory but the entry at hand.

    def iterkeys(self) -> Iterator[bytes]:
        """Iterate over the keys."""
        self._check_open()
        return self.store.keys()

    __iter__ = iterkeys

    def iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over pairs of key and value."""
        self._check_open()
        return self.store.items()

    def itervalues(self) -> Iterator[bytes]:
        """Iterate over the values."""
        self._check_open()
        return (value for _, value in self.store.items())

    def keys(self) -> list[bytes]:  # type: ignore[override]
        """Return a list of the keys."""
        self._check_open()
        return self.store.all_keys()

    def items(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        """Return a list of pairs of key and value."""
        self._check_open()
        return self.store.all_items()

    def values(self) -> ValuesView[bytes]:
        """Return a view of the values."""
        self._check_open()
        return _Values(self)

    # Upkeep.

    @property
    def path(self) -> str:
        """The absolute name of the database, without the suffixes of its files."""
        return self.store.path

    @property
    def readonly(self) -> bool:
        """Whether the database was opened with flag ``'r'``."""
        return self.store.readonly

    @property
    def closed(self) -> bool:
        """Whether this handle has been closed."""
        return self.store.closed

    def sync(self) -> None:
        """Bring everything to the disk, where the stdlib finds it and a power cut leaves it."""
        self.store.sync()

    def reorganize(self, *, progress: Progress | None = None) -> None:
        """Rewrite the files without the space that deleted and replaced entries have left. O(n).

        Args:
            progress: called before each round of moves, with how many values lie where they will stay, and how many
                there are (empty ones take no space, and do not count). As with `check` and `backup`, what it raises
                ends the work and goes on to the caller; the database is whole.
        """
        self.store.reorganize(progress=progress)

    def merge_journal(self, path: FileName) -> int:
        """Apply a journal that an open has set aside, as one transaction; return the number of its operations.

        Args:
            path: the file that the warning has named.

        Raises:
            CorruptJournalError: it holds no commit whose values are left.
        """
        return self.store.merge_journal(path)

    def backup(self, path: FileName, *, progress: Progress | None = None) -> None:
        """Write a copy of one moment of the database while others go on. The stdlib can open it. O(n).

        Args:
            path: the name of the copy, without a suffix.
            progress: called with how many entries have been copied, and how many there are.

        Raises:
            FileExistsError: there is a database of that name.
        """
        self.store.backup(path, progress=progress)

    def check(self, fix: bool = False, *, progress: Progress | None = None) -> CheckReport:
        """Read everything and compare it with its checksums. O(n).

        Args:
            fix: repair what can be repaired.
            progress: called with how many entries have been looked at, and how many there are.

        Returns:
            A report: ``ok``, ``entry_count`` and ``problems``, each with key, file and offset.
        """
        return self.store.check(fix, progress=progress)

    def statistics(self) -> Statistics:
        """Return numbers about the database, none of which changes any more."""
        return self.store.statistics()

    def close(self) -> None:
        """Release the files; afterwards the stdlib can open them. Closing twice does nothing."""
        self._sorted = None
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Store]]:
        self._check_open()
        return type(self), (self.store,)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "read-only" if self.readonly else "open"
        return f"<{type(self).__name__} {self.path!r}, {state}>"

    def _check_open(self) -> None:
        # For what would find out only at the first step of an iteration, or not at all.
        if self.store.closed:
            raise ClosedError


def _as_stored(value: Value | Pieces) -> bytes | memoryview | Pieces:
    """A value as the engine takes it: a large buffer is not copied, for it is written and hashed in one go.

    Raises:
        TypeError: neither text nor an object with a buffer.
        UnicodeEncodeError: text that UTF-8 cannot hold (a lone surrogate).
    """
    if isinstance(value, (str, bytes)):
        return encode_value(value)
    try:
        data = flat(value)
    except TypeError:
        raise TypeError("values must be bytes or strings") from None
    return data if len(data) > LARGE_BYTES else bytes(data)  # small ones are copied: see `encode_value`


def open(  # noqa: A001  # the name that every module of this kind has
    file: FileName,
    flag: Literal["r", "w", "c", "n"] = "c",
    mode: int = 0o666,
    *,
    durability: Literal["close", "commit"] = "close",
    exclusive: bool = False,
    timeout: float | None = None,
    verify: bool = True,
) -> Database:
    """Open a database; what another library has made is opened as what it is (see `hutch.foreign`).

    Args:
        file: the name of the database; its files have it with ``.dat``, ``.dir`` and others added.
        flag: ``'r'`` read an existing database, ``'w'`` read and write one, ``'c'`` make it if there is
            none, ``'n'`` make it anew whatever there is.
        mode: permission bits for the files if they are made here, less the umask.
        durability: what survives a power cut: with ``'close'`` everything up to the last `sync` or
            close, with ``'commit'`` every statement. A process that dies loses nothing either way.
        exclusive: admit no other handle.
        timeout: how many seconds to wait for a lock at most; None waits as long as it takes.
        verify: compare every value that is read with its checksum.

    Raises:
        ValueError: an unknown flag or durability, or (a `CorruptDirectoryError`) a directory that neither
            dbm.dumb nor hutch has written; nothing on the disk has changed.
        FileNotFoundError: flag ``'r'`` or ``'w'``, and there is no such database. None is made.
        LockTimeout: the database is open elsewhere, and one of the handles is exclusive.
        UnsupportedFileError: there is a database of this name that another library has made, and it cannot be
            read, or, but for flag ``'r'``, not be written to here.
        OSError: as the operating system has it.
    """
    if flag not in _FLAGS:
        raise ValueError("Flag must be one of 'r', 'w', 'c', or 'n'")
    if durability not in _DURABILITIES:
        raise ValueError("Durability must be one of 'close' or 'commit'")
    if flag != "n" and not os.path.exists(os.fsencode(file) + b".dat"):
        kind = whichdb(file)
        if kind and kind != "hutch.dbm":
            from hutch.foreign.opening import open_foreign

            other: Any = open_foreign(
                file, flag, mode, kind=kind, durability=durability, exclusive=exclusive, timeout=timeout
            )
            return other  # type: ignore[no-any-return]  # the same names, as far as the format allows
    return Database(
        open_store(file, flag, mode, durability=durability, exclusive=exclusive, timeout=timeout, verify=verify)
    )


if __name__ == "__main__":
    import sys

    for name in sys.argv[1:]:
        print(whichdb(name) or "UNKNOWN", name)  # noqa: T201  # a command, like the stdlib's
