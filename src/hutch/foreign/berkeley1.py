"""Hash files of Berkeley DB 1 (4.4BSD's db 1.85): what ``dbm.ndbm`` writes on macOS and the BSDs, as ``NAME.db``.

Linear hashing, as in the later versions, but pages carry neither number nor type. The first page describes the file,
always in big-endian order; the others are in the order that it names. A page begins with a table of two small numbers
for each pair, where its key and its value begin, the last pair being lowest; below 4 the second number is a mark. A
page that goes on elsewhere says so with a mark in its last pair. A *big* pair has pages of its own, first those of
its key, then those of its value, and the last may name a page where the bucket goes on.

There are no checksums, and a page of zeros is one that has not been used yet. What keeps a reader out of circles is
that no page may occur twice in a bucket, and what keeps it from believing nonsense is that each key must belong to the
bucket that it stands in. Facts about the layout are from the documentation and the headers of 4.4BSD.
"""

from __future__ import annotations

import struct

from hutch.errors import UnsupportedFileError
from hutch.foreign.base import ReadOnlyDatabase
from hutch.foreign.berkeley_hash import PROBE, times_33

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple
else:
    from hutch.records import NamedTuple

__all__ = ["BerkeleyOneHash"]

_HEADER = struct.Struct(">17i32i32H")
_MAGIC = 0x061561
_VERSIONS = (1, 2)
_MAX_SPLITS = 32
_PAGE_BITS = 11  # of the address of an overflow page: its number among those of one generation of splits
# What the second number of a pair may be, if it is no offset.
_NEXT_PAGE, _PARTIAL_KEY, _FULL_KEY, _FULL_KEY_DATA, _FIRST_OFFSET = 0, 1, 2, 3, 4


class _Page(NamedTuple):
    """A page: its offset in the file, its table (the count of numbers, then the numbers), and its bytes."""

    offset: int
    table: tuple[int, ...]
    data: bytes


def _signed_times_33(key: bytes) -> int:
    """Return what `times_33` gives where C's ``char`` is signed."""
    value = 0
    for character in memoryview(key).cast("b"):
        value = (value * 33 + character) & 0xFFFFFFFF
    return value


