"""Tells most harmless pickles at a glance, in a fraction of the time that reading them takes.

A walk over the opcodes (`hutch.codecs.opcodes`) knows all about a pickle, at a price. Regular expressions know enough
of most: they go over its opcodes, each with the whole of its argument and none tried twice, as long as these are of
kinds that can do no harm together. Whatever they do not know is left to the walk.

Four kinds of pickle pass:

- *no tuples*: nothing that can be hashed holds anything, so hashing a key takes no time;
- *no hashing*: no opcode puts anything into a dict or a set;
- *flat tuples*: of text, bytes, numbers and constants that stand right before the opcode. Where something is used twice
  these have three parts at most, so to hash one again takes no time; nor does it nest, as nothing fetched is in one;
- *no sharing*: nothing is used twice, so hashing takes no longer than making, if nothing nests deep.

In all but the last, classes may be named and called, if they are of those that can be called with anything. What BUILD
finds on top is never a tuple there: with one it could set attributes of a class. It finds no member of an enum either:
those are for the two kinds without BUILD.
"""

from __future__ import annotations

import gc
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = ["Names", "is_deep", "is_simple", "look"]

_LONG = {0x58: 4, 0x42: 4, 0x8D: 8, 0x8E: 8}  # BINUNICODE, BINBYTES, BINUNICODE8, BINBYTES8: size of the size
_NESTING = b"\x81\x85\x86\x87\x90\x91Rabestu"  # the opcodes that put one thing into another


def _sized(zeros: bytes) -> bytes:
    """A size in one byte, perhaps with zeros behind it, and as many bytes of anything."""
    return b"(?:" + b"|".join(re.escape(bytes((n,))) + zeros + b".{%d}" % n for n in range(256)) + b")"


def _run(bare: bytes, *tokens: bytes) -> Any:
    """Matches as many opcodes as there are of these kinds, from where it is told to.

    Args:
        bare: those that have no argument.
        tokens: others.
    """
    common = [
        rb"\x8c" + _sized(b""),  # SHORT_BINUNICODE
        *tokens,
        rb"M..(?:M..)*+",  # BININT2, BININT, BINFLOAT: many numbers in a row are quicker than many times one
        rb"J....(?:J....)*+",
        rb"G........(?:G........)*+",
        rb"X" + _sized(rb"\x00\x00\x00") + rb"(?:q.)?+",
        rb"[C\x8a]" + _sized(b""),  # SHORT_BINBYTES, LONG1
        rb"\x95.{8}",  # FRAME
        rb"B" + _sized(rb"\x00\x00\x00"),
        rb"r..\x00\x00",  # LONG_BINPUT: the memo is as long as the index is high
    ]
    run = rb"(?:\x80[\x00-\x05])?+" + bare + b"(?:(?:" + b"|".join(common) + b")" + bare + b")*+"
    return re.compile(run, re.DOTALL).match


# In each: MEMOIZE NONE NEWTRUE NEWFALSE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET MARK APPEND, BININT1 BINPUT.
_BARE = (
    rb"[\x94N\x88\x89)\]}\x8f(asue\x90R\x81b]*+",  # SETITEM SETITEMS APPENDS ADDITEMS, REDUCE NEWOBJ BUILD
    rb"[\x94N\x88\x89)\]}\x8f(at\x85-\x87R\x81]*+",  # TUPLE TUPLE1 TUPLE2 TUPLE3, REDUCE NEWOBJ
    rb"[\x94N\x88\x89)\]}\x8f(asue\x90\x91t\x85-\x87]*+",  # as the first without calls, FROZENSET, tuples
)
_SHORT, _FETCH = (rb"[Kq].",), (rb"[Kqh].", rb"j.{4}")  # BINGET LONG_BINGET
_BUILT = rb"e"  # BUILD may not follow: an empty APPENDS leaves on top whatever was there, a tuple of classes, say


