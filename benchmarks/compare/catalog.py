"""The workloads by name: what each means, in which unit, and at which level it makes sense."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.compare.task import OBJECTS, RAW

MICROSECONDS = "µs"


@dataclass(frozen=True)
class Workload:
    """One row of the tables.

    Attributes:
        name: of the function.
        title: what a reader is told.
        unit: of the result's "value".
        levels: where it is run.
        once: its number hardly varies, or it takes long: it is not repeated.
        largest: the largest database for which it is run.
    """

    name: str
    title: str
    unit: str = MICROSECONDS
    levels: tuple[str, ...] = (RAW, OBJECTS)
    once: bool = False
    largest: int = 1_000_000


_CATALOG = [
    Workload("load", "bulk load, an entry (open to close)"),
    Workload("put", "put one by one, into an empty database"),
    Workload("durable_put", "durable put: each survives a power cut"),
    Workload("get", "get a present key, at random"),
    Workload("get_missing", "get a key that is not there"),
    Workload("overwrite_smaller", "overwrite with half the size", largest=100_000),
    Workload("overwrite_larger", "overwrite with twice the size", largest=100_000),
    Workload("delete", "delete, in random order", largest=100_000),
    Workload("iterate_keys", "iterate over the keys, an entry"),
    Workload("iterate_items", "iterate over the items, an entry"),
    Workload("open_get_close", "open, get one, close"),
    Workload("fresh_process", "a fresh process that opens and gets", "ms"),
    Workload("disk", "on disk after the load, an entry", "bytes", once=True),
    Workload(
        "overwritten_disk",
        "on disk after three overwrites of everything, an entry",
        "bytes",
        once=True,
        largest=100_000,
    ),
    Workload("memory", "memory after 1,000 gets, above bare Python", "MiB", once=True),
    Workload("beside_writer", "get, while another process writes", once=True, largest=100_000),
    Workload("two_writers", "put, two processes at the same time", once=True, largest=100_000),
    Workload(
        "writeback", "load, mutate and write back 1,000 objects, each", levels=(OBJECTS,), once=True, largest=100_000
    ),
    Workload("huge_value", "put and get a value of 256 MiB", "ms", levels=(RAW,), once=True),
]
CATALOG = {workload.name: workload for workload in _CATALOG}

# Only for the chart of growth; they are not rows of the tables.
GROWTH = ("get", "put_more", "open_get_close")
