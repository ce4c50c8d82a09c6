"""What it would take to make, hash, copy, show and free what a pickle describes.

`hutch.codecs.opcodes` goes over a pickle and puts notes in place of objects. Here is what a note says, and how notes
add up: an object that is used twice is one note, but takes the time of two where it is hashed. Each pickle has budgets,
in proportion to its size, which data is far from.
"""

from __future__ import annotations

from hutch.errors import LimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

__all__ = ["BLOB", "UNLIMITED", "Accounts", "Made", "most_copied", "width_of"]

# What a note is about.
LIST, TUPLE, DICT, SET, FROZENSET, BYTEARRAY, GLOBAL, RESULT, PERSISTENT, BUFFER, OPAQUE = range(11)

# What is true of what a note is about, or of something that it holds.
OPEN = 1  # more may be put into it
HASHES_PARTS = 2  # a call made it, and its hash may be that of its parts
_CLOSED = (TUPLE, FROZENSET, GLOBAL)

BLOB = range  # stands for bytes, by where they are
UNLIMITED = 1 << 62
_WIDE = 1 << 64  # an int beyond it takes time that counts; what stands for one is positive
_WORK_BYTES = 64  # of an int or of text that one unit of work goes over
_POINTER_BYTES = 8
# Freed by recursion, without the interpreter's guard for containers in containers.
_RECURSING = frozenset([("collections", "deque"), ("collections", "defaultdict")])


class Made:
    """A note about an object that an unpickler would make.

    Attributes:
        kind: LIST, TUPLE…; RESULT is what a call returns.
        depth: how deep it nests, itself included.
        work: objects that a hash or a repr of it visits: shared ones count as often as they are reached.
        items: of a TUPLE, its notes and atoms. Of a GLOBAL and a RESULT, module and name of what was named or called.
        arguments: of a RESULT, the notes and atoms that it was made of.
        is_held: something else holds it, and has counted what was in it by then.
        extent: bytes that whoever calls something with it copies, or, of a TUPLE, with what is in it; -1: not known.
        shown: bytes of text, bytes and ints that a repr of it shows, however deep in it they are.
        flags: OPEN and HASHES_PARTS.
    """

    __slots__ = ("arguments", "depth", "extent", "flags", "is_held", "items", "kind", "shown", "work")

    def __init__(self, kind: int, items: Any = None) -> None:
        self.kind = kind
        self.depth = self.work = 1
        self.items = items
        self.arguments: list[Any] | None = None
        self.is_held = False
        self.extent = -1 if kind == TUPLE else 0
        self.shown = 0
        self.flags = 0 if kind in _CLOSED else OPEN


def width_of(item: Any) -> int:
    """Bytes of an int that is longer than most; 0 of anything else."""
    return item.bit_length() >> 3 if type(item) is int and item >= _WIDE else 0


def _extent_of(item: Any) -> int:
    """Bytes of text, bytes, a long int, or what has been made of such."""
    kind = type(item)
    if kind is tuple:
        return item[1] - item[0]  # type: ignore[no-any-return]
    if kind is Made:
        return 0 if item.kind == TUPLE else item.extent
    return len(item) if kind in (str, BLOB) else width_of(item)


def most_copied(size: int) -> int:
    """Bytes that the calls of a pickle of `size` bytes may copy or go over."""
    return (1 << 20) + 16 * size


class Accounts:
    """What one pickle may take, and has taken.

    Attributes:
        is_late: something was given more when others held it already: their `work` is too small.
        is_tangled: what hashes its parts was.
    """

    def __init__(self, max_depth: int, max_work: int, max_copied: int) -> None:
        self.max_depth = max_depth
        self.is_late = self.is_tangled = False
        self.work_left = max_work
        self.copy_left = max_copied
        self._late_left = max_depth
        self._key_work = 0

    def stored(self, where: tuple[str, str]) -> None:
        """A class or a function is put into something."""

    def hold(self, holder: Made, items: Sequence[Any]) -> None:
        """Put items into a container that is on the stack."""
        work = holder.work + len(items)
        depth = holder.depth
        shown = holder.shown
        flags = 0
        for item in items:
            kind = type(item)
            if kind is tuple:
                shown += item[1] - item[0]
            elif kind is Made:
                work += item.work
                shown += item.shown
                flags |= item.flags
                item.is_held = True
                if item.depth >= depth:
                    depth = item.depth + 1
                if item.kind == GLOBAL:
                    self.stored(item.items)
            elif kind is BLOB:
                shown += len(item)
            elif kind is int and item >= _WIDE:
                width = width_of(item)
                shown += width
                work += width // _WORK_BYTES
        holder.work = work
        holder.depth = depth
        holder.shown = shown
        holder.flags |= flags
        if holder.is_held:
            self._hold_late(holder, items)
        if depth > self.max_depth:
            self._refuse_depth()

    def _hold_late(self, holder: Made, items: Sequence[Any]) -> None:
        """Something is given more when others hold it already: they do not learn how deep it nests now."""
        self.is_late = True
        if holder.kind != RESULT:
            return
        if holder.flags & HASHES_PARTS:
            self.is_tangled = True
        if holder.items in _RECURSING:
            # A path from one of these to the next is as deep as what each of them was, when it was put in late.
            for item in items:
                if type(item) is Made and item.kind == RESULT and item.items in _RECURSING:
                    self._late_left -= item.depth
            if self._late_left < 0:
                self._refuse_depth()

    def _refuse_depth(self) -> None:
        raise LimitError(f"nests deeper than max_depth ({self.max_depth}) allows")

    def hash(self, items: Iterable[Any]) -> None:
        """Take the work of hashing keys off the budget."""
        for item in items:
            kind = type(item)
            if kind is Made:
                self.work_left -= item.work + self._key_work
                if self.is_tangled and item.flags & HASHES_PARTS:
                    raise LimitError("has a key that was given more when others held it: hashing it might not end")
            elif kind is int and item >= _WIDE:
                self.work_left -= self._key_work or width_of(item) // _WORK_BYTES
        if self.work_left < 0:
            raise LimitError("has keys so long, or that share so many parts, that hashing them would not end")

    def widen(self, width: int) -> None:
        """Expect keys to be compared with a Decimal: that takes the square of the bytes of the longest int."""
        self._key_work = max(self._key_work, width * width // 512)

    def copy(self, extent: int) -> None:
        """Take bytes that a call copies, or goes over, off the budget."""
        self.copy_left -= extent
        if self.copy_left < 0:
            raise LimitError("copies long text or bytes so often that what comes out would be many times its size")

    def pass_on(self, arguments: Made, result: Made) -> None:
        """Count what a call makes of a tuple of arguments."""
        if arguments.extent < 0:
            items = arguments.items
            arguments.extent = sum(map(_extent_of, items)) + _POINTER_BYTES * len(items)
        result.extent = arguments.extent
        self.copy(result.extent)
        result.work += arguments.work + result.extent // _WORK_BYTES
        result.depth += arguments.depth - 1
        result.shown = arguments.shown
        result.flags |= arguments.flags
