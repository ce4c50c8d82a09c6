"""No pickle takes much more than its size: what a few bytes of it copy, hash, compare, nest or free is counted."""

from __future__ import annotations

import collections
import decimal
import enum
import gc
import pickle
import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

import attacks
from attacks import global_, text
from hutch.codecs import SafePickle, glance, granted
from hutch.codecs.glance import look
from hutch.codecs.opcodes import Walk
from hutch.errors import CodecError, LimitError
from test_codec_glance import FIRSTS

KEY = b"key"
COPIES = "copies long text or bytes"
DEEP = "nests deeper than max_depth"
KEYS = "has keys so long"


class Place(enum.Enum):
    """Members with values of several parts."""

    HOME = ("home", (1, 2))
    AWAY = ("away", (3, 4))


@dataclass(unsafe_hash=True)
class Node:
    """Hashed by a field that may hold anything."""

    name: object


@dataclass(frozen=True)
class Child:
    """Hashed by its name; it knows who holds it."""

    name: str
    parent: Any = field(compare=False, repr=False)


class Family:
    """Hashed as itself. It holds itself."""

    def __init__(self, place: Place) -> None:
        self.members = {self}
        self.place = place


class Money(decimal.Decimal):
    """A subclass."""


class Number(int):
    """A subclass."""


class Queue(collections.deque[Any]):
    """A subclass."""


class TakesAnything:
    """An ``__init__`` that does not look at what a subclass is made of."""

    __slots__ = ()

    def __init__(self, *given: object) -> None:
        pass


class Word(TakesAnything, str):
    """A subclass with another ``__init__``."""

    __slots__ = ()


class Bytes(TakesAnything, bytes):
    """Likewise."""


class Row(TakesAnything, tuple[Any, ...]):
    """Likewise."""

    __slots__ = ()


class Rank(TakesAnything, int):
    """Likewise."""


class Titled(list[Any]):
    """Made with more than what it holds."""

    def __init__(self, title: str, items: list[Any]) -> None:
        super().__init__(items)
        self.title = title

    def __reduce__(self) -> Any:
        return type(self), (self.title, list(self))


CODEC = SafePickle([Place, Node, Child, Family, Money, Number, Queue, Word, Bytes, Row, Rank, Titled, attacks.Items])


def put(number: int) -> bytes:
    return b"r" + struct.pack("<I", number)


def get(number: int) -> bytes:
    return b"h" + bytes((number,)) if number < 256 else b"j" + struct.pack("<I", number)


def integer(size: int) -> bytes:
    """LONG4, of so many bytes."""
    return b"\x8b" + struct.pack("<I", size) + b"\x11" * size


def repeated(function: bytes, arguments: bytes, count: int) -> bytes:
    """A list of what as many calls return, with the same arguments."""
    call = function + put(0) + b"0" + arguments + put(1) + b"0"
    return b"\x80\x03" + call + b"(" + (get(0) + get(1) + b"R") * count + b"l."


def shared(count: int, size: int) -> bytes:
    """One text of that size, that often."""
    return text("x" * size) + put(2) + get(2) * (count - 1)


def numbers(count: int) -> bytes:
    return b"".join(b"M" + struct.pack("<H", number) for number in range(count))


NEW_YORK = text("America/New_York")
ZONE = global_("builtins", "getattr") + global_("zoneinfo", "ZoneInfo") + text("_unpickle") + b"\x86R"
FRACTION, RANGE = global_("fractions", "Fraction"), global_("builtins", "range")

# What is called, its arguments, how often that is still data, and how often no longer.
REPEATED: dict[str, tuple[bytes, bytes, int, int]] = {
    "fractions of one long int": (FRACTION, integer(5000) + b"K\x01\x86", 3, 3000),
    "ranges of one long int": (RANGE, integer(5000) + b"\x85", 3, 3000),
    "sets of one list": (global_("builtins", "set"), b"](" + numbers(9000) + b"e\x85", 3, 300),
    "frozensets of one list": (global_("builtins", "frozenset"), b"](" + numbers(9000) + b"e\x85", 3, 300),
    "counters of one dict": (
        global_("collections", "Counter"),
        b"}(" + b"".join(b"M" + struct.pack("<H", number) + b"N" for number in range(9000)) + b"u\x85",
        3,
        300,
    ),
    "lists of one list": (
        global_("copyreg", "_reconstructor"),
        global_(attacks.Items.__module__, "Items") + global_("builtins", "list") + b"](" + b"N" * 9000 + b"e\x87",
        3,
        300,
    ),
    "paths of many empty texts": (global_("pathlib", "PurePath"), b"(" + b"\x8c\x00" * 9000 + b"t", 3, 300),
    "slices of too much": (global_("builtins", "slice"), b"(" + b"N" * 9000 + b"t", 0, 300),
    "a time zone that is found again and again": (ZONE, NEW_YORK + b"\x88\x86", 200, 3000),
    "a time zone that is made again and again": (ZONE, NEW_YORK + b"\x89\x86", 20, 300),
}


@pytest.mark.parametrize("name", REPEATED)
def test_what_makes_a_copy_each_time(name: str) -> None:
    function, arguments, few, many = REPEATED[name]
    if few:
        assert len(CODEC.decode(KEY, repeated(function, arguments, few))) == few
    with pytest.raises(LimitError, match=COPIES):
        CODEC.decode(KEY, repeated(function, arguments, many))


@pytest.mark.parametrize("function", [FRACTION, RANGE + b"K\x00"])
def test_what_divides_long_ints_by_one_another(function: bytes) -> None:
    """It takes the square of their size."""
    end = b"\x87R." if function.endswith(b"K\x00") else b"\x86R."
    assert CODEC.decode(KEY, b"\x80\x03" + function + integer(9000) + integer(8999) + end)
    with pytest.raises(LimitError, match=COPIES):
        CODEC.decode(KEY, b"\x80\x03" + function + integer(90_000) + integer(89_999) + end)


