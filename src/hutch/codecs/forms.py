"""What harmless pickles look like: regular expressions over their opcodes, for `hutch.codecs.glance`.

Each matches as many opcodes as there are of the kinds that can do no harm together, every one with the whole of its
argument and none tried twice. Whatever it does not know, it stops at: a long text, the name of a class, the end.

There are two sets of them. In pickles that say protocol 4 or 5 the memo is filled by MEMOIZE alone, so that what is
fetched from it can be told by counting, and nothing is put where something else was; all others may use BINPUT.

What often comes together is one alternative (a key that is fetched and its value), as each turn of a loop takes time.
"""

from __future__ import annotations

import re
from functools import lru_cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Watched: TypeAlias = tuple[int, bytes]

__all__ = [
    "BUILT",
    "DICTS",
    "FLAT",
    "KINDS",
    "MIXED",
    "MOST_PARTS",
    "NO_HASHING",
    "NO_SHARING",
    "NO_TUPLES",
    "Form",
    "fetched_or_named",
    "find_calls",
    "find_others",
    "find_pairs",
    "find_singles",
    "forms",
    "is_named",
    "is_number",
    "is_pair",
    "is_text",
    "is_zone",
    "simple",
    "sized",
    "telling_texts",
]

_MOST_RUNS = 64  # of one form that are kept
NO_TUPLES, NO_HASHING, FLAT, NO_SHARING, BUILT, DICTS, MIXED = KINDS = range(7)


def sized(zeros: bytes, end: int = 256) -> bytes:
    """A size in one byte, less than `end`, perhaps with zeros behind it, and as many bytes of anything."""
    return b"(?:" + b"|".join(re.escape(bytes((n,))) + zeros + b".{%d}" % n for n in range(end)) + b")"


def telling_texts(zeros: bytes) -> bytes:
    """Text that says what is to be done, behind its size: rules look into it."""
    texts = (b"int", b"args", b"is_safe", b"latin1", b"_unpickle")
    return b"|".join(bytes((len(text),)) + zeros + text for text in texts)


_START = rb"(?:\x80[\x00-\x05])?+"
_SHORT, _LONG = sized(b""), sized(rb"\x00\x00\x00")
_TEXT = rb"[\x8cC\x8a]" + _SHORT  # SHORT_BINUNICODE; SHORT_BINBYTES, LONG1
_ANY_MEMO, _COUNTED_MEMO = rb"(?:\x94|q.|r..\x00\x00)?+", rb"\x94?+"
# BINGET and LONG_BINGET, but not of the module of a class whose name and STACK_GLOBAL come next.
_NAME = rb"\x8c.[\w.]++\x94\x93"
_FETCH_LONG = rb"j(?!.{4}" + _NAME + rb").{4}"
_FETCH_SHORT = rb"h(?!." + _NAME + rb")."
_FETCH = _FETCH_SHORT + rb"|" + _FETCH_LONG
# BINGET and what comes next, if that is text or a number. The same as above: a text before STACK_GLOBAL is no match.
_FETCH_AND_ATOM = rb"h.(?:K.|" + _TEXT + rb"(?!\x94\x93)|M..|G.{8}|J.{4}|(?=[^\x8c]))"

_FRAME = rb"(?:\x95.{8})?+"
_OF_TEXT = (
    _FRAME + rb"(?:\x8c" + _SHORT + rb"|X" + _LONG + rb")" + _ANY_MEMO + _FRAME + rb"\x85" + _ANY_MEMO + _FRAME + rb"R"
)
_OF_NUMBER = _FRAME + rb"\)" + _FRAME + rb"\x81\x94?" + _FRAME + rb"\}\x94?" + _FRAME
_NUMBER = _FRAME + rb"(?:\x8a" + _SHORT + rb"|K.|M..|J....)" + _FRAME + rb"s" + _FRAME + rb"b"


def _watched_use(name: bytes) -> bytes:
    """What comes behind a class that is watched: a call with one text, or a new object and its state, of that name."""
    return _OF_NUMBER + re.escape(name) + _NUMBER if name else _OF_TEXT


