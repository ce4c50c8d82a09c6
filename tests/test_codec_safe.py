"""SafePickle: what it gives back, what it refuses, and that nothing runs before it does."""

from __future__ import annotations

import abc
import array
import collections
import copyreg
import datetime as dt
import decimal
import enum
import fractions
import functools
import http
import ipaddress
import logging
import os
import pathlib
import pickle
import pickletools
import random
import re
import resource
import shutil
import signal
import statistics
import string
import subprocess
import sys
import threading
import time
import types
import urllib.parse
import uuid
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import attacks
from children import Child, Line
from hutch.codecs import SafePickle
from hutch.codecs import depth as depth_module
from hutch.codecs.depth import is_deep
from hutch.codecs.glance import is_simple, look
from hutch.codecs.opcodes import Walk, globals_of, walk
from hutch.errors import CodecError, ForbiddenGlobalError, HutchError, LimitError, WrongCodecError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
KEY = b"key"


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass
class Recipe:
    name: str
    steps: list[str] = field(default_factory=list)
    colour: Colour = Colour.RED


@dataclass(frozen=True, slots=True)
class Point:
    x: int
    y: Any


class Row(NamedTuple):
    number: int
    text: str


class Stack(list[Any]):
    pass


class Table(dict[str, Any]):
    pass


class Outer:
    class Inner:
        def __init__(self, value: int) -> None:
            self.value = value

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Outer.Inner) and other.value == self.value

        __hash__ = None  # type: ignore[assignment]


class Named:
    """Takes keyword arguments in `__new__`: NEWOBJ_EX from protocol 4 on."""

    def __new__(cls, *, size: int) -> Self:
        made = super().__new__(cls)
        made.size = size
        return made

    size: int

    def __getnewargs_ex__(self) -> tuple[tuple[()], dict[str, int]]:
        return (), {"size": self.size}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and other.size == self.size

    __hash__ = None  # type: ignore[assignment]


MINE = [Colour, Access, Recipe, Point, Row, Stack, Table]
PLAIN = SafePickle()
ALLOWING = SafePickle(MINE)