def test_long_ints_are_hashed_each_time() -> None:
    def keys(size: int, count: int) -> bytes:
        return b"\x80\x03}" + integer(size) + put(0) + b"Ns(" + (get(0) + b"N") * count + b"u."

    assert len(CODEC.decode(KEY, keys(20_000, 100))) == 1
    with pytest.raises(LimitError, match=KEYS):
        CODEC.decode(KEY, keys(20_000, 20_000))
    with pytest.raises(LimitError, match=KEYS):  # in a tuple likewise
        CODEC.decode(KEY, keys(20_000, 20_000).replace(put(0), b"\x85" + put(0)))


def test_long_ints_are_compared_with_decimals() -> None:
    """A Decimal that hashes alike is: that takes the square of the size of the int."""

    def keys(size: int, count: int) -> bytes:
        like = int.from_bytes(b"\x11" * size, "little") % ((1 << 61) - 1)
        other = global_("decimal", "Decimal") + text(str(like)) + b"\x85R" + put(0)
        return b"\x80\x03}(" + integer(size) + b"N" + other + b"N" + (get(0) + b"N") * count + b"u."

    assert len(CODEC.decode(KEY, keys(500, 1000))) == 2
    with pytest.raises(LimitError, match=KEYS):
        CODEC.decode(KEY, keys(5000, 10_000))
    with pytest.raises(LimitError, match=KEYS):
        CODEC.decode(KEY, keys(100_000, 0))
    alone = b"\x80\x03}" + integer(100_000) + b"Ns."  # nothing to compare it with
    assert len(CODEC.decode(KEY, alone)) == 1


@pytest.mark.parametrize("cls", [uuid.SafeUUID, Place])
def test_what_the_error_of_an_enum_would_show(cls: type) -> None:
    """It shows the value that no member has, and what that holds as often as it is there."""
    function = global_(cls.__module__, cls.__qualname__)
    for wrap in (b"t", b"t\x85", b"l"):
        with pytest.raises(CodecError, match="not a valid"):
            CODEC.decode(KEY, b"\x80\x03" + function + b"(" + shared(40, 4000) + wrap + b"\x85R.")
        with pytest.raises(LimitError, match=COPIES):
            CODEC.decode(KEY, b"\x80\x03" + function + b"(" + shared(4000, 4000) + wrap + b"\x85R.")


CHAINS = {
    # Each is filled when the one before holds it already, so none of them seems to hold much.
    "deque": lambda number: get(number - 1) + get(0) + b")R" + put(number) + b"a0",
    "defaultdict": lambda number: get(number - 1) + b"N" + get(0) + b")R" + put(number) + b"s0",
}


def chain(name: str, count: int) -> bytes:
    """So many in one another; what comes out is None, so that nobody sees how deep they nest."""
    head = b"\x80\x03" + global_("collections", name) + put(0) + get(0) + b")R" + put(1) + b"00"
    return head + b"".join(CHAINS[name](number) for number in range(2, count + 1)) + b"N."


@pytest.mark.parametrize("name", CHAINS)
def test_what_is_freed_by_recursion_does_not_nest_deep(name: str) -> None:
    assert CODEC.decode(KEY, chain(name, 900)) is None
    with pytest.raises(LimitError, match=DEEP):
        CODEC.decode(KEY, chain(name, 1100))


@pytest.mark.parametrize("name", CHAINS)
def test_nor_where_each_is_deep_already(name: str) -> None:
    def nested(first: int) -> bytes:
        """One with ten in one another, the innermost of which is `first`."""
        made = [get(0) + b")R" + put(number) + b"0" for number in range(first, first + 10)]
        put_in = (
            (lambda n: get(n + 1) + get(n) + b"a0") if name == "deque" else lambda n: get(n + 1) + b"N" + get(n) + b"s0"
        )
        return b"".join(made) + b"".join(put_in(number) for number in range(first, first + 9))

    end = b"a0" if name == "deque" else b"s0"
    key = b"" if name == "deque" else b"N"
    body = b"\x80\x03" + global_("collections", name) + put(0) + b"0"
    for first in range(10, 1500, 10):
        body += nested(first)
        if first > 10:  # the innermost of the ones before is given the outermost of these
            body += get(first - 10) + key + get(first + 9) + end
    with pytest.raises(LimitError, match=DEEP):
        CODEC.decode(KEY, body + b"N.")


@pytest.mark.parametrize("name", CHAINS)
def test_nor_at_a_glance(name: str) -> None:
    """As long as a glance tells how deep it is, it is not deep."""

    def whole(count: int) -> bytes:
        cls = b"\x8c\x0bcollections\x94\x8c" + bytes((len(name),)) + name.encode() + b"\x94\x93\x94"
        links = b""
        for number in range(4, 4 + count):
            key = b"" if name == "deque" else b"N"
            links += key + b"h\x03)R\x94" + (b"a" if name == "deque" else b"s") + get(number + 1)
        return b"\x80\x04]\x94(" + cls + b")R\x94" + links + b"e."

    for count, passes in ((100, True), (5000, False)):
        data = whole(count)
        assert (look(data, CODEC._names, 1000) is not None) is passes
        if passes:
            CODEC.decode(KEY, data)
        else:
            with pytest.raises(LimitError, match=DEEP):
                CODEC.decode(KEY, data)


