"""Pickles of known items are read without a walk; and what is known of them is never more than a walk lets pass."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import itertools
import pathlib
import pickle
import random
import threading
import uuid
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

import attacks
from hutch.codecs import SafePickle, glance, safe, shapes, tracing
from hutch.codecs.accounts import most_copied
from hutch.codecs.opcodes import Walk
from hutch.codecs.shapes import Shapes
from hutch.errors import CodecError, LimitError

KEY = b"key"
BERLIN, TOKYO = zoneinfo.ZoneInfo("Europe/Berlin"), zoneinfo.ZoneInfo("Asia/Tokyo")


class Colour(enum.Enum):
    RED = "red"
    BLUE = ("blue", 2)


class Row(NamedTuple):
    number: int
    at: object


@dataclass(slots=True)
class Slotted:
    number: int
    name: str


@dataclass
class Plain:
    first: object
    second: object
    third: object


MINE = [Colour, Row, Slotted, Plain]
CODEC = SafePickle(MINE)
NUMBERS = itertools.count(1000)  # so that there are no two paths with a part in common, which would be fetched
# By name, what makes the n-th of them.
ITEMS: dict[str, Callable[[int], Any]] = {
    "objects with slots": lambda n: Slotted(n, f"name {n}"),
    "fractions": lambda n: fractions.Fraction(n + 1, 7 + n * n),
    "moments of a zone": lambda n: dt.datetime(2024, 1, 1, n % 24, tzinfo=BERLIN),
    "moments of two zones": lambda n: dt.datetime(2024, 1, 1, n % 24, tzinfo=(BERLIN, TOKYO)[n % 2]),
    "tuples with a dict": lambda n: (f"text {n}", dt.date(2024, 1, 1 + n % 28), {"a": n, "b": [n]}),
    "objects of objects": lambda n: Plain(
        n, fractions.Fraction(1, n + 1), ipaddress.ip_network(f"10.0.{n % 256}.0/24")
    ),
    "objects that may lack something": lambda n: Plain(
        None if n % 3 else n, f"x{n}" if n % 2 else n / 2, Slotted(n, "")
    ),
    "records": lambda n: {
        "id": uuid.UUID(int=n << 90), "path": pathlib.PurePath(f"/a/{next(NUMBERS)}"), "last": collections.deque([n])
    },
    "keys": lambda n: {(n, dt.date(2024, 1, 1)): fractions.Fraction(1, 3 + n)},
    "rows": lambda n: Row(n, [dt.timedelta(n), (n, (n, "a"))]),
    "enums": lambda n: (Colour.RED, [n, Colour.BLUE], Slotted(n, "a")),
    "long dicts": lambda n: {
        "many": Plain({f"key {m}": m for m in range(n % 2, 40)}, 1, 2), "n": decimal.Decimal(n)
    },
    "dicts of other classes": lambda n: [
        collections.OrderedDict(a=n, b=(n,)), collections.defaultdict(int, {(n, "b"): 1})
    ],
    "sets": lambda n: {(n, "a"), (n + 1, "a")},
    "long texts": lambda n: Slotted(n, f"{n}" * (200 if n % 3 else 2)),
    "long bytes": lambda n: (Slotted(n, ""), b"%d" % n * (300 + n)),
}  # fmt: skip


@pytest.fixture
def no_walk(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From when it is called, nothing is told at a glance, or walked over."""

    def begin() -> None:
        def refuse(*arguments: object, **named: object) -> None:
            raise AssertionError("it was walked over")

        monkeypatch.setattr(safe, "Walk", refuse)
        monkeypatch.setattr(safe, "look", lambda *arguments: None)

    return begin


def learner(max_depth: int = 1000) -> SafePickle:
    """A codec that knows shapes only."""
    codec = SafePickle(MINE, max_depth=max_depth)
    codec._templates.learn = lambda *arguments: False  # type: ignore[method-assign]
    codec._shapes.are_of_use = lambda: True  # type: ignore[method-assign]
    return codec