def _flat(*tokens: bytes) -> Any:
    """Matches as many opcodes as there are, with each tuple right behind what it is made of.

    Args:
        tokens: those that are not the same in a longer run.
    """
    memo = rb"(?:\x94|q.|r..\x00\x00)?+"
    atom = b"|".join(
        (
            rb"\x8c" + _sized(b"") + memo,
            rb"K.|M..|[N\x88\x89]|J....|G........",
            rb"X" + _sized(rb"\x00\x00\x00") + memo,
            rb"C" + _sized(b"") + memo,
            rb"\x8a" + _sized(b""),
            rb"B" + _sized(rb"\x00\x00\x00") + memo,
        )
    )
    atom = rb"(?:" + atom + rb")(?:\x95.{8})?+"  # a FRAME may begin anywhere
    # One atom or more, and a tuple of the last ones if there are as many as it takes.
    one, two = rb"\x85" + memo, rb"[\x85\x86]" + memo
    more = rb"(?:" + atom + rb")++(?:[\x85-\x87]" + memo + rb")?+"
    unit = atom + rb"(?:" + atom + rb"(?:" + two + rb"|" + more + rb")?+|" + one + rb")?+"
    bare = rb"[\x94)\]}\x8fasue\x90\x91R\x81]*+"
    common = b"|".join((*(token.replace(b"ATOM", atom).replace(b"MEMO", memo) for token in tokens), unit,
                        rb"q.|r..\x00\x00", rb"\x95.{8}"))  # fmt: skip
    return re.compile(rb"(?:\x80[\x00-\x05])?+" + bare + rb"(?:(?:" + common + rb")" + bare + rb")*+", re.DOTALL).match


# Of each kind: a run in which nothing is used twice, and a longer one.
_RUNS = (
    (_run(_BARE[0], *_SHORT), _run(_BARE[0], *_FETCH)),  # no tuples
    (_run(_BARE[1], *_SHORT, _BUILT), _run(_BARE[1], *_FETCH, _BUILT)),  # no hashing
    (_flat(rb"\((?:(?:ATOM)*+tMEMO)?+"), _flat(rb"\(|h.|j.{4}")),  # flat tuples
    (_run(_BARE[2], *_SHORT),) * 2,  # no sharing
)
_NO_TUPLES = _RUNS[0][1]
_FLAT, _NO_SHARING = 2, 3


class Names:
    """Classes that a pickle may name at a glance, as it writes them."""

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        texts = [[text.encode("utf-8", "surrogatepass") for text in pair] for pair in names]
        # What stands before STACK_GLOBAL where a class is named for the first time; and what stands behind GLOBAL.
        self.suffixes = tuple(
            b"".join(b"\x8c" + bytes((len(text) & 0xFF,)) + text + b"\x94" for text in pair) for pair in texts
        )
        self.lines = frozenset(b"\n".join((*pair, b"")) for pair in texts if not any(b"\n" in text for text in pair))

    def behind(self, data: bytes, at: int) -> int:
        """Where the lines end that stand behind GLOBAL, if they are of one of these; else 0."""
        end = data.find(b"\n", data.find(b"\n", at) + 1) + 1
        return end if data[at:end] in self.lines else 0


def look(data: bytes, names: tuple[Names, ...], max_depth: int) -> tuple[bool, bool, bool] | None:
    """Whether a pickle names a class, whether it may nest deeper than `max_depth`, and use things twice. O(len(data)).

    Args:
        names: for each kind, classes: those that may be called with anything, and hashed, and such as may be called
            with nothing (there is no other tuple); those that may be called, but perhaps not hashed; the first ones
            again, and enums that have members.

    Returns:
        None where only a walk can tell whether it does harm.
    """
    size = len(data)
    for number, (alone, sharing) in enumerate(_RUNS):
        run = alone
        at = 0
        opcodes = size  # with their arguments, but without long texts
        named = False
        while at < size:
            at = run(data, at).end()
            if at == size:
                break
            op = data[at]
            if op == 0x2E:  # STOP
                if at + 1 != size:
                    return None
                deep = opcodes > max_depth and size - len(data.translate(None, _NESTING)) >= max_depth
                if deep and number == _NO_SHARING:
                    return None  # to hash a tuple in a tuple in a tuple… takes stack, of which there may be too little
                return named, deep, run is sharing
            if op == 0x93 and number != _NO_SHARING and data.endswith(names[number].suffixes, 0, at):  # STACK_GLOBAL
                named = True
                at += 1
            elif op == 0x63 and number != _NO_SHARING and (behind := names[number].behind(data, at + 1)):  # GLOBAL
                named = True
                at = behind
            elif op in _LONG:
                begin = at + 1 + _LONG[op]
                long = int.from_bytes(data[at + 1 : begin], "little")
                at = begin + long
                opcodes -= long
            elif run is not sharing and op in b"hj":
                run = sharing
                if number == _FLAT:  # from the beginning: a long tuple that came before may be what is fetched
                    at, opcodes, named = 0, size, False
            else:
                break
    return None


