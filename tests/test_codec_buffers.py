"""`Pickle(buffers=True)`: arrays come back as views of the stored bytes, aligned, read-only; and no frame does harm."""

from __future__ import annotations

import array
import ctypes
import gc
import itertools
import pickle
import struct
import threading
import tracemalloc
import weakref
from typing import Any

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from codec_parts import mutations
from hutch.codecs import Pickle, Pieces, buffers
from hutch.codecs.base import joined
from hutch.codecs.framing import BUFFERS, guess
from hutch.errors import CodecError, WrongCodecError
from test_format import number, table

KEY = b"entry"
quick = settings(deadline=None, max_examples=60)  # the machine may be busy
CODEC = Pickle(buffers=True)
ALIGNMENT = 64


def stored(value: Any) -> bytes:
    return joined(CODEC.encode(KEY, value))


def address(thing: Any) -> int:
    return np.frombuffer(thing, np.uint8).ctypes.data


def aligned(data: bytes) -> memoryview:
    """The bytes where a heap would map them: read-only, at a multiple of 512."""
    room = bytearray(len(data) + 512)
    skip = -address(room) % 512
    room[skip : skip + len(data)] = data
    return memoryview(room)[skip : skip + len(data)].toreadonly()


def same(one: Any, other: Any) -> bool:
    return (
        one.dtype == other.dtype
        and one.shape == other.shape
        and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    )


RECORD = np.dtype([("name", "S8"), ("count", "<i4"), ("pair", "f4", 2)])


class Grid(np.ndarray):  # type: ignore[type-arg]
    """Arrays of a class of their own."""


GRID = np.arange(240.0).reshape(4, 6, 10)
ARRAYS = {
    "C": GRID,
    "Fortran": np.asfortranarray(GRID),
    "transposed": GRID.T,
    "0-d": np.array(7),
    "no items": np.zeros((0, 5)),
    "no items deep": np.zeros((3, 0, 2), "i2"),
    "one byte": np.array([1], "u1"),
    "structured": np.array([(b"a", 1, (1, 2)), (b"b", 2, (3, 4))], RECORD),
    "big-endian": np.arange(10, dtype=">i8"),
    "bool": np.array([True, False]),
    "complex": np.array([1j, 2]),
    "text": np.array(["ab", "cde"]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_is_a_view_of_what_is_stored(name: str) -> None:
    value = ARRAYS[name]
    encoded = CODEC.encode(KEY, value)
    assert type(encoded) is Pieces
    assert any(np.shares_memory(np.frombuffer(piece, np.uint8), value) for piece in encoded.buffers) or not value.nbytes
    data = aligned(bytes(encoded))
    back = CODEC.decode(KEY, data)
    assert type(back) is type(value)
    assert same(np.asarray(back), np.asarray(value))
    assert back.flags.f_contiguous == value.flags.f_contiguous
    if value.nbytes:
        assert np.shares_memory(np.asarray(back), np.frombuffer(data, np.uint8))
    assert not back.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        back.flat[0:1] = back.flat[0:1]
    # The stdlib makes the same of the pickle and the buffers.
    head, parts = buffers.unframe(data)
    assert same(np.asarray(pickle.loads(head, buffers=parts)), np.asarray(value))


WITHOUT = {
    "every second": GRID[::2],
    "backwards": GRID[:, ::-1],
    "a middle": GRID[:, :, 1:3],
    "objects": np.array([1, "a", None], object),
    "moments": np.array(["2020-01-01", "NaT"], "M8[D]"),
    "subclass": np.array([1, 2]).view(Grid),
    "masked": np.ma.masked_array([1, 2, 3], [0, 1, 0]),
}


@pytest.mark.parametrize("value", WITHOUT.values(), ids=WITHOUT)
def test_an_array_for_which_numpy_offers_no_buffer(value: Any) -> None:
    """NumPy puts these into the pickle, or copies them to have a buffer."""
    back = CODEC.decode(KEY, aligned(stored(value)))
    assert type(back) is type(value)
    assert (back.dtype, back.shape, back.tolist()) == (value.dtype, value.shape, value.tolist())


DTYPES = st.one_of(
    hnp.boolean_dtypes(),
    hnp.integer_dtypes(),
    hnp.floating_dtypes(),
    hnp.complex_number_dtypes(),
    hnp.byte_string_dtypes(),
)


@quick
@given(
    st.lists(
        hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, min_side=0)),
        max_size=5,
    )
)
def test_arrays_in_an_object(arrays: list[Any]) -> None:
    data = aligned(stored({"arrays": arrays, "again": arrays}))
    back = CODEC.decode(KEY, data)
    assert all(one.tobytes() == other.tobytes() and one.shape == other.shape
               for one, other in zip(back["arrays"], arrays, strict=True))  # fmt: skip
    assert all(one is other for one, other in zip(back["again"], back["arrays"], strict=True))
    for one in back["arrays"]:
        if one.nbytes:
            assert one.ctypes.data % ALIGNMENT == 0
            assert np.shares_memory(one, np.frombuffer(data, np.uint8))


