"""Reading a table of an SQLite file as a mapping of bytes: one row a key.

What the libraries that make such tables do differently is said by a few attributes; see `hutch.foreign.sqlite` and
`hutch.foreign.diskcache`.
"""

from __future__ import annotations

import os

from hutch.encoding import is_encodable
from hutch.errors import CorruptError, UnsupportedFileError
from hutch.foreign.base import ForeignDatabase
from hutch.foreign.sqlite_file import SqliteFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, ClassVar

    from hutch.encoding import FileName

__all__ = ["SqliteTable"]

_WALK_ROWS = 256


class SqliteTable(ForeignDatabase):
    """A table with the columns `key` and `value`. A value is found in O(log n).

    Args:
        file: the name of the SQLite file.
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

    _usual_table: ClassVar[str | None]
    _schema: ClassVar[str]
    _write_ahead: ClassVar[bool] = True  # what the library makes of a file that it writes to

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
        self._prepare(flag, mode)
        self._file = SqliteFile(
            self.path,
            readonly=self.readonly,
            timeout=timeout,
            durability=durability,
            exclusive=exclusive,
            write_ahead=self._write_ahead,
        )
        try:
            self._find_table(table, may_make=flag in ("c", "n"))
        except BaseException:
            self._file.close()
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

    def _find_table(self, table: str | None, *, may_make: bool) -> None:
        """Settle which table it is, and make it where that is asked for."""
        file = self._file
        name = table or self._usual_table
        names = [str(row[0]) for row in file.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        if name is None:
            if len(names) > 1:
                listed = ", ".join(map(ascii, names))
                raise UnsupportedFileError(f"{self.path} has several tables: say which one with table=: {listed}")
            name = names[0] if names else "unnamed"
        self.table = name
        self._quoted = '"' + name.replace('"', '""') + '"'
        if "\0" in name or not is_encodable(name):
            raise UnsupportedFileError(f"{self.path}: no statement can name the table {name!a}")
        if may_make:
            file.execute(f"CREATE TABLE IF NOT EXISTS {self._quoted} {self._schema}")
        columns = [str(row[1]) for row in file.rows(f"PRAGMA table_info({self._quoted})")]
        if columns != ["key", "value"]:
            has = f"tables {', '.join(map(ascii, names))}" if names else "no tables"
            raise UnsupportedFileError(
                f"{self.path} is a file of SQLite, but not of {self.kind}: it has {has}, and no table {name!a} with "
                "just the columns key and value"
            )

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        self._check_open()
        return self._file.rows(statement, values)

    def _bytes(self, value: object, what: str, key: bytes | None = None) -> bytes:
        """Return what stands in a row as bytes; other programs may have put text there, but nothing else."""
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        whose = "" if key is None else f" (key {key!r})"
        raise CorruptError(
            f"{self.path}: table {self.table!r} has a {what} that is neither bytes nor text: {value!r}{whose}",
            file=self.path,
            key=key,
        )

    def _key(self, key: bytes) -> Any:
        """Return a key as the file has it."""
        return key

    def _find(self, key: bytes) -> bytes | None:
        rows = self._rows(f"SELECT value FROM {self._quoted} WHERE key = ?", (self._key(key),))  # noqa: S608  # quoted
        return self._bytes(rows[0][0], "value", key) if rows else None

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
            name = self._bytes(key, "key")
            yield name, self._bytes(value, "value", name)

    def _walk_keys(self) -> Iterator[bytes]:
        return (self._bytes(key, "key") for _, key in self._walk_rows("key"))

    def _complaints(self) -> Iterator[str]:
        return self._file.complaints()

    def _release(self) -> None:
        self._file.close()

    def __reduce__(self) -> Any:
        self._check_open()
        return _reopen, (type(self), self.path, "r" if self.readonly else "w", self._options)


def _reopen(kind: type[SqliteTable], path: str, flag: str, options: dict[str, Any]) -> SqliteTable:
    return kind(path, flag, **options)
