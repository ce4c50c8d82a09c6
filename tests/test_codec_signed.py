"""`Signed`: what was not signed for this very entry never reaches the inner codec."""

from __future__ import annotations

import copy
import doctest
import hashlib
import hmac
import os
import pickle
import re
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codec_parts import KEY, Canary, Parts, Raw, ViewCanary, mutations, stored
from hutch.codecs import signed
from hutch.codecs.base import Codec, Pieces
from hutch.codecs.framing import COMPRESSED, SIGNED
from hutch.codecs.signed import DIGESTS, HEADER, LENGTH, VERSION, Signed
from hutch.errors import CodecError, TamperedError, WrongCodecError
from test_format import number, struct_of, table

OLD, NEW, OTHER = b"old key, 16 byte", b"new key of more than 16 bytes", os.urandom(32)
VALUE = b"a value"


def keys_of_this_module() -> list[bytes]:
    return [NEW, OLD]


# --- What it stores and reads -----------------------------------------------------------------------


@pytest.mark.parametrize("digest", DIGESTS)
@pytest.mark.parametrize("inner", [Raw(), Parts()], ids=["bytes", "pieces and views"])
@settings(deadline=None)
@given(key=st.binary(max_size=40), value=st.binary(max_size=300))
def test_round_trip(digest: str, inner: Codec, key: bytes, value: bytes) -> None:
    codec = Signed(inner, OTHER, digest)
    data = stored(codec, value, key)
    assert codec.decode(key, data) == value
    assert codec.decode(key, memoryview(data)) == value


@pytest.mark.parametrize(("digest", "code"), DIGESTS.items())
def test_the_frame_is_made_as_the_page_says(digest: str, code: int) -> None:
    """With nothing of `Signed`."""
    key_id = hmac.digest(OLD, b"hutch: id of a signing key", "sha256")[:8]
    header = b"\xc1HT\xd3" + bytes((1, code, 0, 0)) + key_id
    signature = hmac.new(OLD, header + (5).to_bytes(8, "little") + b"entry" + VALUE, digest).digest()
    assert stored(Signed(Raw(), OLD, digest), VALUE) == header + VALUE + signature


def test_pieces_are_not_joined() -> None:
    value = os.urandom(5000)
    data = Signed(Parts(), OLD).encode(KEY, value)
    assert isinstance(data, Pieces) and data.buffers[2].obj is value


def test_the_inner_codec_may_look_at_a_view_that_nobody_else_has() -> None:
    seen = []

    class Looks(ViewCanary):
        def decode(self, key: bytes, data: bytes | memoryview) -> object:
            seen.append(data)
            return None

    codec = Signed(Looks(), OLD)
    heap = bytearray(stored(codec, VALUE))
    codec.decode(KEY, memoryview(heap).toreadonly())
    heap[:] = bytes(len(heap))  # the file is written to once the signature has been verified
    assert isinstance(seen[0], memoryview) and seen[0] == VALUE
    assert not codec.wants_view


@pytest.mark.parametrize("writes", DIGESTS)
def test_every_digest_is_read(writes: str) -> None:
    data = stored(Signed(Raw(), OLD, writes), VALUE)
    for digest in DIGESTS:
        assert Signed(Raw(), [NEW, OLD], digest).decode(KEY, data) == VALUE


def test_str_keys_are_utf_8() -> None:
    text = "größer als sechzehn"
    assert Signed(Raw(), text).decode(KEY, stored(Signed(Raw(), text.encode()), VALUE)) == VALUE


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind(kind: Callable[[bytes], bytes]) -> None:
    assert Signed(Raw(), kind(OLD)).decode(KEY, stored(Signed(Raw(), (OLD,)), VALUE)) == VALUE


# --- Keys change ------------------------------------------------------------------------------------


def test_the_first_key_signs_and_all_verify() -> None:
    old, both, new = Signed(Raw(), OLD), Signed(Raw(), [NEW, OLD]), Signed(Raw(), (NEW,))
    assert both.decode(KEY, stored(old, VALUE)) == VALUE
    assert new.decode(KEY, stored(both, VALUE)) == VALUE
    with pytest.raises(TamperedError):
        old.decode(KEY, stored(both, VALUE))
    assert Signed(Raw(), [OTHER, NEW, OLD, OLD]).decode(KEY, stored(both, VALUE)) == VALUE


def test_another_key() -> None:
    canary = Canary()
    for given_keys, said in ((OLD, "with the key given"), ([OLD, OTHER], "with any of the 2 keys given")):
        with pytest.raises(TamperedError, match=f"'entry' was not signed {said}") as caught:
            Signed(canary, given_keys).decode(KEY, stored(Signed(Raw(), NEW), VALUE))
        assert caught.value.key == KEY
    assert not canary.given


