"""What the hash files and the trees of Berkeley DB (versions 3 to 18) have in common: a file of pages.

Page 0 describes the file. Every page begins with its own number and those of its neighbours in a chain, which is what
keeps a reader out of circles: a page counts only where its number is the one that was asked for, and where it
names the page before it. Values that are too long for a page lie in a chain of *overflow* pages. Numbers are those of
the machine that wrote the file, of either byte order. A file may have a checksum on each page; then it is compared.

Facts about the layout are from the documentation and the headers of Berkeley DB.
"""

from __future__ import annotations

import struct
from operator import mul

from hutch.errors import UnsupportedFileError
from hutch.foreign.base import ReadOnlyDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import NamedTuple
else:
    from hutch.records import NamedTuple

__all__ = ["OVERFLOW", "Page", "PagedDatabase", "sum_of"]

OVERFLOW = 7  # a type of page
_META_BYTES = 512
_PAGE_HEADER_BYTES = 26
_CHECKED_HEADER_BYTES = 32  # with a checksum of four bytes at 28
_META_CHECKSUM_OFFSET = 492
_PAGE_CHECKSUM_OFFSET = 28
_HAS_CHECKSUMS = 0x01
_HAS_PARTITIONS = 0x02 | 0x04


class Page(NamedTuple):
    """One page. `free` is where its lowest item begins, but on an overflow page the size of what it holds."""

    number: int
    previous: int
    next: int
    entries: int
    free: int
    level: int
    type: int
    data: bytes


def sum_of(data: bytes) -> int:
    """Return the hash that serves as a checksum: each byte is added to 33 times what was before it."""
    total: int = sum(map(mul, data, _powers(len(data))))
    return total & 0xFFFFFFFF


def _powers(count: int) -> list[int]:
    cached = _power_tables.get(count)
    if cached is None:
        cached = [1] * count
        for index in range(count - 2, -1, -1):
            cached[index] = cached[index + 1] * 33 & 0xFFFFFFFF
        if len(_power_tables) < 16:
            _power_tables[count] = cached
    return cached


_power_tables: dict[int, list[int]] = {}


