"""A simulated machine: its disk, its page cache, its processes and their locks.

    Machine                     names and inodes, each in two states: page cache and disk
    ├── SimulatedFileSystem     one process of that machine (a `FileSystem` for the engine)
    │   └── SimulatedFile       one open file (a `File`), and its `SimulatedView` when mapped
    └── Event                   one thing that changes the machine; hooks see it just before it happens

Everything that a process changes is at once in the page cache, where every process sees it, and remains
there when a process dies. It is on the disk only after a sync: `Inode.pending` lists what a power
cut may lose, `power.py` chooses what it loses. Names are apart from inodes, so a rename needs the
folder's sync and a new file needs both.

A hook may raise (an error, `Killed`), look (copy the machine, crash the copy), or apply a part of the event
before it raises (a short write). Nothing here knows the store that it tests.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import xxhash

from crash.simulated_locks import LockTable, SimulatedLocks
from hutch.files import File, FileSystem, View
from hutch.locking import Locks

__all__ = [
    "BusError",
    "Change",
    "Event",
    "Hook",
    "Inode",
    "Killed",
    "Machine",
    "SimulatedFile",
    "SimulatedFileSystem",
    "as_slice",
]

_machine_numbers = itertools.count(1)
_FIRST_INODE_NUMBER = 1000
_PAGE_BYTES = 4096
# All within one tick of a coarse clock: no engine may tell two states by their times.
_CLOCK_SECONDS = 1_700_000_000
_TIMES = {f"st_{name}time_ns": _CLOCK_SECONDS * 10**9 for name in "amc"}
# The same for every machine: what an engine has noted of its files, so that it knows them again, holds for a copy, too.
_DEVICE = 7


class Killed(BaseException):
    """The process is dead; whatever it still tries raises this again."""


class BusError(BaseException):
    """What would be a SIGBUS: memory touched that has no block of the file behind it."""


class Change(NamedTuple):
    """One un-synced change of an inode: bytes at an offset, or (data None) a new size."""

    offset: int
    data: bytes | None


class Inode:
    """One file without its name: its bytes in the page cache, on the disk, and the way from here to there.

    Attributes:
        pending: what the page cache has and the disk may lack, in order.
        lost_pages: page numbers that a failed sync left clean in the page cache and old on the disk: no
            later sync writes them, unless something dirties them again.
        holes: spans (start, end) that truncate added and that have no blocks.
    """

    __slots__ = ("cache", "disk", "holes", "lost_pages", "mode", "number", "owner", "pending")

    def __init__(self, number: int, mode: int) -> None:
        self.number = number
        self.mode = mode
        self.owner = (os.getuid(), os.getgid())
        self.cache = bytearray()
        self.disk = bytearray()
        self.pending: list[Change] = []
        self.lost_pages: set[int] = set()
        self.holes: list[tuple[int, int]] = []

    def copy(self) -> Inode:
        twin = Inode(self.number, self.mode)
        twin.owner = self.owner
        twin.cache = self.cache[:]
        twin.disk = self.disk[:]
        twin.pending = self.pending[:]
        twin.lost_pages = self.lost_pages.copy()
        twin.holes = self.holes[:]
        return twin

    def change(self, change: Change) -> None:
        """Apply to the page cache, and owe it to the disk."""
        apply_change(self.cache, change)
        if self.lost_pages and change.data:
            pages = _pages(change)
            if not self.lost_pages.isdisjoint(pages):  # a page is written back whole
                self.lost_pages.difference_update(pages)
                start = pages.start * _PAGE_BYTES
                change = Change(start, bytes(self.cache[start : pages.stop * _PAGE_BYTES]))
        self.pending.append(change)

    def bring_to_disk(self) -> None:
        if self.lost_pages:
            for change in self.pending:
                apply_change(self.disk, change)
        else:
            self.disk[:] = self.cache
        self.pending.clear()

    def lose_pages(self) -> None:
        """What Linux does after a failed sync: the pages count as clean, and the disk does not have them.

        The size is not data, and the file system's own journal keeps it.
        """
        for change in self.pending:
            if change.data:
                self.lost_pages.update(_pages(change))
        self.pending.clear()
        resize(self.disk, len(self.cache))


def _pages(change: Change) -> range:
    assert change.data is not None
    return range(change.offset // _PAGE_BYTES, (change.offset + len(change.data) - 1) // _PAGE_BYTES + 1)


def apply_change(content: bytearray, change: Change) -> None:
    """Apply one change to a file's bytes."""
    if change.data is None:
        resize(content, change.offset)
        return
    end = change.offset + len(change.data)
    if len(content) < end:
        resize(content, end)
    content[change.offset : end] = change.data


def resize(content: bytearray, size_bytes: int) -> None:
    if size_bytes < len(content):
        del content[size_bytes:]
    else:
        content.extend(bytes(size_bytes - len(content)))


