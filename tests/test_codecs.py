"""What holds for every codec: it gives back what it was given, refuses what is not its own, and says why."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import marshal
import math
import pickle
import plistlib
import re
import sys
import threading
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import hutch.codecs
from hutch.codecs import Codec, Json, Marshal, MessagePack, Pickle, Pieces, Plist
from hutch.codecs.base import joined, missing_extra, refuse, show_key
from hutch.errors import CodecError, LimitError, WrongCodecError

KEY = b"entry"
quick = settings(deadline=None, max_examples=60)  # the machine may be busy


@dataclasses.dataclass
class Order:
    number: int
    lines: list[tuple[str, int]]
    paid: dt.date | None = None


class Point(msgspec.Struct):
    x: float
    y: float = 0.0


class Suit(enum.Enum):
    SPADES = "s"


class Level(enum.IntEnum):
    LOW = 1


# --- Values that a codec gives back as they were --------------------------------------------------------

FLOATS = st.floats(allow_nan=False)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
BIG = st.integers(-(10**60), 10**60)
INT64 = st.integers(-(2**63), 2**64 - 1)
ANY_TEXT = st.text(st.characters())  # lone surrogates too
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
XML_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.just("\n"))
MOMENTS = st.datetimes(min_value=dt.datetime(1900, 1, 1), max_value=dt.datetime(2100, 1, 1))


def nested(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=5), max_leaves=12
    )


def aware(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=5)))


SCALARS = st.none() | st.booleans()
HASHABLE = st.recursive(
    SCALARS | BIG | FLOATS | st.complex_numbers(allow_nan=False) | ANY_TEXT | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
PYTHON = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(HASHABLE, inner, max_size=3),
    max_leaves=10,
)
OBJECTS = st.one_of(
    PYTHON,
    st.builds(Order, st.integers(), st.just([("apples", 3)]), st.dates()),
    st.decimals(allow_nan=False),
    st.fractions(),
    st.uuids(),
    st.timedeltas(),
    MOMENTS.map(aware),
    st.builds(bytearray, st.binary()),
    st.sampled_from([Suit.SPADES, Level.LOW, Order, len, dt.UTC, range(3)]),
)
ORDERS = st.builds(
    Order, st.integers(-(2**53), 2**53), st.lists(st.tuples(TEXT, st.integers(0, 9))), st.none() | st.dates()
)
POINTS = st.builds(Point, FINITE, FINITE)

CASES: dict[str, tuple[Codec, st.SearchStrategy[Any]]] = {
    **{f"Pickle({protocol})": (Pickle(protocol), OBJECTS) for protocol in range(6)},
    "Pickle()": (Pickle(), OBJECTS),
    "Pickle(buffers=True)": (Pickle(buffers=True), OBJECTS),
    "Pickle(renames)": (Pickle(renames={"somewhere.Else": "here.Now"}), OBJECTS),
    "Pickle(dispatch_table)": (Pickle(dispatch_table={}), OBJECTS),
    "Json()": (Json(), nested(SCALARS | BIG | FINITE | ANY_TEXT, ANY_TEXT)),
    "Json(indent, sort_keys)": (Json(indent=2, sort_keys=True), nested(SCALARS | BIG | FINITE | ANY_TEXT, ANY_TEXT)),
    "Json(allow_nan)": (Json(allow_nan=True), nested(SCALARS | FLOATS, ANY_TEXT)),
    "Json(dataclass)": (Json(type=Order), ORDERS),
    "Json(Struct)": (Json(type=Point, indent=1, sort_keys=True), POINTS),
    "Json(list of Structs)": (Json(type=list[Point]), st.lists(POINTS)),
    "MessagePack()": (
        MessagePack(),
        nested(
            SCALARS | INT64 | FLOATS | TEXT | st.binary() | MOMENTS.map(aware), SCALARS | INT64 | TEXT | st.binary()
        ),
    ),
    "MessagePack(dataclass)": (MessagePack(Order), ORDERS),
    "MessagePack(Struct)": (MessagePack(Point), POINTS),
    "Plist()": (
        Plist(),
        nested(
            st.booleans() | INT64 | FLOATS | XML_TEXT | st.binary() | MOMENTS.map(lambda m: m.replace(microsecond=0)),
            XML_TEXT,
        ),
    ),
    "Plist(binary)": (
        Plist("binary", sort_keys=True),
        nested(st.booleans() | INT64 | FLOATS | TEXT | st.binary() | MOMENTS, TEXT),
    ),
    "Marshal()": (Marshal(), PYTHON),
    "Marshal(2)": (Marshal(2), PYTHON),
}

each_case = pytest.mark.parametrize("case", CASES)
CODECS = {name: codec for name, (codec, _) in CASES.items()}


def shown(value: object) -> str:
    """What a test is called by: the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))


