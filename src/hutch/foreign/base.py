"""What every reader of a foreign database shares: the file within its bounds, and the mapping that callers see."""

from __future__ import annotations

import os
from collections.abc import Mapping, ValuesView

from hutch.codecs.base import Pieces
from hutch.encoding import encode_key, encode_value
from hutch.errors import ClosedError, CorruptError, ReadOnlyError
from hutch.files import FileSystem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Any, ClassVar, Never, Self, TypeVar

    from hutch.encoding import FileName, Key, Value
    from hutch.reports import CheckReport, Progress

    AnyKey = TypeVar("AnyKey", str, bytes)
    Default = TypeVar("Default")

__all__ = ["ForeignDatabase", "ReadOnlyDatabase", "RefusesChanges", "Source", "encode_stored"]


def encode_stored(value: Value | Pieces) -> bytes:
    """Return a value as the bytes to store, also where a codec has left it in pieces."""
    return bytes(value) if type(value) is Pieces else encode_value(value)  # type: ignore[arg-type]


class Source:
    """A file that is read at offsets which may be nonsense.

    It is read with pread, not mapped: a file that somebody cuts off meanwhile is an error then, not a signal.
    The size is that of the moment of opening; whatever lies behind it is not there.

    Attributes:
        path: its absolute name.
        size_bytes: its size.
    """

    __slots__ = ("_file", "path", "size_bytes")

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = FileSystem().open(path, writable=False)
        self.size_bytes = self._file.size()

    @property
    def fd(self) -> int:
        return self._file.fd

    def read(self, offset: int, size_bytes: int, what: str) -> bytes:
        """Read exactly `size_bytes` of the file.

        Args:
            what: what is read, for the error.

        Raises:
            ClosedError: the file has been closed.
            CorruptError: part of it lies outside the file.
        """
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise self.corrupt(f"{what} reaches past the end of the file", offset)
        if self._file.fd < 0:
            raise ClosedError
        data = self._file.read_at(offset, size_bytes)
        if len(data) != size_bytes:
            raise self.corrupt(f"{what} has been cut off while it was open", offset)
        return data

    def corrupt(self, problem: str, offset: int | None = None, key: bytes | None = None) -> CorruptError:
        """Return the error for damage at `offset`."""
        place = "" if offset is None else f" at offset {offset}"
        about = "" if key is None else f" (key {key!r})"
        return CorruptError(f"{self.path}: {problem}{place}{about}", file=self.path, offset=offset, key=key)

    def close(self) -> None:
        self._file.close()


class _Values(ValuesView[bytes]):
    """The values, read one at a time as they are asked for."""

    __slots__ = ()
    _mapping: ForeignDatabase

    def __iter__(self) -> Iterator[bytes]:
        return self._mapping.itervalues()

    def __contains__(self, value: object) -> bool:
        return any(stored == value for stored in self)


