"""What it would take to make, hash, copy, show and free what a pickle describes.

An object that is used twice is one note (`hutch.codecs.notes`), but takes the time of two where it is hashed. Each
pickle has budgets, in proportion to its size, which data is far from.
"""

from __future__ import annotations

from hutch.codecs.notes import (
    ATOMIC,
    BLOB,
    DECIMAL,
    DICT,
    FROZENSET,
    GLOBAL,
    HASHES_PARTS,
    HOLDS_SLOW,
    LATE,
    LIST,
    LONG,
    NUMBER,
    POINTER_BYTES,
    PYTHON,
    RECURSES,
    REFERS,
    RESULT,
    SET,
    TUPLE,
    VAST,
    WIDE,
    Made,
    measure,
    width_of,
)
from hutch.errors import LimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = ["MOST_RECURSING", "PARSED_PER_BYTE", "WORK_BYTES", "Accounts", "most_copied", "most_work", "weigh"]

PARSED_PER_BYTE = 8  # of an int or of text: to find a common divisor, or what it means, takes as long as to copy these
WORK_BYTES = 64  # of an int or of text that one unit of work goes over: two that are equal are compared
_SLOW_BYTES = 8  # of what has a weight, that take as long as one unit more
_PYTHON_WORK = 8
# Where some key has a weight, others may be compared with it: an int, or a float, which is made a Decimal first.
_NUMBER_WORK, _INT, _FLOAT = 32, 1, 10
_SLOWLY_SHOWN_BYTES = 64  # of what Python code shows
_SHOWN_BYTES = 8  # of each thing, beside its text
_WORK_PER_BYTE = 64
_WORK_PER_NOTE = 32  # to go over notes takes longer than to hash what they are about
_LONG_BYTES = 32  # an int of more is LONG
_DIGITS_PER_BYTE = 2  # of hexadecimal text, of which an int can be made
_COMPARED_PER_WORK = 512  # of the square of an int's bytes
# A thread's stack has room for some ten thousand in one another that are freed by recursion. Where the interpreter's
# guard sees other containers among them, it lets 50 of these pass, with as many of the former between any two.
MOST_RECURSING = 5000
_MOST_RECURSING_IF_LATE = 100


def most_work(size: int) -> int:
    """Objects that may be visited, to hash and to compare keys, by a pickle of `size` bytes."""
    return (1 << 20) + _WORK_PER_BYTE * size


def most_copied(size: int) -> int:
    """Bytes that the calls of a pickle of `size` bytes may copy or go over."""
    return (1 << 20) + 16 * size


