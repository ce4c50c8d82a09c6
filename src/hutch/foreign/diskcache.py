"""The folder of a ``diskcache.Cache``, read without that library.

An SQLite file has a row for each key; a long value is a file beside it. diskcache keeps text, bytes and numbers as what
they are, and pickles the rest, keys too. Here a value is always the pickle that a shelf would have stored: that of
diskcache where it made one, and one that is made now of text, bytes and numbers. A key is its text, or its bytes, or
what `repr` makes of a number or of what it has pickled.
"""

from __future__ import annotations

import os
import stat
import time

from hutch.errors import CorruptError, UnsupportedFileError
from hutch.foreign.base import RefusesChanges
from hutch.foreign.sqlite_table import SqliteTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from hutch.encoding import FileName

__all__ = ["DiskcacheDatabase"]

_RAW, _BINARY, _TEXT, _PICKLE = 1, 2, 3, 4  # how a value is kept
_PROTOCOL = 4  # of the pickles that are made here: the same under every Python
_COLUMNS = ["key", "raw", "expire_time", "mode", "filename", "value"]


class DiskcacheDatabase(RefusesChanges, SqliteTable):
    """A cache folder, to be read. What has expired is not there.

    Args:
        file: the folder, or the ``cache.db`` in it.
        timeout: seconds to wait for somebody who writes; None waits as long as it takes.
    """

    kind = "diskcache"

    def __init__(self, file: FileName, *, timeout: float | None = None) -> None:
        path = os.path.abspath(os.fsdecode(file))
        super().__init__(os.path.join(path, "cache.db") if os.path.isdir(path) else path, "r", timeout=timeout)
        self._reprs: dict[bytes, int] | None = None

    def _find_table(self, table: str | None, *, may_make: bool) -> None:
        columns = [str(row[1]) for row in self._rows("PRAGMA table_info(Cache)")]
        if not set(_COLUMNS) <= set(columns):
            raise UnsupportedFileError(f"{self.path} is a file of SQLite, but not of diskcache")
        self.table, self._quoted = "Cache", "Cache"

    def __reduce__(self) -> Any:
        self._check_open()
        return type(self), (self.path,)

    _LIVE = "(expire_time IS NULL OR expire_time > ?)"

    def _count(self) -> int:
        return int(self._rows(f"SELECT count(*) FROM Cache WHERE {self._LIVE}", (time.time(),))[0][0])  # noqa: S608

    def _name(self, key: object, raw: object) -> bytes:
        """Return a key as bytes."""
        if raw:
            if isinstance(key, bytes):
                return key
            return (key if isinstance(key, str) else repr(key)).encode("utf-8", "surrogateescape")
        from hutch.codecs.safe import SafePickle

        try:
            return repr(SafePickle().decode(b"a key of diskcache", self._bytes(key, "key"))).encode()
        except RecursionError:
            raise CorruptError(f"{self.path} has a key that nests too deep to be shown", file=self.path) from None

    def _value(self, name: bytes, mode: object, filename: object, value: object) -> bytes:
        from pickle import dumps

        if filename is None:
            if mode == _PICKLE:
                return self._bytes(value, "value", name)
            if isinstance(value, str) and not value.isascii():
                self._checked_text(name, value.encode("utf-8", "surrogateescape"))
            return dumps(value, _PROTOCOL)
        if not isinstance(filename, str) or "\0" in filename:
            raise self._corrupt(name, f"lies in a file whose name is none: {filename!r}")
        data = self._read_file(name, filename)
        if mode == _PICKLE:
            return data
        if mode not in (_BINARY, _TEXT):
            raise self._corrupt(name, f"is kept in an unknown way ({mode!r})")
        return dumps(data if mode == _BINARY else self._checked_text(name, data), _PROTOCOL)

    def _checked_text(self, name: bytes, data: bytes) -> str:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            raise self._corrupt(name, "is text, but no UTF-8") from None

    def _corrupt(self, name: bytes, problem: str) -> CorruptError:
        return CorruptError(f"{self.path}: the value of {name!r} {problem}", file=self.path, key=name)

    def _read_file(self, name: bytes, filename: str) -> bytes:
        """Read the file of a value, which must lie in the folder of the cache."""
        folder = os.path.realpath(os.path.dirname(self.path))
        path = os.path.realpath(os.path.join(folder, filename))
        if not path.startswith(folder + os.sep):
            raise self._corrupt(name, f"lies outside the cache: {filename!r}")
        try:
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
        except OSError as problem:
            raise CorruptError(
                f"{path}, the value of {name!r}, cannot be read: {problem}", file=path, key=name
            ) from problem
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise CorruptError(f"{path}, the value of {name!r}, is no file", file=path, key=name)
            return file.read()

    def _find(self, key: bytes) -> bytes | None:
        candidates: list[object] = [key]
        try:
            text = key.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            candidates.insert(0, text)
            for number in (int, float):
                try:
                    candidates.append(number(text))
                except ValueError:
                    pass
        now = time.time()
        what = "SELECT key, raw, mode, filename, value FROM Cache WHERE"
        for candidate in candidates:
            if isinstance(candidate, int) and not -(1 << 63) <= candidate < 1 << 63:
                continue
            for row in self._rows(f"{what} key = ? AND raw = 1 AND {self._LIVE}", (candidate, now)):
                if self._name(row[0], 1) == key:
                    return self._value(key, *row[2:])
        if self._reprs is None:
            self._reprs = {
                self._name(pickled, 0): row_id
                for row_id, pickled in self._rows("SELECT rowid, key FROM Cache WHERE raw = 0")
            }
        for row in self._rows(f"{what} rowid = ? AND {self._LIVE}", (self._reprs.get(key), now)):
            return self._value(key, *row[2:])
        return None

    def _walk_live(self) -> Iterator[tuple[bytes, tuple[Any, ...]]]:
        now = time.time()
        for _, key, raw, expiry, mode, filename, value in self._walk_rows(", ".join(_COLUMNS)):
            if not isinstance(expiry, float | int | None):
                raise CorruptError(
                    f"{self.path} has an entry that expires at {expiry!r}, which is no time", file=self.path
                )
            if expiry is None or expiry > now:
                yield self._name(key, raw), (mode, filename, value)

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for name, where in self._walk_live():
            yield name, self._value(name, *where)

    def _walk_keys(self) -> Iterator[bytes]:
        return (name for name, _ in self._walk_live())
