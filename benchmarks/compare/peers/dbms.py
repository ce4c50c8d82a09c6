"""hutch, the standard library's modules with a dbm interface, and semidbm."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from benchmarks.compare.peers.base import Handle, Peer, SyncedHandle


class _PlainHandle(SyncedHandle):
    """`update` and `items` are not there, or are not faster than a loop."""

    def load(self, pairs: dict[Any, Any]) -> None:
        self.put_each(pairs.items())

    def items(self) -> Iterable[tuple[Any, Any]]:
        mapping = self.mapping
        return ((key, mapping[key]) for key in mapping.keys())  # noqa: SIM118  # dbm.gnu cannot be iterated over


class _Dbm(Peer):
    """A module with ``open(path, flag)``."""

    handle: type[Handle] = _PlainHandle

    def __init__(
        self, module: str, survives: str, durability: str, durable: str | None, name: str = "", **more: Any
    ) -> None:
        self.name = name or module
        self.module = module
        self.survives = survives
        self.durability = durability
        self.durable = durable
        self.setup = f"import {module} as module; db = module.open(path, 'r'); get = db.__getitem__; close = db.close"
        for attribute, value in more.items():
            setattr(self, attribute, value)

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        return self.handle(importlib.import_module(self.module).open(path, flag))


def load_sqlite(database: Any, pairs: Iterable[tuple[Any, Any]]) -> None:
    """Fill a database of dbm.sqlite3's behind its back, in one transaction."""
    connection = database._cx
    connection.execute("BEGIN")
    connection.executemany("REPLACE INTO Dict (key, value) VALUES (CAST(? AS BLOB), CAST(? AS BLOB))", pairs)
    connection.execute("COMMIT")


class _SqliteHandle(_PlainHandle):
    """Every statement is a synced commit, whatever is asked for."""

    def prepare(self, pairs: dict[Any, Any]) -> None:
        load_sqlite(self.mapping, pairs.items())

    def durable_each(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self.put_each(pairs)


class _SemiHandle(_PlainHandle):
    """There is no `get`."""

    def miss_each(self, keys: Iterable[Any]) -> None:
        mapping = self.mapping
        for key in keys:
            key in mapping  # noqa: B015  # the look-up is what counts

    def get(self, key: Any) -> Any:
        return self.mapping[key] if key in self.mapping else None  # noqa: SIM401  # it has no get


class _Hutch(_Dbm):
    handle = Handle
    package = "hutch"

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(
            "hutch.dbm",
            "a kill",
            "a kill; a power cut once sync() or close() has returned",
            'durability="commit": one fdatasync',
            name,
        )
        self.options = options
        if options:
            self.setup = self.setup.replace("'r'", "'w', **" + repr(options))

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        options = self.options | ({"durability": "commit"} if durable else {})
        flag = "w" if options.get("exclusive") and flag == "r" else flag  # who only reads needs no exclusion
        return Handle(importlib.import_module("hutch.dbm").open(path, flag, **options))


class _GnuDbm(_Dbm):
    def version(self) -> str:
        numbers = getattr(importlib.import_module("_gdbm"), "_GDBM_VERSION", ())
        return f"{super().version()} with GDBM {'.'.join(map(str, numbers))}"


class _NewDbm(_Dbm):
    def version(self) -> str:
        return f"{super().version()} over {importlib.import_module('dbm.ndbm').library}"


class _SqliteDbm(_Dbm):
    handle = _SqliteHandle
    slow_load = True

    def version(self) -> str:
        return f"{super().version()} with SQLite {importlib.import_module('sqlite3').sqlite_version}"


DBMS: list[Peer] = [
    _Hutch("hutch"),
    _Hutch("hutch, exclusive", exclusive=True),
    _Dbm(
        "dbm.dumb",
        "a kill, if new",
        "a kill, if the key was new; a power cut never: nothing is synced",
        None,
        not_durable="its sync() does not reach the disk",
    ),
    _GnuDbm(
        "dbm.gnu",
        "a kill",
        "a kill between two statements; a power cut once sync() has returned",
        "sync() after each: fsync",
    ),
    _NewDbm("dbm.ndbm", "nothing yet", "nothing before close()", None, not_durable="it has no sync()"),
    _SqliteDbm(
        "dbm.sqlite3",
        "a power cut",
        "a power cut: a synced commit",
        "as it is: a commit of SQLite's with synchronous=FULL",
    ),
    _Dbm("semidbm", "a kill", "a kill", "sync() after each: fsync", package="semidbm", handle=_SemiHandle),
]