def _run(bare: bytes, *tokens: bytes, counted: bool) -> bytes:
    """As many opcodes as there are of these kinds, and of those that push text, bytes and numbers.

    Args:
        bare: those that have no argument.
        tokens: others.
        counted: the memo is filled by MEMOIZE alone.
    """
    numbers = (  # BININT2, BININT, BINFLOAT: many in a row are quicker than many times one
        rb"M..(?:M..)*+",
        rb"J....(?:J....)*+",
        rb"G........(?:G........)*+",
    )
    if counted:
        common = (*tokens, *numbers, rb"\x95.{8}")
    else:
        common = (
            rb"\x8c" + _SHORT,  # SHORT_BINUNICODE
            *tokens,
            *numbers,
            rb"X" + _LONG + rb"(?:q.)?+",
            rb"[C\x8a]" + _SHORT,  # SHORT_BINBYTES, LONG1
            rb"\x95.{8}",  # FRAME
            rb"B" + _LONG,
            rb"r..\x00\x00",  # LONG_BINPUT: the memo is as long as the index is high
        )
    return _START + bare + b"(?:(?:" + b"|".join(common) + b")" + bare + b")*+"


# In each: MEMOIZE NONE NEWTRUE NEWFALSE EMPTY_TUPLE EMPTY_LIST EMPTY_DICT EMPTY_SET MARK APPEND, BININT1 BINPUT.
_BARE = (
    rb"[\x94N\x88\x89)\]}\x8f(asue\x90R\x81b]*+",  # SETITEM SETITEMS APPENDS ADDITEMS, REDUCE NEWOBJ BUILD
    rb"[\x94N\x88\x89)\]}\x8f(aet\x85-\x87R\x81]*+",  # TUPLE TUPLE1 TUPLE2 TUPLE3, REDUCE NEWOBJ
    rb"[\x94N\x88\x89)\]}\x8f(asue\x90\x91t\x85-\x87]*+",  # as the first without calls, FROZENSET, tuples
)


def _watch(watched: Watched | None) -> tuple[tuple[bytes, ...], bytes, bytes]:
    """The one use of a class that is watched, and what is no index of it, in one byte and in four."""
    if watched is None:
        return (), b"", b""
    index = re.escape(bytes((watched[0],)))
    return (
        (rb"h" + index + _watched_use(watched[1]),),
        rb"(?!" + index + rb")",
        rb"(?!" + index + rb"\x00\x00\x00)",
    )


def _plain(kind: int, *, counted: bool, shares: bool, watched: Watched | None = None) -> bytes:
    """Of a kind that does not look at what stands where."""
    short = (_TEXT, rb"K.") if counted else (rb"[Kq].",)
    use, other, other_long = _watch(watched)
    first: tuple[bytes, ...] = ()
    last: tuple[bytes, ...] = ()
    if shares and counted:
        first, last = (rb"h" + other + _FETCH_AND_ATOM[1:],), (rb"j" + other_long + _FETCH_LONG[1:],)
    elif shares:
        last = (rb"h" + other + rb".", rb"j" + other_long + rb".{4}")
    bare = _BARE[2 if kind == NO_SHARING else kind]
    return _run(bare, *use, *first, *short, *last, counted=counted)


_MOST_ITEMS = 16  # of a tuple with something fetched in it: from each of these as many are looked at
MOST_PARTS = 64  # of a tuple, where things are used twice: that many parts are hashed for two bytes or more


def _atom(*, counted: bool, framed: bool, named: bool = True) -> bytes:
    """Text, bytes, a number or a constant.

    Args:
        framed: a FRAME may follow it.
        named: it may be a text that STACK_GLOBAL comes behind.
    """
    memo = _COUNTED_MEMO if counted else _ANY_MEMO
    text = _TEXT + memo
    if not named:
        text = rb"[C\x8a]" + _SHORT + memo + rb"|\x8c" + _SHORT + memo + rb"(?!\x93)"
    kinds = [text, rb"K.|M..|[N\x88\x89]|J....|G........"]
    if not counted:
        kinds.append(rb"[XB]" + _LONG + memo)
    return rb"(?:" + b"|".join(kinds) + rb")" + (rb"(?:\x95.{8})?+" if framed else b"")