each_codec = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


def stored(codec: Codec, value: Any) -> bytes:
    return joined(codec.encode(KEY, value))


@each_case
@quick
@given(data=st.data())
def test_round_trip(case: str, data: st.DataObject) -> None:
    codec, values = CASES[case]
    value = data.draw(values)
    before = copy.deepcopy(value)
    raw = stored(codec, value)
    for given_data in (raw, memoryview(raw)):
        back = codec.decode(KEY, given_data)
        assert back == value == before
        assert type(back) is type(value)


@each_codec
def test_a_codec_pickles(codec: Codec) -> None:
    again = pickle.loads(pickle.dumps(codec))
    assert type(again) is type(codec)
    assert again.name == codec.name
    assert again.wants_view == codec.wants_view
    assert repr(again) == repr(codec)
    assert copy.copy(codec).name == codec.name


@each_codec
def test_a_codec_shows_how_it_was_made(codec: Codec) -> None:
    names = {
        **vars(hutch.codecs),
        "Order": Order,
        "Point": Point,
        **{name: getattr(hutch.codecs, name) for name in hutch.codecs.__all__},
    }
    shown = repr(codec).replace(f"<class '{__name__}.Order'>", "Order").replace(f"<class '{__name__}.Point'>", "Point")
    assert repr(eval(shown.replace(f"{__name__}.", ""), names)) == repr(codec)


@each_case
def test_threads_share_a_codec(case: str) -> None:
    codec, _ = CASES[case]
    value: Any = {"a": [1, 2, {"b": "c"}]} if codec.name != "Plist" else {"a": [1, True, {"b": "c"}]}
    if getattr(codec, "type", None) is Order:
        value = Order(1, [("x", 2)])
    elif getattr(codec, "type", None) is not None:
        value = Point(1.0) if codec.type is Point else [Point(1.0)]  # type: ignore[attr-defined]
    wrong: list[object] = []
    gate = threading.Barrier(4)

    def work() -> None:
        gate.wait()
        for _ in range(60):
            back = codec.decode(KEY, stored(codec, value))
            if back != value:
                wrong.append(back)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# --- What would come back as something else is refused ---------------------------------------------------


@pytest.mark.parametrize("key", [1, None, True, 1.5, (1, 2), b"x", Suit.SPADES], ids=shown)
@pytest.mark.parametrize("deep", [False, True])
def test_json_keys_are_text(key: Any, deep: bool) -> None:
    value: Any = {key: 1}
    with pytest.raises(TypeError, match=r"[Kk]eys"):
        Json().encode(KEY, [[{"a": value}]] if deep else value)


def test_what_default_makes_is_looked_at_too() -> None:
    codec = Json(default=lambda thing: {"hex": thing.hex} if isinstance(thing, uuid.UUID) else {1: 2})
    assert codec.encode(KEY, [uuid.UUID(int=1)]) == b'[{"hex":"00000000000000000000000000000001"}]'
    with pytest.raises(TypeError, match="keys are text"):
        codec.encode(KEY, [{1, 2}])


