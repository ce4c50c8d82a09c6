"""The locks of a database, all on NAME.dat, which nobody ever replaces or unlinks.

| lock | held by | shared | exclusive |
|---|---|---|---|
| writer | a statement that writes, a transaction, a recovery | - | one at a time |
| presence | every open handle | ordinary handles | ``exclusive=True``; a close that finds itself last |
| owner | a handle that writes again and again with nobody in between: see `owning` | - | one at a time |
| pin | live views of small values, a backup | any number | never taken; only asked about |
| extent | a live view of the value that lies there | any number | never taken; only asked about |

Where the system has them these are open file description locks on single bytes far past the end of
the file; an extent is locked where it is. POSIX record locks will not do: they vanish when any descriptor of the
file is closed. flock cannot tell ranges apart, so where only flock exists each of the first four locks gets a file
of its own, and the pin does for every view.

Both kinds belong to the open file description, which a forked child shares: the child closes its
copies (`Locks.forget`) and opens its own before it does anything else.

Source: fcntl(2), "Open file description locks (non-POSIX)"; flock(2).
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import sys
import time
from functools import partial
from threading import get_ident

from hutch.errors import DeadlockError, LockTimeout, UnsupportedFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol
else:
    Protocol = object

__all__ = ["FlockRange", "Locks", "OfdRange", "RangeLock", "open_locks", "open_pin"]

_FIRST_LOCK_OFFSET = 1 << 62
_FLOCK = struct.Struct("@hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid
_BUSY = (errno.EAGAIN, errno.EACCES)
_FIRST_PAUSE_SECONDS = 0.00005
_LONGEST_PAUSE_SECONDS = 0.01

# Other systems have the constants, too, but another struct flock.
HAS_OFD = sys.platform == "linux" and hasattr(fcntl, "F_OFD_SETLK")

# Which thread holds the writer lock of which file, to tell a wait from a deadlock.
_holders: dict[tuple[int, int], int] = {}
os.register_at_fork(after_in_child=_holders.clear)


class RangeLock(Protocol):
    """One lock; taking it again converts it between shared and exclusive."""

    def try_lock(self, *, shared: bool = False) -> bool: ...
    def wait(self, *, shared: bool = False) -> None: ...
    @property
    def unlock(self) -> Callable[[], object]: ...
    def is_taken_elsewhere(self) -> bool: ...


class OfdRange:
    """One byte of a file under open file description locks."""

    __slots__ = ("_exclusive", "_fd", "_shared", "unlock")

    def __init__(self, fd: int, number: int) -> None:
        offset = _FIRST_LOCK_OFFSET + number
        self._fd = fd
        self._exclusive = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, offset, 1, 0)
        self._shared = _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, offset, 1, 0)
        unlock = _FLOCK.pack(fcntl.F_UNLCK, os.SEEK_SET, offset, 1, 0)
        self.unlock = partial(fcntl.fcntl, fd, fcntl.F_OFD_SETLK, unlock)

    def try_lock(self, *, shared: bool = False) -> bool:
        try:
            fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, self._shared if shared else self._exclusive)
        except OSError as problem:
            if problem.errno in _BUSY:
                return False
            raise
        return True

    def wait(self, *, shared: bool = False) -> None:
        fcntl.fcntl(self._fd, fcntl.F_OFD_SETLKW, self._shared if shared else self._exclusive)

    def is_taken_elsewhere(self) -> bool:
        """Whether another handle holds it, shared or exclusive. Takes nothing."""
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, self._exclusive)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def locked_extents(self) -> list[tuple[int, int]]:
        """(start, end) of what is locked in the file itself, in no order. O(locks)."""
        found: list[tuple[int, int]] = []
        spans = [(0, _FIRST_LOCK_OFFSET)]
        while spans:
            start, end = spans.pop()
            question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, end - start, 0)
            kind, _, at, size, _ = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, question))
            if kind == fcntl.F_UNLCK:
                continue
            at, stop = max(at, start), min(at + size, end) if size else end
            found.append((at, stop))
            spans += [span for span in ((start, at), (stop, end)) if span[0] < span[1]]
        return found


class FlockRange:
    """A whole lock file under flock."""

    __slots__ = ("_fd", "_held")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._held = 0

    def try_lock(self, *, shared: bool = False) -> bool:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(self._fd, kind | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno not in _BUSY:
                raise
            if self._held:  # a conversion that fails has already given the old lock up
                fcntl.flock(self._fd, self._held)
            return False
        self._held = kind
        return True

    def wait(self, *, shared: bool = False) -> None:
        self._held = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        fcntl.flock(self._fd, self._held)

    def unlock(self) -> None:
        self._held = 0
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def is_taken_elsewhere(self) -> bool:
        held = self._held
        if not self.try_lock():
            return True
        if held:
            self.wait(shared=held == fcntl.LOCK_SH)
        else:
            self.unlock()
        return False


class Locks:
    """The locks of one handle."""

    def __init__(
        self,
        fds: list[int],
        ranges: tuple[RangeLock, RangeLock, RangeLock, RangeLock],
        identity: tuple[int, int],
        path: str,
    ) -> None:
        self._fds = fds
        self.writer, self.presence, self.pin, self.owner = ranges
        self.identity = identity
        self._path = path
        # Bound once: every statement that writes calls both.
        self._try_writer = self.writer.try_lock
        self._unlock_writer = self.writer.unlock

    def acquire_writer(self, timeout_seconds: float | None) -> None:
        """Take the writer lock.

        Raises:
            LockTimeout: not free within `timeout_seconds` (None waits as long as it takes).
            DeadlockError: this thread holds it through another handle.
        """
        if not self._try_writer():
            if _holders.get(self.identity) == get_ident():
                raise DeadlockError(
                    f"{self._path!r} is being written through another handle of this thread: "
                    "end that transaction, or use its handle"
                )
            self._wait(self.writer, False, timeout_seconds, "written by another process or thread")
        _holders[self.identity] = get_ident()

    def release_writer(self) -> None:
        _holders.pop(self.identity, None)
        self._unlock_writer()

    def acquire_presence(self, *, exclusive: bool, timeout_seconds: float | None) -> None:
        """Announce this handle, alone (`exclusive`) or beside others.

        Raises:
            LockTimeout: as for `acquire_writer`.
        """
        if not self.presence.try_lock(shared=not exclusive):
            reason = "open elsewhere" if exclusive else "opened by another handle with exclusive=True"
            self._wait(self.presence, not exclusive, timeout_seconds, reason)

    def locked_extents(self) -> list[tuple[int, int]]:
        """(start, end) of what views of any handle look at, in bytes; none where the pin is there for all."""
        return self.pin.locked_extents() if isinstance(self.pin, OfdRange) else []

    def _wait(self, lock: RangeLock, shared: bool, timeout_seconds: float | None, reason: str) -> None:
        if timeout_seconds is None:
            lock.wait(shared=shared)
            return
        deadline = time.monotonic() + timeout_seconds
        pause_seconds = _FIRST_PAUSE_SECONDS
        while not lock.try_lock(shared=shared):
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                raise LockTimeout(
                    f"{self._path!r} is {reason}, and was not free within {timeout_seconds} seconds; "
                    "try again, or pass a longer timeout"
                )
            time.sleep(min(pause_seconds, left_seconds))
            pause_seconds = min(2 * pause_seconds, _LONGEST_PAUSE_SECONDS)

    def close(self) -> None:
        """Release everything."""
        fds, self._fds = self._fds, []
        for fd in fds:
            os.close(fd)

    def __del__(self) -> None:
        self.close()  # a handle that was dropped without close() holds nobody up

    def forget(self) -> None:
        """In a forked child: let go of the parent's locks without releasing them."""
        self.close()  # the parent's descriptors keep the descriptions, and so the locks, alive


