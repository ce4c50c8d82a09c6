"""Tells most harmless pickles at a glance, in a fraction of the time that reading them takes.

A walk over the opcodes (`hutch.codecs.opcodes`) knows all about a pickle, at a price. Regular expressions know enough
of most (`hutch.codecs.forms`): they go over its opcodes, as long as these are of kinds that can do no harm together.
Whatever they do not know is left to the walk.

Seven kinds of pickle pass:

- *no tuples*: nothing that can be hashed holds anything, so hashing a key takes no time;
- *no hashing*: no opcode puts anything into a dict or a set;
- *flat tuples*: of text, bytes, numbers and constants that stand right before the opcode. Where something is used twice
  these have 64 parts at most, so to hash one again takes no time; nor does it nest, as nothing fetched is in one, but
  text, bytes or a time zone as the second part of a pair;
- *no sharing*: nothing is used twice, so hashing takes no longer than making, if nothing nests deep;
- *built*: flat tuples again, and objects with a dict as their state;
- *dicts*: flat tuples again, and dicts of other classes, such as `Counter`;
- *mixed*: tuples of what is flat: atoms, calls of one atom (a member of an enum, a date), and such things that are
  fetched. What is fetched into one is looked at once more.

In all but *no sharing*, classes may be named and called, if they are of those that can be called with anything. How
deep those go into what they are called with does not matter where that is flat; where it is not (*no hashing*) they
are of those that do not look inside.

What BUILD finds on top is never a tuple: with one it could set attributes of a class. It finds no member of an enum
below, either: those are for the two kinds without BUILD, and for *built*. There, every MARK (but those of tuples that
are told as a whole) stands right behind a list, set or dict that has just been made, and something comes between it and
SETITEMS, which leaves that container on top: a dict, or a list whose items are numbered, which is no state. BUILD
stands right behind SETITEMS. So its object is what was below when the dict was made: a new object (of NEWOBJ with the
empty tuple, which is never a member), or what has no state: an atom, a list, a dict, or nothing at all. (The state of
one field only is told as a whole, from NEWOBJ to BUILD.)

Two classes are *watched*: each is named in one place, and whatever fetches it is looked at once more, as another use of
it takes long. In *built*, a UUID is made of an int, and nothing else, since BUILD hashes what it is given. Where there
is *no hashing*, a Decimal is made of one text, since of a tuple it copies all digits. In the others there is no UUID;
and no Decimal of digits, as tuples are flat.

BUILD copies a dict, item by item. In *built* that has just been made; where there are *no tuples*, it may be the same
one each time, so there must be few of both.

What is freed by recursion (a `deque`) may not nest so deep that only a look at the object would tell how deep.

In *dicts*, what is called has no argument, or one that stands right before the call: a dict that has just been made,
which is copied once; or a class, which none of those that may be named there does anything with, but `defaultdict`.
"""

from __future__ import annotations

from hutch.codecs.accounts import MOST_RECURSING, PARSED_PER_BYTE, WORK_BYTES, most_copied, most_work
from hutch.codecs.forms import (
    BUILT,
    DICTS,
    FLAT,
    MIXED,
    MOST_PARTS,
    NO_HASHING,
    NO_SHARING,
    NO_TUPLES,
    fetched_or_named,
    find_calls,
    find_others,
    find_pairs,
    find_singles,
    forms,
    is_named,
    is_number,
    is_pair,
    is_text,
    is_zone,
    simple,
)
from hutch.codecs.memo import LONG, TEXTS, Memo
from hutch.codecs.rules import ADDRESS_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterable

    from hutch.codecs.forms import Watched

__all__ = ["Names", "is_simple", "look"]

