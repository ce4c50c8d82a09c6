"""The speeds that hutch is to reach beside its peers, and what a run measured of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Results = dict[str, dict[str, dict[str, dict[str, Any]]]]

RAW_GROUP = "raw-100-100000"
_SMALL = "raw-100-1000"
_LARGE = "raw-100-1000000"
OBJECT_GROUP = "objects-100-100000"


@dataclass(frozen=True)
class Target:
    """One row.

    Attributes:
        workload: of the catalog.
        group: of the plan.
        factor: the most that the ratio may be.
        peers: hutch is divided by the fastest of these.
        obstacle: what stands in the way, where it is not reached.
    """

    workload: str
    name: str
    factor: float
    peers: tuple[str, ...]
    obstacle: str
    group: str = RAW_GROUP

    @property
    def aim(self) -> str:
        peers = self.peers[0] if len(self.peers) == 1 else f"the best of {', '.join(self.peers)}"
        return f"{_factor(self.factor)} x {peers}"


@dataclass(frozen=True)
class Row:
    """A target and what came of it; the measured numbers are None where a cell is missing."""

    name: str
    aim: str
    measured: float | None
    unit: str
    reached: bool | None
    hutch: float | None
    other: float | None
    other_name: str
    obstacle: str
    of_p50: float | None = None  # the same of p50, which pauses do not count in


_IN_C = (
    "dbm.gnu does the whole statement in one call into C; hutch does it in Python, where each name, slice and call of "
    "the look-up costs as much as the other's hash"
)
_COMMIT = (
    "each statement is a commit that survives a kill: heap, journal, directory line and index, each with a call of "
    "its own; dbm.gnu changes two pages of one mapped file, without a journal"
)
_LINES = "keys are parsed out of the directory's lines, in the order of insertion, and stay right while others write"
_PUT = "put one by one, default durability"
TARGETS = [
    Target("get", "get", 2.5, ("dbm.gnu",), _IN_C),
    Target("get", "get", 1.5, ("lmdb",), "lmdb's transaction and look-up are two calls into C"),
    Target("get", "get", 1 / 8, ("dbm.sqlite3",), "what is left is the interpreter's own time for the look-up"),
    Target("get_missing", "get missing", 1.5, ("lmdb",), "a miss reads a bucket's tags and the version word in Python"),
    Target("put", _PUT, 1.2, ("dbm.gnu",), _COMMIT),
    Target("put", _PUT, 1 / 10, ("diskcache",), "the four writes of a commit"),
    Target(
        "durable_put", "durable put", 0.8, ("lmdb", "dbm.gnu", "rocksdict"), "the disk's time for one sync is the most"
    ),
    Target("load", "bulk load", 0.6, ("dbm.gnu",), "a line of text and an index slot for each key"),
    Target("load", "bulk load", 1.3, ("semidbm",), "semidbm appends key and value to one file, and nothing else"),
    Target("delete", "delete", 0.8, ("dbm.gnu",), "a delete is a commit with a journal record"),
    Target("iterate_keys", "iterate keys", 1.2, ("dbm.gnu",), _LINES),
    Target("iterate_items", "iterate items", 2.0, ("dbm.gnu",), "as for keys, and a checksum for each value"),
]
_SHELVES = [
    Target("get", "object get", 0.75, ("shelve, dbm.gnu",), "unpickling is the same for both", OBJECT_GROUP),
    Target("put", "object put", 0.75, ("shelve, dbm.gnu",), "pickling is the same for both", OBJECT_GROUP),
]
_MOST_MILLISECONDS = 0.5
_MOST_GROWTH = 1.3


def _factor(number: float) -> str:
    return f"1/{1 / number:g}" if number < 0.5 else f"{number:g}"


def _value(results: Results, group: str, workload: str, label: str) -> float:
    return float(results[group][workload][label]["value"])


def _label(results: Results, group: str, workload: str, peer: str) -> str:
    """The peer's label in the results: another interpreter's version may stand behind its name."""
    cells = results[group][workload]
    return next(label for label in cells if label == peer or label.startswith(f"{peer} (Python"))


def _judge(target: Target, results: Results) -> Row:
    best: tuple[float, str] | None = None
    for peer in target.peers:
        try:
            label = _label(results, target.group, target.workload, peer)
            value = _value(results, target.group, target.workload, label)
        except (KeyError, StopIteration):
            continue
        if best is None or value < best[0]:
            best = value, label
    if best is None:
        return Row(target.name, target.aim, None, "x", None, None, None, "", "not measured in this run")
    other, label = best
    # A peer under another interpreter is compared with hutch under that one.
    _, mark, version = label.partition(" (Python")
    own = f"hutch{mark}{version}" if mark else "hutch"
    try:
        hutch = _value(results, target.group, target.workload, own)
    except KeyError:
        return Row(target.name, target.aim, None, "x", None, None, other, label, "not measured in this run")
    ratio = hutch / other
    cells = results[target.group][target.workload]
    of_p50 = cells[own]["p50"] / cells[label]["p50"] if "p50" in cells[own] and cells[label].get("p50") else None
    return Row(
        target.name, target.aim, ratio, "x", ratio <= target.factor, hutch, other, label, target.obstacle, of_p50
    )


def _open_rows(results: Results) -> list[Row]:
    name = "open + get + close, 1,000,000 entries"
    aims = (f"{_MOST_MILLISECONDS} ms", f"{_MOST_GROWTH} x that of 1,000 entries")
    try:
        large = _value(results, _LARGE, "open_get_close", "hutch")
    except KeyError:
        return [Row(name, aim, None, "", None, None, None, "", "not measured in this run") for aim in aims]
    obstacle = "opening four files, mapping two of them and taking the locks are some forty system calls"
    rows = [Row(name, aims[0], large / 1000, "ms", large / 1000 <= _MOST_MILLISECONDS, large, None, "", obstacle)]
    try:
        small = _value(results, _SMALL, "open_get_close", "hutch")
    except KeyError:
        return [*rows, Row(name, aims[1], None, "x", None, large, None, "", "not measured in this run")]
    obstacle = "the pages of a larger file are touched for the first time"
    return [*rows, Row(name, aims[1], large / small, "x", large / small <= _MOST_GROWTH, large, small, "", obstacle)]


def judge(results: Results) -> list[Row]:
    """Hold every row against the measurements."""
    rows = [_judge(target, results) for target in TARGETS]
    rows += _open_rows(results)
    return rows + [_judge(target, results) for target in _SHELVES]
