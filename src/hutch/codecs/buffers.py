"""A pickle and its out-of-band buffers as one value, which a view of the mapped heap can be read from without a copy.

    offset  size  type  field
    0       4           magic C1 48 54 C2
    4       1     u8    version, 1
    5       3           zero
    8       8     u64   bytes of the pickle
    16      8     u64   number of buffers
    24      8     u64   XXH3-64 of bytes 0 to 23, then of everything from byte 32 to the end of the pickle
    32      8·n   u64   bytes of each buffer
    32+8·n              the pickle, then zeros up to a multiple of 64
                        each buffer at a multiple of 64, with zeros in front of it; nothing behind the last

Numbers are little-endian. Offsets count from the start of the value, which the heap puts at a multiple of 512: so the
alignment holds in memory, too. The checksum covers all that decides what is made of the buffers, not the buffers:
verifying those would read all of a value that somebody may only want a slice of.
"""

from __future__ import annotations

from struct import Struct, unpack_from

from xxhash import xxh3_64

from hutch.codecs.base import Pieces
from hutch.codecs.framing import BUFFERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from hutch.codecs.base import Data

__all__ = ["ALIGNMENT_BYTES", "CHECKSUM", "HEADER", "VERSION", "frame", "unframe"]

VERSION = 1
ALIGNMENT_BYTES = 64  # a cache line, and the widest vector registers
HEADER = Struct("<4sB3xQQ")
CHECKSUM = Struct("<Q")
SIZE_BYTES = 8  # of each entry of the table of sizes
_TABLE_AT = HEADER.size + CHECKSUM.size

assert (HEADER.size, _TABLE_AT) == (24, 32)


def _padding(size: int) -> int:
    return -size % ALIGNMENT_BYTES


def frame(pickle: bytes, buffers: Sequence[memoryview]) -> Pieces:
    """The value that holds a pickle and its buffers, with no byte of the buffers copied. O(len(buffers)).

    Args:
        buffers: C-contiguous, each of itemsize 1.
    """
    header = HEADER.pack(BUFFERS, VERSION, len(pickle), len(buffers))
    sizes = Struct(f"<{len(buffers)}Q").pack(*map(len, buffers))
    pieces: list[Data] = [header, _checksum(header, sizes, pickle), sizes, pickle]
    at = _TABLE_AT + len(sizes) + len(pickle)
    for buffer in buffers:
        gap = _padding(at)
        if gap:
            pieces.append(bytes(gap))
        pieces.append(buffer)
        at += gap + len(buffer)
    return Pieces(pieces)


def unframe(data: Data) -> tuple[memoryview, list[memoryview]]:
    """The pickle of a value that `frame` has made, and its buffers: read-only views of `data`. O(number of buffers).

    Raises:
        ValueError: it is damaged; says where.
    """
    view = memoryview(data).toreadonly()
    total = len(view)
    if total < _TABLE_AT:
        raise ValueError(f"a frame of {total} bytes is cut off")
    _, version, pickle_bytes, count = HEADER.unpack_from(view)
    if version != VERSION:
        raise ValueError(f"the frame is of version {version}, this hutch reads version {VERSION}: update hutch")
    pickle_at = _TABLE_AT + SIZE_BYTES * count
    at = pickle_at + pickle_bytes
    if at > total:
        raise ValueError(f"the frame says {count} buffers and a pickle of {pickle_bytes} bytes, but has {total} bytes")
    if view[HEADER.size : _TABLE_AT] != _checksum(view[: HEADER.size], view[_TABLE_AT:at]):
        raise ValueError("the pickle in front of the buffers does not match its checksum")
    sizes = unpack_from(f"<{count}Q", view, _TABLE_AT)
    buffers: list[memoryview] = []
    for size in sizes:
        at += _padding(at)
        if at + size > total:
            raise ValueError(f"buffer {len(buffers)} of {count} ends at byte {at + size} of {total}")
        buffers.append(view[at : at + size])
        at += size
    if at != total:
        raise ValueError(f"the last buffer ends at byte {at} of {total}")
    return view[pickle_at : pickle_at + pickle_bytes], buffers


def _checksum(*parts: Data) -> bytes:
    digest = xxh3_64()
    for part in parts:
        digest.update(part)
    return CHECKSUM.pack(digest.intdigest())
