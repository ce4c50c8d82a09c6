"""The groups of cells: which workloads run at which size, and what share of the time they get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.compare.catalog import CATALOG, GROWTH
from benchmarks.compare.task import OBJECTS, RAW

GROWTH_SIZES = (1_000, 10_000, 100_000, 1_000_000, 3_000_000)
GROWTH_PEERS = ("hutch", "dbm.gnu", "dbm.dumb", "lmdb, sync=False")
SIZES = (1_000, 100_000, 1_000_000)
VALUES = (100, 4096)

# Files of five gigabytes for each of fifteen peers are too much for most disks.
_MOST_BYTES = 1_000_000_000
_OBJECT_BYTES = 100
_HELD_ENTRIES = 100_000
_LARGE = 1_000_000
_GROWN_AT_MOST = {"dbm.dumb": 100_000}  # it reads its whole directory at each open

# The rows that hutch is held to (see `reach`) get more repetitions, and longer ones.
HELD: dict[str, dict[str, tuple[str, ...]]] = {
    RAW: {
        "load": ("dbm.gnu", "semidbm"),
        "put": ("dbm.gnu", "diskcache"),
        "durable_put": ("dbm.gnu", "lmdb", "rocksdict"),
        "get": ("dbm.gnu", "lmdb", "dbm.sqlite3"),
        "get_missing": ("lmdb",),
        "delete": ("dbm.gnu",),
        "iterate_keys": ("dbm.gnu",),
        "iterate_items": ("dbm.gnu",),
        "open_get_close": (),
    },
    OBJECTS: {"get": ("shelve, dbm.gnu",), "put": ("shelve, dbm.gnu",)},
}

# The groups in the order in which they run, the most telling first, and their shares of the time.
_WEIGHTS = {
    "raw-100-100000": 16.0,
    "objects-100-100000": 6.0,
    "raw-100-1000": 3.0,
    "raw-100-1000000": 9.0,
    "growth-1000": 1.0,
    "growth-10000": 1.0,
    "growth-100000": 1.5,
    "growth-1000000": 2.5,
    "growth-3000000": 4.5,
    "raw-4096-100000": 7.0,
    "objects-100-1000": 3.0,
    "raw-4096-1000": 2.5,
    "huge": 2.5,
    "objects-100-1000000": 8.0,
}
_OTHER_WEIGHT = 3.0
# What other sizes of values would say once more.
_VALUES_ALIKE = ("open_get_close", "fresh_process", "memory", "beside_writer", "two_writers")


def held_peers() -> list[str]:
    """Those that the rows name."""
    return sorted({peer for workloads in HELD.values() for peers in workloads.values() for peer in peers})


@dataclass(frozen=True)
class Group:
    """Cells that share their databases.

    Attributes:
        name: the key in the results.
        weight: its share of the time, beside those of the others.
        peers: only these; all, if it is empty.
    """

    name: str
    level: str
    value_bytes: int
    entries: int
    workloads: tuple[str, ...]
    weight: float
    peers: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        what = f"{self.value_bytes:,}-byte values" if self.level == RAW else "objects"
        return f"{self.entries:,} entries, {what}"

    def admits(self, label: str, peer: str) -> bool:
        """Whether a peer takes part. Loading a million entries takes long: nobody is loaded twice."""
        if self.peers:
            return label in self.peers and self.entries <= _GROWN_AT_MOST.get(peer, self.entries)
        return self.entries < _LARGE or label == "hutch" or not peer.startswith("hutch")

    def is_held(self, workload: str, peer: str) -> bool:
        """Whether the cell belongs to a row that hutch is held to."""
        held = HELD[self.level].get(workload)
        if self.name.startswith("growth") or self.value_bytes != VALUES[0]:
            return False
        if self.entries != _HELD_ENTRIES and workload != "open_get_close":
            return False
        return held is not None and (peer == "hutch" or peer in held)


def groups(
    sizes: Sequence[int] = SIZES,
    values: Sequence[int] = VALUES,
    levels: Sequence[str] = (RAW, OBJECTS),
    growth: Sequence[int] = GROWTH_SIZES,
    workloads: Sequence[str] = (),
    everything: bool = False,
) -> list[Group]:
    """What is to be measured, the most important first.

    Args:
        sizes: numbers of entries.
        values: sizes of raw values in bytes.
        levels: `RAW`, `OBJECTS` or both.
        growth: sizes for the chart of growth; none: no such chart.
        workloads: only these; all, if it is empty.
        everything: also what takes hours and tens of gigabytes: a million large values, changes of large databases.
    """
    kinds = [(RAW, value_bytes) for value_bytes in values if RAW in levels]
    kinds += [(OBJECTS, _OBJECT_BYTES)] if OBJECTS in levels else []
    found: list[Group] = []
    for level, value_bytes in kinds:
        for entries in sizes:
            if entries * value_bytes > _MOST_BYTES and not everything:
                continue
            chosen = tuple(
                name
                for name, workload in CATALOG.items()
                if level in workload.levels
                and (not workloads or name in workloads or name == "load")
                and name != "huge_value"
                and (everything or entries <= workload.largest)
                and (everything or value_bytes == VALUES[0] or name not in _VALUES_ALIKE)
            )
            found.append(Group(f"{level}-{value_bytes}-{entries}", level, value_bytes, entries, chosen, 0.0))
    if RAW in levels and (not workloads or "huge_value" in workloads):
        found.append(Group("huge", RAW, VALUES[0], 0, ("huge_value",), 0.0))
    if RAW in levels:
        for entries in growth:
            found.append(Group(f"growth-{entries}", RAW, VALUES[0], entries, ("load", *GROWTH), 0.0, GROWTH_PEERS))
    weighed = [replace(group, weight=_WEIGHTS.get(group.name, _OTHER_WEIGHT)) for group in found]
    ranks = {name: rank for rank, name in enumerate(_WEIGHTS)}
    return sorted(weighed, key=lambda group: ranks.get(group.name, len(ranks)))


def reach_groups() -> list[Group]:
    """Only what the rows need that hutch is held to."""
    opening = ("load", "open_get_close")
    return [
        Group("raw-100-100000", RAW, VALUES[0], _HELD_ENTRIES, ("load", *_without_load(RAW)), 6.0),
        Group("objects-100-100000", OBJECTS, _OBJECT_BYTES, _HELD_ENTRIES, ("load", *_without_load(OBJECTS)), 2.0),
        Group("raw-100-1000", RAW, VALUES[0], SIZES[0], opening, 0.2, ("hutch",)),
        Group("raw-100-1000000", RAW, VALUES[0], _LARGE, opening, 1.0, ("hutch",)),
    ]


def _without_load(level: str) -> list[str]:
    return [name for name in HELD[level] if name != "load"]