# The opcodes that put one thing into another; and those that make what holds things. Nothing nests deeper than there
# are of either.
_NESTING = (b"\x81\x85\x86\x87\x90\x91Rabestu", b")]t}R\x81\x85\x86\x87\x8f\x91")
# Where tuples are flat, neither they nor what is called with them hold anything that nests. What they are is not deep.
_NESTING_IF_FLAT = (b"]}R\x81\x8f\x91", b"\x90\x91abesu")
_DEPTH_OF_FLAT = 8  # a moment, its zone, and the difference in that; or a path, its parts, and their texts
# Names of methods that fill, and what exceptions make a tuple of; behind sizes of one, four and eight bytes.
_HIDING = tuple(
    bytes((len(name),)) + bytes(zeros) + name for name in (b"append", b"extend", b"add", b"args") for zeros in (0, 3, 7)
)
_ZONE = b"\x8c\x08timezone\x94\x93"
# Classes that may be used in one way only, where they are named.
_WATCHED = {NO_HASHING: b"\x8c\x07Decimal\x94\x93", BUILT: b"\x8c\x04UUID\x94\x93"}
_DECIMAL_LINES = b"cdecimal\nDecimal\n"
_MANY_BYTES = 1 << 16  # of a pickle that is looked at twice: it takes some milliseconds to prepare for that
_FEW_BYTES_OF_PATHS = 1 << 14  # that take no time to compare, however long the paths in them are
_FRAME_BYTES = 1 << 16  # picklers begin another frame when there are as many
_MOST_FETCHED = 64  # different things in pairs; each takes a search
_MOST_BYTES = 1 << 22  # where there are such: what one search has dealt with hides nothing from the next

_LETTERS, _LETTERS_OF_SINGLES = frozenset(b"hj\x86"), frozenset(b"hj\x85")
_run_simple = simple()


def _short_text(text: bytes) -> bytes:
    """As protocol 4 writes it, and puts it into the memo."""
    return b"\x8c" + bytes((len(text) & 0xFF,)) + text + b"\x94"


class Names:
    """Classes that a pickle may name at a glance, as it writes them.

    Args:
        names: their modules and names.
        recursing: names of those whose objects are freed by recursion, without the interpreter's guard.
    """

    def __init__(self, names: Iterable[tuple[str, str]], recursing: Iterable[str] = ()) -> None:
        texts = [[text.encode("utf-8", "surrogatepass") for text in pair] for pair in names]
        ends = [name.encode("utf-8", "surrogatepass") for name in recursing]
        self.recursing = (*(_short_text(end) for end in ends), *(b"\n" + end + b"\n" for end in ends))
        # What stands before STACK_GLOBAL where a class is named for the first time; and what stands behind GLOBAL.
        self.suffixes = tuple(b"".join(map(_short_text, pair)) for pair in texts)
        self.lines = frozenset(
            b"\n".join((*pair, b""))
            for pair in texts
            if not any(b"\n" in text for text in pair) and pair != [b"uuid", b"UUID"]  # which is to be in the memo
        )
        self.pairs = frozenset((module, name) for module, name in texts)

    def behind(self, data: bytes, at: int) -> int:
        """Where the lines end that stand behind GLOBAL, if they are of one of these; else 0."""
        end = data.find(b"\n", data.find(b"\n", at) + 1) + 1
        return end if data[at:end] in self.lines else 0

    def fetched(self, data: bytes, at: int, memo: Memo) -> int:
        """Where STACK_GLOBAL ends, if a module is fetched at that place, and is that of one of these; else 0."""
        found = is_named(data, at)
        return found.end() if found is not None and 0 <= self._module_of(found, memo) < at else 0

    def have(self, naming: bytes, memo: Memo) -> bool:
        """Whether opcodes name one of these: two texts, or something fetched and a text, and STACK_GLOBAL."""
        if naming[0] == 0x8C:
            return naming[:-1] in self.suffixes
        found = is_named(naming)
        return found is not None and self._module_of(found, memo) >= 0

    def _module_of(self, found: re.Match[bytes], memo: Memo) -> int:
        """Where the module is that is fetched before a name, if both are of one of these; else -1."""
        index, size, name = found.groups()
        if len(name) != size[0] or len(index) != (1 if found[0][0] == 0x68 else 4):
            return -1
        place = memo.place(int.from_bytes(index, "little"))
        return place if (memo.text(place), name) in self.pairs else -1


