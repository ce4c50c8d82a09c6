"""What SafePickle unpickles unless it is told more: types that are data, and what each of them may be made of.

A type that is harmless to have may be harmful to call: ``bytearray(10**12)`` takes a terabyte, ``set(range(10**12))``
as well, ``Fraction('1e999999999')`` computes for ever. So an entry has a rule for the arguments, which looks at the
notes of `hutch.codecs.notes` before anything is made. The functions that pickles of data need (of `copyreg`,
`_codecs`, numpy) are not handed out at all: a stand-in does the one thing that they are needed for.
"""

from __future__ import annotations

from types import ModuleType

from hutch.codecs import rules
from hutch.codecs.hopeless import successor
from hutch.codecs.notes import ATOMIC, DECIMAL, LONG, NUMBER, OPEN, PYTHON, RECURSES, SORTS, VAST
from hutch.codecs.standins import array_of, encode, reconstruct, zone_method
from hutch.errors import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.codecs.opcodes import Global
    from hutch.codecs.rules import Rule

__all__ = [
    "DATA",
    "FLAGS",
    "GETATTR",
    "RECONSTRUCTOR",
    "UUID",
    "WEIGHTS",
    "ZONE",
    "Entry",
    "array_entry",
    "successor",
    "zone_entry",
]

GETATTR = ("builtins", "getattr")
RECONSTRUCTOR = ("copyreg", "_reconstructor")
UUID = ("uuid", "UUID")
ZONE = ("zoneinfo", "ZoneInfo._unpickle")  # only `getattr` as pickles of time zones use it leads here


class Entry:
    """One class or function that a pickle may name.

    Attributes:
        where: module and qualified name, as this Python has them.
        rule: which arguments it may be called with.
        builds: which states BUILD may set of what it has made.
        bare: whether it may be a value itself, or only be called.
        newobj: whether NEWOBJ, which calls ``__new__`` only, may make one.
        makes: what it makes objects of, if not of itself.
    """

    __slots__ = ("_marks", "_thing", "bare", "builds", "makes", "newobj", "rule", "where")

    def __init__(
        self,
        where: Global,
        rule: Rule,
        *,
        builds: Rule | None = None,
        bare: bool = True,
        newobj: bool = False,
        makes: Global | None = None,
        thing: Any = None,
    ) -> None:
        self.where = where
        self.rule = rule
        self.builds = rules.never if builds is None else builds
        self.bare = bare
        self.newobj = newobj
        self.makes = where if makes is None else makes
        self._thing = thing
        self._marks: tuple[int, int, int] | None = None

    @property
    def is_free(self) -> bool:
        """Whether it may be called with what is flat, and what it makes be hashed: `hutch.codecs.glance` asks."""
        return self.where in _FREE

    @property
    def is_quick(self) -> bool:
        """Whether what it makes is hashed and compared about as quickly as text."""
        return not self.marks[2]

    @property
    def takes_state(self) -> bool:
        """Whether it may be called with nothing, given any dict as its state, and what it makes be hashed."""
        return False

    @property
    def has_no_state(self) -> bool:
        """Whether what it makes takes no dict as its state, nor does any harm with one."""
        return self.where in _STATELESS

    @property
    def marks(self) -> tuple[int, int, int]:
        """What `hutch.codecs.notes` calls `own`, `flags` and `weight` of what it makes."""
        if self._marks is None:
            self._marks = self._own(), self._flags(), self._weight()
        return self._marks

    def _own(self) -> int:
        own = NUMBER if FLAGS.get(self.where, 0) & (LONG | DECIMAL) else 0
        own |= PYTHON if self.where in _CONVERTED else 0
        return own | (ATOMIC if self.where in _NO_KEYS else 0) | (RECURSES if self.where in _RECURSING else 0)

    def _flags(self) -> int:
        is_open = self.builds is not rules.never or any(self.where in some for some in _FILLED.values())
        return FLAGS.get(self.where, 0) | (OPEN if is_open else 0)

    def _weight(self) -> int:
        return WEIGHTS.get(self.where, 0)

    @property
    def is_tuple(self) -> bool:
        """Whether what it makes is a tuple."""
        return False

    @property
    def sets_state(self) -> bool:
        """Whether what it makes has a method for that: then a state may be anything."""
        return False

    def takes_names(self) -> bool:
        """Whether it may be called with keyword arguments."""
        return False

    def may_fill(self, opcode: str, items: list[Any]) -> bool:
        """Whether APPENDS, ADDITEMS or SETITEMS may put these into what it has made."""
        return self.where in _FILLED[opcode]

    @property
    def is_callable(self) -> bool:
        """Whether it may be called with anything, however much that shares, while nothing that it makes is hashed."""
        return self.where in _CALM

    @property
    def begins_empty(self) -> bool:
        """Whether it may be called with nothing, and filled then, while what it makes cannot be hashed."""
        return self.where in _EMPTY

    @property
    def has_members(self) -> bool:
        """Whether it is an enum that has members, so that no call of it makes another one; they hash at once."""
        return False

    @property
    def is_row(self) -> bool:
        """Whether it is a named tuple, or another one that hashes as tuples do."""
        return False

    @property
    def is_dict(self) -> bool:
        """Whether a dict can be made with it, or values of one, from nothing, a dict, or a class."""
        return self.where in _DICTS

    @property
    def thing(self) -> Any:
        """The class itself, or what stands in for a function. Imports its module the first time."""
        if self._thing is None:
            from importlib import import_module

            found: Any = import_module(self.where[0])
            for part in self.where[1].split("."):
                found = getattr(found, part)
                if isinstance(found, ModuleType):  # a way round what is refused by name
                    raise CodecError(f"refers to {'.'.join(self.where)}, which leads through a module")
            self._check(found)
            self._thing = found
        return self._thing

    def _check(self, thing: Any) -> None:
        """Refuse what turns out to be something else than its name says."""