@dataclass(slots=True)
class Event:
    """Something that is about to change the machine.

    Attributes:
        kind: write (pwrite), store (through a map), allocate, truncate, sync, create, replace, unlink or
            sync_folder.
        path: the name in question (of the target, for replace).
        inode: the inode in question, None for sync_folder.
        change: what write, store, allocate and truncate do.
        number: how many events the machine has seen before this one.
        process: who does it.
        source: the name that replace takes away.
    """

    kind: str
    path: str
    process: SimulatedFileSystem
    inode: Inode | None = None
    change: Change | None = None
    number: int = 0
    source: str = ""

    @property
    def suffix(self) -> str:
        """'dat', 'dir', 'log', 'idx', …; 'folder' for the sync of a folder."""
        return "folder" if self.kind == "sync_folder" else self.path.rpartition(".")[2]

    @property
    def may_fail(self) -> bool:
        """Whether the system call behind it can return an error (a store has none to return)."""
        return self.kind != "store"

    @property
    def is_sync(self) -> bool:
        return self.kind in ("sync", "sync_folder")

    @property
    def site(self) -> str:
        """The function of the engine that asked for it, and the file: names one sync among all."""
        frame = sys._getframe(1)
        while frame is not None:
            module = frame.f_globals.get("__name__", "")
            if not module.startswith(__package__ or "crash") and module != "hutch.files":
                return f"{module.removeprefix('hutch.')}.{frame.f_code.co_qualname}:{self.suffix}"
            frame = frame.f_back  # type: ignore[assignment]
        raise AssertionError("nobody asked")


Hook = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class NameChange:
    """One un-synced change of the folder: each name to an inode number, or None for gone."""

    names: tuple[tuple[str, int | None], ...]


@dataclass
class Machine:
    """One computer between two power cuts.

    Attributes:
        names, disk_names: name to inode number, as processes see it and as the disk has it.
        pending_names: changes of names that no sync_folder has made durable.
        hooks: called with each event before it happens.
        lost_syncs: predicates; a sync that one of them is true for returns without doing anything.
    """

    boot_id: bytes = b"the first boot.."
    inodes: dict[int, Inode] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    disk_names: dict[str, int] = field(default_factory=dict)
    pending_names: list[NameChange] = field(default_factory=list)
    hooks: list[Hook] = field(default_factory=list)
    lost_syncs: list[Callable[[Event], bool]] = field(default_factory=list)
    event_count: int = 0
    next_inode_number: int = _FIRST_INODE_NUMBER
    random_count: int = 0

    def __post_init__(self) -> None:
        self.number = next(_machine_numbers)  # tells this machine's locks from those of its copies
        self.lock_tables: dict[int, LockTable] = {}

    def process(self) -> SimulatedFileSystem:
        """Start a process."""
        return SimulatedFileSystem(self)

    def copy(self) -> Machine:
        """The machine after every one of its processes died, in this very state. Hooks stay behind."""
        twin = Machine(
            boot_id=self.boot_id,
            names=dict(self.names),
            disk_names=dict(self.disk_names),
            pending_names=self.pending_names[:],
            lost_syncs=self.lost_syncs,
            next_inode_number=self.next_inode_number,
            random_count=self.random_count,
        )
        named = {*self.names.values(), *self.disk_names.values()}
        for name_change in self.pending_names:
            named.update(number for _, number in name_change.names if number is not None)
        twin.inodes = {number: self.inodes[number].copy() for number in named}
        return twin

    def fingerprint(self) -> bytes:
        """Equal for machines on which every program would do the same, up to a power cut."""
        digest = xxhash.xxh3_128(self.boot_id)
        for name, number in sorted(self.names.items()):
            inode = self.inodes[number]
            digest.update(f"{name}\0{number}\0{len(inode.cache)}\0{inode.mode}\0{inode.holes}\0".encode())
            digest.update(inode.cache)
        return digest.digest()

    def content(self, path: str) -> bytes:
        """What a process would read."""
        return bytes(self.inodes[self.names[path]].cache)

    def write_file(self, path: str, content: bytes) -> None:
        """Put a file there, durably, without any event (the work of a program that is not under test)."""
        number = self.names.get(path)
        if number is None:
            number = self._new_inode(0o644).number
            self.names[path] = self.disk_names[path] = number
        inode = self.inodes[number]
        inode.cache[:] = inode.disk[:] = content
        inode.pending.clear()

    def remove_file(self, path: str) -> None:
        """Remove a name, durably, without any event."""
        self.names.pop(path, None)
        self.disk_names.pop(path, None)

    def write_back(self) -> None:
        """Half a minute of idleness: the kernel brings to the disk what nobody has synced."""
        for inode in self.inodes.values():
            inode.bring_to_disk()
        self.disk_names = dict(self.names)
        self.pending_names.clear()

    def restart(self) -> None:
        """Shut down in good order, with no process left, and start anew."""
        self.write_back()
        self.boot_id = next_boot(self.boot_id)

    def perform(self, event: Event) -> None:
        """Let the hooks see the event; then let it happen."""
        event.process.check_alive()
        event.number = self.event_count
        self.event_count += 1
        for hook in self.hooks:
            hook(event)
        event.process.check_alive()
        self.apply(event)

    def apply(self, event: Event, part_bytes: int | None = None) -> None:
        """Let an event of this machine or of the one it was copied from happen, or its first bytes.

        A part of an allocation is a smaller allocation, as a full disk leaves it.
        """
        if event.kind == "sync_folder":
            if not self._is_lost(event):
                for name_change in self.pending_names:
                    apply_names(self.disk_names, name_change)
                self.pending_names.clear()
            return
        if event.kind in ("create", "replace", "unlink"):
            self._apply_name(event)
            return
        assert event.inode is not None
        inode = self.inodes[event.inode.number]
        if event.kind == "sync":
            if not self._is_lost(event):
                inode.bring_to_disk()
            return
        assert event.change is not None
        change = event.change
        if part_bytes is not None:
            if change.data is not None:
                change = Change(change.offset, change.data[:part_bytes])
            elif event.kind == "allocate":
                change = Change(min(change.offset, len(inode.cache) + part_bytes), None)
            else:
                return
        if event.kind == "truncate":
            _move_holes(inode, change.offset)
        inode.change(change)

    def _apply_name(self, event: Event) -> None:
        if event.kind == "create":
            assert event.inode is not None
            changed = NameChange(((event.path, event.inode.number),))
        elif event.kind == "replace":
            changed = NameChange(((event.path, self.names[event.source]), (event.source, None)))
        else:
            changed = NameChange(((event.path, None),))
        apply_names(self.names, changed)
        self.pending_names.append(changed)

    def _is_lost(self, event: Event) -> bool:
        return any(is_lost(event) for is_lost in self.lost_syncs)

    def _new_inode(self, mode: int) -> Inode:
        inode = self.inodes[self.next_inode_number] = Inode(self.next_inode_number, mode)
        self.next_inode_number += 1
        return inode

    def open_inode(self, process: SimulatedFileSystem, path: str, *, create: bool, new: bool, mode: int) -> Inode:
        number = self.names.get(path)
        if number is not None:
            if new:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            return self.inodes[number]
        if not create and not new:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        inode = self._new_inode(mode)
        self.perform(Event("create", path, process, inode))
        return inode

    def status(self, inode: Inode) -> os.stat_result:
        times = (_CLOCK_SECONDS,) * 3
        return os.stat_result(
            (stat.S_IFREG | inode.mode, inode.number, _DEVICE, 1, *inode.owner, len(inode.cache), *times), _TIMES
        )