def look(data: bytes, names: tuple[Names, ...], max_depth: int, first: int = 0) -> tuple[bool, bool, bool, int] | None:
    """Whether a pickle names a class, whether it may nest deeper than `max_depth`, and use things twice. O(len(data)).

    Args:
        names: for each kind, classes: those that may be called with anything, and hashed, and such as may be called
            with nothing (there is no other tuple); those that may be called with anything, but perhaps not hashed; the
            first ones again, enums that have members, and named tuples; none; those of flat tuples once more; those of
            dicts, and what makes their values; those of flat tuples again, but for what takes long to hash.
        first: what was returned for a pickle like it.

    Returns:
        These, and how that was found. None where only a walk can tell whether it does harm.
    """
    size = len(data)
    memo: Memo | None = None
    framed = size >= _FRAME_BYTES
    for form, shares in forms(data, first):
        kind = form.kind
        run = form.run(shares=shares, framed=framed)
        at = 0
        opcodes = size  # with their arguments, but without long texts
        longest = 0  # of those
        lengths: set[int] = set()
        pieces: list[tuple[int, int]] = []  # before and between them
        begun = 0  # where the next one begins
        twins = 0  # the longest of those that are as long as another one, and may be equal
        named = pairs = False
        named_at, watched = 0, None  # where the class is that is watched, behind its name; what is known of it then
        zones: set[int] = set()
        while at < size:
            found = run(data, at)
            at = found.end()
            if found.lastindex is not None:
                pairs = True
            if at == size:
                break
            stopped = at
            op = data[at]
            if op == 0x2E:  # STOP
                if at + 1 != size:
                    return None
                if kind == MIXED:
                    memo = memo or Memo(data)
                    names_some = _is_mixed(memo, [*pieces, (begun, at)], names[kind], framed, pairs)
                    if names_some is None:
                        break
                    named = names_some
                elif pairs and not _are_flat(data, zones, memo or Memo(data), kind == DICTS):
                    break
                if named and kind in (NO_TUPLES, BUILT) and _may_hide(data):
                    break
                if named and shares and _most_gone_over(data, kind, longest) > most_copied(size):
                    break
                if shares and kind != NO_HASHING:
                    if _most_compared(kind, opcodes, twins) > most_work(size):
                        break  # each that is fetched may be compared with its twin, as a key
                    if named and longest and b"decimal" in data and opcodes // 2 * longest > most_work(size):
                        break  # so may a long number
                    if named and (longest or size > _FEW_BYTES_OF_PATHS) and b"pathlib" in data:
                        break  # so may long paths, part by part
                if kind == NO_TUPLES and named and 8 * size * data.count(b"b") > most_copied(size):
                    break  # each BUILD may set the same state, of no more items than there are bytes
                if named_at and watched is None:
                    watched = _watched(kind, data, named_at, form.counted, memo or Memo(data))
                    if watched is None:
                        break
                    if any(find_others(fetch, watched[1])(data) for fetch in _fetches(watched[0])):
                        if size < _MANY_BYTES or watched[0] > 0xFF:
                            break
                        # Once more: what was found may be a part of text or of a number.
                        run = form.run(shares=shares, framed=framed, watched=watched)
                        at, opcodes, named, named_at = 0, size, False, 0
                        zones.clear()
                        continue
                is_flat = kind in (FLAT, BUILT, MIXED)
                most = max_depth - _DEPTH_OF_FLAT if is_flat else max_depth
                recurses = deep = False
                if opcodes > min(most, MOST_RECURSING):
                    recurses = named and any(name in data for name in names[kind].recursing)
                    most = min(most, MOST_RECURSING) if recurses else most
                    deep = all(
                        size - len(data.translate(None, some)) >= most
                        for some in (_NESTING_IF_FLAT if is_flat else _NESTING)
                    )
                if deep and kind == NO_SHARING:
                    break  # to hash a tuple in a tuple in a tuple… takes stack, of which there may be too little
                if deep and recurses:
                    break
                return named, deep, shares, 2 * kind + shares
            if kind == MIXED and op not in LONG:
                break
            if op == 0x93 and kind != NO_SHARING and data.endswith(names[kind].suffixes, 0, at):  # STACK_GLOBAL
                named = True
                at += 1
            elif op == 0x63 and kind != NO_SHARING and (behind := names[kind].behind(data, at + 1)):  # GLOBAL
                named = True
                if kind == NO_HASHING and data.endswith(_DECIMAL_LINES, 0, behind):
                    if named_at or form.counted:
                        break
                    named_at = behind
                at = behind
                continue
            elif op in LONG:
                pieces.append((begun, at))
                begin = at + 1 + LONG[op]
                long = int.from_bytes(data[at + 1 : begin], "little")
                at = begun = begin + long
                opcodes -= long
                longest = max(longest, long)
                if long in lengths:
                    twins = max(twins, long)
                lengths.add(long)
                continue
            elif op in b"hj":
                if memo is None:
                    memo = Memo(data)
                if form.counted and kind != NO_SHARING and (behind := names[kind].fetched(data, at, memo)):
                    named = True
                    at = behind
                elif not shares and not form.is_alone:
                    shares = True
                    run = form.run(shares=True, framed=framed, watched=watched)
                    if kind == FLAT:  # from the beginning: a long tuple that came before may be what is fetched
                        at, opcodes, named = 0, size, False
                        zones.clear()
                    continue
                else:
                    break
            else:
                break
            if data.endswith(_WATCHED.get(kind, ()), 0, at):
                # There is one place where it is named, and whatever it is used for is fetched from the memo.
                if named_at or not form.counted or data[at : at + 1] != b"\x94":
                    break
                named_at = at
            if kind in (FLAT, BUILT) and form.counted and data.endswith(_ZONE, 0, at):
                if memo is None:
                    memo = Memo(data)
                zone = is_zone(data, at)
                if zone and (not zone["module"] or memo.text(memo.place(zone["module"][0])) == b"datetime"):
                    zones.add(zone.start("made"))
                    at = zone.end()
                    if stopped in map(found.end, found.re.groupindex) and (pair := is_pair(data, at)):
                        at = pair.end()
    return None


