"""Rewriting all values of a shelf under another codec, so that it may be interrupted at any moment.

Whoever goes on after an interruption has to know under which of two codecs an entry is. There is no note of it: that
would be wrong as soon as somebody else stores an entry. The bytes themselves have to say it. So there are two cases.

- Bytes of the two codecs cannot be mixed up: hutch's frames begin as nothing else does, and pickles, JSON and property
  lists are known by their first and last bytes. Then entries are rewritten in batches, each of which is a transaction;
  in between others may write, and an interruption leaves a mixture that `Mixed` reads and a second call finishes. An
  entry that both codecs could have made (a key is rotated, a class renamed) is rewritten each time: that changes
  nothing but its bytes.
- Bytes could be mixed up: a codec of the user's own, or a format that leaves no mark. Or they could have been planted:
  the new codec runs pickles, say, and the old one read JSON, so that a pickle is either rewritten already or something
  that the old codec is there to refuse. Then all is one transaction, so that there is no mixture to be read: every
  entry has to pass the old codec.

That bytes fit a codec is found out by taking off what wraps them: nothing is unpickled for it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice

from hutch.cache import MISSING
from hutch.codecs.base import joined
from hutch.errors import TransactionError
from hutch.mixed import Mixed, Spared, Underway, digest_of, is_laxer, tells_apart
from hutch.pickling import check_codec, storable
from hutch.undo import UndoLog
from hutch.views import Skipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, Literal, TypeAlias

    from hutch.codecs.base import Codec
    from hutch.shelf import Shelf

    Progress: TypeAlias = Callable[[int, int], object]

__all__ = ["RecodeReport", "recode"]

_BATCH_ENTRIES = 256
_BATCH_BYTES = 4 << 20
_FREE_PASSES = 3  # over a shelf in which others go on storing entries under the old codec; then they have to wait


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
    former = old.codecs if type(old) is Mixed else (old,)
    codecs = (new, *[other for other in former if other != new])
    work = _Work(shelf, codecs, progress, skips=errors == "skip")
    if not tells_apart(codecs):
        if type(old) is Mixed:
            raise TransactionError(
                f"this shelf is a mixture of {old!r}, since a recode() was interrupted: finish that before {new!r}"
            )
        work.at_once(old)
    elif is_laxer(new, former):
        work.at_once(old)
    else:
        shelf._use(Mixed(codecs))
        try:
            work.in_batches()
        except Exception:
            if not work.recoded_count:
                shelf._use(old)  # nothing has begun: it is opened for reading only, say
            raise
        if not work.skipped:
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
        self.underway: Underway | None = None  # all is one transaction, in which each entry is read under the old codec
        self.progress = progress
        self.skips = skips
        self.skipped: dict[bytes, Skipped] = {}
        self.left: dict[bytes, bytes | None] = {}  # of what was skipped, the digest; None where it could not be read
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

    def at_once(self, old: Codec) -> None:
        """Rewrite everything in one transaction, or nothing.

        Meanwhile other threads read and write. What they make of an object before this begins is stored before, or
        behind the end, where they see that the codec is another one and store it once more.
        """
        shelf = self.shelf
        underway = Underway(self.new, old)
        is_committed = False
        try:
            with shelf.transaction():
                shelf._use(underway)
                self.underway = underway
                try:
                    self.walk(joins=True)
                except BaseException:
                    shelf._use(old)
                    raise
                self.is_done = True
            is_committed = True
        finally:
            if not is_committed and not self.is_stored():
                shelf._use(old)
            else:
                shelf._use(Spared(self.new, old, self.left) if self.skipped else self.new)

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
        self.left.clear()
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
                self.skip(name, None, problem)
                continue
            self.entry_count += 1
            try:
                new = self.rewritten(name, data)
            except Exception as problem:  # noqa: BLE001  # likewise
                self.skip(name, data, problem)
                continue
            if new is not MISSING:
                new = storable(mapping, new)
                if self.underway is not None:
                    self.underway.written[name] = digest_of(joined(new))
                mapping[name] = new
                if joined(new) != data:
                    self.last = name, new
                self.recoded_count += 1
                size += len(new)
                if size > limit_bytes:
                    return True
        return False

    def rewritten(self, name: bytes, data: Any) -> Any:
        """The bytes of an entry under the new codec; MISSING: it is under it already."""
        if self.underway is not None:
            if self.underway.of(name, data) is self.new:
                return MISSING
        elif self.mixed.fitting(name, data) == [self.new]:
            return MISSING
        value = self.shelf._load(str(self.shelf._show_name(name)), data, name)
        new = self.new.encode(name, value)
        self.new.decode(name, joined(new))  # what can be written, but not read, stays as it is
        return MISSING if self.underway is None and data == new else new

    def skip(self, name: bytes, data: Any, problem: Exception) -> None:
        key = self.shelf._show_name(name)
        if not self.skips:
            problem.add_note(f"hutch: this was the value of key {key!r}; recode() has stopped there")
            raise problem
        self.skipped[name] = Skipped(key, problem)
        self.left[name] = None if data is None else digest_of(data)
