r"""Remembers what harmless pickles look like: the next one that looks the same need not be gone over.

Some pickles are told by a walk only (`hutch.codecs.opcodes`), which takes many times as long as unpickling. But the
values of one shelf are of few shapes. A *template* is a pickle without the contents of what no verdict depends on: of
text, bytes, numbers and frames. What is left are the opcodes, the indices of the memo, and the names of classes; and of
each content that was dropped, its kind. One regular expression takes all of it out of a pickle.

Whoever writes the first pickle may write the second one, too. So a template is remembered only if

- the pickle has passed a walk;
- all that is dropped are the arguments of such opcodes, as the standard library's pickletools finds them: so both
  pickles have the same opcodes in the same order, whatever the contents are;
- the walk has looked into none of these contents. It sees their kinds, which the template has, and their sizes, which
  count where text and bytes are copied;
- two more pickles with that template pass a walk with the smallest limits that any has: one with the shortest contents,
  and one with the longest that there may be, 255 bytes;
- it is so short that nothing can nest too deep in it.

Where the regular expression does not know an opcode, it keeps all that follows: then only the same bytes once more look
the same. Where it does not know a content (a text that is too long, or does not end in the pickle), all that follows is
taken for it, and the last piece that is kept is empty, as that of no template is: every template ends with STOP.
"""

from __future__ import annotations

import re
from itertools import pairwise

from hutch.codecs.forms import sized, telling_texts
from hutch.codecs.opcodes import Walk
from hutch.errors import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hutch.codecs.opcodes import Judge

__all__ = [
    "MAX_TEMPLATE_BYTES",
    "Learner",
    "Templates",
    "kept",
    "may_be_left_out",
    "next_piece",
    "opcodes_of",
    "short_piece",
]

MAX_TEMPLATE_BYTES = 1000  # of a pickle that a template is made of
_MOST_TEMPLATES = 256
_HITS_PER_ONE = 32  # to learn one takes as long as a hundred reads
_LEAST_LIMIT = 1 << 20  # of work, and of bytes copied: see `accounts.most_copied`

# Opcodes whose argument is dropped: the content that is the shortest, and the one that is the longest, or greatest.
_SHORT, _LONG = b"\0", b"\xff" + b"z" * 255
_WIDE_SHORT, _WIDE_LONG = b"\0\0\0\0", b"\xff\0\0\0" + b"z" * 255
_CONTENTS = {
    0x8C: (_SHORT, _LONG),  # SHORT_BINUNICODE
    0x43: (_SHORT, _LONG),  # SHORT_BINBYTES
    0x8A: (_SHORT, _LONG),  # LONG1
    0x58: (_WIDE_SHORT, _WIDE_LONG),  # BINUNICODE
    0x42: (_WIDE_SHORT, _WIDE_LONG),  # BINBYTES
    0x4B: (b"\0", b"\xff"),  # BININT1
    0x4D: (b"\0\0", b"\xff\xff"),  # BININT2
    0x4A: (b"\0\0\0\x80", b"\xff\xff\xff\x7f"),  # BININT
    0x47: (bytes(8), b"\x7f\xf8" + bytes(6)),  # BINFLOAT
    0x95: (bytes(8), bytes(8)),  # FRAME
}
_WITH_CONTENT = rb"\x8cC\x8aXBKMJG\x95"
# What is kept: BINGET and what often follows it; opcodes without an argument; others of the memo, PROTO and GLOBAL with
# theirs; names where they are made; and text that says what is to be done, or sets an attribute that is not data.
_KEPT = rb"|".join(
    (
        rb"h.[\x94()\]}asueR\x81\x85-\x87\x90]*+",
        rb"[\x94N\x88\x89()\]}\x8fasuetbR\x81\x85-\x87\x90-\x93012dlo]++",
        rb"[q\x80].",
        rb"j....",
        rb"\x8c(?:" + telling_texts(b"") + rb"|.__\w*+|.[\w.]++\x94?(?:\x8c.[\w.]++\x94?)?+\x93)",
        rb"X(?:" + telling_texts(rb"\x00\x00\x00") + rb")",
        rb"X.\x00\x00\x00__\w*+",
        rb"c[^\n]*+\n[^\n]*+\n",
    )
)
#: Each match is a content, behind the opcode that ends the match before, and what is kept up to the next such opcode.
#: One begins where the other ended: whatever stands behind such an opcode, the last of these contents is there.
_REST = rb"((?:" + _KEPT + rb")*+(?:[" + _WITH_CONTENT + rb"]|.*+))"
_pieces = re.compile(
    rb"(?:(?<=[\x8cC\x8a])"
    + sized(b"")
    + rb"|(?<=K).|\A|(?<=M)..|(?<=J).{4}|(?<=[G\x95]).{8}|(?<=[XB])"
    + sized(rb"\x00\x00\x00")
    + rb"|(?<=["
    + _WITH_CONTENT
    + rb"]).*+)"
    + _REST,
    re.DOTALL,
)
#: The same as `next_piece`, where the content is short.
short_piece: Callable[[bytes, int], Any] = _pieces.match
_next_rest: Callable[[bytes, int], Any] = re.compile(_REST, re.DOTALL).match
#: What is kept of a pickle, in pieces.
kept: Callable[[bytes], list[bytes]] = _pieces.findall