def _may_hide(data: bytes) -> bool:
    """Whether a state may have a name that means more than an attribute: what to call instead of a method, say."""
    if b"__" in data and data.count(b"__") != 2 * data.count(b"__main__"):
        return True
    if b"append" in data or b"extend" in data or b"add" in data or b"args" in data:
        return any(name in data for name in _HIDING)
    return False


def _most_compared(kind: int, opcodes: int, twins: int) -> int:
    """No more work than this is it to compare texts that are fetched with others that are as long.

    Args:
        opcodes: with their arguments, but without long texts.
        twins: bytes of the longest of these.
    """
    parts = MOST_PARTS if kind == MIXED else 1
    return opcodes // 2 * parts * (twins // WORK_BYTES)


def _is_mixed(memo: Memo, pieces: list[tuple[int, int]], names: Names, framed: bool, marked: bool) -> bool | None:
    """Whether classes are named in a pickle; None if one is not among `names`, or a tuple is not sure to be flat.

    Args:
        memo: of the pickle.
        pieces: where its opcodes are before, between and behind long texts.
        framed, marked: as for `fetched_or_named`.
    """
    named = False
    find = fetched_or_named(framed, marked)
    for begin, end in pieces:
        for found in {*find(memo.data, begin, end)}:
            if len(found) > 5:
                if found[-1] != 0x93 or not names.have(found, memo):
                    return None
                named = True
            elif found and (found[0] not in b"hj" or not memo.is_flat(int.from_bytes(found[1:], "little"))):
                return None
    return named


