"""Wrappers in every order around every kind of inner codec, and a shelf over them."""

from __future__ import annotations

import inspect
import itertools
import os
import pickle
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hutch
from codec_parts import KEY, Canary, Parts, Raw, mutations, stored
from hutch.codecs import Codec, Compressed, Encrypted, Json, Pickle, Signed
from hutch.codecs.framing import COMPRESSED, ENCRYPTED, SIGNED
from hutch.errors import CodecError, LimitError, TamperedError, WrongCodecError

SECRET = b"a key for signing, of any length"
AES_KEY = b"and one for AES-256 of 32 bytes "
assert len(AES_KEY) == 32

WRAPPERS: dict[str, Callable[[Codec], Codec]] = {
    "zlib": lambda inner: Compressed(inner, "zlib", min_size=0),
    "zstd": lambda inner: Compressed(inner, "zstd", min_size=40),
    "signed": lambda inner: Signed(inner, SECRET),
    "encrypted": lambda inner: Encrypted(inner, AES_KEY),
}
ORDERS = [order for depth in range(4) for order in itertools.product(WRAPPERS, repeat=depth)]

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


def nest(order: tuple[str, ...], inner: Codec) -> Codec:
    """The first name is the outermost codec."""
    for name in reversed(order):
        inner = WRAPPERS[name](inner)
    return inner


@settings(deadline=None)
@given(
    order=st.sampled_from(ORDERS), inner=st.sampled_from([Pickle(), Pickle(0), Json()]), value=VALUES, key=st.binary()
)
def test_objects_come_back(order: tuple[str, ...], inner: Codec, value: Any, key: bytes) -> None:
    codec = nest(order, inner)
    data = stored(codec, value, key)
    assert codec.decode(key, data) == value
    assert codec.decode(key, memoryview(data)) == value
    assert bytes(codec.inner_bytes(key, data)) == stored(inner, value, key)


@settings(deadline=None)
@given(
    order=st.sampled_from(ORDERS),
    inner=st.sampled_from([Raw(), Parts()]),
    prefix=st.sampled_from([b"", COMPRESSED, SIGNED, ENCRYPTED]),
    rest=st.binary(max_size=60) | st.binary(max_size=9).map(lambda part: part * 80),
)
def test_bytes_come_back(order: tuple[str, ...], inner: Codec, prefix: bytes, rest: bytes) -> None:
    codec = nest(order, inner)
    assert codec.decode(KEY, stored(codec, prefix + rest)) == prefix + rest


@settings(deadline=None)
@given(outer=st.sampled_from(ORDERS), inner=st.sampled_from(ORDERS), value=st.binary(max_size=50))
def test_the_bytes_of_one_nesting_are_values_of_another(
    outer: tuple[str, ...], inner: tuple[str, ...], value: bytes
) -> None:
    data = stored(nest(inner, Raw()), value)
    codec = nest(outer, Raw())
    assert codec.decode(KEY, stored(codec, data)) == data


@pytest.mark.parametrize(
    "order", [order for order in ORDERS if 1 < len(order) < 4 and {"signed", "encrypted"} & {*order}]
)
def test_no_mutation_of_a_nesting_gives_another_value(order: tuple[str, ...]) -> None:
    canary = Canary()
    codec = nest(order, canary)
    value = b"the same again, the same again, the same again"
    data = stored(codec, value)
    for bad in itertools.islice(mutations(data), 0, None, 5):
        try:
            codec.decode(KEY, bad)
        except CodecError as problem:
            assert problem.key == KEY
    # A frame of `Compressed` outside may be damaged in what changes nothing; what is inside is authentic.
    assert set(canary.given) <= {value}


