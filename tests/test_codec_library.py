"""Classes of the standard library that may be allowed do no more than hold what they are given.

Some iterate over it, make text of it, or open the file of that name, and some hold another container that is filled in
their place: none of that is for a pickle to ask for.
"""

from __future__ import annotations

import array
import collections
import decimal
import email.headerregistry
import email.message
import enum
import fractions
import http.cookiejar
import http.cookies
import ipaddress
import pickle
import random
import struct
import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from attacks import global_, text
from hutch.codecs import SafePickle
from hutch.codecs.glance import look
from hutch.errors import CodecError, ForbiddenGlobalError, LimitError
from test_codec_glance import FIRSTS, named

KEY = b"key"
MISUSED = "as no pickle of data does"


class Record(collections.UserDict[str, Any]):
    """Its pickles say what is in it by key."""

    def __reduce__(self) -> Any:
        return type(self), (), None, None, iter(self.items())


class Fields(dict[str, Any]):
    """A dict that looks at what it is given."""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name.lower(), value)


class Tree(ET.ElementTree):
    """A subclass without a constructor of its own."""


class Rejected(SyntaxError):
    """Likewise."""


class Lists(list[int], enum.Enum):
    """Its members can be filled, and everybody has the same ones."""

    A = [1]  # noqa: RUF012


class Dicts(dict[int, int], enum.Enum):
    """Likewise."""

    A = {1: 2}  # noqa: RUF012


ALLOWED: list[type | str] = [
    Record,
    Fields,
    Tree,
    Rejected,
    Lists,
    Dicts,
    http.cookiejar.Cookie,
    email.headerregistry.Address,
    email.message.EmailMessage,
    random.Random,
    BaseExceptionGroup,
    ExceptionGroup,
    SyntaxError,
    ValueError,
    collections.ChainMap,
    collections.UserDict,
    collections.UserList,
    collections.UserString,
    "graphlib:TopologicalSorter",
    http.cookies.Morsel,
    http.cookies.SimpleCookie,
    ET.Element,
    ET.ElementTree,
]


def called(cls: type | str, *arguments: bytes) -> bytes:
    """A call of a class with arguments, as opcodes."""
    module, name = cls.split(":") if isinstance(cls, str) else (cls.__module__, cls.__qualname__)
    return global_(module, name) + b"(" + b"".join(arguments) + b"tR"


RANGE = global_("builtins", "range") + b"J\x80\xc3\xc9\x01\x85R"  # 30 million
NETWORK = global_("ipaddress", "IPv4Network") + text("10.0.0.0/8") + b"\x85R"
SLICE = global_("builtins", "slice") + b"K\x00K\x00\x86R"
DOUBLED = b"]" + b"".join(b"q%c0(h%ch%cl" % (n, n, n) for n in range(9, 39))  # 2**30 lists, if they are shown
INNER = b"]q\x01Na0"  # a list of one item, to be doubled
TWICE = b"h\x00h\x01s"  # what is on top is given the list, in its slice