@pytest.fixture(autouse=True)
def canaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever a test unpickles: nothing fires."""
    monkeypatch.chdir(tmp_path)
    attacks.FIRED.clear()
    modules = set(sys.modules)
    yield
    assert not list(tmp_path.iterdir())
    assert not attacks.FIRED
    assert not {"antigravity", "pty", "cProfile"} & (set(sys.modules) - modules)


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


# What comes back.

VALUES = [
    None,
    True,
    -1,
    2**70,
    1.5,
    float("inf"),
    1j,
    "",
    "text \N{SNOWMAN} \ud800",
    b"",
    b"\x00\xff",
    bytearray(b"\x80"),
    bytearray(),
    [],
    {},
    (),
    set(),
    frozenset(),
    {"a": [1, (2, 3, 4, 5), {6}, frozenset({7})], (1, (2, "b")): None},
    slice(1, None, 2),
    range(10**12),
    Ellipsis,
    NotImplemented,
    [int, str, object, dt.date, collections.OrderedDict],
    dt.date(2020, 2, 29),
    dt.time(1, 2, 3, 4, fold=1),
    dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3), "there")),
    [dt.datetime(2020, 1, 1, second=n) for n in range(60)],
    dt.timedelta(days=-1, microseconds=5),
    decimal.Decimal("1.50"),
    decimal.Decimal("NaN"),
    fractions.Fraction(-1, 3),
    fractions.Fraction(5),
    uuid.UUID(int=5),
    uuid.UUID(int=6, is_safe=uuid.SafeUUID.safe),
    uuid.SafeUUID.unsafe,
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.deque([1, [2]]),
    collections.deque([1, 2], 2),
    collections.Counter("abca"),
    collections.defaultdict(list, {"a": [1]}),
    collections.defaultdict(None, {}),
    pathlib.PurePosixPath("/a/b"),
    pathlib.PureWindowsPath("c:/x"),
    ipaddress.ip_address("::1"),
    ipaddress.ip_address("1.2.3.4"),
    ipaddress.ip_network("10.0.0.0/8"),
    ipaddress.ip_interface("fe80::1/64"),
    "long " * 1000,
    b"long " * 20_000,
    list(range(2000)),
    [{"name": f"user {n}", "pair": (n, str(n)), "when": dt.date(2020, 1, 1)} for n in range(400)],
    {(n, n + 1): (n,) for n in range(600)},
]
MY_VALUES = [
    Recipe("scones", ["mix", "bake"]),
    [Recipe(str(n), [str(n)], Colour.BLUE) for n in range(50)],
    Point(1, (2, 3)),
    {Point(1, 2): Point(3, Point(4, 5))},
    Colour.BLUE,
    [Colour.RED, Colour.RED, {Colour.BLUE: 1}],
    Access.READ | Access.WRITE,
    Row(1, "a"),
    {Row(1, "a"): [Row(2, "b")] * 3},
    Stack([1, Stack()]),
    Table(a=Table()),
    collections.defaultdict(Recipe),
    [dt.date, Recipe],
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:40])
def test_data_comes_back(value: Any, protocol: int) -> None:
    data = SafePickle(protocol=protocol).encode(KEY, value)
    assert data == pickle.dumps(value, protocol)
    plain = pickle.loads(data)
    assert same(PLAIN.decode(KEY, data), plain)
    assert same(PLAIN.decode(KEY, memoryview(data)), plain)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", MY_VALUES, ids=lambda value: repr(value)[:40])
def test_what_is_allowed_comes_back(value: Any, protocol: int) -> None:
    data = SafePickle(MINE, protocol=protocol).encode(KEY, value)
    assert same(ALLOWING.decode(KEY, data), value)
    by_name = SafePickle([f"{cls.__module__}:{cls.__qualname__}" for cls in MINE])
    assert same(by_name.decode(KEY, data), value)
    assert same(by_name.decode(KEY, data), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_time_zones_come_back(protocol: int) -> None:
    try:
        zone = zoneinfo.ZoneInfo("Europe/Paris")
    except zoneinfo.ZoneInfoNotFoundError:
        pytest.skip("this machine has no time zones")
    moments = [dt.datetime(2020, month, 1, tzinfo=zone) for month in (1, 7)]
    assert PLAIN.decode(KEY, SafePickle(protocol=protocol).encode(KEY, [zone, moments])) == [zone, moments]


@pytest.mark.parametrize("protocol", [4, 5])
def test_nested_classes_and_keyword_arguments_come_back(protocol: int) -> None:
    codec = SafePickle([Outer.Inner, f"{__name__}:Named"], protocol=protocol)
    for value in (Outer.Inner(5), Named(size=3)):
        assert codec.decode(KEY, codec.encode(KEY, value)) == value


def test_cycles_come_back() -> None:
    cycle: list[Any] = [1]
    cycle.append({"self": cycle})
    found = PLAIN.decode(KEY, PLAIN.encode(KEY, cycle))
    assert found[1]["self"] is found
    recipe = Recipe("a", [])
    recipe.steps.append(recipe)  # type: ignore[arg-type]
    again = ALLOWING.decode(KEY, ALLOWING.encode(KEY, recipe))
    assert again.steps[0] is again


def test_paths_of_313_and_of_others_are_the_same() -> None:
    for module in ("pathlib", "pathlib._local"):
        data = b"\x80\x04" + attacks.global_(module, "PurePosixPath") + attacks.text("a") + b"\x85R."
        assert PLAIN.decode(KEY, data) == pathlib.PurePosixPath("a")
    posix = SafePickle([pathlib.PosixPath])
    assert posix.decode(KEY, posix.encode(KEY, pathlib.PosixPath("/a"))) == pathlib.PosixPath("/a")


def test_a_codec_is_picklable_and_says_what_it_is() -> None:
    codec = SafePickle([Recipe, "test_codec_safe:Colour"], protocol=2, max_depth=7)
    again = pickle.loads(pickle.dumps(codec))
    assert again.encode(KEY, Recipe("a")) == codec.encode(KEY, Recipe("a"))
    assert repr(again) == repr(codec)
    assert "max_depth=7" in repr(codec)
    with pytest.raises(LimitError):
        again.decode(KEY, pickle.dumps([[[[[[[[]]]]]]]]))


atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=300)
    | st.binary(max_size=300)
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(timezones=st.none() | st.just(dt.UTC))
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.sampled_from(list(Colour))
    | st.ip_addresses()
    | st.builds(Row, st.integers(), st.text(max_size=3))
)
keys = st.recursive(atoms, lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3), max_leaves=4)
values = st.recursive(
    keys,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
        | st.tuples(inner, inner, inner, inner)
        | inner.map(lambda value: [value, value, (value, value)])
        | st.builds(Recipe, st.text(max_size=3), st.lists(inner, max_size=2))
        | st.builds(Point, st.integers(), inner)
        | st.dictionaries(keys, inner, max_size=3).map(collections.OrderedDict)
        | st.lists(inner, max_size=3).map(collections.deque)
        | st.lists(keys, max_size=3).map(collections.Counter)
        | st.dictionaries(keys, inner, max_size=3).map(lambda items: collections.defaultdict(list, items))
    ),
    max_leaves=12,
)


@given(values, st.sampled_from(PROTOCOLS))
@settings(max_examples=150, deadline=None)
def test_whatever_is_made_of_allowed_types_comes_back(value: Any, protocol: int) -> None:
    data = SafePickle(MINE, protocol=protocol).encode(KEY, value)
    found = ALLOWING.decode(KEY, data)
    assert found == value
    assert type(found) is type(value)


# What is refused.


def codecs_that_refuse() -> list[SafePickle]:
    return [SafePickle(attacks.CLASSES), SafePickle(attacks.CLASSES, numpy=True)]


def test_no_gadget_is_ever_called() -> None:
    for codec in codecs_that_refuse():
        allowed = set(codec._entries)
        for module, name, arguments in attacks.GADGETS:
            for how, data in attacks.calls_of(module, name, arguments):
                known = {(module, name), (module.replace("copy_reg", "copyreg").strip("_"), name)}
                known |= {(module.replace("__builtin__", "builtins"), name)}
                if how.startswith("only named") and known & allowed:
                    continue
                with pytest.raises(CodecError) as caught:
                    codec.decode(KEY, data)
                assert not attacks.FIRED, (module, name, how)
                assert caught.value.key == KEY
                assert "'key'" in str(caught.value)
                if (module, name) not in allowed and not known & allowed:
                    assert isinstance(caught.value, ForbiddenGlobalError), (module, name, how, caught.value)
                    assert (caught.value.module, caught.value.name) == (module, name), how


@pytest.mark.parametrize(("module", "name"), attacks.NAMES)
def test_no_name_leads_out(module: str, name: str) -> None:
    for codec in codecs_that_refuse():
        for how, data in attacks.calls_of(module, name, ()):
            with pytest.raises(CodecError):
                codec.decode(KEY, data)
            assert not attacks.FIRED, how


@pytest.fixture
def extension() -> Iterator[None]:
    """A registered code that some other unpickling has already resolved."""
    copyreg.add_extension("attacks", "fire", 0xF0)
    assert pickle.loads(b"\x80\x02\x82\xf0.") is attacks.fire
    yield
    copyreg.remove_extension("attacks", "fire", 0xF0)


@pytest.mark.usefixtures("extension")
@pytest.mark.parametrize("name", attacks.special())
def test_no_opcode_does_what_data_never_does(name: str) -> None:
    data = attacks.special()[name]
    before = [dict(vars(cls)) for cls in (*attacks.CLASSES, collections.OrderedDict)]
    members = [dict(vars(member)) for member in attacks.Colour]
    for codec in codecs_that_refuse():
        for whole in (data, b"\x80\x04" + data):
            if name != "nothing" or whole:
                with pytest.raises(CodecError):
                    codec.decode(KEY, whole)
            assert not attacks.FIRED
    assert [dict(vars(cls)) for cls in (*attacks.CLASSES, collections.OrderedDict)] == before
    assert [dict(vars(member)) for member in attacks.Colour] == members


@pytest.mark.usefixtures("extension")
def test_an_extension_that_is_cached_is_called_by_nobody() -> None:
    for call in (b"\x82\xf0", b"\x83\xf0\0", b"\x84\xf0\0\0\0"):
        with pytest.raises(ForbiddenGlobalError, match=r"attacks\.fire"):
            PLAIN.decode(KEY, b"\x80\x02" + call + b")R.")


def test_nothing_allowed_runs_before_all_is_known_to_be() -> None:
    codec = SafePickle([attacks.Tripwire])
    trip = attacks.global_("attacks", "Tripwire")
    assert isinstance(codec.decode(KEY, b"\x80\x04" + trip + b")\x81."), attacks.Tripwire)
    assert attacks.FIRED == ["new"]
    attacks.FIRED.clear()
    for bad in (
        b"cos\nsystem\n",
        b"\x8c\x02os\x8c\x06system\x93",
        b"(ios\nsystem\n",
        b"K\x01K\x02\x93",
        b"\x82\x05",
        b"Pid\n",
        b"\xff",
    ):
        for start in (trip + b")\x81", trip + b")R", trip + b")\x81Nb", b"(" + trip + b"o"):
            with pytest.raises(CodecError):
                codec.decode(KEY, b"\x80\x04](" + start + bad + b"e.")
            assert not attacks.FIRED


def test_what_decode_would_refuse_is_not_written() -> None:
    for value in (print, Path("x"), Recipe("a"), [Colour.RED], zoneinfo.ZoneInfo.from_file, sys, iter([])):
        with pytest.raises((ForbiddenGlobalError, TypeError)):
            PLAIN.encode(KEY, value)
    with pytest.raises(ForbiddenGlobalError) as caught:
        PLAIN.encode(b"jam", {"a": Recipe("a")})
    assert (caught.value.module, caught.value.name, caught.value.key) == (__name__, "Recipe", b"jam")
    assert "jam" in str(caught.value) and "Recipe" in str(caught.value)
    with pytest.raises(ForbiddenGlobalError, match="Outer"):  # protocols before 4 take it out of its class by getattr
        SafePickle([Outer.Inner], protocol=2).encode(KEY, Outer.Inner(1))


def test_a_subclass_of_what_is_allowed_is_not() -> None:
    class Sub(Recipe):
        pass

    Sub.__qualname__ = "Sub"
    globals()["Sub"] = Sub
    try:
        for value in (Sub("a"), type("Sub", (), {})):
            with pytest.raises((ForbiddenGlobalError, pickle.PicklingError)):
                ALLOWING.encode(KEY, value)
        with pytest.raises(ForbiddenGlobalError, match="Sub"):
            ALLOWING.decode(KEY, pickle.dumps(Sub("a")))
    finally:
        del globals()["Sub"]


@pytest.mark.parametrize(
    "bad",
    [
        eval,
        "builtins.eval",
        "builtins:getattr",
        "builtins.type",
        type,
        "os.system",
        "posix.system",
        "subprocess.Popen",
        "functools.partial",
        "operator:attrgetter",
        "_operator:attrgetter",
        "importlib.import_module",
        "types.FunctionType",
        "pickle.loads",
        "codecs.decode",
        "noname",
        "",
        ":",
        "module:",
        ":name",
        "a:b.",
        5,
        None,
        Recipe("a"),
    ],
)
def test_what_would_undo_everything_cannot_be_allowed(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        SafePickle([bad])


class Meta(abc.ABCMeta):
    """Makes classes."""


class Shell(subprocess.Popen[bytes]):
    """Runs what it is called with."""


class Bound(functools.partial[Any]):
    """Calls what it is made with."""


class Place(os.PathLike[str]):
    """Only has a method of that interface."""

    def __fspath__(self) -> str:
        return "/"


class Generic(NamedTuple("Generic", [("value", Any)])):  # made by a function, and a class all the same
    """A subclass of a named tuple."""

    __slots__ = ()


run = subprocess.run
Popen = subprocess.Popen

HOPELESS = (Path(__file__).parent / "hopeless_names.txt").read_text().split()


@pytest.mark.parametrize("name", HOPELESS)
def test_what_leads_to_anything_cannot_be_allowed(name: str) -> None:
    before = set(sys.modules)
    with pytest.raises(ValueError, match="SafePickle does not allow"):
        SafePickle([name])
    loaded = set(sys.modules) - before
    assert not {module for module in loaded if name.replace(":", ".").startswith(module)}, "nothing is imported to see"


@pytest.mark.parametrize(
    "cls", [Meta, Shell, Bound, type, abc.ABCMeta, enum.EnumType, subprocess.Popen, functools.partial, string.Formatter,
            logging.FileHandler, map, property, memoryview, threading.Thread, subprocess.CalledProcessError]
)  # fmt: skip
def test_nor_can_such_a_class_itself(cls: Any) -> None:
    with pytest.raises(ValueError, match="SafePickle does not allow"):
        SafePickle([cls])


def test_numpy_s_arrays_are_allowed_in_one_way_only() -> None:
    """Their states decide how memory is read: those are looked at with numpy=True, and nowhere else."""
    np = pytest.importorskip("numpy")
    for item in (np.ndarray, np.dtype, np.matrix, np.recarray, np.ma.MaskedArray, "numpy.ndarray", "numpy:dtype"):
        with pytest.raises(ValueError, match="numpy=True"):
            SafePickle([item])
    both = SafePickle([np.ndarray, "numpy.dtype"], numpy=True)
    assert both.decode(KEY, both.encode(KEY, np.arange(3))).tolist() == [0, 1, 2]
    assert SafePickle([np.float64])  # a scalar's class
    with pytest.raises(ForbiddenGlobalError):
        both.decode(KEY, pickle.dumps(np.array([object]), 4))


def test_what_a_name_means_is_looked_at_when_it_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No name of a user's module is a way round: it may be that of something else."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "way_round.py").write_text(
        "from os import system\nfrom subprocess import Popen\nfrom functools import partial\nimport os\n"
        "from collections import namedtuple\nfrom abc import ABCMeta\nfrom builtins import eval, type\n"
        "class Own(Popen): pass\nclass Meta(type): pass\nclass Data: pass\ndef function(): pass\nvalue = 5\n"
        "from http import HTTPStatus\nfrom logging import FileHandler\n"
    )
    monkeypatch.syspath_prepend(folder)
    names = [
        "system",
        "Popen",
        "partial",
        "os",
        "os.system",
        "namedtuple",
        "ABCMeta",
        "eval",
        "type",
        "Own",
        "Meta",
        "function",
        "value",
        "FileHandler",
        "Data.mro",
    ]
    codec = SafePickle([f"way_round:{name}" for name in (*names, "Data", "HTTPStatus")])
    try:
        assert "way_round" not in sys.modules
        for name in names:
            for arguments in (b")", attacks.text("true") + b"\x85", attacks.text("true") + b")}\x87"):
                for call in (b"R", b"\x81", b"."):
                    data = b"\x80\x04" + attacks.global_("way_round", name) + arguments + call + b"."
                    with pytest.raises(CodecError):
                        codec.decode(KEY, data)
            with pytest.raises(CodecError, match=r"not to be allowed|through a module"):
                codec.decode(KEY, b"\x80\x04" + attacks.global_("way_round", name) + b".")
        made = codec.decode(KEY, b"\x80\x04" + attacks.global_("way_round", "Data") + b")R.")
        assert type(made).__name__ == "Data"
        found = codec.decode(KEY, b"\x80\x04" + attacks.global_("way_round", "HTTPStatus") + b"K\xc8\x85R.")
        assert found == 200
        with pytest.raises(ValueError, match="does not allow"):
            SafePickle(["way_round:system"])  # now that its module is there
    finally:
        sys.modules.pop("way_round", None)
        shutil.rmtree(folder)


def test_what_is_data_may_be_allowed() -> None:
    values = [
        types.SimpleNamespace(a=1),
        array.array("d", [1.5]),
        random.Random(5),
        collections.ChainMap({"a": 1}),
        collections.UserDict(a=1),
        string.Template("$a"),
        pathlib.PosixPath("/a"),
        http.HTTPStatus.OK,
        signal.Signals.SIGINT,
        re.RegexFlag.I,
        urllib.parse.urlsplit("http://a/b"),
        time.struct_time(range(9)),
        ValueError("a"),
        Place(),
        Generic(5),
        statistics.NormalDist(1, 2),
    ]
    for value in values:
        if type(value) is signal.Signals:
            continue  # of a module of which little is data
        for allowed in (type(value), f"{type(value).__module__}:{type(value).__qualname__}"):
            codec = SafePickle([allowed])
            if type(value) is array.array:
                assert isinstance(codec, SafePickle)  # what protocol 3 and later make of it is a function's
                continue
            found = codec.decode(KEY, codec.encode(KEY, value))
            assert type(found) is type(value)


def test_a_module_of_ones_own_that_is_called_as_one_of_python_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "commands.py").write_text("class Command: pass\n")
    monkeypatch.syspath_prepend(folder)
    try:
        codec = SafePickle(["commands.Command"])
        made = codec.decode(KEY, b"\x80\x04" + attacks.global_("commands", "Command") + b")\x81.")
        assert type(made).__module__ == "commands"
    finally:
        sys.modules.pop("commands", None)
        shutil.rmtree(folder)


def test_a_class_that_is_gone_is_one_of_our_errors() -> None:
    codec = SafePickle(["no_such_module:Gone", "attacks:Gone"])
    for module, name in (("no_such_module", "Gone"), ("attacks", "Gone")):
        for how, data in attacks.calls_of(module, name, ()):
            if how.startswith(("only named, and", "behind")):
                continue
            with pytest.raises(CodecError, match=r"Gone|no_such_module"):
                codec.decode(KEY, data)


def test_what_is_shared_a_thousand_times_is_read() -> None:
    big = list(range(2000))
    shared = [Row(number, big) for number in range(1000)]  # type: ignore[arg-type]
    for value in (shared, collections.deque(shared), Stack(shared), dict(enumerate(shared))):
        assert ALLOWING.decode(KEY, ALLOWING.encode(KEY, value)) == value


def test_a_member_of_an_enum_is_no_way_to_another_enum() -> None:
    codec = SafePickle([enum.Enum, Colour])
    for where in (("enum", "Enum"), (__name__, "Colour"), ("uuid", "SafeUUID")):
        data = b"\x80\x04" + attacks.global_(*where) + attacks.text("X") + attacks.text("a b") + b"\x86R."
        with pytest.raises(ForbiddenGlobalError):
            codec.decode(KEY, data)


# Limits.


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value = wrap(None)
    for _ in range(depth - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [
        lambda value: [value],
        lambda value: (value,),
        lambda value: {"a": value},
        lambda value: [1, value, 2],
        lambda value: collections.deque([value]),
        lambda value: collections.OrderedDict(a=value),
        lambda value: Point(1, value),
        lambda value: frozenset([value]),
    ],
)
def test_depth_is_bounded(wrap: Callable[[Any], Any]) -> None:
    for protocol in (2, 4):
        data = pickle.dumps([nested(40, wrap), *range(500)], protocol)
        codec = SafePickle(MINE, max_depth=200)
        codec.decode(KEY, data)
        codec.encode(KEY, nested(40, wrap))
        tight = SafePickle(MINE, max_depth=30)
        with pytest.raises(LimitError, match="30"):
            tight.decode(KEY, data)
        with pytest.raises(LimitError, match="30"):
            tight.encode(KEY, nested(40, wrap))
        # Wide is not deep.
        wide = [wrap(None) for _ in range(500)]
        assert len(tight.decode(KEY, pickle.dumps(wide, protocol))) == 500


@given(st.recursive(st.integers(0, 3), lambda inner: st.lists(inner, max_size=3), max_leaves=8))
@settings(deadline=None)
def test_is_deep_counts_containers(value: Any) -> None:
    def depth(value: Any) -> int:
        return (
            1 + max(map(depth, value), default=0)
            if isinstance(value, list) and any(isinstance(item, list) for item in value)
            else 1
        )

    for limit in range(1, 8):
        assert is_deep(value, limit) == (depth(value) > limit)


def test_is_deep_looks_once_at_what_is_there_many_times(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: collections.Counter[int] = collections.Counter()
    look_at = depth_module._parts

    def counted(part: Any) -> Any:
        if type(part) is not int:
            looked_at[id(part)] += 1
        return look_at(part)

    monkeypatch.setattr(depth_module, "_parts", counted)
    shared: list[Any] = [[1, 2], (3, 4), {5: 6}, {7}, [[8]], Point(1, 2)]
    value = [[part, part] for part in shared for _ in range(100)]
    assert not is_deep(value, 100)
    assert all(looked_at[id(part)] == 1 for part in shared)


@given(values, st.integers(1, 9))
@settings(deadline=None)
def test_a_quick_look_at_the_depth_tells_the_same(value: Any, limit: int) -> None:
    shared = [value, {"again": value, "and": (value, [value])}]
    cycle: list[Any] = [value, {}]
    cycle[1]["self"] = cycle
    for thing in (value, shared, cycle):
        slowly = is_deep(thing, limit)
        for most in (1, 20, 10**6):
            assert is_deep(thing, limit, most) == slowly
        found = look(pickle.dumps(thing), PLAIN._names, 10**9)
        if found is not None and not found[0] and not found[2]:
            assert is_deep(thing, limit, is_tree=True) == slowly


NUMBERS = [*range(0, 100_000, 77), *(n / 7 for n in range(1, 1000)), 1 << 40]  # many, with all bytes in them


def large(body: bytes) -> bytes:
    """A pickle of many numbers, and of what `body` pushes."""
    return pickle.dumps(NUMBERS, 3)[:-1] + b"(" + body + b"e."


def test_what_is_nested_late_is_nested() -> None:
    links = b"".join(b"]r" + n.to_bytes(4, "little") + b"(" for n in range(300, 400))
    late = links + b"e" * 100  # one in another, as ever
    back = b"".join(b"]r" + n.to_bytes(4, "little") for n in range(300, 400)) + b"".join(
        b"j" + n.to_bytes(4, "little") + b"j" + (n + 1).to_bytes(4, "little") + b"a" for n in range(300, 399)
    )  # side by side, then each put into the one before
    for body in (late, back):
        data = large(body)
        assert is_deep(pickle.loads(data), 100)
        SafePickle(max_depth=102).decode(KEY, data)
        with pytest.raises(LimitError, match="max_depth"):
            SafePickle(max_depth=100).decode(KEY, data)


def test_what_would_be_endless_as_a_tree_is_read() -> None:
    doubled: Any = [0]
    for _ in range(60):
        doubled = [doubled, doubled]
    wide = [list(range(1000))] * 3000
    mixed = [{"a": wide, "b": [wide] * 3000}] * 3000
    for value in (doubled, wide, mixed):
        data = pickle.dumps([value, NUMBERS])
        found = SafePickle(max_depth=70).decode(KEY, data)
        assert len(pickle.dumps(found)) == len(data)
        assert SafePickle(max_depth=70).encode(KEY, [value, NUMBERS]) == data


@pytest.mark.usefixtures("extension")
def test_among_many_numbers_nothing_bad_is_overlooked() -> None:
    assert PLAIN.decode(KEY, large(b"K\x01")) == [*NUMBERS, 1]
    for bad in (
        b"\x82\xf0",
        b"\x83\xf0\0",
        b"\x84\xf0\0\0\0",
        b"\x82\xf0)R",
        b"Pid\n",
        b"K\x01Q",
        b"cos\nsystem\n",
        b"\x8c\x02os\x94\x8c\x06system\x94\x93\x94",
        b"]r\xff\xff\xff\x7f",
        b"]p99999999\n",
        b"j\xff\xff\xff\x7f",
        b"h\xfe",
        b"\x97",
        b"e.",
        b"K\x01e.]",
        b"\xff",
    ):
        with pytest.raises(CodecError) as caught:
            PLAIN.decode(KEY, large(bad))
        assert caught.value.key == KEY
        assert not attacks.FIRED


def test_any_cut_of_many_numbers_is_damaged() -> None:
    data = pickle.dumps([*NUMBERS[:400], (1, 2.5)])
    for cut in [*range(0, len(data), 97), *range(len(data) - 40, len(data))]:
        with pytest.raises(CodecError):
            PLAIN.decode(KEY, data[:cut])
    for more in (b"\0", b".", data):
        with pytest.raises(CodecError):
            PLAIN.decode(KEY, data + more)


def test_size_is_bounded() -> None:
    codec = SafePickle(max_bytes=100)
    assert codec.decode(KEY, codec.encode(KEY, b"x" * 50)) == b"x" * 50
    with pytest.raises(LimitError, match="100"):
        codec.encode(KEY, b"x" * 100)
    with pytest.raises(LimitError, match="'key'"):
        codec.decode(KEY, pickle.dumps(b"x" * 100))


def test_foreign_bytes_are_told() -> None:
    for data in (b'{"a": 1}', b"\xc1HT\xda" + bytes(20), b"", b"\x00", b"<?xml version='1.0'?><plist/>"):
        with pytest.raises(CodecError, match="'key'"):
            PLAIN.decode(KEY, data)
    with pytest.raises(WrongCodecError) as caught:
        PLAIN.decode(KEY, b'{"a": [1, 2]}')
    assert caught.value.looks_like == "Json"


# Hostile bytes.

SEEDS = [
    pickle.dumps(value, protocol) for protocol in PROTOCOLS for value in [*VALUES, *MY_VALUES] if len(repr(value)) < 500
]


def mutated(generator: random.Random) -> bytes:
    """A pickle with a few bytes changed, moved, or taken from another one."""
    data = bytearray(generator.choice(SEEDS))
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(data) + 1)
        match generator.randrange(5):
            case 0:
                data[at : at + 1] = bytes((generator.randrange(256),))
            case 1:
                data[at : at + generator.randrange(8)] = b""
            case 2:
                data[at:at] = bytes(
                    (generator.choice(b"(.012NKabdehijlopqrstuR]}\x81\x85\x86\x87\x8f\x90\x91\x92\x93\x94\x97"),)
                )
            case 3:
                other = generator.choice(SEEDS)
                start = generator.randrange(len(other))
                data[at:at] = other[start : start + generator.randrange(30)]
            case 4:
                start = generator.randrange(len(data) + 1)
                data[at:at] = data[start : start + generator.randrange(20)]
    return bytes(data)


def attack_with_mutants(line: Line, seed: int, count: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
    generator = random.Random(seed)
    good = 0
    for _ in range(count):
        data = mutated(generator)
        try:
            found = ALLOWING.decode(KEY, data)
        except (HutchError, MemoryError):
            continue
        good += 1
        named = list(globals_of(data))
        assert all(module != "os" for module, _ in named)
        del found
    line.say(good)


@pytest.mark.parametrize("seed", range(4))
def test_mutants_raise_only_our_errors(seed: int) -> None:
    with Child(attack_with_mutants, seed, 6000) as child:
        assert child.hear() > 100


@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from(list(b"()]}.012NKabdehqRtus\x80\x81\x85\x86\x87\x8c\x8f\x90\x91\x93\x94X\0\1\2")), max_size=40
    ).map(bytes)
)
@settings(max_examples=500, deadline=None)
def test_random_bytes_raise_only_our_errors(data: bytes) -> None:
    try:
        ALLOWING.decode(KEY, data + b".")
    except CodecError as problem:
        assert problem.key == KEY


@pytest.mark.parametrize("seed", range(2))
def test_a_glance_sees_what_a_walk_and_an_unpickler_see(seed: int) -> None:
    generator = random.Random(seed)
    told = 0
    for _ in range(8000):
        data = mutated(generator) if generator.random() < 0.9 else generator.choice(SEEDS)
        simple, found = is_simple(data), look(data, ALLOWING._names, 10**9)
        if not simple and found is None:
            continue
        told += 1
        named = found is not None and found[0]
        assert not (simple and named)
        try:
            walked = walk(data)
        except CodecError:
            continue
        judged = Walk(data, ALLOWING, max_work=(1 << 20) + 64 * len(data))
        try:
            judged.run()
        except ForbiddenGlobalError as problem:  # what may be called with anything is called with it, or is no function
            entry = ALLOWING._entries.get((problem.module, problem.name))
            free = entry and (
                entry.is_free or entry.is_callable or entry.has_members or entry.begins_empty or entry.is_row
            )
            assert entry is None or free
            assert "uses" in str(problem) if entry else "calls what a call has returned" in str(problem)
        except CodecError as problem:  # what has no such method: an error, but for a list whose items are numbered
            assert "for what is no container" in str(problem)
        assert bool(walked.globals) == named
        assert not walked.persistent and not walked.extensions and walked.end == len(data)
    assert told > 300


@pytest.mark.parametrize(
    "value",
    [
        {(number, -number): number for number in range(3000)},
        {(f"key {number}", number): [f"value {number}"] for number in range(20_000)},  # in several frames
        [{"name": "plum", "at": (number, 0.5), "tags": ["a", "b"]} for number in range(1500)],
        [(number, None, b"x" * 9) for number in range(2000)],
        {Colour.RED: 1, Colour.BLUE: [Colour.RED] * 5},
        [Access.READ, Access.WRITE, Access.READ | Access.WRITE] * 9,
        {dt.date(2020, 1, 1 + number % 28): (number,) for number in range(99)},
        {(number,) for number in range(2000)},
        [frozenset(["a", number]) for number in range(50)],
        collections.OrderedDict((str(number), [number]) for number in range(99)),
        collections.deque(range(99)),
    ],
    ids=lambda value: type(value).__name__,  # the same in every process, which how a set is shown is not
)
@pytest.mark.parametrize("protocol", [4, 5])
def test_a_glance_is_enough_for_flat_tuples_and_enums(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert look(data, ALLOWING._names, 1000) is not None
    assert ALLOWING.decode(KEY, data) == value


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_glance_is_enough_for_classes_of_older_pickles(protocol: int) -> None:
    for value in ([Recipe(str(number), ["x"], None) for number in range(50)], collections.deque([5])):  # type: ignore[arg-type]
        data = pickle.dumps(value, protocol)
        assert look(data, ALLOWING._names, 1000) is not None
        assert ALLOWING.decode(KEY, data) == value


@pytest.mark.parametrize(
    "body",
    [
        b"}\x94K\x01K\x02\x86\x94h\x01h\x01\x86Ns.",
        b"}\x94K\x01\x85\x94" + b"".join(b"h%ch%c\x86\x94" % (n, n) for n in range(1, 60)) + b"Ns.",
        b"}\x94K\x01\x85\x94" + b"".join(b"h%c\x85\x94" % n for n in range(1, 60)) + b"Ns.",
        b"}\x94" + b"".join(b"h%ch%cK\x01\x87\x94" % (n, n) for n in range(60)) + b"Ns.",
        b"}\x94)" + b"K\x01\x86" * 2000 + b"Ns.",
        b"}\x94)" + b"K\x01K\x02\x87" * 2000 + b"Ns.",
        b"}\x94)" + b"\x85" * 2000 + b"Ns.",
        b"}\x94K\x01" + b"\x85" * 2000 + b"Ns.",
        b"}\x94(" + b"K\x01" * 3000 + b"t\x94Nsh\x01Ns.",
        b"\x8c\x0ftest_codec_safe\x94\x8c\x06Colour\x94\x93\x94\x8c\x03red\x85\x94R}(\x8c\x07_value_K\x05ub.",
        b"\x8c\x0ftest_codec_safe\x94\x8c\x06Recipe\x94\x93\x94N}(\x8c\x04nameK\x05u\x86b.",
        b"}\x8c\x0ftest_codec_safe\x94\x8c\x03Row\x94\x93\x94K\x01K\x02\x86\x94\x81\x94h\x02h\x04h\x04\x86\x81Nu.",
    ],
    ids=range(12),
)
def test_a_glance_is_not_enough_for_tuples_in_tuples_nor_for_what_is_built(body: bytes) -> None:
    """Else hashing them would not end, or take more stack than there is, or everybody's enum would change."""
    assert look(b"\x80\x04" + body, ALLOWING._names, 1000) is None
    assert look(b"\x80\x04]\x94" + body[:-1] + b"a.", ALLOWING._names, 1000) is None


