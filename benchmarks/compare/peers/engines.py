"""Key-value stores written in C, C++ or Rust, and diskcache."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from benchmarks.compare.peers.base import Handle, Pairs, Peer

_GIBIBYTE = 1 << 30


class _LmdbHandle(Handle):
    def load(self, pairs: dict[Any, Any]) -> None:
        with self.mapping.begin(write=True) as transaction:
            transaction.cursor().putmulti(pairs.items())

    def get_each(self, keys: Iterable[Any]) -> None:
        begin = self.mapping.begin
        for key in keys:
            with begin() as transaction:
                transaction.get(key)

    miss_each = get_each

    def put_each(self, pairs: Pairs) -> None:
        begin = self.mapping.begin
        for key, value in pairs:
            with begin(write=True) as transaction:
                transaction.put(key, value)

    def delete_each(self, keys: Iterable[Any]) -> None:
        begin = self.mapping.begin
        for key in keys:
            with begin(write=True) as transaction:
                transaction.delete(key)

    def keys(self) -> Iterable[Any]:
        with self.mapping.begin() as transaction:
            yield from transaction.cursor().iternext(values=False)

    def items(self) -> Iterable[tuple[Any, Any]]:
        with self.mapping.begin() as transaction:
            yield from transaction.cursor().iternext()

    def get(self, key: Any) -> Any:
        with self.mapping.begin() as transaction:
            return transaction.get(key)


class _Lmdb(Peer):
    name = "lmdb"
    module = "lmdb"
    package = "lmdb"
    survives = "a power cut"
    durability = "a power cut: a synced commit"
    durable = "as it is: a synced commit"
    setup = (
        f"import lmdb; db = lmdb.open(path, subdir=False, readonly=True, map_size={64 * _GIBIBYTE})\n"
        "def get(key):\n    with db.begin() as transaction:\n        return transaction.get(key)\n"
        "close = db.close"
    )
    sync = True

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        import lmdb

        return _LmdbHandle(
            lmdb.open(path, subdir=False, readonly=flag == "r", map_size=64 * _GIBIBYTE, sync=self.sync or durable)
        )


class _LazyLmdb(_Lmdb):
    name = "lmdb, sync=False"
    survives = "a kill"
    durability = "a kill; a power cut may damage the file"
    sync = False


class _RocksHandle(Handle):
    def __init__(self, mapping: Any, options: Any = None) -> None:
        super().__init__(mapping)
        self.options = options

    def load(self, pairs: dict[Any, Any]) -> None:
        from rocksdict import WriteBatch

        batch = WriteBatch(raw_mode=True)
        for key, value in pairs.items():
            batch.put(key, value)
        self.mapping.write(batch)

    def durable_each(self, pairs: Pairs) -> None:
        put, options = self.mapping.put, self.options
        for key, value in pairs:
            put(key, value, write_opt=options)


class _Rocks(Peer):
    name = "rocksdict"
    module = "rocksdict"
    package = "rocksdict"
    survives = durability = "a kill"
    durable = "WriteOptions.sync: one fsync of its log"
    setup = (
        "from rocksdict import AccessType, Options, Rdict\n"
        "db = Rdict(path, Options(raw_mode=True), access_type=AccessType.read_only(False)); "
        "get = db.__getitem__; close = db.close"
    )

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        from rocksdict import AccessType, Options, Rdict, WriteOptions

        if flag == "r":
            return _RocksHandle(Rdict(path, Options(raw_mode=True), access_type=AccessType.read_only(False)))
        options = WriteOptions()
        options.sync = True
        return _RocksHandle(Rdict(path, Options(raw_mode=True)), options)


class _LevelHandle(Handle):
    def load(self, pairs: dict[Any, Any]) -> None:
        with self.mapping.write_batch() as batch:
            for key, value in pairs.items():
                batch.put(key, value)

    def get_each(self, keys: Iterable[Any]) -> None:
        get = self.mapping.get
        for key in keys:
            get(key)

    miss_each = get_each

    def put_each(self, pairs: Pairs) -> None:
        put = self.mapping.put
        for key, value in pairs:
            put(key, value)

    def durable_each(self, pairs: Pairs) -> None:
        put = self.mapping.put
        for key, value in pairs:
            put(key, value, sync=True)

    def delete_each(self, keys: Iterable[Any]) -> None:
        delete = self.mapping.delete
        for key in keys:
            delete(key)

    def keys(self) -> Iterable[Any]:
        return self.mapping.iterator(include_value=False)

    def items(self) -> Iterable[tuple[Any, Any]]:
        return self.mapping.iterator()


class _Level(Peer):
    name = "plyvel"
    module = "plyvel"
    package = "plyvel"
    survives = durability = "a kill"
    durable = "sync=True: one fsync of its log"
    setup = "import plyvel; db = plyvel.DB(path); get = db.get; close = db.close"

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        import plyvel

        return _LevelHandle(plyvel.DB(path, create_if_missing=flag == "n"))


class _TkrzwHandle(Handle):
    def load(self, pairs: dict[Any, Any]) -> None:
        self.put_each(pairs.items())

    def get_each(self, keys: Iterable[Any]) -> None:
        get = self.mapping.Get
        for key in keys:
            get(key)

    miss_each = get_each

    def put_each(self, pairs: Pairs) -> None:
        put = self.mapping.Set
        for key, value in pairs:
            put(key, value)

    def durable_each(self, pairs: Pairs) -> None:
        put, synchronize = self.mapping.Set, self.mapping.Synchronize
        for key, value in pairs:
            put(key, value)
            synchronize(True)

    def delete_each(self, keys: Iterable[Any]) -> None:
        delete = self.mapping.Remove
        for key in keys:
            delete(key)

    def keys(self) -> Iterable[Any]:
        return (key for key, _ in self.mapping)

    def items(self) -> Iterable[tuple[Any, Any]]:
        return self.mapping  # type: ignore[no-any-return]

    def get(self, key: Any) -> Any:
        return self.mapping.Get(key)

    def close(self) -> None:
        self.mapping.Close().OrDie()


class _Tkrzw(Peer):
    name = "tkrzw"
    module = "tkrzw"
    package = "tkrzw"
    survives = durability = "a kill"
    durable = "Synchronize(True) after each: fsync"
    setup = (
        "import tkrzw; db = tkrzw.DBM(); db.Open(path, False, dbm='HashDBM').OrDie(); get = db.Get; close = db.Close"
    )

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        import tkrzw

        database = tkrzw.DBM()
        database.Open(path, flag != "r", dbm="HashDBM", truncate=flag == "n", no_wait=True).OrDie()
        return _TkrzwHandle(database)

    def version(self) -> str:
        import tkrzw

        return str(tkrzw.Utility.VERSION)


class DiskCacheHandle(Handle):
    """diskcache, as a cache that evicts nothing."""

    def load(self, pairs: dict[Any, Any]) -> None:
        cache = self.mapping
        with cache.transact():
            for key, value in pairs.items():
                cache[key] = value

    def keys(self) -> Iterable[Any]:
        return iter(self.mapping)

    def items(self) -> Iterable[tuple[Any, Any]]:
        cache = self.mapping
        return ((key, cache[key]) for key in cache)


class DiskCache(Peer):
    """diskcache, for bytes and for objects."""

    name = "diskcache"
    module = "diskcache"
    package = "diskcache"
    survives = "a kill"
    durability = "a kill; a power cut up to SQLite's last checkpoint (synchronous=NORMAL)"
    durable = "sqlite_synchronous=2 (FULL): a synced commit"
    setup = "import diskcache; db = diskcache.Cache(path); get = db.__getitem__; close = db.close"

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        import diskcache

        os.makedirs(path, exist_ok=True)
        synchronous = {"sqlite_synchronous": 2 if durable else 1} if flag != "r" else {}
        return DiskCacheHandle(
            diskcache.Cache(path, eviction_policy="none", cull_limit=0, size_limit=64 * _GIBIBYTE, **synchronous)
        )


ENGINES: list[Peer] = [_Lmdb(), _LazyLmdb(), _Rocks(), _Level(), _Tkrzw(), DiskCache()]