@quick
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=6), st.data())
def test_a_frame_gives_back_pickle_and_buffers(parts: list[bytes], data: st.DataObject) -> None:
    head = data.draw(st.binary(max_size=100))
    pieces = buffers.frame(head, [memoryview(part) for part in parts])
    raw = bytes(pieces)
    assert len(raw) == len(pieces) == pieces.size_bytes
    assert guess(raw) == "Pickle(buffers=True)"
    view = aligned(raw)
    found, back = buffers.unframe(view)
    assert found == head
    assert [bytes(part) for part in back] == parts
    assert all(part.readonly for part in back)
    assert all(address(part) % ALIGNMENT == 0 for part in back if part)
    assert len(raw) < 32 + 8 * len(parts) + len(head) + sum(map(len, parts)) + ALIGNMENT * len(parts)


def test_without_buffers_it_is_a_plain_pickle() -> None:
    for value in ({"a": [1, 2]}, b"x" * 1000, np.array([None]), np.float64(1)):
        assert stored(value) == pickle.dumps(value, 5)
        assert CODEC.decode(KEY, memoryview(stored(value))) == value
    for protocol in range(6):
        assert CODEC.decode(KEY, pickle.dumps([1], protocol)) == [1]


def test_without_the_option_the_frame_is_named() -> None:
    with pytest.raises(WrongCodecError, match=r"look like Pickle\(buffers=True\)") as caught:
        Pickle().decode(KEY, stored(GRID))
    assert caught.value.looks_like == "Pickle(buffers=True)" == CODEC.name


def test_bytes_are_not_copied_either() -> None:
    data = stored(GRID)
    back = CODEC.decode(KEY, data)
    assert not back.flags.writeable
    assert np.shares_memory(back, np.frombuffer(data, np.uint8))
    with pytest.raises(ValueError, match="WRITEABLE"):
        back.flags.writeable = True


def test_even_a_writable_view_is_handed_out_read_only() -> None:
    room = bytearray(stored(GRID))
    assert not CODEC.decode(KEY, memoryview(room)).flags.writeable


def test_a_view_keeps_the_memory_that_it_shows() -> None:
    class Room(bytearray):
        pass

    room = Room(stored(GRID))
    gone = weakref.ref(room)
    back = CODEC.decode(KEY, memoryview(room))[0]
    del room
    gc.collect()
    assert gone() is not None
    assert back.sum() == GRID[0].sum()
    del back
    gc.collect()
    assert gone() is None


