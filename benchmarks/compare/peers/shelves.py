"""hutch's shelf, and the standard library's over each of its dbm modules."""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Iterable
from typing import Any

from benchmarks.compare.peers.base import Handle, Pairs, Peer
from benchmarks.compare.peers.dbms import DBMS, load_sqlite


class _StdlibHandle(Handle):
    """`Shelf.update` is a loop; `items` is one over the keys."""

    def durable_each(self, pairs: Pairs) -> None:
        shelf = self.mapping
        sync = shelf.dict.sync
        for key, value in pairs:
            shelf[key] = value
            sync()


class _SqliteShelfHandle(Handle):
    """Every statement is a synced commit as it is."""

    def prepare(self, pairs: dict[Any, Any]) -> None:
        shelf = self.mapping
        encoded = ((key.encode(), pickle.dumps(value, shelf._protocol)) for key, value in pairs.items())
        load_sqlite(shelf.dict, encoded)


class _StdlibShelf(Peer):
    """``shelve.Shelf`` over a module of dbm's."""

    writeback = True

    def __init__(self, below: Peer) -> None:
        self.below = below
        self.slow_load = below.slow_load
        self.name = f"shelve, {below.name}"
        self.module = below.module
        self.survives = below.survives
        self.durability = below.durability
        self.durable = below.durable
        self.not_durable = below.not_durable
        self.setup = (
            f"import shelve, {below.module} as module; db = shelve.Shelf(module.open(path, 'r')); "
            "get = db.__getitem__; close = db.close"
        )

    def open(self, path: str, flag: str, durable: bool = False, writeback: bool = False) -> Handle:
        import shelve

        shelf: Any = shelve.Shelf(importlib.import_module(self.module).open(path, flag), writeback=writeback)
        return _SqliteShelfHandle(shelf) if self.module == "dbm.sqlite3" else _StdlibHandle(shelf)

    def version(self) -> str:
        return self.below.version()


class _HutchShelf(Peer):
    module = "hutch"
    package = "hutch"
    survives = "a kill"
    durability = "a kill; a power cut once sync() or close() has returned"
    durable = 'durability="commit": one fdatasync'
    setup = "import hutch; db = hutch.open(path, 'r'); get = db.__getitem__; close = db.close"
    writeback = True

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self.options = options
        if options:
            self.setup = self.setup.replace("'r'", "'w', **" + repr(options))

    def open(self, path: str, flag: str, durable: bool = False, writeback: bool = False) -> Handle:
        import hutch

        options: dict[str, Any] = self.options | ({"durability": "commit"} if durable else {})
        flag = "w" if options.get("exclusive") and flag == "r" else flag  # who only reads needs no exclusion
        return _HutchHandle(hutch.open(path, flag, writeback=writeback, **options))  # type: ignore[arg-type]


class _HutchHandle(Handle):
    def keys(self) -> Iterable[Any]:
        return iter(self.mapping)


SHELVES: list[Peer] = [
    _HutchShelf("hutch"),
    _HutchShelf("hutch, exclusive", exclusive=True),
    *(_StdlibShelf(peer) for peer in DBMS if peer.module.startswith("dbm.")),
]