class ForeignDatabase(Mapping[bytes, bytes]):
    """A database of another library as a mapping of bytes to bytes, with the names that `hutch.dbm` gives things.

    Attributes:
        kind: what `hutch.dbm.whichdb` calls it.
        readonly: whether it can only be read.
        path: the absolute name of its file.
        closed: whether it has been closed.
    """

    kind: ClassVar[str]
    readonly = True
    path: str
    closed = False
    _may_change = True  # while it is open, by others

    # What a format has to know.

    def _find(self, key: bytes) -> bytes | None:
        raise NotImplementedError

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        raise NotImplementedError

    def _walk_keys(self) -> Iterator[bytes]:
        return (key for key, _ in self._walk())

    def _count(self) -> int:
        return sum(1 for _ in self._walk_keys())

    def _complaints(self) -> Iterator[str]:
        """What is wrong with the file as a whole, beyond what reading its entries would tell."""
        return iter(())

    def _release(self) -> None:
        raise NotImplementedError

    # What callers see.

    def __getitem__(self, key: Key) -> bytes:
        key = encode_key(key)
        self._check_open()
        value = self._find(key)
        if value is None:
            raise KeyError(key)
        return value

    def get(self, key: Key, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        key = encode_key(key)
        self._check_open()
        value = self._find(key)
        return default if value is None else value

    def get_many(self, keys: Iterable[AnyKey]) -> dict[AnyKey, bytes]:
        """Return the values of those of `keys` that exist, under the keys as they were given."""
        pairs = ((key, self.get(key)) for key in keys)
        return {key: value for key, value in pairs if value is not None}

    def __contains__(self, key: object) -> bool:
        return self.get(key) is not None  # type: ignore[arg-type]  # a TypeError where it is none

    def __len__(self) -> int:
        self._check_open()
        return self._count()

    def iterkeys(self) -> Iterator[bytes]:
        """Iterate over the keys."""
        self._check_open()
        return self._walk_keys()

    __iter__ = iterkeys

    def iteritems(self) -> Iterator[tuple[bytes, bytes]]:
        """Iterate over pairs of key and value."""
        self._check_open()
        return self._walk()

    def itervalues(self) -> Iterator[bytes]:
        """Iterate over the values."""
        self._check_open()
        return (value for _, value in self._walk())

    def keys(self) -> list[bytes]:  # type: ignore[override]
        """Return a list of the keys."""
        return list(self.iterkeys())

    def items(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        """Return a list of pairs of key and value."""
        return list(self.iteritems())

    def values(self) -> ValuesView[bytes]:
        """Return a view of the values."""
        self._check_open()
        return _Values(self)

    def check(self, fix: bool = False, *, progress: Progress | None = None) -> CheckReport:
        """Read everything, and for SQLite ask whether the file is sound. O(n).

        What the format has no checksum for cannot be compared.

        Args:
            fix: as in `hutch.dbm`, but nothing is mended here: only its own library could.
            progress: called with the number of entries looked at, and that of all.

        Returns:
            A report. Where the damage ends the walk, the entries behind it are not in its count.
        """
        self._check_open()
        from hutch.foreign.checking import check

        return check(self, progress)

    def sync(self) -> None:
        """Bring what has been written to the disk."""
        self._check_open()

    def close(self) -> None:
        """Release the file. Closing twice does nothing."""
        if not self.closed:
            self.closed = True
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "read-only" if self.readonly else "open"
        return f"<{type(self).__name__} {self.path!r}, {state}>"

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError


class RefusesChanges(ForeignDatabase):
    """What only reads: each change is a `ReadOnlyError` that says what to do instead."""

    def _refuse(self, *_arguments: object, **_options: object) -> Never:
        self._check_open()
        raise ReadOnlyError(
            f"{self.path} is a database in the form of {self.kind}, which hutch only reads: bring it over with "
            f"`hutch convert`, and write to the copy"
        )

    # Not defined as abstract of MutableMapping, so that isinstance tells what can be written to.
    __setitem__ = __delitem__ = _refuse
    clear = edit = modify = pop = popitem = reorganize = setdefault = transaction = update = _refuse


class ReadOnlyDatabase(RefusesChanges):
    """A database that this package can read and nothing more, in a file of its own form.

    Args:
        file: its file.

    Raises:
        FileNotFoundError: there is none.
        UnsupportedFileError: it is of a version or a layout that cannot be read.
        CorruptError: its header contradicts itself, or the file.
    """

    _may_change = False  # as the formats have it: who writes to such a file has it for himself

    def __init__(self, file: FileName) -> None:
        self._source = Source(os.path.abspath(os.fsdecode(file)))
        self.path = self._source.path
        try:
            self._open()
        except BaseException:
            self._source.close()
            raise

    def _open(self) -> None:
        """Read the header."""
        raise NotImplementedError

    def _release(self) -> None:
        self._source.close()

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        self._check_open()
        return type(self), (self.path,)