def test_queues_that_hold_who_holds_them_come_back() -> None:
    """Late, but not deep."""
    queue: collections.deque[Any] = collections.deque()
    queue.append([queue])
    queue.extend(collections.deque([number]) for number in range(500))
    found = CODEC.decode(KEY, CODEC.encode(KEY, queue))
    assert found[0][0] is found
    assert list(found)[1:] == list(queue)[1:]


NODE = global_(__name__, "Node")


def doubled_late(cls: bytes, state: Callable[[bytes], bytes], count: int) -> bytes:
    """Objects each of which is given a pair of the next one, when others hold it; the first pair is a key."""
    made = b"".join(
        get(0) + b")\x81" + put(number) + b"2\x86" + put(100 + number) + b"0" for number in range(1, count + 1)
    )
    filled = b"".join(get(number) + state(get(101 + number)) + b"b0" for number in range(1, count))
    last = get(count) + state(b"K\x01") + b"b0"
    return b"\x80\x03" + cls + put(0) + b"0" + made + filled + last + b"}" + get(101) + b"Ns."


def test_what_hashes_its_fields_is_no_key_once_it_was_filled_late() -> None:
    """Hashing the first of two dozen would take a minute, of fifty for ever."""

    def state(value: bytes) -> bytes:
        return b"}" + text("name") + value + b"s"

    assert len(CODEC.decode(KEY, doubled_late(NODE, state, 4))) == 1
    with pytest.raises(LimitError, match=KEYS):
        CODEC.decode(KEY, doubled_late(NODE, state, 24))
    back = doubled_late(NODE, state, 4).replace(get(4) + state(b"K\x01"), get(4) + state(get(101)))
    with pytest.raises(LimitError, match="hashing it might not end"):
        CODEC.decode(KEY, back)
    number = global_("uuid", "UUID")
    with pytest.raises(CodecError, match="as no pickle of data does"):
        CODEC.decode(KEY, doubled_late(number, lambda value: b"}" + text("int") + value + b"s", 24))


def test_cycles_of_what_is_hashed_come_back() -> None:
    """A member of an enum whose value has parts, too, behind something that was filled late."""
    family = Family(Place.AWAY)
    found = CODEC.decode(KEY, CODEC.encode(KEY, [family, {family: Place.HOME}]))
    assert found[0].members == {found[0]}
    assert found[0].place is Place.AWAY
    assert found[1] == {found[0]: Place.HOME}
    tree: list[Any] = []
    tree.extend(Child(f"child {number}", tree) for number in range(30))
    again = CODEC.decode(KEY, CODEC.encode(KEY, [tree, set(tree)]))
    assert again[1] == set(tree)
    assert again[0][3].parent is again[0]


def test_keys_that_are_gone_over_anew_are_counted() -> None:
    """As soon as they are too many, no other one is looked at."""
    late = NODE + put(0) + b"0" + get(0) + b")\x81" + put(1) + b"\x85" + put(2) + b"0"
    late += get(1) + b"}" + text("name") + b"K\x01sb0"
    wide = b"(" + (get(0) + b")\x81}" + text("name") + b"Nsb") * 500 + get(1) + b"t" + put(3) + b"0"

    def data(count: int) -> bytes:
        return b"\x80\x03" + late + wide + b"}(" + (get(3) + b"N") * count + b"u."

    assert len(CODEC.decode(KEY, data(10))) == 1
    walk = Walk(data(5000), CODEC, max_work=1 << 20)
    with pytest.raises(LimitError, match=KEYS):
        walk.run()
    assert walk.work_left > -(1 << 20)


# At a glance.


def named(module: str, name: str) -> bytes:
    """As protocol 4 names a class for the first time: three things of the memo."""
    parts = [b"\x8c" + bytes((len(part),)) + part.encode() + b"\x94" for part in (module, name)]
    return b"".join(parts) + b"\x93\x94"


UUID = named("uuid", "UUID")  # 0, 1, 2
FIRST = UUID + b")\x81\x94}\x94\x8c\x03int\x94K\x05sb"  # 3, 4, 5
NUMBERS = {
    "many": FIRST + b"h\x02)\x81\x94}\x94h\x05K\x06sb",
    "of many bytes": FIRST + b"h\x02)\x81\x94}\x94h\x05\x8a\x10" + b"h\x01" * 7 + b"x\x01sb",
    "one that is there twice": FIRST + b"h\x03",
    "a name that was there": b"\x8c\x03int\x94" + UUID + b")\x81\x94}\x94h\x00K\x05sb",
}
NO_NUMBERS = {
    "of a list": UUID + b")\x81\x94}\x94\x8c\x03int\x94h\x00sb",
    "of what is fetched": FIRST + b"]\x94h\x02)\x81\x94}\x94h\x05h\x06sb",
    "of another one": FIRST + b"h\x02)\x81\x94}\x94h\x05h\x03sb",
    "of two fields": FIRST + b"h\x02)\x81\x94}\x94(h\x05K\x01\x8c\x07is_safe\x94]ub",
    "the first of two fields": UUID + b")\x81\x94}\x94(\x8c\x03int\x94K\x01\x8c\x07is_safe\x94]ub",
    "by another name": UUID + b")\x81\x94}\x94\x8c\x03abc\x94K\x05sb",
    "by another name that is fetched": b"\x8c\x03abc\x94" + UUID + b")\x81\x94}\x94h\x00K\x05sb",
    "by another name later": FIRST + b"\x8c\x03abc\x94h\x02)\x81\x94}\x94h\x06K\x05sb",
    "of a class whose name comes first": UUID[:-2] + UUID + b")\x81\x94}\x94(\x8c\x03int\x94]ub",
    "hidden in a text": FIRST + b"\x8c\x0ah\x02)\x81\x94}\x94h\x05\x8ah\x02)\x81\x94}\x94(h\x05]ubK\x01K\x01",
    "of a class that is fetched in another way": FIRST + b"]\x94j\x02\0\0\0)\x81\x94}\x94h\x05h\x06sb",
    "of a class that was called": UUID + b"\x8c\x03int\x94\x85R",
}


