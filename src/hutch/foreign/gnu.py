"""Databases of GNU dbm, read without it.

The file starts with a header. It names a *directory*: a table of offsets of *buckets*, of which the topmost bits of a
key's hash choose one, as in every extendible hash table: a bucket that tells keys apart by fewer bits than the
directory stands in several neighbouring places of it. A bucket is a small table with open addressing; each of its
places has the hash, the first bytes of the key, and where key and value lie in the file, one behind the other.

Numbers are those of the machine that wrote the file: of either byte order, and with offsets of 32 or 64 bits, which
the first four bytes say (but for the oldest files, and for how a compiler aligned a bucket; both show in the sizes).
Facts about the format are from the documentation and the headers of GNU dbm 1.8 to 1.23. There are no checksums: of
damage inside a value nobody can know, but a key is only believed where its hash has led to it.
"""

from __future__ import annotations

import fcntl
import struct
from itertools import cycle
from operator import lshift

from hutch.errors import LockTimeout, UnsupportedFileError
from hutch.foreign.base import ReadOnlyDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    Element: TypeAlias = tuple[int, bytes, int, int, int]  # hash, beginning of the key, offset, sizes of key and value

__all__ = ["GnuDatabase", "hashes_of"]

_WIDTHS = {0x13579ACE: (8, 4), 0x13579ACD: (4,), 0x13579ACF: (8,), 0x13579AD0: (4,), 0x13579AD1: (8,)}
_HASH_BITS = 31
_MASK = (1 << _HASH_BITS) - 1
_SHIFTS = tuple(index * 5 % 24 for index in range(24))
_FREE = -1  # the hash of a place that is not taken
_DIRECTORY_CHUNK_BYTES = 1 << 16

# Bytes in front of the places of a bucket, by width of offsets: a count, six pieces of free space, the bits that the
# bucket's keys share, the number of places taken. 64-bit offsets are aligned to 8 bytes, but for one old machine.
_BUCKET_HEADS = {4: (60,), 8: (112, 84)}


def hashes_of(key: bytes) -> tuple[int, ...]:
    """Return the hashes that GNU dbm gives a key: one, or two where it has a byte above 127.

    It adds the bytes as C's ``char``, which is signed on some machines, so such a key has a hash for each kind.
    """
    signed = _hash(memoryview(key).cast("b"))
    return (signed,) if key.isascii() else (signed, _hash(key))


def _hash(characters: bytes | memoryview[int]) -> int:
    value: int = 0x238F13AF * len(characters) + sum(map(lshift, characters, cycle(_SHIFTS)))
    return (1103515243 * (value & _MASK) + 12345) & _MASK