# Something fetched as the second part of a pair: `look` makes sure that no tuple is in it. A group tells that it was.
_PAIR = rb"(?:h.|j.{4})\x86()" + _COUNTED_MEMO
_NO_PAIR = rb"(?!)"
_ATOM_GROUP = b"(?P<atom>)"  # by this name, or by another one where there are several in one expression
# Nothing, where the class comes next that makes a time zone: then that may be the second part.
_BEFORE_ZONE = rb"(?=(?:h.|j.{4})\x8c\x08timezone\x94\x93)" + _ATOM_GROUP


def _tuples(atom: bytes, memo: bytes, tail: bytes, zoned: bytes, last: bytes, first: bytes = b"") -> bytes:
    """One atom or more, and a tuple of the last ones if there are as many as it takes.

    Args:
        first: the first atom, if it may not be any.
        tail: what may follow a tuple.
        zoned: a pair of the atom and something else; empty where there is none.
        last: what may follow an atom that no tuple takes.
    """
    one, two, three = (rb"[\x85" + more + rb"]" + memo + tail for more in (b"", rb"\x86", rb"\x86\x87"))
    pair = rb"|" + zoned + tail if zoned else b""
    zone = rb"|" + _BEFORE_ZONE if zoned else b""
    more = rb"(?:" + atom + rb")++(?:" + three + pair + last + rb")?+"
    return (
        (first or atom)
        + rb"(?:"
        + atom
        + rb"(?:"
        + two
        + pair
        + rb"|"
        + more
        + last
        + rb")?+|"
        + one
        + pair
        + zone
        + last
        + rb")?+"
    )


def _flat(*, counted: bool, shares: bool, framed: bool) -> bytes:
    """Each tuple right behind what it is made of."""
    memo = _COUNTED_MEMO if counted else _ANY_MEMO
    atom = _atom(counted=counted, framed=framed)
    unit = _tuples(atom, memo, b"", (_PAIR if shares else _NO_PAIR) if counted else b"", b"")
    if shares:
        long = rb"\((?:(?:" + atom + rb"){3,%d}+(?:[t\x85-\x87]" % MOST_PARTS + memo + rb")?+)?+"
        if counted:
            # As in `_FETCH_AND_ATOM`, but tuples and all.
            first = _atom(counted=True, framed=framed, named=False)
            behind = _tuples(atom, memo, b"", _PAIR, b"", first)
            second, third = (behind.replace(_ATOM_GROUP, b"(?P<%s>)" % name) for name in (b"second", b"third"))
            fetched = rb"h.(?:%s|(?=[^\x8c]))"
            tokens = [fetched % second, rb"\(" + fetched % third, long, _FETCH_LONG]
        else:
            tokens = [long, rb"h.|j.{4}"]
    else:
        tokens = [rb"\((?:(?:" + atom + rb")*+t" + memo + rb")?+"]
    puts = [] if counted else [rb"q.|r..\x00\x00"]
    bare = rb"[\x94)\]}\x8fasue\x90\x91R\x81]*+"
    common = b"|".join((*tokens, unit, *puts, rb"\x95.{8}"))
    return _START + bare + rb"(?:(?:" + common + rb")" + bare + rb")*+"


def _built(*, counted: bool, framed: bool, watched: Watched | None = None) -> bytes:
    """Flat tuples, and objects whose state is a dict that was made for them: see `hutch.codecs.glance`."""
    frame = rb"(?:\x95.{8})?+"
    memo = (_COUNTED_MEMO if counted else _ANY_MEMO) + frame
    use, other, other_long = _watch(watched)
    short, long = (_FETCH_SHORT[1:], _FETCH_LONG[1:]) if counted else (rb".", rb".{4}")
    fetch = rb"h" + other + short + rb"|j" + other_long + long
    atom = _atom(counted=counted, framed=framed)
    mark = rb"\(" + frame + rb"(?!u)"
    opened = rb"(?:\}" + memo + mark + rb")?+"  # a dict to be filled, where nothing below has a state
    # Where a dict has a multiple of a thousand items, MARK SETITEMS follow, which have no effect.
    nothing = rb"(?:\(" + frame + rb"u" + frame + rb")?+"
    call = rb"(?:[R\x81]" + memo + rb")?+"
    unit = _tuples(atom, memo, call, _PAIR if counted else b"", rb"|\}" + memo + mark)
    field = rb"(?:" + fetch + rb"|" + atom + rb")"
    tokens = (
        *use,
        fetch,
        unit,
        rb"u" + frame + nothing + rb"(?:b" + frame + opened + rb"|" + mark + rb"|" + opened + rb")",
        rb"\)\x81" + memo + rb"(?:\}" + memo + rb"(?:" + mark + rb"|" + field + rb"{2}sb)?+)?+",
        rb"[\]\x8f]" + memo + rb"(?:" + mark + opened + rb")?+",
        rb"e" + frame + rb"(?:" + mark + rb")?+" + opened,
        rb"\x90" + frame + rb"(?:" + mark + rb")?+",
        rb"[as]",
        rb"\}" + memo + rb"(?!\()",
        rb"\)(?![R\x81])",
        rb"\((?:" + atom + rb"){3,%d}+t" % MOST_PARTS + memo + call,
        rb"\x95.{8}",
    )
    begin = rb"(?:\A\x80." + frame + opened + rb"|" + memo + rb")"
    return begin + rb"(?:" + b"|".join(tokens) + rb")*+"


