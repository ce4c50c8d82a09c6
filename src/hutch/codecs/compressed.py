"""Values that take less room: zlib, bz2, lzma or zstd around any other codec."""

from __future__ import annotations

import sys
from functools import cache
from struct import Struct

from hutch.codecs.base import Pieces, missing_extra, show_key
from hutch.codecs.framing import COMPRESSED, MAGIC_BYTES
from hutch.codecs.wrapping import Wrapper, begins_with, buffers_of
from hutch.errors import CodecError, LimitError
from hutch.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal, Protocol, TypeAlias

    from hutch.codecs.base import Codec, Data

    Method: TypeAlias = Literal["zlib", "bz2", "lzma", "zstd"]

    class Compressor(Protocol):
        """What each of the four modules calls a compressor."""

        def compress(self, data: Data, /) -> bytes: ...
        def flush(self) -> bytes: ...

    class Decompressor(Protocol):
        """What each of the four modules calls a decompressor."""

        @property
        def eof(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: Data, /, max_length: int) -> bytes: ...


__all__ = ["HEADER", "MAX_BYTES", "MIN_SIZE", "STORED", "VERSION", "Compressed"]

HEADER = Struct("<4sBBHQ")  # magic, version, method, zero, size of the inner codec's bytes
VERSION = 1
STORED = 0  # the method that changes nothing, for bytes that look like a frame themselves
MIN_SIZE = 512  # a value takes whole blocks of so many bytes: below one, there is no room to win
MAX_BYTES = 1 << 30
# Of what lzma may take to read a value. Its highest preset needs 65 MiB; a hostile header could ask for 4 GiB.
_LZMA_MEMORY_BYTES = 128 << 20
_LZMA_DICTIONARY_BITS = (18, 20, 21, 22, 22, 23, 23, 24, 25, 26)  # of each preset


class _Format(NamedTuple):
    """How one method is called.

    Attributes:
        levels: lowest and highest that its module takes.
        compressor: makes one for a level (None: the module's default) and the size of what is to come.
        errors: what its decompressor raises for bytes that are none of its own.
    """

    levels: tuple[int, int]
    compressor: Callable[[int | None, int], Compressor]
    decompressor: Callable[[], Decompressor]
    errors: tuple[type[Exception], ...]


def _zlib() -> _Format:
    import zlib

    def compressor(level: int | None, size: int) -> Compressor:
        # Tables of the value's own size: clearing full ones takes ten times as long as compressing 600 bytes. A match
        # reaches no further back than the window less 262 bytes.
        window_bits = min(15, max(9, (size + 262).bit_length()))
        memory_level = min(8, window_bits - 6)
        return zlib.compressobj(-1 if level is None else level, zlib.DEFLATED, window_bits, memory_level)

    return _Format((0, 9), compressor, zlib.decompressobj, (zlib.error,))


def _bz2() -> _Format:
    import bz2

    return _Format(
        (1, 9),
        lambda level, _: bz2.BZ2Compressor(9 if level is None else level),
        bz2.BZ2Decompressor,
        (OSError, ValueError, EOFError),
    )


def _lzma() -> _Format:
    import lzma

    def compressor(level: int | None, size: int) -> Compressor:
        preset = 6 if level is None else level
        dictionary_bytes = min(1 << _LZMA_DICTIONARY_BITS[preset], max(4096, size))  # not clearing more than is used
        chain = [{"id": lzma.FILTER_LZMA2, "preset": preset, "dict_size": dictionary_bytes}]
        return lzma.LZMACompressor(lzma.FORMAT_XZ, lzma.CHECK_CRC32, filters=chain)

    return _Format(
        (0, 9),
        compressor,
        lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_LZMA_MEMORY_BYTES),
        (lzma.LZMAError, EOFError),
    )


