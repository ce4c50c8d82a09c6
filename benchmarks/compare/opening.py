"""Workloads about what an open costs: time, a fresh process, bytes on disk, memory."""

from __future__ import annotations

import os
import subprocess
import sys
from time import perf_counter, perf_counter_ns

from benchmarks.compare.loops import copied, data_of, peer_of, warm_up
from benchmarks.compare.task import Task
from benchmarks.timing import Result, percentile

_TURNS = 200
_LEAST_TURNS = 3
_FRESH_TURNS = 5
_OVERWRITES = 3
_GETS = 1_000


def open_get_close(task: Task) -> Result:
    """Open, read one entry and close, many times; the value is the median."""
    warm_up(task)
    peer = peer_of(task)
    keys = data_of(task).picked(task.entries, _TURNS, seed=task.turn)
    path = task.path()
    times: list[int] = []
    end = perf_counter() + task.limit_seconds
    for key in keys:
        one = (key,)
        begin = perf_counter_ns()
        handle = peer.open(path, "r")
        handle.get_each(one)
        handle.close()
        times.append(perf_counter_ns() - begin)
        if perf_counter() > end and len(times) >= _LEAST_TURNS:
            break
    middle = percentile(times, 50) / 1000
    return {"value": middle, "p50": middle, "p99": percentile(times, 99) / 1000, "operations": len(times)}


def fresh_process(task: Task) -> Result:
    """Start Python, import the peer, open, get, close, and end; "bare" is Python that does nothing of it."""
    key = data_of(task).picked(task.entries, 1, seed=task.turn)[0]
    known = "" if not peer_of(task).in_memory else f"; db[{key!r}] = 1"
    script = f"path = {task.path()!r}\n{peer_of(task).setup}{known}\nget({key!r})\nclose()\n"
    times: dict[str, list[float]] = {script: [], "pass": []}
    for turn in range(-1, _FRESH_TURNS):
        for source, each in times.items():
            begin = perf_counter()
            subprocess.run([sys.executable, "-c", source], check=True)
            if turn >= 0:  # the first turn compiles, and fills the page cache
                each.append((perf_counter() - begin) * 1000)
    value = percentile(times[script], 50)
    return {
        "value": value,
        "p50": value,
        "p99": percentile(times[script], 99),
        "bare": percentile(times["pass"], 50),
        "operations": _FRESH_TURNS,
    }


def disk(task: Task) -> Result:
    """What the loaded database takes, as the file system counts it."""
    return {"value": _taken(task.home()) / task.entries}


def overwritten_disk(task: Task) -> Result:
    """The same after three sessions that open, replace every value, and close."""
    peer, data = peer_of(task), data_of(task)
    with copied(task) as path:
        for seed in range(1, _OVERWRITES + 1):
            handle = peer.open(path, "w")
            handle.prepare(dict(data.pairs(range(task.entries), seed)))
            handle.close()
        return {"value": _taken(os.path.dirname(path)) / task.entries}


def _taken(folder: str) -> int:
    return sum(
        os.stat(os.path.join(place, file)).st_blocks * 512 for place, _, files in os.walk(folder) for file in files
    )


_STATUS = "import sys; sys.stdout.write(open('/proc/self/status').read())"


def memory(task: Task) -> Result:
    """Resident memory of a fresh process that has opened and read some entries, above Python that has done nothing."""
    peer, data = peer_of(task), data_of(task)
    keys = data.picked(task.entries, _GETS, seed=task.turn)
    source = f"path = {task.path()!r}\n{peer.setup}\n"
    if peer.in_memory:
        source = (
            "from benchmarks.compare.data import Data\n"
            f"db = dict(Data({task.level!r}, {task.value_bytes}).pairs(range({task.entries}))); get = db.get\n"
        )
    begin = "import sys; keys = eval(sys.stdin.read())\n"
    bare = _resident(f"{begin}{_STATUS}", repr(keys))
    full = _resident(f"{begin}{source}for key in keys: get(key)\n{_STATUS}", repr(keys))
    return {"value": (full - bare) / 1024}


def _resident(source: str, given: str) -> int:
    """KiB."""
    finished = subprocess.run([sys.executable, "-c", source], input=given, capture_output=True, text=True, check=True)
    for line in finished.stdout.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise OSError("this system does not say how much memory a process has")
