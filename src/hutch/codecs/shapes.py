"""Remembers how harmless pickles go on: a list of any length need not be gone over if its items look like known ones.

A template (`hutch.codecs.templates`) is a pickle without its contents, as long as it is. Here the pieces that it
consists of are put one after the other: behind each is a *state*, which tells what piece may come next, and what state
comes then. Two places of one pickle, or of two, are the same state if a walk knows the same of both
(`hutch.codecs.tracing` tells that). So a list is a loop, and a pickle that follows known pieces from state to state, up
to its end, is one that a walk lets pass: it would do at each piece what it did when that was remembered.

What is remembered has passed a walk, and the checks that a template has to pass. What a walk counts is bounded beside:
each key takes so little work that its bytes allow for it, and what calls copy is added up where it could be too much.
"""

from __future__ import annotations

from hutch.codecs.notes import most_copied
from hutch.codecs.templates import contents_of, kept, opcodes_of
from hutch.codecs.tracing import Unusual, Values, trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    from hutch.codecs.opcodes import Walk

    State: TypeAlias = dict[bytes, "State"]

__all__ = ["MAX_SHAPE_BYTES", "Shapes"]

MAX_SHAPE_BYTES = 1 << 16  # picklers begin another frame then, wherever they are
_MOST_BEGINNINGS = 8
_MOST_STATES = _MOST_VALUES = 1 << 12
_UNMATCHED = 16  # so many are learned before any has been of use; then as many as have been
_USUAL_COST = 1 << 10  # bytes
_SPELLED_OUT = 10  # bytes that calls copy, at most, of each byte that is spelled out: see `hutch.codecs.allowed`
_DEPTH_OF_FLAT = 8  # as in `glance`: a note is as deep as this, where the object is deeper than it
_DEPTHS_PER_NOTE = 4


_END: State = {}  # nothing comes next


class _Beginning:
    """The first state, of all pickles that fetch as much from the memo.

    Attributes:
        states: by what a walk knows there.
        usual_cost: the most bytes that the calls of a piece copy, but for unusual ones.
        costs: what those copy, by piece.
        has_decimals, has_longs: some pickle has these: together they take too long to compare.
    """

    def __init__(self) -> None:
        self.first: State = {}
        self.states: dict[Any, State] = {}
        self.usual_cost = 0
        self.costs: dict[bytes, int] = {}
        self.has_decimals = self.has_longs = False

    def leads_through(self, pieces: list[bytes], size: int) -> bool:
        """Whether such pieces, of a pickle of that size, are known one after the other."""
        state = self.first
        try:
            for piece in pieces:
                state = state[piece]
        except KeyError:
            return False
        if state is not _END:
            return False
        cost = self.usual_cost * len(pieces) + sum([cost * pieces.count(piece) for piece, cost in self.costs.items()])
        return cost <= most_copied(size) - _SPELLED_OUT * size


class Shapes:
    """The shapes of one codec. Threads may share it."""

    def __init__(self, max_depth: int) -> None:
        self._beginnings: dict[int, _Beginning] = {}
        self._most_depth = (max_depth - _DEPTH_OF_FLAT) // _DEPTHS_PER_NOTE
        self._values = Values(self._most_depth)
        self._last: _Beginning | None = None
        self.hits = self._made = 0

    def __contains__(self, data: bytes) -> bool:
        """Whether a walk would let a pickle pass, by what it has let pass. O(len(data))."""
        if not self._beginnings:
            return False
        pieces = kept(data)
        size = len(data)
        last = self._last
        if last is not None and last.leads_through(pieces, size):
            self.hits += 1
            return True
        for beginning in tuple(self._beginnings.values()):
            if beginning is not last and beginning.leads_through(pieces, size):
                self._last = beginning
                self.hits += 1
                return True
        return False

    def are_of_use(self) -> bool:
        """Whether they have been, or nobody can know yet."""
        return self._made <= self.hits + _UNMATCHED

    def learn(self, data: bytes, walk: Walk) -> bool:
        """Remember how a pickle goes on that `walk` has passed, if that is safe. O(len(data)), but slow."""
        if len(data) >= MAX_SHAPE_BYTES or walk.is_late or not self.are_of_use():
            return False
        self._made += 1
        if sum(len(beginning.states) for beginning in self._beginnings.values()) > _MOST_STATES or (
            len(self._values) > _MOST_VALUES
        ):
            self._beginnings.clear()
            self._values = Values(self._most_depth)
        try:
            return self._learn(data, walk)
        except Unusual:
            return False

    def _learn(self, data: bytes, walk: Walk) -> bool:
        ops = opcodes_of(data)
        contents = contents_of(data, ops, walk)
        if contents is None:
            return False
        pieces = kept(data)
        # Where a piece ends is the opcode of the next content; the last one ends with STOP.
        places = [start - 1 for start, _ in contents]
        if len(places) + 1 != len(pieces):
            return False
        told_of = trace(data, ops, set(places), {start for start, _ in contents}, self._values)
        remembered: int = next(told_of)
        told = list(told_of)
        beginning = self._beginnings.get(remembered) or _Beginning()
        has_decimals = beginning.has_decimals or ("decimal", "Decimal") in walk.globals
        has_longs = beginning.has_longs or any(op == 0x8A for op, _, _ in ops)
        if has_decimals and has_longs:
            return False
        # What is new, by the states that it leads away from; nothing is put into these before all is known to be safe.
        found: dict[int, tuple[State, dict[bytes, tuple[State, int]]]] = {}
        states = dict(beginning.states)
        state = beginning.first
        for piece, (facts, cost) in zip(pieces, told, strict=True):
            following: State = _END if facts is None else states.setdefault(facts, {})
            _, steps = found.setdefault(id(state), (state, {}))
            known = steps[piece][0] if piece in steps else state.get(piece, following)
            if known is not following:
                return False  # what comes later decides what is forgotten there
            steps[piece] = following, max(cost, steps.get(piece, (state, 0))[1])
            state = following
        if remembered not in self._beginnings:
            if len(self._beginnings) >= _MOST_BEGINNINGS:
                self._beginnings.pop(next(iter(self._beginnings)))
            self._beginnings[remembered] = beginning
        beginning.states = states
        beginning.has_decimals, beginning.has_longs = has_decimals, has_longs
        for state, steps in found.values():
            for piece, (following, cost) in steps.items():
                if cost <= _USUAL_COST:
                    beginning.usual_cost = max(beginning.usual_cost, cost)
                else:
                    beginning.costs[piece] = max(cost, beginning.costs.get(piece, 0))
                state[piece] = following
        self._last = beginning
        return True
