"""GNU dbm's and ndbm's own modules, where this Python has them, as mappings that can be written to.

hutch reads those files without them; to change one takes the library that knows how to.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping

from hutch.encoding import encode_key
from hutch.errors import ClosedError, HutchError, UnsupportedFileError
from hutch.foreign.base import ForeignDatabase, encode_stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, ClassVar

    from hutch.encoding import FileName, Key, Value

__all__ = ["BorrowedDatabase", "GnuModule", "NdbmModule", "borrow"]


class BorrowedDatabase(ForeignDatabase, MutableMapping[bytes, bytes]):
    """A database that a module of the stdlib has open.

    Args:
        file: its name, as the module takes it.
        flag: as the module takes it.
        mode: permission bits for a file that is made here, less the umask.

    Raises:
        ImportError: this Python lacks the module.
        HutchError: as the module has it.
    """

    readonly = False
    _module: ClassVar[str]

    def __init__(self, file: FileName, flag: str = "w", mode: int = 0o666) -> None:
        from importlib import import_module

        module: Any = import_module(self._module)
        self.path = os.path.abspath(os.fsdecode(file))
        self.readonly = flag == "r"
        self._error: type[OSError] = module.error
        try:
            self._database: Any = module.open(self.path, flag, mode)
        except module.error as problem:
            raise self._mapped(problem) from problem

    def _mapped(self, problem: OSError) -> HutchError:
        return HutchError(*problem.args[:1], f"{problem.args[-1]} ({self.kind})", self.path)

    def _find(self, key: bytes) -> bytes | None:
        try:
            return self._database.get(key)  # type: ignore[no-any-return]
        except self._error as problem:
            raise self._mapped(problem) from problem

    def _walk_keys(self) -> Iterator[bytes]:
        # A list: neither library promises a walk that survives changes.
        return iter(self._database.keys())

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for key in self._walk_keys():
            value = self._find(key)
            if value is not None:  # else it has been deleted meanwhile
                yield key, value

    def _count(self) -> int:
        return len(self._database)

    def __setitem__(self, key: Key, value: Value) -> None:
        name, data = encode_key(key), encode_stored(value)
        self._check_open()
        try:
            self._database[name] = data
        except self._error as problem:
            raise self._mapped(problem) from problem

    def __delitem__(self, key: Key) -> None:
        name = encode_key(key)
        self._check_open()
        try:
            del self._database[name]
        except KeyError:
            raise KeyError(name) from None
        except self._error as problem:
            raise self._mapped(problem) from problem

    def setdefault(self, key: Key, default: Value = None) -> bytes:  # type: ignore[assignment]
        """Return the value of `key`; where there is none, first store `default`."""
        value = self.get(key)
        if value is None:
            self[key] = value = encode_stored(default)
        return value  # type: ignore[no-any-return]

    def clear(self) -> None:
        """Delete every entry."""
        for key in self.keys():
            del self[key]

    def sync(self) -> None:
        """Bring what has been written to the disk, as far as the module can."""
        self._check_open()
        if hasattr(self._database, "sync"):
            self._database.sync()

    def reorganize(self) -> None:
        """Rewrite the file without the space that deleted entries have left, where the module can. O(n)."""
        self._check_open()
        if hasattr(self._database, "reorganize"):
            self._database.reorganize()

    def _release(self) -> None:
        self._database.close()

    def __reduce__(self) -> Any:
        if self.closed:
            raise ClosedError
        return type(self), (self.path, "r" if self.readonly else "w")


class GnuModule(BorrowedDatabase):
    """A database that ``dbm.gnu`` has open."""

    kind = "dbm.gnu"
    _module = "dbm.gnu"


class NdbmModule(BorrowedDatabase):
    """A database that ``dbm.ndbm`` has open."""

    kind = "dbm.ndbm"
    _module = "dbm.ndbm"


def borrow(kind: str, file: FileName, flag: str, mode: int) -> BorrowedDatabase:
    """Open a database with the stdlib's module for its kind.

    Raises:
        UnsupportedFileError: there is none.
    """
    module = {"dbm.gnu": GnuModule, "dbm.ndbm": NdbmModule}.get(kind)
    if module is not None:
        try:
            return module(file, flag, mode)
        except ImportError:
            pass
    reason = "can only be read" if module is None else f"can only be read where this Python lacks {kind}"
    name = os.fsdecode(file)
    raise UnsupportedFileError(
        f"{name} is a database in the form of {kind}, which {reason}: open it with flag 'r', or bring it over with "
        f"`hutch convert {name} NEW_NAME` and write to that"
    )