def _zstd() -> _Format:
    # Both are the same code; the backport is what the extra installs before Python 3.14. Its decompressor refuses
    # windows of more than 128 MiB, which no level asks for.
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd

    def compressor(level: int | None, size: int) -> Compressor:
        asked: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}  # as the three others have one
        if level is not None:
            asked[zstd.CompressionParameter.compression_level] = level
        made = zstd.ZstdCompressor(options=asked)
        made.set_pledged_input_size(size)  # small tables for small values, and the size in zstd's own header
        return made

    levels = zstd.CompressionParameter.compression_level.bounds()
    return _Format(levels, compressor, zstd.ZstdDecompressor, (zstd.ZstdError, EOFError))


_FORMATS = {"zlib": _zlib, "bz2": _bz2, "lzma": _lzma, "zstd": _zstd}
METHODS = {"zlib": 1, "bz2": 2, "lzma": 3, "zstd": 4}  # as the frame has them
_NAMES = {code: name for name, code in METHODS.items()}


@cache
def _format(method: str) -> _Format:
    """How to call a method; found out once.

    Raises:
        ImportError: this Python has it not; says what to install.
    """
    try:
        return _FORMATS[method]()
    except ImportError as problem:
        if method == "zstd":
            raise missing_extra("Compressed(..., 'zstd')", "backports.zstd", "zstd") from problem
        raise ImportError(
            f"Compressed(..., {method!r}) needs the module {method}, without which this Python was built", name=method
        ) from problem