class ZeroCopy(bytearray):
    """A bytearray that offers its memory, as in the documentation of pickle."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        if protocol >= 5:
            return type(self)._make, (pickle.PickleBuffer(self),), None
        return type(self)._make, (bytearray(self),)

    @classmethod
    def _make(cls, thing: Any) -> Any:
        with memoryview(thing) as view:
            return view.obj if type(view.obj) is cls else cls(thing)


def test_other_buffers() -> None:
    for value in (ZeroCopy(b"abc" * 100), ZeroCopy()):
        back = CODEC.decode(KEY, aligned(stored(value)))
        assert type(back) is ZeroCopy
        assert back == value
    for thing in (b"abc", bytearray(b"abc"), array.array("i", [1, 2]), (ctypes.c_int * 3)(1, 2, 3), memoryview(GRID)):
        back = CODEC.decode(KEY, aligned(stored([pickle.PickleBuffer(thing)])))[0]
        assert isinstance(back, memoryview)
        assert back.readonly
        assert bytes(back) == bytes(memoryview(thing).cast("B") if memoryview(thing).ndim == 1 else thing)
    assert CODEC.decode(KEY, stored(bytearray(b"abc"))) == bytearray(b"abc")  # a plain one is part of the pickle


def test_a_buffer_in_pieces_is_refused() -> None:
    with pytest.raises(pickle.PicklingError, match="non-contiguous"):
        CODEC.encode(KEY, pickle.PickleBuffer(memoryview(b"abcdef")[::2]))


def test_one_object_twice_is_one_buffer() -> None:
    big = np.zeros(1000)
    assert len(stored([big, big, {"a": big}])) < 9000


def test_nothing_of_the_size_of_the_array_is_allocated() -> None:
    big = np.ones(32 << 20, "u1")
    for piece in CODEC.encode(KEY, big).buffers:  # the first time imports what it needs
        assert piece is not None
    tracemalloc.start()
    try:
        pieces = CODEC.encode(KEY, big)
        assert tracemalloc.get_traced_memory()[1] < 100_000
        data = bytes(pieces)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        back = CODEC.decode(KEY, data)
        assert tracemalloc.get_traced_memory()[1] - before < 100_000
    finally:
        tracemalloc.stop()
    assert back.nbytes == big.nbytes


def test_with_the_other_options() -> None:
    codec = Pickle(
        buffers=True,
        dispatch_table={complex: lambda thing: (complex, (thing.real, 0))},
        renames={"old.mod.rebuilt": "numpy._core.numeric._frombuffer"},
    )
    value = [GRID, 1 + 2j]
    pieces = codec.encode(KEY, value)
    assert isinstance(pieces, Pieces)
    back = codec.decode(KEY, aligned(bytes(pieces)))
    assert same(back[0], GRID)
    assert not back[0].flags.writeable
    assert bytes(codec.unwrap(KEY, bytes(pieces))).endswith(b".")
    assert codec.unwrap(KEY, b"anything") == b"anything"


def test_threads() -> None:
    values = [[np.full(n * 100 + 1, n)] for n in range(8)]
    wrong: list[int] = []

    def work(n: int) -> None:
        for _ in range(40):
            if not same(CODEC.decode(KEY, stored(values[n]))[0], values[n][0]):
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- Hostile frames ----------------------------------------------------------------------------------------

SMALL = [np.arange(5, dtype="u1"), np.arange(3, dtype="u1"), {"a": 1}]
FRAME = stored(SMALL)
PICKLE_BYTES, COUNT = struct.unpack_from("<QQ", FRAME, 8)
HEAD_END = 32 + 8 * COUNT + PICKLE_BYTES


def sealed(head: bytes, rest: bytes) -> bytes:
    """A frame whose checksum is right, whatever it says."""
    return head[:24] + struct.pack("<Q", xxhash.xxh3_64_intdigest(head[:24] + rest)) + rest


def made(
    pickled: bytes = b"N.",
    sizes: tuple[int, ...] = (),
    body: bytes = b"",
    count: int | None = None,
    pickle_bytes: int | None = None,
    version: int = 1,
) -> bytes:
    head = struct.pack(
        "<4sB3xQQ",
        BUFFERS,
        version,
        len(pickled) if pickle_bytes is None else pickle_bytes,
        len(sizes) if count is None else count,
    )
    return sealed(head, struct.pack(f"<{len(sizes)}Q", *sizes) + pickled) + body


def test_a_frame_made_by_hand() -> None:
    assert CODEC.decode(KEY, made()) is None
    head = made(b"\x80\x05\x97.", (3,))
    assert bytes(CODEC.decode(KEY, head + bytes(-len(head) % 64) + b"abc")) == b"abc"


def test_a_frame_byte_by_byte() -> None:
    """Whatever is done to the head is seen. In the buffers, only their values change, as they are not looked at."""
    for data in mutations(FRAME):
        try:
            back = CODEC.decode(KEY, data)
        except CodecError as problem:
            assert problem.key == KEY
            continue
        assert data[:5] + data[8:HEAD_END] == FRAME[:5] + FRAME[8:HEAD_END]
        assert len(data) == len(FRAME)
        assert [thing.shape for thing in back[:2]] == [(5,), (3,)]
        assert back[2] == {"a": 1}


HUGE = (2**63 - 1, 2**63, 2**64 - 1, 2**64 - 63, 2**40, 2**31)


@pytest.mark.parametrize("huge", HUGE)
def test_counts_and_sizes_that_are_too_large(huge: int) -> None:
    body = bytes(200)
    hostile = [
        made(b"N.", (), body, count=huge),
        made(b"N.", (), body, pickle_bytes=huge),
        made(b"N.", (huge,), body),
        made(b"N.", (1, huge), body),
        made(b"N.", (huge, huge, huge), body),
        made(b"N.", (1, 2**64 - 1), body),
    ]
    for data in hostile:
        with pytest.raises(CodecError, match="'entry' cannot be read by Pickle"):
            CODEC.decode(KEY, data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (BUFFERS, "cut off"),
        (FRAME[:31], "cut off"),
        (made(version=2), "version 2, this hutch reads version 1: update hutch"),
        (made(version=0), "version 0"),
        (made() + b"x", "the last buffer ends at byte"),
        (made(b"N.", (1,)), "buffer 0 of 1 ends at byte"),
        (made(b"N.", (0,)), "buffer 0 of 1 ends at byte"),  # even an empty one stands at a multiple of 64
        (made(b"\x80\x05\x97."), "out-of-band buffers"),
        (made(b""), "EOFError"),
        (made(b"hello"), "UnpicklingError"),
        (FRAME[:HEAD_END], "buffer 0 of 2"),
        (FRAME[:-1], "buffer 1 of 2"),
        (FRAME + b"\0", "the last buffer ends"),
    ],
)
def test_frames_that_lie(data: bytes, said: str) -> None:
    for given_data in (data, memoryview(data)):
        with pytest.raises(CodecError, match=said) as caught:
            CODEC.decode(KEY, given_data)
        assert caught.value.key == KEY
        assert "'entry'" in str(caught.value)


@quick
@given(st.binary(max_size=80), st.binary(max_size=80))
def test_random_frames(rest: bytes, body: bytes) -> None:
    for data in (BUFFERS + rest, made(b"N.", tuple(rest[:5]), body), sealed(FRAME[:24], rest) + body):
        try:
            CODEC.decode(KEY, data)
        except CodecError as problem:
            assert problem.key == KEY


def test_many_empty_buffers_take_little() -> None:
    data = made(b"N.", (0,) * 1000)
    data += bytes(-len(data) % ALIGNMENT)
    assert CODEC.decode(KEY, data) is None


# --- The page ----------------------------------------------------------------------------------------------


def test_the_page_has_the_frame() -> None:
    rows = table("Frame of a pickle and its buffers", "offset", "size", "type", "field")
    codes, at = "<", 0
    for row in itertools.takewhile(lambda row: row["offset"] != "32", rows):
        assert number(row["offset"]) == at
        code = {"u8": "B", "u64": "Q"}.get(row["type"], f"{row['size']}s")
        codes += code
        at += number(row["size"])
    assert struct.calcsize(codes) == at == 32
    header = struct.unpack(codes, FRAME[:32])
    assert header[0] == BUFFERS == bytes.fromhex(rows[0]["field"].split("`")[1])
    assert header[1:5] == (buffers.VERSION, bytes(3), PICKLE_BYTES, COUNT)
    assert header[5] == xxhash.xxh3_64_intdigest(FRAME[:24] + FRAME[32:HEAD_END])
    assert FRAME[-(-HEAD_END // 64) * 64 :][:5] == SMALL[0].tobytes()  # type: ignore[attr-defined]


def test_the_page_has_the_magics() -> None:
    from hutch.codecs import framing

    fourth = {row["fourth byte"].strip("`"): row["what"] for row in table("Frames of codecs", "fourth byte", "what")}
    magics = {getattr(framing, name) for name in ("BUFFERS", "COMPRESSED", "SIGNED", "ENCRYPTED")}
    assert {bytes.fromhex("c14854" + byte) for byte in fourth} == magics
    assert [
        fourth[framing.COMPRESSED[3:].hex()],
        fourth[framing.SIGNED[3:].hex()],
        fourth[framing.ENCRYPTED[3:].hex()],
    ] == [
        "a compressed value",
        "a signed value",
        "an encrypted value",
    ]
