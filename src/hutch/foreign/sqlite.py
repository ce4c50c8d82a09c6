"""A table of an SQLite file as a mapping of bytes: what ``dbm.sqlite3`` of Python 3.13 writes, and ``sqlitedict``.

Both keep one row a key. `SqliteDatabase` reads and writes either through the stdlib's ``sqlite3``, under any Python,
with the same rows and types as the library that made the file, so that this one goes on from there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import MutableMapping

from hutch.encoding import encode_key
from hutch.errors import CorruptError, HutchError, LockTimeout, ReadOnlyError, UnsupportedFileError
from hutch.foreign.base import ForeignDatabase, encode_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Any, ClassVar

    from _typeshed import SupportsKeysAndGetItem

    from hutch.encoding import FileName, Key, Value

__all__ = ["SqliteDatabase", "SqlitedictDatabase", "connect", "mapped"]

_WALK_ROWS = 256
_NEVER_SECONDS = 1_000_000.0  # for ever, as far as sqlite3 knows
_MISSING: Any = object()
_abandoned: list[sqlite3.Connection] = []  # those of a parent process


def connect(path: str, mode: str, timeout: float | None) -> sqlite3.Connection:
    """Open an SQLite file; transactions are begun and ended by hand.

    Args:
        mode: 'ro', 'rw' or 'rwc', as SQLite's file names have it.
        timeout: seconds to wait for a lock; None waits as long as it takes.

    Raises:
        UnsupportedFileError: this Python has no sqlite3.
    """
    try:
        import sqlite3
    except ImportError as problem:
        raise UnsupportedFileError(f"{path} is a file of SQLite, and this Python was built without it") from problem
    from urllib.parse import quote

    wait = _NEVER_SECONDS if timeout is None else timeout
    address = f"file:{quote(os.fsencode(path))}?mode={mode}"
    last: sqlite3.Error | None = None
    # A file with a write-ahead log cannot be read in a folder where nothing may be written, unless it is known that
    # nobody changes it; where there is no log, nobody does.
    for options in ("", "&immutable=1")[: 2 if mode == "ro" and not os.path.exists(path + "-wal") else 1]:
        try:
            connection = sqlite3.connect(
                address + options, uri=True, timeout=wait, isolation_level=None, check_same_thread=False
            )
            connection.text_factory = _text
            try:
                connection.execute("PRAGMA schema_version").fetchall()
            except BaseException:
                connection.close()
                raise
            return connection
        except sqlite3.OperationalError as problem:
            last = problem
            if getattr(problem, "sqlite_errorname", "") != "SQLITE_CANTOPEN":
                break
        except sqlite3.Error as problem:
            last = problem
            break
    assert last is not None
    raise mapped(path, last) from last


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def mapped(path: str, problem: Exception) -> HutchError:
    """Return hutch's error for one of sqlite3's."""
    import sqlite3

    name = getattr(problem, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LockTimeout(f"{path}: {problem}; another program writes to it")
    if name.startswith("SQLITE_READONLY"):
        return ReadOnlyError(f"{path}: {problem}")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or type(problem) is sqlite3.DatabaseError:
        return CorruptError(f"{path}: {problem}", file=path)
    return HutchError(f"{path}: {problem}")


class _Transaction:
    """A ``with`` block that is all or nothing. One inside another joins it."""

    __slots__ = ("_database", "_is_outer")

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database

    def __enter__(self) -> SqliteDatabase:
        database = self._database
        database._lock.acquire()
        try:
            self._is_outer = not database._connection.in_transaction
            if self._is_outer:
                database._execute("BEGIN IMMEDIATE")
        except BaseException:
            database._lock.release()
            raise
        return database

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        database = self._database
        try:
            if self._is_outer and database._connection.in_transaction:
                try:
                    database._execute("COMMIT" if kind is None else "ROLLBACK")
                except BaseException:
                    if database._connection.in_transaction:
                        database._execute("ROLLBACK")
                    raise
        finally:
            database._lock.release()


class SqliteDatabase(ForeignDatabase, MutableMapping[bytes, bytes]):
    """A file of ``dbm.sqlite3``: read and written, under Pythons that lack that module too. O(log n) a key.

    Args:
        file: its name.
        flag: ``'r'`` read, ``'w'`` write, ``'c'`` make it if there is none, ``'n'`` make it anew.
        mode: permission bits for a file that is made here, less the umask.
        durability: ``'commit'``: a power cut takes nothing that has been written; ``'close'``: perhaps the latest.
        exclusive: admit nobody else to the file.
        timeout: seconds to wait for somebody else who writes; None waits as long as it takes.
        table: the table; None for the one that is usual.

    Raises:
        FileNotFoundError: flag ``'r'`` or ``'w'``, and there is no such file.
        UnsupportedFileError: it has no such table, or the table has other columns.
        LockTimeout: somebody else has it to himself.
    """

    kind = "dbm.sqlite3"
    _usual_table: ClassVar[str | None] = "Dict"
    _schema: ClassVar[str] = "(key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"

    def __init__(
        self,
        file: FileName,
        flag: str = "r",
        mode: int = 0o666,
        *,
        durability: str = "close",
        exclusive: bool = False,
        timeout: float | None = None,
        table: str | None = None,
    ) -> None:
        if flag not in ("r", "w", "c", "n"):
            raise ValueError("Flag must be one of 'r', 'w', 'c', or 'n'")
        self.path = os.path.abspath(os.fsdecode(file))
        self.readonly = flag == "r"
        self._options: dict[str, Any] = {
            "durability": durability,
            "exclusive": exclusive,
            "timeout": timeout,
            "table": table,
        }
        self._lock = threading.RLock()
        self._prepare(flag, mode)
        self._connect()
        try:
            self._find_table(table, may_make=flag in ("c", "n"))
        except BaseException:
            self._connection.close()
            raise

    def _connect(self) -> None:
        options = self._options
        self._process = os.getpid()
        self._connection = connect(self.path, "ro" if self.readonly else "rw", options["timeout"])
        try:
            if not self.readonly:
                self._execute(f"PRAGMA synchronous = {'FULL' if options['durability'] == 'commit' else 'NORMAL'}")
                self._set_journal()
            if options["exclusive"]:
                self._execute("PRAGMA locking_mode = EXCLUSIVE")
                if not self.readonly:
                    self._execute("BEGIN EXCLUSIVE")
                    self._execute("COMMIT")
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, flag: str, mode: int) -> None:
        """Make the file, or see that there is one: SQLite's own error would not say what is missing."""
        if flag == "n":
            for name in (self.path, self.path + "-wal", self.path + "-shm", self.path + "-journal"):
                try:
                    os.unlink(name)
                except FileNotFoundError:
                    pass
        create = os.O_CREAT if flag in ("c", "n") else 0
        os.close(os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | create | getattr(os, "O_CLOEXEC", 0), mode))

    def _set_journal(self) -> None:
        """Use a write-ahead log, as dbm.sqlite3 does, and as it does without where there can be none."""
        try:
            self._execute("PRAGMA journal_mode = wal")
        except HutchError:
            pass

    def _find_table(self, table: str | None, *, may_make: bool) -> None:
        """Settle which table it is, and make it where that is asked for."""
        name = table or self._usual_table
        names = [str(row[0]) for row in self._execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
        if name is None:
            if len(names) > 1:
                listed = ", ".join(map(repr, names))
                raise UnsupportedFileError(f"{self.path} has several tables: say which one with table=: {listed}")
            name = names[0] if names else "unnamed"
        self.table = name
        self._quoted = '"' + name.replace('"', '""') + '"'
        if may_make:
            self._execute(f"CREATE TABLE IF NOT EXISTS {self._quoted} {self._schema}")
        columns = [str(row[1]) for row in self._execute(f"PRAGMA table_info({self._quoted})").fetchall()]
        if columns != ["key", "value"]:
            has = f"tables {', '.join(map(repr, names))}" if names else "no tables"
            raise UnsupportedFileError(
                f"{self.path} is a file of SQLite, but not of {self.kind}: it has {has}, and no table {name!r} with "
                "just the columns key and value"
            )

    def _execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        import sqlite3

        self._check_open()
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as problem:
            raise mapped(self.path, problem) from problem

    def _check_open(self) -> None:
        super()._check_open()
        if self._process != os.getpid():
            # A connection must not be used in a forked child, nor be closed there: it would drop the parent's locks.
            _abandoned.append(self._connection)
            self._lock = threading.RLock()
            self._connect()

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        import sqlite3

        self._check_open()
        with self._lock:
            try:
                return self._execute(statement, values).fetchall()
            except sqlite3.Error as problem:  # found while it reads on
                raise mapped(self.path, problem) from problem

    def _bytes(self, value: object, what: str) -> bytes:
        """Return what stands in a row as bytes; other programs may have put text there, but nothing else."""
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        raise CorruptError(f"{self.path}: table {self.table!r} has a {what} that is neither bytes nor text: {value!r}")

    def _key(self, key: bytes) -> Any:
        """Return a key as the file has it."""
        return key

    # Reading.

    def _find(self, key: bytes) -> bytes | None:
        rows = self._rows(f"SELECT value FROM {self._quoted} WHERE key = ?", (self._key(key),))  # noqa: S608  # quoted
        return self._bytes(rows[0][0], "value") if rows else None

    def _count(self) -> int:
        return int(self._rows(f"SELECT count(*) FROM {self._quoted}")[0][0])  # noqa: S608

    def _walk_rows(self, columns: str) -> Iterator[tuple[Any, ...]]:
        """Read the rows that are there now, in turns, so that the walk survives changes."""
        last = self._rows(f"SELECT max(rowid) FROM {self._quoted}")[0][0]  # noqa: S608
        if last is None:
            return
        first = -(1 << 63)
        while True:
            rows = self._rows(
                f"SELECT rowid, {columns} FROM {self._quoted} WHERE rowid BETWEEN ? AND ? "  # noqa: S608
                f"ORDER BY rowid LIMIT {_WALK_ROWS}",
                (first, last),
            )
            yield from rows
            if len(rows) < _WALK_ROWS or rows[-1][0] == last:
                return
            first = rows[-1][0] + 1

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for _, key, value in self._walk_rows("key, value"):
            yield self._bytes(key, "key"), self._bytes(value, "value")

    def _walk_keys(self) -> Iterator[bytes]:
        return (self._bytes(key, "key") for _, key in self._walk_rows("key"))

    # Writing.

    def _check_writable(self) -> None:
        self._check_open()
        if self.readonly:
            raise ReadOnlyError

    def __setitem__(self, key: Key, value: Value) -> None:
        self._check_writable()
        self._put(encode_key(key), encode_stored(value))

    def _put(self, key: bytes, value: bytes) -> None:
        # Not REPLACE: it would give the row a new number, and a walk that is on its way would meet it again.
        with self._lock:
            self._execute(
                f"INSERT INTO {self._quoted} (key, value) VALUES (?, ?) "  # noqa: S608
                "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                (self._key(key), value),
            )

    def __delitem__(self, key: Key) -> None:
        self._check_writable()
        key = encode_key(key)
        with self._lock:
            if not self._execute(f"DELETE FROM {self._quoted} WHERE key = ?", (self._key(key),)).rowcount:  # noqa: S608
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
        with self._lock:
            self._execute(f"DELETE FROM {self._quoted}")  # noqa: S608

    def transaction(self) -> _Transaction:
        """Make a ``with`` block all or nothing, for other processes too, and after a crash."""
        self._check_writable()
        return _Transaction(self)

    def reorganize(self) -> None:
        """Rewrite the file without the space that deleted entries have left. O(n)."""
        self._check_writable()
        with self._lock:
            self._execute("VACUUM")

    def sync(self) -> None:
        """Bring what has been written to the disk."""
        self._check_open()
        if not self.readonly and not self._connection.in_transaction:
            with self._lock:
                self._execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    def _release(self) -> None:
        if self._process != os.getpid():
            _abandoned.append(self._connection)
            return
        with self._lock:
            self._connection.close()

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)  # None: it was never opened
        if connection is not None:
            if self._process == os.getpid():
                connection.close()
            else:
                _abandoned.append(connection)

    def __reduce__(self) -> Any:
        self._check_open()
        return _reopen, (type(self), self.path, "r" if self.readonly else "w", self._options)


class SqlitedictDatabase(SqliteDatabase):
    """A table of ``sqlitedict``: keys are text, values are pickles in bytes.

    A table of its name is asked for with `table`; without, the file has to have just one.
    """

    kind = "sqlitedict"
    _usual_table = None
    _schema = "(key TEXT PRIMARY KEY, value BLOB)"

    def _set_journal(self) -> None:
        pass  # whichever the file has: sqlitedict lets its user choose

    def _key(self, key: bytes) -> Any:
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError:
            return key  # no such key can have been stored as text

    def _put(self, key: bytes, value: bytes) -> None:
        key.decode("utf-8")  # a UnicodeDecodeError, which is a ValueError, where it is no text
        super()._put(key, value)


def _reopen(kind: type[SqliteDatabase], path: str, flag: str, options: dict[str, Any]) -> SqliteDatabase:
    return kind(path, flag, **options)
