"""The pages of the index: what a bucket, or a part of one, looks like, and how its entries part when it is split.

Pure functions over bytes. A page here is what its seal covers: tags, entries, and the link to the next page.
"""

from __future__ import annotations

from hutch import format as fmt
from hutch.errors import CorruptIndexError
from hutch.format import hash64

__all__ = ["SPLITS", "Slot", "check_seal", "empty_page", "halve_chain", "page_of", "part"]

Slot = tuple[int, bytes]  # tag, packed entry

_SLOTS = fmt.BUCKET_SLOTS
_SLOTS_AT = fmt.SLOTS_AT
_SLOT_BYTES = fmt.SLOT_BYTES
_LINK_AT = fmt.LINK_AT
_SEAL_AT = fmt.SEAL_AT
_BEFORE_LINK = bytes(_LINK_AT)
_BEHIND_LINK = bytes(_SEAL_AT - _LINK_AT - fmt.LINK.size)
_FROM_LINK = bytes(_SEAL_AT - _LINK_AT)
# For each bit, what makes a byte of ones of a byte that has it, and of another a zero.
_HAVE_BIT = [bytes(255 if byte >> bit & 1 else 0 for byte in range(256)) for bit in range(8)]
#: For each length of the low mask: where in a page the bytes are that tell which entries move, and, for `translate`,
#: by which of their bits.
SPLITS = [(slice(_SLOTS_AT + (bit >> 3), _LINK_AT, _SLOT_BYTES), _HAVE_BIT[bit & 7]) for bit in range(32)]


def page_of(slots: list[Slot], link: int) -> bytes:
    """A page with these entries."""
    tags = bytes([tag for tag, _ in slots]).ljust(_SLOTS_AT, b"\0")
    page = b"".join([tags, *[packed for _, packed in slots]]).ljust(_LINK_AT, b"\0")
    return (page + fmt.LINK.pack(link)).ljust(_SEAL_AT, b"\0")


def empty_page(link: int) -> bytes:
    """A page with none."""
    return _BEFORE_LINK + fmt.LINK.pack(link) + _BEHIND_LINK


def check_seal(at: int, page: bytes) -> None:
    """Look at a page with its seal, found at that offset.

    Raises:
        CorruptIndexError: it is not as it was written; or somebody has sealed what nobody would write: who looks for a
            free slot relies on a zero behind the tags.
    """
    if hash64(page[:_SEAL_AT], at) != int.from_bytes(page[_SEAL_AT:], "little") or page[_SLOTS]:
        raise CorruptIndexError("a bucket of the index is damaged", offset=at)


def part(page: bytes, level: int, stay: list[Slot], move: list[Slot]) -> None:
    """Tell apart the entries of a page by the bit of their hashes that a split brings into play."""
    start = _SLOTS_AT
    byte = start + (level >> 3)
    mask = 1 << (level & 7)
    for tag in page[:_SLOTS]:
        if tag:
            (move if page[byte] & mask else stay).append((tag, page[start : start + _SLOT_BYTES]))
        start += _SLOT_BYTES
        byte += _SLOT_BYTES


def halve_chain(first: bytes, others: list[bytes], level: int) -> tuple[bytes, bytes] | None:
    """The entries of a chain that stay, and those that move, in a page each; None where they do not fit.

    Those of the first page keep their slots in both, whose tags alone say what counts. Those of the others go where
    that has left gaps.
    """
    places, have_bit = SPLITS[level]
    tags = int.from_bytes(first[:_SLOTS], "big")
    moving = tags & int.from_bytes(first[places].translate(have_bit), "big")
    rest = first[_SLOTS:_LINK_AT] + _FROM_LINK
    halves = bytearray((tags ^ moving).to_bytes(_SLOTS, "big") + rest), bytearray(moving.to_bytes(_SLOTS, "big") + rest)
    late: tuple[list[Slot], list[Slot]] = [], []
    for page in others:
        part(page, level, *late)
    for half, slots in zip(halves, late, strict=True):
        for tag, packed in slots:
            gap = half.find(0, 0, _SLOTS)
            if gap < 0:
                return None
            half[gap] = tag
            start = _SLOTS_AT + gap * _SLOT_BYTES
            half[start : start + _SLOT_BYTES] = packed
    return bytes(halves[0]), bytes(halves[1])
