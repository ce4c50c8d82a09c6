"""What the ``with`` statements of a shelf hold: a transaction of many entries, or one value being edited."""

from __future__ import annotations

import sys

from hutch.cache import MISSING
from hutch.undo import UndoLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from hutch.cache import Kept
    from hutch.shelf import Shelf

__all__ = ["Alone", "Edit", "ShelfTransaction"]


def needs_lock(shelf: Shelf) -> bool:
    """Return whether the shelf's own lock is needed: for its cache, or for want of one below."""
    mapping = shelf.dict
    return bool(shelf.writeback or shelf.cache) or type(mapping) is UndoLog or not hasattr(mapping, "transaction")


class ShelfTransaction:
    """``with shelf.transaction():``, all or nothing: leaving the block commits, an exception rolls back.

    The writer lock and the commit are those of the mapping below. What this adds is that the cache of a
    writeback shelf takes part: its changes are committed with the rest, and rolled back with the rest. A
    mapping without transactions gets an `UndoLog` for as long as the outermost block lasts.
    """

    __slots__ = ("_before", "_inner", "_lock", "_log", "_shelf", "_write_back")

    def __init__(self, shelf: Shelf, *, write_back: bool = True) -> None:
        """Take note of what `__enter__` will need.

        Args:
            shelf: whose transaction it is.
            write_back: commit what has been changed in the cache too.
        """
        self._shelf = shelf
        self._write_back = write_back
        self._inner: Any = None
        self._before: dict[str, Kept] | None = None
        self._log: UndoLog | None = None
        self._lock: Any = None

    def __enter__(self) -> Shelf:
        shelf = self._shelf
        if needs_lock(shelf):
            # The same lock will be released, even if a fork gives the shelf another one.
            self._lock = shelf._lock
            self._lock.acquire()
        try:
            if not hasattr(shelf.dict, "transaction"):
                shelf.dict = self._log = UndoLog(shelf.dict)
            self._inner = shelf.dict.transaction()
            self._inner.__enter__()
            try:
                if shelf.writeback:
                    self._before = shelf.cache.snapshot(shelf._try_dump)
            except BaseException:
                self._inner.__exit__(*sys.exc_info())
                raise
        except BaseException:
            if self._log is not None and shelf.dict is self._log:
                shelf.dict = self._log.mapping
            if self._lock is not None:
                self._lock.release()
            raise
        return shelf

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        committed = False
        try:
            try:
                if kind is None and self._write_back and self._before is not None:
                    self._shelf._write_back()
            except BaseException:
                self._inner.__exit__(*sys.exc_info())
                raise
            self._inner.__exit__(kind, problem, trace)
            committed = kind is None
        finally:
            try:
                if not committed and self._before is not None:
                    self._shelf.cache.restore(self._before, self._shelf._try_dump, self._shelf._load_inner)
            finally:
                # Not in a method: a KeyboardInterrupt may strike wherever one begins.
                if self._log is not None and self._shelf.dict is self._log:
                    self._shelf.dict = self._log.mapping
                if self._lock is not None:
                    self._lock.release()


class Alone:
    """``with Alone(shelf, key):``, no other thread and no other process writes.

    For a statement that reads, then writes once. There is nothing to roll back if it fails, and it must not
    roll back a transaction that it happens to be in.
    """

    __slots__ = ("_inner", "_key", "_lock", "_shelf")

    def __init__(self, shelf: Shelf, key: str | None = None) -> None:
        self._shelf = shelf
        self._key = key
        self._inner: Any = None
        self._lock: Any = None

    def __enter__(self) -> None:
        shelf = self._shelf
        if needs_lock(shelf):
            self._lock = shelf._lock
            self._lock.acquire()
        try:
            if hasattr(shelf.dict, "transaction"):
                self._inner = shelf.dict.transaction()
                self._inner.__enter__()
        except BaseException:
            if self._lock is not None:
                self._lock.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._inner is not None:
                self._inner.__exit__(None, None, None)
        except BaseException:
            if self._key is not None:
                self._shelf.cache.drop(self._key)  # what it says has not been committed
            raise
        finally:
            if self._lock is not None:
                self._lock.release()


class Edit:
    """``with shelf.edit(key) as value:``, one value that nobody else changes while it is worked on.

    Inside another edit of the same key it is the same object, which the outer one stores.
    """

    __slots__ = ("_before", "_default", "_joins", "_key", "_shelf", "_transaction", "value")

    def __init__(self, shelf: Shelf, key: str, default: Any) -> None:
        self._shelf = shelf
        self._key = key
        self._default = default
        self._before: Any = MISSING
        self._joins = False
        self._transaction = ShelfTransaction(shelf, write_back=False)
        self.value: Any = None

    def __enter__(self) -> Any:
        shelf = self._shelf
        self._transaction.__enter__()
        try:
            outer = shelf._edits.get(self._key)
            self._joins = outer is not None
            if self._joins:
                self.value = outer.value
            else:
                self.value, self._before = shelf._fetch_for_edit(self._key, self._default)
                shelf._edits[self._key] = self
        except BaseException:
            # Nothing has been done, so a transaction around this may go on.
            self._transaction.__exit__(None, None, None)
            raise
        return self.value

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._joins:
            shelf = self._shelf
            shelf._edits.pop(self._key, None)
            if kind is None:
                try:
                    shelf._store_edited(self._key, self.value, self._before)
                except BaseException:
                    self._transaction.__exit__(*sys.exc_info())
                    raise
        self._transaction.__exit__(kind, problem, trace)
