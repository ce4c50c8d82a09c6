"""`guess` names the codec of foreign bytes, or says nothing; and no decoder lets anything out but hutch's errors."""

from __future__ import annotations

import marshal
import pickle
import plistlib
import random
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import moved
from children import Child, Line
from codec_parts import mutations
from hutch.codecs import Codec, Json, Marshal, MessagePack, Pickle, Plist, framing
from hutch.codecs.framing import guess
from hutch.errors import CodecError
from test_codecs import CASES, Order, Point, stored

KEY = b"entry"
quick = settings(deadline=None, max_examples=60)  # the machine may be busy


# --- What is recognized ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.startswith(("Pickle", "Json", "Plist")) and "nan" not in case]
)
@quick
@given(data=st.data())
def test_these_are_always_recognized(case: str, data: st.DataObject) -> None:
    codec, values = CASES[case]
    raw = stored(codec, data.draw(values))
    assert guess(raw) == guess(memoryview(raw)) == codec.name.partition("(")[0]


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("MessagePack", "Marshal"))])
@quick
@given(data=st.data())
def test_these_are_recognized_where_they_are_clear(case: str, data: st.DataObject) -> None:
    codec, values = CASES[case]
    value = data.draw(values)
    found = guess(stored(codec, value))
    if isinstance(value, (dict, list)) and value:
        assert found in (codec.name, "text")  # {None: None} is `{NN0` in an old marshal
    else:  # the bytes of a single number or an empty list may be those of another format as well
        assert found in (codec.name, "text", "Json", "MessagePack", None)