def open_locks(path: str, *, writable: bool, use_ofd: bool = HAS_OFD) -> Locks:
    """Open the locks of the database whose heap is `path`.

    They get a descriptor of their own: a mapping duplicates the one that it is made from, and would
    keep a lock alive in a child after a fork.
    """
    access = os.O_RDWR if writable else os.O_RDONLY
    fd = os.open(path, access | os.O_CLOEXEC | os.O_NONBLOCK)
    status = os.fstat(fd)
    identity = (status.st_dev, status.st_ino)
    if use_ofd:
        return Locks([fd], (OfdRange(fd, 0), OfdRange(fd, 1), OfdRange(fd, 2), OfdRange(fd, 3)), identity, path)
    fds = [fd]
    try:
        for suffix in (".writer", ".presence", ".pin", ".owner"):
            fds.append(_open_lock_file(os.path.realpath(path) + suffix, status))
    except BaseException:
        for opened in fds:
            os.close(opened)
        raise
    ranges = (FlockRange(fds[1]), FlockRange(fds[2]), FlockRange(fds[3]), FlockRange(fds[4]))
    return Locks(fds, ranges, identity, path)


def open_pin(path: str, extent: tuple[int, int] | None = None, *, use_ofd: bool = HAS_OFD) -> tuple[int, int]:
    """Open the heap at `path` with a shared lock of its own: (descriptor of the heap, descriptor that has the lock).

    The lock holds until nobody has that description any more: no copy of the descriptor, in whatever process a fork
    has brought it to, and no mapping that was made from it. It is never unlocked, only let go of. On Linux both are
    one, so a mapping carries its own lock; elsewhere the second must be kept open for as long as the mapping lives.

    Args:
        extent: offset and size of the value that is to be left alone; None: the pin, which is for all of the heap.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        if use_ofd:
            start, size = extent or (_FIRST_LOCK_OFFSET + 2, 1)
            fcntl.fcntl(fd, fcntl.F_OFD_SETLKW, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, start, size, 0))
            return fd, fd
        pin = _open_lock_file(os.path.realpath(path) + ".pin", os.fstat(fd))
        try:
            FlockRange(pin).wait(shared=True)
        except BaseException:
            os.close(pin)
            raise
    except BaseException:
        os.close(fd)
        raise
    return fd, pin


def _open_lock_file(path: str, model: os.stat_result) -> int:
    """Open or make a lock file; like every side file it takes the heap's mode."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o600)
    except FileExistsError:
        fd = os.open(path, os.O_RDONLY | flags)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise UnsupportedFileError(f"{path!r} is not a regular file; it must be a lock file of hutch") from None
        return fd
    os.fchmod(fd, model.st_mode & 0o7777)
    return fd
