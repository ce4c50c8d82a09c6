"""What `benchmarks.codecs` measures: the values, and the codecs."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pydoc_data.topics import topics
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from hutch.codecs import (
    Codec,
    Compressed,
    Encrypted,
    Json,
    Marshal,
    MessagePack,
    Pickle,
    Plist,
    SafePickle,
    Signed,
)

SECRET = bytes(range(32))


@dataclass
class Reading:
    """The dataclass of the tables."""

    station: str
    at: float
    celsius: float
    sensors: list[int]
    good: bool = True


class State(Enum):
    """Of an order."""

    OPEN = "open"
    SENT = "sent"


@dataclass
class Order:
    """A dataclass of what else is data."""

    name: str
    at: datetime
    price: Decimal
    number: UUID
    state: State


class Place(NamedTuple):
    """A named tuple."""

    name: str
    x: float
    y: float
    seen: datetime


@dataclass(frozen=True, slots=True)
class Point:
    """An object with a state of its own."""

    x: int
    name: str


class Several(list[Any]):
    """Different values of one shape, which take turns."""


class Value(NamedTuple):
    """One column: a value, and what a typed codec calls it (None: it has no such type)."""

    name: str
    thing: Any
    type: Any


def values() -> list[Value]:
    """The same in every run, but for the text, which is that of this Python."""
    dice = random.Random(7)
    steps = np.random.default_rng(7).normal(size=131_072)
    return [
        Value(
            "small dict",
            {"name": "Ann Lee", "age": 34, "city": "Lyon", "score": 7.25, "tags": ["new", "vip"]},
            dict[str, str | int | float | list[str]],
        ),
        Value("10 kB text", "".join(topics[name] for name in sorted(topics))[:10_000], str),
        Value("1000 ints", [dice.randrange(1_000_000) for _ in range(1000)], list[int]),
        Value("1000 floats", [dice.random() for _ in range(1000)], list[float]),
        Value("dataclass", Reading("Lyon-3", 1714550400.0, 17.5, [3, 5, 8]), Reading),
        Value("1 MB array", np.round(np.cumsum(steps), 2), None),
    ]


def nested(count: int) -> list[dict[str, Any]]:
    """Records inside records: the value that SafePickle has most to look at in."""
    return [
        {"id": number, "name": f"name {number}", "at": {"x": number / 7, "y": -number}, "tags": ["a", f"t{number}"]}
        for number in range(count)
    ]


def of_classes(count: int) -> list[Value]:
    """Lists of objects, each of another kind that SafePickle looks at in another way."""
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)
    moments = [noon + timedelta(seconds=37 * number) for number in range(count)]
    lists: dict[str, list[Any]] = {
        "moments": moments,
        "records": [{"id": number, "at": at, "tags": ["a", f"t{number}"]} for number, at in enumerate(moments)],
        "orders": [
            Order(f"order {number}", at, Decimal(number) / 4, UUID(int=number << 90), list(State)[number % 2])
            for number, at in enumerate(moments)
        ],
        "named tuples": [Place(f"place {number}", number / 7, -number / 3, at) for number, at in enumerate(moments)],
        "counters": [Counter({f"word {word}": number + word for word in range(5)}) for number in range(count)],
    }
    return [Value(f"{count} {name}", things, None) for name, things in lists.items()]


def odd() -> list[Value]:
    """What only a walk over its opcodes can tell, the first time. Different ones, so that only the shape is known."""
    dice = random.Random(7)
    noon = datetime(2024, 5, 1, 12, tzinfo=UTC)

    def moment(zone: tzinfo) -> datetime:
        return noon.astimezone(zone) + timedelta(minutes=dice.randrange(9000))

    def word() -> str:
        return "".join(dice.choices("abcdefgh", k=dice.randint(3, 12)))

    far, berlin = timezone(timedelta(hours=9)), ZoneInfo("Europe/Berlin")
    shapes: dict[str, Callable[[], Any]] = {
        "an object with slots": lambda: Point(dice.randint(300, 60_000), word()),
        "an object with a Counter": lambda: Reading(word(), 1.5, dice.random(), Counter({word(): 7})),  # type: ignore[arg-type]
        "moments of two zones": lambda: {"at": moment(UTC), "there": moment(far)},
        "a moment of a ZoneInfo": lambda: {"at": moment(berlin), "name": word()},
        "a date in a tuple": lambda: {"row": (word(), date(2024, 5, dice.randint(1, 31)), {"x": dice.random()})},
        "a fraction": lambda: Fraction(dice.randint(300, 60_000), 7),
    }
    several = [Value(name, Several([make() for _ in range(100)]), None) for name, make in shapes.items()]
    for name in ("an object with slots", "a moment of a ZoneInfo", "a date in a tuple", "a fraction"):
        lists = [[shapes[name]() for _ in range(dice.randint(150, 250))] for _ in range(100)]
        several.append(Value(f"some 200 times {name}", Several(lists), None))
    return several


def safe_pickle() -> SafePickle:
    return SafePickle([Reading, Order, State, Place, Point], numpy=True)


# Each row: its name in the table, and what makes the codec for a column.
CODECS: dict[str, Callable[[Value], Codec]] = {
    "Pickle()": lambda value: Pickle(),
    "Pickle(buffers=True)": lambda value: Pickle(buffers=True),
    "SafePickle()": lambda value: safe_pickle(),
    "Json()": lambda value: Json(),
    "Json(type=...)": lambda value: Json(type=_type_of(value)),
    "MessagePack()": lambda value: MessagePack(),
    "MessagePack(type=...)": lambda value: MessagePack(_type_of(value)),
    "Marshal()": lambda value: Marshal(),
    'Plist("xml")': lambda value: Plist("xml"),
    'Plist("binary")': lambda value: Plist("binary"),
    'Compressed(Pickle(), "zlib")': lambda value: Compressed(Pickle(), "zlib"),
    'Compressed(Pickle(), "bz2")': lambda value: Compressed(Pickle(), "bz2"),
    'Compressed(Pickle(), "lzma")': lambda value: Compressed(Pickle(), "lzma"),
    'Compressed(Pickle(), "zstd")': lambda value: Compressed(Pickle(), "zstd"),
    'Compressed(Json(), "zstd")': lambda value: Compressed(Json(), "zstd"),
    "Signed(Pickle(), key)": lambda value: Signed(Pickle(), SECRET),
    "Signed(SafePickle(), key)": lambda value: Signed(safe_pickle(), SECRET),
    "Encrypted(Pickle(), key)": lambda value: Encrypted(Pickle(), SECRET),
    "Encrypted(Json(), key)": lambda value: Encrypted(Json(), SECRET),
    'Encrypted(Compressed(Pickle(), "zstd"), key)': lambda value: Encrypted(Compressed(Pickle(), "zstd"), SECRET),
}


def _type_of(value: Value) -> Any:
    if value.type is None:
        raise TypeError("there is no type for it")
    return value.type
