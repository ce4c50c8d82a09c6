"""`Compressed`: what it stores, what it refuses, and that no value takes more memory than is allowed."""

from __future__ import annotations

import bz2
import doctest
import lzma
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_parts import KEY, Canary, Parts, Raw, ViewCanary, mutations, stored
from hutch.codecs import compressed
from hutch.codecs.base import Codec, Pieces
from hutch.codecs.compressed import HEADER, METHODS, STORED, VERSION, Compressed
from hutch.codecs.framing import COMPRESSED, ENCRYPTED, SIGNED
from hutch.errors import CodecError, LimitError
from test_format import number, struct_of, table

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

COMPRESS = {"zlib": zlib.compress, "bz2": bz2.compress, "lzma": lzma.compress, "zstd": zstd.compress}
DECOMPRESS = {"zlib": zlib.decompress, "bz2": bz2.decompress, "lzma": lzma.decompress, "zstd": zstd.decompress}
TEXT = b"a hutch is a house for rabbits; " * 40
VALUES = st.one_of(
    st.binary(max_size=200),
    st.builds(lambda part, times: part * times, st.binary(max_size=20), st.integers(0, 400)),
    st.builds(lambda kind, rest: kind + rest, st.sampled_from([COMPRESSED, SIGNED, COMPRESSED[:3]]), st.binary()),
)

each_method = pytest.mark.parametrize("method", METHODS)


def frame(method: str, payload: bytes, size: int, version: int = VERSION, zero: int = 0) -> bytes:
    return HEADER.pack(COMPRESSED, version, METHODS.get(method, STORED), zero, size) + payload


# --- What it stores ---------------------------------------------------------------------------------


@each_method
@pytest.mark.parametrize("inner", [Raw(), Parts()], ids=["bytes", "pieces and views"])
@settings(deadline=None)
@given(value=VALUES, min_size=st.sampled_from([0, 1, 20, 512]))
def test_round_trip(method: str, inner: Codec, value: bytes, min_size: int) -> None:
    codec = Compressed(inner, method, min_size=min_size)
    data = stored(codec, value)
    assert codec.decode(KEY, data) == value
    assert codec.decode(KEY, memoryview(data)) == value
    # Nothing that is stored takes more room than without, but for bytes that look like a frame.
    assert len(data) <= len(value) + HEADER.size * value.startswith(COMPRESSED)


