"""A door to the disk that kills its own process, with SIGKILL, at a chosen call.

`KillSwitch(calls)` counts every call that changes something (and the slices stored through maps); the process dies
before call number `calls`. So the same workload, run with 1, 2, 3…, dies at every place where the disk
is touched, and really: no exception, no cleanup, no flush.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from hutch.files import File, FileSystem, View

__all__ = ["KillSwitch", "LethalFileSystem"]


class KillSwitch:
    """Counts down to the death of this process; `arm` may come late."""

    def __init__(self, calls: int | None = None) -> None:
        self.calls_left = calls
        self.calls_seen = 0

    def arm(self, calls: int) -> None:
        self.calls_left = calls

    def count(self) -> None:
        self.calls_seen += 1
        if self.calls_left is not None:
            self.calls_left -= 1
            if self.calls_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _LethalView:
    def __init__(self, view: View, switch: KillSwitch) -> None:
        self._view = view
        self._switch = switch

    def __getitem__(self, span: slice) -> bytes:
        return self._view[span]

    def __setitem__(self, place: slice | int, data: Any) -> None:
        self._switch.count()
        self._view[place] = data

    def __len__(self) -> int:
        return len(self._view)


class _LethalFile(File):
    __slots__ = ("_switch",)

    def __init__(self, file: File, switch: KillSwitch) -> None:
        super().__init__(file.fd, file.path, file.writable)
        file.fd = -1  # the descriptor has one owner
        self._switch = switch

    def write_at(self, offset: int, data: bytes | memoryview) -> None:
        self._switch.count()
        super().write_at(offset, data)

    def allocate(self, size_bytes: int) -> None:
        self._switch.count()
        super().allocate(size_bytes)

    def truncate(self, size_bytes: int) -> None:
        self._switch.count()
        super().truncate(size_bytes)

    def sync(self) -> None:
        """Counts, and spares the disk: what a SIGKILL leaves does not depend on it."""
        self._switch.count()

    def map(self, size_bytes: int) -> View:
        return _LethalView(super().map(size_bytes), self._switch)


class LethalFileSystem(FileSystem):
    """The real file system behind a `KillSwitch`."""

    def __init__(self, switch: KillSwitch) -> None:
        self._switch = switch

    def open(self, path: str, *, writable: bool, create: bool = False, new: bool = False, mode: int = 0o666) -> File:
        if create or new:
            self._switch.count()
        return _LethalFile(super().open(path, writable=writable, create=create, new=new, mode=mode), self._switch)

    def replace(self, source: str, target: str) -> None:
        self._switch.count()
        super().replace(source, target)

    def unlink(self, path: str) -> None:
        self._switch.count()
        super().unlink(path)

    def sync_folder(self, path: str) -> None:
        self._switch.count()
