"""An unpickler with opinions of its own reads a pickle as ``pickle.loads`` does, wherever its frames end."""

from __future__ import annotations

import pickle
import pickletools
import random
import struct
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

import pytest

import attacks
from hutch.codecs import Pickle, SafePickle
from hutch.codecs.source import Source
from hutch.errors import CodecError

KEY = b"key"
VALUES: list[Any] = [
    datetime(2024, 2, 29, 12, tzinfo=UTC),
    [date(2024, 1, day) for day in range(1, 9)],
    {"price": Decimal("9.99"), "parts": [Fraction(1, 3)] * 3, b"bytes": bytes(300)},
    (PurePosixPath("a/b"), OrderedDict(a=1), deque([1, 2.5, 1 << 70]), {"text" * 100, None}),
    bytearray(b"abc" * 200),
]


def frame(size: int) -> bytes:
    return b"\x95" + struct.pack("<Q", size)


def framed_anew(data: bytes, chance: random.Random) -> bytes:
    """The same opcodes without their frames, and with others of any size anywhere."""
    places = [place or 0 for opcode, _, place in pickletools.genops(data)] + [len(data)]
    names = [opcode.name for opcode, _, _ in pickletools.genops(data)]
    parts = [data[begin:end] for begin, end in pairwise(places)]
    kept = [part for part, name in zip(parts, names, strict=True) if name != "FRAME"]
    rest = b""
    for number, part in reversed(list(enumerate(kept))):
        rest = part + rest
        if number and chance.random() < 0.1:
            rest = frame(chance.randrange(len(rest) + 2)) + rest  # one in many says more than there is
    return rest


def outcome(load: Callable[[bytes], Any], data: bytes) -> Any:
    try:
        return repr(load(data))
    except Exception as problem:  # noqa: BLE001  # it raises whatever damaged bytes lead to
        return type(problem)


def from_source(data: bytes) -> Any:
    return pickle.Unpickler(Source(data)).load()


def from_file(data: bytes) -> Any:
    return pickle.Unpickler(BytesIO(data)).load()


@pytest.mark.parametrize("protocol", range(6))
def test_frames_may_end_anywhere(protocol: int) -> None:
    chance = random.Random(protocol)
    differ = 0
    for _ in range(300):
        data = framed_anew(pickle.dumps(chance.choice(VALUES), protocol), chance)
        plain = outcome(pickle.loads, data)
        assert outcome(from_source, data) == plain, data
        differ += outcome(from_file, data) != plain
        for codec in (SafePickle(), Pickle(renames={"old.Cls": "new.Cls"})):
            try:
                assert repr(codec.decode(KEY, data)) == plain
            except CodecError:
                assert isinstance(plain, type), data
    assert differ, "an ordinary file would do"


def test_what_is_cut_off_is_refused_as_ever() -> None:
    for value in VALUES:
        for protocol in range(6):
            data = pickle.dumps(value, protocol)
            for end in range(len(data)):
                assert outcome(from_source, data[:end]) == outcome(pickle.loads, data[:end])


@pytest.mark.parametrize("damage", range(3))
def test_damaged_bytes_mean_the_same(damage: int) -> None:
    chance = random.Random(damage)
    for _ in range(3000):
        data = bytearray(pickle.dumps(chance.choice(VALUES), chance.randrange(6)))
        for _ in range(damage + 1):
            data[chance.randrange(len(data))] = chance.choice((chance.randrange(256), *b"\x95.(t\x94\x8cX"))
        codec = SafePickle()
        try:
            found = repr(codec.decode(KEY, bytes(data)))
        except CodecError:
            continue
        assert found == repr(pickle.loads(data)), bytes(data)


@pytest.mark.parametrize("evil", attacks.OUT_OF_PLACE, ids=attacks.OUT_OF_PLACE)
@pytest.mark.parametrize("named", [b"cdatetime\ndate\n0", b""], ids=["a class", "no class"])
def test_no_text_becomes_opcodes(evil: str, named: bytes) -> None:
    """A file forgets what is left of a frame: its reader would go on behind the size of the second text."""
    first = b"\x8c\x0ax" + b"y" * 9
    second = attacks.OUT_OF_PLACE[evil].ljust(ord("N"), b".")
    data = b"\x80\x04" + named + frame(3) + first + b"CN" + second + b"\x86."
    for codec in (SafePickle(), SafePickle(numpy=True), Pickle(renames={"old.Cls": "new.Cls"})):
        assert codec.decode(KEY, data) == ("xyyyyyyyyy", second)
    assert not hasattr(Fraction, "evil")