class Learner:
    """Learns as long as what it has learned makes up for that.

    Attributes:
        unmatched: so many are learned before any has been of use; then one more for every 32 times.
        hits: how often one was of use.
    """

    unmatched: int

    def __init__(self) -> None:
        self.hits = self._made = 0

    def are_of_use(self) -> bool:
        """Whether they have been as often as it takes to make up for another one, or nobody can know yet."""
        return self._made <= self.hits // _HITS_PER_ONE + self.unmatched


class Templates(Learner):
    """The templates of one codec. Threads may share it.

    Attributes:
        known: what `kept` gives of pickles that look like one that was let through.
        last: what it gave of the last one that looked so. The next one often does: it need not be hashed then.
    """

    unmatched = 32

    def __init__(self, max_depth: int) -> None:
        super().__init__()
        self._max_depth = max_depth
        self.known: set[tuple[bytes, ...]] = set()
        self.last: list[bytes] = []

    def __contains__(self, data: bytes) -> bool:
        """Whether a pickle that was let through looked like this one. O(len(data))."""
        pieces = kept(data)
        if pieces != self.last:
            if tuple(pieces) not in self.known:
                return False
            self.last = pieces
        self.hits += 1
        return True

    def learn(self, data: bytes, walk: Walk, judge: Judge) -> bool:
        """Remember the template of a pickle that `walk` has passed, if that is safe. O(len(data)), but slow."""
        if len(data) > min(MAX_TEMPLATE_BYTES, self._max_depth) or not self.are_of_use():
            return False
        self._made += 1
        pieces = list(_pieces.finditer(data))
        contents = [(piece.start(), piece.start(1)) for piece in pieces if piece.start() < piece.start(1)]
        if not pieces[-1][1].endswith(b".") or not may_be_left_out(contents, data, opcodes_of(data), walk):
            return False
        for which in (0, 1):
            other = b"".join(
                [
                    (_CONTENTS[data[piece.start() - 1]][which] if piece.start() < piece.start(1) else b"") + piece[1]
                    for piece in pieces
                ]
            )
            again = Walk(other, judge, max_depth=self._max_depth, max_work=_LEAST_LIMIT, max_copied=_LEAST_LIMIT)
            try:
                again.run()
            except CodecError:
                return False
            if again.end != len(other) or again.persistent:
                return False
        if len(self.known) >= _MOST_TEMPLATES:
            self.known.clear()
        self.known.add(tuple([piece[1] for piece in pieces]))
        return True


def opcodes_of(data: bytes) -> list[tuple[int, int, int]]:
    """The opcodes of a pickle, where each is, and where the next one; none where somebody finds the pickle damaged."""
    import pickletools

    places: list[int] = []
    try:
        for _, _, place in pickletools.genops(data):
            places.append(place or 0)
    except Exception:  # noqa: BLE001  # it raises whatever damaged bytes lead to
        return []
    places.append(len(data))
    return [(data[place], place, behind) for place, behind in pairwise(places)]


def may_be_left_out(
    contents: list[tuple[int, int]], data: bytes, opcodes: list[tuple[int, int, int]], walk: Walk
) -> bool:
    """Whether contents are arguments that nothing depends on.

    Args:
        contents: where they are.
        data: a pickle that `walk` has let through.
        opcodes: as `opcodes_of` tells them.
        walk: knows which text it has looked into.
    """
    arguments = {(place + 1, behind) for op, place, behind in opcodes if op in _CONTENTS}
    # A content begins with its size, so that of an empty text is one, too.
    seen = {end for _, end in walk.looked_into}
    return data.endswith(b".") and arguments.issuperset(contents) and not any(end in seen for _, end in contents)


def next_piece(data: bytes, at: int, opcode: int) -> Any:
    """The piece behind the opcode that the one before ended with, however long the content is that comes first.

    Args:
        data: a pickle.
        at: where that content is.
        opcode: that one.

    Returns:
        A match; its group 1 is the piece.
    """
    if opcode in b"XB" and data[at + 1 : at + 4] != b"\0\0\0" and data[at + 4 : at + 6] != b"__":
        behind = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if behind < len(data):
            return _next_rest(data, behind)
    return short_piece(data, at)