def _dicts(*, framed: bool) -> bytes:
    """Flat tuples, and dicts of other classes: see `hutch.codecs.glance`."""
    frame = rb"(?:\x95.{8})?+"
    memo = _COUNTED_MEMO + frame
    atom = _atom(counted=True, framed=framed)
    mark = rb"\(" + frame + rb"(?!u)"
    filled = rb"(?:" + mark + rb")?+"
    nothing = rb"(?:\(" + frame + rb"u" + frame + rb")?+"  # as in `_built`
    call = rb"\x85" + memo + rb"R" + memo + filled
    field = rb"(?:" + _FETCH + rb"|" + atom + rb")"
    tokens = (
        rb"(?:h.|j.{4})(?P<factory>)" + call,
        _FETCH,
        _tuples(atom, memo, b"", b"", b""),
        rb"u" + frame + nothing + rb"(?:" + call + rb"|" + filled + rb")",
        rb"\}" + memo + rb"(?:" + mark + rb"|" + call + rb"|" + field + rb"{2}s" + call + rb")?+",
        rb"[\]\x8f]" + memo + filled,
        rb"[e\x90]" + frame + filled,
        rb"\)R" + memo + filled,
        rb"\)(?!R)",
        rb"\((?:" + atom + rb"){3,%d}+t" % MOST_PARTS + memo,
        rb"[as]|\x95.{8}",
    )
    begin = rb"(?:\A\x80." + frame + rb"|" + memo + rb"(?:" + call + rb"|" + filled + rb"))"
    return begin + rb"(?:" + b"|".join(tokens) + rb")*+"


def _item(*, framed: bool) -> bytes:
    """One thing on the stack: an atom, what is fetched, a class, or what one makes of an atom."""
    frame = rb"(?:\x95.{8})?+" if framed else b""
    number = rb"(?:K.|M..|[N\x88\x89]|G.{8}|J.{4})" + frame
    text = rb"\x8c" + _SHORT + rb"\x94?+" + frame
    other = rb"[C\x8a]" + _SHORT + rb"\x94?+" + frame

    def word(behind: bytes) -> bytes:
        """Text, but looked at twice only where it is what the opcode behind it takes."""
        return rb"(?=\x8c.[\w .:/-]*+\x94?+" + frame + behind + rb")" + text + behind

    made = rb"(?:" + word(rb"\x85") + rb"|(?:" + number + rb"|" + other + rb")\x85)\x94?+R\x94?+" + frame
    name = word(rb"\x93") + rb"\x94?+" + frame
    fetched = rb"(?:h.|j.{4})" + frame + rb"(?:" + name + rb")?+(?:" + made + rb")?+"
    named = text + rb"(?:" + name + rb"(?:" + made + rb")?+)?+"
    return rb"(?:" + number + rb"|" + fetched + rb"|" + named + rb"|" + other + rb")"