# What does not go into what it is called with, whatever that is: it takes it, or refuses it without a look inside.
_CALM = frozenset(
    [("datetime", name) for name in ("date", "time", "datetime", "timedelta", "timezone")]
    + [("builtins", "complex"), ("builtins", "slice")]
)
_SLICE = frozenset([("builtins", "slice")])  # SETITEM with one puts in all of something
_ADDRESSES, _NETWORKS = (
    frozenset(("ipaddress", f"{family}{kind}") for family in ("IPv4", "IPv6") for kind in kinds)
    for kinds in (["Address"], ["Network", "Interface"])
)
_PATHS = frozenset(("pathlib", name) for name in ("PurePath", "PurePosixPath", "PureWindowsPath"))
# Some of these go over it, as often as it is reached: text of it is made, or a path of paths.
_STATELESS = (_CALM - _SLICE) | {("decimal", "Decimal")} | _ADDRESSES | _PATHS
# What `hutch.codecs.notes` calls `flags`, of what is made of these.
FLAGS = {
    ("builtins", "int"): LONG,
    ("fractions", "Fraction"): LONG,
    ("decimal", "Decimal"): DECIMAL,
    ("builtins", "range"): VAST,
    ("ipaddress", "IPv4Network"): VAST,
    ("ipaddress", "IPv6Network"): VAST,
    ("collections", "Counter"): SORTS,
}
_FREE = _STATELESS | _NETWORKS
_INTERFACES = frozenset((module, name) for module, name in _NETWORKS if name.endswith("Interface"))
# Python code hashes and compares these, or numbers are converted before that: what it takes more than others do.
WEIGHTS = {
    ("decimal", "Decimal"): 8,
    ("fractions", "Fraction"): 32,
    **dict.fromkeys(_PATHS, 16),
    **dict.fromkeys(_ADDRESSES | _NETWORKS, 32),
    **dict.fromkeys(_INTERFACES, 96),
}
_CONVERTED = frozenset([UUID, ("datetime", "datetime"), ("datetime", "time")])

_DICTS = frozenset(
    [("collections", name) for name in ("Counter", "OrderedDict", "defaultdict")]
    + [("builtins", name) for name in ("dict", "float", "int", "list", "set")]
)

_FILLED = {
    "APPENDS": frozenset([("collections", "deque")]),
    "ADDITEMS": frozenset(),
    "SETITEMS": frozenset(("collections", name) for name in ("Counter", "OrderedDict", "defaultdict")),
}
_EMPTY = frozenset([("collections", "OrderedDict"), ("collections", "deque")])
_RECURSING = frozenset([("collections", "deque"), ("collections", "defaultdict")]) | _SLICE
_NO_KEYS = frozenset(
    [("collections", name) for name in ("Counter", "OrderedDict", "defaultdict", "deque")]
) | frozenset([("builtins", "bytearray"), ("builtins", "set"), UUID])


def _entries() -> dict[Global, Entry]:
    table: dict[Global, Entry] = {}

    def add(module: str, names: str, rule: Rule, **options: Any) -> None:
        for name in names.split():
            table[module, name] = Entry((module, name), rule, **options)

    # The factory of a defaultdict, an `int` in a list.
    add("builtins", "int float bool str list dict tuple", rules.never)
    add("builtins", "object", rules.nothing)
    add("builtins", "Ellipsis NotImplemented", rules.never)
    add("builtins", "set frozenset", rules.elements)
    add("builtins", "bytes", rules.nothing)
    add("builtins", "bytearray", rules.byte_array)
    add("builtins", "complex slice", rules.anything)
    add("builtins", "range", rules.integers)
    add("datetime", "date time datetime timedelta timezone", rules.anything)
    add("zoneinfo", "ZoneInfo", rules.never)
    add(*GETATTR, rules.getattr_of_zone, bare=False, thing=zone_method)
    add("decimal", "Decimal", rules.decimal)
    add("fractions", "Fraction", rules.fraction)
    add(*UUID, rules.nothing, builds=rules.number_of_uuid, newobj=True)
    add("uuid", "SafeUUID", rules.one)
    add("collections", "OrderedDict", rules.elements, builds=rules.a_dict)
    add("collections", "Counter", rules.elements)
    add("collections", "deque", rules.deque)
    add("collections", "defaultdict", rules.defaultdict)
    add("pathlib", "PurePath PurePosixPath PureWindowsPath", rules.texts)
    for family in ("IPv4", "IPv6"):
        add("ipaddress", f"{family}Address {family}Network {family}Interface", rules.address)
    add("_codecs", "encode", rules.latin1, bare=False, thing=encode)
    add(*RECONSTRUCTOR, rules.three, bare=False, thing=reconstruct)
    return table


DATA = _entries()


array_entry = Entry(
    ("array", "_array_reconstructor"), rules.array_of, bare=False, makes=("array", "array"), thing=array_of
)
"""What protocols 3 to 5 take to make an `array.array`, if that is allowed."""


zone_entry = Entry(ZONE, rules.zone, bare=False)
