"""Templates of pickles: what looks like what a walk has let through is let through, and nothing else."""

from __future__ import annotations

import collections
import pickle
import pickletools
import random
import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

import attacks
from hutch.codecs import SafePickle, accounts, opcodes, templates
from hutch.codecs.notes import Made
from hutch.codecs.opcodes import Walk
from hutch.codecs.templates import MAX_TEMPLATE_BYTES, Templates
from hutch.errors import CodecError, ForbiddenGlobalError, LimitError
from test_codec_safe import MINE, Colour, Named, Point, Recipe, Row, Stack, Table

KEY = b"key"
ALLOWED = [*MINE, Named]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An attack that succeeds leaves something here."""
    monkeypatch.chdir(tmp_path)
    attacks.FIRED.clear()
    yield
    assert not attacks.FIRED
    assert not list(tmp_path.iterdir())


def word(chance: random.Random) -> str:
    return "".join(chance.choices("abcdefghij", k=chance.randint(3, 12)))


def number(chance: random.Random) -> int:
    return chance.randint(256, 65535)


def moment(chance: random.Random, zone: Any = UTC) -> datetime:
    return datetime(2024, 1, 1, tzinfo=zone) + timedelta(minutes=chance.randrange(500_000))


def odd_recipe(chance: random.Random) -> Any:
    return Recipe(word(chance), collections.Counter({word(chance): number(chance)}))  # type: ignore[arg-type]


def of_everything(chance: random.Random) -> Any:
    return {UUID(int=chance.getrandbits(128))}, ip_address("::1"), PurePosixPath(word(chance), "x"), [b"b"]


Shape = Callable[[random.Random], Any]
SHAPES: dict[str, tuple[Shape, int]] = {
    "an object with a Counter": (odd_recipe, 4),
    "moments of two zones": (lambda c: {"a": moment(c), "b": moment(c, timezone(timedelta(hours=c.randint(1, 9))))}, 4),
    "a moment of a ZoneInfo": (lambda c: {"at": moment(c, ZoneInfo("Europe/Berlin"))}, 4),
    "an object with slots": (lambda c: Point(number(c), word(c)), 5),
    "objects with slots": (lambda c: [Point(number(c), word(c)) for _ in range(4)], 4),
    "a set": (lambda c: {"set": {word(c), word(c)}}, 3),
    "a moment": (lambda c: [moment(c), {word(c)}], 3),
    "a fraction": (lambda c: Fraction(number(c), 3), 4),
    "a date in a tuple": (lambda c: {"k": (word(c), date(2024, 1, c.randint(1, 28)), {"z": number(c)})}, 4),
    "bytes of protocol 2": (lambda c: [{c.randbytes(9)}, Decimal(number(c))], 2),
    "subclasses": (lambda c: [Stack([word(c)]), Table(a=number(c)), Row(number(c), word(c)), {Colour.RED}], 2),
    "keyword arguments": (lambda c: [Named(size=number(c)), (Colour.BLUE, {word(c)})], 4),
    "addresses and paths": (of_everything, 4),
}


def pickles(name: str, count: int = 40) -> list[bytes]:
    make, protocol = SHAPES[name]
    chance = random.Random(name)
    return [pickle.dumps(make(chance), protocol) for _ in range(count)]


def outcome(codec: SafePickle, data: bytes) -> Any:
    """What comes out: "refused", or the type of the value and its repr."""
    try:
        found = codec.decode(KEY, data)
    except CodecError:
        return "refused"
    return type(found), shown(found)


def shown(value: Any) -> str:
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
    except Exception as problem:  # noqa: BLE001  # an object without all of its attributes
        return str(problem)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What has been gone over."""
    seen: list[bytes] = []
    run = Walk.run

    def counted(walk: Walk) -> None:
        seen.append(walk.data)
        run(walk)

    monkeypatch.setattr(Walk, "run", counted)
    return seen


