"""Hash files of Berkeley DB: what ``dbm.ndbm`` writes on Debian and its kin, and Python 2's ``bsddb.hashopen``.

Linear hashing: the low bits of a key's hash are the number of a *bucket*, and where the file has not grown so far yet,
one bit fewer. A table of *spares* in the first page says where in the file each power of two of the buckets begins. A
bucket is a page, and a chain of further ones behind it; a key stands beside its value.
"""

from __future__ import annotations

import struct

from hutch.errors import UnsupportedFileError
from hutch.foreign.pages import PagedDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hutch.foreign.pages import Page

__all__ = ["PROBE", "BerkeleyHash", "fowler_noll_vo", "times_33"]

_PAGE_TYPES = (2, 13)  # not sorted, up to Berkeley DB 4.5, and sorted
_INLINE, _DUPLICATES, _LONG, _MANY_DUPLICATES = 1, 2, 3, 4  # the kinds of an item
_HAS_SUBDATABASES = 0x02
PROBE = b"%$sniglet^&\0"  # its hash is in the file, and tells which function made it
_LEAF = 12  # a page of duplicates


def fowler_noll_vo(key: bytes) -> int:
    """Return the hash that Berkeley DB gives a key unless it is told otherwise (FNV-1, 32 bits, from 0)."""
    value = 0
    for byte in key:
        value = (value * 16777619 & 0xFFFFFFFF) ^ byte
    return value


def times_33(key: bytes) -> int:
    """Return the hash of files that came over from Berkeley DB 1."""
    value = 0
    for byte in key:
        value = (value * 33 + byte) & 0xFFFFFFFF
    return value


class BerkeleyHash(PagedDatabase):
    """A hash file of Berkeley DB 3 to 18. A value is found in O(1), but in O(n) under a hash function of one's own.

    Of several values of one key (which ``dbm`` cannot store) the first is the one.
    """

    kind = "berkeleydb.hash"
    magic = 0x061561
    page_type = 8
    versions = (7, 8, 9, 10)
    version_with_last_page = 8

    def _read_meta(self, meta: bytes) -> None:
        order = self._order
        flags = struct.unpack_from(order + "I", meta, 48)[0]
        last, high, low, _fill, _count, probe = struct.unpack_from(order + "6I", meta, 72)
        spares: tuple[int, ...] = struct.unpack_from(order + "32I", meta, 96)
        if flags & _HAS_SUBDATABASES:
            raise UnsupportedFileError(f"{self.path} holds several databases: only a file of one can be read")
        is_sound = not high & (high + 1) and low == high >> 1 and low <= last <= high
        if not is_sound or last >= self._page_count:
            raise self._source.corrupt("the first page of the database contradicts itself", 0)
        self._last_bucket = last
        self._high_mask, self._low_mask = high, low
        self._spares = spares
        functions: tuple[Callable[[bytes], int], ...] = (fowler_noll_vo, times_33)
        self._hash = next((function for function in functions if function(PROBE) == probe), None)
        self._page_limit = self._page_bytes

    def _bucket_of(self, key: bytes) -> int | None:
        """Return the bucket that a key belongs to; None where the file has a hash function of its own."""
        if self._hash is None:
            return None
        value = self._hash(key)
        bucket: int = value & self._high_mask
        return bucket & self._low_mask if bucket > self._last_bucket else bucket

    def _pages_of(self, bucket: int) -> Iterator[Page]:
        number = bucket + self._spares[bucket.bit_length()]
        previous = 0
        while number:
            page = self._page(number, _PAGE_TYPES, previous, may_be_blank=True)
            yield page
            previous, number = number, page.next

    def _pairs(self, page: Page) -> Iterator[tuple[bytes, bytes]]:
        """Return the raw items of a page: keys and values."""
        offsets = self._offsets(page)
        ends = (self._page_bytes, *offsets)[: len(offsets)]
        if len(offsets) % 2 or any(map(int.__ge__, offsets, ends)):
            raise self._source.corrupt("a page of the database contradicts itself", page.number * self._page_bytes)
        data = page.data
        items = [data[start:end] for start, end in zip(offsets, ends, strict=True)]
        return zip(items[::2], items[1::2], strict=True)

    def _item(self, item: bytes, page: Page) -> bytes:
        """Return what an item stands for."""
        kind = item[0]
        if kind == _INLINE:
            return item[1:]
        order = self._order
        if kind == _LONG and len(item) == 12:
            number, size_bytes = struct.unpack_from(order + "II", item, 4)
            return self._long_item(number, size_bytes)
        if kind == _DUPLICATES and len(item) >= 5:
            size_bytes = struct.unpack_from(order + "H", item, 1)[0]
            if size_bytes + 5 <= len(item) and item[3 + size_bytes : 5 + size_bytes] == item[1:3]:
                return item[3 : 3 + size_bytes]
        if kind == _MANY_DUPLICATES and len(item) == 8:
            raise UnsupportedFileError(
                f"{self.path} has a key with very many values, which is not read: db_dump of Berkeley DB reads it"
            )
        raise self._source.corrupt("an item of the database is of no known kind", page.number * self._page_bytes)

    def _find(self, key: bytes) -> bytes | None:
        bucket = self._bucket_of(key)
        if bucket is None:
            return next((value for found, value in self._walk() if found == key), None)
        inline = b"\1" + key
        size = struct.Struct(self._order + "I")
        for page in self._pages_of(bucket):
            for name, item in self._pairs(page):
                if name == inline:
                    return self._item(item, page)
                if name[0] != _INLINE:
                    is_candidate = name[0] == _LONG and len(name) == 12 and size.unpack_from(name, 8)[0] == len(key)
                    if (is_candidate or name[0] != _LONG) and self._item(name, page) == key:
                        return self._item(item, page)
            self._check_place(page, bucket)
        return None

    def _check_place(self, page: Page, bucket: int) -> None:
        """See that a page on which nothing was found is one of this bucket's: its first key says so."""
        for name, _ in self._pairs(page):
            self._check_key(self._item(name, page), bucket, page)
            return

    def _check_key(self, key: bytes, bucket: int, page: Page) -> None:
        if self._hash is not None and self._bucket_of(key) != bucket:
            problem = "a key of the database stands where it does not belong"
            raise self._source.corrupt(problem, page.number * self._page_bytes, key)

    def _walk_pairs(self) -> Iterator[tuple[bytes, bytes, Page]]:
        for bucket in range(self._last_bucket + 1):
            seen: set[bytes] = set()
            for page in self._pages_of(bucket):
                for name, item in self._pairs(page):
                    key = self._item(name, page)
                    self._check_key(key, bucket, page)
                    if key in seen:
                        problem = "a key of the database occurs twice"
                        raise self._source.corrupt(problem, page.number * self._page_bytes, key)
                    seen.add(key)
                    yield key, item, page

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for key, item, page in self._walk_pairs():
            yield key, self._item(item, page)

    def _walk_keys(self) -> Iterator[bytes]:
        return (key for key, _, _ in self._walk_pairs())