def test_keys_of_one_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in 2**64: then each of them is tried."""
    monkeypatch.setattr(signed, "_key_id", lambda key: bytes(8))
    codec = Signed(Raw(), [NEW, OLD])
    assert codec.decode(KEY, stored(Signed(Raw(), OLD), VALUE)) == VALUE
    assert codec.decode(KEY, stored(codec, VALUE)) == VALUE
    with pytest.raises(TamperedError):
        codec.decode(KEY, stored(Signed(Raw(), OTHER), VALUE))


# --- Tampering --------------------------------------------------------------------------------------


@pytest.mark.parametrize("digest", ["sha256", "sha3_512", "blake2s"])
@pytest.mark.parametrize("value", [VALUE, b""], ids=["a value", "empty"])
def test_every_mutation_is_refused(digest: str, value: bytes) -> None:
    canary = Canary()
    codec = Signed(canary, [OLD, NEW], digest)
    for bad in mutations(stored(codec, value)):
        with pytest.raises((TamperedError, WrongCodecError)) as caught:
            codec.decode(KEY, bad)
        assert caught.value.key == KEY and "'entry'" in str(caught.value)
        # Only what has lost the magic can be taken for something else.
        is_frame = bad.startswith(SIGNED) or SIGNED.startswith(bad)
        assert isinstance(caught.value, TamperedError if is_frame else WrongCodecError)
    assert not canary.given


@settings(deadline=None)
@given(first=st.binary(max_size=30), second=st.binary(max_size=30), value=st.binary(max_size=30))
def test_another_entry_s_value(first: bytes, second: bytes, value: bytes) -> None:
    canary = Canary()
    codec = Signed(canary, OLD)
    data = stored(codec, value, first)
    if first != second:
        with pytest.raises(TamperedError, match="moved from another entry"):
            codec.decode(second, data)
        assert not canary.given


@settings(deadline=None)
@given(text=st.binary(min_size=1, max_size=60), cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_no_byte_wanders_from_key_to_value(text: bytes, cuts: tuple[int, int]) -> None:
    """Key and value of one entry say the same as those of another, parted elsewhere."""
    one, two = (cut % (len(text) + 1) for cut in cuts)
    canary = Canary()
    codec = Signed(canary, OLD)
    data = stored(codec, text[one:], text[:one])
    forged = data[: HEADER.size] + text[two:] + data[-32:]
    if one != two:
        with pytest.raises(TamperedError):
            codec.decode(text[:two], forged)
        assert not canary.given


def test_a_signature_under_another_digest_s_name() -> None:
    """Digests of one size, and the key's own id: the digest is signed too."""
    codec = Signed(Canary(), OLD)
    data = bytearray(stored(codec, VALUE))
    for code in DIGESTS.values():
        if code != data[5]:
            data[5] = code
            with pytest.raises(TamperedError):
                codec.decode(KEY, bytes(data))


def test_the_key_s_id_tells_of_no_other_key() -> None:
    """Who has one of the keys cannot pass his values for another's: the id is signed."""
    codec = Signed(Canary(), [NEW, OLD])
    data = stored(Signed(Raw(), OLD), VALUE)
    forged = stored(codec, VALUE)[: HEADER.size] + data[HEADER.size :]
    with pytest.raises(TamperedError):
        codec.decode(KEY, forged)


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def compare(one: bytes, two: bytes) -> bool:
        asked.append((len(one), len(two)))
        return False

    codec = Signed(Canary(), OLD)
    data = stored(codec, VALUE)
    monkeypatch.setattr(hmac, "compare_digest", compare)
    with pytest.raises(TamperedError):
        codec.decode(KEY, data)
    assert asked == [(32, 32)]


@pytest.mark.parametrize(
    ("plain", "looks_like"),
    [(pickle.dumps(1), "Pickle"), (b'{"a": 1}', "Json"), (COMPRESSED + bytes(12), "Compressed")],
)
def test_what_is_not_signed(plain: bytes, looks_like: str) -> None:
    canary = Canary()
    with pytest.raises(WrongCodecError, match=f"'entry' is not signed.*{looks_like}") as caught:
        Signed(canary, OLD).decode(KEY, plain)
    assert caught.value.looks_like == looks_like
    assert not canary.given


def test_nothing_at_all_is_a_value_cut_off() -> None:
    for size in range(HEADER.size + 32):
        with pytest.raises(TamperedError, match="is cut off"):
            Signed(Canary(), OLD).decode(KEY, stored(Signed(Raw(), OLD), b"")[:size])


