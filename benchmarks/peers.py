"""What is measured: hutch, and what a user would have otherwise."""

from __future__ import annotations

import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks.machine import package_version


@dataclass(frozen=True)
class Peer:
    """A mapping of bytes in files.

    Attributes:
        name: as in the tables.
        module: has an `open(path, flag)`.
        durability: what a statement that has returned survives.
        version: of the package, or of the interpreter whose module it is.
    """

    name: str
    module: str
    durability: str
    version: Callable[[], str] = platform.python_version

    def open(self, path: str, flag: str) -> Any:
        return importlib.import_module(self.module).open(path, flag)

    def missing(self) -> str | None:
        """Why it cannot be measured here, or None."""
        try:
            importlib.import_module(self.module)
        except ImportError as problem:
            return str(problem)
        return None


_ALL = [
    Peer("hutch", "hutch.dbm", "a kill at once, a power cut after close()", partial(package_version, "hutch")),
    Peer("dbm.dumb", "dbm.dumb", "a kill if the key was new, a power cut never (no fsync)"),
    Peer("dbm.gnu", "dbm.gnu", "no promise before close() or sync()"),
    Peer("dbm.ndbm", "dbm.ndbm", "no promise"),
    Peer("dbm.sqlite3", "dbm.sqlite3", "a kill at once: each statement is a commit of SQLite's, in WAL mode"),
]
PEERS = {peer.name: peer for peer in _ALL}