ATTACKS = {
    "a group of a range": called(ExceptionGroup, text("m"), RANGE),
    "any group of a range": called(BaseExceptionGroup, text("m"), RANGE),
    "where an error is, as a range": called(SyntaxError, text("m"), RANGE),
    "of a subclass": called(Rejected, text("m"), RANGE),
    "a range in a graph": called("graphlib:TopologicalSorter", b"}K\x01" + RANGE + b"s"),
    "a network in a graph": called("graphlib:TopologicalSorter", b"}K\x01" + NETWORK + b"s"),
    "a network as a list": called(collections.UserList, NETWORK),
    "a range in a state, as a list": called(collections.UserList, called(Record) + b"}" + text("x") + RANGE + b"sb"),
    "a dict whose data is a list": (
        SLICE + b"q\x000" + INNER + called(collections.UserDict) + b"}" + text("data") + b"h\x01sb" + TWICE * 27
    ),
    "maps that are lists": (
        SLICE + b"q\x000" + INNER + called(collections.ChainMap) + b"}" + text("maps") + b"]h\x01asb" + TWICE * 27
    ),
    "maps that are lists, by a call": SLICE + b"q\x000" + INNER + called(collections.ChainMap, b"h\x01") + TWICE * 27,
    "a file of any name": called(ET.ElementTree, b"N", text("/dev/zero")),
    "by a subclass": called(Tree, b"N", text("/dev/zero")),
    "text of a list of lists": called(collections.UserString, DOUBLED),
    "cookies of a dict": called(http.cookies.SimpleCookie, b"}" + text("k") + DOUBLED + b"s"),
    "a cookie whose version is a decimal": called(
        http.cookiejar.Cookie, called(decimal.Decimal, text("1e5000000")), b"N" * 15, b"}"
    ),
    "an address that is to be parsed": called(email.headerregistry.Address, text("") * 3, text('"' * 20_000)),
    "a generator whose numbers are a range": called(random.Random) + b"(K\x02" + RANGE + b"Ntb",
    "a policy that is a message": (
        called(email.message.EmailMessage)
        + b"}("
        + text("policy")
        + called(email.message.EmailMessage)
        + b"}"
        + text("header_max_count")
        + global_("builtins", "bytearray")
        + b"sb"
        + text("_headers")
        + b"]ubJ\x00\x2f\x68\x59K\x01s"
    ),
    "what encodes a cookie": (
        called(http.cookies.SimpleCookie)
        + b"}"
        + text("value_encode")
        + global_("builtins", "bytearray")
        + b"sbK\x01K\x02s"
    ),
    "a header": called(email.message.EmailMessage) + text("To") + text('"' * 20_000) + b"s",
    "cookies of text": called(http.cookies.SimpleCookie, text('a="' + "\\a" * 40_000 + '"')),
    "a list given to a member of an enum": called(Lists, b"]K\x01a") + b"(K\x02K\x03e",
    "a dict given to a member of an enum": called(Dicts, b"}K\x01K\x02s") + b"(K\x02K\x03u",
    "a cookie that is a list": called(http.cookies.SimpleCookie) + text("k") + DOUBLED + b"s",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_would_do_more_than_hold_is_refused(name: str) -> None:
    codec = SafePickle(ALLOWED)
    for _ in range(3):
        with pytest.raises(ForbiddenGlobalError, match=MISUSED):
            codec.decode(KEY, b"\x80\x04" + ATTACKS[name] + b".")


def test_lists_of_lists_in_a_chain_are_not_filled_through_it() -> None:
    """Each would pass what it is given on to the next one."""
    new = called(collections.UserList)
    chain = b"".join(
        b"0" + new + b"r" + struct.pack("<I", n) + b"}" + text("data") + b"j" + struct.pack("<I", n - 1) + b"sb"
        for n in range(1, 900)
    )
    data = b"\x80\x04" + new + b"r\0\0\0\0" + chain + b"Na" * 10 + b"."
    with pytest.raises(CodecError):
        SafePickle(ALLOWED, max_depth=10**6).decode(KEY, data)


@pytest.mark.parametrize("protocol", range(6))
def test_what_they_hold_comes_back(protocol: int) -> None:
    cookie = http.cookies.SimpleCookie("a=1; b=two")
    cookie["a"]["path"] = "/"
    record, fields = Record({"x": [1]}), Fields()
    fields["X"] = [2]
    group = ExceptionGroup("m", [ValueError(1), ValueError("two")])
    syntax = Rejected("m", ("name.py", 1, 2, "text"))
    values = [
        cookie,
        record,
        fields,
        collections.UserList([1, [2]]),
        collections.UserDict({"a": {}}),
        collections.UserString("text"),
        collections.ChainMap({"a": 1}, {"b": 2}),
    ]
    codec = SafePickle(ALLOWED)
    for _ in range(3):
        assert codec.decode(KEY, pickle.dumps(values, protocol)) == values
        again = codec.decode(KEY, pickle.dumps([group, syntax], protocol))
        assert [error.args for error in again[0].exceptions] == [(1,), ("two",)]
        assert (again[1].msg, again[1].filename, again[1].lineno) == ("m", "name.py", 1)


@pytest.mark.parametrize("protocol", range(2, 6))
def test_trees_come_back(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "tree.xml").write_text("<a><b>text</b></a>")
    codec = SafePickle(ALLOWED)
    for tree in (ET.parse(tmp_path / "tree.xml"), Tree(ET.Element("a"))):
        again = codec.decode(KEY, pickle.dumps(tree, protocol))
        assert type(again) is type(tree)
        assert ET.tostring(again.getroot()) == ET.tostring(tree.getroot())  # type: ignore[arg-type]


COPIES = "copies long text or bytes"


def often(call: bytes, arguments: bytes, count: int) -> bytes:
    """A list of what as many calls return, with the same arguments."""
    return b"\x80\x04" + call + b"q\x000" + arguments + b"q\x010](" + b"h\x00h\x01R" * count + b"e."


DTYPE = (
    global_("numpy", "dtype") + b"(" + text("S1048576") + b"\x89\x88tR(K\x03" + text("|") + b"NNNJ\0\0\x10\0K\x01K\0tb"
)
OFTEN = {
    "generators": (global_("random", "Random"), b")"),
    "networks": (global_("ipaddress", "IPv6Interface"), text("1:2:3:4:5:6:7:8/128") + b"\x85"),
    "fractions": (
        global_("fractions", "Fraction"),
        b"\x8a\x20" + b"\x33" * 32 + b"\x8a\x20" + b"\x55" * 32 + b"\x86",
    ),
    "empty arrays of wide elements": (
        global_("numpy._core.numeric", "_frombuffer"),
        b"(\x96" + bytes(8) + DTYPE + b"(K\x00t" + text("C") + b"t",
    ),
}


@pytest.mark.parametrize("name", OFTEN)
def test_what_takes_more_than_its_arguments_is_counted(name: str) -> None:
    codec = SafePickle(ALLOWED, numpy=True)
    few, many = (often(*OFTEN[name], count) for count in (1, 40_000))
    assert len(codec.decode(KEY, few)) == 1
    with pytest.raises(LimitError, match=COPIES):
        codec.decode(KEY, many)


def test_a_glance_does_not_tell_what_parses_one_text_again_and_again() -> None:
    codec = SafePickle()

    def data(count: int) -> bytes:
        address = b"\x8c\x131:2:3:4:5:6:7:8/128\x94\x85\x94R\x94"
        return b"\x80\x04]\x94(" + named("ipaddress", "IPv6Interface") + address + b"h\x03h\x05R\x94" * count + b"e."

    for first in FIRSTS:
        assert look(data(40_000), codec._names, 1000, first) is None
    assert look(data(100), codec._names, 1000)
    assert len(codec.decode(KEY, data(100))) == 101
    with pytest.raises(LimitError, match=COPIES):
        codec.decode(KEY, data(40_000))
    networks = [ipaddress.ip_network(f"10.{n >> 8}.{n & 255}.0/24") for n in range(3000)]
    assert look(pickle.dumps(networks), codec._names, 1000)


def test_a_shape_does_not_let_one_text_be_parsed_again_and_again() -> None:
    def data(texts: list[str], count: int) -> bytes:
        """Each is parsed as a network, and used as a key that a glance does not tell."""
        interface = named("ipaddress", "IPv6Interface") + named(__name__, "Record")
        keys = b"".join(text(each) + b"\x94\x85\x94" for each in texts)
        row = b"h\x03h\x07\x85R" + b"h\x06)R" + b"K\x01"
        return b"\x80\x04]\x94(" + interface + keys + row * count + b"e."

    codec = SafePickle([Record])
    for n in range(20):
        assert codec.decode(KEY, data([f"{n:x}::/64"], 100))
    assert codec._known_by is codec._shapes
    with pytest.raises(LimitError, match=COPIES):
        codec.decode(KEY, data(["1111:2222:3333:4444:5555:6666:7777:8888/128"], 40_000))


# Classes that do something when they are given what their objects would be.


class Registry(type):
    """A class of classes that can be given items."""

    def __setitem__(cls, key: Any, value: Any) -> None:
        FIRED.append((key, value))


class Registered(metaclass=Registry):
    """One of these."""


class Extended:
    """It collects things itself."""

    @classmethod
    def extend(cls, items: Any) -> None:
        FIRED.append(items)


class Appended:
    """So does whatever its method is called with."""

    def append(*items: Any) -> None:  # type: ignore[misc]
        FIRED.append(items)


class Set:
    """It has a state of its own."""

    @classmethod
    def __setstate__(cls, state: Any) -> None:
        FIRED.append(state)


class Bag:
    """Its objects collect things."""

    def __init__(self) -> None:
        self.things: list[Any] = []

    def append(self, thing: Any) -> None:
        self.things.append(thing)


class Mark(enum.Enum):
    """Its members have a method that is named like one of containers."""

    A = 1

    def add(self, thing: Any) -> None:
        FIRED.append(thing)


FIRED: list[Any] = []
GIVEN = {
    "a class of classes": named(__name__, "Registered") + b"K\x01K\x02s",
    "a method of the class": named(__name__, "Extended") + b"(K\x02e",
    "a method that takes anything": named(__name__, "Appended") + b"(K\x02e",
    "a method for states": named(__name__, "Set") + b"}\x94b",
    "a method of a member": named(__name__, "Mark") + b"K\x01\x85\x94R\x94(K\x02\x90",
}


@pytest.mark.parametrize("name", GIVEN)
def test_nothing_is_put_into_a_class_or_into_a_member_of_an_enum(name: str) -> None:
    codec = SafePickle([Registered, Extended, Appended, Set, Mark])
    for data in (b"\x80\x04" + GIVEN[name] + b".", b"\x80\x04]\x94(" + GIVEN[name] + b"e."):
        for first in FIRSTS:
            assert look(data, codec._names, 1000, first) is None
        with pytest.raises(CodecError):
            codec.decode(KEY, data)
    assert not FIRED


def test_methods_that_fill_objects_make_no_class_unusual() -> None:
    codec = SafePickle([Bag])
    assert look(pickle.dumps([Bag(), Bag()]), codec._names, 1000)
    with pytest.raises(CodecError):
        codec.decode(KEY, b"\x80\x04" + named(__name__, "Bag") + b"(K\x02e.")


# What takes long to hash, to compare or to go over.


def tuples_of(cls: tuple[str, str], argument: bytes, parts: int, count: int) -> bytes:
    """A set of a tuple of many of a class, and of as many of its twins."""
    one = b"(" + (b"h\x03" + argument + b"\x85R") * parts + b"t"
    return b"\x80\x04]\x94(" + named(*cls) + one + b"\x94\x8f(" + one + b"h\x04" * count + b"\x90e."


def short(content: str) -> bytes:
    return b"\x8c" + bytes((len(content),)) + content.encode()


SLOW = {
    "interfaces": tuples_of(("ipaddress", "IPv6Interface"), short("1::4/5"), 64, 40_000),
    "interfaces in shorter tuples": tuples_of(("ipaddress", "IPv6Interface"), short("1::4/5"), 12, 40_000),
    "networks": tuples_of(("ipaddress", "IPv6Network"), short("1::/16"), 64, 40_000),
    "decimals": tuples_of(("decimal", "Decimal"), short("0." + "1" * 99), 64, 40_000),
    "paths": tuples_of(("pathlib", "PurePosixPath"), short("a/b"), 64, 40_000),
    "fractions": tuples_of(("fractions", "Fraction"), short("7" * 200 + "/" + "3" * 50), 8, 40_000),
    "paths of long texts": (
        b"\x80\x04]\x94("
        + named("pathlib", "PurePosixPath")
        + text("a/" * 15_000)
        + b"\x94"
        + b"h\x03h\x04\x85R\x94" * 2
        + b"\x8f(h\x05"
        + b"h\x06" * 40_000
        + b"\x90e."
    ),
    "paths of many texts": (
        b"\x80\x04]\x94("
        + named("pathlib", "PurePosixPath")
        + (b"h\x03(" + short("a/" * 127) * 60 + b"tR\x94") * 2
        + b"\x8f(h\x04"
        + b"h\x05" * 40_000
        + b"\x90e."
    ),
}


@pytest.mark.parametrize("name", SLOW)
def test_what_takes_long_to_compare_is_counted(name: str) -> None:
    codec = SafePickle()
    for first in FIRSTS:
        assert look(SLOW[name], codec._names, 1000, first) is None
    for _ in range(3):
        with pytest.raises(LimitError, match="has keys so long"):
            codec.decode(KEY, SLOW[name])


TINY = 5e-324
DECIMAL = global_("decimal", "Decimal")
FLOAT = b"G" + struct.pack(">d", TINY)
FRACTION = global_("fractions", "Fraction")
FIVE = FRACTION + b"K\x05K\x01\x86R"
# What is in a tuple fifty times, and what is in another one that is equal to it, or might be.
OTHERS = {
    "floats and decimals": (DECIMAL + text(str(decimal.Decimal(TINY))) + b"\x85R", FLOAT),
    "floats and short decimals": (DECIMAL + text(str(hash(TINY))) + b"\x85R", FLOAT),
    "floats and fractions": (
        global_("fractions", "Fraction") + b"K\x01" + pickle.dumps(2**1074, 2)[2:-1] + b"\x86R",
        FLOAT,
    ),
    "ints and fractions": (FIVE, b"K\x05"),
    "ints and networks": (global_("ipaddress", "IPv4Network") + text("0.0.0.5/32") + b"\x85R", b"K\x05"),
    "ints and NumPy's": (
        global_("numpy._core.multiarray", "scalar")
        + b"("
        + global_("numpy", "dtype")
        + b"("
        + text("u1")
        + b"\x89\x88tR(K\x03"
        + text("|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbC\x01\x05tR",
        b"K\x05",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_numbers_are_compared_with_what_they_are_equal_to(name: str) -> None:
    slow, quick = OTHERS[name]

    def data(count: int) -> bytes:
        tuples = slow + b"q\x01(" + b"h\x01" * 50 + b"tq\x02(" + quick * 50 + b"tq\x03"
        return b"\x80\x04](" + tuples + b"\x8f(h\x02" + b"h\x03" * count + b"\x90e."

    codec = SafePickle(numpy=True)
    assert len(codec.decode(KEY, data(2))) == 4
    with pytest.raises(LimitError, match="has keys so long"):
        codec.decode(KEY, data(5000))


def test_a_counter_is_not_sorted_for_an_error() -> None:
    counter = called(collections.Counter) + b"(K\x01K\x02u"
    with pytest.raises(ForbiddenGlobalError, match=MISUSED):
        SafePickle().decode(KEY, b"\x80\x04" + called("uuid:SafeUUID", b"]" + counter + b"a") + b".")


def test_what_an_error_shows_of_addresses_is_counted() -> None:
    address = called("ipaddress:IPv6Interface", b"K\x05") + b"q\x01"
    data = b"\x80\x04](" + address + called("uuid:SafeUUID", b"](" + b"h\x01" * 90_000 + b"e") + b"e."
    with pytest.raises(LimitError, match=COPIES):
        SafePickle().decode(KEY, data)


class Failed(Exception):
    """One with attributes that are dicts."""


@pytest.mark.parametrize("protocol", range(6))
def test_errors_with_dicts_as_attributes_come_back(protocol: int) -> None:
    error = Failed(1)
    error.first, error.second, error.third = {"x": 1}, {}, [{"y": {}}]  # type: ignore[attr-defined]
    many = Failed(2)
    vars(many).update((f"a{n}", {} if n % 100 else {"n": n}) for n in range(1500))
    codec = SafePickle([Failed])
    for value in (error, many):
        assert vars(codec.decode(KEY, pickle.dumps(value, protocol))) == vars(value)
    hidden = pickle.dumps(error, protocol).replace(b"third", b"__a__")
    with pytest.raises(ForbiddenGlobalError, match=MISUSED):
        codec.decode(KEY, hidden)


FLOWS: dict[str, Any] = {
    "decimals of a tuple": (tuple(decimal.Decimal(n) for n in range(200)), 300),
    "decimals of a frozenset": (frozenset(decimal.Decimal(n) for n in range(10)), 3000),
    "a flow": ((ipaddress.ip_address("10.0.0.1"), 80, ipaddress.ip_address("10.0.0.2"), 443), 5000),
    "paths": ((PurePosixPath("/usr/share"), PurePosixPath("/usr/lib")), 5000),
    "fractions": ((fractions.Fraction(1, 3), fractions.Fraction(2, 3)), 5000),
}


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_one_key_is_in_many_dicts(name: str, protocol: int) -> None:
    key, count = FLOWS[name]
    value = [{key: n} for n in range(count)]
    assert SafePickle().decode(KEY, pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_keys_that_take_long_to_compare_come_back(protocol: int) -> None:
    """As data has them: each may be a key of many dicts."""
    addresses = [ipaddress.ip_address(f"10.0.{n >> 8}.{n & 255}") for n in range(300)]
    networks = [ipaddress.ip_network(f"10.{n}.0.0/16") for n in range(99)]
    prices = [decimal.Decimal(n) / 100 for n in range(300)]
    flows = [(addresses[n], addresses[-n], n) for n in range(200)]
    paths = [PurePosixPath("/usr", "share", str(n)) for n in range(99)]
    keys = [*addresses, *networks, *prices, *flows, *paths]
    value = [dict.fromkeys(keys[n::7], n) for n in range(7)] + [set(flows[n::3]) for n in range(3)]
    codec = SafePickle()
    for _ in range(3):
        assert codec.decode(KEY, pickle.dumps(value, protocol)) == value


def test_a_shape_knows_what_takes_long_to_compare() -> None:
    def data(count: int) -> bytes:
        row = b"\x8f((h\x04h\x05h\x04h\x05t" + b"\x8c\x01a" + b"\x90h\x09)R"
        first = named("fractions", "Fraction") + b"](" + (b"h\x03K\x01K\x02\x86R\x94") * 2 + b"e"
        return b"\x80\x04]\x94(" + first + named(__name__, "Record") + b"\x94" + row * count + b"e."

    for weights in (None, (0, 0)):
        codec = SafePickle([Record])
        if weights is not None:
            codec._shapes._weigh = lambda *name: weights  # noqa: B023
        for count in range(50, 70):
            assert codec.decode(KEY, data(count))
        assert bool(codec._shapes._beginnings) is (weights is not None)


NUMBERS_OF_TEXT = b"\x80\x04" + called(random.Random) + b"(K\x02(" + text("%9999999d") * 3 + b"tNtb."
USER_DICT = called(collections.UserDict) + b"}" + text("data") + b"}K\x01K\x02ssb"
TEXT_OF_WIDE = "\u0416" * 50_000


@pytest.mark.parametrize(
    "data",
    [
        NUMBERS_OF_TEXT,
        NUMBERS_OF_TEXT.replace(b"K\x02(", b"K\x02](").replace(b"tNtb", b"eNtb"),
        b"\x80\x04" + called(collections.UserDict, USER_DICT) + b".",
        b"\x80\x04" + called(collections.UserList, b"]" + called(collections.ChainMap) + b"a") + b".",
        b"\x80\x04" + called(SyntaxError, text("m"), called(collections.UserList)) + b".",
    ],
)
def test_what_python_code_would_go_over_is_refused(data: bytes) -> None:
    with pytest.raises(ForbiddenGlobalError, match=MISUSED):
        SafePickle(ALLOWED).decode(KEY, data)


def test_lists_of_letters_are_counted() -> None:
    wide = "\u0416" * 50_000
    arguments = b"X" + struct.pack("<I", 100_000) + wide.encode() + b"\x85"
    codec = SafePickle(ALLOWED)
    assert codec.decode(KEY, often(global_("collections", "UserList"), arguments, 1)) == [collections.UserList(wide)]
    with pytest.raises(LimitError, match=COPIES):
        codec.decode(KEY, often(global_("collections", "UserList"), arguments, 17))


@pytest.mark.filterwarnings("ignore:The 'u' type code:DeprecationWarning")
@pytest.mark.parametrize("protocol", range(6))
def test_arrays_generators_and_errors_of_attributes_come_back(protocol: int) -> None:
    generator = random.Random(5)
    generator.gauss(0, 1)
    error = AttributeError("what", name="x")
    error.add_note("where")
    codec = SafePickle([array.array, AttributeError, random.Random])
    for code in "bBhHiIlLqQfdu":
        things = array.array(code, "text") if code == "u" else array.array(code, [1, 2, 3])
        for _ in range(2):
            assert codec.decode(KEY, pickle.dumps(things, protocol)) == things
    for _ in range(3):
        again = codec.decode(KEY, pickle.dumps([generator, error], protocol))
        assert again[0].getstate() == generator.getstate()
        assert (again[1].args, again[1].__notes__) == (("what",), ["where"])


ARRAYS = global_("array", "_array_reconstructor")
NOT_ARRAYS = [
    ARRAYS,
    ARRAYS + b"(" + global_("array", "array") + text("d") + b"K\x10K\x01tR",
    ARRAYS + b"(" + global_("collections", "UserList") + text("d") + b"K\x10C\x00tR",
    ARRAYS + b"(" + global_("array", "array") + text("d") + b"K\xffC\x08" + bytes(8) + b"tR",
    ARRAYS + b"(" + global_("array", "array") + text("d") + b"K\x10C\x01\x00tR",
]


@pytest.mark.parametrize("data", NOT_ARRAYS)
def test_nothing_but_arrays_is_made_as_arrays_are(data: bytes) -> None:
    with pytest.raises(CodecError):
        SafePickle([*ALLOWED, array.array]).decode(KEY, b"\x80\x04" + data + b".")
    with pytest.raises(ForbiddenGlobalError, match=r"array\._array_reconstructor"):
        SafePickle(ALLOWED).decode(KEY, b"\x80\x04" + data + b".")


def test_the_place_of_what_is_fetched_may_be_the_number_of_an_opcode() -> None:
    rows = [("GET", n) for n in range(9)]
    for filling in range(110, 160):
        data = pickle.dumps(
            {"a": [f"{n} of these" for n in range(filling)], "rows": rows + [(f"{n}!", "GET") for n in range(9)]}
        )
        assert look(data, SafePickle()._names, 1000)