def objects() -> Iterator[Any]:
    yield from (
        0,
        5,
        -5,
        255,
        256,
        70000,
        2**40,
        -(2**100),
        1.5,
        "",
        "a",
        "ü" * 300,
        "x\ny'\"",
        b"",
        b"abc",
        b"x" * 300,
    )
    yield from ([], {}, (), (1,), (1, 2, 3, 4), [[]], [[], {}], {1: {2: [3]}}, {"a": None}, {1}, frozenset([1]), set())
    yield from (
        None,
        True,
        False,
        ...,
        len,
        moved.Alone,
        moved.Alone(1),
        moved.Outer.Inner(2),
        Order(1, []),
        1j,
        range(3),
    )
    yield list(range(3000))
    yield {str(n): [n] for n in range(3000)}


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_all_kinds(protocol: int) -> None:
    for thing in objects():
        assert guess(pickle.dumps(thing, protocol)) == "Pickle", thing


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"", None),
        (b"\x00", "MessagePack"),
        (b"\x07", "MessagePack"),
        (b"7", "Json"),
        (b"T", "Marshal"),
        (b"x", "text"),
        (b"\xff\xfe\x00", None),
        (b"\xc1HT", None),
        (b"\xc1HT\x00", None),
        (framing.BUFFERS, "Pickle(buffers=True)"),
        (framing.COMPRESSED + b"more", "Compressed"),
        (framing.SIGNED + b"more", "Signed"),
        (framing.ENCRYPTED + b"more", "Encrypted"),
        (b"hello", "text"),
        ("grüß dich".encode(), "text"),
        (b"a" + ("€" * 3000).encode(), "text"),
        (b"a\x00b", None),
        (b"I am.", "text"),
        (b"No.", "text"),
        (b"(c) me.", "text"),
        (b"Very good.", "text"),
        (b"[note]", "text"),
        (b'{"a": 1', "text"),
        (b"{'a': 1}", "text"),
        (b"null", "Json"),
        (b" [1]\n", "Json"),
        (b"1.5", "Json"),
        (b"NaN", "text"),
        (b'"' + b"x" * 100_000 + b'"', "Json"),
        (b"[" + b"1," * 100_000 + b"1]\n", "Json"),
        (b"[" + b"\x00" * 100_000 + b"]", None),
        (b"<?xml version='1.0'?><html/>", "text"),
        (plistlib.dumps([1]), "Plist"),
        (b"\xef\xbb\xbf" + plistlib.dumps([1]), "Plist"),
        (plistlib.dumps([1], fmt=plistlib.FMT_BINARY), "Plist"),
        (b"\xc0", "MessagePack"),
        (msgspec.msgpack.encode("x" * 150), "MessagePack"),
        (msgspec.msgpack.encode(list(range(100_000))), "MessagePack"),
        (msgspec.msgpack.encode([1, 2])[:-1], None),
        (msgspec.msgpack.encode([1, 2]) + b"\x01", None),
        (b"\xdd\xff\xff\xff\xff", None),
        (marshal.dumps([1, {"a": (2.5, None)}]), "Marshal"),
        (marshal.dumps(list(range(100_000))), "Marshal"),
        (marshal.dumps({1: {2: 3}}, 2), "Marshal"),
        (marshal.dumps([1, 2])[:-1], None),
        (marshal.dumps([1, 2]) + b"x", None),
        (b"\x80\x04.", None),
        (b"\x80\x09N.", None),
        (b"\x80\x04N", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_guess(data: bytes, name: str | None) -> None:
    assert guess(data) == guess(memoryview(data)) == name


def test_a_long_marshal_is_not_walked_to_its_end() -> None:
    assert guess(marshal.dumps([[n] for n in range(5000)]) + b"x") == "Marshal"


@example(b"(" * 5000 + b".")
@example(b"0" * 5000)
@example(b"{" * 5000)
@example(b"[" * 70_000)
@example(b"\x81" * 5000)
@example(b"I" + b"1" * 5000 + b"\n.")
@example(b"X\xff\xff\xff\xff.")
@example(b"U\xff.")
@example(b"\xfb\xfb0")
@quick
@given(st.binary(max_size=100))
def test_guess_never_raises(data: bytes) -> None:
    names = {None, "text", "Pickle", "Json", "Plist", "MessagePack", "Marshal", *framing._FRAMES.values()}
    assert guess(data) in names
    assert guess(memoryview(data)) == guess(data)


def test_random_bytes_look_like_little() -> None:
    """Of long random bytes, nearly none looks like anything: a guess is no use if it is often wrong."""
    source = random.Random(3)
    assert sum(guess(source.randbytes(source.randrange(40, 400))) is not None for _ in range(5000)) < 5


@pytest.mark.parametrize(
    "case", ["Pickle(0)", "Pickle(2)", "Pickle(5)", "Json()", "MessagePack()", "Plist(binary)", "Marshal()"]
)
def test_guess_of_damaged_values(case: str) -> None:
    codec, _ = CASES[case]
    for data in mutations(stored(codec, {"a": [1, 2.5, "x"], "b": {"c": True}})):
        guess(data)


# --- Fuzzing -----------------------------------------------------------------------------------------------

PLAIN: Any = {"name": "apples", "counts": [1, 2, 300, -4], "more": {"b": 1.5, "c": [True, "ü"]}}


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (Json(), PLAIN),
        (Json(type=Order), Order(1, [("a", 2)])),
        (Json(type=Any), PLAIN),
        (MessagePack(), PLAIN),
        (MessagePack(Order), Order(1, [("a", 2)])),
        (MessagePack(list[Point]), [Point(1.5), Point(2)]),
        (Plist(), {"a": [1, True, b"x"], "b": {"c": 1.5}}),
        (Plist("binary"), {"a": [1, True, b"x"], "b": {"c": 1.5}}),
    ],
    ids=lambda value: repr(value) if isinstance(value, Codec) else "",
)
def test_mutated_values(codec: Codec, value: Any) -> None:
    for data in mutations(stored(codec, value)):
        try:
            codec.decode(KEY, data)
        except CodecError as problem:
            assert problem.key == KEY
            assert "'entry' cannot be read by" in str(problem)


