"""Whatever bytes a value has, looking at it gives an object, a description or a CodecError, and runs nothing."""

from __future__ import annotations

import os
import pickle
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from command_line import SECRET
from hutch.cli.coding import CODECS, Coding
from hutch.cli.inspect import _hex_lines
from hutch.cli.layers import unwrap
from hutch.cli.pickles import disassembly, is_allowed, names_of, protocol_of
from hutch.cli.records import bytes_field, read_bytes, value_fields
from hutch.cli.values import MISSING, literal, look, one_line
from hutch.codecs import Compressed, Encrypted, Json, Pickle, Signed
from hutch.errors import CodecError

KEY = b"key"
OBJECT = {"a": [1, 2.5, None], "b": {"c": (b"x", {"y"})}, "d": Fraction(1, 3), "text": "x" * 600}
SAMPLES = [
    *(pickle.dumps(OBJECT, protocol) for protocol in range(6)),
    pickle.dumps(os.getcwd),
    Json().encode(KEY, {"a": 1}),
    Compressed(Pickle()).encode(KEY, OBJECT),
    bytes(Signed(Pickle(), SECRET).encode(KEY, OBJECT)),
    bytes(Encrypted(Compressed(Pickle()), SECRET).encode(KEY, OBJECT)),
    bytes(Signed(Signed(Pickle(), SECRET), SECRET).encode(KEY, OBJECT)),
    bytes(Pickle(buffers=True).encode(KEY, [pickle.PickleBuffer(b"x" * 5000)])),
    b"2.1",
    b"",
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        how = draw(st.sampled_from(["cut", "change", "insert"]))
        if how == "cut":
            del data[place : place + draw(st.integers(1, 9))]
        elif how == "change" and place < len(data):
            data[place] = draw(st.integers(0, 255))
        else:
            data[place:place] = draw(st.binary(max_size=4))
    return bytes(data)


codings = st.builds(Coding, codec=st.none() | st.sampled_from(CODECS), secrets=st.sampled_from([(), (SECRET,)]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40) | mutated(), codings)
def test_looking_at_anything(data: bytes, coding: Coding) -> None:
    try:
        seen = look(KEY, data, coding)
    except CodecError as problem:
        assert str(problem)
        return
    assert seen.size_bytes == len(data)
    assert seen.summary.isprintable()
    assert (seen.object is MISSING) == bool(seen.reason)
    if seen.object is not MISSING:
        assert one_line(literal(seen.object)).isprintable()
        literal(seen.object, width=60)
    assert isinstance(value_fields(data, seen), dict)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40) | mutated())
def test_taking_anything_apart(data: bytes) -> None:
    try:
        data = unwrap(KEY, data, (), peek=True).data
    except CodecError:
        return
    if protocol_of(data) is None:
        assert len(_hex_lines(data)) <= 33
        return
    assert disassembly(data)
    for module, name in names_of(data, as_far_as_it_goes=True):
        assert is_allowed(module, name) in (True, False)


@given(st.binary())
def test_bytes_as_json(data: bytes) -> None:
    assert read_bytes(bytes_field(data)) == data


@pytest.mark.parametrize("data", SAMPLES[:6])
def test_every_protocol_is_told(data: bytes) -> None:
    assert protocol_of(data) == SAMPLES.index(data)
    assert look(KEY, data, Coding()).object == OBJECT


@pytest.mark.parametrize(
    "text", [b"2.1", b"N", b"hello.", b"1.", b"a.b.c.", b".", b"\x80\x04", b"\x80\x09N.", b"I am."]
)
def test_text_is_no_pickle(text: bytes) -> None:
    assert look(KEY, text, Coding()).object == text


def test_layers_are_told_outermost_first() -> None:
    data = bytes(Encrypted(Signed(Compressed(Pickle()), SECRET), SECRET).encode(KEY, OBJECT))
    seen = look(KEY, data, Coding(secrets=(SECRET,)))
    assert seen.layers == ("encrypted (verified)", "signed (verified)", "compressed (zlib)")
    assert seen.object == OBJECT
    with pytest.raises(CodecError):
        look(b"another key", data, Coding(secrets=(SECRET,)))


def test_too_many_layers_end(tmp_path: Path) -> None:
    codec: Any = Pickle()
    for _ in range(20):
        codec = Signed(codec, SECRET)
    seen = look(KEY, bytes(codec.encode(KEY, 1)), Coding(secrets=(SECRET,)))
    assert seen.reason == "it is wrapped too many times"
    assert len(seen.layers) == 8


def test_buffers_are_read_when_asked() -> None:
    data = SAMPLES[12]
    assert look(KEY, data, Coding()).reason == "--unpickle makes it an object"
    assert bytes(look(KEY, data, Coding(unpickle=True)).object[0]) == b"x" * 5000
    assert unwrap(KEY, data, (), peek=True).layers == ("buffers behind the pickle",)


def test_literals_are_cut_short_where_they_would_not_end() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise ValueError("no")

    assert literal(Odd()) == f"<{Odd.__qualname__}, whose repr raises ValueError: no>"
    deep: object = []
    for _ in range(100_000):
        deep = [deep]
    assert literal(deep) == "<list, too deep to show>"
    assert one_line("x" * 300) == "x" * 199 + "…"


def test_key_files(tmp_path: Path) -> None:
    from hutch.cli.coding import _secret

    for content, secret in [
        (SECRET, SECRET),
        (SECRET.hex().encode() + b"\n", SECRET),
        (SECRET.hex().upper().encode(), SECRET),
        (b"", b""),
        (b"a password, and no digits", b"a password, and no digits"),
    ]:
        (tmp_path / "key").write_bytes(content)
        assert _secret(str(tmp_path / "key")) == secret
