"""An SQLite file that is open: statements one at a time, every error one of hutch's, and good in a forked child too."""

from __future__ import annotations

import os
import threading

from hutch.errors import ClosedError, CorruptError, HutchError, LockTimeout, ReadOnlyError, UnsupportedFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any

__all__ = ["SqliteFile", "SqliteTransaction"]

_NEVER_SECONDS = 1_000_000.0  # for ever, as far as sqlite3 knows
_MAX_COMPLAINTS = 100  # of one file
_abandoned: list[sqlite3.Connection] = []  # those of a parent process


class SqliteFile:
    """One connection.

    Args:
        path: of the file, which is there.
        readonly: open it to be read.
        timeout: seconds to wait for a lock; None waits as long as it takes.
        durability: ``'commit'``: a power cut takes nothing that has been written; ``'close'``: perhaps the latest.
        exclusive: admit nobody else to the file.
        write_ahead: use a write-ahead log where there can be one; False leaves the file as it is.

    Raises:
        UnsupportedFileError: this Python has no sqlite3.
        LockTimeout: somebody else has it to himself.
        CorruptError: it is no file of SQLite, or damaged.
    """

    def __init__(
        self,
        path: str,
        *,
        readonly: bool,
        timeout: float | None,
        durability: str = "close",
        exclusive: bool = False,
        write_ahead: bool = False,
    ) -> None:
        self.path = path
        self.readonly = readonly
        self._timeout = timeout
        self._durability = durability
        self._exclusive = exclusive
        self._write_ahead = write_ahead
        self._connect()

    def _connect(self) -> None:
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = _connection_to(
            self.path, "ro" if self.readonly else "rw", self._timeout
        )
        try:
            if not self.readonly:
                self.execute(f"PRAGMA synchronous = {'FULL' if self._durability == 'commit' else 'NORMAL'}")
                if self._write_ahead:
                    self._use_log()
            if self._exclusive:
                self.execute("PRAGMA locking_mode = EXCLUSIVE")
                if not self.readonly:
                    self.execute("BEGIN EXCLUSIVE")
                    self.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def _use_log(self) -> None:
        """Use a write-ahead log, as dbm.sqlite3 does, and as it does without where there can be none."""
        try:
            self.execute("PRAGMA journal_mode = wal")
        except HutchError:
            pass

    def _open_connection(self) -> sqlite3.Connection:
        """The connection of this process: one must not be used in a forked child.

        Nor be closed there: that would drop the parent's locks.
        """
        connection = self._connection
        if connection is None:
            raise ClosedError
        if self._process != os.getpid():
            _abandoned.append(connection)
            self._connect()
            connection = self._connection
            assert connection is not None
        return connection

    @property
    def lock(self) -> threading.RLock:
        """What several threads take around statements that belong together."""
        self._open_connection()
        return self._lock

    @property
    def in_transaction(self) -> bool:
        return self._open_connection().in_transaction

    def execute(self, statement: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run a statement.

        Raises:
            HutchError: the one that stands for sqlite3's; see `_mapped`.
        """
        import sqlite3

        connection = self._open_connection()
        try:
            return connection.execute(statement, values)
        except (sqlite3.Error, UnicodeDecodeError) as problem:
            raise _mapped(self.path, problem) from problem

    def rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        """All rows that a statement gives."""
        import sqlite3

        with self.lock:
            try:
                return self.execute(statement, values).fetchall()
            except (sqlite3.Error, UnicodeDecodeError) as problem:  # found while it reads on
                raise _mapped(self.path, problem) from problem

    def complaints(self) -> Iterator[str]:
        """What SQLite itself finds wrong with the file: pages that contradict each other, rows missing from an index.

        O(n). It reads the structure, and no long value.
        """
        try:
            found = [str(row[0]) for row in self.rows(f"PRAGMA integrity_check({_MAX_COMPLAINTS})")]
        except CorruptError as problem:
            yield str(problem)
            return
        for text in found if found != ["ok"] else ():
            yield from (line for line in text.splitlines() if not line.startswith("***"))  # the name of the database

    def close(self) -> None:
        """Let go of the file. Closing twice does nothing."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._process != os.getpid():
            _abandoned.append(connection)
        else:
            with self._lock:
                connection.close()

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:  # else it was never opened
            self.close()


class SqliteTransaction:
    """A ``with`` block that is all or nothing. One inside another joins it.

    Args:
        file: what it is a transaction of.
        owner: what the block gets.
    """

    __slots__ = ("_file", "_is_outer", "_lock", "_owner")

    def __init__(self, file: SqliteFile, owner: Any) -> None:
        self._file = file
        self._owner = owner

    def __enter__(self) -> Any:
        file = self._file
        self._lock = file.lock
        self._lock.acquire()
        try:
            self._is_outer = not file.in_transaction
            if self._is_outer:
                file.execute("BEGIN IMMEDIATE")
        except BaseException:
            self._lock.release()
            raise
        return self._owner

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        file = self._file
        try:
            if self._is_outer and file.in_transaction:
                try:
                    file.execute("COMMIT" if kind is None else "ROLLBACK")
                except BaseException:
                    if file.in_transaction:
                        file.execute("ROLLBACK")
                    raise
        finally:
            self._lock.release()


def _connection_to(path: str, mode: str, timeout: float | None) -> sqlite3.Connection:
    """Open an SQLite file ('ro', 'rw'); transactions are begun and ended by hand."""
    try:
        import sqlite3
    except ImportError as problem:
        raise UnsupportedFileError(f"{path} is a file of SQLite, and this Python was built without it") from problem
    from urllib.parse import quote

    wait = _NEVER_SECONDS if timeout is None else timeout
    address = f"file:{quote(os.fsencode(path))}?mode={mode}"
    last: Exception | None = None
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
            name = getattr(problem, "sqlite_errorname", "") or ""
            if not name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY")):
                break
        except (sqlite3.Error, UnicodeDecodeError) as problem:
            last = problem
            break
    assert last is not None
    raise _mapped(path, last) from last


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _mapped(path: str, problem: Exception) -> HutchError:
    """Return hutch's error for one of sqlite3's."""
    import sqlite3

    if isinstance(problem, UnicodeDecodeError):  # its own message quotes what is no text
        return CorruptError(f"{path}: the file is damaged, and so is what SQLite says about it", file=path)
    name = getattr(problem, "sqlite_errorname", "") or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LockTimeout(f"{path}: {problem}; another program writes to it")
    if name.startswith("SQLITE_READONLY"):
        return ReadOnlyError(f"{path}: {problem}")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or type(problem) is sqlite3.DatabaseError:
        return CorruptError(f"{path}: {problem}", file=path)
    return HutchError(f"{path}: {problem}")
