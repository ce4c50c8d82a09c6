"""The bytes of each codec under each other one: an error that says what they look like, or the very same object."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

import hutch
from hutch import Shelf
from hutch.codecs import Compressed, Encrypted, Json, Marshal, MessagePack, Pickle, Plist, SafePickle, Signed
from hutch.errors import CodecError

SECRET = bytes(range(32))
CODECS: dict[str, Any] = {
    "no codec": None,
    "Pickle": Pickle(),
    "Pickle 0": Pickle(0),
    "Pickle 1": Pickle(1),
    "Pickle 2": Pickle(2),
    "Pickle with buffers": Pickle(buffers=True),
    "Pickle with renames": Pickle(renames={"a": "b"}),
    "SafePickle": SafePickle(),
    "Json": Json(),
    "Json of a type": Json(type=list[int]),
    "MessagePack": MessagePack(),
    "MessagePack of a type": MessagePack(type=list[int]),
    "Marshal": Marshal(),
    "Plist in XML": Plist(),
    "binary Plist": Plist("binary"),
    "Compressed": Compressed(Pickle(), min_size=0),
    "Compressed Json": Compressed(Json(), min_size=0),
    "Signed": Signed(Pickle(), SECRET),
    "Signed Json": Signed(Json(), SECRET),
    "Encrypted": Encrypted(Pickle(), SECRET),
}
VALUES: list[Any] = [
    *range(-3, 260, 7),
    10**8,
    1.5,
    True,
    "",
    "text",
    46,
    48,
    "x" * 31,
    "x" * 300,
    "x" * 3000,
    "x" * 70_000,
    b"abc",
    [],
    {},
    [1, 2, 3],
    ["a"] * 100,
    {"a": "b"},
    {"name": "x", "numbers": [1, 2.5]},
    {"n": 46},
]


def is_ambiguous(data: bytes) -> bool:
    """A character is a number of MessagePack's too: one of JSON's digits, or one of marshal's constants."""
    return len(data) == 1 and 0x20 <= data[0] < 0x7F


@pytest.mark.parametrize("writer", CODECS)
def test_the_wrong_codec_says_what_the_bytes_look_like(writer: str) -> None:
    count = 0
    for value in VALUES:
        below: dict[bytes, bytes] = {}
        try:
            Shelf(below, codec=CODECS[writer])["key"] = value
        except (TypeError, ValueError):
            continue  # not what this codec takes
        for reader, codec in CODECS.items():
            count += 1
            try:
                found = Shelf(below, codec=codec)["key"]
            except (CodecError, hutch.UnreadableValueError) as problem:
                looks_like = getattr(problem, "looks_like", None)
                if looks_like is None:
                    is_mismatch = "of another type than list[int]" in str(problem)
                    assert is_mismatch or is_ambiguous(below[b"key"]), (writer, value, reader)
                else:
                    assert looks_like in str(problem)
                    name = looks_like.partition("(")[0]
                    is_right = name in writer or (name == "Pickle" and writer in ("no codec", "Compressed", "Signed"))
                    assert is_right or is_ambiguous(below[b"key"]), (writer, value, looks_like)
            else:
                assert found == value or is_ambiguous(below[b"key"]), (writer, value, reader)
    assert count > len(CODECS)


def test_marshal_ignores_nothing_behind_its_end() -> None:
    for value in ("", "short", "ü", "x" * 300, b"", b"x", 5, 2**40, 1.5, 1j, None, ..., True):
        data = Marshal().encode(b"key", value)
        assert Marshal().decode(b"key", data) == value
        for more in (b"\0", b"N", data):
            with pytest.raises(CodecError, match="behind the end"):
                Marshal().decode(b"key", data + more)


def test_json_and_message_pack_of_another_type_say_so() -> None:
    for one, other in itertools.product((Json, MessagePack), (list[int], dict[str, int], int)):
        codec = one(type=other)
        with pytest.raises(CodecError, match="of another type than"):
            codec.decode(b"key", one().encode(b"key", "text"))