def is_simple(data: bytes) -> bool:
    """Whether `look` would find that it names no class, at the first glance. O(len(data))."""
    last = len(data) - 1
    return _NO_TUPLES(data).end() == last and data[last] == 0x2E


_LEAVES = frozenset((int, str, float, bool, bytes, bytearray, complex, type(None), type, range))
_CODE = (type, type(gc), type(_sized), type(len))  # classes, modules, functions: what these hold is no data
_CONTAINERS = frozenset((list, tuple, set, frozenset))
_LEVELS = 64
_HAVE_GC = 1 << 14  # of the flags of a class
_PLAIN = _CONTAINERS | {dict}


def is_deep(value: Any, max_depth: int, most: int = 0, *, is_tree: bool = False) -> bool:
    """Whether an object nests deeper than that, itself included; cycles are followed once. O(its parts).

    Args:
        most: a quick look may go over as many parts first: the bytes of its pickle are more, if it shares little.
        is_tree: it is plain data that shares nothing; a quicker look will do.
    """
    if is_tree:
        level = [value]
        for _ in range(max_depth):
            level = gc.get_referents(*level)
            if not level:
                return False
    elif _is_flat(value, min(max_depth, _LEVELS), most):
        return False
    depths: dict[int, int] = {}  # by id, of what has been gone over; 0: on the path, where a way back goes no deeper
    path = [(value, iter(_parts(value)), [0])]
    while path:
        if len(path) > max_depth:
            return True
        owner, parts, below = path[-1]
        for part in parts:
            known = depths.get(id(part))
            if known is None:
                held = _parts(part)
                if held:
                    depths[id(part)] = 0
                    path.append((part, iter(held), [0]))
                    break
                known = 1
            if known > below[0]:
                below[0] = known
        else:
            path.pop()
            depth = depths[id(owner)] = below[0] + 1
            if len(path) + depth > max_depth:
                return True
            if path and depth > path[-1][2][0]:
                path[-1][2][0] = depth
    return False


def _is_flat(value: Any, levels: int, most: int) -> bool:
    """Whether it surely nests no deeper than that: plain containers and what holds nothing, gone over level by level.

    What is shared counts as often as it is reached, so cycles and much sharing run into a limit: then it is not sure.
    """
    if type(value) not in _PLAIN:
        return False
    level = [value]
    for _ in range(levels - 1):  # one less: what is no container may be one level more
        most -= sum(map(len, level))
        if most < 0:
            return False
        parts = gc.get_referents(*level)
        kinds = {*map(type, parts)}
        if any(kind.__flags__ & _HAVE_GC for kind in kinds - _PLAIN - _LEAVES):
            return False
        if not kinds & _PLAIN:
            return True
        level = parts if kinds <= _PLAIN else [part for part in parts if type(part) in _PLAIN]
    return False


def _parts(value: Any) -> Any:
    """What an object holds, if not only what holds nothing."""
    kind = type(value)
    if kind is dict:
        held = value.values() if _LEAVES.issuperset(map(type, value)) else [*value, *value.values()]
    elif kind in _CONTAINERS:
        held = value
    elif kind in _LEAVES:
        return ()
    else:
        held = gc.get_referents(value)
        if not _LEAVES.issuperset(map(type, held)):
            held = [part for part in held if not isinstance(part, _CODE)]
    return () if _LEAVES.issuperset(map(type, held)) else held