@pytest.mark.parametrize("value", [math.nan, math.inf, [-math.inf]], ids=shown)
def test_json_has_no_nan(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        Json().encode(KEY, value)
    text = stored(Json(allow_nan=True), value)
    with pytest.raises(CodecError, match=r"allow_nan=True"):
        Json().decode(KEY, text)
    assert repr(Json(allow_nan=True).decode(KEY, text)) == repr(value)


@pytest.mark.parametrize("value", [{1, 2}, b"x", Suit.SPADES, Order(1, []), 1j, dt.date.today()], ids=shown)
def test_json_has_no(value: Any) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        Json().encode(KEY, value)


@pytest.mark.parametrize(
    "value",
    [
        {1},
        frozenset(),
        Suit.SPADES,
        Level.LOW,
        Order(1, []),
        Point(1),
        1j,
        dt.date(2020, 1, 1),
        dt.datetime(2020, 1, 1),
        dt.timedelta(1),
        decimal.Decimal(1),
        uuid.UUID(int=0),
        range(3),
        object(),
        {Suit.SPADES: 1},
        {frozenset(): 1},
        {(1, (2, Level.LOW)): 1},
    ],
    ids=shown,
)
def test_messagepack_has_no(value: Any) -> None:
    for whole in (value, [1, value], {"a": {"b": [value]}}):
        with pytest.raises(TypeError):
            MessagePack().encode(KEY, whole)


@pytest.mark.parametrize(
    "value",
    [None, 1j, {1: 2}, {1}, Order(1, []), object(), dt.date(2020, 1, 1), Suit.SPADES, [None], plistlib.UID(1)],
    ids=shown,
)
def test_plist_has_no(value: Any) -> None:
    with pytest.raises((TypeError, AttributeError)):
        Plist().encode(KEY, [value])
    if not isinstance(value, plistlib.UID):
        with pytest.raises(TypeError):
            Plist("binary").encode(KEY, [value])


MOMENT = dt.datetime(2020, 1, 1, 12, 0, 0, 5)


@pytest.mark.parametrize("fmt", ["xml", "binary"])
@pytest.mark.parametrize(
    ("value", "xml", "binary"),
    [
        ("a\rb", "carriage return", None),
        ("a\r\nb", "carriage return", None),
        ({"\r": 1}, "carriage return", None),
        ("\ufffe", "U.FFFE", None),
        ("a\0b", "control characters", None),
        ("\x1b", "control characters", None),
        ("\ud800", "surrogates", "surrogates"),
        (2**64, "64 bits", "64 bits"),
        (-(2**63) - 1, "64 bits", "64 bits"),
        (MOMENT, "fractions of a second", None),
        (MOMENT.replace(year=9000), "fractions", "microseconds"),
        (aware(MOMENT), "time zones", "offset-aware"),
    ],
    ids=shown,
)
def test_what_a_plist_cannot_write(value: Any, xml: str | None, binary: str | None, fmt: Any) -> None:
    reason = xml if fmt == "xml" else binary
    if reason is None:
        assert Plist(fmt).decode(KEY, stored(Plist(fmt), [value])) == [value]
    else:
        with pytest.raises((ValueError, TypeError), match=reason):
            Plist(fmt).encode(KEY, [value])


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_messagepack_has_64_bits(number: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        MessagePack().encode(KEY, {"a": [number]})


@pytest.mark.parametrize("value", [Level.LOW, bytearray(b"x"), memoryview(b"x"), Suit.SPADES, Order(1, [])], ids=shown)
def test_marshal_refuses(value: Any) -> None:
    for whole in (value, [1, value], {"a": (value,)}):
        with pytest.raises((TypeError, ValueError)):
            Marshal().encode(KEY, whole)


def test_marshal_of_code() -> None:
    code = compile("1 + 1", "there", "eval")
    assert Marshal().decode(KEY, stored(Marshal(), [code, ..., StopIteration])) == [code, ..., StopIteration]


@pytest.mark.parametrize("codec", [Json(type=Order), MessagePack(Order)], ids=lambda codec: codec.name)
def test_what_does_not_fit_the_type_is_not_stored(codec: Codec) -> None:
    class Larger(Order):
        pass

    for value in ({"number": 1, "lines": []}, None, Point(1), Larger(1, []), 5):
        with pytest.raises(TypeError, match=r"Order, not "):
            codec.encode(KEY, value)
    with pytest.raises(TypeError, match=r"would not read this value again: Expected `int`, got `str`"):
        codec.encode(KEY, Order("one", []))  # type: ignore[arg-type]


@pytest.mark.parametrize("form", [Json, MessagePack])
def test_what_does_not_fit_the_type_is_not_read(form: Any) -> None:
    data = stored(form(), {"number": "one", "lines": []})
    with pytest.raises(CodecError, match=r"Expected `int`, got `str` - at `\$.number`") as caught:
        form(type=Order).decode(KEY, data)
    assert type(caught.value) is CodecError
    assert caught.value.key == KEY


def test_fields_may_come_and_go() -> None:
    """Schema change under a typed codec: defaults fill what an old value lacks, and what a new one lacks is dropped."""
    old = stored(Json(), {"x": 1.0, "colour": "red"})
    assert Json(type=Point).decode(KEY, old) == Point(1.0, 0.0)


def test_json_for_people() -> None:
    assert stored(Json(), {"b": 1, "a": ["ü", None]}) == '{"b":1,"a":["ü",null]}'.encode()
    assert stored(Json(indent=1, sort_keys=True), {"b": 1, "a": []}) == b'{\n "a": [],\n "b": 1\n}'
    assert stored(Json(indent=2, type=Point), Point(1.0)) == b'{\n  "x": 1.0,\n  "y": 0.0\n}'
    assert Json(object_hook=sorted).decode(KEY, b'{"b":1,"a":2}') == ["a", "b"]
    assert Json().decode(KEY, b'\xef\xbb\xbf{"a": 1}\n') == {"a": 1}


def test_tuples_come_back_as_lists() -> None:
    for codec in (Json(), MessagePack(), Plist(), Plist("binary")):
        assert codec.decode(KEY, stored(codec, (1, (2, 3)))) == [1, [2, 3]]


# --- Objects that contain themselves, and depth ------------------------------------------------------------


def loop() -> list[Any]:
    ring: list[Any] = [1]
    ring.append({"a": ring})
    return ring


@pytest.mark.parametrize("codec", [Json(), MessagePack(), Plist(), Plist("binary"), Marshal(2)], ids=shown)
def test_a_ring_is_refused(codec: Codec) -> None:
    with pytest.raises((ValueError, RecursionError)):
        codec.encode(KEY, loop())


def test_a_ring_that_comes_back() -> None:
    for codec in (Pickle(), Pickle(0), Pickle(buffers=True), Marshal()):
        back = codec.decode(KEY, stored(codec, loop()))
        assert back[1]["a"] is back


@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        (Json(), b"[" * 100_000 + b"]" * 100_000),
        (Json(), b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        (Json(type=Any), b"[" * 100_000),
        (MessagePack(), b"\x91" * 100_000 + b"\xc0"),
        (MessagePack(), b"\x81\xa1a" * 100_000 + b"\xc0"),
    ],
    ids=["list", "dict", "typed", "array", "map"],
)
def test_a_bomb_of_depth(codec: Codec, bomb: bytes) -> None:
    with pytest.raises(LimitError, match=r"key 'entry' cannot be read by \w+: it nests too deeply"):
        codec.decode(KEY, bomb)


def plist(body: str, doctype: str = "") -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>{doctype}<plist version="1.0">{body}</plist>'.encode()


LAUGHS = "<!DOCTYPE plist [<!ENTITY a '" + "ha" * 10 + "'>" + "".join(
    f"<!ENTITY {new} '{f'&{old};' * 10}'>" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
) + "]>"  # fmt: skip


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (plist("<string>&i;</string>", LAUGHS), "entity declarations"),
        (plist("<string>&x;</string>", "<!DOCTYPE plist [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>"), "entity"),
        (plist("<string>&x;</string>"), "undefined entity"),
        (plist("<integer>9e9</integer>"), "invalid literal"),
        (plist("<integer>" + "9" * 5000 + "</integer>"), "digits"),
        (plist("<dict><key>a</key></dict>"), "missing value"),
        (plist("<dict><string>a</string></dict>"), "unexpected element"),
        (plist("<key>a</key>"), "."),
        (plist("<date>1</date>"), "."),
        (plist("<date>2020-99-99T00:00:00Z</date>"), "."),
        (plist("<string>\x01</string>"), "not well-formed"),
        (plist(""), "."),
        (plist("<array>"), "mismatched tag"),
        (b"<?xml version='1.0'?><html/>", "."),
        (b"<?xml version='1.0' encoding='no-such'?><plist/>", "."),
        (b"bplist00", "."),
        (b"", "."),
    ],
)
def test_hostile_plists(data: bytes, said: str) -> None:
    with pytest.raises(CodecError, match=said) as caught:
        Plist().decode(KEY, data)
    assert caught.value.key == KEY
    assert "key 'entry' cannot be read by Plist" in str(caught.value)