def test_an_enum_is_handed_on_to_the_glance_only_if_no_call_makes_another_one() -> None:
    class Empty(enum.Enum):
        pass

    class Meta(enum.EnumType):
        pass

    class Custom(enum.Enum, metaclass=Meta):
        ONE = 1

    class Hashing(enum.Enum):
        ONE = 1

        def __hash__(self) -> int:
            raise AssertionError

    class Called(enum.Enum):
        ONE = 1

        def __call__(self) -> None:
            raise AssertionError

    for cls in (Empty, Custom, Hashing, Called, enum.Enum, enum.IntFlag):
        assert not SafePickle([cls])._entries[cls.__module__, cls.__qualname__].has_members
    for cls in (Colour, Access):
        assert SafePickle([cls])._entries[cls.__module__, cls.__qualname__].has_members
        for arguments in (b"X\x01\0\0\0AX\x03\0\0\0a b\x86", b"K\x01NNN\x87", b")"):
            for call in (b"R", b"\x81"):
                data = attacks.global_(cls.__module__, cls.__qualname__) + arguments + call + b"."
                with pytest.raises(CodecError):
                    ALLOWING.decode(KEY, b"\x80\x04" + data)


@given(values, st.sampled_from(PROTOCOLS))
@example(dt.datetime(2000, 1, 1, tzinfo=dt.UTC), 4)
@settings(deadline=None)
def test_a_glance_tells_whether_anything_is_used_twice(value: Any, protocol: int) -> None:
    for thing in (value, [value, value], [str(value)] * 2, [[value], (NUMBERS[:300], 0.25)]):
        data = pickle.dumps(thing, protocol)
        found = look(data, PLAIN._names, 10**9)
        if found is not None and not found[2]:
            names = [opcode.name for opcode, _, _ in pickletools.genops(data)]
            fetched = [at for at, name in enumerate(names) if name in ("BINGET", "LONG_BINGET", "GET")]
            # But for the module of a class, which is no part of the value.
            assert all(names[at + 1 : at + 4] == ["SHORT_BINUNICODE", "MEMOIZE", "STACK_GLOBAL"] for at in fetched)