class Accounts:
    """What one pickle may take, and has taken.

    Attributes:
        is_late: something was given more when others held it already: their `work` is too small.
        is_tangled: what hashes its parts was.
        has_decimals: a Decimal was made.
        has_numbers: an int or a Fraction was made by a call.
        has_vast: something was made that gives more than it holds.
        has_copies: something was called that may copy parts of parts.
        has_slow_keys: some key has a weight, or holds what has one.
        has_number_keys: some key is a number, or holds one.
        has_parsed: something was made of text or of long ints that takes longer than to copy them.
    """

    def __init__(self, max_depth: int, max_work: int, max_copied: int) -> None:
        self.max_depth = max_depth
        self.is_late = self.is_tangled = self.has_decimals = self.has_numbers = False
        self.has_vast = self.has_copies = self.has_parsed = self.has_slow_keys = self.has_number_keys = False
        self.work_left = max_work
        self.copy_left = max_copied
        self._late_left = min(max_depth, MOST_RECURSING)
        self._most_recursing = self._widest = self._longest_decimal = 0
        self._key_work = 0

    def stored(self, where: tuple[str, str]) -> None:
        """A class or a function is put into something."""

    def hold(self, holder: Made, items: Sequence[Any]) -> None:
        """Put items into a container that is on the stack."""
        holder.size += len(items)
        work = holder.work + len(items)
        depth = holder.depth
        shown = holder.shown + _SHOWN_BYTES * len(items)
        recursing = 0
        flags = 0
        numbers = holder.numbers
        for item in items:
            kind = type(item)
            if kind is tuple:
                size = item[1] - item[0]
                shown += size
                work += size // WORK_BYTES
            elif kind is Made:
                work += item.work
                shown += item.shown
                numbers += item.numbers
                flags |= item.flags
                item.is_held = True
                if item.depth >= depth:
                    depth = item.depth + 1
                if item.recursing > recursing:
                    recursing = item.recursing
                if holder.held is None:
                    holder.held = [item]
                else:
                    holder.held.append(item)
                if item.kind == GLOBAL:
                    self.stored(item.items)
            elif kind is BLOB or kind is str:
                size = len(item)
                shown += size
                work += size // WORK_BYTES
            elif kind is int:
                numbers += _INT
                if item >= WIDE:
                    width = width_of(item)
                    shown += width
                    work += width // WORK_BYTES
                    if width > _LONG_BYTES:
                        flags |= LONG
            elif kind is float:
                numbers += _FLOAT
            elif kind is bool:
                numbers += _INT
        if not holder.own & ATOMIC:
            holder.work = work
            holder.numbers = numbers
        holder.shown = shown
        holder.flags |= flags
        if holder.is_held:  # it may hold itself then, and nest no deeper: who looks at the object will tell
            self._hold_late(holder, items)
            return
        holder.depth = depth
        if recursing:
            self._nest(holder, recursing)
        if depth > self.max_depth:
            self._refuse_depth()

    def _hold_late(self, holder: Made, items: Sequence[Any]) -> None:
        """Something is given more when others hold it already: they do not learn how deep it nests now."""
        self.is_late = True
        holder.own |= LATE
        if holder.kind == RESULT and holder.flags & HASHES_PARTS and not holder.own & ATOMIC:
            self.is_tangled = True
        if holder.own & RECURSES:
            # A path from one of these to the next is as long as what each of them was given late, at most.
            late = max([item.recursing for item in items if type(item) is Made], default=0)
            if late > holder.late:
                self._late_left -= late - holder.late
                holder.late = late
        if self._late_left < 0 or self._most_recursing > _MOST_RECURSING_IF_LATE:
            self._refuse_depth()

    def _nest(self, holder: Made, recursing: int) -> None:
        """It holds so many in one another that are freed by recursion."""
        if holder.own & RECURSES:
            recursing += 1
        if recursing > holder.recursing:
            holder.recursing = recursing
            if recursing > self._most_recursing:
                self._most_recursing = recursing
                if recursing > (_MOST_RECURSING_IF_LATE if self.is_late else MOST_RECURSING):
                    self._refuse_depth()

    def _refuse_depth(self) -> None:
        raise LimitError(f"nests deeper than max_depth ({self.max_depth}) or the stack of this process allows")

    def hash(self, items: Iterable[Any]) -> None:
        """Take the work of hashing keys, and of comparing them with those that hash alike, off the budget."""
        numbers = 0
        for item in items:
            kind = type(item)
            if kind is Made:
                work = item.work
                if self.is_tangled and item.flags & HASHES_PARTS:
                    work = self._work_now(item)
                self.work_left -= work
                numbers += item.numbers
                if item.flags & HOLDS_SLOW:
                    self.has_slow_keys = True
                if item.flags & (LONG | DECIMAL):
                    self.work_left -= (1 if item.own & NUMBER else work) * self._key_work
            elif kind is tuple:
                self.work_left -= (item[1] - item[0]) // WORK_BYTES
            elif kind is BLOB or kind is str:
                self.work_left -= len(item) // WORK_BYTES
            elif kind is int:
                numbers += _INT
                if item >= WIDE:
                    width = width_of(item)
                    self.work_left -= width // WORK_BYTES
                    if width > _LONG_BYTES:
                        self.work_left -= self._key_work
            elif kind is float:
                numbers += _FLOAT
            elif kind is bool:
                numbers += _INT
        if numbers:
            self.has_number_keys = True
            if self.has_slow_keys:
                self.work_left -= numbers * _NUMBER_WORK
        if self.work_left < 0:
            self._refuse_keys()

    def _refuse_keys(self) -> None:
        raise LimitError("has keys so long, or that share so many parts, that hashing them would not end")

    def _work_now(self, key: Made) -> int:
        """Objects that a hash of it visits, where some of them were given more since others held them."""
        works: dict[int, int] = {}  # by id; -1: on the path
        path = [key]
        while path:
            note = path[-1]
            known = works.get(id(note))
            parts = _hashed(note)
            if known is None:
                works[id(note)] = -1
                for part in parts:
                    if works.get(id(part)) == -1:
                        raise LimitError(
                            "has a key that was given more when others held it, which leads back to itself: "
                            "hashing it might not end"
                        )
                path += [part for part in parts if id(part) not in works]
            else:
                if known < 0:
                    own = 1 + note.size + max(note.extent, 0) // WORK_BYTES + weigh(note.own, note.weight, note.extent)
                    works[id(note)] = own + sum(works[id(part)] for part in parts)
                path.pop()
            self.work_left -= _WORK_PER_NOTE * (1 + len(parts))
            if self.work_left < 0:
                self._refuse_keys()
        return max(works[id(key)], key.work)

    def _widen(self) -> None:
        """Expect keys to be compared with a Decimal: that takes the square of the bytes of the longest int."""
        if self.has_decimals:
            self._key_work = self._widest * (self._widest + self._longest_decimal) // _COMPARED_PER_WORK

    def widen(self, width: int) -> None:
        """There is an int of so many bytes."""
        if width > max(self._widest, _LONG_BYTES):
            self._widest = width
            self._widen()

    def reaches_late(self, note: Made) -> bool:
        """Whether something in it, or it, was given more when something else held it. O(what is in it)."""
        seen = {id(note)}
        path = [note]
        while path:
            note = path.pop()
            if note.own & LATE:
                return True
            parts = [part for part in (*(note.held or ()), *(note.arguments or ())) if type(part) is Made]
            self.copy(POINTER_BYTES * len(parts))
            for part in parts:
                if id(part) not in seen:
                    seen.add(id(part))
                    path.append(part)
        return False

    def copy(self, extent: int) -> None:
        """Take bytes that a call copies, or goes over, off the budget."""
        self.copy_left -= extent
        if self.copy_left < 0:
            raise LimitError("copies long text or bytes so often that what comes out would be many times its size")

    def parse(self, extent: int) -> None:
        """Take bytes off the budget of which a call makes something that takes longer than to copy them."""
        self.has_parsed = True
        self.copy(PARSED_PER_BYTE * extent)

    def show(self, extent: int) -> None:
        """Refuse what shows too many bytes in an error, which is raised once."""
        if extent > self.copy_left:
            self.copy(extent)

    def pass_on(self, arguments: Made, result: Made) -> None:
        """Count what a call makes of a tuple of arguments."""
        extent = measure(arguments)
        result.extent = POINTER_BYTES * arguments.size if result.own & REFERS else extent
        self.copy(result.extent)
        if not result.own & ATOMIC:
            result.work += arguments.work + result.extent // WORK_BYTES
        result.work += weigh(result.own, result.weight, result.extent)
        if result.weight:
            result.flags |= HOLDS_SLOW
        elif not result.own & ATOMIC:
            result.numbers = arguments.numbers
        result.depth += arguments.depth - 1
        result.shown = arguments.shown + (_SLOWLY_SHOWN_BYTES if result.weight or result.own & PYTHON else 0)
        if result.flags & DECIMAL:
            self.has_decimals = True
            self._longest_decimal = max(self._longest_decimal, extent)
            self._widen()
        if result.flags & VAST:
            self.has_vast = True
        if result.flags & LONG:
            self.has_numbers = True
            self.widen(extent // _DIGITS_PER_BYTE)
        result.flags |= arguments.flags
        if arguments.recursing or result.own & RECURSES:
            self._nest(result, arguments.recursing)


def weigh(own: int, weight: int, extent: int) -> int:
    """What it takes more than others do to hash what a call has made of so many bytes, or to compare it."""
    if weight:
        return weight + extent // _SLOW_BYTES
    return _PYTHON_WORK if own & PYTHON else 0


def _hashed(note: Made) -> list[Made]:
    """Notes of what a hash of it looks at next."""
    if note.kind in (TUPLE, FROZENSET):
        return note.held or []
    if note.kind != RESULT or note.own & ATOMIC:
        return []
    parts: list[Made] = []
    states = note.held or []
    given = [item for item in note.arguments or () if type(item) is Made]
    for state in states:
        given += state.held or [] if state.kind == TUPLE else [state]
    for item in given:
        if item.kind in (LIST, DICT, SET):  # what is copied, or is a state; any other has no hash
            parts += item.held or []
        else:
            parts.append(item)
    return parts
