"""A reader of closed databases that owes nothing to hutch: what any dbm.dumb since Python 2.7 sees."""

from __future__ import annotations

import ast
import functools
from typing import Any

from crash.simulated import Machine

__all__ = ["read_directory", "read_dumb"]


def read_directory(machine: Machine, base: str) -> dict[bytes, tuple[int, int]]:
    """Key to (offset, size in bytes), as dbm.dumb parses the directory.

    Raises:
        ValueError, SyntaxError: dbm.dumb could not open this directory at all.
    """
    text = machine.content(base + ".dir").decode("latin-1")
    entries: dict[bytes, tuple[int, int]] = {}
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not lines[-1]:
        lines.pop()
    for line in lines:
        key, (offset, size_bytes) = _evaluated(line.rstrip())
        entries[key.encode("latin-1")] = (offset, size_bytes)
    return entries


@functools.lru_cache(10_000)
def _evaluated(line: str) -> Any:
    """As `ast.literal_eval` sees it; most directories of a sweep have their lines in common."""
    return ast.literal_eval(line)


def read_dumb(machine: Machine, base: str) -> dict[bytes, bytes]:
    """Every entry of a closed database, from NAME.dir and NAME.dat alone."""
    heap = machine.content(base + ".dat")
    entries = {}
    for key, (offset, size_bytes) in read_directory(machine, base).items():
        value = heap[offset : offset + size_bytes]
        if len(value) < size_bytes:
            raise ValueError(f"the heap ends within the value of {key!r}")
        entries[key] = value
    return entries