@pytest.mark.parametrize(("version", "code", "zero"), [(0, 1, 0), (2, 1, 0), (1, 0, 0), (1, 9, 0), (1, 1, 1)])
def test_headers_of_the_future(version: int, code: int, zero: int) -> None:
    """Also well signed: what a later version means by them is not known."""
    key_id = HEADER.unpack_from(stored(Signed(Raw(), OLD), b""))[4]
    header = HEADER.pack(SIGNED, version, code, zero, key_id)
    data = header + VALUE + hmac.digest(OLD, header + LENGTH.pack(len(KEY)) + KEY + VALUE, "sha256")
    with pytest.raises(TamperedError, match="newer"):
        Signed(Canary(), OLD).decode(KEY, data)


@settings(deadline=None)
@given(data=st.one_of(st.binary(), st.binary(max_size=200).map(lambda rest: SIGNED + bytes((VERSION, 1)) + rest)))
def test_random_bytes(data: bytes) -> None:
    canary = Canary()
    with pytest.raises((TamperedError, WrongCodecError)):
        Signed(canary, OLD).decode(KEY, data)
    assert not canary.given


def test_what_the_inner_codec_raises_passes() -> None:
    class Refuses(Raw):
        def decode(self, key: bytes, data: bytes | memoryview) -> object:
            raise CodecError("no", key=key)

    with pytest.raises(CodecError, match="no"):
        Signed(Refuses(), OLD).decode(KEY, stored(Signed(Raw(), OLD), VALUE))


# --- Keys that may not be, and keys that must not be seen -------------------------------------------


@pytest.mark.parametrize(
    ("keys", "kind", "said"),
    [
        (b"", ValueError, r"16 bytes or more, not 0: make one with secrets\.token_bytes\(32\)"),
        ("short", ValueError, r"not 5: make one with secrets\.token_bytes\(32\)"),
        (b"fifteen bytes..", ValueError, "not 15"),
        ([OLD, b"short"], ValueError, "not 5"),
        ([], ValueError, "at least one key"),
        (list, ValueError, "at least one key"),
        (None, TypeError, "not NoneType"),
        ({OLD, NEW}, TypeError, "the one that writes first, not set"),
        ([OLD, 17], TypeError, "bytes or str, not int"),
        ("\ud800" * 16, ValueError, "valid Unicode"),
    ],
)
def test_keys_that_may_not_be(keys: object, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        Signed(Raw(), keys)  # type: ignore[arg-type]


@pytest.mark.parametrize("digest", ["md5", "sha1", "sha224", "SHA256", "shake_128", "none", "", None, hashlib.sha256])
def test_digests_that_may_not_be(digest: str) -> None:
    with pytest.raises(ValueError, match="take one of sha256, sha384"):
        Signed(Raw(), OLD, digest)


def test_no_key_is_shown() -> None:
    secret = b"this is my secret key"
    codec = Signed(Raw(), [secret, OLD], "sha512")
    assert re.fullmatch(r"Signed\(<.*Raw.*>, <2 keys>, 'sha512'\)", repr(codec))
    shown = [repr(codec), str(codec)]
    for act in (
        lambda: pickle.dumps(codec),
        lambda: codec.decode(KEY, stored(Signed(Raw(), NEW), VALUE)),
        lambda: codec.decode(KEY, b"plain"),
        lambda: codec.decode(KEY, stored(codec, VALUE)[:-1]),
        lambda: Signed(Raw(), secret[:9]),
    ):
        with pytest.raises((TypeError, ValueError)) as caught:
            act()
        shown.append(repr(caught.value))
    assert not [text for text in shown if "secret" in text.replace("secrets.", "")]
    assert secret not in stored(codec, VALUE)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_codec_is_pickled_without_its_keys(protocol: int) -> None:
    codec = Signed(Parts(), keys_of_this_module, "blake2b")
    pickled = pickle.dumps(codec, protocol)
    assert OLD not in pickled and NEW not in pickled
    again = pickle.loads(pickled)
    assert again.digest == "blake2b"
    assert again.decode(KEY, stored(codec, VALUE)) == VALUE
    with pytest.raises(TypeError, match=r"keys into the pickle: make it as Signed\(inner, get_keys\)"):
        pickle.dumps(Signed(Parts(), OLD), protocol)


def test_a_copy_is_the_codec_itself() -> None:
    codec = Signed(Raw(), OLD)
    assert copy.copy(codec) is codec
    assert copy.deepcopy([codec])[0] is codec


# --- docs -------------------------------------------------------------------------------------------


def test_the_page_has_the_header() -> None:
    assert struct_of("Signed frame", 0, HEADER.size) == HEADER.format
    rows = table("Signed frame", "digest", "code", "bytes")
    assert {row["digest"].strip("`"): number(row["code"]) for row in rows} == DIGESTS
    assert all(number(row["bytes"]) == hashlib.new(row["digest"].strip("`")).digest_size for row in rows)


def test_the_examples_run() -> None:
    failed, attempted = doctest.testmod(signed, optionflags=doctest.ELLIPSIS)
    assert attempted and not failed
