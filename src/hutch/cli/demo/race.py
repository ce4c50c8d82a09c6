"""hutch's shelf and the stdlib's, doing the same work on the same input, one beside the other."""

from __future__ import annotations

import dbm
import dbm.dumb
import os
import random
import shelve
from collections.abc import Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Any, TypeVar

import hutch
from hutch.cli.console import Advance
from hutch.cli.demo.ucd import key_of, record_of

__all__ = ["WORKLOADS", "Cell", "Contender", "contenders", "run_contender"]

WORKLOADS = ("store one by one", "read at random", "replace at random", "delete", "open, read one, close")

_CHUNK = 500
_SAMPLE = 20_000
_SEED = 20


@dataclass(frozen=True)
class Cell:
    """One measurement: so many operations took so long."""

    operations: int
    seconds: float

    @property
    def microseconds(self) -> float:
        """Mean time of one operation."""
        return self.seconds / self.operations * 1e6


@dataclass
class Contender:
    """A kind of shelf.

    Attributes:
        name: what the table calls it.
        open: opens the shelf at a path with a flag.
        entries: how many entries it held when it was read.
        cells: what was measured, by workload.
    """

    name: str
    open: Callable[..., Any]
    entries: int = 0
    cells: dict[str, Cell] = field(default_factory=dict)


def _open_dumb(path: str, flag: Any) -> Any:
    database: Any = dbm.dumb.open(path, flag)  # noqa: SIM115  # the shelf closes it
    return shelve.Shelf(database)


def _open_default(path: str, flag: Any) -> Any:
    return shelve.open(path, flag)  # noqa: S301  # pickles that this very demo wrote


def contenders(folder: str) -> list[Contender]:
    """hutch, the stdlib's shelve over dbm.dumb, and over the interpreter's default dbm if that is another."""
    found = [Contender("hutch", hutch.open), Contender("shelve over dbm.dumb", _open_dumb)]
    probe = os.path.join(folder, "probe")
    dbm.open(probe, "n").close()
    default = dbm.whichdb(probe)
    if default and default != "dbm.dumb":
        found.append(Contender(f"shelve over {default}", _open_default))
    return found


_Input = TypeVar("_Input")


def _timed(operation: Callable[[_Input], object], inputs: Iterable[_Input], limit_seconds: float) -> Cell:
    """Call `operation` with each input until they or the time run out."""
    count = 0
    begin = now = perf_counter()
    for each in inputs:
        operation(each)
        count += 1
        now = perf_counter()
        if now - begin > limit_seconds:
            break
    return Cell(count, now - begin)


def _store(shelf: MutableMapping[str, Any], code_points: list[int], limit_seconds: float, advance: Advance) -> Cell:
    waiting = iter(code_points)
    count, seconds = 0, 0.0
    while seconds < limit_seconds and (chunk := list(islice(waiting, _CHUNK))):
        # The objects are made outside the measured time.
        pairs = [(key_of(code_point), record_of(code_point)) for code_point in chunk]
        begin = perf_counter()
        for key, record in pairs:
            shelf[key] = record
        seconds += perf_counter() - begin
        count += len(pairs)
        advance(len(pairs))
    advance(len(code_points) - count)
    return Cell(count, seconds)


def run_contender(
    contender: Contender, folder: str, code_points: list[int], advance: Advance, limit_seconds: float = 10.0
) -> None:
    """Measure one kind of shelf; the results are in its `cells`.

    Args:
        contender: what to measure.
        folder: where its files are made.
        code_points: the input. As many of them are stored as the limit allows; the other workloads run on those.
        advance: told of the way made: as many steps for each workload as there are code points.
        limit_seconds: bound of the first workload; each of the others has a fifth.
    """
    path = os.path.join(folder, contender.name.replace(" ", "_"))
    with contender.open(path, "n") as shelf:
        cell = contender.cells["store one by one"] = _store(shelf, code_points, limit_seconds, advance)
    stored = code_points[: cell.operations]
    contender.entries = len(stored)

    chance = random.Random(_SEED)  # noqa: S311  # the same picks for each
    picked = chance.choices(stored, k=min(_SAMPLE, 2 * len(stored)))
    keys = [key_of(code_point) for code_point in picked]
    replacements = [(key_of(code_point), record_of(code_point)) for code_point in picked]
    doomed = [key_of(code_point) for code_point in chance.sample(stored, min(_SAMPLE // 4, len(stored)))]

    def measure(workload: str, operation: Callable[[Any], object], inputs: Iterable[Any]) -> None:
        contender.cells[workload] = _timed(operation, inputs, limit_seconds / 5)
        advance(len(code_points))

    def visit(key: str) -> None:
        with contender.open(path, "r") as opened:
            opened[key]

    with contender.open(path, "w") as shelf:
        measure("read at random", lambda key: shelf[key], keys)
        measure("replace at random", lambda pair: shelf.__setitem__(*pair), replacements)
    measure("open, read one, close", visit, keys[:200])
    with contender.open(path, "w") as shelf:
        measure("delete", shelf.__delitem__, doomed)