def body(entries: bytes) -> bytes:
    return b"\x80\x04](" + entries + b"e."


@pytest.mark.parametrize("name", NUMBERS)
def test_a_glance_tells_uuids(name: str) -> None:
    data = body(NUMBERS[name])
    assert look(data, CODEC._names, 1000) is not None
    CODEC.decode(KEY, data)


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_a_glance_tells_no_uuid_of_anything_else(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = body(NO_NUMBERS[name])
    for first in FIRSTS:
        found = look(data, CODEC._names, 1000, first)
        assert found is None
    with pytest.raises(CodecError):
        CODEC.decode(KEY, data)
    monkeypatch.setattr(glance, "_watched", lambda *given: (0x70, b"h\x70"))
    assert look(data, CODEC._names, 1000) is not None  # it was refused for that alone


def test_a_glance_tells_uuids_behind_much_else() -> None:
    """Where the numbers in the memo are long."""
    value = [*[[n] for n in range(400)], *[{"id": uuid.UUID(int=n << 60)} for n in range(1, 300)]]
    data = pickle.dumps(value, 4)
    assert look(data, CODEC._names, 1000) is not None
    assert CODEC.decode(KEY, data) == value


def test_a_glance_does_not_tell_what_puts_a_list_into_itself() -> None:
    data = (
        b"\x80\x04](]\x94Na" + named("builtins", "slice") + b"K\x00K\x00N\x87R\x94" + b"h\x00h\x04h\x00s" * 20 + b"e."
    )
    for first in FIRSTS:
        assert look(data, CODEC._names, 1000, first) is None


def test_a_glance_does_not_tell_what_makes_much_of_one_tuple() -> None:
    """A path of 64 texts, each of which is one of many parts."""

    def paths(count: int) -> bytes:
        arguments = b"(" + (b"\x8c\xfe" + b"a/" * 127) * 60 + b"t\x94"
        return body(named("pathlib", "PurePosixPath") + arguments + b"h\x02h\x03R" * count)

    assert look(paths(50), CODEC._names, 1000) is not None
    assert look(paths(5000), CODEC._names, 1000) is None
    with pytest.raises(LimitError, match=COPIES):
        CODEC.decode(KEY, paths(5000))


AGAIN = {
    "in full": UUID,
    "in full, and not put into the memo": UUID[:-1],
    "by the module that is fetched": b"h\x00\x8c\x04UUID\x94\x93\x94",
    "by the module that is fetched, and not put into the memo": b"h\x00\x8c\x04UUID\x94\x93",
    "by a line": b"cuuid\nUUID\n",
}


@pytest.mark.parametrize("how", AGAIN)
def test_a_glance_tells_no_uuid_whose_class_is_named_again(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what does not go through the memo, nobody would look what comes next."""
    data = body(FIRST + AGAIN[how] + b")\x81\x94}\x94(\x8c\x03int\x94K\x01\x8c\x07is_safe\x94]ub")
    monkeypatch.setattr(glance, "_watched", lambda *given: (0x70, b"h\x70"))
    for first in FIRSTS:
        assert look(data, CODEC._names, 1000, first) is None
    with pytest.raises(CodecError):
        CODEC.decode(KEY, data)


DIGITS = b"K\x01\x94K\x00(" + b"h\x03" * 500 + b"tK\x00\x87\x85\x94"  # 3, 4: the digits of a Decimal are in a tuple
NOT_FLAT = b"K\x01\x8c\x01a\x86\x85"
DECIMALS = named("decimal", "Decimal") + b"\x8c\x015\x94\x85\x94R\x94"  # 0, 1, 2; 3, 4, 5
OLD_DECIMALS = b"cdecimal\nDecimal\nq\x02X\x01\x00\x00\x005q\x03\x85q\x04Rq\x05"
ONE_TEXT = {
    "one": DECIMALS,
    "two": DECIMALS + b"h\x02\x8c\x016\x94\x85\x94R\x94",
    "one that is there twice": DECIMALS + b"h\x05",
    "as protocol 2 has them": OLD_DECIMALS + b"h\x02X\x01\x00\x00\x006q\x06\x85q\x07Rq\x08",
}
NO_TEXT = {
    "of digits": named("decimal", "Decimal") + DIGITS + b"h\x02h\x04R",
    "of digits later": DECIMALS + b"K\x00K\x01\x85K\x00\x87\x85\x94" + b"h\x02h\x06R",
    "of digits later, fetched in another way": DECIMALS + b"K\x00K\x01\x85K\x00\x87\x85\x94" + b"j\x02\0\0\0h\x06R",
    "named again": DECIMALS + DECIMALS[:-1] + b"K\x00K\x01\x85K\x00\x87\x85R",
    "named again, and not put into the memo": DECIMALS + named("decimal", "Decimal")[:-1] + b"h\x04R",
    "named by a line": DECIMALS + b"cdecimal\nDecimal\nh\x04R",
    "the class itself": DECIMALS + b"h\x02",
    "of two texts": DECIMALS + b"h\x02\x8c\x016\x94\x8c\x016\x94\x86\x94R\x94",
    "as protocol 2 has them": OLD_DECIMALS + b"h\x02h\x04R",
    "put where something else was": OLD_DECIMALS + b"h\x02q\x09h\x04R",
    "put twice": OLD_DECIMALS.replace(b"q\x02", b"q\x02q\x09") + b"h\x09h\x04R",
}


def is_old(entries: bytes) -> bool:
    return entries.startswith(b"c")


@pytest.mark.parametrize("name", ONE_TEXT)
def test_a_glance_tells_decimals(name: str) -> None:
    entries = ONE_TEXT[name] + NOT_FLAT
    data = (b"\x80\x02](" if is_old(entries) else b"\x80\x04](") + entries + b"e."
    for first in FIRSTS:
        assert look(data, CODEC._names, 1000, first) is not None
    assert decimal.Decimal(5) in CODEC.decode(KEY, data)


@pytest.mark.parametrize("name", NO_TEXT)
def test_a_glance_tells_no_decimal_of_anything_else(name: str) -> None:
    entries = NO_TEXT[name] + NOT_FLAT
    for padding in (b"", b"\x8c\xff" + b"h\x02" * 127 + b"x", (b"\x8c\xff" + b"h\x02" * 127 + b"x") * 300):
        data = (b"\x80\x02](" if is_old(entries) else b"\x80\x04](") + entries + padding + b"e."
        for first in FIRSTS:
            assert look(data, CODEC._names, 1000, first) is None


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_glance_tells_many_rows_with_decimals(protocol: int) -> None:
    """Among numbers that look like the opcode which fetches the class."""
    rows = [(n, f"name {n}", n / 4, decimal.Decimal(n) / 4) for n in range(6000)]
    data = pickle.dumps(rows, protocol)
    found = look(data, CODEC._names, 1000)
    assert found is not None
    assert CODEC.decode(KEY, data) == rows
    bad = data[:-2] + NO_TEXT["of digits"].replace(b"h\x03", b"N").replace(b"h\x02h\x04", b"h\x02N\x85") + data[-2:]
    for first in FIRSTS:
        assert look(bad, CODEC._names, 1000, first) is None


@pytest.mark.parametrize("between", [b"\x95" + bytes(8), b"q\x09", b"(e", b""])
def test_a_glance_does_not_tell_what_makes_many_paths(between: bytes) -> None:
    arguments = b"(" + (b"\x8c\xfe" + b"a/" * 127) * 64 + b"t\x94"

    def paths(count: int) -> bytes:
        return body(named("pathlib", "PurePosixPath") + arguments + (b"h\x02h\x03" + between + b"R") * count)

    for first in FIRSTS:
        assert look(paths(4000), CODEC._names, 1000, first) is None
    with pytest.raises(CodecError):
        CODEC.decode(KEY, paths(4000))


CLASSES = {
    "an ordered dict": (named("collections", "OrderedDict"), b")R"),
    "an object": (named(__name__, "Family"), b")\x81"),
}


@pytest.mark.parametrize("name", CLASSES)
def test_a_state_is_copied_each_time(name: str) -> None:
    cls, call = CLASSES[name]

    def data(items: int, count: int) -> bytes:
        state = b"}\x94(" + b"".join(b"\x8c\x04%04dN" % number for number in range(items)) + b"u"
        return body(cls + state + (b"h\x02" + call + b"h\x03b") * count)

    assert CODEC.decode(KEY, data(3000, 10))
    for first in FIRSTS:
        assert look(data(3000, 3000), CODEC._names, 1000, first) is None
    with pytest.raises(LimitError, match=COPIES):
        CODEC.decode(KEY, data(3000, 3000))


def test_the_state_of_slots_is_copied_each_time() -> None:
    def data(count: int) -> bytes:
        state = b"N}(" + b"".join(b"\x8c\x04a%03dN" % number for number in range(900)) + b"u\x86" + put(1) + b"0"
        return (
            b"\x80\x04"
            + global_(__name__, "Family")
            + put(0)
            + b"0"
            + state
            + b"("
            + (get(0) + b")\x81" + get(1) + b"b") * count
            + b"l."
        )

    assert len(CODEC.decode(KEY, data(10))) == 10
    with pytest.raises(LimitError, match=COPIES):
        CODEC.decode(KEY, data(5000))


def test_the_state_of_a_uuid_has_two_items_at_most() -> None:
    """The same ones again and again would be gone over each time."""
    items = (text("int") + b"K\x01") * 3
    data = b"\x80\x03" + global_("uuid", "UUID") + b")\x81}(" + items + b"ub."
    with pytest.raises(CodecError, match=r"uses uuid\.UUID"):
        CODEC.decode(KEY, data)


def test_the_bytes_of_arrays_are_counted_each_time() -> None:
    """If they are in another order than here, they are copied."""
    np = pytest.importorskip("numpy")
    codec = SafePickle(numpy=True)
    array = np.arange(9000, dtype=">i8")
    data = codec.encode(KEY, [array, array.copy()])
    assert [list(found) for found in codec.decode(KEY, data)] == [list(array)] * 2
    module = np.core.multiarray.__name__ if np.__version__ < "2" else "numpy._core.multiarray"
    empty = global_(module, "_reconstruct") + global_("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    dtype = (
        global_("numpy", "dtype")
        + text("i8")
        + b"\x89\x88\x87R(K\x03"
        + text(">")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    raw = array.tobytes()
    state = (
        b"(K\x01M"
        + struct.pack("<H", 9000)
        + b"\x85"
        + dtype
        + b"\x89B"
        + struct.pack("<I", len(raw))
        + raw
        + b"t"
        + put(0)
        + b"0"
    )

    def arrays(count: int) -> bytes:
        return b"\x80\x03" + state + b"(" + (empty + get(0) + b"b") * count + b"l."

    assert len(codec.decode(KEY, arrays(5))) == 5
    with pytest.raises(LimitError, match=COPIES):
        codec.decode(KEY, arrays(500))
    for wide in (1 << 30, 100):
        none = dtype.replace(text("i8"), text(f"S{wide}")).replace(text(">"), text("|"))
        sizes = b"J" + struct.pack("<i", wide) + b"K\x01"
        none = none.replace(b"J\xff\xff\xff\xffJ\xff\xff\xff\xff", sizes)
        nothing = b"\x80\x03" + empty + b"(K\x01K\x00\x85" + none + b"\x89C\x00tb."
        if wide > 100:
            with pytest.raises(CodecError, match=r"uses numpy\.dtype"):
                codec.decode(KEY, nothing)
        else:
            assert len(codec.decode(KEY, nothing)) == 0


# What is compared with a Decimal.

LIKE = 20_000  # bytes of an int
LONG_INT = integer(LIKE)
SAME = int.from_bytes(b"\x11" * LIKE, "little")
HASH = str(SAME % ((1 << 61) - 1))
DECIMAL = global_("decimal", "Decimal") + text(HASH) + b"\x85R"
FRACTION_LIKE = global_("fractions", "Fraction") + text("1/" + "7" * 4200) + b"\x85R"
COMPARED = {
    "in a set": DECIMAL + put(0) + global_("builtins", "set") + b"](" + LONG_INT + get(0) * 500 + b"e\x85R",
    "in a frozenset": DECIMAL + put(0) + global_("builtins", "frozenset") + b"](" + LONG_INT + get(0) * 500 + b"e\x85R",
    "in tuples": LONG_INT + put(1) + DECIMAL + put(0) + b"}((" + get(1) * 500 + b"tN(" + get(0) * 500 + b"tNu",
    "whose name is written in another way": (
        b"Vdecimal\nV\\u0044ecimal\n\x93"
        + text(HASH)
        + b"\x85R"
        + put(0)
        + b"}("
        + LONG_INT
        + b"N"
        + (get(0) + b"N") * 500
        + b"u"
    ),
    "of a class of its own": (
        global_(__name__, "Money")
        + text(HASH)
        + b"\x85\x81"
        + put(0)
        + b"}("
        + LONG_INT
        + b"N"
        + (get(0) + b"N") * 500
        + b"u"
    ),
    "an int of a class of its own": (
        DECIMAL
        + put(0)
        + b"}("
        + global_(__name__, "Number")
        + text(f"{SAME:x}")
        + b"K\x10\x86\x81N"
        + (get(0) + b"N") * 500
        + b"u"
    ),
    "and a fraction": (
        global_("decimal", "Decimal")
        + text("9" * 60_000)
        + b"\x85R"
        + put(0)
        + b"}("
        + FRACTION_LIKE
        + b"N"
        + (get(0) + b"N") * 4000
        + b"u"
    ),
}


@pytest.mark.parametrize("name", COMPARED)
def test_long_numbers_are_compared_with_decimals_wherever_they_are(name: str) -> None:
    with pytest.raises(LimitError, match=KEYS):
        CODEC.decode(KEY, b"\x80\x04" + COMPARED[name] + b".")


# What is freed by recursion.


def test_slices_do_not_nest_deep_at_a_glance() -> None:
    def nested(count: int) -> bytes:
        return b"\x80\x04" + named("builtins", "slice") + b"h\x02" * count + b"N" + b"\x85R" * count + b"."

    assert type(CODEC.decode(KEY, nested(400))) is slice
    for first in FIRSTS:
        assert look(nested(6000), CODEC._names, 10**6, first) is None
    for codec in (CODEC, SafePickle(max_depth=10**6)):
        with pytest.raises(LimitError):
            codec.decode(KEY, nested(300_000))


def test_nor_do_structs() -> None:
    def nested(count: int) -> bytes:
        return b"\x80\x04" + named("time", "struct_time") + b"h\x02(" * count + b"N" + b"NNNNNNNNt\x85R" * count + b"."

    codec = SafePickle(["time:struct_time"])
    assert len(codec.decode(KEY, nested(100))) == 9
    with pytest.raises(LimitError, match=f"{DEEP}|{COPIES}"):
        codec.decode(KEY, nested(400_000))
    with pytest.raises(LimitError, match=f"{DEEP}|{COPIES}"):
        SafePickle(["time:struct_time"], max_depth=10**7).decode(KEY, nested(400_000))


def test_slices_and_queues_in_turn_do_not_nest_deep() -> None:
    """Each queue is given the slice of the next one when its own slice holds it."""

    def nested(count: int) -> bytes:
        parts = [b"\x80\x03" + global_("collections", "deque") + put(0) + global_("builtins", "slice") + put(1) + b"0("]
        parts += [
            get(0) + b")R" + put(2 * n) + b"0" + get(1) + get(2 * n) + b"\x85R" + put(2 * n + 1) + b"0"
            for n in range(1, count + 1)
        ]
        parts += [get(2 * n) + get(2 * n + 3) + b"a0" for n in range(1, count)]
        return b"".join(parts) + b"10N."

    assert CODEC.decode(KEY, nested(400)) is None
    with pytest.raises(LimitError, match=DEEP):
        CODEC.decode(KEY, nested(100_000))


def test_queues_with_lists_among_them_do_not_nest_deep() -> None:
    """The interpreter's guard sees the lists only, and lets 50 of them pass. Each is filled late."""

    def nested(lists: int, deques: int) -> bytes:
        parts = [b"\x80\x03" + global_("collections", "deque") + put(0) + b"0"]
        for n in range(1, lists + 1):
            parts += [b"]" + put(n), (get(0) + b")R") * deques + get(n) + b"a" * deques + put(n + 1000) + b"00"]
        parts += [get(n) + get(n + 1001) + b"a0" for n in range(1, lists)]
        return b"".join(parts) + b"N."

    assert CODEC.decode(KEY, nested(5, 90)) is None
    with pytest.raises(LimitError, match=DEEP):
        CODEC.decode(KEY, nested(900, 900))


def test_who_is_freed_by_recursion_is_told_by_its_class() -> None:
    import time

    for cls in (OSError, collections.deque, slice, time.struct_time, collections.OrderedDict):
        assert not granted._is_of_python(cls)
    for cls in (Node, Child, Family, Place, Money, Number, attacks.Items):
        assert granted._is_of_python(cls)


# What a call is made with.


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Word", b"](" * 9 + b"e" * 9 + b"\x85"),
        ("Bytes", b"J\xff\xff\xff\x7f\x85"),
        ("Row", global_("builtins", "range") + b"K\x00J\xff\xff\xff\x7f\x86R\x85"),
        ("Rank", global_("decimal", "Decimal") + text("1e1000000") + b"\x85R\x85"),
    ],
)
@pytest.mark.parametrize("call", [b"R", b"\x81"])
def test_an_init_does_not_change_what_a_base_takes(name: str, arguments: bytes, call: bytes) -> None:
    with pytest.raises(CodecError, match=f"uses {__name__}.{name}"):
        CODEC.decode(KEY, b"\x80\x03" + global_(__name__, name) + arguments + call + b".")


