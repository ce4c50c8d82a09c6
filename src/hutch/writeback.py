"""How a shelf reads and stores through its cache, and how what has been changed there gets to the file."""

from __future__ import annotations

from threading import RLock

from hutch.cache import MISSING, WritebackCache
from hutch.codecs.base import Pieces, joined
from hutch.pickling import Pickling, storable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager
    from typing import Any

__all__ = ["Writeback", "check_cache_size"]


class _NoLock:
    """Stands where a shelf needs no lock."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *problem: object) -> None:
        pass


_NO_LOCK = _NoLock()


class Writeback(Pickling):
    """The part of a shelf that works with its cache.

    The order of locks: `_lock`, which guards the cache, comes before the writer lock of the database. Where
    nothing is cached it is not taken at all.

    Attributes:
        dict: the mapping below, of bytes to bytes.
        cache: the objects that have been read or stored, by key, if `writeback` is on.
        writeback: keep objects in the cache, and write them back.
        cache_size: how many to keep; None: all.
    """

    dict: Any
    cache: WritebackCache
    writeback: bool
    cache_size: int | None
    _is_plain = True

    def _start_cache(self) -> None:
        self.cache = WritebackCache()
        # The edits that are going on, by key: their objects must not be dropped meanwhile.
        self._edits: Any = {}
        self._lock = RLock()

    def _cache_lock(self) -> AbstractContextManager[Any]:
        return self._lock if self.writeback or self.cache else _NO_LOCK

    def _get_cached(self, key: str) -> Any:
        """Return the object in the cache, else that in the file.

        Raises:
            KeyError: no such key.
        """
        cache = self.cache
        if self.cache_size is None:
            value = cache.get(key, MISSING)
            if value is not MISSING:
                return value
        with self._lock:  # two threads that ask for the same key get the same object
            value = cache.get(key, MISSING)
            if value is not MISSING:
                cache.touch(key, value)
                return value
            try:
                data = self.dict[self._encode_key(key)]
            except KeyError:
                raise KeyError(key) from None
            value = self._load(key, data)
            if self.writeback:
                self._hold(key, value, data, self._try_dump(key, value))
        return value

    def _put(self, key: str, value: Any, data: Any) -> None:
        """Store an object that pickles to `data`, and only then cache it."""
        name = self._encode_key(key)
        with self._cache_lock():
            self.dict[name] = storable(self.dict, data)
            self._keep(key, value, data)

    def _keep(self, key: str, value: Any, data: Any) -> None:
        """Cache an object that has just been stored as `data`, where objects are cached."""
        if self._unstored is not None:
            self._unstored.stored(key, value)
        if self.writeback:
            stored = joined(data) if type(data) is Pieces else data
            self._hold(key, value, stored, self._try_dump(key, value) if self._wraps() else stored)
        else:
            self.cache.drop(key)

    def _hold(self, key: str, value: Any, stored: Any, pickled: Any) -> None:
        """Cache an object, and make room for it. The caller holds the lock."""
        self.cache.hold(key, value, stored, pickled)
        if self.cache_size is not None and len(self.cache) > self.cache_size:
            self._write_back(self.cache.oldest(self.cache_size), drop=True)

    def _write_back(
        self,
        keys: Iterable[str] | None = None,
        *,
        drop: bool = False,
        failures: list[Exception] | None = None,
    ) -> None:
        """Store what has been changed in the cache, as one batch. The caller holds the lock.

        Args:
            keys: of these objects only.
            drop: forget them afterwards. One that cannot be pickled stays: its error is for who syncs.
            failures: if given, what cannot be pickled is passed over, and its error put here.
        """
        cache = self.cache
        wraps = self._wraps()
        changes = {}
        done = []
        for key in list(cache if keys is None else keys):
            value = cache.get(key, MISSING)
            if value is MISSING:
                continue  # pickling another object has run code that used the shelf
            if drop and key in self._edits:
                cache.touch(key, value)
                continue
            try:
                pickled = self._dump_inner(key, value)
                if cache.is_changed(key, pickled):
                    changes[key] = self._dump(key, value) if wraps else pickled, pickled
            except Exception as problem:
                if drop:
                    cache.touch(key, value)
                elif failures is None:
                    raise
                else:
                    failures.append(problem)
                continue
            done.append(key)
        if changes:
            self._apply({self._encode_key(key): storable(self.dict, data) for key, (data, _) in changes.items()})
            for key, (data, pickled) in changes.items():
                cache.mark(key, data, pickled)
        if drop:
            for key in done:
                cache.drop(key)

    def _apply(self, changes: Any) -> None:
        """Store pairs of bytes, as one batch if the mapping below knows how."""
        if hasattr(self.dict, "update"):
            self.dict.update(changes)
        else:
            for name, data in changes.items():
                self.dict[name] = data

    def _fetch_for_edit(self, key: str, default: Any) -> tuple[Any, Any]:
        """Return the newest state of an object and the bytes that it pickles to. The caller excludes other writers.

        With MISSING in the place of the bytes it is to be stored in any case.

        Raises:
            KeyError: no such key, and no default.
        """
        if not self._is_plain:
            try:
                value = self[key]  # type: ignore[index]
            except KeyError:
                if default is MISSING:
                    raise
                return default, MISSING
            return value, self._try_dump(key, value)
        stored = self._stored(key)
        value = self.cache.get(key, MISSING)
        if value is not MISSING:
            pickled = self._try_dump(key, value)
            if pickled is None or self.cache.is_changed(key, pickled):
                return value, MISSING
            if stored is not MISSING and self.cache.is_in_step(key, stored):
                return value, pickled
            self.cache.drop(key)  # another process has replaced or deleted it
        if stored is MISSING:
            if default is MISSING:
                raise KeyError(key)
            return default, MISSING
        value = self._load(key, stored)
        pickled = self._try_dump(key, value)
        if self.writeback:
            self._hold(key, value, stored, pickled)
        return value, pickled

    def _store_edited(self, key: str, value: Any, before: Any) -> None:
        """Store an object that `_fetch_for_edit` has given out, if it pickles to something else than `before`."""
        pickled = self._dump_inner(key, value)
        if before is MISSING or pickled != before:
            if self._is_plain:
                self._put(key, value, self._dump(key, value) if self._wraps() else pickled)
            else:
                self[key] = value  # type: ignore[index]

    def _stored(self, key: str) -> Any:
        try:
            return self.dict[self._encode_key(key)]
        except KeyError:
            return MISSING


def check_cache_size(cache_size: int | None) -> None:
    """Refuse a cache that holds nothing. Raises ValueError."""
    if cache_size is not None and cache_size < 1:
        raise ValueError(f"cache_size must be at least 1, not {cache_size}")
