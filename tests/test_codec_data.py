"""Data comes back, however large it is, and however much of it is there twice: all limits are far from it."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import fractions
import pickle
import uuid
import zoneinfo
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import pytest

import attacks
from hutch.codecs import SafePickle

KEY = b"key"


class Position(NamedTuple):
    """Hashed by what it holds."""

    x: Any
    y: Any


@dataclass(frozen=True)
class Spot:
    """Likewise."""

    x: int
    y: int


class Cell:
    """Hashed as itself."""

    def __init__(self, place: Any) -> None:
        self.place = place
        self.neighbours: list[Cell] = []


class Named:
    """Hashed by its name. It knows who holds it, and what it holds."""

    def __init__(self, name: str, parent: Named | None) -> None:
        self.name, self.parent, self.children = name, parent, []  # type: ignore[var-annotated]
        if parent is not None:
            parent.children.append(self)

    def __hash__(self) -> int:
        return hash(self.name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Named) and other.name == self.name


class Kind(enum.Enum):
    """Values that take a call to make."""

    SPAN = dt.timedelta(days=1)
    LIST = [1, 2]  # noqa: RUF012
    PRICE = decimal.Decimal("1.5")
    NAMES = frozenset(["a"])


class Job:
    """Its state is a pair, of which one part may be large, and that of others, too."""

    def __init__(self, options: Any, number: int) -> None:
        self.options, self.number = options, number

    def __getstate__(self) -> tuple[Any, int]:
        return self.options, self.number

    def __setstate__(self, state: tuple[Any, int]) -> None:
        self.options, self.number = state


class Failure(Exception):
    """It knows where it came from."""

    def __init__(self, message: str, context: Any) -> None:
        super().__init__(message, context)
        self.context = context


class Row(tuple[Any, ...]):
    """A subclass."""

    __slots__ = ()


class Point:
    """Its state is a named tuple."""

    def __init__(self, x: int, y: int) -> None:
        self.x, self.y = x, y

    def __getstate__(self) -> Position:
        return Position(self.x, self.y)

    def __setstate__(self, state: Position) -> None:
        self.x, self.y = state


CODEC = SafePickle([Position, Spot, Cell, Named, Kind, Point, Job, Failure, Row, ValueError, attacks.Items])


def of_every_protocol(value: Any, codec: SafePickle = None) -> list[Any]:  # type: ignore[assignment]
    """What comes back of it, by each protocol; of those that are told by a walk, once more."""
    codec = codec or CODEC
    return [codec.decode(KEY, pickle.dumps(value, protocol)) for protocol in range(6) for _ in range(2)]


def test_a_grid_of_cells_that_know_their_neighbours_comes_back() -> None:
    for kind in (Position, Spot):
        grid = {kind(x, y): Cell(kind(x, y)) for x in range(5) for y in range(5)}
        for place, cell in grid.items():
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                if (other := grid.get(kind(place.x + dx, place.y + dy))) is not None:
                    cell.neighbours.append(other)
        for found in of_every_protocol(grid):
            assert found.keys() == grid.keys()
            assert found[kind(2, 3)].neighbours[0] is found[kind(3, 3)]


def test_trees_whose_nodes_are_hashed_by_name_are_keys() -> None:
    root = Named("root", None)
    nodes = {root: 0, **{Named(f"node {number}", root): number for number in range(1, 30)}}
    for found in of_every_protocol([root, nodes]):
        assert found[1] == nodes
        assert all(child.parent is found[0] for child in found[0].children)


def test_objects_that_are_hashed_as_themselves_may_share_much() -> None:
    options = {f"option {number}": {number} for number in range(2000)}
    keys = {Cell(options): number for number in range(2000)}
    for found in of_every_protocol(keys):
        assert sorted(found.values()) == list(range(2000))
    node = Cell(None)
    for _ in range(60):
        node = Cell((node, node))
    for found in of_every_protocol({node}):
        assert len(found) == 1


def test_copies_are_counted_by_what_is_copied() -> None:
    words = [tuple(f"part {n} {m}" for m in range(10)) for n in range(300)]
    values: list[Any] = [
        [collections.Counter(words[n : n + 60]) for n in range(300)],
        [set(words[n : n + 60]) for n in range(300)],
        [frozenset(words[n : n + 60]) for n in range(300)],
        [collections.OrderedDict.fromkeys(words[n : n + 60]) for n in range(300)],
    ]
    for value in values:
        for found in of_every_protocol(value):
            assert found == value
    tree = attacks.Items([])
    for _ in range(200):
        tree = attacks.Items([tree, 1])
    for found in of_every_protocol(tree):
        assert found == tree


def test_named_tuples_share_long_text() -> None:
    for size in (300, 3000):
        rows = [Position("x" * size, number) for number in range(3000)]
        for found in of_every_protocol(rows):
            assert found == rows


def test_enums_with_values_of_any_kind_come_back_behind_what_is_filled_late() -> None:
    root = Named("root", None)
    Named("child", root)
    value = [root, *Kind, list(Kind)]
    for found in of_every_protocol(value):
        assert found[1:] == value[1:]


@pytest.mark.parametrize("protocol", range(6))
def test_many_that_hold_who_holds_them_come_back(protocol: int) -> None:
    shelves: collections.defaultdict[Any, Any] = collections.defaultdict(list)
    for number in range(2000):
        shelves[number] = collections.defaultdict(list, {"parent": shelves})
    found = CODEC.decode(KEY, pickle.dumps(shelves, protocol))
    assert all(found[number]["parent"] is found for number in range(2000))
    queue: collections.deque[Any] = collections.deque()
    queue.extend(collections.deque([queue]) for _ in range(2000))
    again = CODEC.decode(KEY, pickle.dumps(queue, protocol))
    assert all(other[0] is again for other in again)
    rows: list[Any] = []
    rows.extend([rows] for _ in range(2000))
    third = CODEC.decode(KEY, pickle.dumps(rows, protocol))
    assert all(row[0] is third for row in third)


def test_long_numbers_come_back_beside_decimals() -> None:
    number = 7**30_000
    values: list[Any] = [
        [number, decimal.Decimal(1), {("a", n): 1 for n in range(50)}],
        [number, "Decimal", {dt.date(2024, 1, n): n for n in range(1, 30)}],
        {decimal.Decimal(n): 1 << 2048 for n in range(30)},
        {(1 << 4096) + n: decimal.Decimal(n) for n in range(30)},
        fractions.Fraction(3**140_000, 2**200_000),
    ]
    for value in values:
        for protocol in (2, 3, 4, 5):
            assert CODEC.decode(KEY, pickle.dumps(value, protocol)) == value


def test_a_named_tuple_may_be_a_state() -> None:
    value = Point(1, 2)
    for found in of_every_protocol(value):
        assert (found.x, found.y) == (1, 2)


class Many(list[Any]):
    """A subclass, whose items are put in one by one."""

    def __reduce__(self) -> tuple[type[Self], tuple[()], None, Any]:
        return type(self), (), None, iter(self)


LARGE = {
    "a large counter": collections.Counter(range(100_000)),
    "large counters": [collections.Counter({f"word {m}": m for m in range(n)}) for n in range(300)],
    "a large set": set(range(100_000)),
    "frozensets": [frozenset(range(n)) for n in range(300)],
    "queues": [collections.deque(range(n), maxlen=500) for n in range(300)],
    "all time zones": [zoneinfo.ZoneInfo(name) for name in sorted(zoneinfo.available_timezones())],
    "moments of a few zones": [
        dt.datetime(2024, 1, 1, tzinfo=zoneinfo.ZoneInfo(("Europe/Berlin", "Asia/Tokyo")[n % 2])) for n in range(2000)
    ],
    "fractions": [fractions.Fraction(n, 7**n) for n in range(500)],
    "decimals": {decimal.Decimal(n) ** 9: n for n in range(2000)},
    "long ints": {3**n: [5**n, (7**n, n)] for n in range(0, 4000, 40)},
    "keys of a signature": {"n": (1 << 4096) - 3, "d": (1 << 4095) - 1, **{(n, "a"): n for n in range(5000)}},
    "uuids": {uuid.UUID(int=n**9 % (1 << 128)): n for n in range(5000)},
    "ranges": [range(n) for n in range(2000)],
    "texts": ["x" * 10_000] * 2000,
}


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("name", LARGE)
def test_large_data_comes_back(name: str, protocol: int) -> None:
    value: Any = LARGE[name]
    assert SafePickle(protocol=protocol).decode(KEY, SafePickle(protocol=protocol).encode(KEY, value)) == value


def test_what_is_held_by_many_comes_back() -> None:
    """No copy is made of it, whoever holds it."""
    options = {f"option {number}": number for number in range(1000)}
    long = "x" * 20_000
    for found in of_every_protocol([Job(options, number) for number in range(1000)]):
        assert all(job.options is found[0].options for job in found)
        assert [job.number for job in found] == list(range(1000))
    failures = [[ValueError("m", options), ValueError(long), Failure("m", options)] for _ in range(300)]
    for found in of_every_protocol(failures):
        assert all(one.args == ("m", options) and two.args == (long,) for one, two, _ in found)
        assert all(three.context is found[0][2].context for _, _, three in found)
    numbers = list(range(3000))
    for found in of_every_protocol([Row((number, numbers)) for number in range(1000)]):
        assert all(row[1] is found[0][1] for row in found)


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_all_kinds_come_back(protocol: int) -> None:
    np = pytest.importorskip("numpy")
    codec = SafePickle(numpy=True)
    pictures = np.arange(32 * 32 * 3, dtype="u1").reshape(32, 32, 3)
    arrays = [
        np.moveaxis(pictures, -1, 0),
        np.arange(60.0).reshape(3, 4, 5).transpose(2, 0, 1),
        np.zeros((2, 0, 3)).transpose(2, 0, 1),
        np.zeros(0),
        np.array(["", "abc"]),
        np.asfortranarray(pictures),
    ]
    for array in arrays:
        found = codec.decode(KEY, pickle.dumps(array, protocol))
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert (found == array).all()
        assert found.flags.writeable
    texts = [*np.array(["", "abc"]), *np.array([b"", b"abc"])]
    again = codec.decode(KEY, pickle.dumps(texts, protocol))
    assert again == texts
    assert list(map(type, again)) == list(map(type, texts))
