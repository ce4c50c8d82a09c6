"""Remembers how harmless pickles go on: a list of any length need not be gone over if its items look like known ones.

A template (`hutch.codecs.templates`) is a pickle without its contents, as long as it is. Here the pieces that it
consists of are put one after the other: behind each is a *state*, which tells what piece may come next, and what state
comes then. Two places of one pickle, or of two, are the same state if a walk knows the same of both
(`hutch.codecs.tracing` tells that). So a list is a loop, and a pickle that follows known pieces from state to state, up
to its end, is one that a walk lets pass: it would do at each piece what it did when that was remembered.

What is remembered has passed a walk, and the checks that a template has to pass. What a walk counts is bounded beside:
each key takes so little work that its bytes allow for it, and what calls copy is added up.
"""

from __future__ import annotations

from collections import Counter
from itertools import repeat
from threading import Lock

from hutch.codecs.accounts import PARSED_PER_BYTE, WORK_BYTES, most_copied, most_work
from hutch.codecs.loops import Opening, State, find_rounds
from hutch.codecs.templates import Learner, may_be_left_out, next_piece, opcodes_of, short_piece
from hutch.codecs.tracing import Unusual, Values, trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hutch.codecs.opcodes import Judge, Walk

__all__ = ["MAX_SHAPE_BYTES", "Shapes"]

MAX_SHAPE_BYTES = 1 << 17  # of a pickle that is remembered: that takes a while
_MOST_BEGINNINGS = 8
_MOST_STATES = _MOST_VALUES = 1 << 12
_MOST_OPENINGS = 4
_LEAST_REPEATED, _FEW_PIECES = 4, 128  # each piece is there so often, on the average, if there are many
_SPELLED_OUT = 10  # bytes that calls copy, at most, of each byte that is spelled out: see `hutch.codecs.allowed`
_BYTES_PER_PART = 16  # as there
_ZONE_BYTES = 1 << 14  # and of each call of a method, which finds a time zone
_DEPTH_OF_FLAT = 8  # as in `glance`: a note is as deep as this, where the object is deeper than it
_DEPTHS_PER_NOTE = 4
# What may take too long together: to compare numbers; to copy what gives more than it holds.
_DANGERS = (
    frozenset(["decimals", "long ints", "keys"]),
    frozenset(["vast", "copies"]),
    frozenset(["slow keys", "numbers in keys"]),
)
_FRAME = 0x95
_END = State()  # nothing comes next