def _mixed(*, framed: bool) -> bytes:
    """Tuples of items, and what holds these. A group tells whether there are some with more than three."""
    item = _item(framed=framed)
    memo = _COUNTED_MEMO + (rb"(?:\x95.{8})?+" if framed else b"")
    one, two, three = (rb"(?:[\x85" + more + rb"]" + memo + rb")?+" for more in (b"", rb"\x86", rb"\x86\x87"))
    unit = item + rb"(?:" + item + rb"(?:" + item + rb"++" + three + rb"|" + two + rb")|" + one + rb")"
    pair = rb"h.(?:h.|K.)\x86\x94"
    atoms = rb"(?:" + _atom(counted=True, framed=framed) + rb"){3,%d}+t" % MOST_PARTS + memo
    marked = rb"\((?:" + atoms + rb"|" + item + rb"{3,%d}+(?:(?:t()|[\x85-\x87])" % _MOST_ITEMS + memo + rb")?+)?+"
    bare = rb"[\x94)\]}\x8fasue\x90\x91R\x81]*+"
    return _START + bare + rb"(?:(?:" + b"|".join((pair, unit, marked, rb"\x95.{8}")) + rb")" + bare + rb")*+"


class Form:
    """One kind of pickle: a run in which nothing is used twice, and a longer one. Compiled when they are needed.

    Attributes:
        kind: NO_TUPLES…
        is_alone: there is no longer one.
    """

    def __init__(self, kind: int, *, counted: bool) -> None:
        self.kind = kind
        self.counted = counted
        self.is_alone = kind == NO_SHARING
        self._runs: dict[tuple[bool, bool, Watched | None], Callable[..., Any]] = {}

    def run(self, *, shares: bool, framed: bool, watched: Watched | None = None) -> Callable[..., Any]:
        """Matches as many opcodes as there are, from where it is told to.

        Args:
            shares: things may be used twice.
            framed: a FRAME may come between a tuple and its parts; else only where nothing depends on what comes next.
            watched: a class of which there is one use only: its number in the memo, and a name as for `find_others`.
        """
        found = self._runs.get((shares, framed, watched))
        if found is None:
            if self.kind == BUILT:
                pattern = _built(counted=self.counted, framed=framed, watched=watched)
            elif self.kind == DICTS:
                pattern = _dicts(framed=framed)
            elif self.kind == MIXED:
                pattern = _mixed(framed=framed)
            elif self.kind == FLAT:
                pattern = _flat(counted=self.counted, shares=shares, framed=framed)
            else:
                pattern = _plain(self.kind, counted=self.counted, shares=shares and not self.is_alone, watched=watched)
            if len(self._runs) > _MOST_RUNS:
                self._runs.clear()
            found = self._runs[shares, framed, watched] = re.compile(pattern, re.DOTALL).match
        return found


_OLD = tuple(Form(kind, counted=False) for kind in (NO_TUPLES, NO_HASHING, FLAT, NO_SHARING, BUILT))
_NEW = tuple(Form(kind, counted=True) for kind in KINDS)


def _orders(kinds: tuple[Form, ...]) -> list[tuple[tuple[Form, bool], ...]]:
    """For each kind, and whether things are used twice, how to go on from there."""
    usual = tuple((form, form.kind >= BUILT) for form in kinds)
    orders = []
    for kind in KINDS:
        for shares in (kind >= BUILT, True):
            firsts = [(form, shares) for form in kinds if form.kind == kind]
            if kind == MIXED:  # which would take long for lists of what came before
                firsts.insert(0, (kinds[NO_TUPLES], True))
            orders.append((*firsts, *(other for other in usual if other not in firsts)))
    return orders


_OLD_ORDERS, _NEW_ORDERS = _orders(_OLD), _orders(_NEW)


def forms(data: bytes, first: int) -> tuple[tuple[Form, bool], ...]:
    """What to compare a pickle with, one after the other: a kind, and whether to begin with what is used twice.

    Args:
        first: twice the kind to begin with, and one more for the latter.
    """
    return (_NEW_ORDERS if data[:2] in (b"\x80\x04", b"\x80\x05") else _OLD_ORDERS)[first]


def simple() -> Callable[..., Any]:
    """The run that tells most values of all, of any protocol."""
    return _OLD[NO_TUPLES].run(shares=True, framed=True)


#: The name of a class whose module is fetched.
is_named = re.compile(rb"[hj](.(?:.{3})?)\x8c(.)([\w.]++)\x94\x93", re.DOTALL).match

