"""Keys that all have one hash: what tells them apart is only the directory line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

from hutch import format as fmt

__all__ = ["colliding_hashes"]

_HASH = 0x0123_4567_89AB_CDEF


@contextmanager
def colliding_hashes() -> Iterator[None]:
    """Every key hashes to the same number; values are still told apart by their checksums."""

    def hash_key(_key: bytes, _seed: int) -> int:
        return _HASH

    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(fmt, "hash_key", hash_key))
        for name, module in list(sys.modules.items()):
            if name.startswith("hutch.") and hasattr(module, "_hash_key"):  # by which the hot paths call it
                patches.enter_context(mock.patch.object(module, "_hash_key", hash_key))
        yield