LIBRARY = {
    "arrays of one list": (b"carray\narray\n", text("d") + b"](" + numbers(9000) + b"e\x86"),
    "arrays of one text": (b"carray\narray\n", text("B") + b"B" + struct.pack("<I", 90_000) + bytes(90_000) + b"\x86"),
    "elements of one dict": (
        b"cxml.etree.ElementTree\nElement\n",
        text("tag") + b"}(" + b"".join(text(f"a{number}") + text("x") for number in range(9000)) + b"u\x86",
    ),
    "generators of one seed": (b"crandom\nRandom\n", text("x" * 90_000) + b"\x85"),
    "lists of one list": (b"ccollections\nUserList\n", text("x" * 90_000) + b"\x85"),
}
ALLOWING = SafePickle(["array.array", "xml.etree.ElementTree.Element", "random.Random", "collections.UserList"])


@pytest.mark.parametrize("name", LIBRARY)
def test_what_classes_of_the_library_copy_is_counted(name: str) -> None:
    function, arguments = LIBRARY[name]
    assert len(ALLOWING.decode(KEY, repeated(function, arguments, 3))) == 3
    with pytest.raises(LimitError, match=COPIES):
        ALLOWING.decode(KEY, repeated(function, arguments, 3000))


@pytest.mark.parametrize(
    "name", ["array.array", "xml.etree.ElementTree.Element", "random.Random", "collections.UserList"]
)
def test_nothing_that_copies_is_called_at_a_glance(name: str) -> None:
    module, _, cls = name.rpartition(".")
    data = body(named(module, cls) + b"](" + b"N" * 50 + b"e\x94h\x02h\x03\x85R")
    for first in FIRSTS:
        assert look(data, ALLOWING._names, 1000, first) is None


