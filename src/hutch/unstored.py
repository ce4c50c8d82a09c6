"""The most common mistake with shelves, found: an object was fetched, changed, and never stored.

A shelf cannot see that ``shelf["a"].append(1)`` happens. With ``warn_unstored=True`` it keeps what it has given out and
the bytes that each object pickled to at that moment, and looks later whether these are still the same. It must keep the
objects themselves: that of ``shelf["a"].append(1)`` would be gone at the end of the line.

Better no warning than a wrong one. An object that pickles to other bytes at once (it puts the time into them, say) is
left alone, and so is one that pickles to others later but still equals what it was (it has filled in a cache).
"""

from __future__ import annotations

import sys
import warnings
from threading import RLock

from hutch.cache import MISSING
from hutch.errors import UnstoredChangeWarning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from hutch.shelf import Shelf

__all__ = ["Unstored"]

# How many objects are kept; the one that was fetched first is looked at, and let go.
_LIMIT = 1000
_ATOMS = frozenset({type(None), bool, int, float, complex, str, bytes, range, type(...)})
_PASSED_OVER = ("hutch", "collections", "_collections_abc")
# To the object that is looked at: that of `_Fetch`, and that of the call.
_OWN_REFERENCES = 2


class _Fetch:
    """One object that was given out.

    Attributes:
        key: its key.
        value: the object.
        pickled: what it pickled to.
        file: where the statement that fetched it stands.
        line: there.
        scope: the global names there.
    """

    __slots__ = ("file", "key", "line", "pickled", "scope", "value")

    def __init__(self, key: str, value: Any, pickled: Any, frame: FrameType) -> None:
        self.key = key
        self.value = value
        self.pickled = pickled
        self.file = frame.f_code.co_filename
        self.line = frame.f_lineno
        self.scope = frame.f_globals


class Unstored:
    """What one shelf has given out, and nobody has stored since."""

    def __init__(self, shelf: Shelf) -> None:
        self._encode = shelf._try_dump
        self._decode = shelf._load_inner
        self._lock = RLock()
        self._fetches: dict[int, _Fetch] = {}
        self._by_key: dict[str, list[int]] = {}
        self._number = 0

    def fetched(self, key: str, value: Any) -> None:
        """Keep an object that has just been read for somebody outside of hutch."""
        if type(value) in _ATOMS:
            return
        pickled = self._encode(key, value)
        if pickled is None or self._encode(key, value) != pickled:
            return
        with self._lock:
            for number in list(self._by_key.get(key, ())):
                self._look(number, keep=True)
            self._number += 1
            self._fetches[self._number] = _Fetch(key, value, pickled, _caller())
            self._by_key.setdefault(key, []).append(self._number)
            if len(self._fetches) > _LIMIT:
                self._look(next(iter(self._fetches)), keep=False)

    def stored(self, key: str, value: Any = MISSING) -> None:
        """Forget what had this key: it has been stored, or deleted; and an object stored under another one."""
        with self._lock:
            for number in list(self._by_key.get(key, ())):
                self._drop(number)
            for number, fetch in list(self._fetches.items()) if value is not MISSING else ():
                if fetch.value is value:
                    self._drop(number)

    def review(self) -> None:
        """Warn of every object that has been changed, and go on watching the others."""
        problem = None
        with self._lock:
            for number in list(self._fetches):
                try:
                    self._look(number, keep=True)
                except Warning as warning:  # where warnings are errors: the others are looked at all the same
                    problem = problem or warning
        if problem is not None:
            raise problem

    def forget(self) -> None:
        """Let go of everything."""
        self._lock = RLock()  # in the child of a fork nobody would release it
        self._fetches.clear()
        self._by_key.clear()

    def _look(self, number: int, *, keep: bool) -> None:
        fetch = self._fetches.get(number)
        if fetch is None:
            return  # pickling another object has run code that used the shelf
        if self._is_changed(fetch):
            self._drop(number)
            problem = UnstoredChangeWarning(
                f"the object of key {fetch.key!r} that was fetched here has been changed and never stored: store it "
                f"with shelf[key] = value, change it inside shelf.edit(key), or open the shelf with writeback=True"
            )
            problem.key = fetch.key
            registry = fetch.scope.setdefault("__warningregistry__", {})
            # Without the globals, which only serve to show the source: a prompt and `python -c` have no loader to ask.
            warnings.warn_explicit(problem, None, fetch.file, fetch.line, fetch.scope.get("__name__"), registry)
        elif not keep or sys.getrefcount(fetch.value) <= _OWN_REFERENCES:
            self._drop(number)

    def _is_changed(self, fetch: _Fetch) -> bool:
        pickled = self._encode(fetch.key, fetch.value)
        if pickled is not None and pickled == fetch.pickled:
            return False
        try:
            return bool(fetch.value != self._decode(fetch.key, fetch.pickled))
        except Exception:  # noqa: BLE001  # no comparing them, as with arrays: the bytes decide
            return True

    def _drop(self, number: int) -> None:
        fetch = self._fetches.pop(number, None)
        if fetch is not None:
            numbers = self._by_key[fetch.key]
            numbers.remove(number)
            if not numbers:
                del self._by_key[fetch.key]


def _caller() -> FrameType:
    """The frame of whoever uses the shelf."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_OVER:
        frame = frame.f_back
    return frame
