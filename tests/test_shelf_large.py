"""Large values in a shelf: read with no copy on the way, given as views to codecs that want them, written in pieces."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import hutch
import hutch.dbm
from children import Child, Line
from hutch import Shelf, UnreadableValueError
from hutch.codecs import Codec, Compressed, Encrypted, Pickle, Signed
from hutch.errors import CodecError, CorruptEntryError, TamperedError

MIB = 1024 * 1024
LARGE = 3 * MIB


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "shelf")


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that was taken at any moment of a call, beyond what there was."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def damage(path: str, old: bytes, new: bytes) -> None:
    heap = Path(path + ".dat").read_bytes()
    assert old in heap
    Path(path + ".dat").write_bytes(heap.replace(old, new, 1))


VALUES: dict[str, Any] = {
    "bytes": os.urandom(LARGE),
    "text": "é" * LARGE,
    "numbers": list(range(500_000)),
    "texts": [f"number {number}" for number in range(200_000)],
    "array": np.arange(LARGE // 8, dtype="f8"),
    "mixed": {"a": os.urandom(LARGE), "b": ["text", bytearray(MIB)], "c": 5},
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_values_of_all_kinds_come_back(path: str, protocol: int) -> None:
    with hutch.open(path, protocol=protocol) as shelf:
        shelf.update(VALUES)
        for flag in ("c", "r"):
            with hutch.open(path, flag) as other:
                for key, value in VALUES.items():
                    assert np.array_equal(other[key], value) if key == "array" else other[key] == value
                assert other.get("missing") is None
                with pytest.raises(KeyError) as caught:
                    other["missing"]
                assert caught.value.args == ("missing",)
        with shelf.transaction():
            shelf["bytes"] = b"n" * LARGE
            assert shelf["bytes"] == b"n" * LARGE
            del shelf["text"]
            assert "text" not in shelf
            with pytest.raises(KeyError):
                shelf["text"]
            assert shelf["numbers"] == VALUES["numbers"]
        assert shelf["bytes"] == b"n" * LARGE


def test_a_large_value_is_read_into_its_place(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["bytes"] = bytes(8 * LARGE)
    with hutch.open(path, "r") as shelf:
        shelf.get("before anything is measured")
        shelf["bytes"]
        assert peak_bytes(lambda: shelf["bytes"]) < 8 * LARGE + MIB


def test_damage_is_found(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["torn"] = b"T" * LARGE
        shelf["whole"] = b"W" * LARGE
        shelf.dict["no pickle"] = b"N" * LARGE
        shelf.dict["cut"] = pickle.dumps(bytes(LARGE))[:-50]
    damage(path, b"T" * 100, b"S" * 100)
    with hutch.open(path) as shelf:
        with pytest.raises(CorruptEntryError, match="'torn'"):
            shelf["torn"]
        for key in ("no pickle", "cut"):
            with pytest.raises(UnreadableValueError, match=f"'{key}'") as caught:
                shelf[key]
            assert caught.value.key == key
        assert dict(shelf.items(errors="skip")) == {"whole": b"W" * LARGE}
    with hutch.open(path, codec=Pickle()) as shelf:
        with pytest.raises(CodecError, match="'no pickle' cannot be read by Pickle"):
            shelf["no pickle"]
        assert shelf["whole"] == b"W" * LARGE


def test_a_deserializer_gets_bytes(path: str) -> None:
    with hutch.open(path, serializer=lambda value, protocol: value, deserializer=type) as shelf:
        shelf["key"] = bytes(LARGE)
        assert shelf["key"] is bytes


# -- views -----------------------------------------------------------------------------------------------------


class Viewing(Codec):
    """Says what it was given."""

    wants_view = True

    def encode(self, key: bytes, value: Any) -> Any:
        return value

    def decode(self, key: bytes, data: Any) -> Any:
        return data


def test_a_codec_that_wants_views_gets_them_of_large_values(path: str) -> None:
    with hutch.open(path, codec=Viewing()) as shelf:
        shelf.update(small=b"small", large=VALUES["bytes"], empty=b"")
        for read in (shelf.__getitem__, shelf.get, lambda key: dict(shelf.items())[key], lambda key: dict(shelf)[key]):
            assert (read("small"), read("empty")) == (b"small", b"")
            large = read("large")
            assert type(large) is memoryview and large.readonly
            assert large == VALUES["bytes"]
        assert shelf.get("missing") is None
        with shelf.transaction():
            shelf["large"] = b"new" * LARGE
            assert bytes(shelf["large"]) == b"new" * LARGE
        del shelf["large"]
        shelf.reorganize()
        assert large == VALUES["bytes"], "a view stays what it is"
    assert large == VALUES["bytes"]
    below = Shelf({b"key": bytes(LARGE)}, codec=Viewing())
    assert type(below["key"]) is bytes


def test_arrays_are_views_of_the_file(path: str) -> None:
    array = VALUES["array"]
    with hutch.open(path, codec=Pickle(buffers=True)) as shelf:
        assert peak_bytes(lambda: shelf.__setitem__("array", array)) < LARGE / 2, "the array was copied on its way"
        shelf["two"] = [array, {"other": array[:5]}]
    with hutch.open(path, "r", codec=Pickle(buffers=True)) as shelf:
        shelf["array"]
        assert peak_bytes(lambda: shelf["array"]) < MIB
        found = shelf["array"]
        assert not found.flags.writeable and not found.flags.owndata
        with hutch.open(path, codec=Pickle(buffers=True)) as writer:
            writer["array"] = array + 1
            writer["more"] = [array] * 3
            writer.reorganize()
            assert np.array_equal(writer["array"], array + 1)
        assert np.array_equal(found, array)
        assert np.array_equal(shelf["array"], array + 1)
        first, second = shelf["two"]
        assert np.array_equal(first, array) and np.array_equal(second["other"], array[:5])
    assert np.array_equal(found, array)


def _write(line: Line, path: str) -> None:
    with hutch.open(path, codec=Pickle(buffers=True)) as shelf:
        for number in range(20):
            shelf["array"] = np.full(LARGE // 8, number, dtype="f8")
            if number % 7 == 0:
                shelf.reorganize()


def test_a_view_while_another_process_writes(path: str) -> None:
    with hutch.open(path, codec=Pickle(buffers=True)) as shelf:
        shelf["array"] = np.full(LARGE // 8, -1, dtype="f8")
        kept = [shelf["array"]]
        with Child(_write, path) as child:
            for _ in range(30):
                array = shelf["array"]
                assert (array == array[0]).all(), "a view of two writes"
                if array[0] != kept[-1][0]:
                    kept.append(array)
            child.finish()
        kept.append(shelf["array"])
        assert kept[0][0] == -1 and kept[-1][0] == 19
        for array in kept:
            assert (array == array[0]).all()


def test_wrapped_arrays(path: str) -> None:
    array = VALUES["array"]
    for codec in (
        Signed(Pickle(buffers=True), b"a key for signing, of any length"),
        Compressed(Pickle(buffers=True)),
        Encrypted(Pickle(buffers=True), b"k" * 32),
    ):
        with hutch.open(path, "n", codec=codec) as shelf:
            shelf["array"] = array
            assert np.array_equal(shelf["array"], array)
            assert shelf.check(decode=True).ok
            stored = shelf.dict[b"array"]
            shelf.dict[b"array"] = stored[:-1] + bytes((stored[-1] ^ 1,))
            with pytest.raises(CodecError) as caught:
                shelf["array"]
            assert isinstance(caught.value, TamperedError) or type(codec) is Compressed


def test_another_mapping_below_in_the_middle(path: str) -> None:
    for codec in (None, Viewing()):
        with hutch.open(path, "n", codec=codec) as shelf:
            shelf["key"] = b"in files"
            files, shelf.dict = shelf.dict, {b"key": shelf.dict[b"key"].replace(b"files", b"other")}
            assert shelf["key"] == b"in other"
            shelf.dict = files
            assert shelf["key"] == b"in files"


@pytest.mark.parametrize("writeback", [False, True])
def test_recoding_large_values(path: str, writeback: bool) -> None:
    with hutch.open(path, writeback=writeback) as shelf:
        shelf["array"] = VALUES["array"]
        shelf.recode(Pickle(buffers=True))
        assert np.array_equal(shelf["array"], VALUES["array"])
        kept = shelf["array"]
        shelf.recode(Compressed(Pickle(buffers=True)))
        shelf.recode()
        assert np.array_equal(shelf["array"], VALUES["array"])
        assert np.array_equal(kept, VALUES["array"])
