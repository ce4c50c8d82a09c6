"""The workloads. Each is a function that runs in a process of its own and returns what it measured."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from tempfile import TemporaryDirectory
from time import perf_counter, perf_counter_ns
from typing import Any

from benchmarks import inputs
from benchmarks.peers import PEERS, Peer
from benchmarks.timing import Result, percentile, time_each, time_loop

_TIMED_SINGLY = 20_000


@dataclass(frozen=True)
class Task:
    """What a worker is told.

    Attributes:
        workload: the name of a function in this module.
        peer: the name of a peer.
        folder: where the prepared databases are.
        entries: the size of the database.
        operations: how many, if time allows.
        limit_seconds: bound of a measured loop.
        other_entries: a second size, where two are compared.
    """

    workload: str
    peer: str
    folder: str
    entries: int
    operations: int
    limit_seconds: float
    other_entries: int = 0

    @property
    def subject(self) -> Peer:
        return PEERS[self.peer]

    def path(self, entries: int | None = None) -> str:
        """The prepared database of that size, alone in its folder."""
        folder = os.path.join(self.folder, f"{self.peer}-{self.entries if entries is None else entries}")
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, "database")


def prepare(task: Task) -> Result:
    """Build the database which others read, with one `update()` where there is one."""
    pairs = dict(zip(inputs.keys(task.entries), inputs.values(task.entries), strict=True))
    begin = perf_counter()
    with task.subject.open(task.path(), "n") as database:
        if hasattr(database, "update"):
            database.update(pairs)
        else:
            for key, value in pairs.items():
                database[key] = value
    seconds = perf_counter() - begin
    files = glob(task.path() + "*")
    return {
        "operations": task.entries,
        "seconds": seconds,
        "microseconds": seconds / task.entries * 1e6,
        "bytes_on_disk": sum(os.stat(file).st_blocks * 512 for file in files),
    }


def get(task: Task) -> Result:
    """Read present keys at random."""
    keys = inputs.picked(inputs.keys(task.entries), task.operations)
    with task.subject.open(task.path(), "r") as database:

        def loop(piece: Iterator[bytes]) -> None:
            for key in piece:
                database[key]

        result = time_loop(loop, keys, task.limit_seconds)
        return result | time_each(lambda key: database[key], keys[:_TIMED_SINGLY], task.limit_seconds)


def get_missing(task: Task) -> Result:
    """Ask for keys that are not there."""
    keys = inputs.missing_keys(task.operations)
    with task.subject.open(task.path(), "r") as database:

        def loop(piece: Iterator[bytes]) -> None:
            for key in piece:
                database.get(key)

        result = time_loop(loop, keys, task.limit_seconds)
        return result | time_each(database.get, keys[:_TIMED_SINGLY], task.limit_seconds)


def put(task: Task) -> Result:
    """Store new keys, a statement each, into an empty database; "closing" is what close() adds, in seconds."""
    pairs = list(zip(inputs.keys(task.operations), inputs.values(task.operations), strict=True))
    with TemporaryDirectory(dir=task.folder) as folder:
        with task.subject.open(os.path.join(folder, "singly"), "n") as database:
            singly = time_each(lambda pair: database.__setitem__(*pair), pairs[:_TIMED_SINGLY], task.limit_seconds)
        database = task.subject.open(os.path.join(folder, "loop"), "n")

        def loop(piece: Iterator[tuple[bytes, bytes]]) -> None:
            for key, value in piece:
                database[key] = value

        result = time_loop(loop, pairs, task.limit_seconds)
        begin = perf_counter()
        database.close()
        return result | singly | {"closing": perf_counter() - begin}


def replace(task: Task) -> Result:
    """Store other values of the same size under present keys, at random."""
    keys = inputs.picked(inputs.keys(task.entries), task.operations)
    pairs = list(zip(keys, inputs.values(task.operations, seed=9), strict=True))
    with _copy(task) as path, task.subject.open(path, "w") as database:

        def loop(piece: Iterator[tuple[bytes, bytes]]) -> None:
            for key, value in piece:
                database[key] = value

        result = time_loop(loop, pairs, task.limit_seconds)
        return result | time_each(lambda pair: database.__setitem__(*pair), pairs[:_TIMED_SINGLY], task.limit_seconds)


def delete(task: Task) -> Result:
    """Delete present keys in random order, a statement each."""
    doomed = inputs.shuffled(inputs.keys(task.entries), task.operations)
    # The first fifth is timed singly; dbm.dumb rewrites its directory for each, so it sees a sample.
    singly, plainly = doomed[: len(doomed) // 5], doomed[len(doomed) // 5 :]
    with _copy(task) as path, task.subject.open(path, "w") as database:

        def loop(piece: Iterator[bytes]) -> None:
            for key in piece:
                del database[key]

        each = time_each(database.__delitem__, singly, task.limit_seconds)
        return time_loop(loop, plainly, task.limit_seconds) | each


def open_get_close(task: Task) -> Result:
    """Open, read one entry and close, taking turns between two sizes."""
    times: dict[int, list[int]] = {}
    cases = [
        (entries, task.path(entries), inputs.shuffled(inputs.keys(entries), task.operations))
        for entries in (task.other_entries, task.entries)
    ]
    end = perf_counter() + task.limit_seconds
    for turn in range(task.operations):
        for entries, path, keys in cases:
            key = keys[turn % len(keys)]
            begin = perf_counter_ns()
            with task.subject.open(path, "r") as database:
                database[key]
            times.setdefault(entries, []).append(perf_counter_ns() - begin)
        if perf_counter() > end:
            break
    small, large = (times[entries] for entries, _, _ in cases)
    return {
        "timed": len(large),
        "p50": percentile(large, 50) / 1000,
        "p99": percentile(large, 99) / 1000,
        "small_p50": percentile(small, 50) / 1000,
        "small_p99": percentile(small, 99) / 1000,
    }


@contextmanager
def _copy(task: Task) -> Iterator[str]:
    """A copy of the prepared database, for workloads that change it."""
    source = task.path()
    with TemporaryDirectory(dir=task.folder) as folder:
        target = os.path.join(folder, "copy")
        for file in glob(source + "*"):
            shutil.copyfile(file, target + file[len(source) :])
        yield target


WORKLOADS: dict[str, Callable[[Task], dict[str, Any]]] = {
    workload.__name__: workload for workload in (prepare, get, get_missing, put, replace, delete, open_get_close)
}