def next_boot(boot_id: bytes) -> bytes:
    return hashlib.blake2b(boot_id, digest_size=16).digest()


def apply_names(names: dict[str, int], change: NameChange) -> None:
    """Apply one change of names."""
    for name, number in change.names:
        if number is None:
            names.pop(name, None)
        else:
            names[name] = number


def _move_holes(inode: Inode, size_bytes: int) -> None:
    """A file that truncate makes longer gets no blocks."""
    inode.holes = [(start, min(end, size_bytes)) for start, end in inode.holes if start < size_bytes]
    if size_bytes > len(inode.cache):
        inode.holes.append((len(inode.cache), size_bytes))


def as_slice(place: slice | int, data: Any) -> tuple[slice, Any]:
    """A store of a single byte as one of a slice."""
    return (slice(place, place + 1), bytes((data,))) if isinstance(place, int) else (place, data)


class SimulatedView:
    """A mapping: slices only, and only of bytes that have blocks behind them."""

    __slots__ = ("_cache", "_file", "_inode", "_process", "_size_bytes")

    def __init__(self, file: SimulatedFile, size_bytes: int) -> None:
        self._file = file
        self._process = file.process
        self._inode = file.inode
        self._cache = file.inode.cache  # it is changed in place
        self._size_bytes = size_bytes

    def __len__(self) -> int:
        return self._size_bytes

    def __getitem__(self, span: slice) -> bytes:
        # Nothing is asked of a machine as often: no call that can be spared.
        if not self._process.is_alive:
            raise Killed
        start, stop = span.start, span.stop
        if start is None or stop is None or not 0 <= start <= stop <= self._size_bytes:
            start, stop, _ = span.indices(self._size_bytes)
        data = bytes(self._cache[start:stop])
        if len(data) < stop - start:
            raise BusError(f"read of {self._file.path} beyond its end")
        return data

    def __setitem__(self, place: slice | int, data: bytes | memoryview | int) -> None:
        span, data = as_slice(place, data)
        if not self._file.writable:
            raise TypeError("mmap can't modify a readonly memory map.")
        start, stop, _ = span.indices(self._size_bytes)
        if stop - start != len(data):
            raise IndexError("mmap slice assignment is wrong size")
        holes = self._inode.holes
        if stop > len(self._cache) or (holes and any(start < end and begin < stop for begin, end in holes)):
            raise BusError(f"store into {self._file.path} where it has no blocks")
        if start < stop:
            self._file.change("store", Change(start, bytes(data)))


