"""Keys that all have one hash: what tells them apart is only the directory line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

from hutch import format as fmt

__all__ = ["colliding_hashes"]

_HASH = 0x0123_4567_89AB_CDEF


@contextmanager
def colliding_hashes() -> Iterator[None]:
    """Every key hashes to the same number; values are still told apart by their checksums."""
    real = fmt.hash64

    def hash64(data: bytes, seed: int = 0) -> int:
        # Seeded with a key's hash it makes the checksum of a value; with a database's id, a key's hash.
        return real(data, seed) if seed == _HASH else _HASH

    def hash_key(_key: bytes, _seed: int) -> int:
        return _HASH

    with mock.patch("hutch.store._hash64", hash64), mock.patch.object(fmt, "hash_key", hash_key):
        yield
