"""Whole tables of an index at once: when one is made anew, or is to hold more new entries than old ones.

What is several stores an entry in `Index.insert` is one store for hundreds of pages here, and none is written twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from struct import Struct

from hutch import format as fmt
from hutch.files import MappedFile
from hutch.format import hash64
from hutch.header import Identity, masks
from hutch.index import Index
from hutch.pages import Slot
from hutch.records import NamedTuple

__all__ = ["Table", "arrange", "create", "fill", "pack_slot"]

pack_slot = Struct("<IIQQQB").pack  # `fmt.SLOT` and its tag

_FEWEST_BUCKETS = 8
_BUCKET = fmt.BUCKET_BYTES
_SLOTS = fmt.BUCKET_SLOTS
_SLOT_BYTES = fmt.SLOT_BYTES
_SHIFT = fmt.OVERFLOW_SHIFT
_STRIDE = fmt.OVERFLOW_STRIDE
_GROWTH_BYTES = 8 * 1024
_RUN_BYTES = 256 * 1024
_EMPTY_PAGE = bytes(fmt.SEAL_AT)
_NO_PAGE = bytes(_BUCKET)
# Behind so many tags; behind so many entries.
_TAG_PADS = [bytes(fmt.SLOTS_AT - size) for size in range(_SLOTS + 1)]
_TAILS = [bytes(fmt.SEAL_AT - fmt.SLOTS_AT - size * _SLOT_BYTES) for size in range(_SLOTS + 1)]


class Table(NamedTuple):
    """What all buckets are to hold: how many slots each, and the tags and the entries of all in this order."""

    sizes: list[int]
    tags: bytes
    entries: bytes


def arrange(
    hashes: list[int], slots: list[bytes], kept: Sequence[Slot] = (), fewest: int = _FEWEST_BUCKETS
) -> tuple[Table, list[Slot]]:
    """Part new slots, and those that are there, among as many buckets as they need. O(slots).

    Args:
        hashes: of each new key, once.
        slots: its entry and its tag, as `pack_slot` makes it.
        fewest: buckets that there are in any case.

    Returns:
        What the buckets are to hold, for `fill`; and the slots for which there would be no overflow page: more
        equal hashes than there can be by chance. They are to be inserted one by one.
    """
    if kept:
        hashes = hashes + [int.from_bytes(packed[:4], "little") for _, packed in kept]
        slots = slots + [packed + bytes((tag,)) for tag, packed in kept]
    limit = max(fewest, -(-len(hashes) // fmt.BUCKET_LOAD))
    low_mask, high_mask = masks(limit)
    buckets: list[list[bytes]] = [[] for _ in range(limit)]
    for key_hash, slot in zip(hashes, slots, strict=True):
        bucket = key_hash & high_mask
        buckets[bucket if bucket < limit else bucket & low_mask].append(slot)
    late: list[bytes] = []
    spare = limit >> _SHIFT
    for bucket_slots in buckets:
        if len(bucket_slots) > _SLOTS:
            room = (spare + 1) * _SLOTS
            late += bucket_slots[room:]
            del bucket_slots[room:]
            spare -= (len(bucket_slots) - 1) // _SLOTS
    packed = bytearray().join(chain.from_iterable(buckets))
    tags = bytes(packed[_SLOT_BYTES :: _SLOT_BYTES + 1])
    del packed[_SLOT_BYTES :: _SLOT_BYTES + 1]
    return Table(list(map(len, buckets)), tags, bytes(packed)), [(slot[-1], slot[:-1]) for slot in late]


def fill(index: Index, table: Table) -> None:
    """Write the whole table anew. O(buckets); `reserve_buckets` must have made room."""
    sizes, tags, entries = table
    index.set_bucket_count(len(sizes))
    spare = [number * _STRIDE - 1 for number in range(index.bucket_count >> _SHIFT, 0, -1)]
    overflow_pages = len(spare)
    chains: list[tuple[int, list[Slot]]] = []
    run: list[bytes] = []
    at = page_at = fmt.INDEX_HEADER_BYTES
    start = 0
    for bucket, size in enumerate(sizes):
        end = start + size
        packed = entries[start * _SLOT_BYTES : end * _SLOT_BYTES]
        if size > _SLOTS:
            pieces = [packed[place : place + _SLOT_BYTES] for place in range(0, len(packed), _SLOT_BYTES)]
            chains.append((bucket, list(zip(tags[start:end], pieces, strict=True))))
            page = _EMPTY_PAGE
        else:
            page = b"".join((tags[start:end], _TAG_PADS[size], packed, _TAILS[size]))
        run += (page, hash64(page, page_at).to_bytes(8, "little"))
        start = end
        page_at += _BUCKET
        if bucket % (_STRIDE - 1) == _STRIDE - 2:
            run.append(_NO_PAGE)  # an overflow page: below
            page_at += _BUCKET
            if page_at - at >= _RUN_BYTES:
                index.file.view[at:page_at] = b"".join(run)
                at, run = page_at, []
    index.file.view[at:page_at] = b"".join(run)
    for bucket, slots in chains:
        index.write_chain(bucket, slots, spare)
    index.overflow_free = 0
    index.overflow_used = overflow_pages - len(spare)
    for number in spare:
        index.free_overflow_page(number)
    index.key_count = len(tags)
    index.checked[:] = b"\1" * index.bucket_count


def create(file: MappedFile, identity: Identity, entries: Iterable[tuple[int, fmt.Entry]]) -> Index:
    """Fill an empty file with a table of entries. O(entries).

    Args:
        entries: (key hash, entry) of each key, once.
    """
    index = Index(file)
    hashes: list[int] = []
    slots: list[bytes] = []
    for key_hash, (line, offset, size, checksum) in entries:
        hashes.append(key_hash)
        slots.append(pack_slot(key_hash & fmt.HASH_LOW_MASK, checksum, line, offset, size, fmt.tag_of(key_hash)))
    table, late = arrange(hashes, slots)
    file.grow(index.table_bytes(len(table.sizes)) + _GROWTH_BYTES)
    fill(index, table)
    file.view[0:8] = fmt.INDEX_MAGIC
    index.store_identity(identity)
    index.number = 0
    index.begin_update()  # nobody may read it before end_update()
    for tag, entry in late:
        low, checksum, line, offset, size = fmt.SLOT.unpack(entry)
        index.reserve(1)
        index.insert(tag << 56 | low, (line, offset, size, checksum))
    return index