def test_the_children_of_elements_are_copied_each_time() -> None:
    def data(count: int) -> bytes:
        element = b"cxml.etree.ElementTree\nElement\n"
        children = b"](" + (element + text("a") + b"\x85R" + put(0) + get(0) * 5000) + b"e"
        state = (
            b"}(" + text("tag") + text("b") + text("_children") + children + text("attrib") + b"}" + text("text") + b"N"
        )
        state += text("tail") + b"Nu" + put(1) + b"0"
        return b"\x80\x03" + state + b"(" + (element + text("b") + b"\x85R" + get(1) + b"b") * count + b"l."

    assert len(ALLOWING.decode(KEY, data(5))) == 5
    with pytest.raises(LimitError, match=COPIES):
        ALLOWING.decode(KEY, data(3000))


@pytest.mark.parametrize("name", ["array.array", "collections.UserList"])
def test_no_sequence_is_given_a_slice_of_itself(name: str) -> None:
    """Thirty times, and it has a billion items."""
    module, _, cls = name.rpartition(".")
    made = global_(module, cls) + (text("B") + b"C\x04aaaa\x86R" if cls == "array" else b"](NNNNe\x85R") + put(0)
    slice_ = global_("builtins", "slice") + b"K\x00K\x00\x86R" + put(1) + b"0"
    data = b"\x80\x03" + slice_ + made + (get(1) + get(0) + b"s") * 30 + b"."
    with pytest.raises(CodecError, match=f"uses {re.escape(name)}"):
        ALLOWING.decode(KEY, data)