class GnuDatabase(ReadOnlyDatabase):
    """A database of GNU dbm: the standard and the extended (numsync) format. A value is found in O(1).

    While it is open, GNU dbm lets nobody write to it (and it cannot be opened while somebody does): the lock is the
    one that GNU dbm itself takes to read.

    Raises:
        LockTimeout: a writer has it open.
    """

    kind = "dbm.gnu"

    def _open(self) -> None:
        source = self._source
        start = source.read(0, 4, "the header")
        for order in "<", ">":
            widths = _WIDTHS.get(struct.unpack(order + "I", start)[0])
            if widths is not None:
                break
        else:
            raise UnsupportedFileError(f"{source.path} is not a database of GNU dbm, or of a version unknown here")
        self._lock()
        for width in widths:
            if self._read_header(order, width):
                return
        raise source.corrupt("the header of the database contradicts itself", 0)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._source.fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LockTimeout(f"{self.path} is open in a program that may write to it: close it there first") from None
        except OSError:
            pass  # a file system without locks: nobody else could take one either

    def _read_header(self, order: str, width: int) -> bool:
        """Take the header over if it is one of offsets of `width` bytes."""
        source = self._source
        offset_code = "q" if width == 8 else "i"
        layout = struct.Struct(f"{order}ii{offset_code}iiii{offset_code}")
        header = layout.unpack(source.read(0, layout.size, "the header"))
        _magic, _block, directory, directory_bytes, bits, bucket_bytes, places, next_block = header
        if not 0 <= bits <= _HASH_BITS or directory_bytes != width << bits or bucket_bytes <= 0 or places <= 0:
            return False
        if directory < layout.size or directory + directory_bytes > source.size_bytes or next_block < layout.size:
            return False
        element = struct.Struct(f"{order}i4s{offset_code}ii")
        for head in _BUCKET_HEADS[width]:
            if bucket_bytes >= head and (bucket_bytes - head) // element.size == places:
                break
        else:
            return False
        self._directory = directory
        self._directory_bits = bits
        self._width = width
        self._place = struct.Struct(order + offset_code)
        self._head = head
        self._counts = struct.Struct(order + "ii")
        self._places = places
        self._element = element
        self._length: int | None = None
        return True

    # A bucket.

    def _read_bucket(self, offset: int) -> tuple[int, int, bytes]:
        """Return the bits that the keys of a bucket share, how many it has, and its places."""
        source = self._source
        data = source.read(offset, self._head + self._places * self._element.size, "a bucket")
        bits, count = self._counts.unpack_from(data, self._head - 8)
        if not 0 <= bits <= self._directory_bits or not 0 <= count <= self._places:
            raise source.corrupt("a bucket of the database contradicts itself", offset)
        return bits, count, data

    def _elements(self, offset: int, prefix: int, bits: int, count: int, data: bytes) -> list[Element]:
        """Return what stands in a bucket, having checked that a search would find each of it, and nothing else."""
        places = self._places
        elements: list[Element] = list(self._element.iter_unpack(memoryview(data)[self._head :]))
        taken = [place for place, element in enumerate(elements) if element[0] != _FREE]
        first_free = next((place for place, element in enumerate(elements) if element[0] == _FREE), 0)
        sound = len(taken) == count
        home = first_free  # the place behind the last free one, walking around once
        for place in (*range(first_free, places), *range(first_free)):
            value = elements[place][0]
            if value == _FREE:
                home = (place + 1) % places
                continue
            belongs = value >= 0 and value >> (_HASH_BITS - bits) == prefix >> (self._directory_bits - bits)
            reachable = count == places or (value - home) % places <= (place - home) % places
            sound = sound and belongs and reachable
        if not sound:
            raise self._source.corrupt("a bucket of the database contradicts itself", offset)
        found = [elements[place] for place in taken]
        if len({element[0] for element in found}) < count:  # some have the same hash, so perhaps the same key
            keys = [self._read_key(element) for element in found]
            if len(set(keys)) < count:
                raise self._source.corrupt("a key of the database occurs twice", offset)
        return found

    def _read_key(self, element: Element) -> bytes:
        value, start, offset, key_bytes, value_bytes = element
        source = self._source
        if min(offset, key_bytes, value_bytes) < 0 or offset + key_bytes + value_bytes > source.size_bytes:
            raise source.corrupt("an entry of the database reaches past the end of the file", offset)
        key = source.read(offset, key_bytes, "a key")
        if value not in hashes_of(key) or key[:4] != start[:key_bytes]:
            raise source.corrupt("a key of the database is not the one that was stored", offset, key)
        return key

    def _read_value(self, element: Element) -> bytes:
        _, _, offset, key_bytes, value_bytes = element
        return self._source.read(offset + key_bytes, value_bytes, "a value")

    # The mapping.

    def _bucket_of(self, prefix: int) -> int:
        data = self._source.read(self._directory + prefix * self._width, self._width, "the directory")
        return self._place.unpack(data)[0]  # type: ignore[no-any-return]

    def _find(self, key: bytes) -> bytes | None:
        for value in hashes_of(key):
            found = self._find_hashed(key, value)
            if found is not None:
                return found
        return None

    def _find_hashed(self, key: bytes, value: int) -> bytes | None:
        places = self._places
        prefix = value >> (_HASH_BITS - self._directory_bits)
        bucket = self._bucket_of(prefix)
        bits, count, data = self._read_bucket(bucket)
        unpack = self._element.unpack_from
        size, head = self._element.size, self._head
        for step in range(places):
            element: Element = unpack(data, head + (value + step) % places * size)
            if element[0] == _FREE:
                break
            if element[0] == value and element[3] == len(key) and self._read_key(element) == key:
                return self._read_value(element)
        self._elements(bucket, prefix, bits, count, data)  # a miss counts only in a bucket that is sound
        return None

    def _walk_elements(self) -> Iterator[Element]:
        source = self._source
        total = 1 << self._directory_bits
        prefix = 0
        while prefix < total:
            bucket = self._bucket_of(prefix)
            bits, count, data = self._read_bucket(bucket)
            span = 1 << (self._directory_bits - bits)
            if prefix % span:
                raise source.corrupt("the directory of the database contradicts a bucket", bucket)
            self._check_span(prefix, span, bucket)
            yield from self._elements(bucket, prefix, bits, count, data)
            prefix += span

    def _check_span(self, prefix: int, span: int, bucket: int) -> None:
        """See that all places of the directory that share a bucket name it."""
        expected = self._place.pack(bucket)
        at = self._directory + prefix * self._width
        end = at + span * self._width
        while at < end:
            size_bytes = min(end - at, _DIRECTORY_CHUNK_BYTES)
            if self._source.read(at, size_bytes, "the directory") != expected * (size_bytes // self._width):
                raise self._source.corrupt("the directory of the database contradicts a bucket", at)
            at += size_bytes

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for element in self._walk_elements():
            yield self._read_key(element), self._read_value(element)

    def _walk_keys(self) -> Iterator[bytes]:
        return map(self._read_key, self._walk_elements())

    def _count(self) -> int:
        if self._length is None:
            self._length = sum(1 for _ in self._walk_elements())
        return self._length