class PagedDatabase(ReadOnlyDatabase):
    """A file of Berkeley DB whose first page has the magic number `magic`."""

    magic: int
    page_type: int
    versions: tuple[int, ...]
    version_with_last_page: int  # the first that says how many pages there are: Berkeley DB 4.1's

    def _open(self) -> None:
        source = self._source
        meta = source.read(0, _META_BYTES, "the first page")
        for order in "<", ">":
            magic, version, page_bytes = struct.unpack_from(order + "III", meta, 12)
            if magic == self.magic:
                break
        else:
            raise UnsupportedFileError(f"{source.path} is not a database in the form of {self.kind}")
        if version not in self.versions:
            known = f"{self.versions[0]} to {self.versions[-1]}"
            raise UnsupportedFileError(
                f"{source.path} is of version {version} of its format, and only versions {known} can be read: "
                "db_dump of the library that wrote it and db_load of a newer one bring it up to date"
            )
        self._order = order
        self._version = version
        self._take_meta(meta, page_bytes)
        self._length: int | None = None
        self._read_meta(meta)

    def _take_meta(self, meta: bytes, page_bytes: int) -> None:
        source = self._source
        number, encryption, page_type, flags = struct.unpack_from(self._order + "I12xBBB", meta, 8)
        last_page, partitions = struct.unpack_from(self._order + "II", meta, 32)
        is_sound = number == 0 and page_type == self.page_type
        is_sound = is_sound and 512 <= page_bytes <= 65536 and not page_bytes & (page_bytes - 1)
        if self._version < self.version_with_last_page:
            # Nothing is encrypted, checked or parted yet, and in these places may stand what is of no use any more.
            encryption = flags = partitions = 0
            last_page = source.size_bytes // page_bytes - 1 if is_sound else 0
        if encryption:
            raise UnsupportedFileError(f"{source.path} is encrypted, so it can only be read by Berkeley DB")
        if flags & _HAS_PARTITIONS or partitions:
            raise UnsupportedFileError(f"{source.path} is one of several parts, and only a whole database can be read")
        # Where db_upgrade has put the number of the last page, that is of one page too many.
        if not is_sound or last_page * page_bytes > source.size_bytes:
            raise source.corrupt("the first page of the database contradicts itself, or the file", 0)
        self._page_bytes = page_bytes
        self._page_count = min(last_page + 1, source.size_bytes // page_bytes)
        self._has_checksums = bool(flags & _HAS_CHECKSUMS)
        self._header_bytes = _CHECKED_HEADER_BYTES if self._has_checksums else _PAGE_HEADER_BYTES
        self._header = struct.Struct(self._order + "8xIIIHHBB")
        if self._has_checksums:
            self._compare_checksum(meta, _META_CHECKSUM_OFFSET, 0)

    def _read_meta(self, meta: bytes) -> None:
        """Take over what the first page says about this kind of database."""
        raise NotImplementedError

    def _compare_checksum(self, data: bytes, at: int, number: int) -> None:
        stored = struct.unpack_from(self._order + "I", data, at)[0]
        if sum_of(data[:at] + bytes(4) + data[at + 4 :]) != stored:
            raise self._source.corrupt("a page does not match its checksum", number * self._page_bytes)

    def _page(
        self, number: int, types: tuple[int, ...], previous: int | None = None, *, may_be_blank: bool = False
    ) -> Page:
        """Read a page.

        Args:
            types: what it may be.
            previous: the page that it must name as the one before it; None where that is not known.
            may_be_blank: whether it may have been set aside and never written: all zeros.

        Raises:
            CorruptError: it is another page than the one that was asked for.
        """
        source, size_bytes = self._source, self._page_bytes
        offset = number * size_bytes
        if not 0 < number < self._page_count:
            raise source.corrupt(f"the database names a page {number} that it has not", offset)
        data = source.read(offset, size_bytes, "a page")
        found, before, after, entries, free, level, page_type = self._header.unpack_from(data)
        page = Page(found, before, after, entries, free, level, page_type, data)
        if not page.type and not previous and may_be_blank and not any(data):
            return page
        is_sound = page.number == number and page.type in types and page.next < self._page_count
        if not is_sound or (previous is not None and page.previous != previous):
            raise source.corrupt("a page of the database is not the one that belongs here", offset)
        if self._has_checksums:
            self._compare_checksum(data, _PAGE_CHECKSUM_OFFSET, number)
        return page

    def _offsets(self, page: Page) -> tuple[int, ...]:
        """Return where the items of a page begin."""
        end = self._header_bytes + 2 * page.entries
        if end > self._page_bytes:
            raise self._source.corrupt("a page of the database contradicts itself", page.number * self._page_bytes)
        offsets: tuple[int, ...] = struct.unpack_from(f"{self._order}{page.entries}H", page.data, self._header_bytes)
        if offsets and (min(offsets) < end or max(offsets) >= self._page_bytes):
            raise self._source.corrupt("a page of the database contradicts itself", page.number * self._page_bytes)
        return offsets

    def _pieces(self, number: int, size_bytes: int) -> Iterator[bytes]:
        """Read what lies in a chain of overflow pages."""
        previous = 0
        rest = size_bytes
        if size_bytes > self._source.size_bytes:
            raise self._source.corrupt("a long item is longer than the file", number * self._page_bytes)
        while number:
            page = self._page(number, (OVERFLOW,), previous)
            length = page.free
            if not 0 < length <= min(rest, self._page_bytes - self._header_bytes):
                break
            yield page.data[self._header_bytes : self._header_bytes + length]
            rest -= length
            previous, number = number, page.next
        if rest or number:
            raise self._source.corrupt(
                "a long item has another length than it should", (number or previous) * self._page_bytes
            )

    def _long_item(self, number: int, size_bytes: int) -> bytes:
        return b"".join(self._pieces(number, size_bytes))

    def _count(self) -> int:
        if self._length is None:
            self._length = super()._count()
        return self._length
