"""A damaged size asks for more memory than any machine has: that is the error of one value, and no MemoryError."""

from __future__ import annotations

import marshal
import pickle
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

import hutch
from hutch import Shelf, UnreadableValueError
from hutch.codecs import Compressed, Marshal, Pickle, SafePickle, Signed
from hutch.codecs.whole import is_whole_marshal, is_whole_pickle
from hutch.errors import CodecError, HutchError

HUGE = struct.pack("<Q", 1 << 56)
SECRET = bytes(range(32))
ASKING = [  # BINBYTES8, BINUNICODE8; the first two ask before they look
    b"\x80\x04\x8e" + HUGE + b"abc.",
    b"\x80\x04]\x94(K\x01\x8e" + HUGE + b"e.",
    b"\x80\x04\x8d" + HUGE + b"abc.",
    b"Np9223372036854775807\n.",
]
PICKLES: dict[str, Callable[[], Any]] = {
    "no codec": lambda: None,
    "Pickle": Pickle,
    "with buffers": lambda: Pickle(buffers=True),
    "with renames": lambda: Pickle(renames={"a": "b"}),
    "Compressed": lambda: Compressed(Pickle()),
    "SafePickle": SafePickle,
}


class Enormous:
    """Asks for more memory than there is, in a pickle without fault."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytes, (1 << 56,)


@pytest.mark.parametrize("name", PICKLES)
def test_a_damaged_size_is_the_error_of_that_value(name: str) -> None:
    for data in ASKING:
        shelf = Shelf({b"before": pickle.dumps(1), b"damaged": data, b"behind": pickle.dumps(2)}, codec=PICKLES[name]())
        with pytest.raises((UnreadableValueError, CodecError)) as caught:
            shelf["damaged"]
        assert caught.value.key in ("damaged", b"damaged")
        view = shelf.items(errors="skip")
        assert dict(view) == {"before": 1, "behind": 2}
        assert [skipped.key for skipped in view.skipped] == ["damaged"]
        assert [skipped.key for skipped in shelf.classes().skipped] == ["damaged"]
        for decode in (False, True):
            assert [problem.key for problem in shelf.check(decode=decode).problems] == [b"damaged"]
        iterator = iter(shelf.items())
        assert next(iterator) == ("before", 1)
        with pytest.raises((UnreadableValueError, CodecError)):
            next(iterator)
        assert next(iterator) == ("behind", 2)


def test_it_is_in_a_file_too(tmp_path: Any) -> None:
    for size in (0, 1 << 20):  # a large value is read by another way
        with hutch.open(tmp_path / "shelf", "n") as shelf:
            shelf["good"] = [1]
            shelf.dict[b"damaged"] = b"\x80\x04" + pickle.dumps(bytes(size))[2:-2] + b"0\x8e" + HUGE + b"."
            with pytest.raises(UnreadableValueError, match="damaged"):
                shelf["damaged"]
            assert dict(shelf.items(errors="skip")) == {"good": [1]}


@pytest.mark.parametrize("name", [name for name in PICKLES if name != "SafePickle"])
def test_a_value_without_fault_that_is_too_large_is_a_memory_error(name: str) -> None:
    shelf = Shelf({b"enormous": pickle.dumps([Enormous()]), b"good": pickle.dumps(1)}, codec=PICKLES[name]())
    with pytest.raises(MemoryError) as caught:
        shelf["enormous"]
    assert any("enormous" in note for note in caught.value.__notes__)
    with pytest.raises(MemoryError):
        list(shelf.items(errors="skip"))


def test_a_deserializer_of_ones_own_is_not_judged() -> None:
    def deserialize(data: bytes) -> Any:
        raise MemoryError

    shelf = Shelf({b"key": b"no pickle"}, serializer=pickle.dumps, deserializer=deserialize)
    with pytest.raises(MemoryError):
        shelf["key"]


def test_damage_is_seen_behind_a_signature_too() -> None:
    class Raw(Pickle):
        def encode(self, key: bytes, value: Any) -> bytes:
            return bytes(value)

    codec = Signed(Raw(), SECRET)
    with pytest.raises(HutchError):
        codec.decode(b"key", bytes(codec.encode(b"key", ASKING[0])))


VALUES = [
    None,
    [1, -1, 300, 70000, -(2**40), 2**100, -(2**3000), 1.5, True, False],
    "text" * 3000,
    "\ud800",
    [b"", b"x" * 300, bytearray(b"y"), b"z" * 70_000],
    {"a": {(1, 2), (3,)}, frozenset([1]): [[], (), {}, set()]},
    [complex(1, 2), slice(1), range(3), Ellipsis, len, Enormous],
    [[number] for number in range(700)],
]


@pytest.mark.parametrize("protocol", range(6))
def test_whole_pickles_are_known(protocol: int) -> None:
    for value in VALUES:
        data = pickle.dumps(value, protocol)
        for form in (data, memoryview(data), data + b"more"):
            assert is_whole_pickle(form), (value, protocol)
        step = max(1, len(data) // 100)
        assert not any(is_whole_pickle(data[:end]) for end in range(0, len(data) - 1, step)), value
        assert not is_whole_pickle(data[:-1])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"N",
        b"\x80\x05\x96" + HUGE + b".",
        b"\x80\x04\x95" + HUGE + b"N.",
        b"\x80\x04Nr\xff\xff\xff\xff.",
        b"\x80\x04Nr\xff\xff\xff\x7f.",
        b"\x80\x04Nq\xff.",
        b"Np1000000000000\n.",
        b"Npx\n.",
        b"Np-1\n.",
        b"Np" + b"9" * 5000 + b"\n.",
        b"\x80\x04B\xff\xff\xff\xffabc.",
        b"cbuiltins\nbytes",
    ],
    ids=repr,
)
def test_pickles_that_are_not_whole(data: bytes) -> None:
    assert not is_whole_pickle(data)


def test_marshals_that_ask_for_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    def loads(data: Any) -> Any:  # the real one may take all the memory that there is before it gives up
        raise MemoryError

    monkeypatch.setattr("hutch.codecs.marshals.marshal", SimpleNamespace(loads=loads))
    codec = Marshal()
    for value in VALUES[:5]:
        data = marshal.dumps(value)
        assert is_whole_marshal(data)
        assert not is_whole_marshal(data[:-1])
        with pytest.raises(MemoryError):
            codec.decode(b"key", data)
    for inner in (b"l\xff\xff\xff\x7f12", b"(\xff\xff\xff\x7fN", b"[\xff\xff\xff\x7fN", b"s\xff\xff\xff\x7fabc"):
        for data in (inner, b"(\x01\0\0\0" + inner, b"[\x02\0\0\0N" + inner):
            assert not is_whole_marshal(data)
            with pytest.raises(CodecError):
                codec.decode(b"key", data)