@settings(deadline=None)
@given(
    order=st.sampled_from(ORDERS[1:]),
    data=st.binary(max_size=100),
    magic=st.sampled_from([COMPRESSED, SIGNED, ENCRYPTED]),
)
def test_random_bytes_give_only_codec_errors(order: tuple[str, ...], data: bytes, magic: bytes) -> None:
    for bad in (data, magic + data, magic + b"\1\1\0\0" + data):
        try:
            nest(order, Json()).decode(KEY, bad)
        except CodecError as problem:
            assert problem.key == KEY


def test_another_entry_s_value_is_refused_at_any_depth() -> None:
    for order in ORDERS:
        if not {"signed", "encrypted"} & {*order}:
            continue
        canary = Canary()
        codec = nest(order, canary)
        with pytest.raises(TamperedError):
            codec.decode(b"another", stored(codec, b"value"))
        assert not canary.given


def test_the_order_is_told_when_it_is_the_wrong_one() -> None:
    one, two = Signed(Encrypted(Json(), AES_KEY), SECRET), Encrypted(Signed(Json(), SECRET), AES_KEY)
    with pytest.raises(WrongCodecError, match="looks like one of Signed") as caught:
        two.decode(KEY, stored(one, 1))
    assert caught.value.looks_like == "Signed"
    with pytest.raises(WrongCodecError, match="looks like one of Encrypted"):
        one.decode(KEY, stored(two, 1))
    with pytest.raises(WrongCodecError) as caught:
        Json().decode(KEY, stored(Compressed(Pickle(), min_size=0), "a" * 500))
    assert caught.value.looks_like == "Compressed"


def test_what_is_signed_is_not_inflated_before_it_is_verified() -> None:
    codec = Signed(Compressed(Raw(), max_bytes=1000), SECRET)
    bomb = stored(Signed(Compressed(Raw()), SECRET), bytes(10**6))
    with pytest.raises(LimitError):
        codec.decode(KEY, bomb)
    with pytest.raises(TamperedError):
        codec.decode(KEY, bomb[:-1])


def test_compressing_before_encrypting_saves_room_and_after_it_does_not() -> None:
    value = b"rabbit " * 500
    before, after = Encrypted(Compressed(Raw()), AES_KEY), Compressed(Encrypted(Raw(), AES_KEY))
    assert len(stored(before, value)) < 200
    assert len(stored(after, value)) == len(stored(Encrypted(Raw(), AES_KEY), value))


def test_arrays_through_every_wrapper() -> None:
    """Out-of-band buffers are aligned as their numbers need, though a frame stands in front of them."""
    numpy = pytest.importorskip("numpy")
    inner = Pickle(buffers=True)
    for shape, kind in (((100, 7), "f8"), ((1000,), "c16"), ((0,), "i4"), ((33,), "u1")):
        array = numpy.arange(numpy.prod(shape)).reshape(shape).astype(kind)
        for order in ORDERS:
            codec = nest(order, inner)
            for data in (stored(codec, array), memoryview(stored(codec, array))):
                back = codec.decode(KEY, data)
                assert back.dtype == array.dtype and (back == array).all() and back.shape == array.shape
                assert back.flags.aligned and not back.flags.writeable


def test_threads_share_a_codec() -> None:
    codec = nest(("zlib", "encrypted", "signed", "zstd"), Json())
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(60):
            key = b"%d" % number
            value = {"thread": number, "turn": turn, "text": "x" * 400}
            data = stored(codec, value, key)
            if codec.decode(key, data) != value:
                wrong.append((number, turn))
            try:
                wrong.append(codec.decode(b"other", data))
            except TamperedError:
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def get_signing_keys() -> bytes:
    return SECRET


def get_aes_keys() -> list[bytes]:
    return [AES_KEY]


def test_a_nesting_is_pickled_by_the_names_of_its_functions() -> None:
    codec = Compressed(Signed(Encrypted(Json(), get_aes_keys), get_signing_keys), "bz2")
    pickled = pickle.dumps(codec)
    assert SECRET not in pickled and AES_KEY not in pickled
    assert pickle.loads(pickled).decode(KEY, stored(codec, [1, "two"])) == [1, "two"]
    with pytest.raises(TypeError, match="keys into the pickle"):
        pickle.dumps(Compressed(Signed(Encrypted(Json(), AES_KEY), get_signing_keys)))