def _most_gone_over(data: bytes, kind: int, longest: int) -> int:
    """No more bytes than this are gone over by calls that are made with what is fetched.

    Args:
        longest: bytes of the longest text of those that are longer than 255 bytes.
    """
    most = 0
    if longest:
        fetched = data.count(b"h") + data.count(b"j")
        most = longest * min(fetched, data.count(b"R") + data.count(b"\x81"))
    if b"ipaddress" in data:  # of text that is fetched with its tuple
        calls = data.count(b"R") if kind == MIXED else len(find_calls(data))
        most += ADDRESS_BYTES * data.count(b"R") + PARSED_PER_BYTE * max(longest, 255) * calls
    if kind in (FLAT, BUILT, MIXED) and b"pathlib" in data:  # nothing else goes over more than one text
        most += MOST_PARTS * max(longest, 255) * (data.count(b"R") + data.count(b"\x81"))
    return most


def _watched(kind: int, data: bytes, at: int, counted: bool, memo: Memo) -> Watched | None:
    """What is to be looked for, of a class that may be used in one way only: Decimals of one text, UUIDs of one int.

    Args:
        at: behind the one place where the class is named.
        counted: the memo is filled by MEMOIZE alone.

    Returns:
        Its number in the memo, and the opcode that fetches the name of an int, or b"". None where its first use is
        another one.
    """
    if kind == NO_HASHING:
        first = is_text(data, at)
        if first is None or (data[at] == 0x94) is not counted:
            return None
        index = memo.index(at - 1) if counted else int.from_bytes(first["short"] or first["long"], "little")
        return (index, b"") if index >= 0 else None
    first = is_number(data, at + 1)
    if first is None:
        return None
    index, name = memo.index(at - 1), first["fetched"]
    if name is None:
        named = memo.index(first.start("named"))
        name = _fetches(named)[0] if named >= 0 else None
    elif memo.text(memo.place(int.from_bytes(name[1:], "little"))) != b"int":
        return None
    return (index, name) if index >= 0 and name else None


def _fetches(index: int) -> list[bytes]:
    """The opcodes that fetch what has that number in the memo; first the one that picklers write."""
    long = b"j" + index.to_bytes(4, "little")
    return [long] if index > 0xFF else [b"h" + bytes((index,)), long]


def _are_flat(data: bytes, zones: set[int], memo: Memo, classes: bool) -> bool:
    """Whether whatever is fetched into a pair is text, bytes, or one of some time zones. O(len(data)), with luck.

    It may say no, as bytes that look like a pair may be anything.

    Args:
        zones: where the opcodes are that have made them.
        classes: look whether whatever is alone in a tuple is a class instead.
    """
    if len(data) >= _MOST_BYTES:
        return False
    letters = _LETTERS_OF_SINGLES if classes else _LETTERS
    for find in find_singles if classes else find_pairs:
        at = 0
        for _ in range(_MOST_FETCHED):
            found = find(data, at)
            if found is None:
                break
            at = found.end()
            both, index = found.groups()
            place = memo.place(int.from_bytes(index, "little"))
            if place < 0 or (memo.data[place] not in (b"\x93" if classes else TEXTS) and place not in zones):
                return False
            # Two pairs overlap only if one of these is in an index: with so few bytes, no index is as high as they are.
            if not letters.isdisjoint(index):
                return False
            data = data.replace(both, bytes(len(both)))  # zeros: to close up would take twice as long
        else:
            return False
    return True


def is_simple(data: bytes) -> bool:
    """Whether it has *no tuples*, and names no class. O(len(data))."""
    last = len(data) - 1
    return _run_simple(data).end() == last and data[last] == 0x2E
