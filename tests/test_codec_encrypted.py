"""`Encrypted`: what was not encrypted for this very entry never reaches the inner codec, and nobody reads it."""

from __future__ import annotations

import copy
import doctest
import hashlib
import os
import pickle
import re
import sys
from collections.abc import Callable
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_parts import KEY, Canary, Parts, Raw, ViewCanary, mutations, stored
from hutch.codecs import encrypted
from hutch.codecs.base import Codec
from hutch.codecs.encrypted import AES_GCM, HEADER, LENGTH, NONCE_BYTES, TAG_BYTES, VERSION, Encrypted
from hutch.codecs.framing import ENCRYPTED, SIGNED
from hutch.errors import CodecError, TamperedError, WrongCodecError
from test_format import number, struct_of, table

OLD, NEW, OTHER = b"0123456789abcdef", b"fedcba98" * 4, os.urandom(32)
VALUE = b"a value that nobody is to read"
NONCE_AT = HEADER.size
TEXT_AT = NONCE_AT + NONCE_BYTES


def keys_of_this_module() -> tuple[bytes, ...]:
    return NEW, OLD


@pytest.fixture(params=["one shot", "in chunks"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to call the cipher, of which only large values take the second."""
    if request.param == "in chunks":
        monkeypatch.setattr(encrypted, "_ONE_SHOT_BYTES", -1)
        monkeypatch.setattr(encrypted, "_CHUNK_BYTES", 7)
    return request.param


# --- What it stores and reads -----------------------------------------------------------------------


@pytest.mark.parametrize("bits", [128, 192, 256])
@pytest.mark.parametrize("inner", [Raw(), Parts()], ids=["bytes", "pieces and views"])
@settings(deadline=None)
@given(key=st.binary(max_size=40), value=st.binary(max_size=300), limit=st.sampled_from([-1, 0, 20, 300]))
def test_round_trip(bits: int, inner: Codec, key: bytes, value: bytes, limit: int) -> None:
    codec = Encrypted(inner, Encrypted.new_key(bits))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encrypted, "_CHUNK_BYTES", 50)
        patch.setattr(encrypted, "_ONE_SHOT_BYTES", limit)
        data = stored(codec, value, key)
        patch.setattr(encrypted, "_ONE_SHOT_BYTES", 64)
        assert codec.decode(key, data) == value
        assert codec.decode(key, memoryview(data)) == value
    assert len(data) == TEXT_AT + len(value) + TAG_BYTES


def test_the_frame_is_made_as_the_page_says(way: str) -> None:
    """With nothing of `Encrypted` but the nonce."""
    key_id = hashlib.blake2b(key=OLD, person=b"hutch: key id", digest_size=8).digest()
    data = stored(Encrypted(Raw(), OLD), VALUE)
    header, nonce = b"\xc1HT\xc5" + bytes((1, 1, 0, 0)) + key_id, data[16:28]
    assert data[:16] == header
    assert data[28:] == AESGCM(OLD).encrypt(nonce, VALUE, header + (5).to_bytes(8, "little") + b"entry")


def test_no_two_writes_are_the_same(way: str) -> None:
    codec = Encrypted(Raw(), OLD)
    written = [stored(codec, VALUE) for _ in range(200)]
    assert len({data[NONCE_AT:TEXT_AT] for data in written}) == 200
    assert len({data[TEXT_AT:] for data in written}) == 200
    assert not any(VALUE[:4] in data for data in written)


def test_the_inner_codec_may_look_at_a_view(way: str) -> None:
    seen = []

    class Looks(ViewCanary):
        def decode(self, key: bytes, data: bytes | memoryview) -> object:
            seen.append(data)
            return None

    codec = Encrypted(Looks(), OLD)
    heap = bytearray(stored(codec, VALUE))
    codec.decode(KEY, memoryview(heap).toreadonly())
    heap[:] = bytes(len(heap))
    assert seen == [VALUE]
    assert isinstance(seen[0], bytes) or seen[0].readonly
    assert not codec.wants_view


@pytest.mark.parametrize("size", [(64 << 20), (64 << 20) + 1, (80 << 20) + 5])
def test_large_values(size: int) -> None:
    value = os.urandom(1 << 20) * (size >> 20) + bytes(size & 0xFFFFF)
    codec = Encrypted(Raw(), OTHER)
    data = stored(codec, value)
    assert codec.decode(KEY, data) == value
    bad = bytearray(data)
    bad[len(data) // 2] ^= 1
    with pytest.raises(TamperedError):
        codec.decode(KEY, bytes(bad))


# --- Keys change ------------------------------------------------------------------------------------


def test_the_first_key_encrypts_and_all_decrypt(way: str) -> None:
    old, both, new = Encrypted(Raw(), OLD), Encrypted(Raw(), [NEW, OLD]), Encrypted(Raw(), (NEW,))
    assert both.decode(KEY, stored(old, VALUE)) == VALUE
    assert new.decode(KEY, stored(both, VALUE)) == VALUE
    with pytest.raises(TamperedError):
        old.decode(KEY, stored(both, VALUE))
    assert Encrypted(Raw(), [OTHER, NEW, OLD, OLD]).decode(KEY, stored(both, VALUE)) == VALUE


def test_another_key(way: str) -> None:
    canary = Canary()
    for given_keys, said in ((OLD, "with the key given"), ([OLD, OTHER], "with any of the 2 keys given")):
        with pytest.raises(TamperedError, match=f"'entry' was not encrypted {said}") as caught:
            Encrypted(canary, given_keys).decode(KEY, stored(Encrypted(Raw(), NEW), VALUE))
        assert caught.value.key == KEY
    assert not canary.given


def test_keys_of_one_id(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """One in 2**64: then each of them is tried."""
    monkeypatch.setattr(encrypted, "_key_id", lambda key: bytes(8))
    codec = Encrypted(Raw(), [NEW, OLD])
    assert codec.decode(KEY, stored(Encrypted(Raw(), OLD), VALUE)) == VALUE
    assert codec.decode(KEY, stored(codec, VALUE)) == VALUE
    with pytest.raises(TamperedError):
        codec.decode(KEY, stored(Encrypted(Raw(), OTHER), VALUE))


# --- Tampering --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [b"seven..", b""], ids=["a value", "empty"])
def test_every_mutation_is_refused(value: bytes, way: str) -> None:
    canary = Canary()
    codec = Encrypted(canary, [OLD, NEW])
    data = stored(codec, value)
    for bad in mutations(data):
        with pytest.raises((TamperedError, WrongCodecError)) as caught:
            codec.decode(KEY, bad)
        assert caught.value.key == KEY and "'entry'" in str(caught.value)
        is_frame = bad.startswith(ENCRYPTED) or ENCRYPTED.startswith(bad)
        assert isinstance(caught.value, TamperedError if is_frame else WrongCodecError)
    assert not canary.given
    assert codec.decode(KEY, data) == value


@settings(deadline=None)
@given(first=st.binary(max_size=30), second=st.binary(max_size=30), value=st.binary(max_size=30))
def test_another_entry_s_value(first: bytes, second: bytes, value: bytes) -> None:
    canary = Canary()
    codec = Encrypted(canary, OLD)
    data = stored(codec, value, first)
    if first != second:
        with pytest.raises(TamperedError, match="moved from another entry"):
            codec.decode(second, data)
        assert not canary.given


def test_parts_of_two_values_of_one_entry(way: str) -> None:
    """Header, nonce, text and tag of one write and of another."""
    canary = Canary()
    codec = Encrypted(canary, [OLD, NEW])
    marks = [0, NONCE_AT, TEXT_AT, TEXT_AT + len(VALUE), TEXT_AT + len(VALUE) + TAG_BYTES]
    written = [stored(Encrypted(Raw(), key), VALUE) for key in (OLD, OLD, NEW)]
    parts = [[data[start:end] for start, end in pairwise(marks)] for data in written]
    for mix in range(3**4):
        chosen = [mix // 3**place % 3 for place in range(4)]
        bad = b"".join(parts[which][place] for place, which in enumerate(chosen))
        if bad not in written:
            with pytest.raises(TamperedError):
                codec.decode(KEY, bad)
    assert not canary.given


def test_what_is_not_encrypted() -> None:
    canary = Canary()
    for plain, looks_like in ((pickle.dumps(1), "Pickle"), (SIGNED + bytes(60), "Signed")):
        with pytest.raises(WrongCodecError, match=f"'entry' is not encrypted.*{looks_like}") as caught:
            Encrypted(canary, OLD).decode(KEY, plain)
        assert caught.value.looks_like == looks_like
    assert not canary.given


def test_nothing_at_all_is_a_value_cut_off() -> None:
    for size in range(TEXT_AT + TAG_BYTES):
        with pytest.raises(TamperedError, match="is cut off"):
            Encrypted(Canary(), OLD).decode(KEY, stored(Encrypted(Raw(), OLD), b"")[:size])


@pytest.mark.parametrize(("version", "cipher", "zero"), [(0, 1, 0), (2, 1, 0), (1, 0, 0), (1, 2, 0), (1, 1, 1)])
def test_headers_of_the_future(version: int, cipher: int, zero: int) -> None:
    """Also well encrypted: what a later version means by them is not known."""
    key_id = HEADER.unpack_from(stored(Encrypted(Raw(), OLD), b""))[4]
    header = HEADER.pack(ENCRYPTED, version, cipher, zero, key_id)
    nonce = os.urandom(NONCE_BYTES)
    data = header + nonce + AESGCM(OLD).encrypt(nonce, VALUE, header + LENGTH.pack(len(KEY)) + KEY)
    with pytest.raises(TamperedError, match="newer"):
        Encrypted(Canary(), OLD).decode(KEY, data)


@settings(deadline=None)
@given(data=st.one_of(st.binary(), st.binary(max_size=200).map(lambda rest: ENCRYPTED + bytes((VERSION, 1)) + rest)))
def test_random_bytes(data: bytes) -> None:
    canary = Canary()
    with pytest.raises((TamperedError, WrongCodecError)):
        Encrypted(canary, OLD).decode(KEY, data)
    assert not canary.given


def test_what_the_inner_codec_raises_passes() -> None:
    class Refuses(Raw):
        def decode(self, key: bytes, data: bytes | memoryview) -> object:
            raise CodecError("no", key=key)

    with pytest.raises(CodecError, match="no"):
        Encrypted(Refuses(), OLD).decode(KEY, stored(Encrypted(Raw(), OLD), VALUE))


# --- Keys that may not be, and keys that must not be seen -------------------------------------------


@pytest.mark.parametrize(
    ("keys", "kind", "said"),
    [
        (b"", ValueError, r"16, 24 or 32 bytes, not 0: make one with Encrypted\.new_key\(\)"),
        (b"x" * 31, ValueError, "not 31"),
        ([OLD, b"short"], ValueError, "not 5"),
        ("0123456789abcdef", TypeError, r"not str: .*Encrypted\.new_key\(\), or derive one.*hashlib\.scrypt"),
        ([], ValueError, "at least one key"),
        (list, ValueError, "at least one key"),
        (None, TypeError, "not NoneType"),
        ({OLD: 1}, TypeError, "the one that writes first, not dict"),
        ([OLD, 17], TypeError, "bytes, not int"),
    ],
)
def test_keys_that_may_not_be(keys: object, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Encrypted(Raw(), keys)  # type: ignore[arg-type]


def test_new_keys() -> None:
    assert [len(Encrypted.new_key(bits)) for bits in (128, 192, 256)] == [16, 24, 32]
    assert len({Encrypted.new_key() for _ in range(100)}) == 100
    for bits in (0, 64, 255, 512):
        with pytest.raises(ValueError, match="128, 192 or 256"):
            Encrypted.new_key(bits)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(kind: Callable[[bytes], bytes]) -> None:
    assert Encrypted(Raw(), kind(OLD)).decode(KEY, stored(Encrypted(Raw(), (OLD,)), VALUE)) == VALUE


def test_no_key_is_shown() -> None:
    secret = b"my secret key of 32 bytes ......"
    codec = Encrypted(Raw(), [secret, OLD])
    assert re.fullmatch(r"Encrypted\(<.*Raw.*>, <2 keys>\)", repr(codec))
    shown = [repr(codec), str(codec)]
    for act in (
        lambda: pickle.dumps(codec),
        lambda: codec.decode(KEY, stored(Encrypted(Raw(), NEW), VALUE)),
        lambda: codec.decode(KEY, b"plain"),
        lambda: codec.decode(KEY, stored(codec, VALUE)[:-1]),
        lambda: Encrypted(Raw(), secret[:15]),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            act()
        shown.append(repr(caught.value))
    assert not [text for text in shown if "secret" in text]
    assert secret not in stored(codec, VALUE)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_codec_is_pickled_without_its_keys(protocol: int) -> None:
    codec = Encrypted(Parts(), keys_of_this_module)
    pickled = pickle.dumps(codec, protocol)
    assert OLD not in pickled and NEW not in pickled
    assert pickle.loads(pickled).decode(KEY, stored(codec, VALUE)) == VALUE
    with pytest.raises(TypeError, match=r"keys into the pickle: make it as Encrypted\(inner, get_keys\)"):
        pickle.dumps(Encrypted(Parts(), OLD), protocol)


def test_a_copy_is_the_codec_itself() -> None:
    codec = Encrypted(Raw(), OLD)
    assert copy.copy(codec) is codec
    assert copy.deepcopy([codec])[0] is codec


def test_a_missing_cryptography(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "cryptography":
            monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'hutch\[crypto\]'"):
        Encrypted(Raw(), OLD)


# --- docs -------------------------------------------------------------------------------------------


def test_the_page_has_the_header() -> None:
    assert struct_of("Encrypted frame", 0, TEXT_AT) == HEADER.format + f"{NONCE_BYTES}s"
    listed = {row["cipher"]: number(row["code"]) for row in table("Encrypted frame", "cipher", "code")}
    assert listed == {"AES-GCM": AES_GCM}


def test_the_examples_run() -> None:
    failed, attempted = doctest.testmod(encrypted, optionflags=doctest.ELLIPSIS)
    assert attempted and not failed
