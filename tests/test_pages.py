"""How the entries of a bucket part when it is split: none is lost, none comes twice, each goes where its hash says."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hutch import format as fmt
from hutch.errors import CorruptIndexError
from hutch.format import hash64
from hutch.pages import SPLITS, Slot, check_seal, empty_page, halve_chain, page_of, part

SLOTS = st.lists(
    st.tuples(st.integers(1, 255), st.binary(min_size=32, max_size=32).filter(any)), max_size=fmt.BUCKET_SLOTS
)


def page_with_gaps(slots: list[Slot], gaps: list[int], link: int) -> bytes:
    """As one from which entries have been deleted: they stay, without tags."""
    page = bytearray(page_of(slots, link))
    for gap in gaps:
        page[gap] = 0
    return bytes(page)


def slots_of(page: bytes) -> list[Slot]:
    return [(tag, page[start : start + 32]) for tag, start in zip(page[:15], range(16, 496, 32), strict=True) if tag]


def moves(slot: Slot, level: int) -> bool:
    (low_hash,) = struct.unpack_from("<I", slot[1])
    return bool(low_hash >> level & 1)


@given(
    st.lists(st.tuples(SLOTS, st.lists(st.integers(0, 14), max_size=12)), min_size=1, max_size=4), st.integers(0, 31)
)
def test_a_chain_in_halves(chain: list[tuple[list[Slot], list[int]]], level: int) -> None:
    pages = [page_with_gaps(slots, gaps, number + 1) for number, (slots, gaps) in enumerate(chain)]
    slots = [slot for page in pages for slot in slots_of(page)]
    parts: tuple[list[Slot], list[Slot]] = [], []
    for page in pages:
        part(page, level, *parts)
    assert parts == (
        [slot for slot in slots if not moves(slot, level)],
        [slot for slot in slots if moves(slot, level)],
    )
    halves = halve_chain(pages[0], pages[1:], level)
    assert (halves is None) == (max(map(len, parts)) > fmt.BUCKET_SLOTS)
    for half, expected in zip(halves or (), parts, strict=False):
        assert sorted(slots_of(half)) == sorted(expected)
        assert len(half) == fmt.SEAL_AT
        assert not any(half[fmt.LINK_AT :])  # the end of its chain
        assert half[15] == 0


@given(SLOTS, st.integers(0, 31))
def test_where_the_bit_is_that_decides(slots: list[Slot], level: int) -> None:
    places, have_bit = SPLITS[level]
    told = page_of(slots, 0)[places].translate(have_bit)
    assert len(told) == fmt.BUCKET_SLOTS
    assert [byte == 255 for byte in told[: len(slots)]] == [moves(slot, level) for slot in slots]


@given(SLOTS, st.integers(0, 2**32 - 1))
def test_a_page_and_an_empty_one(slots: list[Slot], link: int) -> None:
    page = page_of(slots, link)
    assert slots_of(page) == slots
    assert fmt.LINK.unpack_from(page, fmt.LINK_AT) == (link,)
    assert empty_page(link) == page_of([], link)
    assert len(page) == fmt.SEAL_AT


def test_a_seal() -> None:
    page = page_of([(7, bytes(range(32)))], 17)
    sealed = page + hash64(page, 4096).to_bytes(8, "little")
    check_seal(4096, sealed)
    full = bytes(16 * (1,)) + page[16:]
    for damaged, at in (
        (full + hash64(full, 4096).to_bytes(8, "little"), 4096),
        (sealed, 4608),
        (b"\1" + sealed[1:], 4096),
        (sealed[:-1] + bytes((sealed[-1] ^ 1,)), 4096),
    ):
        with pytest.raises(CorruptIndexError, match="damaged"):
            check_seal(at, damaged)
