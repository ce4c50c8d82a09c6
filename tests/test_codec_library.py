"""Classes of the standard library that may be allowed do no more than hold what they are given.

Some iterate over it, make text of it, or open the file of that name, and some hold another container that is filled in
their place: none of that is for a pickle to ask for.
"""

from __future__ import annotations

import collections
import http.cookies
import pickle
import struct
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from attacks import global_, text
from hutch.codecs import SafePickle
from hutch.errors import CodecError, ForbiddenGlobalError

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


ALLOWED: list[type | str] = [
    Record,
    Fields,
    Tree,
    Rejected,
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
