"""A table of an SQLite file that is written to: what ``dbm.sqlite3`` of Python 3.13 makes, and ``sqlitedict``.

Both keep one row a key. `SqliteDatabase` reads and writes either through the stdlib's ``sqlite3``, under any Python,
with the same rows and types as the library that made the file, so that this one goes on from there.
"""

from __future__ import annotations

from collections.abc import MutableMapping

from hutch.encoding import encode_key
from hutch.errors import ReadOnlyError
from hutch.foreign.base import encode_stored
from hutch.foreign.sqlite_file import SqliteTransaction
from hutch.foreign.sqlite_table import SqliteTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, ClassVar

    from _typeshed import SupportsKeysAndGetItem

    from hutch.encoding import Key, Value

__all__ = ["SqliteDatabase", "SqlitedictDatabase"]

_MISSING: Any = object()


class SqliteDatabase(SqliteTable, MutableMapping[bytes, bytes]):
    """A file of ``dbm.sqlite3``: read and written, under Pythons that lack that module too. See `SqliteTable`."""

    kind = "dbm.sqlite3"
    _usual_table: ClassVar[str | None] = "Dict"
    _schema = "(key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"

    def _check_writable(self) -> None:
        self._check_open()
        if self.readonly:
            raise ReadOnlyError

    def __setitem__(self, key: Key, value: Value) -> None:
        self._check_writable()
        self._put(encode_key(key), encode_stored(value))

    def _put(self, key: bytes, value: bytes) -> None:
        # Not REPLACE: it would give the row a new number, and a walk that is on its way would meet it again.
        with self._file.lock:
            self._file.execute(
                f"INSERT INTO {self._quoted} (key, value) VALUES (?, ?) "  # noqa: S608
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (self._key(key), value),
            )

    def __delitem__(self, key: Key) -> None:
        self._check_writable()
        key = encode_key(key)
        with self._file.lock:
            if not self._file.execute(f"DELETE FROM {self._quoted} WHERE key = ?", (self._key(key),)).rowcount:  # noqa: S608
                raise KeyError(key)

    def pop(self, key: Key, default: Any = _MISSING) -> Any:
        """Remove `key` and return its value, or `default`."""
        self._check_writable()
        with self.transaction():
            value = self.get(key)
            if value is not None:
                del self[key]
                return value
        if default is _MISSING:
            raise KeyError(encode_key(key))
        return default

    def setdefault(self, key: Key, default: Value = None) -> bytes:  # type: ignore[assignment]
        """Return the value of `key`; where there is none, first store `default`."""
        value = self.get(key)
        if value is None:
            self._check_writable()
            with self.transaction():
                value = self.get(key)
                if value is None:
                    self[key] = value = encode_stored(default)
        return value  # type: ignore[no-any-return]

    def update(
        self, other: SupportsKeysAndGetItem[Any, Value] | Iterable[tuple[Key, Value]] = (), /, **more: Value
    ) -> None:
        """Store many entries in one transaction."""
        self._check_writable()
        source: Any = other
        pairs = ((key, source[key]) for key in source.keys()) if hasattr(source, "keys") else source  # noqa: SIM118
        changes = [(encode_key(key), encode_stored(value)) for key, value in pairs]
        changes += [(encode_key(key), encode_stored(value)) for key, value in more.items()]
        with self.transaction():
            for key, value in changes:
                self._put(key, value)

    def clear(self) -> None:
        """Delete every entry, in one step."""
        self._check_writable()
        with self._file.lock:
            self._file.execute(f"DELETE FROM {self._quoted}")  # noqa: S608

    def transaction(self) -> SqliteTransaction:
        """Make a ``with`` block all or nothing, for other processes too, and after a crash."""
        self._check_writable()
        return SqliteTransaction(self._file, self)

    def reorganize(self) -> None:
        """Rewrite the file without the space that deleted entries have left. O(n)."""
        self._check_writable()
        with self._file.lock:
            self._file.execute("VACUUM")

    def sync(self) -> None:
        """Bring what has been written to the disk."""
        self._check_open()
        if not self.readonly and not self._file.in_transaction:
            self._file.rows("PRAGMA wal_checkpoint(FULL)")


class SqlitedictDatabase(SqliteDatabase):
    """A table of ``sqlitedict``: keys are text, values are pickles in bytes.

    A table of its name is asked for with `table`; without, the file has to have just one.
    """

    kind = "sqlitedict"
    _usual_table = None
    _schema = "(key TEXT PRIMARY KEY, value BLOB)"
    _write_ahead = False  # whichever the file has: sqlitedict lets its user choose

    def _key(self, key: bytes) -> Any:
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError:
            return key  # no such key can have been stored as text

    def _put(self, key: bytes, value: bytes) -> None:
        key.decode("utf-8")  # a UnicodeDecodeError, which is a ValueError, where it is no text
        super()._put(key, value)
