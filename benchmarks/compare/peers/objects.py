"""Packages that keep objects under keys: sqlitedict, diskcache, ZODB, pickleDB."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.compare.peers.base import Handle, Pairs, Peer
from benchmarks.compare.peers.engines import DiskCache


class _SqliteDictHandle(Handle):
    def close(self) -> None:
        if self.mapping.flag != "r":
            self.mapping.commit()
        self.mapping.close()


class _SqliteDict(Peer):
    name = "sqlitedict"
    module = "sqlitedict"
    package = "sqlitedict"
    survives = "nothing yet"
    durability = "nothing before commit()"
    not_durable = "it sets synchronous=OFF"
    setup = "import sqlitedict; db = sqlitedict.SqliteDict(path, flag='r'); get = db.__getitem__; close = db.close"

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        import sqlitedict

        return _SqliteDictHandle(
            sqlitedict.SqliteDict(path, flag="c" if flag == "w" else flag)
        )  # its 'w' empties the table


class _ZodbHandle(Handle):
    """A B-tree in a FileStorage; each statement is a transaction."""

    def __init__(self, database: Any, fresh: bool) -> None:
        import transaction
        from BTrees.OOBTree import OOBTree

        self.database = database
        self.connection = database.open()
        self.commit = transaction.commit
        self.abort = transaction.abort
        root = self.connection.root()
        if fresh:
            root["entries"] = OOBTree()
            transaction.commit()
        super().__init__(root["entries"])

    def load(self, pairs: dict[Any, Any]) -> None:
        self.mapping.update(pairs)
        self.commit()

    def put_each(self, pairs: Pairs) -> None:
        mapping, commit = self.mapping, self.commit
        for key, value in pairs:
            mapping[key] = value
            commit()

    def delete_each(self, keys: Iterable[Any]) -> None:
        mapping, commit = self.mapping, self.commit
        for key in keys:
            del mapping[key]
            commit()

    def close(self) -> None:
        self.abort()
        self.connection.close()
        self.database.close()


class _Zodb(Peer):
    name = "ZODB"
    module = "ZODB"
    package = "ZODB"
    survives = "a power cut"
    durability = "a power cut: a synced commit"
    durable = "as it is: a synced commit"
    setup = (
        "import ZODB, ZODB.FileStorage; base = ZODB.DB(ZODB.FileStorage.FileStorage(path, read_only=True)); "
        "db = base.open().root()['entries']; get = db.__getitem__; close = base.close"
    )

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        import ZODB
        import ZODB.FileStorage

        storage = ZODB.FileStorage.FileStorage(path, create=flag == "n", read_only=flag == "r")
        return _ZodbHandle(ZODB.DB(storage), flag == "n")


class _PickleDbHandle(Handle):
    """Its plain calls, each of which runs an event loop of its own."""

    def __init__(self, database: Any, writing: bool) -> None:
        super().__init__(database)
        self.writing = writing

    def load(self, pairs: dict[Any, Any]) -> None:
        self.mapping.db.update(pairs)

    def get_each(self, keys: Iterable[Any]) -> None:
        get = self.mapping.get
        for key in keys:
            get(key)

    miss_each = get_each

    def put_each(self, pairs: Pairs) -> None:
        put = self.mapping.set
        for key, value in pairs:
            put(key, value)

    def delete_each(self, keys: Iterable[Any]) -> None:
        remove = self.mapping.remove
        for key in keys:
            remove(key)

    def keys(self) -> Iterable[Any]:
        return iter(self.mapping.all())

    def items(self) -> Iterable[tuple[Any, Any]]:
        get = self.mapping.get
        return ((key, get(key)) for key in self.mapping.all())

    def close(self) -> None:
        if self.writing:
            self.mapping.save()


class _PickleDb(Peer):
    name = "pickleDB"
    module = "pickledb"
    package = "pickledb"
    survives = "nothing yet"
    durability = "nothing before save(), which writes everything"
    not_durable = "its save() does not sync"
    whole = True
    setup = "import pickledb; db = pickledb.PickleDB(path).load(); get = db.get; close = int"

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        import pickledb

        database: Any = pickledb.PickleDB(path)
        if flag != "n":
            database.load()
        return _PickleDbHandle(database, flag != "r")


class _ObjectDiskCache(DiskCache):
    """The same statements: it pickles what is no number, text or bytes."""


OBJECT_STORES: list[Peer] = [_SqliteDict(), _ObjectDiskCache(), _Zodb(), _PickleDb()]