def binary_plist(*objects: bytes) -> bytes:
    """A binary property list of these objects, the first of which is the value."""
    body, offsets = b"bplist00", []
    for thing in objects:
        offsets.append(len(body))
        body += thing
    trailer = bytes(6) + bytes((1, 1)) + b"".join(n.to_bytes(8, "big") for n in (len(objects), 0, len(body)))
    return body + bytes(offsets) + trailer


def test_a_binary_plist_inside_itself() -> None:
    assert Plist().decode(KEY, binary_plist(b"\xa2\x01\x01", b"\xa0")) == [[], []]  # twice is no ring
    for data in (
        binary_plist(b"\xa1\x00"),  # a list in itself
        binary_plist(b"\xa1\x01", b"\xa1\x00"),
        binary_plist(b"\xd1\x01\x00", b"\x51a"),  # a dict in itself
        binary_plist(b"\xa2\x02\x01", b"\xd1\x02\x03", b"\x51a", b"\xa1\x01"),
    ):
        with pytest.raises(CodecError, match="inside itself"):
            Plist().decode(KEY, data)


def test_a_binary_plist_that_shares_is_not_gone_through_twice() -> None:
    """Each list holds the next one twice: 2^60 paths, 61 lists."""
    levels = 60
    value = Plist().decode(KEY, binary_plist(*(bytes((0xA2, n + 1, n + 1)) for n in range(levels)), b"\xa0"))
    for _ in range(levels):
        assert value[0] is value[1]
        value = value[0]