class BerkeleyOneHash(ReadOnlyDatabase):
    """A hash file of Berkeley DB 1. A value is found in O(1), but in O(n) under a hash function of one's own."""

    kind = "bsddb185.hash"

    def _open(self) -> None:
        source = self._source
        header = _HEADER.unpack(source.read(0, _HEADER.size, "the header"))
        magic, version, order, page_bytes, shift = header[:5]
        last, high, low, _fill, _key_count, header_pages, probe = header[10:17]
        if magic != _MAGIC or version not in _VERSIONS:
            raise UnsupportedFileError(
                f"{source.path} is not a hash file of Berkeley DB 1, or of a version ({version}) that is not read"
            )
        orders = {1234: "<", 4321: ">"}
        is_sound = order in orders and 64 <= page_bytes <= 65536 and page_bytes == 1 << (shift & 31)
        is_sound = is_sound and header_pages > 0 and min(last, high, low) >= 0
        is_sound = is_sound and not high & (high + 1) and low == high >> 1 and low <= last <= high
        if not is_sound or last > source.size_bytes:
            raise source.corrupt("the header of the database contradicts itself, or the file", 0)
        self._order = orders[order]
        self._page_bytes = page_bytes
        self._last_bucket, self._high_mask, self._low_mask = last, high, low
        self._length: int | None = None
        self._header_pages: int = header_pages
        self._spares: tuple[int, ...] = header[17:49]
        self._is_known_hash = probe & 0xFFFFFFFF == times_33(PROBE)

    # Pages.

    def _page_of_bucket(self, bucket: int) -> int:
        spare: int = self._spares[bucket.bit_length() - 1] if bucket else 0
        return bucket + self._header_pages + spare

    def _page_at(self, address: int, seen: set[int]) -> _Page:
        """Read the overflow page of an address.

        Args:
            seen: the addresses of the bucket so far: a page that comes again would come for ever.
        """
        generation = address >> _PAGE_BITS
        if not address or generation >= _MAX_SPLITS or address in seen:
            raise self._source.corrupt(f"the database names an overflow page {address:#x} that cannot be")
        seen.add(address)
        return self._read_page(self._page_of_bucket((1 << generation) - 1) + (address & ((1 << _PAGE_BITS) - 1)))

    def _read_page(self, number: int, *, may_be_missing: bool = False) -> _Page:
        source, size_bytes = self._source, self._page_bytes
        offset = number * size_bytes
        if may_be_missing and offset >= source.size_bytes:
            return _Page(offset, (0,), b"")  # a bucket that nothing has been written to yet
        data = source.read(offset, size_bytes, "a page")
        count = struct.unpack_from(self._order + "H", data)[0]
        if not count and may_be_missing:
            return _Page(offset, (0,), b"")
        if count % 2 or 2 * (count + 3) > size_bytes:
            raise source.corrupt("a page of the database contradicts itself", offset)
        return _Page(offset, struct.unpack_from(f"{self._order}{count + 3}H", data), data)

    def _slice(self, page: _Page, start: int, end: int) -> bytes:
        """Return what lies between two offsets of a page, behind its table."""
        if not 2 * (page.table[0] + 3) <= start <= end <= self._page_bytes:
            raise self._source.corrupt("a page of the database contradicts itself", page.offset)
        return page.data[start:end]

    # Buckets.

    def _pairs(self, bucket: int) -> Iterator[tuple[bytes, bytes]]:
        """Read the pairs of a bucket."""
        seen: set[int] = set()
        page = self._read_page(self._page_of_bucket(bucket), may_be_missing=True)
        while True:
            table = page.table
            end = self._page_bytes
            following = 0
            for at in range(1, table[0], 2):
                start, mark = table[at], table[at + 1]
                if mark >= _FIRST_OFFSET:
                    yield self._slice(page, start, end), self._slice(page, mark, start)
                    end = mark
                    continue
                if mark == _NEXT_PAGE:
                    following = start
                    is_last = at + 1 == table[0]
                else:
                    key, value, following = self._big_pair(page, seen)
                    is_last = at == 1
                    yield key, value
                if not is_last:
                    raise self._source.corrupt("a page of the database contradicts itself", page.offset)
                break
            if not following:
                return
            page = self._page_at(following, seen)

    def _big_pair(self, page: _Page, seen: set[int]) -> tuple[bytes, bytes, int]:
        """Read a pair that has pages of its own; returns key, value, and the address where the bucket goes on, or 0."""
        key: list[bytes] = []
        value: list[bytes] = []
        while True:
            table = page.table
            if table[0] < 2:
                raise self._source.corrupt("a long item of the database ends too early", page.offset)
            mark = table[2]
            key.append(self._slice(page, table[1], self._page_bytes))
            if mark not in (_PARTIAL_KEY, _FULL_KEY, _FULL_KEY_DATA) or table[0] < 4:
                raise self._source.corrupt("a long item of the database ends too early", page.offset)
            if mark != _PARTIAL_KEY:
                break
            page = self._page_at(table[3], seen)
        if mark == _FULL_KEY_DATA:  # the value begins here, and if any byte of the page is free, it ends here too
            value.append(self._slice(page, table[4], table[1]))
            if table[table[0] + 1]:
                return b"".join(key), b"".join(value), table[3]
        while True:
            page = self._page_at(table[table[0] - 1], seen)
            table = page.table
            if table[0] < 2 or table[2] not in (_FULL_KEY, _FULL_KEY_DATA):
                raise self._source.corrupt("a long item of the database ends too early", page.offset)
            value.append(self._slice(page, table[1], self._page_bytes))
            if table[2] == _FULL_KEY_DATA:
                return b"".join(key), b"".join(value), table[3] if table[0] > 2 else 0
            if table[0] < 4:
                raise self._source.corrupt("a long item of the database ends too early", page.offset)

    def _buckets_of(self, key: bytes) -> set[int]:
        """Return the buckets that a key may stand in: two where the kind of C's ``char`` makes a difference."""
        buckets = set()
        for value in {times_33(key)} if key.isascii() else {times_33(key), _signed_times_33(key)}:
            bucket = value & self._high_mask
            buckets.add(bucket & self._low_mask if bucket > self._last_bucket else bucket)
        return buckets

    # The mapping.

    def _find(self, key: bytes) -> bytes | None:
        buckets = self._buckets_of(key) if self._is_known_hash else range(self._last_bucket + 1)
        for bucket in buckets:
            for name, value in self._pairs(bucket):
                if name == key:
                    return value
                if self._is_known_hash and bucket not in self._buckets_of(name):
                    raise self._misplaced(name)
        return None

    def _misplaced(self, key: bytes) -> Exception:
        return self._source.corrupt("a key of the database stands where it does not belong", key=key)

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for bucket in range(self._last_bucket + 1):
            seen: set[bytes] = set()
            for key, value in self._pairs(bucket):
                if self._is_known_hash and bucket not in self._buckets_of(key):
                    raise self._misplaced(key)
                if key in seen or self._stands_before(key, bucket):
                    raise self._source.corrupt("a key of the database occurs twice", key=key)
                seen.add(key)
                yield key, value

    def _stands_before(self, key: bytes, bucket: int) -> bool:
        """Whether a key of this bucket stands in the other one too that it may stand in, if that comes first."""
        if not self._is_known_hash:
            return False
        others = [other for other in self._buckets_of(key) if other < bucket]
        return any(name == key for other in others for name, _ in self._pairs(other))

    def _count(self) -> int:
        # The header has a number too, but the library loses count when it replaces long values.
        if self._length is None:
            self._length = super()._count()
        return self._length