@each_method
@pytest.mark.parametrize("size", [600, 5_000, 70_000, 300_000, 1_500_000])
def test_tables_of_the_value_s_own_size_lose_nothing(method: str, size: int) -> None:
    """A repetition as far back as the value is long must still be found."""
    half = os.urandom(size // 2)
    codec = Compressed(Parts(), method)
    data = stored(codec, half + half)
    assert codec.decode(KEY, data) == half + half
    reach = {"zlib": 32_000, "bz2": 0, "lzma": 1 << 30, "zstd": 1 << 20}[method]
    if len(half) < reach:
        assert len(data) < 1.2 * len(half) + 100


@pytest.mark.parametrize("size", [1016, 4088, 16376])
def test_zlib_finds_what_both_ends_of_a_value_share(size: int) -> None:
    """A window as long as the value would not do: zlib looks back 262 bytes less."""
    ends = os.urandom(200)
    value = ends + os.urandom(size - 400) + ends
    data = stored(Compressed(Raw(), "zlib"), value)
    assert len(data) < size - 100
    assert Compressed(Raw()).decode(KEY, data) == value


@each_method
def test_the_payload_is_what_the_method_s_own_tools_read(method: str) -> None:
    data = stored(Compressed(Raw(), method), TEXT)
    assert HEADER.unpack_from(data) == (COMPRESSED, VERSION, METHODS[method], 0, len(TEXT))
    assert DECOMPRESS[method](data[HEADER.size :]) == TEXT
    assert len(data) < len(TEXT) / 4


@each_method
def test_what_the_method_s_own_tools_write_is_read(method: str) -> None:
    assert Compressed(Raw()).decode(KEY, frame(method, COMPRESS[method](TEXT), len(TEXT))) == TEXT


@each_method
@pytest.mark.parametrize("value", [b"", b"x", b"ab" * 255, os.urandom(5000)], ids=["empty", "one", "short", "random"])
def test_what_would_not_shrink_is_stored_as_the_inner_codec_made_it(method: str, value: bytes) -> None:
    assert Compressed(Raw(), method).encode(KEY, value) == value
    assert Compressed(Raw(), method, min_size=0).encode(KEY, os.urandom(64))[:4] != COMPRESSED


def test_pieces_that_do_not_shrink_are_not_joined() -> None:
    value = os.urandom(5000)
    data = Compressed(Parts()).encode(KEY, value)
    assert isinstance(data, Pieces) and data.buffers[1].obj is value


def test_min_size_is_the_smallest_size_that_is_compressed() -> None:
    codec = Compressed(Raw(), min_size=100)
    assert codec.encode(KEY, b"a" * 99) == b"a" * 99
    assert len(stored(codec, b"a" * 100)) < 100


@each_method
def test_a_codec_reads_every_method_and_plain_values(method: str) -> None:
    reader = Compressed(Raw(), method, min_size=10**6)
    for other in METHODS:
        assert reader.decode(KEY, stored(Compressed(Raw(), other, level=1), TEXT)) == TEXT
    assert reader.decode(KEY, TEXT) == TEXT


@each_method
def test_levels(method: str) -> None:
    low, high = {"zlib": (0, 9), "bz2": (1, 9), "lzma": (0, 9), "zstd": (-7, 22)}[method]
    value = TEXT * 20
    for level in (low, 1, high):
        codec = Compressed(Raw(), method, level=level)
        assert codec.decode(KEY, stored(codec, value)) == value
    with pytest.raises(ValueError, match=f"levels of {method}"):
        Compressed(Raw(), method, level=high + 1)


def test_levels_tell() -> None:
    value = b"".join(b"%d: %x\n" % (n, n * n) for n in range(20_000))
    for method, fast, good in (("zlib", 1, 9), ("lzma", 0, 6), ("zstd", -50, 19)):
        sizes = [len(stored(Compressed(Raw(), method, level=level), value)) for level in (fast, good)]
        assert sizes[0] > sizes[1], method


# --- Bytes that look like a frame -------------------------------------------------------------------


@settings(deadline=None)
@given(value=VALUES, depth=st.integers(1, 4), methods=st.lists(st.sampled_from(list(METHODS)), min_size=4, max_size=4))
def test_nested_in_itself(value: bytes, depth: int, methods: list[str]) -> None:
    codec: Codec = Parts()
    for level, method in zip(range(depth), methods, strict=False):
        codec = Compressed(codec, method, min_size=(0, 30, 512, 2)[level])
    assert codec.decode(KEY, stored(codec, value)) == value


@each_method
def test_a_value_that_is_a_frame_comes_back_as_it_is(method: str) -> None:
    """The raw bytes of one shelf as values of another."""
    codec = Compressed(Raw(), method)
    for value in (COMPRESSED, COMPRESSED + b"x", stored(codec, TEXT), stored(codec, stored(codec, TEXT))):
        data = stored(codec, value)
        assert data[:4] == COMPRESSED
        assert codec.decode(KEY, data) == value


@pytest.mark.parametrize("cuts", [(1, 2), (0, 3), (2, 4), (4, 4), (0, 0), (3, 9)])
def test_a_magic_in_several_buffers_is_seen(cuts: tuple[int, int]) -> None:
    class Cut(Raw):
        def encode(self, key: bytes, value: bytes) -> Pieces:
            first, second = cuts
            return Pieces((value[:first], value[first:second], value[second:]))

    codec = Compressed(Cut())
    value = COMPRESSED + b"plain"
    assert codec.decode(KEY, stored(codec, value)) == value


def test_other_frames_pass_as_they_are() -> None:
    for kind in (SIGNED, ENCRYPTED):
        assert Compressed(Raw()).encode(KEY, kind + b"x") == kind + b"x"


# --- Views ------------------------------------------------------------------------------------------


def test_what_is_stored_as_it_is_is_read_in_place() -> None:
    seen = []

    class Looks(ViewCanary):
        def decode(self, key: bytes, data: bytes | memoryview) -> object:
            seen.append(data)
            return None

    codec = Compressed(Looks())
    assert codec.wants_view
    for value in (b"plain", COMPRESSED + b"in a frame"):
        heap = stored(codec, value)
        codec.decode(KEY, memoryview(heap))
        assert isinstance(seen[-1], memoryview) and seen[-1].obj is heap and seen[-1] == value
    assert not Compressed(Raw()).wants_view


# --- Damage -----------------------------------------------------------------------------------------


@each_method
def test_no_mutation_gives_another_value(method: str) -> None:
    value = b"a hutch is a house for rabbits. " * 3
    canary = Canary()
    codec = Compressed(canary, method, min_size=0)
    data = stored(codec, value) if method in ("zlib", "zstd") else frame(method, COMPRESS[method](value), len(value))
    assert codec.decode(KEY, data) == value
    for bad in mutations(data):
        canary.given.clear()
        try:
            codec.decode(KEY, bad)
        except CodecError as problem:
            assert problem.key == KEY and "'entry'" in str(problem)
            assert not canary.given
        else:
            # Without the magic it is no frame, and the inner codec's to refuse.
            assert canary.given == [value] or (canary.given == [bad] and not bad.startswith(COMPRESSED))


@each_method
def test_cut_off(method: str) -> None:
    data = frame(method, COMPRESS[method](TEXT), len(TEXT))
    for size in range(4, len(data)):
        with pytest.raises(CodecError) as caught:
            Compressed(Canary()).decode(KEY, data[:size])
        assert not isinstance(caught.value, LimitError)


@each_method
@pytest.mark.parametrize("rest", [b"\0", b"\0" * 4, b"x" * 50, "again"])
def test_something_behind_it(method: str, rest: bytes | str) -> None:
    """The second stream of two is none of ours, though bz2 and xz files may have several."""
    payload = COMPRESS[method](TEXT)
    rest = payload if isinstance(rest, str) else rest
    for size in (len(TEXT), 2 * len(TEXT)):
        with pytest.raises(CodecError):
            Compressed(Raw()).decode(KEY, frame(method, payload + rest, size))


@each_method
@pytest.mark.parametrize("off", [-len(TEXT), -1, 1, 100, 10**6])
def test_a_wrong_size(method: str, off: int) -> None:
    with pytest.raises(CodecError, match="'entry'"):
        Compressed(Raw()).decode(KEY, frame(method, COMPRESS[method](TEXT), len(TEXT) + off))


@pytest.mark.parametrize("size", [0, 4, 6, 2**64 - 1])
def test_a_wrong_size_of_what_is_stored(size: int) -> None:
    with pytest.raises(CodecError, match="5 bytes"):
        Compressed(Raw()).decode(KEY, frame("stored", b"12345", size))


@pytest.mark.parametrize(("version", "method", "zero"), [(0, 1, 0), (2, 1, 0), (1, 5, 0), (1, 255, 0), (1, 1, 1)])
def test_headers_of_the_future(version: int, method: int, zero: int) -> None:
    data = HEADER.pack(COMPRESSED, version, method, zero, len(TEXT)) + zlib.compress(TEXT)
    with pytest.raises(CodecError, match="newer"):
        Compressed(Raw()).decode(KEY, data)


@each_method
@settings(deadline=None)
@given(payload=st.binary(max_size=80), size=st.one_of(st.integers(0, 200), st.integers(0, 2**64 - 1)))
def test_random_payloads(method: str, payload: bytes, size: int) -> None:
    canary = Canary()
    with pytest.raises(CodecError):
        Compressed(canary, max_bytes=10**6).decode(KEY, frame(method, payload, size))
    assert not canary.given


@settings(deadline=None)
@given(data=st.one_of(st.binary(), st.binary().map(lambda rest: COMPRESSED + rest)))
def test_random_bytes(data: bytes) -> None:
    try:
        assert Compressed(Raw()).decode(KEY, data) == data
    except CodecError:
        assert data.startswith(COMPRESSED)


# --- Limits -----------------------------------------------------------------------------------------


@each_method
def test_a_value_larger_than_allowed(method: str) -> None:
    data = stored(Compressed(Raw(), method), TEXT)
    assert Compressed(Raw(), max_bytes=len(TEXT)).decode(KEY, data) == TEXT
    with pytest.raises(LimitError, match="max_bytes=1279") as caught:
        Compressed(Canary(), max_bytes=len(TEXT) - 1).decode(KEY, data)
    assert caught.value.key == KEY


@each_method
def test_what_would_not_be_read_is_not_written(method: str) -> None:
    codec = Compressed(Raw(), method, max_bytes=1000)
    with pytest.raises(ValueError, match="max_bytes=1280 or more"):
        codec.encode(KEY, TEXT)
    assert codec.decode(KEY, stored(codec, TEXT[:1000])) == TEXT[:1000]


def test_a_declared_size_beyond_any_memory() -> None:
    for size in (2**63, 2**64 - 1):
        with pytest.raises(LimitError):
            Compressed(Raw(), max_bytes=sys.maxsize - 1).decode(KEY, frame("zlib", zlib.compress(TEXT), size))
    for method in METHODS:
        with pytest.raises(CodecError):
            Compressed(Raw(), max_bytes=sys.maxsize - 1).decode(KEY, frame(method, b"", sys.maxsize - 1))


def test_a_dictionary_of_4_gib_is_refused() -> None:
    payload = bytearray(lzma.compress(TEXT))
    end = 12 + (payload[12] + 1) * 4 - 4  # the header of the first block, but for its checksum
    place = payload.index(b"\x21\x01", 12, end) + 2  # the filter LZMA2 has one byte of properties
    payload[place] = 40
    payload[end : end + 4] = zlib.crc32(payload[12:end]).to_bytes(4, "little")
    with pytest.raises(LimitError, match="'entry'"):
        Compressed(Canary()).decode(KEY, frame("lzma", bytes(payload), len(TEXT)))


def test_a_window_of_2_gib_is_refused() -> None:
    block = (len(TEXT) << 3 | 1).to_bytes(3, "little") + TEXT  # the last one, and raw
    small, large = (b"\x28\xb5\x2f\xfd\0" + bytes(((bits - 10) << 3,)) + block for bits in (20, 31))
    assert Compressed(Raw()).decode(KEY, frame("zstd", small, len(TEXT))) == TEXT
    with pytest.raises(LimitError, match="'entry'"):
        Compressed(Canary()).decode(KEY, frame("zstd", large, len(TEXT)))


BOMBS = """
import resource, sys, tracemalloc
from hutch.codecs.base import Codec
from hutch.codecs.compressed import HEADER, METHODS, Compressed, _format
from hutch.codecs.framing import COMPRESSED
from hutch.errors import CodecError, LimitError

MEGABYTE = 1 << 20
method, inflated = sys.argv[1], 160 * MEGABYTE

def squeeze(part, times=1):
    made = _format(method).compressor(6 if method == "zlib" else 1, len(part) * times)
    return b"".join([*map(made.compress, [part] * times), made.flush()])

def frame(payload, size):
    return HEADER.pack(COMPRESSED, 1, METHODS[method], 0, size) + payload

class Raw(Codec):
    def decode(self, key, data):
        raise SystemExit("a bomb has reached the inner codec")

payload = squeeze(bytes(MEGABYTE), inflated // MEGABYTE)
assert len(payload) < inflated // 500, len(payload)
if sys.platform == "linux":  # what the libraries take by themselves: all that goes beyond is a MemoryError
    pages = int(open("/proc/self/statm").read().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 64 * MEGABYTE,) * 2)
tracemalloc.start()
codec = Compressed(Compressed(Raw(), max_bytes=MEGABYTE), max_bytes=MEGABYTE)
for size in (0, 1, 100, MEGABYTE, MEGABYTE + 1, inflated - 1, inflated, 2**40, 2**64 - 1):
    bomb = frame(payload, size)
    wrapped = HEADER.pack(COMPRESSED, 1, 0, 0, len(bomb)) + bomb
    for nested in (bomb, frame(squeeze(bomb), len(bomb)), wrapped):
        try:
            codec.decode(b"key", nested)
        except CodecError as problem:
            assert isinstance(problem, LimitError) == (size > MEGABYTE), (size, problem)
        else:
            raise SystemExit("a bomb went off")
print(tracemalloc.get_traced_memory()[1])
"""


@each_method
def test_bombs_take_no_memory(method: str) -> None:
    """A process is given 160 MiB in some kB, with true and lying sizes and wrapped once more, and 64 MiB to read it."""
    command = [sys.executable, "-c", BOMBS, method]
    path = os.pathsep.join([str(Path(compressed.__file__).parents[2]), *filter(None, sys.path)])
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 5 << 20


# --- Options, and modules that are missing ----------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("lz4",), {}, "take one of zlib, bz2, lzma, zstd"),
        (("zlib",), {"level": -2}, "0 to 9"),
        (("bz2",), {"level": 0}, "1 to 9"),
        (("zlib",), {"min_size": -1}, "min_size"),
        (("zlib",), {"max_bytes": 0}, "max_bytes"),
        (("zlib",), {"max_bytes": sys.maxsize}, "max_bytes"),
    ],
)
def test_options_out_of_range(arguments: tuple[str], options: dict[str, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Compressed(Raw(), *arguments, **options)


def test_what_is_no_codec() -> None:
    with pytest.raises(TypeError, match=r"write Compressed\(Raw\(\), \.\.\.\)"):
        Compressed(Raw)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not str"):
        Compressed("zlib")  # type: ignore[arg-type]


@pytest.fixture
def nothing_found() -> Iterator[None]:
    """No module has been asked for yet, and none of those that are missing is remembered."""
    compressed._format.cache_clear()
    yield
    compressed._format.cache_clear()


@pytest.mark.usefixtures("nothing_found")
def test_a_missing_zstd(monkeypatch: pytest.MonkeyPatch) -> None:
    data = frame("zstd", zstd.compress(TEXT), len(TEXT))
    for name in ("backports", "backports.zstd", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'hutch\[zstd\]'"):
        Compressed(Raw(), "zstd")
    with pytest.raises(CodecError, match=r"'entry'.*pip install 'hutch\[zstd\]'"):
        Compressed(Raw()).decode(KEY, data)


@pytest.mark.usefixtures("nothing_found")
def test_a_missing_lzma(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(ImportError, match="this Python was built"):
        Compressed(Raw(), "lzma")


def test_pickled_and_shown() -> None:
    codec = Compressed(Compressed(Parts(), "lzma"), "bz2", level=3, min_size=7, max_bytes=10**4)
    again = pickle.loads(pickle.dumps(codec))
    assert (again.method, again.level, again.min_size, again.max_bytes) == ("bz2", 3, 7, 10**4)
    assert again.decode(KEY, stored(codec, TEXT)) == TEXT
    assert repr(Compressed(Parts(), "bz2", level=3)).endswith(", 'bz2', level=3)")


# --- docs/format.md ---------------------------------------------------------------------------------


def test_the_page_has_the_header() -> None:
    assert struct_of("Compressed frame", 0, HEADER.size) == HEADER.format
    listed = {row["method"]: number(row["code"]) for row in table("Compressed frame", "method", "code")}
    assert listed == {"stored": STORED, **METHODS}


def test_the_examples_run() -> None:
    failed, attempted = doctest.testmod(compressed)
    assert attempted and not failed
