"""What a peer is, and what every workload does to it.

The loops are written for each peer as its users would write them, so that none pays for a layer between.
"""

from __future__ import annotations

import importlib
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

Pairs = Iterable[tuple[Any, Any]]


class Handle:
    """An open database that is a mapping. Peers with another interface have subclasses.

    Args:
        mapping: the peer's own object.
    """

    def __init__(self, mapping: Any) -> None:
        self.mapping = mapping

    def load(self, pairs: dict[Any, Any]) -> None:
        """Store everything by the fastest way that the peer documents."""
        self.mapping.update(pairs)

    def prepare(self, pairs: dict[Any, Any]) -> None:
        """Store everything by any way at all: nobody looks at the clock."""
        self.load(pairs)

    def get_each(self, keys: Iterable[Any]) -> None:
        mapping = self.mapping
        for key in keys:
            mapping[key]

    def miss_each(self, keys: Iterable[Any]) -> None:
        mapping = self.mapping
        for key in keys:
            mapping.get(key)

    def put_each(self, pairs: Pairs) -> None:
        mapping = self.mapping
        for key, value in pairs:
            mapping[key] = value

    def durable_each(self, pairs: Pairs) -> None:
        """Each statement survives a power cut when it returns. Called on handles opened with ``durable=True`` only."""
        self.put_each(pairs)

    def delete_each(self, keys: Iterable[Any]) -> None:
        mapping = self.mapping
        for key in keys:
            del mapping[key]

    def keys(self) -> Iterable[Any]:
        return self.mapping.keys()

    def items(self) -> Iterable[tuple[Any, Any]]:
        return self.mapping.items()

    def get(self, key: Any) -> Any:
        """The value, or None."""
        return self.mapping.get(key)

    def close(self) -> None:
        self.mapping.close()


class SyncedHandle(Handle):
    """Durable by a `sync()` after each statement."""

    def durable_each(self, pairs: Pairs) -> None:
        mapping = self.mapping
        sync = mapping.sync
        for key, value in pairs:
            mapping[key] = value
            sync()


class Peer:
    """Something that keeps keys and values.

    Attributes:
        name: as in the tables.
        module: what must be importable.
        package: the distribution whose version counts, or None for a part of the standard library.
        durability: what a plain statement that has returned survives.
        survives: the same in two or three words, for the tables.
        durable: how a statement is made to survive a power cut, or None.
        not_durable: why it cannot, where `durable` is None.
        setup: source that defines ``get`` and ``close`` in a fresh process; ``path`` is defined before.
        in_memory: nothing is in files.
        whole: everything is read at the open, and written at a save.
        writeback: a keyword that makes the handle write what was changed in place.
        slow_load: a load is synced statement by statement, so that only a sample of it is timed.
    """

    name = ""
    module = ""
    package: str | None = None
    durability = ""
    survives = ""
    durable: str | None = None
    not_durable = "it has no call that brings a change to the disk"
    setup = ""
    in_memory = False
    whole = False
    writeback = False
    slow_load = False

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        """Open with flag ``'n'`` (make anew), ``'w'`` (write) or ``'r'`` (read)."""
        raise NotImplementedError

    def version(self) -> str:
        if self.package is None:
            return platform.python_version()
        try:
            return version(self.package)
        except PackageNotFoundError:
            return str(getattr(importlib.import_module(self.module), "__version__", "unknown"))

    def missing(self) -> str | None:
        """Why it cannot be measured with this interpreter, or None."""
        try:
            importlib.import_module(self.module)
        except ImportError as problem:
            return str(problem)
        return None
