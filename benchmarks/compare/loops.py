"""Workloads that are a loop over statements: load, put, get, overwrite, delete, iterate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.compare.data import LARGER, SMALLER, Data
from benchmarks.compare.peers import BY_LEVEL, Handle, Peer
from benchmarks.compare.task import Task
from benchmarks.timing import Result, percentile, time_each, time_loop

_TIMED_SINGLY = 5_000


def peer_of(task: Task) -> Peer:
    return BY_LEVEL[task.level][task.peer]


def data_of(task: Task) -> Data:
    return Data(task.level, task.value_bytes)


@contextmanager
def prepared(task: Task, flag: str = "r", durable: bool = False) -> Iterator[Handle]:
    """The loaded database, open: itself for flag 'r', a copy of it for flag 'w'."""
    peer = peer_of(task)
    if peer.in_memory:
        handle = peer.open("", "n")
        handle.load(dict(data_of(task).pairs(range(task.entries))))
        yield handle
        return
    if flag == "r":
        handle = peer.open(task.path(), flag)
        yield handle
        handle.close()
        return
    with copied(task) as path:
        handle = peer.open(path, flag, durable)
        yield handle
        handle.close()


@contextmanager
def copied(task: Task) -> Iterator[str]:
    """The path of a copy of the loaded database."""
    with TemporaryDirectory(dir=task.folder) as folder:
        home = os.path.join(folder, "copy")
        shutil.copytree(task.home(), home)
        yield os.path.join(home, "database")


@contextmanager
def empty(task: Task, durable: bool = False) -> Iterator[Handle]:
    """A new database, open; whoever uses it closes it."""
    with TemporaryDirectory(dir=task.folder) as folder:
        yield peer_of(task).open(os.path.join(folder, "database"), "n", durable)


def warm_up(task: Task) -> None:
    """Do a little of everything, so that what a peer imports when it is first used is not timed."""
    with empty(task) as handle:
        pairs = data_of(task).pairs(range(2))
        handle.prepare(dict(pairs))
        handle.put_each(pairs)
        handle.get_each([pairs[0][0]])
        handle.close()


def _timed(each: Callable[[Iterable[Any]], object], items: Sequence[Any], task: Task) -> Result:
    """The mean of a plain loop over the most of the items, and the percentiles of single statements with the rest.

    The first statement is not timed: what it costs is part of what it costs to open a database.
    """
    each(items[:1])
    items = items[1:]
    singles = min(_TIMED_SINGLY, len(items) // 5)
    loop = time_loop(each, items[singles:], task.limit_seconds)
    single = time_each(lambda item: each((item,)), items[: max(1, singles)], task.limit_seconds / 2)
    return {
        "value": loop["microseconds"],
        "p50": single["p50"],
        "p99": single["p99"],
        "operations": loop["operations"],
    }


def load(task: Task) -> Result:
    """Build the database that the others read."""
    pairs = dict(data_of(task).pairs(range(task.entries)))
    warm_up(task)
    shutil.rmtree(task.home())
    path = task.path()
    begin = perf_counter()
    handle = peer_of(task).open(path, "n")
    if peer_of(task).slow_load:
        handle.prepare(pairs)
        handle.close()
        with empty(task) as handle:
            result = time_loop(handle.put_each, list(pairs.items()), task.limit_seconds)
            handle.close()
        return {"value": result["microseconds"], "operations": result["operations"]}
    handle.load(pairs)
    handle.close()
    return {"value": (perf_counter() - begin) / task.entries * 1e6, "operations": task.entries}


def put(task: Task) -> Result:
    """New keys, a statement each, into an empty database; "closing" is what close() adds, in seconds."""
    pairs = data_of(task).pairs(range(task.operations))
    with empty(task) as handle:
        result = _timed(handle.put_each, pairs, task)
        begin = perf_counter()
        handle.close()
        return result | {"closing": perf_counter() - begin}


def put_more(task: Task) -> Result:
    """New keys, a statement each, into the loaded database itself, which grows by them."""
    first = task.entries + (task.turn + 1) * task.operations
    pairs = data_of(task).pairs(range(first, first + task.operations))
    handle = peer_of(task).open(task.path(), "w")
    result = _timed(handle.put_each, pairs, task)
    handle.close()
    return result


def durable_put(task: Task) -> Result:
    """New keys, each on the disk when its statement returns, into a loaded database."""
    first = task.entries
    pairs = data_of(task).pairs(range(first, first + min(task.operations, 5_000)))
    with prepared(task, "w", durable=True) as handle:
        return _timed(handle.durable_each, pairs, task)


def get(task: Task) -> Result:
    keys = data_of(task).picked(task.entries, task.operations, seed=task.turn)
    with prepared(task) as handle:
        return _timed(handle.get_each, keys, task)


def get_missing(task: Task) -> Result:
    keys = data_of(task).missing(task.operations)
    with prepared(task) as handle:
        return _timed(handle.miss_each, keys, task)


def _overwrite(task: Task, kind: str) -> Result:
    data = data_of(task)
    keys = data.keys(data.shuffled(task.entries, task.operations, seed=task.turn))
    pairs = list(zip(keys, data.values(len(keys), 9, kind), strict=True))
    with prepared(task, "w") as handle:
        return _timed(handle.put_each, pairs, task)


def overwrite_smaller(task: Task) -> Result:
    return _overwrite(task, SMALLER)


def overwrite_larger(task: Task) -> Result:
    return _overwrite(task, LARGER)


def delete(task: Task) -> Result:
    data = data_of(task)
    keys = data.keys(data.shuffled(task.entries, task.operations, seed=task.turn))
    with prepared(task, "w") as handle:
        return _timed(handle.delete_each, keys, task)


def _iterate(task: Task, walk: Callable[[Handle], Iterable[Any]]) -> Result:
    """Whole walks, as many as the limit allows, but one at least."""
    times: list[float] = []
    with prepared(task) as handle:
        while not times or (sum(times) < task.limit_seconds and len(times) < 100):
            count = 0
            begin = perf_counter()
            for _ in walk(handle):
                count += 1
            times.append(perf_counter() - begin)
            if count < task.entries:
                raise AssertionError(f"{count} entries came, not {task.entries}")
    each = [time / task.entries * 1e6 for time in times]
    return {
        "value": sum(each) / len(each),
        "p50": percentile(each, 50),
        "p99": percentile(each, 99),
        "operations": len(times) * task.entries,
    }


def iterate_keys(task: Task) -> Result:
    return _iterate(task, lambda handle: handle.keys())


def iterate_items(task: Task) -> Result:
    return _iterate(task, lambda handle: handle.items())
