"""What is wrapped around a value: compression, signatures, encryption, out-of-band buffers; taken off one by one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hutch.codecs.base import Codec, joined
from hutch.codecs.framing import BUFFERS, COMPRESSED, ENCRYPTED, MAGIC_BYTES, SIGNED

__all__ = ["Raw", "Unwrapped", "unwrap"]

_MAX_LAYERS = 8
_MAX_BYTES = 1 << 30  # of what is inflated, unless the value itself is larger


class Raw(Codec):
    """Values are bytes, and stay what they are."""

    name = "raw"

    def encode(self, key: bytes, value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"a raw value is bytes, not {type(value).__name__}")
        return bytes(value)

    def decode(self, key: bytes, data: Any) -> bytes:
        return joined(data)


@dataclass(frozen=True)
class Unwrapped:
    """What is left of a value without its wrapping.

    Attributes:
        layers: what has been taken off, outermost first.
        data: what was inside.
        closed: why the rest cannot be taken off; "" if nothing is left to take off.
        verified: whether somebody who holds a key has written it.
    """

    layers: tuple[str, ...]
    data: bytes
    closed: str = ""
    verified: bool = False


def unwrap(key: bytes, data: bytes, secrets: tuple[bytes, ...], *, peek: bool = False) -> Unwrapped:
    """Take off what can be.

    Args:
        key: of the entry.
        data: its value, as it is stored.
        secrets: the contents of the key files.
        peek: look behind a signature without verifying it, and leave the buffers of a pickle out.

    Raises:
        CodecError: a layer is damaged, or was not made with any of the keys.
    """
    layers: list[str] = []
    verified = False
    for _ in range(_MAX_LAYERS):
        magic = data[:MAGIC_BYTES]
        if magic == COMPRESSED:
            from hutch.codecs.compressed import HEADER, METHODS, STORED, Compressed

            code = HEADER.unpack_from(data)[2] if len(data) >= HEADER.size else STORED
            method = next((name for name, number in METHODS.items() if number == code), "nothing")
            data = joined(Compressed(Raw(), max_bytes=max(_MAX_BYTES, len(data))).unwrap(key, data))
            layers.append(f"compressed ({method})")
        elif magic == SIGNED:
            if secrets:
                from hutch.codecs.signed import Signed

                data = joined(_keyed(Signed, secrets).unwrap(key, data))
                layers.append("signed (verified)")
                verified = True
            elif peek and (inside := _behind_signature(data)) is not None:
                data = inside
                layers.append("signed (not verified: no --key-file)")
            else:
                return Unwrapped(tuple(layers), data, "it is signed: --key-file verifies it, and lets it be read")
        elif magic == ENCRYPTED:
            if not secrets:
                return Unwrapped(tuple(layers), data, "it is encrypted: --key-file says with which key")
            from hutch.codecs.encrypted import Encrypted

            data = joined(_keyed(Encrypted, secrets).unwrap(key, data))
            layers.append("encrypted (verified)")
            verified = True
        elif magic == BUFFERS and peek:
            from hutch.codecs.pickles import Pickle

            data = joined(Pickle(buffers=True).unwrap(key, data))
            layers.append("buffers behind the pickle")
        else:
            break
    closed = "" if data[:MAGIC_BYTES] not in (COMPRESSED, SIGNED, ENCRYPTED) else "it is wrapped too many times"
    return Unwrapped(tuple(layers), data, closed, verified)


def _keyed(kind: Any, secrets: tuple[bytes, ...]) -> Any:
    """A codec that has the keys.

    Raises:
        UsageError: they are none for it, or a package is missing.
    """
    try:
        return kind(Raw(), secrets)
    except (ValueError, ImportError) as problem:
        import click

        raise click.UsageError(str(problem)) from problem


def is_with_buffers(data: bytes) -> bool:
    """Whether a value is a pickle that has its buffers behind it."""
    return data[:MAGIC_BYTES] == BUFFERS


def _behind_signature(data: bytes) -> bytes | None:
    import hashlib

    from hutch.codecs.signed import DIGESTS, HEADER

    if len(data) < HEADER.size:
        return None
    code = HEADER.unpack_from(data)[2]
    digest = next((name for name, number in DIGESTS.items() if number == code), None)
    if digest is None:
        return None
    return data[HEADER.size : len(data) - hashlib.new(digest).digest_size]