class _Beginning:
    """The first state, of all pickles that fetch as much from the memo.

    Attributes:
        states: by what a walk knows there.
        copied: contents that a call copies, at most, of those that are spelled out elsewhere.
        times: how many bytes it takes, of those that it may copy, to copy one of these.
        parts: parts that a call copies, at most, likewise.
        hashes: 2 where keys are made by calls of contents, which must not be long then.
        compared: texts, at most, with which a key is compared that is spelled out elsewhere.
        openings: ways from there, to where it is come to again and again.
        methods: how many methods are called, by piece, where there are any.
        dangers: of `_DANGERS`, what some pickle has.
    """

    def __init__(self) -> None:
        self.first = State()
        self.states: dict[Any, State] = {}
        self.copied = self.parts = self.compared = 0
        self.times = 1
        self.methods: dict[bytes, int] = {}
        self.hashes = 0
        self.openings: tuple[Opening, ...] = ()
        self.dangers: frozenset[str] = frozenset()

    def leads_through(self, data: bytes) -> bool:
        """Whether the pieces of a pickle are known one after the other. O(len(data))."""
        methods = self.methods
        called = at = opcode = 0
        longest = 255
        state = self.first
        for opening in self.openings:
            if found := opening.match(data):
                at, state, opcode = found.end(), opening.state, opening.pieces[-1][-1]
                called = sum(map(methods.get, opening.pieces, repeat(0))) if methods else 0
                at = state.run(data, at).end()  # type: ignore[misc]
                break
        while state is not _END:
            if opcode in b"XB":
                found = next_piece(data, at, opcode)
                longest = max(longest, found.start(1) - at)
            else:
                found = short_piece(data, at)
            piece = found[1]
            at = found.end()
            following = state.get(piece)
            while following is None:
                if not piece or piece[-1] != _FRAME:
                    return False
                found = short_piece(data, at)  # another frame may begin anywhere
                piece, at = piece[:-1] + found[1], found.end()
                following = state.get(piece)
            state, opcode = following, piece[-1]
            if piece in methods:
                called += methods[piece]
            if state.run is not None:
                at = state.run(data, at).end()
        return at == len(data) and self._is_cheap(data, called, longest)

    def _is_cheap(self, data: bytes, called: int, longest: int) -> bool:
        """Whether calls copy no more than a walk would let them.

        Args:
            data: a pickle.
            called: how many methods are called.
            longest: bytes of its longest content.
        """
        if longest > 255 and (self.hashes > 1 or not self._compares_quickly(data, longest)):
            return False
        spare = most_copied(len(data)) - _SPELLED_OUT * len(data) - called * _ZONE_BYTES
        if self.parts or self.copied:
            calls = data.count(b"R") + data.count(b"\x81")
            cost = self.copied * longest * self.times + self.parts * _BYTES_PER_PART
            if calls * cost > spare and longest == 255:
                _, contents = _split(data)
                cost += self.copied * self.times * (max([end - start for start, end in contents]) - longest)
            spare -= calls * cost
        return spare >= 0

    def _compares_quickly(self, data: bytes, longest: int) -> bool:
        """Whether keys that are fetched take no longer to compare than a walk would let them."""
        if not self.compared:
            return True
        compared = self.compared * (data.count(b"h") + data.count(b"j"))
        if compared * (longest // WORK_BYTES) <= most_work(len(data)):
            return True
        lengths = Counter([end - start for start, end in _split(data)[1]])
        twins = max([length for length, count in lengths.items() if count > 1], default=0)  # others equal none
        return compared * (twins // WORK_BYTES) <= most_work(len(data))


class Shapes(Learner):
    """The shapes of one codec. Threads may share it.

    Args:
        max_depth: how deep a value may nest.
        is_calm, weigh: as for `trace`.
    """

    unmatched = 16

    def __init__(
        self, max_depth: int, is_calm: Callable[[str, str], bool], weigh: Callable[[str, str], tuple[int, int]]
    ) -> None:
        super().__init__()
        self._is_calm = is_calm
        self._weigh = weigh
        self._beginnings: dict[int, _Beginning] = {}
        self._most_depth = (max_depth - _DEPTH_OF_FLAT) // _DEPTHS_PER_NOTE
        self._values = Values(self._most_depth)
        self._last: _Beginning | None = None
        self._learning = Lock()

    def __contains__(self, data: bytes) -> bool:
        """Whether a walk would let a pickle pass, by what it has let pass. O(len(data))."""
        last = self._last
        if last is None:
            return False
        if last.leads_through(data):
            self.hits += 1
            return True
        for beginning in tuple(self._beginnings.values()):
            if beginning is not last and beginning.leads_through(data):
                self._last = beginning
                self.hits += 1
                return True
        return False

    def learn(self, data: bytes, walk: Walk, judge: Judge) -> bool:
        """Remember how a pickle goes on that `walk` has passed, if that is safe. O(len(data)), but slow."""
        if len(data) > MAX_SHAPE_BYTES or walk.is_late or not self.are_of_use():
            return False
        if not self._learning.acquire(blocking=False):  # another thread learns
            return False
        try:
            self._made += 1
            states = sum(len(beginning.states) for beginning in self._beginnings.values())
            if states > _MOST_STATES or len(self._values) > _MOST_VALUES:
                self._beginnings, self._last = {}, None
                self._values = Values(self._most_depth)
            return self._learn(data, walk)
        except Unusual:
            return False
        finally:
            self._learning.release()

    def _learn(self, data: bytes, walk: Walk) -> bool:
        pieces, contents = _split(data)
        if len(set(pieces)) * _LEAST_REPEATED > max(len(pieces), _FEW_PIECES):
            return False
        ops = opcodes_of(data)
        if not may_be_left_out(contents, data, ops, walk):
            return False
        # Where a piece ends is the opcode of the next content; the last one ends with STOP.
        places = [start - 1 for start, _ in contents]
        if len(places) + 1 != len(pieces):
            return False
        _join_frames(pieces, places)
        told = trace(data, ops, set(places), {start for start, _ in contents}, self._values, self._is_calm, self._weigh)
        remembered: int = next(told)
        beginning = self._beginnings.get(remembered) or _Beginning()
        dangers = set(beginning.dangers)
        has_longs = walk.has_numbers or any(op == 0x8A for op, _, _ in ops)
        found = {
            "decimals": walk.has_decimals,
            "long ints": has_longs,
            "vast": walk.has_vast,
            "copies": walk.has_copies,
            "slow keys": walk.has_slow_keys,
            "numbers in keys": walk.has_number_keys,
        }
        dangers.update(danger for danger, is_there in found.items() if is_there)
        states = dict(beginning.states)
        copied, parts, methods = beginning.copied, beginning.parts, dict(beginning.methods)
        hashes, compared = beginning.hashes, beginning.compared
        times = 1 + PARSED_PER_BYTE if walk.has_parsed else beginning.times
        steps: dict[tuple[int, bytes], State] = {}
        path: list[tuple[State, bytes]] = []
        state = beginning.first
        for piece, (facts, calls) in zip(pieces, told, strict=True):
            following = _END if facts is None else states.setdefault(facts, State())
            if steps.setdefault((id(state), piece), state.get(piece, following)) is not following:
                return False  # what comes later decides what is forgotten there
            path.append((state, piece))
            copied, parts = max(copied, calls[0]), max(parts, calls[1])
            if calls[2]:
                methods[piece] = max(calls[2], methods.get(piece, 0))
            if calls[3]:
                dangers.add("keys")
            hashes, compared = max(hashes, calls[3]), max(compared, calls[4])
            state = following
        if any(map(dangers.issuperset, _DANGERS)):
            return False
        # Nobody may follow what is new before all is known to be safe.
        beginning.copied, beginning.parts, beginning.methods, beginning.states = copied, parts, methods, states
        beginning.dangers, beginning.hashes = frozenset(dangers), hashes
        beginning.compared, beginning.times = compared, times
        for (state, piece), (following, _) in zip(path, [*path[1:], (_END, b"")], strict=True):
            state[piece] = following
        opening = find_rounds(path, set(methods))
        if opening is not None and all(opening.pieces != other.pieces for other in beginning.openings):
            beginning.openings = (opening, *beginning.openings[: _MOST_OPENINGS - 1])
        if remembered not in self._beginnings and len(self._beginnings) >= _MOST_BEGINNINGS:
            self._beginnings.pop(next(iter(self._beginnings)))
        self._beginnings[remembered] = self._last = beginning
        return True


def _split(data: bytes) -> tuple[list[bytes], list[tuple[int, int]]]:
    """The pieces of a pickle, and where the contents are between them."""
    pieces: list[bytes] = []
    contents: list[tuple[int, int]] = []
    at = opcode = 0
    while at < len(data):
        found = next_piece(data, at, opcode)
        if pieces:
            contents.append((at, found.start(1)))
        pieces.append(found[1])
        at = found.end()
        opcode = data[at - 1]
    return pieces, contents


def _join_frames(pieces: list[bytes], places: list[int]) -> None:
    """Join pieces between which nothing comes but a frame that begins: it may begin anywhere.

    Args:
        pieces: of a pickle.
        places: where each ends, but the last one.
    """
    for number in range(len(places) - 1, 0, -1):  # but the first frame, which is where it is in any pickle
        if pieces[number][-1] == _FRAME:
            pieces[number : number + 2] = [pieces[number][:-1] + pieces[number + 1]]
            del places[number]
