"""What every codec is: two functions between an object and the bytes of an entry."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    Data: TypeAlias = bytes | memoryview

__all__ = ["Codec", "Pieces", "innermost", "joined"]


class Pieces:
    """The bytes of one value in several buffers, which the heap writes one after the other without joining them.

    Attributes:
        buffers: C-contiguous, each of itemsize 1, in order.
        size_bytes: of all of them.
    """

    __slots__ = ("buffers", "size_bytes")

    def __init__(self, buffers: Sequence[Data]) -> None:
        self.buffers = buffers
        self.size_bytes = sum(map(len, buffers))

    def __len__(self) -> int:
        return self.size_bytes

    def __bytes__(self) -> bytes:
        return b"".join(self.buffers)


def joined(data: Data | Pieces) -> bytes:
    """The bytes of a value as one object, copied only where they are not."""
    return data if type(data) is bytes else bytes(data)


class Codec:
    """Makes bytes of the objects of a shelf, and objects of its bytes.

    Subclass it, or bring any object with these attributes and methods.

    Attributes:
        name: what error messages and tools call it.
        wants_view: `decode` may be given a read-only memoryview of the mapped heap, which stays what it is
            for as long as anything refers to it. False: it is given bytes.
        inner: the codec whose bytes this one wraps (compresses, signs, encrypts); None: it wraps none.
        makes_pickles: `encode` returns a pickle, or a frame from which `inner_bytes` takes one.
        is_inert: `decode` imports, calls and runs nothing that the bytes name.
    """

    name = "codec"
    wants_view = False
    inner: Codec | None = None
    makes_pickles = False
    is_inert = False

    def encode(self, key: bytes, value: Any) -> bytes | Pieces:
        """The bytes of `value`.

        Args:
            key: of the entry, in bytes: what binds a signature or a cipher to its place.
        """
        raise NotImplementedError

    def decode(self, key: bytes, data: Data) -> Any:
        """The object that `data` stands for.

        Raises:
            CodecError: there is none, or it may not be had; nothing has been made or run.
        """
        raise NotImplementedError

    def unwrap(self, key: bytes, data: Data) -> Data:
        """The bytes that `inner` has made, out of those that `encode` has: what a codec that wraps another one has.

        Raises:
            CodecError: as `decode`.
        """
        return data

    def inner_bytes(self, key: bytes, data: Data) -> Data:
        """What the innermost codec has made of the object, with nothing decoded: a pickle, where that makes pickles.

        Raises:
            CodecError: as `decode`.
        """
        data = self.unwrap(key, data)
        return data if self.inner is None else self.inner.inner_bytes(key, data)

    def inner_encode(self, key: bytes, value: Any) -> bytes | Pieces:
        """What the innermost codec makes of `value`.

        Two of these tell whether an object has changed: two encryptions of the same object are never the same.
        """
        return self.encode(key, value) if self.inner is None else self.inner.inner_encode(key, value)


def innermost(codec: Codec) -> Codec:
    """The codec that makes bytes of objects, inside all that compress, sign or encrypt these."""
    while codec.inner is not None:
        codec = codec.inner
    return codec