# --- In a shelf -------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "shelf")


@pytest.mark.parametrize(
    "order", [("zstd",), ("signed", "zlib"), ("encrypted", "zlib"), ("zlib", "signed", "encrypted")]
)
def test_a_shelf(path: str, order: tuple[str, ...]) -> None:
    values = {"short": 1, "long": "spam " * 3000, "random": os.urandom(5000), "ключ": None, "": {}}
    codec = nest(order, Pickle())
    with hutch.open(path, codec=codec) as shelf:
        shelf.update(values)
        assert dict(shelf) == values
    with hutch.open(path, "r", codec=nest(order, Pickle())) as shelf:
        assert dict(shelf) == values
    heap = Path(path + ".dat").read_bytes()
    assert (b"spam spam" in heap) is False


def test_a_swapped_entry_fails_alone(path: str) -> None:
    """Whoever can write the files has put one entry's bytes under another's key, with checksums that agree."""
    codec = Signed(Pickle(), SECRET)
    with hutch.open(path, codec=codec) as shelf:
        shelf.update(admin="alice", guest="mallory", third=3)
    with hutch.dbm.open(path, "w") as database:
        database[b"admin"] = database[b"guest"]
    with hutch.open(path, codec=codec) as shelf:
        with pytest.raises(TamperedError, match=r"'admin'.*moved from another entry"):
            shelf["admin"]
        assert shelf["guest"] == "mallory" and shelf["third"] == 3


def test_a_plain_pickle_in_a_signed_shelf_is_never_run(path: str) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (path + ".run",)

    with hutch.dbm.open(path, "c") as database:
        database[b"key"] = pickle.dumps(Evil())
    with (
        hutch.open(path, codec=Signed(Pickle(), SECRET)) as shelf,
        pytest.raises(WrongCodecError, match="'key' is not signed"),
    ):
        shelf["key"]
    assert not os.path.exists(path + ".run")


def test_keys_are_changed_by_recoding(path: str) -> None:
    new_key = Encrypted.new_key()
    values = {str(number): "x" * number for number in range(40)}
    with hutch.open(path, codec=Encrypted(Json(), AES_KEY)) as shelf:
        shelf.update(values)
    with hutch.open(path, codec=Encrypted(Json(), [new_key, AES_KEY])) as shelf:
        assert dict(shelf) == values
        shelf.recode(Encrypted(Json(), [new_key, AES_KEY]))
        assert dict(shelf) == values
    with hutch.open(path, codec=Encrypted(Json(), new_key)) as shelf:
        assert dict(shelf) == values


def test_a_shelf_becomes_compressed_bit_by_bit(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["old"] = "x" * 5000
    with hutch.open(path, codec=Compressed(Pickle())) as shelf:
        shelf["new"] = "y" * 5000
        assert shelf["old"] == "x" * 5000 and shelf["new"] == "y" * 5000
    with hutch.open(path) as shelf:
        assert shelf["old"] == "x" * 5000
        with pytest.raises(ValueError, match="bytes look like Compressed"):
            shelf["new"]


# --- docs/api.md ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Compressed, Signed, Encrypted])
def test_options_are_what_the_docs_list(kind: type) -> None:
    page = (Path(__file__).parent.parent / "docs" / "api.md").read_text(encoding="utf-8")
    match = re.search(rf"`{kind.__name__}\(([^`]*)\)`", page)
    assert match is not None
    written: dict[str, Any] = {}
    exec(f"def function({match[1]}): pass", written)
    there = inspect.signature(written["function"]).parameters.values()
    here = inspect.signature(kind).parameters.values()
    assert [(p.name, p.kind, p.default) for p in there] == [(p.name, p.kind, p.default) for p in here]
