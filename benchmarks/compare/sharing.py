"""Workloads of two processes at the same time: a writer beside a reader, and two writers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory
from threading import Event, Timer
from time import perf_counter, perf_counter_ns
from typing import Any

from benchmarks.compare.loops import data_of, peer_of
from benchmarks.compare.task import Task
from benchmarks.timing import Result, percentile

_LAST_WORDS = 200
_WRITTEN_AT_MOST = 50_000


class Unfit(Exception):
    """A peer cannot do this; the message says why."""


def _together(tasks: Sequence[Task], patience: float) -> list[Result]:
    """Run workers that all begin at the same moment, when each has opened its database or failed to."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.compare.worker", task.to_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in tasks
    ]

    is_late = Event()

    def kill() -> None:
        is_late.set()
        for process in processes:
            process.kill()

    watchdog = Timer(patience, kill)
    watchdog.start()
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()  # "ready", or nothing if it has failed
        for process in processes:
            assert process.stdin is not None
            try:
                os.write(process.stdin.fileno(), b"go\n")  # past the buffer, which would keep what cannot be written
            except BrokenPipeError:
                pass  # it has failed; what it says is read below
        results = []
        for process in processes:
            printed, problem = process.communicate()
            if process.returncode < 0 and is_late.is_set():
                raise Unfit(f"one process waits for the other, for {patience:g} seconds and more")
            if process.returncode:
                last = (problem.strip().splitlines() or ["it ended without a word"])[-1]
                raise Unfit(f"refused: {last[:_LAST_WORDS]}")
            results.append(json.loads(printed))
        return results
    finally:
        watchdog.cancel()
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()


def _wait() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def side_read(task: Task) -> Result:
    """A child: read at random until the time is over; "wrong" counts what no writer has written."""
    data = data_of(task)
    keys = data.picked(task.entries, 10_000, seed=1)
    valid = data.values(256) + data.values(256, seed=9)
    handle = peer_of(task).open(task.path(), "r")
    _wait()
    times: list[int] = []
    read: list[Any] = []
    wrong = 0
    end = perf_counter() + task.limit_seconds
    while perf_counter() < end:
        for key in keys[:100]:
            begin = perf_counter_ns()
            try:
                value = handle.get(key)
            except Exception as problem:  # noqa: BLE001  # whatever a peer raises in the middle of somebody's write
                value = problem
            times.append(perf_counter_ns() - begin)
            read.append(value)
        keys = keys[100:] + keys[:100]
        wrong += sum(value not in valid for value in read)
        read.clear()
    handle.close()
    return {"operations": len(times), "p50": percentile(times, 50), "p99": percentile(times, 99), "wrong": wrong,
            "mean": sum(times) / len(times)}  # fmt: skip


def side_overwrite(task: Task) -> Result:
    """A child: overwrite at random until the time is over."""
    data = data_of(task)
    keys = data.picked(task.entries, 10_000, seed=2)
    pairs = list(zip(keys, data.values(len(keys), seed=9), strict=True))
    handle = peer_of(task).open(task.path(), "w")
    handle.put_each(pairs[:1])
    _wait()
    done = 0
    begin = perf_counter()
    while perf_counter() - begin < task.limit_seconds:
        start = done % len(pairs)
        handle.put_each(pairs[start : start + 10])
        done += 10
    took = perf_counter() - begin
    handle.close()
    return {"operations": done, "seconds": took}


def side_put(task: Task) -> Result:
    """A child: put keys of its own until the time is over."""
    first = (task.turn + 1) << 32
    pairs = data_of(task).pairs(range(first, first + _WRITTEN_AT_MOST))
    handle = peer_of(task).open(task.path(), "w")
    _wait()
    done = 0
    begin = perf_counter()
    while perf_counter() - begin < task.limit_seconds and done < len(pairs):
        handle.put_each(pairs[done : done + 10])
        done += 10
    took = perf_counter() - begin
    handle.close()
    return {"operations": done, "seconds": took}


def _check_fit(task: Task) -> None:
    peer = peer_of(task)
    if peer.in_memory:
        raise Unfit("it is in the memory of one process")
    if peer.whole:
        raise Unfit("each process has a copy of its own; the last to save wins")
    if "exclusive" in peer.name:
        raise Unfit("it admits no other handle, as asked for")


def _moved(task: Task, folder: str) -> Task:
    """The same task on a copy of the loaded database."""
    moved = replace(task, folder=folder)
    shutil.copytree(task.home(), moved.home(), dirs_exist_ok=True)
    return moved


def beside_writer(task: Task) -> Result:
    """Reads of one process while another overwrites; "writer" is its time for a put."""
    _check_fit(task)
    with TemporaryDirectory(dir=task.folder) as folder:
        moved = _moved(task, folder)
        write, read = _together(
            [replace(moved, workload="side_overwrite"), replace(moved, workload="side_read")],
            patience=4 * task.limit_seconds + 5,
        )
    result = {
        "value": read["mean"] / 1000,
        "p50": read["p50"] / 1000,
        "p99": read["p99"] / 1000,
        "operations": read["operations"],
        "writer": write["seconds"] / write["operations"] * 1e6,
    }
    if read["wrong"]:
        result["remark"] = f"{read['wrong']:,} of {read['operations']:,} reads were wrong or failed"
    return result


def two_writers(task: Task) -> Result:
    """Puts of two processes, each with keys of its own; afterwards all must be there."""
    _check_fit(task)
    with TemporaryDirectory(dir=task.folder) as folder:
        moved = _moved(task, folder)
        results = _together(
            [replace(moved, workload="side_put", turn=turn) for turn in range(2)],
            patience=4 * task.limit_seconds + 5,
        )
        done = sum(result["operations"] for result in results)
        remark = _damage(moved, [result["operations"] for result in results])
    result = {"value": max(result["seconds"] for result in results) / done * 1e6, "operations": done}
    return result | ({"remark": remark} if remark else {})


def _damage(task: Task, counts: Sequence[int]) -> str:
    """What of the puts is not there; empty, if all is well."""
    data = data_of(task)
    try:
        handle = peer_of(task).open(task.path(), "r")
    except Exception as problem:  # noqa: BLE001  # whatever it raises when it meets what two have written
        return f"afterwards it cannot be opened: {type(problem).__name__}: {problem}"
    lost = 0
    for turn, count in enumerate(counts):
        first = (turn + 1) << 32
        for key, value in data.pairs(range(first, first + count)):
            try:
                found = handle.get(key)
            except Exception:  # noqa: BLE001  # a damaged value is a lost one
                found = None
            lost += found != value
    handle.close()
    return f"{lost:,} of {sum(counts):,} puts were lost" if lost else ""
