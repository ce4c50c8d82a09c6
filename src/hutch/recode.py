"""Rewriting all values of a shelf under another codec, so that it may be interrupted at any moment.

Whoever goes on after an interruption has to know under which of two codecs an entry is. There is no note of it: that
would be wrong as soon as somebody else stores an entry. The bytes themselves have to say it. So there are two cases.

- Bytes of the two codecs cannot be mixed up: hutch's frames begin as nothing else does, and pickles, JSON and property
  lists are known by their first and last bytes. Then entries are rewritten in batches, each of which is a transaction;
  in between others may write, and an interruption leaves a mixture that `Mixed` reads and a second call finishes. An
  entry that both codecs could have made (a key is rotated, a class renamed) is rewritten each time: that changes
  nothing but its bytes.
- Bytes could be mixed up: a codec of the user's own, or a format that leaves no mark. Then all is one transaction, so
  that there is no mixture to be read.

That bytes fit a codec is found out by taking off what wraps them: nothing is unpickled for it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice

from hutch.cache import MISSING
from hutch.codecs.base import Codec, innermost, joined
from hutch.codecs.framing import BUFFERS, MAGIC_BYTES
from hutch.errors import CodecError, TransactionError
from hutch.pickling import Functions, check_codec, storable
from hutch.undo import UndoLog
from hutch.views import Skipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Literal, TypeAlias

    from hutch.codecs.base import Data
    from hutch.shelf import Shelf

    Progress: TypeAlias = Callable[[int, int], object]

__all__ = ["Mixed", "RecodeReport", "recode"]

_BATCH_ENTRIES = 256
_BATCH_BYTES = 4 << 20
_FREE_PASSES = 3  # over a shelf in which others go on storing entries under the old codec; then they have to wait

_FRAME = BUFFERS[: MAGIC_BYTES - 1]
_LANGUAGES = {
    "Json": "json",
    "Plist": "plist",
    "Marshal": "marshal",
    "MessagePack": "msgpack",
}
_MARKED = ("pickle", "json", "plist")


@dataclass(frozen=True, slots=True)
class RecodeReport:
    """What `Shelf.recode` has done.

    Attributes:
        entry_count: entries that were looked at.
        recoded_count: those that were rewritten.
        skipped: those that could not be, each with its key and error; they are as they were.
    """

    entry_count: int
    recoded_count: int
    skipped: tuple[Skipped, ...]


def language_of(codec: Codec) -> str | None:
    """What the innermost codec writes, if that is something whose bytes are known; None: anything."""
    inner = innermost(codec)
    if type(inner) is not Functions and not type(inner).__module__.startswith("hutch.codecs."):
        return None  # a user's own, whatever it says
    return "pickle" if inner.makes_pickles else _LANGUAGES.get(inner.name)


def _written_in(data: Data, language: str) -> bool:
    """Whether bytes are in this of several languages, for bytes that are in one of them, or a frame. O(1)."""
    if data[: len(_FRAME)] == _FRAME:
        return language == "pickle" and data[:MAGIC_BYTES] == BUFFERS
    if language not in _MARKED:
        return True  # the only one that comes into question
    if data[:1] == b"<" or data[:6] == b"bplist":
        return language == "plist"
    # No JSON ends with a full stop, or begins with a byte that is no ASCII.
    is_pickle = data[:1] == b"\x80" or data[-1:] == b"."
    return language == ("pickle" if is_pickle else "json")


def tells_apart(codecs: Iterable[Codec]) -> bool:
    """Whether the bytes of an entry say which of `codecs` may read it, so that all that may agree about its value."""
    languages = {language_of(codec) for codec in codecs}
    return None not in languages and (len(languages) == 1 or languages <= set(_MARKED))


class Mixed(Codec):
    """Reads entries under any of several codecs, and writes the first: what a shelf has while it is recoded.

    Attributes:
        codecs: the new one, then those that entries may still be under.
    """

    name = "Mixed"

    def __init__(self, codecs: tuple[Codec, ...]) -> None:
        self.codecs = codecs

    def encode(self, key: bytes, value: Any) -> Any:
        return self.codecs[0].encode(key, value)

    def inner_encode(self, key: bytes, value: Any) -> Any:
        return self.codecs[0].inner_encode(key, value)

    def fitting(self, key: bytes, data: Data) -> list[Codec]:
        """Those that the bytes of an entry fit, in order."""
        return [codec for codec in self.codecs if _fits(codec, key, data)]

    def decode(self, key: bytes, data: Data) -> Any:
        problem = None
        for codec in self._trusted(self.fitting(key, data)):
            try:
                return codec.decode(key, joined(data))
            except Exception as reason:  # noqa: BLE001  # raised if no other fits
                problem = problem or reason
        if problem is not None:
            raise problem
        return self.codecs[-1].decode(key, joined(data))  # it fits none: an error that says so

    def _trusted(self, fitting: list[Codec]) -> list[Codec]:
        """Those that may read an entry: what an old codec refuses to run, no new one is to run in its place."""
        if any(_is_inert(codec) for codec in fitting if codec is not self.codecs[0]):
            return [codec for codec in fitting if _is_inert(codec)]
        return fitting

    def inner_bytes(self, key: bytes, data: Data) -> Data:
        for codec in self.fitting(key, data):
            return codec.inner_bytes(key, data)
        return self.codecs[-1].inner_bytes(key, data)

    def __repr__(self) -> str:
        return f"Mixed({self.codecs!r})"


def _is_inert(codec: Codec) -> bool:
    return innermost(codec).is_inert


def _fits(codec: Codec, key: bytes, data: Data) -> bool:
    language = language_of(codec)
    assert language is not None
    try:
        return _written_in(codec.inner_bytes(key, data), language)
    except CodecError:
        return False


def recode(
    shelf: Shelf, codec: Codec | None, progress: Progress | None, errors: Literal["raise", "skip"]
) -> RecodeReport:
    """See `Shelf.recode`."""
    if errors not in ("raise", "skip"):
        raise ValueError(f"errors must be 'raise' or 'skip', not {errors!r}")
    check_codec(codec, None, None, None)
    new = shelf._default_codec() if codec is None else codec
    if shelf._edits or type(shelf.dict) is UndoLog or _is_in_transaction(shelf.dict):
        raise TransactionError("recode() inside a transaction or an edit is not possible; end it first")
    shelf.sync()
    if shelf._unstored is not None:
        shelf._unstored.forget()
    old = shelf._codec
    codecs = (new, *[other for other in (old.codecs if type(old) is Mixed else (old,)) if other != new])
    work = _Work(shelf, codecs, progress, skips=errors == "skip")
    if tells_apart(codecs):
        shelf._use(Mixed(codecs))
        try:
            work.in_batches()
        except Exception:
            if not work.recoded_count:
                shelf._use(old)  # nothing has begun: it is opened for reading only, say
            raise
        if not work.skipped:
            shelf._use(new)
    else:
        if type(old) is Mixed:
            raise TransactionError(
                f"this shelf is a mixture of {old!r}, since a recode() was interrupted: finish that before {new!r}"
            )
        try:
            with shelf.transaction():
                work.walk(joins=True)
                work.is_done = True
        finally:
            if work.is_stored():
                shelf._use(new)
    return work.report()


def _is_in_transaction(mapping: Any) -> bool:
    store = getattr(mapping, "store", None)
    return bool(getattr(store, "in_transaction", False))


def _sequence(mapping: Any) -> int | None:
    """Number of the last commit, of whichever process; None where nobody counts."""
    return getattr(getattr(mapping, "store", None), "sequence", None)


class _Work:
    """One run over a shelf."""

    def __init__(self, shelf: Shelf, codecs: tuple[Codec, ...], progress: Progress | None, *, skips: bool) -> None:
        self.shelf = shelf
        self.new = codecs[0]
        self.mixed = Mixed(codecs)
        self.is_marked = tells_apart(codecs)
        self.progress = progress
        self.skips = skips
        self.skipped: dict[bytes, Skipped] = {}
        self.entry_count = self.recoded_count = self.commit_count = 0
        self.is_done = False
        self.last: tuple[bytes, Any] | None = None  # what was changed last

    def report(self) -> RecodeReport:
        return RecodeReport(self.entry_count, self.recoded_count, tuple(self.skipped.values()))

    def is_stored(self) -> bool:
        """Whether what is one transaction has been committed: an interruption may strike right behind that."""
        if not self.is_done or self.last is None:
            return self.is_done  # without anything to store
        name, data = self.last
        return bool(self.shelf.dict[name] == joined(data))

    def in_batches(self) -> None:
        """Walk until nobody else has stored anything meanwhile, in the end with everybody waiting."""
        for _ in range(_FREE_PASSES):
            before, self.commit_count = _sequence(self.shelf.dict), 0
            self.walk()
            after = _sequence(self.shelf.dict)
            if before is None or after is None or after - before == self.commit_count:
                return
        with self.shelf.transaction():
            self.walk(joins=True)

    def walk(self, *, joins: bool = False) -> None:
        """Rewrite what is to be rewritten, from first to last.

        Args:
            joins: it is all one transaction, which has begun.
        """
        self.entry_count = 0
        self.skipped.clear()
        total = len(self.shelf)
        names = self.shelf._names()
        while batch := list(islice(names, _BATCH_ENTRIES)):
            if joins:
                self.batch(iter(batch))
            else:
                rest: Iterator[bytes] = iter(batch)
                while self.commit(rest):
                    pass
            if self.progress is not None:
                self.progress(self.entry_count, max(total, self.entry_count))

    def commit(self, names: Iterator[bytes]) -> bool:
        """Rewrite as many of `names` as one transaction should hold; return whether there were any more."""
        count = self.recoded_count
        try:
            with self.shelf.transaction():
                is_full = self.batch(names, _BATCH_BYTES)
        except BaseException:
            self.recoded_count = count
            raise
        self.commit_count += self.recoded_count > count
        return is_full

    def batch(self, names: Iterator[bytes], limit_bytes: int = sys.maxsize) -> bool:
        """Rewrite the entries of `names`, inside a transaction; return whether the limit has ended it."""
        mapping = self.shelf.dict
        size = 0
        for name in names:
            try:
                data = mapping[name]
            except KeyError:
                continue
            except Exception as problem:  # noqa: BLE001  # raised by `skip`, or part of the report
                self.entry_count += 1
                self.skip(name, problem)
                continue
            self.entry_count += 1
            try:
                new = self.rewritten(name, data)
            except Exception as problem:  # noqa: BLE001  # likewise
                self.skip(name, problem)
                continue
            if new is not MISSING:
                mapping[name] = new = storable(mapping, new)
                if joined(new) != data:
                    self.last = name, new
                self.recoded_count += 1
                size += len(new)
                if size > limit_bytes:
                    return True
        return False

    def rewritten(self, name: bytes, data: Any) -> Any:
        """The bytes of an entry under the new codec; MISSING: it is under it already."""
        if self.is_marked and self.mixed.fitting(name, data) == [self.new]:
            return MISSING
        value = self.shelf._load(str(self.shelf._show_name(name)), data, name)
        new = self.new.encode(name, value)
        self.new.decode(name, joined(new))  # what can be written, but not read, stays as it is
        return MISSING if self.is_marked and data == new else new

    def skip(self, name: bytes, problem: Exception) -> None:
        key = self.shelf._show_name(name)
        if not self.skips:
            problem.add_note(f"hutch: this was the value of key {key!r}; recode() has stopped there")
            raise problem
        self.skipped[name] = Skipped(key, problem)
