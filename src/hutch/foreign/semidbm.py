"""Databases of ``semidbm``, read without it: a log of entries, each with a checksum, of which the last of a key counts.

Opening one reads the whole log for its keys, as semidbm itself does.
"""

from __future__ import annotations

import struct
import zlib

from hutch.errors import UnsupportedFileError
from hutch.foreign.base import ReadOnlyDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["SemidbmDatabase"]

_HEADER = struct.Struct("!4sHH")
_SIZES = struct.Struct("!ii")
_CHECKSUM = struct.Struct("!I")
_DELETED = -1  # in the place of a value's size


class SemidbmDatabase(ReadOnlyDatabase):
    """A database of semidbm: the ``data`` file of its folder. Every value that is read is checked."""

    kind = "semidbm"

    def _open(self) -> None:
        source = self._source
        magic, major, minor = _HEADER.unpack(source.read(0, _HEADER.size, "the header"))
        if magic != b"SEMI" or major != 1:
            raise UnsupportedFileError(f"{source.path} is not a database of semidbm, or of version {major}.{minor}")
        self._places: dict[bytes, tuple[int, int]] = {}  # by key: offset of the entry, size of the value
        offset = _HEADER.size
        while offset < source.size_bytes:
            key_bytes, value_bytes = _SIZES.unpack(source.read(offset, _SIZES.size, "an entry"))
            if key_bytes < 0 or value_bytes < _DELETED:
                raise source.corrupt("an entry of the database has an impossible size", offset)
            key = source.read(offset + _SIZES.size, key_bytes, "a key")
            if value_bytes == _DELETED:
                self._checked(offset, key, b"")
                self._places.pop(key, None)
            else:
                self._places[key] = offset, value_bytes
            offset += _SIZES.size + key_bytes + max(value_bytes, 0) + _CHECKSUM.size
        if offset != source.size_bytes:
            raise source.corrupt("the last entry of the database reaches past the end of the file", offset)

    def _checked(self, offset: int, key: bytes, value: bytes) -> bytes:
        """Return a value, having compared the checksum of its entry."""
        source = self._source
        at = offset + _SIZES.size + len(key) + len(value)
        stored = _CHECKSUM.unpack(source.read(at, _CHECKSUM.size, "a checksum"))[0]
        if zlib.crc32(value, zlib.crc32(key)) != stored:
            raise source.corrupt("an entry of the database does not match its checksum", offset, key)
        return value

    def _read(self, key: bytes, offset: int, size_bytes: int) -> bytes:
        source = self._source
        name = source.read(offset + _SIZES.size, len(key), "a key")
        if name != key:
            raise source.corrupt("the database has been written anew while it was open", offset, key)
        value = source.read(offset + _SIZES.size + len(key), size_bytes, "a value")
        return self._checked(offset, key, value)

    def _find(self, key: bytes) -> bytes | None:
        place = self._places.get(key)
        return None if place is None else self._read(key, *place)

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for key, place in self._places.items():
            yield key, self._read(key, *place)

    def _walk_keys(self) -> Iterator[bytes]:
        return iter(self._places)

    def _count(self) -> int:
        return len(self._places)