def test_with_names_a_text_is_copied_each_time() -> None:
    def data(count: int) -> bytes:
        arguments = text("x" * 100_000) + b"\x85" + put(1) + b"0"
        return b"\x80\x04" + arguments + b"(" + (global_(__name__, "Word") + get(1) + b"}\x92") * count + b"l."

    assert len(CODEC.decode(KEY, data(5))) == 5
    with pytest.raises(LimitError, match=COPIES):
        CODEC.decode(KEY, data(500))


def test_a_queue_is_not_set_item_by_item() -> None:
    """It looks for the place from one of its ends."""
    data = b"\x80\x03" + global_(__name__, "Queue") + b")\x81(" + b"N" * 50 + b"e(K\x19NK\x1aNu."
    with pytest.raises(CodecError, match=r"uses test_codec_costs\.Queue"):
        CODEC.decode(KEY, data)


def test_subclasses_with_an_init_of_their_own_come_back() -> None:
    values: list[Any] = [Word("x"), Bytes(b"x"), Row((1, 2)), Rank(5), Rank(7**300), Money("1.5"), Number(3)]
    for protocol in range(6):
        found = CODEC.decode(KEY, pickle.dumps(values, protocol))
        assert found == values
        assert list(map(type, found)) == list(map(type, values))
    assert CODEC.decode(KEY, pickle.dumps(Titled("name", [1]))) == [1]


