"""``python -m hutch.cli.demo.victim ROLE PATH``: a writer of a shelf that lives only to be killed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import islice
from typing import Any

import hutch
from hutch.cli.demo.crash import COMPLETED, ROUND_KEYS

__all__: list[str] = []

_CHANGES = 1000  # of each kind in the transaction that is never finished


def _write_inside(shelf: Any) -> None:
    for key, value in COMPLETED.items():
        shelf[key] = value
    keys = [key for key in islice(shelf, 2 * _CHANGES) if key not in COMPLETED]
    with shelf.transaction():
        for key in keys[::2]:
            shelf[key] = "overwritten by a transaction that was never finished"
        for key in keys[1::2]:
            del shelf[key]
        for number in range(_CHANGES):
            # Some of these are too large to wait in memory or in the journal.
            shelf[f"unfinished/{number}"] = "never committed" * (1 + number % 500)
        print("inside", flush=True)
        sys.stdin.read()  # returns only if the parent is gone
        raise SystemExit("nobody killed the writer")


def _write_rounds(shelf: Any) -> None:
    number = 0
    while True:
        number += 1
        with shelf.transaction():
            for key in ROUND_KEYS:
                shelf[key] = number
        print(number, flush=True)


_ROLES: dict[str, Callable[[Any], None]] = {"inside": _write_inside, "rounds": _write_rounds}


if __name__ == "__main__":
    role, path = sys.argv[1:]
    with hutch.open(path, "w") as shelf:
        _ROLES[role](shelf)
