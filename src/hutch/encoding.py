"""The one door for keys and values: from what callers write to the bytes that are stored."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from typing import TypeAlias

    from typing_extensions import Buffer  # known to type checkers, and never imported

    Key: TypeAlias = str | bytes | bytearray | memoryview
    Value: TypeAlias = str | Buffer
    FileName: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]

__all__ = ["encode_key", "encode_value", "is_encodable"]


def encode_key(key: Key) -> bytes:
    """Turn a key into bytes: text as UTF-8.

    Raises:
        TypeError: neither text nor bytes.
        UnicodeEncodeError: text that UTF-8 cannot hold (a lone surrogate).
    """
    if isinstance(key, str):
        return key.encode("utf-8")
    if isinstance(key, (bytes, bytearray, memoryview)):
        return bytes(key)
    raise TypeError("keys must be bytes or strings")


def encode_value(value: Value) -> bytes:
    """Turn a value into bytes: text as UTF-8, and whatever has a buffer as a copy of it.

    Raises:
        TypeError: neither text nor an object with a buffer.
        UnicodeEncodeError: text that UTF-8 cannot hold (a lone surrogate).
    """
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, str):
        return value.encode("utf-8")
    try:
        # Never bytes(value) itself: that of a number is so many zeros. It is a copy, so that a buffer
        # which another thread changes meanwhile is not stored with the checksum of its former contents.
        return bytes(memoryview(value))
    except TypeError:
        raise TypeError("values must be bytes or strings") from None


def is_encodable(text: str) -> bool:
    """Whether UTF-8 can hold a text, which has no lone surrogate then."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
