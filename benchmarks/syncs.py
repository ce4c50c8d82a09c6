"""Durable puts: how many syncs each of them makes, and how long they take beside a bare fdatasync."""

from __future__ import annotations

import os
from collections.abc import Sequence
from time import perf_counter_ns
from typing import Any

from benchmarks import inputs
from benchmarks.timing import percentile
from benchmarks.workloads import Task
from hutch.files import File, FileSystem
from hutch.store import open_store


class _CountingFile(File):
    """Counts what reaches the disk."""

    counts: dict[str, int]

    def sync(self) -> None:
        self.counts["syncs"] += 1
        super().sync()


class _CountingFileSystem(FileSystem):
    def __init__(self) -> None:
        self.counts = {"syncs": 0}

    def open(self, path: str, **options: Any) -> File:
        plain = super().open(path, **options)
        counting = _CountingFile(plain.fd, plain.path, plain.writable)
        plain.fd = -1  # the descriptor has a new owner
        counting.counts = self.counts
        return counting

    def sync_folder(self, path: str) -> None:
        self.counts["syncs"] += 1
        super().sync_folder(path)


def durable_put(task: Task) -> dict[str, Any]:
    """Put new keys one by one with durability="commit" into a database that holds some already."""
    door = _CountingFileSystem()
    store = open_store(task.path() + "-durable", "n", durability="commit", file_system=door)
    keys = inputs.keys(task.entries + task.operations)
    values = inputs.values(task.entries + task.operations)
    store.apply(dict(zip(keys[: task.entries], values, strict=False)))
    syncs: list[int] = []
    times: list[int] = []
    for key, value in zip(keys[task.entries :], values[task.entries :], strict=True):
        before, begin = door.counts["syncs"], perf_counter_ns()
        store.put(key, value)
        times.append(perf_counter_ns() - begin)
        syncs.append(door.counts["syncs"] - before)
    store.close()
    return {
        "puts": len(syncs),
        "syncs_median": percentile(syncs, 50),
        "syncs_max": max(syncs),
        "syncs_each": sum(syncs) / len(syncs),
        "p50": percentile(times, 50) / 1000,
        "p99": percentile(times, 99) / 1000,
        "bare_p50": percentile(_bare(task), 50) / 1000,
    }


def _bare(task: Task) -> Sequence[int]:
    """Nanoseconds of the least that durability can cost here: 512 bytes written and an fdatasync."""
    times: list[int] = []
    descriptor = os.open(task.path() + "-bare", os.O_RDWR | os.O_CREAT)
    try:
        os.posix_fallocate(descriptor, 0, 512 * task.operations)
        os.fsync(descriptor)
        for number in range(task.operations):
            begin = perf_counter_ns()
            os.pwrite(descriptor, bytes(512), 512 * number)
            os.fdatasync(descriptor)
            times.append(perf_counter_ns() - begin)
    finally:
        os.close(descriptor)
    return times
