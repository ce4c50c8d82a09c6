"""The index: a memory-mapped hash table from key to directory line, extent and checksum.

Linear hashing over 512-byte buckets: the table grows by one bucket at a time, so no insertion ever pays
for a rehash of everything. Source: W. Litwin, "Linear hashing: a new tool for file and table addressing",
VLDB 1980. Every ninth page is kept for overflow; where none is left, the table grows until there is one.

The index stores no keys: a lookup gives candidates, whose key the caller compares in the directory line.
Everything read from the file is bounds-checked, for it may be torn or hostile.
"""

from __future__ import annotations

from collections.abc import Iterator

from hutch import format as fmt
from hutch.errors import CorruptIndexError
from hutch.header import IndexHeader
from hutch.pages import SPLITS, Slot, check_seal, empty_page, halve_chain, page_of, part

__all__ = ["Index", "Position"]

_HEADER = fmt.INDEX_HEADER_BYTES
_BUCKET = fmt.BUCKET_BYTES
_SLOTS = fmt.BUCKET_SLOTS
_SLOTS_AT = fmt.SLOTS_AT
_NO_ENTRY = bytes(fmt.SLOT_BYTES)
_SLOT_BYTES = fmt.SLOT_BYTES
_SHIFT = fmt.OVERFLOW_SHIFT
_STRIDE = fmt.OVERFLOW_STRIDE
_LOW = fmt.HASH_LOW_MASK
_LINK_AT = fmt.LINK_AT
_LINK_END = fmt.LINK_AT + fmt.LINK.size
_SEAL_AT = fmt.SEAL_AT
_hash64 = fmt.hash64
_ZEROS = bytes(_BUCKET)
_NO_LINK = bytes(fmt.LINK.size)
_unpack_slot = fmt.SLOT.unpack_from
_pack_slot = fmt.SLOT.pack
_TAGS = [bytes((tag or 255,)) for tag in range(256)]
_GROWTH_BYTES = 8 * 1024
_MAX_GROWTH_BYTES = 16 * 1024 * 1024

Position = tuple[int, int]  # offset of the bucket in the file, slot


