"""Keys and values, the same in every process: 16-byte keys with bytes, or text with a small dict."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from benchmarks import inputs
from benchmarks.compare.task import RAW

_VARIANTS = 256
_MISSING_FROM = 1 << 40

# How a value that overwrites another differs from it.
SAME, SMALLER, LARGER = "same", "smaller", "larger"


class Data:
    """The input of a workload.

    Args:
        level: `RAW` or `OBJECTS`.
        value_bytes: of a raw value; a smaller one has half of it, a larger one twice as many.
    """

    def __init__(self, level: str, value_bytes: int) -> None:
        self.level = level
        self.value_bytes = value_bytes

    def key(self, number: int) -> Any:
        key = inputs.key(number)
        return key if self.level == RAW else key.decode()

    def keys(self, numbers: Iterable[int]) -> list[Any]:
        return [self.key(number) for number in numbers]

    def missing(self, count: int) -> list[Any]:
        return self.keys(range(_MISSING_FROM, _MISSING_FROM + count))

    def values(self, count: int, seed: int = 0, kind: str = SAME) -> list[Any]:
        """So many values; a few hundred different ones take turns, which no peer here can profit from."""
        chance = random.Random(seed)
        if self.level == RAW:
            size = {SAME: self.value_bytes, SMALLER: self.value_bytes // 2, LARGER: self.value_bytes * 2}[kind]
            variants: list[Any] = [chance.randbytes(size) for _ in range(_VARIANTS)]
        else:
            variants = [_record(chance, kind) for _ in range(_VARIANTS)]
        return [variants[number % _VARIANTS] for number in range(count)]

    def pairs(self, numbers: Iterable[int], seed: int = 0, kind: str = SAME) -> list[tuple[Any, Any]]:
        keys = self.keys(numbers)
        return list(zip(keys, self.values(len(keys), seed, kind), strict=True))

    def picked(self, entries: int, count: int, seed: int) -> list[Any]:
        """Keys picked at random, with repetition."""
        return self.keys(random.Random(seed).choices(range(entries), k=count))

    def shuffled(self, entries: int, count: int, seed: int) -> list[int]:
        """Numbers of different keys in random order."""
        return random.Random(seed).sample(range(entries), min(count, entries))


def _record(chance: random.Random, kind: str) -> dict[str, Any]:
    record: dict[str, Any] = {"id": chance.randrange(10**9), "name": f"{chance.getrandbits(64):016x}"}
    if kind != SMALLER:
        record |= {"score": chance.random(), "active": chance.random() < 0.5, "tags": ["a", "b", "c"]}
    if kind == LARGER:
        record["text"] = chance.randbytes(100).hex()
    return record
