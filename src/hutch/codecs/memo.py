"""Where things are in a pickle of protocol 4 or 5: for `hutch.codecs.glance`, which has gone over its opcodes.

All of this takes a pickle that consists of opcodes that a glance knows.
"""

from __future__ import annotations

from bisect import bisect_left

__all__ = ["LONG", "TEXTS", "Memo"]

LONG = {0x58: 4, 0x42: 4, 0x8D: 8, 0x8E: 8}  # BINUNICODE, BINBYTES, BINUNICODE8, BINBYTES8: size of the size

# How long the arguments of opcodes are, and how long the size before them is, for those that a glance knows.
_FIXED = {
    **dict.fromkeys(b"N\x88\x89)]}\x8f(asuetbR\x81\x85\x86\x87\x90\x91\x93", 0),
    0x4B: 1,
    0x68: 1,
    0x4D: 2,
    0x4A: 4,
    0x6A: 4,
    0x47: 8,
    0x95: 8,
    0x80: 1,
}
_SIZED = {0x8C: 1, 0x43: 1, 0x8A: 1, **LONG}
TEXTS = b"\x8cXC\x8a"  # SHORT_BINUNICODE, BINUNICODE, SHORT_BINBYTES, LONG1: what holds nothing
_ATOMS = b"\x8cC\x8aKMJGN\x88\x89"


class Memo:
    """What MEMOIZE has put into the memo, told when it is asked for; nothing else may have put something there."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.places: list[int] = []  # of each, where the opcode is that pushed it
        self.last = 0
        self._ops: list[int] = []  # where opcodes are, but those that fill the memo, or begin a frame
        self._calls: dict[int, int] = {}  # how many there are up to REDUCE

    def index(self, place: int) -> int:
        """The number of what the opcode at that place pushed; -1 where it is not in the memo."""
        places = self.places
        while (not places or places[-1] < place) and self.place(len(places)) >= 0:
            pass
        index = bisect_left(places, place)
        return index if index < len(places) and places[index] == place else -1

    def place(self, index: int) -> int:
        """Where the opcode is that pushed what has that number; -1 where there is none. O(what is before)."""
        places = self.places
        if index < len(places):
            return places[index]
        data, at, last = self.data, self.at, self.last
        while len(places) <= index and at < len(data):
            op = data[at]
            if op == 0x94:  # MEMOIZE
                places.append(last)
                at += 1
                continue
            last = at
            if op != 0x95:
                self._ops.append(at)
                if op == 0x52:
                    self._calls[at] = len(self._ops)
            if (fixed := _FIXED.get(op)) is not None:
                at += 1 + fixed
            elif (width := _SIZED.get(op)) is not None:
                begin = at + 1 + width
                at = begin + int.from_bytes(data[at + 1 : begin], "little")
            else:
                break
        self.at, self.last = at, last
        return places[index] if index < len(places) else -1

    def text(self, place: int) -> bytes:
        """The short text that is pushed there; b"" if it is something else."""
        if place < 0 or self.data[place] != 0x8C:
            return b""
        return self.data[place + 2 : place + 2 + self.data[place + 1]]

    def is_flat(self, index: int) -> bool:
        """Whether what has that number is text, bytes, or what a call of one atom has returned."""
        place = self.place(index)
        if place < 0:
            return False
        op = self.data[place]
        if op != 0x52:
            return op in TEXTS
        last = self._calls[place]  # REDUCE, behind a class, an atom, and TUPLE1
        cls, atom, one = [self.data[place] for place in self._ops[last - 4 : last - 1]] if last > 3 else b"..."
        return cls in b"\x93hj" and atom in _ATOMS and one == 0x85