class SimulatedFile(File):
    """One open file of one process."""

    __slots__ = ("inode", "is_open", "process")

    def __init__(self, process: SimulatedFileSystem, path: str, inode: Inode, writable: bool) -> None:
        super().__init__(-1, path, writable)
        self.process = process
        self.inode = inode
        self.is_open = True

    def _check(self, *, writes: bool = False) -> None:
        self.process.check_alive()
        if not self.is_open or (writes and not self.writable):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF), self.path)

    def change(self, kind: str, change: Change) -> None:
        self.process.machine.perform(Event(kind, self.path, self.process, self.inode, change))

    def size(self) -> int:
        self._check()
        return len(self.inode.cache)

    def status(self) -> os.stat_result:
        self._check()
        return self.process.machine.status(self.inode)

    def read_at(self, offset: int, size_bytes: int) -> bytes:
        self._check()
        return bytes(self.inode.cache[offset : offset + size_bytes])

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._check(writes=True)
        if len(data):
            self.change("write", Change(offset, bytes(data)))

    def allocate(self, size_bytes: int) -> None:
        self._check(writes=True)
        if size_bytes > len(self.inode.cache):
            self.change("allocate", Change(size_bytes, None))

    def truncate(self, size_bytes: int) -> None:
        self._check(writes=True)
        if size_bytes != len(self.inode.cache):
            self.change("truncate", Change(size_bytes, None))

    def sync(self) -> None:
        self._check()
        self.process.machine.perform(Event("sync", self.path, self.process, self.inode))

    def map(self, size_bytes: int) -> View:
        self._check()
        if not 0 < size_bytes <= len(self.inode.cache):
            raise ValueError("mmap length is greater than file size")
        return SimulatedView(self, size_bytes)

    def close(self) -> None:
        self.is_open = False


class SimulatedFileSystem(FileSystem):
    """One process: what it opens, changes and locks on its machine, until it dies."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.is_alive = True

    def check_alive(self) -> None:
        if not self.is_alive:
            raise Killed

    def die(self) -> None:
        """End the process as SIGKILL does: its locks vanish, the page cache stays."""
        self.is_alive = False
        for table in self.machine.lock_tables.values():
            table.release_process(self)

    def boot_id(self) -> bytes:
        self.check_alive()
        return self.machine.boot_id

    def random_id(self) -> int:
        """Never zero, never twice on one machine or its copies, the same in each run."""
        self.check_alive()
        self.machine.random_count += 1
        digest = hashlib.blake2b(b"%d" % self.machine.random_count, digest_size=8).digest()
        return int.from_bytes(digest, "little") or 1

    def open(
        self, path: str, *, writable: bool, create: bool = False, new: bool = False, mode: int = 0o666
    ) -> SimulatedFile:
        self.check_alive()
        inode = self.machine.open_inode(self, path, create=create, new=new, mode=mode)
        return SimulatedFile(self, path, inode, writable)

    def _inode(self, path: str) -> Inode:
        self.check_alive()
        if path not in self.machine.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return self.machine.inodes[self.machine.names[path]]

    def status(self, path: str) -> os.stat_result:
        return self.machine.status(self._inode(path))

    def exists(self, path: str) -> bool:
        self.check_alive()
        return path in self.machine.names

    def take_attributes(self, file: File, model: os.stat_result) -> None:
        self.check_alive()
        assert isinstance(file, SimulatedFile)
        file.inode.mode = stat.S_IMODE(model.st_mode)
        file.inode.owner = (model.st_uid, model.st_gid)

    def replace(self, source: str, target: str) -> None:
        self.machine.perform(Event("replace", target, self, self._inode(source), source=source))

    def unlink(self, path: str) -> None:
        self.machine.perform(Event("unlink", path, self, self._inode(path)))

    def sync_folder(self, path: str) -> None:
        self.machine.perform(Event("sync_folder", path, self))

    def open_locks(self, path: str, *, writable: bool) -> Locks:
        inode = self._inode(path)
        table = self.machine.lock_tables.setdefault(inode.number, LockTable())
        return SimulatedLocks(self, table, (self.machine.number, inode.number), path)