def learn(codec: SafePickle, data: bytes) -> bool:
    """Whether a pickle that passes a walk was remembered."""
    walk = Walk(data, codec, max_depth=codec._max_depth, max_copied=most_copied(len(data)))
    walk.run()
    return codec._shapes.learn(data, walk, codec)


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("name", ITEMS)
def test_items_are_known_however_many(name: str, protocol: int, no_walk: Callable[[], None]) -> None:
    make = ITEMS[name]

    def items(count: int) -> list[Any]:
        """The first and the last one are the same: how they look there is known, too, if they are."""
        return [*[make(n % 10) for n in range(count - 1)], make(0)]

    codec = learner()
    for count in (30, 1003, 2003):  # the pickler puts in a thousand at a time
        data = pickle.dumps(items(count), protocol)
        if len(data) <= shapes.MAX_SHAPE_BYTES:
            assert learn(codec, data)
    no_walk()
    for count in (31, 200, 990, 1005, 2500, 5000):  # beyond 64 KiB there are more frames
        if "long" in name and count > 1000:  # of which none was short enough to be remembered
            continue
        value = items(count)
        assert codec.decode(KEY, pickle.dumps(value, protocol)) == value, count


@pytest.mark.parametrize(
    "make",
    [
        lambda n: {"id": n, "at": dt.datetime(2024, 1, 1, n % 24)},
        lambda n: {"id": n, "words": [f"word {n}", {"deep": 0.5}]},
    ],
    ids=["classes", "builtins"],
)
def test_items_are_known_where_they_are_told_at_a_glance(
    make: Callable[[int], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that the next ones are told sooner: but not from the first one, as to remember it takes a while."""
    codec = SafePickle()
    walks: list[int] = []

    class Counted(Walk):
        def run(self) -> None:
            walks.append(len(self.data))
            super().run()

    monkeypatch.setattr(safe, "Walk", Counted)
    for _ in range(8):
        assert not walks
        assert codec.decode(KEY, pickle.dumps([make(n) for n in range(300)])) == [make(n) for n in range(300)]
    assert len(walks) == 1
    monkeypatch.setattr(safe, "look", lambda *arguments: pytest.fail("it was looked at"))
    for count in (310, 400):
        assert codec.decode(KEY, pickle.dumps([make(n) for n in range(count)])) == [make(n) for n in range(count)]
    assert len(walks) == 1


def test_the_first_long_value_is_not_remembered() -> None:
    """Whoever reads one only need not wait until it is."""
    codec = SafePickle(MINE)
    values = [[Slotted(n + first, "a") for n in range(100)] for first in range(3)]
    made = []
    for value in values:
        assert codec.decode(KEY, pickle.dumps(value)) == value
        made.append(codec._shapes._made)
    assert made == [0, 1, 1]
    assert codec._known_by is codec._shapes


def test_frames_may_begin_anywhere(no_walk: Callable[[], None]) -> None:
    codec = learner()
    value = [Slotted(n, f"name {n}") for n in range(50)]
    data = pickle.dumps(value)
    assert learn(codec, data)
    ends = [behind for _, _, behind in shapes.opcodes_of(data)]
    no_walk()
    for end in ends[6:-1]:
        framed = data[:end] + b"\x95" + bytes(8) + data[end:]
        if data[end - 1 : end] != b"\x93" and framed in codec._shapes:  # a name may not be known when it is cut
            assert codec.decode(KEY, framed) == value
    middle = ends[len(ends) // 2]
    assert data[:middle] + (b"\x95" + bytes(8)) * 3 + data[middle:] in codec._shapes
    assert data[:3] + bytes(8) + data[11:] in codec._shapes
    assert data[: middle - 1] + b"\x95" + bytes(8) + data[middle - 1 :] not in codec._shapes or (
        middle - 1 in ends
    )  # in the middle of an opcode it is no frame


@pytest.mark.parametrize("name", ["objects with slots", "records"])
def test_what_does_not_end_is_not_known(name: str) -> None:
    codec = learner()
    data = pickle.dumps([ITEMS[name](n) for n in range(60)])
    assert learn(codec, data)
    assert data in codec._shapes
    for size in range(len(data)):
        assert data[:size] not in codec._shapes
    assert data + b"." not in codec._shapes
    assert data + b"N." not in codec._shapes
    assert data[:-1] + b"\x85." not in codec._shapes


# What is known, a walk lets pass.


def content(opcode: int, generator: random.Random) -> bytes:
    size = generator.choice((0, 1, 2, 5, 64, 255)) if generator.random() < 0.2 else generator.randrange(12)
    if opcode in b"\x8cX" and generator.random() < 0.02:
        name = generator.choice((b"__class__", b"__", b"int", b"is_safe", b"latin1", b"_unpickle", b"os", b"x\xc2\x94"))
        return len(name).to_bytes(1 if opcode == 0x8C else 4, "little") + name
    if opcode in b"\x8cX":
        return size.to_bytes(1 if opcode == 0x8C else 4, "little") + bytes(generator.choices(b"abcz.1", k=size))
    if opcode in b"CB":
        return size.to_bytes(1 if opcode == 0x43 else 4, "little") + generator.randbytes(size)
    if opcode == 0x8A:
        return bytes((size,)) + generator.randbytes(size)
    return bytes(8) if opcode == 0x95 else generator.randbytes({0x4B: 1, 0x4D: 2, 0x4A: 4, 0x47: 8}[opcode])


def follow(beginning: Any, generator: random.Random) -> bytes | None:
    """A pickle that follows what is known from the first state to the end, this way and that."""
    state, data, opcode = beginning.first, b"", 0
    for steps in range(400):
        ways = list(state.items())
        if steps > 50:
            ways = [(piece, following) for piece, following in ways if following is shapes._END] or ways
        piece, state = generator.choice(ways)
        data += (content(opcode, generator) if data else b"") + piece
        opcode = piece[-1]
        if state is shapes._END:
            return data
    return None


def check(codec: SafePickle, generator: random.Random, count: int) -> int:
    """How many pickles of what a codec knows have passed a walk."""
    passed = 0
    for beginning in codec._shapes._beginnings.values():
        for _ in range(count):
            data = follow(beginning, generator)
            if data is None or not beginning.leads_through(data):
                continue
            walk = Walk(
                data,
                codec,
                max_depth=codec._max_depth,
                max_work=(1 << 20) + 64 * len(data),
                max_copied=most_copied(len(data)),
            )
            walk.run()
            assert walk.end == len(data)
            passed += 1
    return passed


def some_value(generator: random.Random) -> Any:
    makers = [ITEMS[name] for name in generator.sample(list(ITEMS), generator.randint(1, 3))]
    items = [generator.choice(makers)(generator.randrange(50)) for _ in range(generator.choice((1, 2, 3, 6, 12)))]
    match generator.randrange(5):
        case 0:
            return tuple(items[:5])
        case 1:
            return {f"key {n}": item for n, item in enumerate(items)}
        case 2:
            return Plain(items, items[0], None)
    return items


@pytest.mark.parametrize("seed", range(6))
def test_any_way_through_what_is_known_of_data_passes_a_walk(seed: int) -> None:
    generator = random.Random(seed)
    passed = 0
    for _ in range(6):
        codec = learner()
        for _ in range(20):
            data = pickle.dumps(some_value(generator), generator.choice((4, 5)))
            learn(codec, data)
        passed += check(codec, generator, 30)
    assert passed > 100


class Hostile:
    """Makes pickles whose parts are put together at random, in lists of a few that come again."""

    names = (
        *(where for where in SafePickle()._entries if where[0] != "zoneinfo"),
        *((cls.__module__, cls.__qualname__) for cls in MINE),
    )
    atoms = (
        *(b"K\1", b"M\1\1", b"J\1\0\0\0", b"G" + bytes(8), b"\x8c\3abc", b"\x8c\0", b"X\3\0\0\0abc", b"C\2ab", b"N"),
        *(b"\x8a\x01\x05", b"\x8a\x0a" + b"\1" * 10, b"\x88", b"\x89", b")", b"]", b"}", b"\x8f", b"\x8c\6latin1"),
        *(b"\x8c\x011", b"\x8c\x091.2.3.4/8", b"\x8c\3int", b"\x8c\x07is_safe", b"\x8c\x09__class__", b"\x8c\x03red"),
    )

    def __init__(self, generator: random.Random) -> None:
        self.random = generator

    def memo(self) -> bytes:
        return self.random.choice((b"", b"\x94"))

    def name(self) -> bytes:
        parts = [part.encode() for part in self.random.choice(self.names)]
        return b"".join(b"\x8c" + bytes((len(part),)) + part + self.memo() for part in parts) + b"\x93" + self.memo()

    def values(self, depth: int, count: int) -> bytes:
        return b"".join(self.value(depth) for _ in range(count))

    def arguments(self, depth: int) -> bytes:
        count = self.random.randrange(4)
        return self.values(depth, count) + (b")", b"\x85", b"\x86", b"\x87")[count]

    def value(self, depth: int) -> bytes:
        kind = self.random.randrange(14)
        deeper = depth + 1
        if depth > 3 or kind < 5:
            return self.random.choice(self.atoms) + self.memo()
        if kind < 7:
            return b"h" + bytes((self.random.randrange(8),))
        match kind:
            case 7:
                return b"](" + self.values(deeper, self.random.randrange(4)) + b"e"
            case 8:
                return b"}" + self.memo() + b"(" + self.values(deeper, 2 * self.random.randrange(3)) + b"u"
            case 9:
                return self.arguments(deeper)
            case 10:
                parts = self.values(deeper, self.random.randrange(5))
                return b"(" + parts + self.random.choice((b"t", b"\x91")) + self.memo()
            case 11:
                state = (b"", b"\x94", self.value(deeper) + b"b", b"N}(" + self.values(deeper, 2) + b"u\x86b")
                call = self.name() + self.arguments(deeper) + self.random.choice((b"R", b"\x81"))
                return call + self.random.choice(state)
            case 12:
                more = self.random.choice((b"a", self.value(deeper) + b"s"))
                return self.name() + self.arguments(deeper) + b"R" + self.value(deeper) + more
        return bytes((self.random.choice(b"asbR\x81\x85\x86\x87teu\x90\x91(\x94"),))

    def pickle(self) -> bytes:
        items = [self.values(0, self.random.randint(1, 3)) for _ in range(3)]
        first = b"".join(self.value(1) + b"\x94" for _ in range(self.random.randrange(3)))
        some = b"".join(self.random.choices(items[: self.random.randint(1, 3)], k=self.random.randint(2, 8)))
        return b"\x80\x04(" + first + b"]" + self.memo() + b"(" + some + b"et."


@pytest.mark.parametrize("seed", range(4))
def test_any_way_through_what_is_known_of_attacks_passes_a_walk(seed: int) -> None:
    generator = random.Random(seed)
    hostile = Hostile(generator)
    passed = learned = 0
    for _ in range(6):
        codec = learner()
        for _ in range(500):
            data = hostile.pickle()
            try:
                learned += learn(codec, data)
            except CodecError:
                continue
        passed += check(codec, generator, 60)
    assert learned > 100
    assert passed > 300


# What holds that: each is known only if it is taken out.


def named(module: str, name: str) -> bytes:
    parts = [b"\x8c" + bytes((len(part),)) + part.encode() + b"\x94" for part in (module, name)]
    return b"".join(parts) + b"\x93\x94"


def in_list(first: bytes, items: bytes) -> bytes:
    return b"\x80\x04(" + first + b"](" + items + b"et."


LIMITS: dict[str, tuple[bytes, bytes, Callable[[pytest.MonkeyPatch], None], int]] = {
    "texts": (
        b"\x8c\xff" + b"a" * 255 + b"\x94" + named("pathlib", "PurePosixPath"),
        b"K\x01h\x03h\x00h\x00h\x00\x87R",
        lambda patch: patch.setattr(shapes, "most_copied", lambda size: 1 << 40),
        20_000,
    ),
    "parts": (
        b"(" + b"N" * 100 + b"t\x94" + named("builtins", "frozenset"),
        b"K\x01h\x03h\x00\x85R",
        lambda patch: patch.setattr(shapes, "_BYTES_PER_PART", 0),
        30_000,
    ),
}


@pytest.mark.parametrize("name", LIMITS)
def test_what_a_walk_counts_is_counted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, item, take_out, count = LIMITS[name]
    many = in_list(first, item * count)
    with pytest.raises(LimitError):
        Walk(many, CODEC, max_copied=most_copied(len(many))).run()
    codec = learner()
    assert learn(codec, in_list(first, item * 12))
    assert in_list(first, item * 15) in codec._shapes
    assert many not in codec._shapes
    take_out(monkeypatch)
    assert many in codec._shapes


def test_time_zones_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    call = b"\x8c\x03UTC\x88\x86R"
    method = named("builtins", "getattr") + named("zoneinfo", "ZoneInfo") + b"\x8c\x09_unpickle\x94\x86R"

    def zones(count: int) -> bytes:
        return b"\x80\x04](" + method + call + (b"h\x02h\x05h\x06\x86R" + call) * count + b"e."

    with pytest.raises(LimitError):
        Walk(zones(5000), CODEC, max_copied=most_copied(len(zones(5000)))).run()
    codec = learner()
    assert learn(codec, zones(8))
    assert zones(12) in codec._shapes
    assert zones(5000) not in codec._shapes
    monkeypatch.setattr(shapes, "_ZONE_BYTES", 0)
    assert zones(5000) in codec._shapes


@pytest.mark.parametrize(
    ("begin", "item", "end"),
    [
        (b"", b"}h\x00K\x01s", b""),
        (b"}(", b"h\x00K\x01", b"u"),
        (b"\x8f(", b"h\x00K\x01", b"\x90"),
        (b"", b"K\x01(h\x00\x91", b""),
    ],
    ids=["dicts", "one dict", "a set", "frozensets"],
)
def test_keys_that_take_long_are_not_learned(
    begin: bytes, item: bytes, end: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def items(count: int) -> bytes:
        return in_list(b"(" + b"N" * 900 + b"t\x94", begin + item * count + end)

    many = items(40_000)
    with pytest.raises(LimitError):
        Walk(many, CODEC, max_work=(1 << 20) + 64 * len(many)).run()
    assert not learn(learner(), items(30))
    monkeypatch.setattr(tracing, "_MOST_WORK", 1 << 20)
    codec = learner()
    assert learn(codec, items(30))
    assert many in codec._shapes


def test_what_is_hashed_is_not_made_of_long_text() -> None:
    """Nobody keeps the hash of a Decimal."""

    def keys(size: int, count: int) -> bytes:
        text = b"X" + size.to_bytes(4, "little") + b"1" * size
        key = named("decimal", "Decimal") + text + b"\x85\x94R\x94"
        return in_list(b"N", b"}" + key + b"K\x01s" + b"}h\x04K\x01s" * count)

    many = keys(100_000, 40_000)
    with pytest.raises(LimitError):
        Walk(many, CODEC, max_work=(1 << 20) + 64 * len(many)).run()
    codec = learner()
    assert learn(codec, keys(5, 30))
    assert keys(9, 50) in codec._shapes
    assert keys(9, 40_000) in codec._shapes
    assert many not in codec._shapes


def test_long_text_that_names_an_attribute_is_not_like_other_text() -> None:
    def objects(name: bytes) -> bytes:
        text = b"X" + len(name).to_bytes(4, "little") + name
        return in_list(named(__name__, "Plain"), (b"h\x02)\x81N}" + text + b"K\x01s\x86b") * 8)

    codec = learner()
    assert learn(codec, objects(b"a" * 300))
    assert objects(b"b" * 500) in codec._shapes
    assert objects(b"__" + b"b" * 500) not in codec._shapes


@pytest.mark.parametrize(
    ("first", "item"),
    [
        (b"(" + b"K\x01" * 250 + b"t\x94" + named("builtins", "frozenset"), b"h\x03h\x00\x85R"),
        (b"\x8c\xff" + b"a" * 255 + b"\x94h\x00h\x00h\x00\x87\x94" + named("pathlib", "PurePosixPath"), b"h\x04h\x01R"),
        (b"](K\x01K\x02e\x94\x85" + named("builtins", "frozenset"), b"h\x03h\x00\x85R"),
    ],
    ids=["many parts", "all arguments", "any number of parts"],
)
def test_calls_with_much_that_was_there_are_not_learned(
    first: bytes, item: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = in_list(first, item * 12)
    Walk(few, CODEC, max_copied=most_copied(len(few))).run()
    assert not learn(learner(), few)
    monkeypatch.setattr(tracing, "_check_call", lambda *given, **named: None)
    assert learn(learner(), few)


def test_decimals_long_ints_and_keys_are_not_learned_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where keys are both, they are compared, which takes the square of the size of the int."""
    longs, decimals = b"\x8a\x01\x05", named("decimal", "Decimal") + b"\x8c\x011\x85R"
    key = b"}K\x01K\x02\x86Ns"
    head = b"K\x01\x94\x8c\x01a\x94h\x00"
    for parts in ((longs, decimals), (longs, key), (decimals, key)):
        codec = learner()
        assert learn(codec, in_list(head, b"".join(parts)))
        for part in (longs, decimals, key):
            assert learn(codec, in_list(head, part)) is (part in parts)
    assert not learn(learner(), in_list(head, longs + decimals + key))
    assert not learn(learner(), in_list(head, longs + decimals + named("builtins", "frozenset") + b")\x85R"))
    assert learn(learner(), in_list(head, longs + decimals + named("builtins", "frozenset") + b")R"))


def test_attributes_of_slots_are_not_mixed_with_other_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """An object, None, and a dict of many items look alike, whether the dict is a state or just an item."""
    fields = b"".join(b"\x8c\x02f%c\x94K\x01" % letter for letter in b"abcdefghijkl")
    cls = named(__name__, "Plain")
    last = b"\x8c\x02zz\x94K\x01"
    evil = b"\x8c\x09__class__\x94K\x01" + last
    state = b"h\x02)\x81N}(%su\x86b"
    item = b"h\x02)\x81N}(%su\x87"
    known = [in_list(cls, items) for items in (state % (fields + last), item % (fields + evil))]
    attack = in_list(cls, state % (fields + evil))
    with pytest.raises(CodecError):
        SafePickle(MINE).decode(KEY, attack)
    for taken_out in (False, True):
        if taken_out:
            monkeypatch.setattr(tracing, "_are_plain", lambda slots: True)
        codec = learner()
        for data in known:
            assert learn(codec, data)
        assert (attack in codec._shapes) is taken_out


@pytest.mark.parametrize(
    ("first", "items"),
    [
        (b"]\x94", b"h\x00K\x01a" * 3),
        (named("collections", "deque") + b")R\x94", b"h\x03K\x01a" * 3),
        (b"N", b"]\x94(h\x00K\x01e" * 2),
        (named(__name__, "Plain") + b")\x81\x94", b"h\x03}\x8c\x05first\x94K\x01sb"),
        (named(__name__, "Plain"), b"h\x02)\x81\x94}\x8c\x05first\x94h\x03sb"),
    ],
)
def test_what_changes_what_is_fetched_is_not_learned(first: bytes, items: bytes) -> None:
    data = in_list(first, items)
    Walk(data, CODEC).run()
    assert not learn(learner(), data)


@pytest.mark.parametrize("name", ["__class__", "__", "__init__", "int", "is_safe", "latin1", "_unpickle"])
@pytest.mark.parametrize("opcode", [b"\x8c", b"X"])
def test_text_that_says_what_is_to_be_done_is_not_like_other_text(name: str, opcode: bytes) -> None:
    """Wherever it is, also in the middle of a list that is told by one expression."""

    def objects(names: list[str]) -> bytes:
        """Their states are those of slots."""
        texts = [opcode + len(name).to_bytes(1 if opcode == b"\x8c" else 4, "little") + name.encode() for name in names]
        return in_list(cls, b"".join(b"h\x02)\x81N}" + text + b"K\x01s\x86b" for text in texts))

    cls = named(__name__, "Plain")
    codec = learner()
    assert learn(codec, objects(["first", "second"] * 4))
    assert any(state.run for state in codec._shapes._last.states.values())  # type: ignore[union-attr]
    for place in range(12):
        names = ["first"] * 12
        assert objects(names) in codec._shapes
        names[place] = "other"
        assert objects(names) in codec._shapes
        names[place] = name
        assert objects(names) not in codec._shapes


def test_what_nests_deep_is_not_learned() -> None:
    value = ["a"]
    for _ in range(20):
        value = [value, dt.date(2024, 1, 1)]  # type: ignore[list-item]
    assert learn(learner(), pickle.dumps(value))
    assert not learn(learner(max_depth=80), pickle.dumps(value))


def test_what_fetches_from_afar_is_not_learned() -> None:
    shared = [f"text {n}" for n in range(100)]
    assert not learn(learner(), pickle.dumps([dt.date(2024, 1, 1), shared, shared[90]]))
    assert learn(learner(), pickle.dumps([dt.date(2024, 1, 1), shared, shared[20]]))


def test_shapes_are_forgotten_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_MOST_STATES", 40)
    codec = learner()
    generator = random.Random(1)
    for _ in range(200):
        learn(codec, pickle.dumps(some_value(generator)))
    assert sum(len(beginning.states) for beginning in codec._shapes._beginnings.values()) < 2000
    assert len(codec._shapes._beginnings) <= shapes._MOST_BEGINNINGS


def test_shapes_that_nothing_looks_like_are_not_made_for_ever() -> None:
    codec = SafePickle(MINE)
    made = 0
    learn_shape = Shapes.learn

    def count(self: Shapes, data: bytes, walk: Walk, judge: Any) -> bool:
        nonlocal made
        before = self._made
        found = learn_shape(self, data, walk, judge)
        made += self._made > before
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Shapes, "learn", count)
        generator = random.Random(3)
        for number in range(200):
            value = [[generator.choice((None, 1, "a", 0.5, True, (), [])) for _ in range(400)], Slotted(number, "a")]
            codec.decode(KEY, pickle.dumps(value))
    assert 0 < made < 60


def test_threads_may_share_a_codec() -> None:
    codec = SafePickle(MINE)
    values = [[make(n) for n in range(40 + count)] for make in ITEMS.values() for count in range(3)]
    problems: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            for value in random.Random(seed).sample(values, len(values)):
                assert codec.decode(KEY, codec.encode(KEY, value)) == value
        except Exception as problem:  # noqa: BLE001  # it is looked at below
            problems.append(problem)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_no_gadget_is_known() -> None:
    codec = learner()
    for make in ITEMS.values():
        learn(codec, pickle.dumps([make(n) for n in range(30)]))
    for module, name, arguments in attacks.GADGETS:
        for _, data in attacks.calls_of(module, name, arguments):
            assert data not in codec._shapes
            assert b"\x80\x04" + data not in codec._shapes
    for data in attacks.special().values():
        if data != attacks.OUT_OF_PLACE["something plain"]:
            assert data not in codec._shapes
    assert glance.look(b"\x80\x04N.", codec._names, 1000) is not None