class Compressed(Wrapper):
    """Compresses what another codec makes, where that saves room.

    A value that is shorter than `min_size`, or that does not shrink, is stored as the inner codec made it: so a shelf
    may go from ``Pickle()`` to ``Compressed(Pickle())`` at any time, and so may the method, the level and `min_size`
    change, because reading takes any of the methods. Compress first and encrypt then, ``Encrypted(Compressed(...))``:
    what is encrypted does not shrink. Where a stranger chooses one part of a value and another part is secret, do
    not do both: the size tells him whether his part occurs in the other.

    Args:
        inner: the codec of the values.
        method: ``"zlib"``, ``"bz2"``, ``"lzma"`` or ``"zstd"`` (built into Python 3.14, before that
            ``pip install 'hutch[zstd]'``).
        level: as the method's own module has it; None is its default.
        min_size: in bytes, of the smallest value that is compressed.
        max_bytes: of the largest value that is made, by reading and by writing. While it reads, that takes about twice
            as much memory, and what the method itself needs: 128 MiB at most, whatever the bytes say.

    Raises:
        ImportError: the method's module is missing.
        ValueError: no such method, or an option is out of its range.

    >>> from hutch.codecs import Compressed, Pickle
    >>> codec = Compressed(Pickle(), "zlib")
    >>> data = codec.encode(b"key", "spam " * 1000)
    >>> len(data) < 100, codec.decode(b"key", data) == "spam " * 1000
    (True, True)
    """

    name = "Compressed"

    def __init__(
        self,
        inner: Codec,
        method: Method = "zlib",
        *,
        level: int | None = None,
        min_size: int = MIN_SIZE,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        super().__init__(inner)
        if method not in METHODS:
            raise ValueError(f"no compression method {method!r}: take one of {', '.join(METHODS)}")
        low, high = _format(method).levels
        if level is not None and not low <= level <= high:
            raise ValueError(f"the levels of {method} are {low} to {high}, not {level}")
        if min_size < 0:
            raise ValueError(f"min_size is a number of bytes, not {min_size}")
        if not 0 < max_bytes < sys.maxsize:
            raise ValueError(f"max_bytes is a number of bytes below {sys.maxsize}, not {max_bytes}")
        self.method: Method = method
        self.level = level
        self.min_size = min_size
        self.max_bytes = max_bytes
        # What was stored as it is may be read in place.
        self.wants_view = getattr(inner, "wants_view", False)
        self.reads = (inner.name, *getattr(inner, "reads", ()))

    def __repr__(self) -> str:
        level = "" if self.level is None else f", level={self.level}"
        return f"Compressed({self.inner!r}, {self.method!r}{level})"

    def encode(self, key: bytes, value: Any) -> bytes | Pieces:
        """The inner codec's bytes, in a frame where that is shorter.

        Raises:
            ValueError: there are more than `max_bytes`, which would not be read again.
        """
        plain = self.inner.encode(key, value)
        size = len(plain)
        if size >= self.min_size:
            if size > self.max_bytes:
                raise ValueError(
                    f"{size} bytes are more than {self.name} would read again: give it max_bytes={size} or more"
                )
            framed = self._compress(plain, size)
            if len(framed) < size:
                return framed
        if begins_with(plain, COMPRESSED):
            header = HEADER.pack(COMPRESSED, VERSION, STORED, 0, size)
            return Pieces((header, *buffers_of(plain)))
        return plain

    def _compress(self, plain: bytes | Pieces, size: int) -> bytes:
        compressor = _format(self.method).compressor(self.level, size)
        parts = [HEADER.pack(COMPRESSED, VERSION, METHODS[self.method], 0, size)]
        for buffer in buffers_of(plain):
            parts.append(compressor.compress(buffer))
        parts.append(compressor.flush())
        return b"".join(parts)

    def unwrap(self, key: bytes, data: Data) -> Data:
        """The inner codec's bytes, whichever method they were stored with, or none.

        Raises:
            LimitError: it has, or says that it has, more than `max_bytes`.
            CodecError: it is cut off, has something behind it, or is not compressed as it says.
        """
        if data[:MAGIC_BYTES] != COMPRESSED:
            return data
        if len(data) < HEADER.size:
            raise CodecError(f"the compressed value of key {show_key(key)} is cut off", key=key)
        _, version, code, zero, size = HEADER.unpack_from(data)
        payload = memoryview(data)[HEADER.size :]
        if version != VERSION or zero or not (code == STORED or code in _NAMES):
            raise CodecError(
                f"the compressed value of key {show_key(key)} is damaged, or of a hutch newer than this one "
                f"(version {version}, method {code})",
                key=key,
            )
        if code == STORED:
            if size != len(payload):
                raise CodecError(
                    f"the value of key {show_key(key)} has {len(payload)} bytes, not {size} as it says", key=key
                )
            return payload
        if size > self.max_bytes:
            raise LimitError(
                f"the value of key {show_key(key)} would have {size} bytes, more than max_bytes={self.max_bytes}",
                key=key,
            )
        return _inflate(key, payload, _NAMES[code], size)


def _inflate(key: bytes, payload: Data, method: str, size: int) -> bytes:
    """Decompress what is to be `size` bytes, and never make more than one byte beyond.

    The decompressors grow their output with what they make: the size that the frame tells is their limit and
    takes no memory by itself.
    """
    try:
        form = _format(method)
    except ImportError as problem:
        raise CodecError(f"the value of key {show_key(key)} cannot be read: {problem}", key=key) from problem
    try:
        decompressor = form.decompressor()
        plain = decompressor.decompress(payload, size + 1)
    except form.errors as problem:
        kind = LimitError if "memory" in str(problem).lower() else CodecError  # as lzma and zstd word their limits
        raise kind(f"the value of key {show_key(key)} is no {method} data: {problem}", key=key) from problem
    if len(plain) > size:
        raise CodecError(f"the value of key {show_key(key)} has more than the {size} bytes that it says", key=key)
    if not decompressor.eof:
        raise CodecError(f"the compressed value of key {show_key(key)} is cut off", key=key)
    if len(plain) < size:
        raise CodecError(f"the value of key {show_key(key)} has {len(plain)} bytes, not {size} as it says", key=key)
    if decompressor.unused_data:
        raise CodecError(f"there is something behind the compressed value of key {show_key(key)}", key=key)
    return plain
