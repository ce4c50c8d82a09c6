"""What the codecs that wrap another one share: handing on what the inner codec makes, and what it is to read."""

from __future__ import annotations

from hutch.codecs.base import Codec, Pieces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from hutch.codecs.base import Data

__all__ = ["Wrapper", "begins_with", "buffers_of"]


class Wrapper(Codec):
    """A codec around another one.

    Attributes:
        inner: the codec of the values.
    """

    inner: Codec

    def __init__(self, inner: Codec) -> None:
        who = type(self).__name__
        if isinstance(inner, type):
            raise TypeError(f"{who} wraps a codec, not a class: write {who}({inner.__name__}(), ...)")
        if not (hasattr(inner, "encode") and hasattr(inner, "decode")):
            raise TypeError(f"{who} wraps a codec such as hutch.codecs.Pickle(), not {type(inner).__name__}")
        self.inner = inner

    def decode(self, key: bytes, data: Data) -> Any:
        """The object that the inner codec makes of what it once made of it.

        Raises:
            CodecError: as `unwrap` and the inner codec do.
        """
        data = self.unwrap(key, data)
        if type(data) is not bytes and not getattr(self.inner, "wants_view", False):
            data = bytes(data)
        return self.inner.decode(key, data)

    def unwrap(self, key: bytes, data: Data) -> Data:
        """The bytes that the inner codec has made, with nothing decoded.

        Raises:
            CodecError: there are none, or they may not be had.
        """
        raise NotImplementedError


def buffers_of(data: bytes | Pieces) -> Sequence[Data]:
    """The buffers of a value, in order; nothing is copied."""
    return data.buffers if isinstance(data, Pieces) else (data,)


def begins_with(data: bytes | Pieces, prefix: bytes) -> bool:
    """Whether a value begins so, wherever its buffers part."""
    head = b""
    for buffer in buffers_of(data):
        head += bytes(buffer[: len(prefix) - len(head)])
        if len(head) == len(prefix):
            break
    return head == prefix
