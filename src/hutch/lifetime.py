"""How shelves end: closed, at the interpreter's exit, and in the child of a fork."""

from __future__ import annotations

import atexit
import os
import weakref

from hutch.pickling import ShelveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hutch.shelf import Shelf

__all__ = ["CLOSED", "ClosedDict", "first_of", "forget", "spelled_out", "watch"]

CLOSED = "invalid operation on closed shelf"

_EXIT_PATIENCE_SECONDS = 5.0

# Open shelves by id. (A mapping has no hash, so no WeakSet.)
_shelves: dict[int, weakref.ref[Shelf]] = {}


class ClosedDict:
    """What a closed shelf has in the place of its mapping: whatever is asked of it is an error."""

    closed = True

    def _refuse(self, *_: object) -> Any:
        raise ValueError(CLOSED)

    __getitem__ = __setitem__ = __delitem__ = __contains__ = __iter__ = __len__ = _refuse

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ValueError(CLOSED)

    def __repr__(self) -> str:
        return "<closed>"


def watch(shelf: Shelf) -> Callable[[], None]:
    """See to it that an open shelf is written back at exit, and minds a fork; return what `forget` needs.

    At exit means: while everything that pickling needs is still there. The shelf stays open, because a
    function that was registered before, and so runs after, may want to use it.
    """
    this = weakref.ref(shelf)

    def at_exit() -> None:
        _write_back_at_exit(this)

    _shelves[id(shelf)] = this
    atexit.register(at_exit)
    return at_exit


def forget(shelf: Shelf, at_exit: Callable[[], None]) -> None:
    """Undo `watch`, for a shelf that is closed."""
    _shelves.pop(id(shelf), None)
    atexit.unregister(at_exit)


def first_of(failures: list[Exception]) -> Exception:
    """Return the first of the errors of a write-back, which then mentions the others."""
    if len(failures) > 1:
        failures[0].add_note(f"hutch: {len(failures) - 1} more of the changed values could not be stored either")
    return failures[0]


def spelled_out(problem: Exception) -> Exception:
    """Return an error that says the notes of another in its message: nobody sees notes of ignored errors."""
    notes = getattr(problem, "__notes__", None)
    if not notes:
        return problem
    whole = ShelveError("; ".join([f"{type(problem).__name__}: {problem}", *notes]))
    whole.__cause__ = problem
    return whole


def _write_back_at_exit(this: weakref.ref[Shelf]) -> None:
    shelf = this()
    if shelf is None:
        return
    if shelf._unstored is not None:
        shelf._unstored.review()
    if not (shelf.writeback and shelf.cache):
        return
    if not shelf._lock.acquire(timeout=_EXIT_PATIENCE_SECONDS):
        raise ShelveError(f"another thread keeps {shelf!r} busy: what was changed in its cache has not been stored")
    failures: list[Exception] = []
    try:
        shelf._write_back(failures=failures)
    finally:
        shelf._lock.release()
    if failures:
        raise spelled_out(first_of(failures))


def _after_fork() -> None:
    """Give a child's shelves locks that no thread holds, and none of the parent's changes."""
    for this in list(_shelves.values()):
        shelf = this()
        if shelf is not None:
            shelf._start_cache()
            if shelf._unstored is not None:
                shelf._unstored.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
