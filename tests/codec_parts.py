"""Inner codecs for the tests of codecs that wrap: one that takes bytes as they are, and canaries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from hutch.codecs.base import Codec, Pieces, joined

KEY = b"entry"


class Raw(Codec):
    """Values are bytes, and are stored as they are."""

    name = "Raw"

    def encode(self, key: bytes, value: Any) -> bytes | Pieces:
        return value

    def decode(self, key: bytes, data: bytes | memoryview) -> Any:
        assert type(data) is bytes
        return data


class Parts(Codec):
    """Values are bytes, stored in several buffers, and are read from a view."""

    name = "Parts"
    wants_view = True

    def encode(self, key: bytes, value: Any) -> Pieces:
        third = len(value) // 3
        return Pieces((value[:third], memoryview(value)[third : 2 * third], b"", memoryview(value)[2 * third :]))

    def decode(self, key: bytes, data: bytes | memoryview) -> Any:
        assert isinstance(data, bytes) or data.readonly
        return bytes(data)


class Canary(Raw):
    """Keeps what it was given to decode: what reaches it may be dangerous."""

    name = "Canary"

    def __init__(self) -> None:
        self.given: list[bytes] = []

    def decode(self, key: bytes, data: bytes | memoryview) -> Any:
        self.given.append(bytes(data))
        return bytes(data)


class ViewCanary(Canary):
    """A canary that looks at views."""

    wants_view = True


def stored(codec: Codec, value: Any, key: bytes = KEY) -> bytes:
    """What the heap would hold."""
    return joined(codec.encode(key, value))


def mutations(data: bytes) -> Iterator[bytes]:
    """Each byte changed in several ways, each truncation, and bytes added at both ends and in between."""
    for place, byte in enumerate(data):
        for other in {byte ^ 1, byte ^ 0x80, byte ^ 0xFF, 0, 255, (byte + 1) % 256} - {byte}:
            yield data[:place] + bytes((other,)) + data[place + 1 :]
    for size in range(len(data)):
        yield data[:size]
    for more in (b"\0", b"x", data, os.urandom(40)):
        yield data + more
    for place in range(len(data)):
        yield data[:place] + b"\0" + data[place:]
        yield data[:place] + data[place + 1 :]
