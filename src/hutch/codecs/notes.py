"""Notes in place of the objects that a pickle describes: how deep they nest, how long they are, what they share.

`hutch.codecs.opcodes` goes over a pickle and puts these on its stack. `hutch.codecs.accounts` adds up what they take.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BLOB", "POINTER_BYTES", "UNLIMITED", "WIDE", "Made", "copied_by_state", "extent_of", "measure", "width_of"]

# What a note is about.
LIST, TUPLE, DICT, SET, FROZENSET, BYTEARRAY, GLOBAL, RESULT, PERSISTENT, BUFFER, OPAQUE = range(11)

# What is true of what a note is about, or of something that it holds.
OPEN = 1  # more may be put into it
HASHES_PARTS = 2  # a call made it, and its hash may be that of its parts
LONG = 4  # an int, or a fraction, that is so long that it takes time to compare it with a Decimal
DECIMAL = 8
VAST = 16  # to iterate over it gives more than it holds, or is Python code
HOLDS_SLOW = 32  # it has a weight, or holds what has one
SORTS = 64  # to show it, Python code sorts what it holds
_CLOSED = (TUPLE, FROZENSET, GLOBAL)

# What is true of what a call has made, itself.
ATOMIC = 1  # its hash does not look at what it holds, or there is none
RECURSES = 2  # it is freed by recursion, without the interpreter's guard for containers in containers
REFERS = 4  # it holds what it was made of, not a copy
NUMBER = 8
LATE = 16  # it was given more when something else held it already
HAS_STATE = 32  # that has been set, and may be of names that hide methods
PYTHON = 64  # Python code hashes it, or tells how to compare it

BLOB = range  # stands for bytes, by where they are
UNLIMITED = 1 << 62
WIDE = 1 << 64  # an int beyond it takes time that counts; what stands for one is positive
POINTER_BYTES = 8


class Made:
    """A note about an object that an unpickler would make.

    Attributes:
        kind: LIST, TUPLE…; RESULT is what a call returns.
        depth: how deep it nests, itself included.
        size: how many things have been put into it.
        work: objects that a hash of it, or of all that it holds, visits: each as often as it is reached.
        items: of a TUPLE, its notes and atoms. Of a DICT, keys and values in turn, unless there are too many. Of a
            GLOBAL and a RESULT, module and name of what was named or called.
        arguments: of a RESULT, the notes and atoms that it was made of.
        held: notes of what has been put into it; None: there are none.
        is_held: something else holds it, and has counted what was in it by then.
        extent: bytes that whoever calls something with it copies, or, of a TUPLE, with what is in it; -1: not known.
        shown: bytes that a repr of it shows, at most: of text, bytes and ints, however deep in it they are, and some of
            each thing, as often as it is reached.
        flags: OPEN, HASHES_PARTS, LONG, DECIMAL, VAST, HOLDS_SLOW and SORTS, of itself or of what it holds.
        weight: what it takes, more than others, to hash it or to compare it, and the longer the longer it is; or 0.
        numbers: how many numbers it holds, as often as each is reached: floats count for several.
        own: ATOMIC, RECURSES, REFERS, NUMBER, LATE, HAS_STATE and PYTHON, of itself.
        recursing: how many in one another there are of those that recurse, as far as it is known; itself included.
        late: the most of them that it was given late.
    """

    __slots__ = (
        "arguments",
        "depth",
        "extent",
        "flags",
        "held",
        "is_held",
        "items",
        "kind",
        "late",
        "numbers",
        "own",
        "recursing",
        "shown",
        "size",
        "weight",
        "work",
    )

    def __init__(self, kind: int, items: Any = None) -> None:
        self.kind = kind
        self.depth = self.work = 1
        self.items = items
        self.arguments: list[Any] | None = None
        self.held: list[Made] | None = None
        self.is_held = False
        self.size = self.own = self.recursing = self.late = self.weight = self.numbers = 0
        self.extent = -1 if kind == TUPLE else 0
        self.shown = 0
        self.flags = 0 if kind in _CLOSED else OPEN


def width_of(item: Any) -> int:
    """Bytes of an int that is longer than most; 0 of anything else."""
    return item.bit_length() >> 3 if type(item) is int and item >= WIDE else 0


def _extent_of(item: Any) -> int:
    """Bytes of text, bytes, a long int, or what has been made of such."""
    kind = type(item)
    if kind is tuple:
        return item[1] - item[0]  # type: ignore[no-any-return]
    if kind is Made:
        return 0 if item.kind == TUPLE else item.extent
    return len(item) if kind in (str, BLOB) else width_of(item)


def extent_of(item: Any) -> int:
    """Bytes that it takes to copy an argument, or arguments that are given as a tuple and by their names."""
    if type(item) is Made:
        return measure(item) if item.kind == TUPLE else item.shown + POINTER_BYTES * item.size
    return _extent_of(item)


def copied_by_state(state: Any) -> int:
    """Bytes that it takes to set a state: that of slots may be behind that of others."""
    if type(state) is not Made:
        return 0
    size = state.size
    if state.kind == TUPLE and size == 2:
        size += sum([part.size for part in state.items if type(part) is Made])
    return POINTER_BYTES * size


def measure(arguments: Made) -> int:
    """Bytes that whoever is called with a tuple copies."""
    if arguments.extent < 0:
        items = arguments.items
        arguments.extent = sum(map(_extent_of, items)) + POINTER_BYTES * len(items)
    return arguments.extent