# Texts that are equal, and not the same.

LONG = "x" * 60_000
TWINS = text(LONG) + put(0) + b"0" + text(LONG) + put(1) + b"0"


def tuple_of(number: int, count: int, *, size: int = 1000) -> bytes:
    return b"(" + get(number) * size + b"t" + put(count) + b"0"


# How they are put into something once, how again and again, how often that is too often, and what comes behind.
COMPARED_TEXTS = {
    "in tuples": (tuple_of(0, 2) + tuple_of(1, 3) + b"}" + get(2) + b"Ns(", get(3) + b"N", 8000, b"u"),
    "in frozensets": (b"}(" + get(0) + b"\x91Ns(", b"(" + get(1) + b"\x91N", 40_000, b"u"),
    "as keys": (b"}" + get(0) + b"Ns(", get(1) + b"N", 40_000, b"u"),
    "in a set": (b"\x8f(" + get(0), get(1), 40_000, b"\x90"),
}


@pytest.mark.parametrize("name", COMPARED_TEXTS)
def test_texts_are_compared_each_time(name: str) -> None:
    begin, each, too_often, end = COMPARED_TEXTS[name]
    lines = [f"{line}\np0\n0{line}\np1\n0".encode() for line in (f"V{LONG}", f"S'{LONG}'")]
    for twins in (TWINS, TWINS.replace(b"X", b"B"), *lines):
        few, many = (b"\x80\x03" + twins + begin + each * count + end + b"." for count in (5, too_often))
        codec = SafePickle()
        assert len(codec.decode(KEY, few)) == 1
        for _ in range(3):
            with pytest.raises(LimitError, match=KEYS):
                codec.decode(KEY, many)


def test_a_glance_does_not_tell_texts_that_are_compared_each_time() -> None:
    def data(sizes: tuple[int, int], count: int) -> bytes:
        texts = b"".join(text("x" * size) + b"\x94" for size in sizes)
        return b"\x80\x04]\x94(" + texts + b"}(h\x01N" + b"h\x02N" * count + b"ue."

    for first in FIRSTS:
        assert look(data((60_000, 60_000), 40_000), CODEC._names, 1000, first) is None
    assert look(data((60_000, 59_999), 40_000), CODEC._names, 1000)
    assert look(data((60_000, 60_000), 1000), CODEC._names, 1000)
    with pytest.raises(LimitError, match=KEYS):
        CODEC.decode(KEY, data((60_000, 60_000), 40_000))


def test_one_text_is_a_key_as_often_as_anybody_likes() -> None:
    """Where there is no other one that is as long, they need not be compared."""
    title = "a title of some length " * 20
    for protocol in range(1, 6):
        value = [{title: n, "twin" * 100: n, "next" * 101: str(n)} for n in range(3000)]
        data = pickle.dumps(value, protocol)
        assert look(data, CODEC._names, 1000) is not None
        assert SafePickle().decode(KEY, data) == value


def test_a_shape_knows_how_long_its_keys_are() -> None:
    def data(one: str, other: str, count: int) -> bytes:
        """Objects by keys that are tuples of the same two texts, but not the same tuple."""
        keys = text(one) + b"\x94" + text(other) + b"\x94"
        row = b"}(" + b"h\x04h\x04\x86h\x03)\x81" + b"h\x05h\x05\x86h\x03)\x81" + b"K\x01Nu"
        return b"\x80\x04]\x94(" + named(__name__, "Node") + keys + row * count + b"e."

    codec = SafePickle([Node])
    for n in range(20):
        assert len(codec.decode(KEY, data(f"some {n}", f"other {n}", 200))) == 203
    assert codec._known_by is codec._shapes
    for sizes in ((300, 299), (60_000, 50_000)):
        found = codec.decode(KEY, data(*["s" * size for size in sizes], 200))
        assert [len(row) for row in found[3:]] == [3] * 200
    with pytest.raises(LimitError, match=KEYS):
        codec.decode(KEY, data("s" * 60_000, "s" * 60_000, 20_000))


def test_a_shape_takes_texts_none_of_which_is_as_long_as_another_one() -> None:
    def data(size: int) -> bytes:
        """A key that is fetched, a number, an object, and a text."""
        first = named(__name__, "Node") + b"]\x8c\x03key\x94a" + b"}(h\x04K\x01u"
        return b"\x80\x04]\x94(" + first + b"h\x03)\x81X" + struct.pack("<I", size) + b"h" * size + b"e."

    codec = SafePickle([Node])
    for size in range(20, 60):
        codec._shapes.learn(data(size), walked(codec, data(size)), codec)
    assert data(200) in codec._shapes
    assert data(100_000) in codec._shapes
    assert len(codec.decode(KEY, data(100_000))) == 5


def walked(codec: SafePickle, data: bytes) -> Walk:
    walk = Walk(data, codec)
    walk.run()
    return walk


def test_how_deep_elements_are_is_found_out_by_each_of_them_once() -> None:
    element = global_("xml.etree.ElementTree", "Element") + text("a") + b"\x85R"
    data = b"\x80\x03" + element + b"q\x000" + element + b"(" + get(0) * 20_000 + b"eq\x010(" + get(1) * 5000 + b"l."
    largest = 0
    gone_over = gc.get_referents

    def counted(*things: Any) -> list[Any]:
        nonlocal largest
        found = gone_over(*things)
        largest = max(largest, len(found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "get_referents", counted)
        assert len(ALLOWING.decode(KEY, data)) == 5000
    assert 0 < largest < 2 * len(data)
