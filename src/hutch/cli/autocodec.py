"""A codec that reads each value as what it looks like, and writes as the user has said."""

from __future__ import annotations

from typing import Any

from hutch.cli.coding import Coding
from hutch.cli.values import MISSING, look
from hutch.codecs.base import Codec, Pieces, joined
from hutch.errors import CodecError

__all__ = ["AutoCodec"]


class AutoCodec(Codec):
    """Reads under `hutch.cli.values.look`, writes what `coding` says.

    Args:
        coding: the options of the command.
    """

    name = "the codec of the command line"

    def __init__(self, coding: Coding) -> None:
        self._coding = coding
        self._writer = coding.writer()

    def encode(self, key: bytes, value: Any) -> bytes | Pieces:
        return self._writer.encode(key, value)

    def decode(self, key: bytes, data: Any) -> Any:
        seen = look(key, joined(data), self._coding)
        if seen.object is MISSING:
            raise CodecError(f"the value of {key!r} is {seen.summary}", key=key)
        return seen.object
