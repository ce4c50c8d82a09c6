"""The states of `hutch.codecs.shapes`, and regular expressions for what comes round to one of them again and again.

A list of a thousand items is a thousand times the same pieces. To look up each takes longer than to read the items; one
expression for all of them does not.
"""

from __future__ import annotations

import re

from hutch.codecs.forms import sized, telling_texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["LOOP_BYTES", "Opening", "State", "find_rounds"]

_MOST_ROUNDS = 8  # of one state; what comes round in other ways is looked up
_MOST_PIECES = 32  # of one round
_MOST_NESTED = 2
_MOST_BYTES = 1 << 16  # of an expression: to compile it takes time
LOOP_BYTES = 64  # contents of more bytes are looked up, too

_WIDE = rb"\x00\x00\x00"


def _no_name(zeros: bytes) -> bytes:
    """Not before text that says what is to be done, which is no content: see `templates`."""
    return rb"(?!." + zeros + b"__|" + telling_texts(zeros) + b")"


_NO_NAMES = {0x8C: _no_name(b""), 0x58: _no_name(_WIDE)}
_CONTENTS = {
    **dict.fromkeys(b"\x8cC\x8a", sized(b"", LOOP_BYTES)),
    **dict.fromkeys(b"XB", sized(_WIDE, LOOP_BYTES)),
    0x4B: rb".",
    0x4D: rb"..",
    0x4A: rb".{4}",
    **dict.fromkeys(b"G\x95", rb".{8}"),
}


class State(dict[bytes, "State"]):
    """What may come next, and what state comes then.

    Attributes:
        rounds: pieces that lead here again.
        run: matches as many of them as there are, from where the first content of one begins.
    """

    __slots__ = ("rounds", "run")

    def __init__(self) -> None:
        super().__init__()
        self.rounds: list[Sequence[bytes]] = []
        self.run: Callable[[bytes, int], Any] | None = None

    def add_round(self, pieces: Sequence[bytes]) -> bool:
        """Whether it is a new one."""
        if len(pieces) > _MOST_PIECES or len(self.rounds) >= _MOST_ROUNDS or pieces in self.rounds:
            return False
        self.rounds.append(pieces)
        return True

    def compile(self) -> None:
        """Make `run` of the rounds that there are."""
        pattern = self._pattern(_MOST_NESTED)
        if len(pattern) <= _MOST_BYTES:
            self.run = re.compile(pattern, re.DOTALL).match

    def _pattern(self, nested: int) -> bytes:
        rounds = []
        for pieces in self.rounds:
            parts = []
            state, opcode = self, pieces[-1][-1]
            for piece in pieces:
                parts.append(_step(opcode, piece))
                state, opcode = state[piece], piece[-1]
                if state.rounds and state is not self and nested:
                    parts.append(state._pattern(nested - 1))
            rounds.append(b"".join(parts))
        return b"(?:" + b"|".join(rounds) + b")*+"


def _step(opcode: int, piece: bytes) -> bytes:
    """An expression for the content of an opcode and the piece behind it, which ends with another one."""
    return _CONTENTS[opcode] + re.escape(piece) + _NO_NAMES.get(piece[-1], b"")


class Opening:
    """The way from the first state to one that is come to again and again.

    Attributes:
        match: matches it, in a pickle.
        state: that one.
        pieces: by which it leads there.
    """

    def __init__(self, path: Sequence[tuple[State, bytes]], state: State) -> None:
        self.pieces = [piece for _, piece in path]
        self.state = state
        steps = [re.escape(self.pieces[0]), *map(_step, [piece[-1] for piece in self.pieces], self.pieces[1:])]
        pattern = steps[0] + _NO_NAMES.get(self.pieces[0][-1], b"") + b"".join(steps[1:])
        self.match: Callable[[bytes], Any] = re.compile(pattern, re.DOTALL).match


def find_rounds(path: Sequence[tuple[State, bytes]], unusual: set[bytes]) -> Opening | None:
    """Find what comes round, on a path from state to state. And how it begins, if that is short.

    Args:
        path: states, and pieces that lead to the next ones.
        unusual: pieces that have to be looked up each time.
    """
    places: dict[int, int] = {}  # of the states on the way, without what has come round
    way: list[tuple[State, bytes]] = []
    changed: dict[int, State] = {}
    for state, piece in path:
        place = places.get(id(state))
        if place is not None:
            pieces = tuple([piece for _, piece in way[place:]])
            if unusual.isdisjoint(pieces) and state.add_round(pieces):
                changed.update((id(other), other) for other, _ in way if other.rounds)
            for other, _ in way[place:]:
                places.pop(id(other), None)
            del way[place:]
        places[id(state)] = len(way)
        way.append((state, piece))
    for state in changed.values():
        state.compile()
    for place, (state, _) in enumerate(path[:_MOST_PIECES]):
        if state.run is not None and place:
            return Opening(path[:place], state)
    return None
