"""Two workloads of their own: a huge value, and objects that are changed in place."""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from benchmarks.compare.loops import copied, data_of, peer_of
from benchmarks.compare.task import Task
from benchmarks.timing import Result

HUGE_BYTES = 256 * 2**20
_MUTATED = 1_000


def huge_value(task: Task) -> Result:
    """Put one value of 256 MiB, close, open, get it; "put" and "get" are the parts."""
    value = os.urandom(2**20) * (HUGE_BYTES // 2**20)
    with TemporaryDirectory(dir=task.folder) as folder:
        peer, path = peer_of(task), os.path.join(folder, "database")
        begin = perf_counter()
        handle = peer.open(path, "n")
        handle.put_each([(b"huge", value)])
        if not peer.in_memory:
            handle.close()
        middle = perf_counter()
        if not peer.in_memory:
            handle = peer.open(path, "r")
        found = handle.get(b"huge")
        end = perf_counter()
        if found != value:
            raise AssertionError("another value came back")
        handle.close()
    return {
        "value": (end - begin) * 1000,
        "put": (middle - begin) * 1000,
        "get": (end - middle) * 1000,
        "operations": 1,
    }


def writeback(task: Task) -> Result:
    """Read 1,000 objects, change each in place, and have them written: by writeback, or by a put each."""
    peer, data = peer_of(task), data_of(task)
    keys = data.keys(data.shuffled(task.entries, _MUTATED, seed=task.turn))
    if peer.in_memory:
        return _mutate(peer.open("", "n"), dict(data.pairs(range(task.entries))), keys)
    with copied(task) as path:
        if peer.writeback:
            handle: Any = peer.open(path, "w", writeback=True)  # type: ignore[call-arg]
            begin = perf_counter()
            for key in keys:
                handle.mapping[key]["changed"] = True
            handle.close()
        else:
            handle = peer.open(path, "w")
            begin = perf_counter()
            pairs = []
            for key in keys:
                value = dict(handle.get(key))
                value["changed"] = True
                pairs.append((key, value))
            handle.put_each(pairs)
            handle.close()
        took = perf_counter() - begin
        handle = peer.open(path, "r")
        if any(not handle.get(key)["changed"] for key in keys):
            raise AssertionError("a change was lost")
        handle.close()
    return {"value": took / len(keys) * 1e6, "operations": len(keys)}


def _mutate(handle: Any, content: dict[Any, Any], keys: list[Any]) -> Result:
    handle.load(content)
    begin = perf_counter()
    for key in keys:
        handle.mapping[key]["changed"] = True
    return {"value": (perf_counter() - begin) / len(keys) * 1e6, "operations": len(keys)}