class Index(IndexHeader):
    """The table. Lookups are lock-free; everything else happens under the writer lock, inside an update."""

    __slots__ = ()

    # --- lookup: O(1) ---

    def locate(self, key_hash: int) -> tuple[int, int, int, int, int, int] | None:
        """(bucket offset, slot, line, offset, size, checksum) of the first entry whose hash agrees."""
        bucket = key_hash & self.high_mask
        if bucket >= self.bucket_count:
            bucket &= self.low_mask
        at = _HEADER + (bucket + (bucket >> _SHIFT)) * _BUCKET
        page = self.file.view[at : at + _BUCKET]
        tag = key_hash >> 56 or 255
        slot = page.find(tag, 0, _SLOTS)
        while slot >= 0:
            low, checksum, line, offset, size = _unpack_slot(page, _SLOTS_AT + slot * _SLOT_BYTES)
            if low == key_hash & _LOW:
                return at, slot, line, offset, size, checksum
            slot = page.find(tag, slot + 1, _SLOTS)
        if page[fmt.LINK_AT : _LINK_END] != _NO_LINK:
            for (at, slot), entry in self.candidates(key_hash):
                return at, slot, *entry
        return None

    def is_miss(self, bucket: int, page: bytes) -> bool:
        """Whether a first page without the tag settles it: no page follows, and its seal has been seen intact."""
        return page[_LINK_AT:_LINK_END] == _NO_LINK and bucket < len(self.checked) and self.checked[bucket] == 1

    def is_checked(self, key_hash: int) -> bool:
        """Whether this handle has seen the seals of a hash's pages intact: a miss in them is a miss."""
        bucket = self._bucket_of(key_hash)
        return bucket < len(self.checked) and self.checked[bucket] == 1

    def candidates(self, key_hash: int) -> Iterator[tuple[Position, fmt.Entry]]:
        """Every entry whose hash agrees.

        Raises:
            CorruptIndexError: a chain that leaves the file or runs in a circle.
        """
        tag = fmt.tag_of(key_hash)
        low_hash = key_hash & _LOW
        for at, page in self._chain(self._bucket_of(key_hash)):
            slot = page.find(tag, 0, _SLOTS)
            while slot >= 0:
                low, checksum, line, offset, size = _unpack_slot(page, _SLOTS_AT + slot * _SLOT_BYTES)
                if low == low_hash:
                    yield (at, slot), (line, offset, size, checksum)
                slot = page.find(tag, slot + 1, _SLOTS)

    def entries(self) -> Iterator[tuple[int, fmt.Entry]]:
        """Every entry with the low half of its hash, in no order. O(buckets).

        Raises:
            CorruptIndexError: a page is not as it was written.
        """
        for _, packed in self.slots():
            low, checksum, line, offset, size = _unpack_slot(packed)
            yield low, (line, offset, size, checksum)

    def _bucket_of(self, key_hash: int) -> int:
        bucket = key_hash & self.high_mask
        return bucket if bucket < self.bucket_count else bucket & self.low_mask

    def _chain(self, bucket: int) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) of each page of a bucket."""
        view = self.file.view
        at = _HEADER + (bucket + (bucket >> _SHIFT)) * _BUCKET
        links_left = (self.bucket_count >> _SHIFT) + 1
        while True:
            page = view[at : at + _BUCKET]
            if len(page) < _BUCKET:
                raise CorruptIndexError("a bucket lies behind the end of the index", offset=at)
            yield at, page
            (link,) = fmt.LINK.unpack_from(page, fmt.LINK_AT)
            if not link:
                return
            links_left -= 1
            if link % _STRIDE != _STRIDE - 1 or not links_left:
                raise CorruptIndexError("a chain of overflow pages is damaged", offset=at)
            at = _HEADER + link * _BUCKET

    # --- change ---

    def reserve(self, insertions: int) -> None:
        """Make room for so many insertions, so that none of them can fail for want of space.

        Raises:
            OSError: no space; nothing has changed.
        """
        self.reserve_buckets(self.bucket_count + insertions)

    def reserve_buckets(self, bucket_count: int) -> None:
        """Make room for so many buckets.

        Raises:
            OSError: no space; nothing has changed.
        """
        if bucket_count <= self.room_for_buckets:
            return
        needed = self.table_bytes(bucket_count + 3 * _STRIDE)  # a part of a stride has no room
        have = len(self.file.view)
        if have < needed:
            # A new mapping starts without pages, so it had better be a rare one.
            step = min(max(have >> 1, _GROWTH_BYTES), _MAX_GROWTH_BYTES)
            self.file.grow(max(needed, have + step))
        ready = max(needed, self.file.fill(self.table_bytes(self.bucket_count)))
        pages = (ready - _HEADER) // _BUCKET
        self.room_for_buckets = pages // _STRIDE * (_STRIDE - 1) - 2 * _STRIDE

    def insert(self, key_hash: int, entry: fmt.Entry) -> None:
        """Add an entry. O(1) amortized; `reserve` must have made room."""
        bucket = key_hash & self.high_mask
        if bucket >= self.bucket_count:
            bucket &= self.low_mask
        at = _HEADER + (bucket + (bucket >> _SHIFT)) * _BUCKET
        view = self.file.view
        slot = view[at : at + _SLOTS].find(0)
        if slot >= 0:
            line, offset, size, checksum = entry
            start = at + _SLOTS_AT + slot * _SLOT_BYTES
            view[start : start + _SLOT_BYTES] = _pack_slot(key_hash & _LOW, checksum, line, offset, size)
            view[at + slot : at + slot + 1] = _TAGS[key_hash >> 56]
            self.file.words[at + _SEAL_AT >> 3] = _hash64(view[at : at + _SEAL_AT], at)
        else:
            while not self._put_in_chain(key_hash, entry):
                self.split()
        self.key_count += 1
        if self.key_count > self.most_keys:
            self.split()

    def spread(self, insertions: int) -> None:
        """Before many insertions: split as much as they will make necessary, while there is less to move.

        O(buckets to come); `reserve` must have made room.
        """
        if insertions > self.key_count:
            while self.key_count + insertions > self.bucket_count * fmt.BUCKET_LOAD:
                self.split()

    def replace(self, position: Position, key_hash: int, entry: fmt.Entry) -> None:
        """Overwrite the entry at `position`."""
        line, offset, size, checksum = entry
        at, slot = position
        start = at + _SLOTS_AT + slot * _SLOT_BYTES
        view = self.file.view
        view[start : start + _SLOT_BYTES] = _pack_slot(key_hash & _LOW, checksum, line, offset, size)
        self.file.words[at + _SEAL_AT >> 3] = _hash64(view[at : at + _SEAL_AT], at)

    def remove(self, position: Position) -> None:
        """Empty the slot at `position`: its entry, too, lest a tag that rots bring it back."""
        at, slot = position
        view = self.file.view
        view[at + slot : at + slot + 1] = b"\0"
        start = at + _SLOTS_AT + slot * _SLOT_BYTES
        view[start : start + _SLOT_BYTES] = _NO_ENTRY
        self._seal(at)
        self.key_count -= 1

    def _seal(self, at: int) -> None:
        view = self.file.view
        self.file.words[at + _SEAL_AT >> 3] = _hash64(view[at : at + _SEAL_AT], at)

    def check_bucket(self, key_hash: int, *, again: bool = False) -> None:
        """Make sure that a miss is a miss: once a bucket and handle, for what is in memory does not rot.

        Raises:
            CorruptIndexError: a page of the bucket is not as it was written (or is being written right now).
        """
        bucket = self._bucket_of(key_hash)
        if bucket < len(self.checked):
            if self.checked[bucket] and not again:
                return
        else:
            self.checked.extend(bytes(self.bucket_count - len(self.checked)))
        for at, page in self._chain(bucket):
            check_seal(at, page)
        self.checked[bucket] = 1

    def _put_in_chain(self, key_hash: int, entry: fmt.Entry) -> bool:
        view = self.file.view
        for at, page in self._chain(self._bucket_of(key_hash)):
            slot = page.find(0, 0, _SLOTS)
            if slot >= 0:
                self.replace((at, slot), key_hash, entry)
                view[at + slot : at + slot + 1] = _TAGS[key_hash >> 56]
                self._seal(at)
                return True
        overflow = self._take_overflow_page()
        if not overflow:
            return False
        line, offset, size, checksum = entry
        packed = _pack_slot(key_hash & _LOW, checksum, line, offset, size)
        self._write_page(overflow, page_of([(fmt.tag_of(key_hash), packed)], 0))
        view[at + fmt.LINK_AT : at + _LINK_END] = fmt.LINK.pack(overflow)
        self._seal(at)
        return True

    def _write_page(self, number: int, page: bytes) -> None:
        at = _HEADER + number * _BUCKET
        self.file.view[at : at + _SEAL_AT] = page
        self.file.words[at + _SEAL_AT >> 3] = _hash64(page, at)

    def _take_overflow_page(self) -> int:
        """A free overflow page, or 0 where there is none."""
        number = self.overflow_free
        if number:
            at = _HEADER + number * _BUCKET + fmt.LINK_AT
            (self.overflow_free,) = fmt.LINK.unpack(self.file.view[at : at + fmt.LINK.size])
            if self.overflow_free % _STRIDE not in (0, _STRIDE - 1):
                raise CorruptIndexError("the list of free overflow pages is damaged", offset=at)
            self.overflow_used += 1
        return number

    def free_overflow_page(self, number: int) -> None:
        """Put a page before the others in the list of free ones."""
        self._write_page(number, empty_page(self.overflow_free))
        self.overflow_free = number

    def split(self) -> None:
        """Grow by one bucket: half of the entries of the bucket at the split pointer move into it.

        It never needs a new overflow page: two chains hold the same slots in at most one page more than
        one chain did, and there are two primary pages now.
        """
        new = self.bucket_count
        old = new & self.low_mask
        at = _HEADER + (old + (old >> _SHIFT)) * _BUCKET
        view, words = self.file.view, self.file.words
        page = view[at : at + _BUCKET]
        checked = self.checked
        if old >= len(checked) or not checked[old]:
            check_seal(at, page)
        if page[_LINK_AT:_LINK_END] == _NO_LINK:
            # Both pages keep all slots, each with the tags of its own: what has no tag is empty, whatever it holds.
            bytes_of_hashes, have_bit = SPLITS[self.low_mask.bit_length()]
            tags = int.from_bytes(page[:_SLOTS], "big")
            moving = tags & int.from_bytes(page[bytes_of_hashes].translate(have_bit), "big")
            rest = page[_SLOTS:_SEAL_AT]
            target = _HEADER + (new + (new >> _SHIFT)) * _BUCKET
            page = moving.to_bytes(_SLOTS, "big") + rest
            view[target : target + _SEAL_AT] = page
            words[target + _SEAL_AT >> 3] = _hash64(page, target)
            page = (tags ^ moving).to_bytes(_SLOTS, "big") + rest
            view[at : at + _SEAL_AT] = page
            words[at + _SEAL_AT >> 3] = _hash64(page, at)
        else:
            self._split_chain(old, new, page)
        if len(checked) == new:
            checked.append(1)  # all that went into it has been checked
        count = new + 1
        if count & new:
            self.bucket_count = count
            self.most_keys += fmt.BUCKET_LOAD
        else:
            self.set_bucket_count(count)  # a power of two: only there do the masks change
        if not count & (_STRIDE - 2):
            self.free_overflow_page((count >> _SHIFT) * _STRIDE - 1)

    def _split_chain(self, old: int, new: int, first: bytes) -> None:
        level = self.low_mask.bit_length()
        spare: list[int] = []
        others: list[bytes] = []
        for at, page in self._chain(old):
            number = (at - _HEADER) // _BUCKET
            if number % _STRIDE == _STRIDE - 1:
                check_seal(at, page)
                spare.append(number)
                others.append(page)
        halves = halve_chain(first, others, level)
        if halves is not None:
            self._write_page(old + (old >> _SHIFT), halves[0])
            self._write_page(new + (new >> _SHIFT), halves[1])
        else:
            stay: list[Slot] = []
            move: list[Slot] = []
            for page in (first, *others):
                part(page, level, stay, move)
            self.write_chain(new, move, spare)
            self.write_chain(old, stay, spare)
        self.overflow_used -= len(spare)
        for number in spare:
            self.free_overflow_page(number)

    def write_chain(self, bucket: int, slots: list[Slot], spare: list[int]) -> None:
        """Fill the pages of a bucket, from the last to the first, taking overflow pages from `spare`."""
        link = 0
        while len(slots) > _SLOTS:
            cut = (len(slots) - 1) // _SLOTS * _SLOTS
            number = spare.pop()
            self._write_page(number, page_of(slots[cut:], link))
            slots, link = slots[:cut], number
        self._write_page(bucket + (bucket >> _SHIFT), page_of(slots, link))

    def slots(self) -> Iterator[tuple[int, bytes]]:
        """Every slot in use, with its tag, in no order. O(buckets).

        Raises:
            CorruptIndexError: a page is not as it was written.
        """
        for bucket in range(self.bucket_count):
            for at, page in self._chain(bucket):
                check_seal(at, page)
                start = _SLOTS_AT
                for tag in page[:_SLOTS]:
                    if tag:
                        yield tag, page[start : start + _SLOT_BYTES]
                    start += _SLOT_BYTES
