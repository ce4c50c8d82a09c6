"""Objects by name: a dict whose values live as bytes in another mapping."""

from __future__ import annotations

import os
import sys
from collections.abc import MutableMapping

from hutch.beyond import Beyond
from hutch.cache import MISSING
from hutch.edit import Alone
from hutch.errors import DeadlockError, TransactionError
from hutch.lifetime import CLOSED, ClosedDict, first_of, forget, spelled_out, watch
from hutch.pickling import loads, no_text, note_unstored, storable
from hutch.undo import UndoLog
from hutch.views import ItemIterator, ShelfItems, ShelfValues
from hutch.writeback import check_cache_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import Any, Self, TypeAlias

    from _typeshed import SupportsKeysAndGetItem

    from hutch.codecs.base import Codec
    from hutch.pickling import Deserializer, Serializer
    from hutch.reports import Progress
    from hutch.views import OnError

    AnyMapping: TypeAlias = MutableMapping[str, Any]
    Objects: TypeAlias = dict[str, Any]
    Item: TypeAlias = tuple[str, Any]
else:
    AnyMapping = MutableMapping

__all__ = ["Shelf"]


class Shelf(Beyond, AnyMapping):
    """Objects by name, over any mapping of bytes to bytes: hutch's, one of ``dbm``, a plain dict.

    Beyond ``shelve``'s: a value that does not pickle changes nothing, neither file nor cache; a value that
    does not unpickle is an `UnreadableValueError` that names its key; `edit`, `modify` and `transaction`;
    with `writeback`, only what has changed is written, as one batch, and the cache may be bounded.

    Any method raises ValueError once the shelf is closed. A key that is not a str is a TypeError. Threads
    may share a shelf; but an object in the cache of a writeback shelf is shared too, without protection.

    A shelf pickles, and survives a fork, as the mapping below does (hutch's is opened anew). What the
    cache holds stays behind: the process that has changed it also writes it back.

    Args:
        dict: the mapping below; `close` closes it.
        protocol: of the pickles; None: this Python's default.
        writeback: keep every object that is read or stored, and store it again in `sync` and `close` if it
            has been changed, so that ``shelf["a"].append(1)`` is enough. An object is then pickled when it
            is read, to know later whether it has been changed, and again when it may be written back.
        keyencoding: of the keys.
        serializer: what makes bytes of an object and the protocol, in the place of ``pickle.dumps``.
        deserializer: what makes an object of bytes, in the place of ``pickle.loads``.
        codec: what makes bytes of the objects and objects of the bytes (`hutch.codecs`), in the place of
            pickles. It brings its own protocol, and leaves no room for serializer and deserializer.
        cache_size: how many objects `writeback` keeps; the least recently used are written back and dropped.
            A change to an object that has been dropped is lost: fetch it again instead of holding on to it.
        warn_unstored: for debugging: warn with an `UnstoredChangeWarning` of objects that were fetched without
            `writeback`, changed, and never stored. Each is kept and pickled twice, and again in `sync`, `close`,
            and when its key is fetched anew. None: if Python runs with ``-X dev``, or HUTCH_WARN_UNSTORED is set.

    Raises:
        ShelveError: of serializer and deserializer only one is given, or something that contradicts a codec.

    Attributes:
        dict: the mapping below.
        cache: the objects that `writeback` keeps, by key.
    """

    def __init__(
        self,
        dict: Any,  # noqa: A002  # its name in shelve
        protocol: int | None = None,
        writeback: bool = False,
        keyencoding: str = "utf-8",
        *,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        codec: Codec | None = None,
        cache_size: int | None = None,
        warn_unstored: bool | None = None,
    ) -> None:
        check_cache_size(cache_size)
        self._warns_unstored = _wants_warnings() if warn_unstored is None else warn_unstored
        self.dict = dict
        self._set_pickling(protocol, keyencoding, serializer, deserializer, codec)
        self.writeback = writeback
        self.cache_size = cache_size
        self._start()

    def _start(self) -> None:
        """Begin with an empty cache: a new shelf, or one that has been unpickled."""
        self._start_cache()
        if self._warns_unstored:
            from hutch.unstored import Unstored

            self._unstored = Unstored(self)
            self._use(self._codec)
        self._at_exit = watch(self)

    def _use(self, codec: Codec) -> None:
        super()._use(codec)
        dbm = sys.modules.get("hutch.dbm")
        is_ours = dbm is not None and type(self.dict) is dbm.Database
        self._views = is_ours and bool(getattr(codec, "wants_view", False))
        self._large = 0
        if is_ours and self._loads is loads:
            from hutch.heap import LARGE_BYTES

            self._large = LARGE_BYTES

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A subclass that has its own way with one entry wants to see each of many.
        cls._is_plain = cls.__getitem__ is Shelf.__getitem__ and cls.__setitem__ is Shelf.__setitem__

    # One entry.

    # Each in one frame for a pair of functions: a call costs as much as all that is done here.

    def __getitem__(self, key: str) -> Any:
        if self.writeback or self.cache:
            return self._get_cached(key)
        loads = self._loads
        if loads is None:
            return self._get_by_codec(key)
        large = self._large
        try:
            if large:  # what `Database` does, without its frame
                data = self.dict.store.get(key.encode(self.keyencoding), large)
            else:
                data = self.dict[key.encode(self.keyencoding)]
        except KeyError:
            raise KeyError(key) from None
        except AttributeError:
            if not hasattr(key, "encode"):
                raise no_text(key) from None
            if not large or hasattr(self.dict, "store"):
                raise
            self._use(self._codec)  # somebody has put another mapping below
            return self[key]
        if large and type(data) is not bytes:
            if data is None:
                raise KeyError(key)
            loads = _unpickled
        try:
            return loads(data)
        except Exception as problem:
            if self._loads is None:  # another thread has begun to recode the shelf meanwhile
                return self._get_by_codec(key)
            self._explain(key, data.view if loads is _unpickled else data, problem)
            raise

    def _get_by_codec(self, key: str) -> Any:
        name = self._encode_key(key)
        while True:
            codec = self._codec
            try:
                data = self._fetch(name)
            except KeyError:
                raise KeyError(key) from None
            try:
                value = self._load(key, data, name, codec)
            except Exception:
                if self._codec is codec:
                    raise
            else:
                return self._hand_out(key, value)

    def _fetch(self, name: bytes) -> Any:
        """The bytes of an entry; a view of them, if they are many, for a codec that wants it."""
        if self._views:
            from hutch.heap import LARGE_BYTES

            # Comparing a large value with its checksum takes longer than all else: not for one that is not copied.
            store = getattr(self.dict, "store", None)
            if store is not None:
                data = store.get(name, LARGE_BYTES, None if self._wraps() else False)
                if data is None:
                    raise KeyError(name)
                return data if type(data) is bytes else data.view
        return self.dict[name]

    def __setitem__(self, key: str, value: Any) -> None:
        dumps = self._dumps
        if dumps is None or self.writeback or self.cache:
            codec = self._codec
            self._put(key, value, self._dump(key, value))
            if self._codec is not codec:  # another thread has begun to recode the shelf meanwhile
                self._put(key, value, self._dump(key, value))
            return
        try:
            name = key.encode(self.keyencoding)
        except AttributeError:
            raise no_text(key) from None
        try:
            data = dumps(value, self._protocol)  # type: ignore[arg-type]  # which is there with it
        except Exception as problem:
            note_unstored(key, problem)
            raise
        self.dict[name] = data
        if self._dumps is not dumps:  # likewise
            self._put(key, value, self._dump(key, value))

    def __delitem__(self, key: str) -> None:
        name = self._encode_key(key)
        with self._cache_lock():
            try:
                del self.dict[name]
            except KeyError:
                if key not in self.cache:  # else it has been deleted elsewhere, and here it is now
                    raise KeyError(key) from None
            self.cache.drop(key)
            if self._unstored is not None:
                self._unstored.stored(key)

    def __contains__(self, key: object) -> bool:
        return self._encode_key(key) in self.dict  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.dict)

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`, or `default`."""
        try:
            return self[key]
        except KeyError:
            return default

    def pop(self, key: str, default: Any = MISSING) -> Any:
        """Remove `key` and return its value: to one caller only, whoever else tries at the same time.

        Raises:
            KeyError: no such key, and no default.
        """
        if key in self or key in self.cache:
            with Alone(self):
                value = self.get(key, MISSING)
                if value is not MISSING:
                    del self[key]
            if value is not MISSING:
                return value
        if default is MISSING:
            raise KeyError(key)
        return default

    def popitem(self) -> Item:
        """Remove the first entry and return it as (key, value).

        Raises:
            KeyError: the shelf is empty.
        """
        if len(self):
            with Alone(self):
                for key in self:
                    value = self[key]
                    del self[key]
                    return key, value
        raise KeyError("popitem(): the shelf is empty")

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Return the value of `key`; where there is none, first store `default`."""
        value = self.get(key, MISSING)
        if value is MISSING:
            with Alone(self, key):
                value = self.get(key, MISSING)
                if value is MISSING:
                    self[key] = value = default
                    self._hand_out(key, value)
        return value

    # Many entries.

    def get_many(self, keys: Iterable[str]) -> Objects:
        """Return the values of those of `keys` that exist, by key.

        Inside a transaction they are all of one moment; outside, another process may write in between.
        """
        pairs = ((key, self.get(key, MISSING)) for key in keys)
        return {key: value for key, value in pairs if value is not MISSING}

    def update(self, other: SupportsKeysAndGetItem[str, Any] | Iterable[Item] = (), /, **more: Any) -> None:
        """Store many entries as one batch: all of them or, if anything goes wrong, none.

        Args:
            other: a mapping, an object with ``keys()``, or pairs of key and value.
            more: further entries.
        """
        source: Any = other
        pairs = ((key, source[key]) for key in source.keys()) if hasattr(source, "keys") else source  # noqa: SIM118
        values: Objects = {}
        for key, value in pairs:
            values[key] = value
        values.update(more)
        if not self._is_plain:
            with self.transaction():
                for key, value in values.items():
                    self[key] = value
            return
        codec = self._codec
        names = {key: self._encode_key(key) for key in values}
        datas = {key: self._dump(key, value) for key, value in values.items()}
        with self._cache_lock():
            self._apply({names[key]: storable(self.dict, data) for key, data in datas.items()})
            if self.writeback or self.cache or self._unstored is not None:
                for key, data in datas.items():
                    self._keep(key, values[key], data)
        if self._codec is not codec:  # another thread has begun to recode the shelf meanwhile
            self.update(values)

    def clear(self) -> None:
        """Remove all entries."""
        with self._cache_lock():
            if hasattr(self.dict, "clear"):
                self.dict.clear()
            else:
                for name in list(self.dict.keys()):
                    del self.dict[name]
            self.cache.forget()
            if self._unstored is not None:
                self._unstored.forget()

    def __iter__(self) -> Iterator[str]:
        return map(self._decode_key, self._names())

    def items(self, *, errors: OnError = "raise") -> ShelfItems:
        """Return a view of the pairs of key and value, in the order of the mapping below.

        Args:
            errors: what to do about an entry that cannot be read, because its bytes are damaged or do not
                decode: ``'raise'`` its error (the iterator goes on behind it, unless it was the engine's
                `CorruptEntryError`); ``'skip'`` it; or call this function with key and error, and skip it.
                What is skipped is in the view's `skipped`.
        """
        return ShelfItems(self, errors)

    def values(self, *, errors: OnError = "raise") -> ShelfValues:
        """Return a view of the values.

        Args:
            errors: as for `items`.
        """
        return ShelfValues(self, errors)

    def _names(self) -> Iterator[bytes]:
        mapping = self.dict
        if _is_database(mapping):
            return mapping.iterkeys()  # type: ignore[no-any-return]  # lazy, and survives updates
        return iter(list(mapping.keys()))

    def _show_name(self, name: bytes) -> str | bytes:
        try:
            return self._decode_key(name)
        except UnicodeDecodeError:
            return name

    def _iterate_items(self) -> Iterator[Item]:
        if self.writeback or self.cache or self._views or not self._is_plain or not _is_database(self.dict):
            return ItemIterator(self)
        return map(self._read_item, self.dict.iteritems())

    def _read_item(self, item: tuple[bytes, Any]) -> Item:
        key = self._decode_key(item[0])
        return key, self._hand_out(key, self._load(key, item[1], item[0]))

    def _hand_out(self, key: str, value: Any) -> Any:
        """Return an object to whoever has asked for it."""
        if self._unstored is not None and not self.writeback:
            self._unstored.fetched(key, value)
        return value

    # Upkeep.

    def sync(self) -> None:
        """Write back what has been changed, empty the cache, and bring everything to the disk.

        Raises:
            Exception: as pickling has it: an object cannot be pickled. Nothing has been written, and the
                cache is as it was.
        """
        mapping = self.dict
        if type(mapping) is ClosedDict:
            raise ValueError(CLOSED)
        with self._cache_lock():
            if self.writeback and self.cache:
                self._write_back()
                self.cache.forget()
        try:
            if self._unstored is not None:
                self._unstored.review()
        finally:
            if hasattr(mapping, "sync"):
                mapping.sync()

    def reorganize(self, *, progress: Progress | None = None) -> None:
        """`sync`, then give back the space that deleted and replaced entries have left. O(n).

        Args:
            progress: as in `hutch.dbm.Database.reorganize`.
        """
        self.sync()
        if hasattr(self.dict, "reorganize"):
            self.dict.reorganize(**({} if progress is None else {"progress": progress}))

    def close(self) -> None:
        """`sync`, and close the mapping below. Closing twice does nothing.

        Raises:
            Exception: as pickling has it: an object cannot be pickled. All others have been written, and the
                shelf is closed.
            DeadlockError, TransactionError: the database is in use in this process; shelf and database stay open.
        """
        mapping = self.dict
        if type(mapping) is ClosedDict:
            return
        failures: list[Exception] = []
        is_in_use = False
        try:
            try:
                if self.writeback and self.cache:
                    with self._lock:
                        self._write_back(failures=failures)
                        self.cache.forget()
                if getattr(mapping, "closed", False) is not True:
                    self.sync()
            finally:
                if hasattr(mapping, "close"):
                    mapping.close()
        except (DeadlockError, TransactionError):
            is_in_use = getattr(mapping, "closed", False) is not True
            raise
        finally:
            if not is_in_use:
                self.dict = ClosedDict()
                self.cache.forget()
                self._unstored = None
                forget(self, self._at_exit)
        if failures and not sys.is_finalizing():  # then the atexit hook has had its say
            raise first_of(failures)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if "_at_exit" in self.__dict__:  # else __init__ has failed, and there is nothing to close
            try:
                self.close()
            except Exception as problem:
                raise spelled_out(problem) from problem

    def __getstate__(self) -> Objects:
        if type(self.dict) is ClosedDict:
            raise ValueError(CLOSED)
        own = ("cache", "_edits", "_lock", "_at_exit", "_dumps", "_loads", "_large", "_views", "_unstored")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: Objects) -> None:
        self.__dict__.update(state)
        self._use(self._codec)
        self._start()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} over {self.dict!r}>"


def _is_database(mapping: Any) -> bool:
    """Return whether a mapping is hutch's own, or as good: iterations over it survive updates."""
    return type(mapping) is not UndoLog and hasattr(mapping, "transaction") and hasattr(mapping, "iteritems")


def _unpickled(data: Any) -> Any:
    """``pickle.loads`` of a large value, which the engine lends."""
    return data.unpickled()


def _wants_warnings() -> bool:
    """Return whether shelves are to warn of unstored changes, where nobody says so."""
    return sys.flags.dev_mode or os.environ.get("HUTCH_WARN_UNSTORED", "0") not in ("", "0")
