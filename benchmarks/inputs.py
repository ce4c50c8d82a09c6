"""The input of every workload: keys of 16 bytes and values of 100, the same in each process and run."""

from __future__ import annotations

import hashlib
import random

KEY_BYTES = 16
VALUE_BYTES = 100

_VARIANTS = 256


def key(number: int) -> bytes:
    """The key of an entry: 16 hexadecimal digits without any order."""
    return hashlib.blake2b(number.to_bytes(8, "little"), digest_size=KEY_BYTES // 2).hexdigest().encode()


def keys(count: int) -> list[bytes]:
    return [key(number) for number in range(count)]


def missing_keys(count: int) -> list[bytes]:
    return [key(number) for number in range(1 << 40, (1 << 40) + count)]


def values(count: int, seed: int = 0) -> list[bytes]:
    """Values of random bytes; a few hundred different ones take turns, which no peer here can profit from."""
    chance = random.Random(seed)
    variants = [chance.randbytes(VALUE_BYTES) for _ in range(_VARIANTS)]
    return [variants[number % _VARIANTS] for number in range(count)]


def picked(population: list[bytes], count: int, seed: int = 1) -> list[bytes]:
    """Keys picked at random, with repetition."""
    return random.Random(seed).choices(population, k=count)


def shuffled(population: list[bytes], count: int, seed: int = 2) -> list[bytes]:
    """Different keys in random order."""
    return random.Random(seed).sample(population, min(count, len(population)))
