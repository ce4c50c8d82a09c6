"""Trees of Berkeley DB: what Python 2's ``bsddb.btopen`` and many other programs wrote.

A B+tree: pages of keys that lead to pages of keys and values, which are in the order of the keys' bytes and linked to
their neighbours. (A program can give Berkeley DB another order. Then the pages contradict each other here, which is an
error and not a wrong answer; a walk needs no order.)
"""

from __future__ import annotations

import struct

from hutch.errors import UnsupportedFileError
from hutch.foreign.pages import PagedDatabase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from hutch.foreign.pages import Page

__all__ = ["BerkeleyTree"]

_INTERNAL, _LEAF = 3, 5  # types of page
_INLINE, _DUPLICATES, _LONG = 1, 2, 3  # kinds of item
_DELETED = 0x80
_HAS_DUPLICATES, _HAS_NUMBERS, _HAS_SUBDATABASES, _IS_COMPRESSED = 0x01, 0x02, 0x20, 0x80  # flags
_MAX_LEVEL = 255


class BerkeleyTree(PagedDatabase):
    """A tree of Berkeley DB 3 to 18. A value is found in O(log n). Of several values of a key the first is the one."""

    kind = "berkeleydb.btree"
    magic = 0x053162
    page_type = 9
    versions = (8, 9, 10)
    version_with_last_page = 9

    def _read_meta(self, meta: bytes) -> None:
        flags = struct.unpack_from(self._order + "I", meta, 48)[0]
        if flags & _HAS_SUBDATABASES:
            raise UnsupportedFileError(f"{self.path} holds several databases: only a file of one can be read")
        if flags & _HAS_NUMBERS:
            raise UnsupportedFileError(f"{self.path} has record numbers and no keys, so it is no mapping of bytes")
        if flags & _IS_COMPRESSED:
            raise UnsupportedFileError(f"{self.path} is compressed, so it can only be read by Berkeley DB")
        self._has_duplicates = bool(flags & _HAS_DUPLICATES)
        self._root: int = struct.unpack_from(self._order + "I", meta, 88)[0]

    # Items.

    def _item_at(self, page: Page, offset: int) -> tuple[int, bytes]:
        """Return the kind of an item and its bytes: themselves, or what says where they are."""
        size_bytes, kind = (
            struct.unpack_from(self._order + "HB", page.data, offset) if offset + 3 <= len(page.data) else (0, 0)
        )
        start, end = (offset + 4, offset + 12) if kind & ~_DELETED != _INLINE else (offset + 3, offset + 3 + size_bytes)
        if page.type == _INTERNAL:
            start, end = offset + 12, offset + 12 + size_bytes
        if end > self._page_bytes or not kind:
            raise self._source.corrupt("a page of the database contradicts itself", page.number * self._page_bytes)
        return kind, page.data[start:end]

    def _item(self, kind: int, data: bytes, page: Page) -> bytes:
        kind &= ~_DELETED
        if kind == _INLINE:
            return data
        if kind == _LONG:
            # Behind it on a page of keys only: how often that key has been used.
            number, size_bytes = struct.unpack_from(self._order + "II", data, len(data) - 8)
            return self._long_item(number, size_bytes)
        if kind == _DUPLICATES:
            number = struct.unpack_from(self._order + "I", data)[0]
            return self._first_duplicate(number)
        raise self._source.corrupt("an item of the database is of no known kind", page.number * self._page_bytes)

    def _first_duplicate(self, number: int) -> bytes:
        raise UnsupportedFileError(
            f"{self.path} has a key with very many values, which is not read: db_dump of Berkeley DB reads it"
        )

    def _key_on(self, page: Page, offset: int) -> bytes:
        kind, data = self._item_at(page, offset)
        if page.type == _INTERNAL and kind & ~_DELETED == _LONG:
            if len(data) < 12:
                raise self._source.corrupt("a page of the database contradicts itself", page.number * self._page_bytes)
            data = data[:12]
        return self._item(kind, data, page)

    def _leaf_pairs(self, page: Page) -> Iterator[tuple[int, int]]:
        """Return where the keys and values of a leaf are that have not been deleted, each key once."""
        offsets = self._offsets(page)
        if len(offsets) % 2:
            raise self._source.corrupt("a page of the database contradicts itself", page.number * self._page_bytes)
        previous = -1
        for key, value in zip(offsets[::2], offsets[1::2], strict=True):
            kind, _ = self._item_at(page, value)
            if key != previous and not kind & _DELETED:
                yield key, value
                previous = key

    # The mapping.

    def _child(self, page: Page, offset: int) -> int:
        if offset + 12 > self._page_bytes:
            raise self._source.corrupt("a page of the database contradicts itself", page.number * self._page_bytes)
        return struct.unpack_from(self._order + "I", page.data, offset + 4)[0]  # type: ignore[no-any-return]

    def _descend(self, key: bytes | None) -> Page:
        """Return the leaf that a key belongs to; None: the first."""
        number = self._root
        level = _MAX_LEVEL + 1
        while True:
            page = self._page(number, (_INTERNAL, _LEAF))
            if page.level >= level or (page.type == _LEAF) != (page.level == 1):
                raise self._source.corrupt("the pages of the database contradict each other", number * self._page_bytes)
            if page.type == _LEAF:
                return page
            level = page.level
            offsets = self._offsets(page)
            if not offsets:
                raise self._source.corrupt("a page of the database contradicts itself", number * self._page_bytes)
            low = 0
            if key is not None:
                # The first key of such a page counts as lower than any.
                high = len(offsets)
                while high - low > 1:
                    middle = (low + high) // 2
                    if self._key_on(page, offsets[middle]) <= key:
                        low = middle
                    else:
                        high = middle
            number = self._child(page, offsets[low])

    def _find(self, key: bytes) -> bytes | None:
        page = self._descend(key)
        previous: bytes | None = None
        for at, value_at in self._leaf_pairs(page):
            name = self._key_on(page, at)
            if name == key:
                return self._item(*self._item_at(page, value_at), page)
            if previous is not None and name <= previous:
                raise self._out_of_order(page, name)
            previous = name
        return None

    def _out_of_order(self, page: Page, key: bytes) -> Exception:
        return self._source.corrupt("the keys of the database are not in order", page.number * self._page_bytes, key)

    def _walk_leaves(self) -> Iterator[tuple[Page, bytes, int]]:
        page = self._descend(None)
        if page.previous:
            raise self._source.corrupt(
                "the pages of the database contradict each other", page.number * self._page_bytes
            )
        last: bytes | None = None
        while True:
            for at, value_at in self._leaf_pairs(page):
                key = self._key_on(page, at)
                if last is not None and key <= last:
                    if key == last and self._has_duplicates:
                        continue
                    raise self._out_of_order(page, key)
                last = key
                yield page, key, value_at
            if not page.next:
                return
            page = self._page(page.next, (_LEAF,), page.number)

    def _walk(self) -> Iterator[tuple[bytes, bytes]]:
        for page, key, value_at in self._walk_leaves():
            yield key, self._item(*self._item_at(page, value_at), page)

    def _walk_keys(self) -> Iterator[bytes]:
        return (key for _, key, _ in self._walk_leaves())
