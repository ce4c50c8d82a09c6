"""No pickle takes much more than its size: what a few bytes of it copy, hash, compare, nest or free is counted."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import fractions
import pickle
import struct
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

import pytest

import attacks
from attacks import global_, text
from hutch.codecs import SafePickle, glance
from hutch.codecs.glance import look
from hutch.errors import CodecError, LimitError

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


CODEC = SafePickle([Place, Node, Child, Family, attacks.Items])


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
    node = global_(__name__, "Node")

    def state(value: bytes) -> bytes:
        return b"}" + text("name") + value + b"s"

    for count in (4, 24):
        with pytest.raises(LimitError, match="hashing it might not end"):
            CODEC.decode(KEY, doubled_late(node, state, count))
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
    "of a class that is named twice": FIRST + UUID + b")\x81\x94}\x94(h\x05]ub",
    "of a class whose name comes first": UUID[:-2] + UUID + b")\x81\x94}\x94(\x8c\x03int\x94]ub",
    "hidden in a text": FIRST + b"\x8c\x0ah\x02)\x81\x94}\x94h\x05\x8ah\x02)\x81\x94}\x94(h\x05]ubK\x01K\x01",
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
    for first in range(12):
        found = look(data, CODEC._names, 1000, first)
        assert found is None
    with pytest.raises(CodecError):
        CODEC.decode(KEY, data)
    monkeypatch.setattr(glance, "_are_numbers", lambda *given: True)
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
    for first in range(12):
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


# Data is far from all that.


class Many(list[Any]):
    """A subclass, whose items are put in one by one."""

    def __reduce__(self) -> tuple[type[Self], tuple[()], None, Any]:
        return type(self), (), None, iter(self)


LARGE = {
    "a large counter": collections.Counter(range(100_000)),
    "large counters": [collections.Counter({f"word {m}": m for m in range(n)}) for n in range(300)],
    "a large set": set(range(100_000)),
    "frozensets": [frozenset(range(n)) for n in range(300)],
    "queues": [collections.deque(range(n), maxlen=500) for n in range(300)],
    "all time zones": [zoneinfo.ZoneInfo(name) for name in sorted(zoneinfo.available_timezones())],
    "moments of a few zones": [
        dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo(("Europe/Berlin", "Asia/Tokyo")[n % 2])) for n in range(2000)
    ],
    "fractions": [fractions.Fraction(n, 7**n) for n in range(500)],
    "decimals": {decimal.Decimal(n) ** 9: n for n in range(2000)},
    "long ints": {3**n: [5**n, (7**n, n)] for n in range(0, 4000, 40)},
    "keys of a signature": {"n": (1 << 4096) - 3, "d": (1 << 4095) - 1, **{(n, "a"): n for n in range(5000)}},
    "uuids": {uuid.UUID(int=n**9 % (1 << 128)): n for n in range(5000)},
    "ranges": [range(n) for n in range(2000)],
    "texts": ["x" * 10_000] * 2000,
}


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("name", LARGE)
def test_large_data_comes_back(name: str, protocol: int) -> None:
    value: Any = LARGE[name]
    assert SafePickle(protocol=protocol).decode(KEY, SafePickle(protocol=protocol).encode(KEY, value)) == value