@pytest.mark.parametrize("name", SHAPES)
def test_values_of_one_shape_need_few_walks(name: str, walks: list[bytes]) -> None:
    codec = SafePickle(ALLOWED)
    for data in pickles(name):
        assert shown(codec.decode(KEY, data)) == shown(pickle.loads(data))
    assert walks
    walks.clear()
    chance = random.Random(5)
    for data in (pickle.dumps(SHAPES[name][0](chance), SHAPES[name][1]) for _ in range(20)):
        assert shown(codec.decode(KEY, data)) == shown(pickle.loads(data))
    assert len(walks) < 20  # a number of another size, or a text that came before, makes another shape


NAMES = (b"datetime", b"collections", b"Counter", b"builtins", b"system", b"bytearray", b"getattr")
OPCODES = b"(.012NKabdehijlopqrstuR]}\x81\x85\x86\x87\x8c\x8f\x90\x91\x93\x94"


def mutant(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A pickle that is not quite the same."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        at = chance.randrange(len(changed))
        match chance.randrange(7):
            case 0:
                changed[at] = chance.randrange(256)
            case 1:
                del changed[at : at + chance.randrange(1, 4)]
            case 2:
                changed[at:at] = bytes((chance.choice(OPCODES),))
            case 3:
                other = chance.choice(others)
                start = chance.randrange(len(other))
                changed[at:at] = other[start : start + chance.randrange(20)]
            case 4:  # what has a size, longer or shorter
                changed[at] = (changed[at] + chance.choice((-1, 1, 3, 64))) & 255
            case 5:  # another name
                one, two = chance.choice(NAMES), chance.choice(NAMES)
                changed = bytearray(bytes(changed).replace(bytes((len(one),)) + one, bytes((len(two),)) + two))
            case 6:
                changed[at : at + 8] = chance.randbytes(8)
        if not changed:
            return b"."
    return bytes(changed)


@pytest.mark.parametrize("seed", range(4))
def test_a_codec_that_knows_templates_decides_as_one_that_knows_none(seed: int) -> None:
    chance = random.Random(seed)
    everything = [data for name in SHAPES for data in pickles(name, 5)]
    warm = {name: SafePickle(ALLOWED) for name in SHAPES}
    for name, codec in warm.items():
        for data in pickles(name):
            codec.decode(KEY, data)
        assert codec._templates.known, name
    known = 0
    for _ in range(1500):
        name = chance.choice(list(SHAPES))
        data = mutant(chance.choice(pickles(name, 5)), everything, chance)
        codec = warm[name]
        codec.decode(KEY, pickles(name, 1)[0])  # so that the next is looked at as one like it first
        known += data in codec._templates
        assert outcome(codec, data) == outcome(SafePickle(ALLOWED), data), data
    assert known > 100


@pytest.mark.parametrize("name", SHAPES)
def test_whatever_is_in_the_place_of_the_contents_passes_a_walk(name: str) -> None:
    """A codec that has let one through lets the others through; so must one that has seen none."""
    chance = random.Random(7)
    codec = SafePickle(ALLOWED)
    for data in pickles(name):
        codec.decode(KEY, data)
    tried = 0
    for data in pickles(name):
        if data not in codec._templates:
            continue
        for _ in range(20):
            other = bytearray()
            for piece in templates._pieces.finditer(data):
                if piece.start() < piece.start(1):
                    other += random_content(data[piece.start() - 1], chance)
                other += piece[1]
            tried += 1
            assert bytes(other) in codec._templates
            walk = Walk(other, SafePickle(ALLOWED), max_depth=1000, max_work=1 << 20, max_copied=1 << 20)
            walk.run()
            assert walk.end == len(other)
            assert walk.globals == opcodes.walk(data).globals
    assert tried


def opcodes_of(data: bytes) -> list[str]:
    return [opcode.name for opcode, _, _ in pickletools.genops(data)]


@pytest.mark.parametrize("seed", range(3))
def test_what_looks_the_same_has_the_same_opcodes(seed: int) -> None:
    """Whatever the sizes say: that a text is longer than a template knows, that it ends behind the pickle's end..."""
    chance = random.Random(seed)
    codec = SafePickle(ALLOWED)
    learned: dict[tuple[bytes, ...], list[str]] = {}
    start = [data for name in SHAPES for data in pickles(name, 8)]
    start += [b"\x80\x04}\x94" + text(b"k") + b"\x94h\x01}\x86s" + large + b"\x86." for large in LARGE]
    for data in start:
        codec.decode(KEY, data)
        if data in codec._templates:
            learned[tuple(templates.kept(data))] = opcodes_of(data)
    alike = 0
    for _ in range(15_000):
        data = chance.choice(start)
        pieces = list(templates._pieces.finditer(data))
        changed = bytearray()
        for piece in pieces:
            content = data[piece.start() : piece.start(1)]
            opcode = data[piece.start() - 1]
            if content and chance.random() < 0.3:
                content = random_content(opcode, chance)
                if opcode in b"\x8cC\x8aXB" and chance.random() < 0.2:
                    content = odd_size(opcode, chance) + content
                    content += b"." * chance.choice((0, 0, 300 - len(content), 800 - len(content)))
            changed += content + piece[1]
        other = bytes(changed)
        known = learned.get(tuple(templates.kept(other)))
        if known is not None:
            alike += 1
            try:
                assert opcodes_of(other) == known, other
            except UnicodeDecodeError:
                pass  # an unpickler refuses it likewise
            except ValueError as problem:
                pytest.fail(f"{other!r} is no pickle, but looks like one: {problem}")
    assert alike > 1000


LARGE = (b"X\5\0\0\0abcde" + b"J\1\0\0\0", b"B\1\0\0\0a" + b"J\1\0\0\0" + b"\x8c\1x\x8c\1y\x87")


def odd_size(opcode: int, chance: random.Random) -> bytes:
    """A size that is not that of what comes behind it, which may look like opcodes."""
    first = bytes((chance.choice(b"JKMGN)}.\x8cCXB\x95\x94\xff"),))
    if opcode in b"XB":
        return first + chance.choice((b"\1\0\0", b"\0\1\0", b"\0\0\1", b"\1\1\1", b"\0\0\x80"))
    return first


def random_content(opcode: int, chance: random.Random) -> bytes:
    if opcode in b"\x8cC\x8aXB":
        size = chance.choice((0, 1, 2, 10, 254, 255))
        content = bytes(chance.choices(b"abc.\n\0(R", k=size))
        return bytes((size,)) + (b"\0\0\0" if opcode in b"XB" else b"") + content
    if opcode == 0x95:
        return bytes(8)
    return chance.randbytes({0x4B: 1, 0x4D: 2, 0x4A: 4, 0x47: 8}[opcode])


# What must not be learned.


def learned(data: bytes, codec: SafePickle | None = None) -> bool:
    codec = SafePickle(ALLOWED) if codec is None else codec
    codec.decode(KEY, data)
    return data in codec._templates


def text(content: bytes) -> bytes:
    return b"\x8c" + bytes((len(content),)) + content


# No glance knows what begins with a tuple, in a dict, that holds a dict and a text for the second time.
ODD = b"\x80\x04}\x94" + text(b"k") + b"\x94h\x01}\x86s"


def test_something_odd_is_learned() -> None:
    assert learned(ODD + b".")


def test_a_name_that_comes_out_of_the_memo_is_looked_into() -> None:
    names = b"]\x94(" + text(b"collections") + b"\x94" + text(b"OrderedDict") + b"\x94e"
    harmless = ODD + names + b"h\x03h\x04\x93)R\x87."
    assert not learned(harmless)
    codec = SafePickle(ALLOWED)
    codec.decode(KEY, harmless)
    evil = harmless.replace(text(b"collections"), text(b"os")).replace(text(b"OrderedDict"), text(b"system"))
    with pytest.raises(ForbiddenGlobalError, match=r"os\.system"):
        codec.decode(KEY, evil)


@pytest.mark.parametrize("evil", attacks.OUT_OF_PLACE, ids=attacks.OUT_OF_PLACE)
def test_a_text_that_is_too_long_for_a_template_hides_no_opcodes(evil: str) -> None:
    """Its size is an opcode that swallows what the text begins with: who takes it for empty goes on inside of it."""
    size = b"J\1\0\0"  # 330
    inside = b"\0" + text(b"u" * 255) + b"\x8c\xff"
    behind = (b"v" * (int.from_bytes(size, "little") - len(inside)) + attacks.OUT_OF_PLACE[evil]).ljust(255, b".")
    harmless = ODD + b"(B" + b"\1\0\0\0a" + b"J\1\0\0\0" + text(b"x") + text(b"y") + b"l\x86."
    codec = SafePickle(ALLOWED)
    assert learned(harmless, codec)
    with pytest.raises(CodecError):
        codec.decode(KEY, ODD + b"(B" + size + inside + behind + b"l\x86.")
    assert not hasattr(Fraction, "evil")


class Curious:
    """Refuses a call with one text, and tells nobody which."""

    def named(self, walk: Walk, module: str, name: str) -> tuple[str, str]:
        return module, name

    def stored(self, walk: Walk, where: tuple[str, str]) -> None: ...

    def built(self, walk: Walk, target: Made, state: Any) -> None: ...

    def called(self, walk: Walk, function: Made, arguments: Any, result: Made, opcode: str) -> None:
        if any(walk.text(item) == "evil" for item in arguments.items):
            raise ForbiddenGlobalError("calls evil", module="m", name="n")


class Incurious(Curious):
    def called(self, walk: Walk, function: Made, arguments: Any, result: Made, opcode: str) -> None:
        assert all(walk.is_text(item) for item in arguments.items)


@pytest.mark.parametrize(("judge", "is_learned"), [(Curious(), False), (Incurious(), True)])
@pytest.mark.parametrize("content", [b"good", b""])
def test_text_that_a_judge_asks_for_is_looked_into(judge: Any, is_learned: bool, content: bytes) -> None:
    """Though it lets both of the others through that are tried."""
    data = b"\x80\x04cm\nn\n" + text(content) + b"\x85R."
    walk = Walk(data, judge)
    walk.run()
    known = Templates(1000)
    assert known.learn(data, walk, judge) == is_learned
    assert (data in known) == is_learned


def test_what_is_inside_of_a_text_is_no_opcode() -> None:
    """The regular expression takes what looks like a name for one; here that is not where the unpickler sees it."""
    data = b"\x80\x04" + text(b"ab\x94\x8c\x02cd\x94\x93K!") + b"."
    assert b"!" not in b"".join(piece[1] for piece in templates._pieces.finditer(data))
    walk = Walk(data)
    walk.run()
    assert not Templates(1000).learn(data, walk, Incurious())


def test_what_doubles_with_each_call_is_not_learned_of_a_short_text() -> None:
    path = text(b"builtins") + text(b"slice") + b"\x93\x94"

    def doubled(content: bytes) -> bytes:
        data = b"\x80\x04" + path + text(content) + b"\x94"
        for memo in range(1, 14):
            data += b"h\0h" + bytes((memo,)) + b"h" + bytes((memo,)) + b"\x86R\x94"
        return data + b"."

    codec = SafePickle(ALLOWED)
    data = doubled(b"x")
    walk = Walk(data, codec)
    walk.run()
    assert walk.end == len(data) <= MAX_TEMPLATE_BYTES
    assert not Templates(1000).learn(data, walk, codec)
    with pytest.raises(LimitError, match="copies"):
        Walk(doubled(b"x" * 255), codec, max_copied=accounts.most_copied(len(data))).run()


def test_what_could_nest_too_deep_is_not_learned() -> None:
    data = pickles("an object with slots", 1)[0]
    assert len(data) > 40
    assert learned(data)
    assert not learned(data, SafePickle(ALLOWED, max_depth=40))


def test_numpy_s_arrays_are_not_learned() -> None:
    numpy = pytest.importorskip("numpy")
    for value in (numpy.arange(3), numpy.float64(7), numpy.array(["a", "b"]), numpy.array(5)):
        for protocol in (2, 4, 5):
            assert not learned(pickle.dumps({"k": (value, {}), "l": {1}}, protocol), SafePickle(numpy=True))


def test_what_is_too_long_is_refused_whatever_it_looks_like() -> None:
    codec = SafePickle(ALLOWED, max_bytes=200)
    one, other = (pickle.dumps(Point(1, "x" * size), 4) for size in (20, 250))
    assert learned(one, codec)
    assert other in codec._templates
    with pytest.raises(LimitError, match="max_bytes"):
        codec.decode(KEY, other)


def odd(count: int, more: int = 0) -> bytes:
    return pickle.dumps({"k": ([None] * count, {1}, (2,) * more), "p": Point(1, 2)}, 3)


def test_shapes_that_never_come_again_are_not_learned_for_ever(walks: list[bytes]) -> None:
    codec = SafePickle(ALLOWED)
    for count in range(200):
        codec.decode(KEY, odd(count))
    assert len(codec._templates.known) < 40
    assert len(walks) < 200 + 2 * 40  # one each, and two more for those that were learned
    for _ in range(100):
        codec.decode(KEY, odd(3))
    assert learned(odd(300), codec)  # once some have been of use


def test_there_are_never_many() -> None:
    codec = SafePickle(ALLOWED)
    for count in range(600):
        for _ in range(3):
            codec.decode(KEY, odd(count % 150, count // 150))
        assert 0 < len(codec._templates.known) <= 256


def test_gadgets_in_the_place_of_what_is_known() -> None:
    """Each attack, by a codec that has seen harmless pickles that are called in the same ways."""
    for module, name, arguments in attacks.GADGETS:
        codec = SafePickle(attacks.CLASSES)
        for harmless in (("attacks", "Plain"), ("collections", "OrderedDict"), ("datetime", "timezone")):
            for _, data in attacks.calls_of(*harmless, arguments):
                outcome(codec, data)
        attacks.FIRED.clear()  # `Plain` may be called
        known = {(module, name), (module.replace("copy_reg", "copyreg").strip("_"), name)}
        known |= {(module.replace("__builtin__", "builtins"), name)}
        if known & set(codec._entries):
            continue
        for how, data in attacks.calls_of(module, name, arguments):
            with pytest.raises(CodecError):
                codec.decode(KEY, data)
            assert not attacks.FIRED, (module, name, how)


@pytest.mark.parametrize(
    "value", [moment(random.Random(1)), {"at": moment(random.Random(1)), "tags": ["a"]}, Row(1, "x")]
)
def test_what_takes_a_glance_long_is_remembered_too(value: Any, walks: list[bytes]) -> None:
    codec = SafePickle(ALLOWED)
    data = pickle.dumps(value, 4)
    assert codec.decode(KEY, data) == value
    assert len(walks) == 3
    assert data in codec._templates
    looks: list[bytes] = []
    codec._look = lambda key, seen: looks.append(seen)  # type: ignore[method-assign,assignment,return-value]
    assert codec.decode(KEY, data) == value
    assert not looks and len(walks) == 3


def test_it_is_not_learned_from_what_is_written(walks: list[bytes]) -> None:
    SafePickle(ALLOWED).encode(KEY, Row(1, "x"))
    assert not walks


def test_a_glance_does_not_go_on_learning_what_never_comes_again(walks: list[bytes]) -> None:
    codec = SafePickle(ALLOWED)
    for count in range(150):
        data = pickle.dumps([Row(number, "x") for number in range(count)][:80] + [None] * count, 4)
        assert codec.decode(KEY, data) == pickle.loads(data)
    assert len(walks) <= 3 * 40


def test_values_that_are_never_alike_are_not_learned_each_time_because_others_are() -> None:
    codec = SafePickle(allow=[Colour])
    alike = codec.encode(b"k", [(Colour.RED, (1,)), (Colour.RED, 2)])
    for number in range(200):
        items = [((Colour.RED, 1),) if number >> bit & 1 else (Colour.RED, (1,)) for bit in range(8)]
        codec.decode(b"k", codec.encode(b"k", items))
        for _ in range(10):
            codec.decode(b"k", alike)
    assert codec._templates.hits >= 1000
    assert codec._templates._made <= 100
