"""The locks of a simulated machine: like open file description locks, without a kernel.

All processes of a simulated machine run in one thread, so a lock that is not free now never will be:
waiting for it is an error of the engine or of the test, and says so instead of hanging.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hutch.locking import Locks

if TYPE_CHECKING:
    from crash.simulated import SimulatedFileSystem

__all__ = ["LockTable", "SimulatedLocks", "WouldHang"]


class WouldHang(BaseException):
    """A process waits for a lock that nobody will ever release."""


class LockTable:
    """Who holds which lock of one inode, and whether shared."""

    def __init__(self) -> None:
        self.holders: tuple[dict[SimulatedRange, bool], ...] = ({}, {}, {}, {})

    def release_process(self, process: SimulatedFileSystem) -> None:
        for held in self.holders:
            for holder in [one for one in held if one.process is process]:
                del held[holder]


class SimulatedRange:
    """One handle's view of one of the four locks."""

    def __init__(self, process: SimulatedFileSystem, held: dict[SimulatedRange, bool]) -> None:
        self.process = process
        self._held = held

    def try_lock(self, *, shared: bool = False) -> bool:
        self.process.check_alive()
        for holder, holds_shared in self._held.items():
            if holder is not self and not (shared and holds_shared):
                return False
        self._held[self] = shared
        return True

    def wait(self, *, shared: bool = False) -> None:
        if not self.try_lock(shared=shared):
            raise WouldHang

    def unlock(self) -> None:
        self.process.check_alive()
        self.drop()

    def drop(self) -> None:
        self._held.pop(self, None)

    def is_taken_elsewhere(self) -> bool:
        self.process.check_alive()
        return any(holder is not self for holder in self._held)


class SimulatedLocks(Locks):
    """The four locks of one handle."""

    def __init__(self, process: SimulatedFileSystem, table: LockTable, identity: tuple[int, int], path: str) -> None:
        writer, presence, pin, owner = (SimulatedRange(process, held) for held in table.holders)
        super().__init__([], (writer, presence, pin, owner), identity, path)
        self._ranges = (writer, presence, pin, owner)

    def close(self) -> None:
        for one in self._ranges:
            one.drop()