@pytest.mark.parametrize("codec", [Json(), Json(type=Order), MessagePack(), MessagePack(Order), Plist()], ids=repr)
def test_random_bytes(codec: Codec) -> None:
    source = random.Random(repr(codec))
    starts = [
        b"",
        b"bplist00",
        b"<?xml version='1.0'?><plist version='1.0'>",
        b"{",
        b"\xdd",
        b"\xff\xfe",
        b"\xef\xbb\xbf[",
    ]
    for _ in range(4000):
        data = source.choice(starts) + source.randbytes(source.randrange(40))
        try:
            codec.decode(KEY, data)
        except CodecError:
            pass


def hostile_pickles(seed: int, count: int) -> Iterator[bytes]:
    """Pickles with some bytes changed, cut out, doubled, or replaced by those of another pickle."""
    source = random.Random(seed)
    values = [PLAIN, [1, (2, 3), {4}], moved.Alone({"a": [1]}), [moved.Outer.Inner(1), b"x" * 30, "ü" * 3], 2**100]
    pickles = [pickle.dumps(value, protocol) for value in values for protocol in range(6)]
    pickles.append(stored(Pickle(buffers=True), pickle.PickleBuffer(b"abc")))
    for _ in range(count):
        data = bytearray(source.choice(pickles))
        for _ in range(source.randrange(1, 4)):
            at = source.randrange(len(data))
            kind = source.randrange(4)
            if kind == 0:
                data[at] = source.randrange(256)
            elif kind == 1:
                del data[at : at + source.randrange(1, 4)]
            elif kind == 2:
                data[at:at] = source.choice(pickles)[: source.randrange(20)]
            else:
                data[at:at] = data[at : at + source.randrange(8)]
            if not data:
                break
        yield bytes(data)


def hostile_marshals(seed: int, count: int) -> Iterator[bytes]:
    source = random.Random(seed)
    values = [PLAIN, [1, (2, 3), {4}], 2**100, [b"x" * 30, "ü" * 3, 1j, None], (lambda: None).__code__]
    marshals = [marshal.dumps(value, version) for value in values for version in (0, 2, 4)]
    for _ in range(count):
        data = bytearray(source.choice(marshals))
        for _ in range(source.randrange(1, 4)):
            data[source.randrange(len(data))] = source.randrange(256)
        yield bytes(data)


class Nothing:
    """Finds no module."""

    @staticmethod
    def find_spec(*args: Any) -> None:
        return None


def attack(
    line: Line, codecs: list[Codec], source: Callable[[int, int], Iterator[bytes]], seed: int, count: int
) -> None:
    """In a child, with little memory, for a few bytes may ask for a great deal, and with nothing left to import."""
    for codec in codecs:
        for data in (b"", b"\xff", b"cno_such\nx\n..", stored(Pickle(buffers=True), pickle.PickleBuffer(b"abc"))):
            with pytest.raises(CodecError):  # so that all that a refusal needs is there
                codec.decode(KEY, data[:-1])
    sys.meta_path[:] = [Nothing]
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + (128 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read = refused = 0
    for data in source(seed, count):
        for codec in codecs:
            try:
                codec.decode(KEY, data)
                read += 1
            except CodecError as problem:
                assert problem.key == KEY
                refused += 1
            except MemoryError:
                refused += 1
    line.say((read, refused))


PICKLES = [Pickle(), Pickle(renames={"moved.Outer.Inner": "moved.Alone", "a": "b"}), Pickle(buffers=True)]


@pytest.mark.parametrize("seed", range(4))
def test_hostile_pickles(seed: int) -> None:
    """Only hutch's errors come out, or a MemoryError. (What a hostile pickle does on the way is another matter.)"""
    with Child(attack, PICKLES, hostile_pickles, seed, 1500) as child:
        read, refused = child.hear()
    assert read > 100
    assert refused > 1000


@pytest.mark.parametrize("seed", range(4))
def test_hostile_marshals(seed: int) -> None:
    """Only hutch's errors come out, as long as the interpreter lives: of which marshal makes no promise."""
    with Child(attack, [Marshal()], hostile_marshals, seed, 800) as child:
        said = list(child.hear_all())
    if said:
        assert sum(said[0]) == 800
    else:
        assert child.exit_status is not None and child.exit_status < 0  # it crashed, as the docstring warns