# Arrays.


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_come_back(protocol: int) -> None:
    np = pytest.importorskip("numpy")
    codec = SafePickle(numpy=True, protocol=protocol)
    values = [
        np.arange(3),
        np.arange(6.0).reshape(2, 3)[:, ::2],
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(3, dtype=">i4"),
        np.zeros((0, 3)),
        np.array(5),
        np.array(["ab", "c"]),
        np.array([b"x"]),
        np.array(["2020-01-01"], "M8[ns]"),
        np.array([1], "m8[s]"),
        np.array([True, False]),
        np.float64(1.5),
        np.float32(1),
        np.complex64(1j),
        np.bool_(True),
        np.str_("a"),
        np.datetime64("2020"),
        np.dtype("f8"),
        {"a": [np.arange(2), np.arange(2, dtype="u1")]},
    ]
    for value in values:
        plain = pickle.loads(pickle.dumps(value, protocol))
        found = codec.decode(KEY, codec.encode(KEY, value))
        assert same(found, plain)
        assert getattr(found, "dtype", None) == getattr(plain, "dtype", None)
        with pytest.raises(ForbiddenGlobalError, match="numpy"):
            PLAIN.decode(KEY, pickle.dumps(value, protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_arrays_of_objects_and_of_records_are_refused(protocol: int) -> None:
    np = pytest.importorskip("numpy")
    codec = SafePickle(numpy=True, protocol=protocol)
    for value in (np.array([None, "a"], object), np.zeros(2, "i4,f8"), np.zeros(2, [("a", "O")]), np.ma.array([1])):
        with pytest.raises(ForbiddenGlobalError, match="numpy"):
            codec.encode(KEY, value)
        with pytest.raises(ForbiddenGlobalError, match="numpy"):
            codec.decode(KEY, pickle.dumps(value, protocol))


def test_the_state_of_a_dtype_is_the_one_of_its_name() -> None:
    np = pytest.importorskip("numpy")
    codec = SafePickle(numpy=True)
    dtype = attacks.global_("numpy", "dtype")
    none = b"NNN"
    minus = b"J\xff\xff\xff\xffJ\xff\xff\xff\xff"
    good = (
        b"\x80\x04"
        + dtype
        + attacks.text("f8")
        + b"\x89\x88\x87R(K\x03"
        + attacks.text("<")
        + none
        + minus
        + b"K\x00tb."
    )
    assert codec.decode(KEY, good) == np.dtype("f8")
    for old, new in [
        (attacks.text("f8"), attacks.text("O8")),
        (attacks.text("f8"), attacks.text("O")),
        (attacks.text("f8"), attacks.text("V8")),
        (attacks.text("f8"), attacks.text("f8,O")),
        (attacks.text("f8"), attacks.text("S4")),
        (attacks.text("f8"), attacks.text("U0")),
        (b"\x89\x88\x87R", b"\x89\x89\x87R"),  # not a copy: everybody's
        (b"\x89\x88\x87R", b"\x85\x85R"),
        (b"K\x03", b"K\x04"),
        (b"K\x03", b"K\x00"),
        (attacks.text("<"), attacks.text("O")),
        (none, b"]NN"),
        (none, b"N" + attacks.text("a") + b"\x85}"),
        (minus, b"K\x10K\x01"),
        (minus, b"J\xff\xff\xff\x7fJ\xff\xff\xff\xff"),
        (b"K\x00tb", b"K\x3ftb"),
        (b"K\x00tb", b"tb"),
        (b"K\x00tb", b"K\x00Ntb"),
        (b"K\x00tb", b"Kt0}b"),
    ]:
        assert old in good
        with pytest.raises(CodecError):
            codec.decode(KEY, good.replace(old, new, 1))


def test_arrays_are_no_larger_than_their_bytes() -> None:
    pytest.importorskip("numpy")
    codec = SafePickle(numpy=True)
    for core in ("numpy.core", "numpy._core"):
        dtype = attacks.global_("numpy", "dtype") + attacks.text("f8") + b"\x89\x88\x87R"
        huge = b"\x8a\x06" + (10**12).to_bytes(6, "little")
        make = attacks.global_(f"{core}.multiarray", "_reconstruct") + attacks.global_("numpy", "ndarray")
        for data in (
            make + huge + b"\x85C\x01b\x87R.",
            make + b"K\x00\x85C\x01b\x87R(K\x01" + huge + b"\x85" + dtype + b"\x89C\x00tb.",
            make + b"K\x00\x85C\x01b\x87R(K\x01J\xff\xff\xff\xff\x85" + dtype + b"\x89C\x00tb.",
            make + b"K\x00\x85C\x01b\x87R(K\x01K\x01\x85" + dtype + b"\x89](Netb.",
            attacks.global_(f"{core}.multiarray", "scalar") + dtype + b"C\x00\x86R.",
            attacks.global_(f"{core}.multiarray", "scalar")
            + attacks.global_("numpy", "dtype")
            + b"C\x08"
            + bytes(8)
            + b"\x86R.",
            attacks.global_(f"{core}.numeric", "_frombuffer")
            + b"(C\x08"
            + bytes(8)
            + dtype
            + huge
            + b"\x85"
            + attacks.text("C")
            + b"tR.",
            attacks.global_("numpy", "ndarray") + huge + b"\x85R.",
            attacks.global_("numpy", "ndarray") + huge + b"\x85\x81.",
        ):
            with pytest.raises(CodecError):
                codec.decode(KEY, b"\x80\x04" + data)


def test_lists_that_are_put_into_one_another_late_count_as_deep() -> None:
    """Each is made alone; only then is it given the next. The POP keeps the glance from knowing what it looks at."""
    count = 20_000
    made = b"".join(b"]r" + number.to_bytes(4, "little") + b"0" for number in range(count))
    put = b"".join(
        b"j" + number.to_bytes(4, "little") + b"j" + (number + 1).to_bytes(4, "little") + b"a0"
        for number in range(count - 1)
    )
    with pytest.raises(LimitError, match="max_depth"):
        SafePickle().decode(b"key", b"\x80\x04" + made + put + b"j\0\0\0\0.")


class _Made(dict[str, int]):
    def __init__(self, *pairs: object) -> None:
        super().__init__(*pairs)


class _Point:
    def area(self) -> int:
        return 1


def test_an_append_of_nothing_does_not_hide_what_is_built_on() -> None:
    """MARK, APPENDS: the top stays what it was, here a tuple of a class and its attributes-to-be."""

    def text(name: str) -> bytes:
        return b"\x8c" + bytes([len(name)]) + name.encode()

    def named(kind: type) -> bytes:
        return text(kind.__module__) + b"\x94" + text(kind.__qualname__) + b"\x94\x93"

    state = named(_Made) + b"]" + text("area") + named(_Made) + b"\x86a\x85R\x86"
    data = b"\x80\x04" + named(_Point) + b"N" + state + b"(eb."
    with pytest.raises(CodecError):
        SafePickle(allow=[_Made, _Point]).decode(b"key", data)
    assert _Point().area() == 1


def test_no_way_leads_through_a_module() -> None:
    data = b"\x80\x04" + attacks.global_("moved", "sys.exit") + b"K\x05\x85R."
    with pytest.raises(CodecError):
        SafePickle(allow=["moved:sys.exit"]).decode(b"key", data)


def _calls(module: str, name: str, argument: bytes, count: int, more: bytes, protocol: int) -> bytes:
    """A list of what `count` calls with one and the same long argument make."""
    names = b"".join(b"\x8c" + bytes((len(text),)) + text.encode() for text in (module, name))
    reduce = more + (b"\x86R" if more else b"\x85R")
    head = bytes((0x80, protocol)) + names + b"\x93\x940" + argument + b"\x940"
    return head + b"](" + (b"h\x00h\x01" + reduce) * count + b"e."


_LATIN1 = b"\x8c\x06latin1"
_COPIERS = [
    ("decimal", "Decimal", b"1" * 20_000, b""),
    ("pathlib", "PurePosixPath", b"a/" * 10_000, b""),
    ("builtins", "bytearray", b"a" * 20_000, _LATIN1),
    ("_codecs", "encode", b"a" * 20_000, _LATIN1),
    ("fractions", "Fraction", b"1" * 4000, b""),
    ("builtins", "bytearray", None, b""),
    ("collections", "deque", None, b""),
]


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize(("module", "name", "text", "more"), _COPIERS)
def test_what_copies_the_same_long_thing_again_and_again(
    module: str, name: str, text: bytes | None, more: bytes, protocol: int
) -> None:
    """A few bytes of pickle each time, and the whole of the text, or list, in memory."""
    if text is not None:
        argument = b"X" + len(text).to_bytes(4, "little") + text
    elif name == "deque":
        argument = b"](" + b"K\x01" * 20_000 + b"e"
    else:
        argument = b"B" + (20_000).to_bytes(4, "little") + bytes(20_000)
    few = _calls(module, name, argument, 3, more, protocol)
    assert len(SafePickle().decode(b"k", few)) == 3
    many = _calls(module, name, argument, 2000, more, protocol)
    with pytest.raises(LimitError, match="copies"):
        SafePickle().decode(b"k", many)