#: What makes a time zone, behind its class: a timedelta, and perhaps a name.
is_zone = re.compile(
    rb"\x94(?:(?:h(?P<module>.)|\x8c\x08datetime\x94)\x8c\x09timedelta\x94\x93\x94|h.)(?:K.|M..|J....){3}\x87\x94?R\x94?"
    rb"(?:\x85|\x8c" + _SHORT + rb"\x94?\x86)\x94?(?P<made>R)\x94",
    re.DOTALL,
).match

#: The pair that a time zone is the second part of, where the first is an atom; and what is called with it.
is_pair = re.compile(rb"\x86\x94?(?:R\x94?)?").match

#: Something fetched that is the last part of a pair, or the only part of a tuple; of which there may be more than such
#: opcodes. The groups are both opcodes, and the index. (The last byte is what is looked for: there are fewest of it.)
find_pairs = tuple(
    re.compile(rb"\x86(?<=(" + fetch + rb"\x86))", re.DOTALL).search for fetch in (rb"h(.)", rb"j(.{4})")
)
find_singles = tuple(
    re.compile(rb"\x85(?<=(" + fetch + rb"\x85))", re.DOTALL).search for fetch in (rb"h(.)", rb"j(.{4})")
)

#: Calls with arguments that are fetched; bytes that look like one, too.
find_calls = re.compile(rb"h.R|j.{4}R", re.DOTALL).findall


@lru_cache(4)
def fetched_or_named(framed: bool, marked: bool) -> Callable[..., list[bytes]]:
    """Finds all that is to be looked at once more in a pickle that `MIXED` takes, in a piece without long text.

    That is, where something is fetched as a part of a tuple, that opcode; where a class is named, all of its name; at
    last, what is not known, or b"".

    Args:
        framed: as for `Form.run`.
        marked: some tuples have more than three items.
    """
    item = _item(framed=framed)
    frame = rb"(?:\x95.{8})?+" if framed else b""
    bare = rb"[N\x88\x89)\]}\x8f(asuetR\x81\x85\x86\x87\x90\x91\x94]*+"
    name = rb"\x8c.[\w.]++\x94\x93"
    more = rb"|" + item + rb"{0,%d}+t" % _MOST_ITEMS if marked else b""
    rest = rb"[\x85-\x87t]|" + item + rb"(?:[\x86\x87t]|" + item + rb"(?:\x87" + more + rb"))"
    to_see = frame + rb"(?:[KMh].{1,2}[\x86\x87]|" + rest + rb"|" + name + rb")"
    text = rb"\x8c(?!.[\w.]++\x94(?:\x8c.[\w.]++\x94)?+\x93)" + _SHORT
    others = rb"|M..|[G\x95].{8}|J.{4}|[C\x8a]" + _SHORT + rb"|j(?!.{4}" + to_see + rb").{4}"
    many = rb"(?:h.)+(?=(?:h.){%d})|" % _MOST_ITEMS if marked else b""  # of which no tuple takes any
    known = bare + rb"(?:(?:" + many + rb"K.|h(?!." + to_see + rb").|" + text + others + rb"|\x80.)" + bare + rb")*+"
    found = rb"((?:h.|j.{4}|\x8c.[\w.]++\x94)" + name + rb"|h.|j.{4}|.*+)"
    return re.compile(known + found, re.DOTALL).findall


#: What makes a UUID, behind its class: an object whose state is a dict of one int, by its name or by what is fetched.
is_number = re.compile(
    _OF_NUMBER + rb"(?:(?P<named>\x8c\x03int)\x94?|(?P<fetched>h.|j.{4}))" + _NUMBER, re.DOTALL
).match


@lru_cache(_MOST_RUNS)
def find_others(cls: bytes, name: bytes) -> Callable[..., Any]:
    """Search for a class that is fetched where the same does not follow.

    Args:
        cls: the opcode that fetches it.
        name: the opcode that fetches the name of the number; b"" of what is called with one text.
    """
    pattern = re.escape(cls) + rb"(?!" + _watched_use(name) + rb")"
    return re.compile(pattern, re.DOTALL).search


#: What makes a Decimal, behind its class: a call with one text. The class is put into the memo first.
is_text = re.compile(
    rb"(?:\x94|q(?P<short>.)|r(?P<long>.{4}))" + _OF_TEXT,
    re.DOTALL,
).match
