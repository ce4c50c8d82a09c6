"""What SafePickle tells at a glance, and that this is never more than the walk over the opcodes would let pass."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import pickle
import random
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attacks
from hutch.codecs import SafePickle, glance, notes, safe
from hutch.codecs.accounts import most_work
from hutch.codecs.forms import KINDS
from hutch.codecs.forms import MIXED as MIXED_KIND
from hutch.codecs.glance import look
from hutch.codecs.notes import Made
from hutch.codecs.opcodes import Walk
from hutch.codecs.source import Source
from hutch.errors import CodecError, ForbiddenGlobalError, HutchError, LimitError

KEY = b"key"
NEW = (4, 5)
ANY_DEPTH = 10**9
FIRSTS = range(2 * len(KINDS))  # what a glance may be told to begin with


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Grade(enum.IntEnum):
    LOW = 1
    MIDDLE = 2
    HIGH = 3


class Rights(enum.Flag):
    READ = 1
    WRITE = 2
    RUN = 4


class Ticket(NamedTuple):
    method: str
    colour: Colour


class Listing(enum.Enum):
    """One that APPEND works on."""

    ONE = 1

    def append(self, item: object) -> None:
        pass


@dataclass
class Person:
    name: str
    age: int
    tags: list[str]


@dataclass
class Order:
    name: str
    at: dt.datetime
    price: decimal.Decimal
    number: uuid.UUID
    colour: Colour


@dataclass
class Pair:
    first: Person
    colour: Colour


class Row(NamedTuple):
    number: int
    text: str
    x: float
    y: Any


MINE = [Colour, Listing, Person, Order, Pair, Row]
CODEC = SafePickle(MINE)
NOON = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
EAST = dt.timezone(dt.timedelta(hours=2), "east")

# By name, what makes the n-th of them.
SHAPES: dict[str, Any] = {
    "moments": lambda n: NOON + dt.timedelta(seconds=n * 37),
    "moments of a named zone": lambda n: dt.datetime(2024, 1, 1, n % 24, tzinfo=EAST),
    "records with a moment": lambda n: {"id": n, "at": NOON + dt.timedelta(seconds=n), "tags": ["a", f"t{n}"]},
    "classes of one module": lambda n: [dt.date(2020, 1, 1 + n % 28), dt.timedelta(n), dt.time(n % 24)],
    "objects": lambda n: Person(f"name {n}", n, ["a", f"b{n}"]),
    "objects of all kinds": lambda n: Order(
        f"name {n}", NOON + dt.timedelta(n % 60), decimal.Decimal(n) / 4, uuid.UUID(int=n), list(Colour)[n % 2]
    ),
    "objects in objects": lambda n: Pair(Person(f"name {n}", n, []), Colour.RED),
    "named tuples": lambda n: Row(n, f"text {n}", n / 7, None),
    "counters": lambda n: collections.Counter({f"word {m}": m for m in range(n % 4)}),
    "dicts with defaults": lambda n: collections.defaultdict([list, int, dict][n % 3], {m: [m] for m in range(n % 4)}),  # type: ignore[arg-type]
    "pairs with a text that comes twice": lambda n: {(n, "a"): (n + 1, "b"), n: [None, (0.5, "a")]},
    "ordered dicts": lambda n: collections.OrderedDict((f"word {m}", {n}) for m in range(n % 4)),
}


@pytest.fixture
def no_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("it was walked over")

    monkeypatch.setattr(safe, "Walk", refuse)
    monkeypatch.setattr(safe, "MAX_SHAPE_BYTES", 0)  # what is told at a glance is gone over only to be remembered


@pytest.mark.usefixtures("no_walk")
@pytest.mark.parametrize("protocol", NEW)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_glance_is_enough(shape: str, protocol: int) -> None:
    make = SHAPES[shape]
    for count in (1, 2, 20, 200, 2000 if shape != "dicts with defaults" else 500):  # these may not seem to nest
        things = [make(n) for n in range(count)]
        values: list[Any] = [make(count), things, {f"key {n}": thing for n, thing in enumerate(things)}]
        for value in values:
            codec = SafePickle(MINE, protocol=protocol, max_depth=10**6)
            data = codec.encode(KEY, value)
            assert data == pickle.dumps(value, protocol)
            for _ in range(2):  # the second one begins with what the first has found
                found = codec.decode(KEY, data)
                assert found == value
                assert type(found) is type(value)


@pytest.mark.usefixtures("no_walk")
def test_named_tuples_and_moments_may_hold_anything_where_nothing_is_hashed() -> None:
    shared = ["a"]
    rows = [Row(n, "the same text", 0.5, (NOON, [NOON + dt.timedelta(n)], shared)) for n in range(300)]
    assert CODEC.decode(KEY, CODEC.encode(KEY, rows)) == rows  # type: ignore[comparison-overlap]


# What is refused by the walk must not pass at a glance.


def named(module: str, name: str) -> bytes:
    """As pickles of protocol 4 name a class for the first time: three things of the memo."""
    parts = [b"\x8c" + bytes((len(text),)) + text.encode() + b"\x94" for text in (module, name)]
    return b"".join(parts) + b"\x93\x94"


def text(value: str) -> bytes:
    return b"\x8c" + bytes((len(value),)) + value.encode() + b"\x94"


DOUBLING = 40


def lists() -> bytes:
    """Lists of lists, each of which has the one before twice; their memo begins at 0."""
    return b"]\x94" + b"".join(b"]\x94(h%ch%ce" % (n, n) for n in range(DOUBLING))


LAST = b"h%c" % DOUBLING
PATH = named("pathlib", "PurePosixPath") + text("a") + text("b") + b"\x86\x94R\x94"
BLOW_UP = {
    "paths of paths": PATH + b"".join(b"\x85h\x02h%ch%c\x86R\x94" % (n, n) for n in range(6, 6 + DOUBLING)) + b"\x86.",
    **{
        f"text of {name}": lists() + named(module, name) + arguments + b"R."
        for module, name, arguments in (
            ("ipaddress", "IPv4Address", LAST + b"\x85"),
            ("ipaddress", "IPv6Network", LAST + b"\x85"),
            ("ipaddress", "IPv4Interface", LAST + b"\x85"),
            ("uuid", "UUID", b"NN](" + LAST * 16 + b"e\x87"),
            (__name__, "Colour", LAST + b"\x85"),
        )
    },
}


@pytest.mark.parametrize("name", BLOW_UP)
def test_what_would_double_with_every_opcode_is_refused(name: str) -> None:
    data = b"\x80\x04" + BLOW_UP[name]
    for first in FIRSTS:
        assert look(data, CODEC._names, 1000, first) is None
    with pytest.raises(CodecError):
        CODEC.decode(KEY, data)


def test_an_enum_is_not_called_with_what_was_filled_late() -> None:
    """Then its size is not known, and the error that no member has such a value shows it all."""
    count = 16
    made = b"](" + b"]\x94" * (count + 1) + b"e"
    filled = b"".join(b"h%c(h%ch%ce" % (n, n - 1, n - 1) for n in range(1, count + 1))
    data = b"\x80\x04" + made + filled + named(__name__, "Colour") + b"h%c\x85R." % count
    with pytest.raises(ForbiddenGlobalError, match="Colour"):
        CODEC.decode(KEY, data)


CLASS = named(__name__, "Person")  # 0, 1, 2
MEMBER = named(__name__, "Colour") + text("red") + b"\x85\x94R\x94"  # 0, 1, 2, 3, 4, 5: that one
FIELDS = text("_value_") + b"K\x05" + text("name") + b"K\x06"
ZONE = (
    named("datetime", "datetime") + b"C\x0a\x07\xe8\x05\x01\x0c\0\0\0\0\0\x94"  # 0, 1, 2, 3
    b"h\x00\x8c\x08timezone\x94\x93\x94h\x00\x8c\x09timedelta\x94\x93\x94K\0K\0K\0\x87\x94R\x94\x85\x94R\x94"  # to 11
    b"\x86\x94R\x94"  # 12, 13
)
AGAIN = b"h\x02C\x0a\x07\xe8\x05\x01\x0c\0\0\0\0\0\x94h\x0b\x86\x94R\x94"
STATES = {
    "of a member that is fetched": MEMBER + b"0h\x05}\x94(" + FIELDS + b"ub.",
    "of a member": MEMBER + b"}\x94(" + FIELDS + b"ub.",
    "of a member, one field": MEMBER + b"}\x94" + text("name") + b"K\x05sb.",
    "of a member, behind a list": b"](" + MEMBER + b"](eh\x05}(" + FIELDS + b"ube.",
    "of a member, behind what is built": CLASS + b")\x81}(" + FIELDS + b"ub" + MEMBER + b"}(" + FIELDS + b"ub\x86.",
    "of a member, by a dict that was made for another": CLASS + b")\x81}\x94(" + FIELDS + b"u" + MEMBER + b"h\x03b.",
    "of a member, behind an item": named(__name__, "Listing") + b"K\x01\x85\x94R\x94K\x05a}(" + FIELDS + b"ub.",
    "of a member, by a list": MEMBER + b"](ub.",
    "of a member, by what is left": MEMBER + b"}(ub.",
    "of a member, within": CLASS + b")\x81}\x94(" + MEMBER + b"}\x94(" + FIELDS + b"ubNub.",
    "of a class, by a pair": CLASS + b"N}(" + FIELDS + b"u\x86b.",
    "of a class, by a pair and an empty list": CLASS + b"N}(" + FIELDS + b"u\x86](eb.",
    "of a class, by a pair and nothing": CLASS + b"N}(" + FIELDS + b"u\x86(ub.",
}
HASHES = {
    "tuples in pairs": b"}\x94K\x01K\x02\x86\x94" + b"".join(b"K\x01h%c\x86\x94" % n for n in range(1, 60)) + b"Ns.",
    "pairs of arguments": b"}" + ZONE + b"".join(b"h\x03C\x01ah%c\x86\x94R" % n for n in range(13, 60)) + b"Ns.",
    "another zone's place": b"}" + ZONE + b"N" + AGAIN.replace(b"h\x0b", b"h\x0c") + b"Nu.",
    "a pair in the place of a zone": b"}" + ZONE + b"h\x0cq\x0bNs" + AGAIN + b"Ns.",
    "a pair in the place of a zone, by another opcode": b"}" + ZONE + b"h\x0cr\x0b\0\0\0Ns" + AGAIN + b"Ns.",
    "a pair before a zone": b"}"
    + ZONE.replace(b"\0\0\0\0\0\x94", b"\0\0\0\0\0\x94K\x01\x86", 1)
    + b"Ns"
    + AGAIN
    + b"Ns.",
    "what is fetched before a zone": b"}" + ZONE.replace(b"h\x00", b"h\x03h\x00", 1) + b"Ns.",
    "a result": MEMBER + b"}" + text("a") + b"h\x05\x86Ns\x86.",
    "too many parts": b"}\x94(" + b"K\x01" * 65 + b"t\x94Nsh\x01Ns.",
    "rows in rows": named(__name__, "Row") + b"(K\x01K\x02K\x03K\x04t\x81\x94" + b"}h\x02(K\x01K\x02K\x03h\x03t\x81Ns.",
    "copies of a list": b"](" + b"K\x01" * 60 + b"e\x94" + named("builtins", "list") + b"h\x03h\x00\x85R\x86.",
    "copies of a dict": b"}\x94(K\x01Nu" + named("builtins", "dict") + b"h\x03h\x00\x85R\x86.",
    "copies of what is filled again": (
        b"}\x94" + named("collections", "Counter") + b"h\x03h\x00K\x01K\x02s\x85Rh\x03h\x00(K\x01K\x02u\x85R\x87."
    ),
    "what is fetched first": b"}\x94K\x01\x85\x94h\x01K\x01\x86Ns.",
}
NAMES = {
    "a module that is none": text("os") + b"h\x00\x8c\x08timezone\x94\x93.",
    "a name of another module": ZONE[:-6] + b"0" + text("posix") + b"h\x0c\x8c\x08timezone\x94\x93.",
    "a module that has not such a name": named("datetime", "datetime") + b"h\x00\x8c\x05tzset\x94\x93.",
    "a name instead of a module": named("datetime", "timezone") + b"h\x01\x8c\x04date\x94\x93.",
    "a text that ends like an index": (
        named("datetime", "date") + text("x") * 0x91 + text("datetime") + text("osh") + b"\x8c\x04time\x94\x93."
    ),
    "a size that is none": named("datetime", "date") + b"h\x00\x8c\x05time\x94\x93.",
    "a module that was put elsewhere": named("datetime", "date") + text("os") + b"q\x000h\x00\x8c\x04time\x94\x93.",
}


@pytest.mark.parametrize("name", [*STATES, *HASHES, *NAMES])
def test_a_glance_is_not_enough(name: str) -> None:
    body = (STATES | HASHES | NAMES)[name]
    before = [dict(vars(thing)) for thing in (*MINE, *Colour, *Listing)]
    for whole in (body, b"](" + body[:-1] + b"e.", b"}\x95" + bytes(8) + body):
        for protocol in NEW:
            data = b"\x80" + bytes((protocol,)) + whole
            for first in FIRSTS:
                assert look(data, CODEC._names, 1000, first) is None
            with suppress(CodecError) if name in HASHES else pytest.raises(CodecError):
                SafePickle(MINE).decode(KEY, data)
    assert [dict(vars(thing)) for thing in (*MINE, *Colour, *Listing)] == before


def test_what_is_fetched_too_early_is_damage() -> None:
    body = named("datetime", "date") + b"h\x07\x8c\x04time\x94\x93" + text("datetime") * 9 + b"\x86."
    with pytest.raises(CodecError):
        CODEC.decode(KEY, b"\x80\x04" + body)


@pytest.mark.parametrize("name", [*STATES, *HASHES, *NAMES])
def test_what_they_are_made_of_would_pass(name: str) -> None:
    """So that it is not for something else that they do not."""
    for part in (MEMBER, ZONE, ZONE + b"0" * 0 + AGAIN + b"\x86", CLASS + b")\x81}\x94(" + FIELDS + b"ub"):
        assert look(b"\x80\x04" + part + b".", CODEC._names, 1000) is not None
    assert (STATES | HASHES | NAMES)[name].endswith(b".")


# What a glance lets pass, the walk does.

SEEDS = [
    pickle.dumps(value, 5)
    for make in SHAPES.values()
    for value in (make(3), [make(0), make(1), make(2)], {"a": make(1), "b": make(2)})
] + [pickle.dumps(value, 5) for value in ([(1, "a")] * 3, {(1, "a"): [(2, "a")]}, collections.OrderedDict(a=1))]
PIECES = [
    *(b"h%c" % n for n in range(24)),
    *(bytes((op,)) for op in b"(ube}]\x94R\x81\x85\x86\x87t)saNK\x90\x8f."),
    *(
        b"\x95" + bytes(8),
        b"}\x94(",
        b"]\x94(",
        b"ub",
        b"sb",
        b")\x81",
        b")\x81\x94}\x94(",
        b"\x86\x94R\x94",
        b"\x85\x94R\x94",
        b"h\x05\x86",
    ),
    *(b"K\x01", b"q\x03", b"r\x01\0\0\0", b"C\x01a\x94", b"\x8c\x01x\x94", text("datetime"), text("os"), AGAIN),
    *(text("timezone") + b"\x93\x94", text("system") + b"\x93\x94", named("datetime", "date"), MEMBER, CLASS),
]


def is_harmless(problem: ForbiddenGlobalError, kind: int) -> bool:
    """Whether what the walk refuses is an error all the same, or does nothing but what any data may do.

    Args:
        kind: of those of a glance.
    """
    entry = CODEC._entries.get((problem.module, problem.name))
    if "uses" in str(problem):  # it may be called with anything, by whatever opcode
        assert entry is not None
        free = ("is_free", "is_callable", "has_members", "begins_empty", "is_row", "is_dict")
        return any(getattr(entry, name) for name in free)
    if "calls what a call has returned" in str(problem):  # which is nothing that can be called
        return True
    if "sets attributes" in str(problem):  # of a class, by a dict: it has no attributes that could be set so
        return kind == 0
    return "?" in (problem.module, problem.name)  # text that is no UTF-8, where the unpickler stops


def is_an_error(problem: CodecError, data: bytes) -> bool:
    """Whether an unpickler ends with an error, too, where a walk finds one: what has no state, or is no container."""
    if "sets attributes of ?.?" not in str(problem) and "for what is no container" not in str(problem):
        return False
    with pytest.raises((TypeError, AttributeError, IndexError, pickle.UnpicklingError)):
        CODEC._unpickler(Source(data)).load()
    return True


def glances(data: bytes) -> set[int]:
    """The kinds of glance that let it pass, whatever the last one was, as a small pickle or as one with many frames."""
    kinds = set()
    for least in (0, len(data) + 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(glance, "_FRAME_BYTES", least)
            for first in FIRSTS:
                found = look(data, CODEC._names, ANY_DEPTH, first)
                if found is not None:
                    kinds.add(found[3] // 2)
    return kinds


def check_with_the_walk(data: bytes) -> bool:
    """Whether a glance lets it pass; then the walk does too, and nothing that everybody has is changed."""
    kinds = glances(data)
    for kind in kinds:
        try:
            Walk(data, CODEC, max_work=(1 << 20) + 64 * len(data)).run()
        except ForbiddenGlobalError as problem:
            assert is_harmless(problem, kind) or is_an_error(problem, data), (problem, data)
        except HutchError as problem:
            assert type(problem) is CodecError, (problem, data)  # damaged: no limit is passed
    before = [dict(vars(thing)) for thing in (*MINE, *Colour, *Listing)]
    try:
        CODEC.decode(KEY, data)
    except CodecError:
        pass
    assert [dict(vars(thing)) for thing in (*MINE, *Colour, *Listing)] == before
    return bool(kinds)


def mutated(generator: random.Random) -> bytes:
    data = bytearray(generator.choice(SEEDS))
    for _ in range(generator.randint(1, 5)):
        at = generator.randrange(11, len(data) + 1)
        match generator.randrange(6):
            case 0 | 1:
                data[at:at] = b"".join(generator.choices(PIECES, k=generator.randint(1, 3)))
            case 2:
                data[at : at + generator.randrange(4)] = b""
            case 3:
                start = generator.randrange(len(data))
                data[at:at] = data[start : start + generator.randrange(20)]
            case 4:
                data[at : at + 1] = bytes((generator.randrange(256),))
            case 5:  # something else is fetched
                fetched = [place for place in range(11, len(data) - 1) if data[place] == 0x68]
                if fetched:
                    data[generator.choice(fetched) + 1] = generator.randrange(24)
    return bytes(data[:2] + b"\x95" + (len(data) - 11).to_bytes(8, "little") + data[11:])


@pytest.mark.parametrize("seed", range(4))
def test_what_mutants_pass_at_a_glance_the_walk_lets_pass(seed: int) -> None:
    generator = random.Random(seed)
    assert sum(check_with_the_walk(mutated(generator)) for _ in range(4000)) > 200


@given(
    st.lists(st.sampled_from(PIECES), max_size=30), st.sampled_from([b"", ZONE, MEMBER, CLASS, named(__name__, "Row")])
)
@settings(max_examples=1000, deadline=None)
def test_what_random_opcodes_pass_at_a_glance_the_walk_lets_pass(pieces: list[bytes], begin: bytes) -> None:
    check_with_the_walk(b"\x80\x04" + begin + b"".join(pieces) + b".")


def test_no_gadget_passes_at_a_glance() -> None:
    names = SafePickle([*attacks.CLASSES, *MINE])._names
    for module, name, arguments in attacks.GADGETS:
        for how, data in attacks.calls_of(module, name, arguments):
            for whole in (data, b"\x80\x04" + data, b"\x80\x04" + ZONE + b"0" + data):
                for first in FIRSTS:
                    found = look(whole, names, 1000, first)
                    assert found is None or (module, name) in CODEC._entries, (module, name, how)


# Tuples in which things are used again.

METHODS = ("GET", "PUT", "POST")
DAYS = [dt.date(2020, 1, 1), dt.date(2021, 1, 1)]
MIXED: dict[str, Any] = {
    "texts first": {"rows": [(METHODS[n % 3], n, n / 7) for n in range(200)]},
    "texts second of three": {"rows": [(n, METHODS[n % 3], None) for n in range(200)]},
    "keys of texts": {(METHODS[n % 3], str(n)): (METHODS[n % 2], n) for n in range(200)},
    "sets": {(METHODS[n % 3], n % 50) for n in range(200)},
    "members": {"rows": [([*Colour][n % 2], n * 17) for n in range(300)]},
    "pairs of members": [([*Colour][n % 2], [*Grade][n % 3]) for n in range(200)] + [{"a": 1}],
    "members and floats": {"rows": [(str(n), [*Colour][n % 2], n / 7) for n in range(400)]},
    "flags": {"rows": [(Rights(n % 8), n) for n in range(99)]},
    "longer tuples": {"rows": [(n, METHODS[n % 3], [*Colour][n % 2], None, n / 3) for n in range(200)]},
    "rows": {"rows": [Ticket(METHODS[n % 3], [*Colour][n % 2]) for n in range(200)]},
    "dates": {"rows": [(DAYS[n % 2], n) for n in range(200)]},
    "text that looks like opcodes": {
        "rows": [(f"{n} the h{chr(n % 128)}", METHODS[n % 3], n * 26) for n in range(999)]
    },
    "many frames": {"rows": [(METHODS[n % 3], f"{n} and so on", [*Colour][n % 2]) for n in range(9000)]},
    "long texts between": {
        "rows": [(METHODS[n % 3], n) for n in range(99)],
        "a": "x" * 999,
        "b": [(METHODS[1], 1)] * 9,
    },
}


@pytest.mark.parametrize("name", MIXED)
@pytest.mark.parametrize("protocol", NEW)
def test_a_glance_tells_tuples_in_which_things_are_used_again(name: str, protocol: int) -> None:
    data = pickle.dumps(MIXED[name], protocol)
    codec = SafePickle([Colour, Grade, Rights, Ticket])
    found = look(data, codec._names, 1000)
    assert found is not None
    assert found[0] is any(cls.__name__.encode() in data for cls in (Colour, Grade, Rights, Ticket, dt.date))
    assert codec.decode(KEY, data) == MIXED[name]


PAIR = b"K\x01K\x02\x86\x94"
COLOUR = named(__name__, "Colour")
# What is put into the memo first, as number 1 (or 4), and what fetches it; a list is number 0.
NOT_MIXED = {
    "a tuple in a pair": PAIR + b"}h\x01K\x01\x86Ns",
    "a tuple behind": PAIR + b"}K\x01h\x01\x86Ns",
    "a tuple alone": PAIR + b"}h\x01\x85Ns",
    "a tuple in three": PAIR + b"}h\x01K\x01K\x02\x87Ns",
    "a tuple in four": PAIR + b"}(h\x01K\x01K\x02K\x03tNs",
    "a tuple in a marked pair": PAIR + b"}(h\x01K\x01tNs",
    "a tuple in a marked one": PAIR + b"}(h\x01tNs",
    "a tuple at the end of many": PAIR + b"}(" + b"K\x01" * 40 + b"h\x01tNs",
    "by four bytes": PAIR + b"}j\x01\0\0\0K\x01\x86Ns",
    "with another one": PAIR + b"}h\x01h\x01\x86Ns",
    "doubled again and again": PAIR + b"}" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(2, 60)) + b"Ns",
    "a list": b"}h\x00K\x01\x86Ns",
    "a list, to be hashed by an enum": COLOUR + b"h\x00\x85R",
    "a dict": b"}\x94h\x01K\x01\x86Ns",
    "a frozenset": b"(K\x01\x91\x94}h\x01K\x01\x86Ns",
    "a class": COLOUR + b"}h\x03K\x01\x86Ns",
    "what two atoms made": named(__name__, "Ticket") + b"K\x01K\x02\x86\x94R\x94}h\x05K\x01\x86Ns",
    "what NEWOBJ made": named(__name__, "Ticket") + b"K\x01\x85\x94\x81\x94}h\x05K\x01\x86Ns",
    "a list right there": b"}]\x94K\x01\x86h\x00\x86Ns",
    "of a class that is not allowed": b"}" + named("os", "system") + b"K\x01\x86Ns",
    "whose module is fetched": b"}\x8c\x02os\x94h\x02\x8c\x06system\x94\x93K\x01\x86Ns",
    "with a name that has another size": b"}\x8c\x08datetime\x94h\x02\x8c\x03dateK\x01\x86Ns",
}


@pytest.mark.parametrize("name", NOT_MIXED)
def test_a_glance_tells_no_tuple_of_what_may_hold_more(name: str) -> None:
    codec = SafePickle([Colour, Ticket])
    data = b"\x80\x04]\x94(" + NOT_MIXED[name] + b"e."
    for first in FIRSTS:
        assert look(data, codec._names, 1000, first) is None


def test_texts_in_tuples_are_counted_where_they_are_compared() -> None:
    texts = 2 * (b"X\x60\xea\0\0" + b"x" * 60_000 + b"\x94")
    tuples = b"(" + b"h\x01" * 60 + b"t\x94" + b"(" + b"h\x02" * 60 + b"t\x94"
    data = b"\x80\x04]\x94(" + texts + tuples + b"}(h\x03N" + b"h\x04N" * 30_000 + b"ue."
    codec = SafePickle()
    for first in FIRSTS:
        assert look(data, codec._names, 1000, first) is None
    with pytest.raises(LimitError):
        codec.decode(KEY, data)


class Flat(Walk):
    """Looks whether tuples are flat."""

    are_flat = True

    def hold(self, holder: Made, items: Sequence[Any]) -> None:
        super().hold(holder, items)
        if holder.kind == notes.TUPLE:
            nesting = (notes.TUPLE, notes.LIST, notes.DICT, notes.SET, notes.FROZENSET)
            self.are_flat = self.are_flat and not any(type(item) is Made and item.kind in nesting for item in items)


class Pieces:
    """Opcodes at random, of those that make tuples and what is in them."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        classes = [named(__name__, "Colour"), named(__name__, "Ticket"), named("datetime", "date")]
        self.classes = [*classes, *[name[:-1] for name in classes], named("os", "system"), named("builtins", "set")]

    def byte(self) -> int:
        return self.dice.choice([104, 106, 0x86, 0x94, 5, 6, self.dice.randrange(256)])

    def atom(self) -> bytes:
        text = self.dice.choice([b"a", b"hh", b"h\x05", b"ch", b"\x05" * 104, b"the"])
        sizes = {b"K": 1, b"M": 2, b"J": 4, b"G": 8, b"N": 0}
        op = self.dice.choice([*sizes, b"\x8c"])
        if op == b"\x8c":
            return op + bytes((len(text),)) + text + self.dice.choice([b"\x94", b"\x94", b""])
        return op + bytes(self.byte() for _ in range(sizes[op]))

    def fetch(self) -> bytes:
        index = self.dice.randrange(self.dice.choice([6, 12, 30]))
        return b"h%c" % index if self.dice.random() < 0.9 else b"j%c\0\0\0" % index

    def made(self) -> bytes:
        cls = self.fetch() if self.dice.random() < 0.5 else self.dice.choice(self.classes)
        memo = [b"\x94", b"\x94", b""]
        return cls + self.atom() + b"\x85" + self.dice.choice(memo) + b"R" + self.dice.choice(memo)

    def item(self) -> bytes:
        named_again = self.fetch() + b"\x8c\x06Colour\x94\x93\x94"
        makers: list[Any] = [self.atom, self.atom, self.fetch, self.fetch, self.made]
        makers += [lambda: self.dice.choice(self.classes), lambda: named_again]
        return bytes(self.dice.choice(makers)())

    def tuple(self) -> bytes:
        count = self.dice.randrange(1, 6)
        items = b"".join(self.item() for _ in range(count))
        if count > 3 or self.dice.random() < 0.1:
            return b"(" + items + b"t" + self.dice.choice([b"\x94", b""])
        if self.dice.random() < 0.05:
            count = self.dice.randrange(1, 4)
        return items + bytes((0x84 + count,)) + self.dice.choice([b"\x94", b"\x94", b""])

    def value(self) -> bytes:
        chance = self.dice.random()
        if chance < 0.55:
            return self.tuple()
        if chance < 0.7:
            return self.item()
        if chance < 0.85:
            items = b"".join(self.value() for _ in range(self.dice.randrange(4)))
            return (
                self.dice.choice([b"]\x94(", b"}\x94(", b"\x8f\x94("])
                + items
                + self.dice.choice([b"e", b"u", b"\x90", b"\x91\x94"])
            )
        return self.dice.choice(
            [b"]\x94", b"}\x94", b")", b"a", b"s", b"R\x94", b"\x81\x94", b"\x94", b"\x95" + bytes(8)]
        )


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_glance_tells_has_flat_tuples(seed: int) -> None:
    codec = SafePickle([Colour, Ticket])
    pieces = Pieces(seed)
    told = 0
    for _ in range(12_000):
        data = b"\x80\x04]\x94(" + b"".join(pieces.value() for _ in range(pieces.dice.randrange(1, 7))) + b"e."
        found = look(data, codec._names, ANY_DEPTH, 12)
        if found is None or found[3] >> 1 != MIXED_KIND:
            continue
        told += 1
        walk = Flat(data, codec, max_work=most_work(len(data)))
        try:
            walk.run()
        except LimitError:
            pytest.fail(f"{data!r} takes too long")
        except CodecError as problem:
            assert "refers to" not in str(problem)
        assert walk.are_flat, data
        assert found[0] >= bool(walk.globals)
    assert told > 500