# --- The wrong codec ---------------------------------------------------------------------------------------

EXAMPLE = {"name": "apples", "counts": [1, 2, 300]}
WRITERS = {
    "Pickle": [Pickle(n) for n in range(6)],
    "Json": [Json(), Json(indent=2)],
    "Plist": [Plist(), Plist("binary")],
    "MessagePack": [MessagePack()],
    "Marshal": [Marshal(), Marshal(2)],
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("reader", WRITERS)
def test_the_wrong_codec_is_named(reader: str, writer: str) -> None:
    for source in WRITERS[writer]:
        data = stored(source, EXAMPLE)
        for codec in WRITERS[reader]:
            if reader == writer:
                assert codec.decode(KEY, data) == EXAMPLE
                continue
            with pytest.raises(
                WrongCodecError, match=rf"'entry' cannot be read by {reader}.*look like {writer}"
            ) as caught:
                codec.decode(KEY, data)
            assert caught.value.looks_like == writer
            assert caught.value.key == KEY
            assert caught.value.__cause__ is not None


@pytest.mark.parametrize("codec", [Pickle(), Json(), MessagePack(), Plist(), Marshal()], ids=shown)
def test_no_bytes_at_all(codec: Codec) -> None:
    with pytest.raises(CodecError, match="damaged, or was written by another codec") as caught:
        codec.decode(KEY, b"")
    assert type(caught.value) is CodecError


def test_plain_text_is_told_apart() -> None:
    with pytest.raises(WrongCodecError) as caught:
        MessagePack().decode(KEY, b"just a line of text\n")
    assert caught.value.looks_like == "text"
    with pytest.raises(CodecError) as other:  # a JSON that is damaged is text as well
        Json().decode(KEY, b'{"a": 1')
    assert type(other.value) is CodecError


def test_what_hutch_never_wrote() -> None:
    """Marshal stops at the end of its object; a single byte of its own would hide whatever stands behind it."""
    for data in (b"No, this is text", b"F1.5\n.", marshal.dumps(None) + b"x"):
        with pytest.raises(CodecError):
            Marshal().decode(KEY, data)


# --- What codecs share -------------------------------------------------------------------------------------


class Mine(Codec):
    """A codec of somebody else's, with nothing but what it must have."""

    name = "Mine"


def test_a_codec_of_your_own() -> None:
    for call in (lambda: Mine().encode(KEY, 1), lambda: Mine().decode(KEY, b"")):
        with pytest.raises(NotImplementedError):
            call()
    assert not Mine().wants_view


@pytest.mark.parametrize(
    ("key", "shown"), [(b"a b", "'a b'"), ("ü".encode(), "'ü'"), (b"\xff\0", r"b'\xff\x00'"), (b"", "''")]
)
def test_keys_in_messages(key: bytes, shown: str) -> None:
    assert show_key(key) == shown
    assert f"key {shown} cannot" in str(refuse(Mine(), key, b"\xff", "it is odd"))


def test_refusals() -> None:
    error = refuse(Mine(), KEY, b"\xff\xff", "it is odd", "do not")
    assert type(error) is CodecError
    assert str(error) == "the value of key 'entry' cannot be read by Mine: it is odd; do not"
    assert "ValueError: x;" in str(refuse(Mine(), KEY, b"\xff\xff", ValueError("x")))
    assert "cannot be read by Mine: EOFError;" in str(refuse(Mine(), KEY, b"\xff\xff", EOFError()))
    assert type(refuse(Mine(), KEY, b"[1]", RecursionError())) is LimitError
    wrong = refuse(Mine(), KEY, b"[1]", "it is odd", "do not")
    assert isinstance(wrong, WrongCodecError)
    assert wrong.looks_like == "Json"
    assert str(missing_extra("Json(type=...)", "msgspec", "msgspec")).endswith("pip install 'hutch[msgspec]'")


@pytest.mark.parametrize("make", [MessagePack, lambda: Json(type=int)], ids=["MessagePack", "Json"])
def test_without_msgspec(monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    for name in ("msgspec", "msgspec.json", "msgspec.msgpack"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"pip install 'hutch\[msgspec\]'"):
        make()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Plist("json"), "'xml' and 'binary'"),
        (lambda: Marshal(99), "versions of marshal"),
        (lambda: Marshal(-1), "versions of marshal"),
        (lambda: Pickle(6), "0 to 5, not 6"),
        (lambda: Pickle(-1), "0 to 5, not -1"),
        (lambda: Pickle(4, buffers=True), "protocol 4 has no buffers"),
        (lambda: Json(type=int, object_hook=dict), "leave out object_hook"),
        (lambda: Json(type=int, allow_nan=True), "leave out object_hook and allow_nan"),
    ],
)
def test_options_that_cannot_be(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Pickle("4"),  # type: ignore[arg-type]
        lambda: Pickle(True),
        lambda: Pickle(persistent_id=3),  # type: ignore[arg-type]
        lambda: Pickle(reducer_override={}),  # type: ignore[arg-type]
        lambda: Pickle(persistent_load="x"),  # type: ignore[arg-type]
        lambda: Pickle(renames={3: "x"}),  # type: ignore[dict-item]
        lambda: MessagePack(type=3),
    ],
)
def test_options_of_the_wrong_kind(make: Any) -> None:
    with pytest.raises(TypeError):
        make()


def test_pieces() -> None:
    pieces = Pieces([b"ab", memoryview(b"cd"), b""])
    assert len(pieces) == pieces.size_bytes == 4
    assert bytes(pieces) == joined(pieces) == joined(memoryview(b"abcd")) == b"abcd"


def test_names_of_the_package() -> None:
    assert set(hutch.codecs.__all__) <= set(dir(hutch.codecs))
    with pytest.raises(AttributeError, match=r"'hutch.codecs' has no attribute 'Yaml'"):
        hutch.codecs.Yaml  # type: ignore[attr-defined]  # noqa: B018


@example(b"")
@quick
@given(st.binary(max_size=60))
def test_decoders_raise_only_hutchs_errors(data: bytes) -> None:
    for codec in (Json(), Json(type=Order), MessagePack(), MessagePack(Order), Plist()):
        for prefix in (b"", b"bplist00", b"<?xml?><plist>"):
            try:
                codec.decode(KEY, prefix + data)
            except CodecError as problem:
                assert problem.key == KEY
