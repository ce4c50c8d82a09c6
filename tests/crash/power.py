"""Power cuts: from a machine's un-synced changes to one of the disks that a power cut may leave.

A disk writes 512-byte sectors, whole, in any order, at any time after they became dirty. So each sector holds
some earlier state of the page cache: a prefix of the changes that touched it, and each sector its own prefix.
The size of a file travels apart from its bytes: a file may come back longer with zeros at its end (size
before bytes) or shorter than what was written (bytes before size). Names travel apart from both, a rename
as one. What a file system with a journal promises beyond that is not relied on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter

from crash.simulated import Change, Inode, Machine, NameChange, apply_change, apply_names, next_boot, resize

__all__ = ["PowerCut", "cut_power", "power_cuts"]

SECTOR_BYTES = 512
_NOWHERE = 1 << 62

# How many of a row of changes, in their order, reached the disk: from 0 to their number.
Choice = Callable[[int], int]


def _none(_count: int) -> int:
    return 0


def _all(count: int) -> int:
    return count


@dataclass(frozen=True)
class PowerCut:
    """One adversary.

    Attributes:
        name: how a failing test calls it.
        sectors: of a file's suffix, the choice for each of its sectors.
        sizes: of a file's suffix, the choice for its size.
        names: the choice for each group of names that renames tie together.
    """

    name: str
    sectors: Callable[[str], Choice]
    sizes: Callable[[str], Choice]
    names: Choice

    def __str__(self) -> str:
        return self.name


def _always(choice: Choice) -> Callable[[str], Choice]:
    return lambda _suffix: choice


def power_cuts(suffixes: Iterator[str] | list[str], seeds: range) -> Iterator[PowerCut]:
    """Adversaries for a machine with un-synced changes in the files with these suffixes."""
    yield PowerCut("nothing", _always(_none), _always(_none), _none)
    yield PowerCut("everything", _always(_all), _always(_all), _all)
    yield PowerCut("sizes without bytes", _always(_none), _always(_all), _all)
    yield PowerCut("bytes without sizes", _always(_all), _always(_none), _all)
    for only in suffixes:
        yield _one_file(only)
        yield _all_but(only)
    for seed in seeds:
        yield _random(seed)


def _one_file(only: str) -> PowerCut:
    def choose(suffix: str) -> Choice:
        return _all if suffix == only else _none

    return PowerCut(f"nothing but {only}", choose, choose, _all)


def _all_but(one: str) -> PowerCut:
    def choose(suffix: str) -> Choice:
        return _none if suffix == one else _all

    return PowerCut(f"everything but {one}", choose, choose, _all)


def _random(seed: int) -> PowerCut:
    """A mixture: some files come whole, some not at all, some torn at sectors."""
    source = random.Random(seed)

    def some(count: int) -> int:
        return source.choice((0, count, source.randint(0, count)))

    def choose(_suffix: str) -> Choice:
        return source.choice((_none, _all, some, some))

    return PowerCut(f"random {seed}", choose, choose, some)


def cut_power(machine: Machine, cut: PowerCut) -> Machine:
    """The machine after its power came back."""
    names = dict(machine.disk_names)
    for group in _tied(machine.pending_names):
        for change in group[: cut.names(len(group))]:
            apply_names(names, change)
    after = Machine(
        boot_id=next_boot(machine.boot_id),
        names=names,
        disk_names=dict(names),
        lost_syncs=machine.lost_syncs,
        next_inode_number=machine.next_inode_number,
        random_count=machine.random_count,
    )
    for name, number in sorted(names.items(), key=itemgetter(1)):
        inode = machine.inodes[number]
        suffix = name.rpartition(".")[2]
        twin = Inode(number, inode.mode)
        twin.owner = inode.owner
        twin.disk = disk_after(inode, cut.sectors(suffix), cut.sizes(suffix))
        twin.cache = twin.disk[:]
        after.inodes[number] = twin
    return after


def disk_after(inode: Inode, sectors: Choice, sizes: Choice) -> bytearray:
    """The bytes that a power cut leaves of one file."""
    if not inode.pending:
        return inode.disk[:]
    resizing = _resizing(inode)
    size_changes = sizes(len(resizing))
    size_kept = {index for index, _ in resizing[:size_changes]}
    final_size = resizing[size_changes - 1][1] if size_changes else len(inode.disk)
    limits = {} if sectors in (_none, _all) else _sector_limits(inode, sectors)

    content = inode.disk[:]
    # Behind a truncation that never reached the disk the old blocks stay as they were.
    frozen_from = _NOWHERE
    for index, change in enumerate(inode.pending):
        if change.data is None:
            if index in size_kept:
                if change.offset < len(content):
                    resize(content, change.offset)
            elif change.offset < len(content):
                frozen_from = min(frozen_from, change.offset)
            continue
        if sectors is _none:
            continue
        if sectors is _all and change.offset + len(change.data) <= frozen_from:
            apply_change(content, change)  # no need to go by sectors
            continue
        for offset, piece in _split(change):
            if sectors is _all or index in limits[offset // SECTOR_BYTES]:
                apply_change(content, Change(offset, piece[: max(0, frozen_from - offset)]))
    resize(content, final_size)
    return content


def _resizing(inode: Inode) -> list[tuple[int, int]]:
    """The changes that alter the size: (index in pending, new size)."""
    found = []
    size_bytes = len(inode.disk)
    for index, change in enumerate(inode.pending):
        new_size = change.offset if change.data is None else max(size_bytes, change.offset + len(change.data))
        if new_size != size_bytes:
            size_bytes = new_size
            found.append((index, new_size))
    return found


def _sector_limits(inode: Inode, choose: Choice) -> dict[int, frozenset[int]]:
    """For each dirty sector the indices of the changes that reached it."""
    touching: dict[int, list[int]] = {}
    for index, change in enumerate(inode.pending):
        if change.data is not None:
            for offset, _ in _split(change):
                touching.setdefault(offset // SECTOR_BYTES, []).append(index)
    return {sector: frozenset(indices[: choose(len(indices))]) for sector, indices in touching.items()}


def _split(change: Change) -> Iterator[tuple[int, bytes]]:
    """A change of bytes, sector by sector."""
    assert change.data is not None
    offset = change.offset
    done = 0
    while done < len(change.data):
        size_bytes = min(SECTOR_BYTES - offset % SECTOR_BYTES, len(change.data) - done)
        yield offset, change.data[done : done + size_bytes]
        offset += size_bytes
        done += size_bytes


def _tied(changes: list[NameChange]) -> list[list[NameChange]]:
    """Changes of names in groups: those that share a name, directly or through a rename, stay in order."""
    groups: list[tuple[set[str], list[int]]] = []
    for index, change in enumerate(changes):
        names = {name for name, _ in change.names}
        merged: list[int] = [index]
        apart = []
        for group in groups:
            if group[0] & names:
                names |= group[0]
                merged += group[1]
            else:
                apart.append(group)
        groups = [*apart, (names, sorted(merged))]
    return [[changes[index] for index in indices] for _, indices in groups]
