"""What SafePickle unpickles unless it is told more: types that are data, and what each of them may be made of.

A type that is harmless to have may be harmful to call: ``bytearray(10**12)`` takes a terabyte, ``set(range(10**12))``
as well, ``Fraction('1e999999999')`` computes for ever. So an entry has a rule for the arguments, which looks at the
notes of `hutch.codecs.notes` before anything is made. The functions that pickles of data need (of `copyreg`,
`_codecs`, numpy) are not handed out at all: a stand-in does the one thing that they are needed for.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum, EnumType
from types import MethodDescriptorType, ModuleType, WrapperDescriptorType

from hutch.codecs import rules
from hutch.codecs.hopeless import refusal_of, successor
from hutch.codecs.notes import ATOMIC, DECIMAL, HASHES_PARTS, LONG, NUMBER, OPEN, RECURSES, REFERS
from hutch.codecs.standins import encode, reconstruct, zone_method
from hutch.errors import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.codecs.opcodes import Global, Walk
    from hutch.codecs.rules import Rule

__all__ = [
    "DATA",
    "GETATTR",
    "RECONSTRUCTOR",
    "UUID",
    "ZONE",
    "Entry",
    "UserEntry",
    "rule_for",
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
        self._marks: tuple[int, int] | None = None

    @property
    def is_free(self) -> bool:
        """Whether it may be called with what is flat, and what it makes be hashed: `hutch.codecs.glance` asks."""
        return self.where in _FREE

    @property
    def takes_state(self) -> bool:
        """Whether it may be called with nothing, given any dict as its state, and what it makes be hashed."""
        return False

    @property
    def has_no_state(self) -> bool:
        """Whether what it makes takes no dict as its state, nor does any harm with one."""
        return self.where in _STATELESS

    @property
    def marks(self) -> tuple[int, int]:
        """What `hutch.codecs.notes` calls `own` and `flags` of what it makes."""
        if self._marks is None:
            self._marks = self._own(), self._flags()
        return self._marks

    def _own(self) -> int:
        own = NUMBER if self.where in _NUMBERS else 0
        return own | (ATOMIC if self.where in _NO_KEYS else 0) | (RECURSES if self.where in _RECURSING else 0)

    def _flags(self) -> int:
        is_open = self.builds is not rules.never or any(self.where in some for some in _FILLED.values())
        return _NUMBERS.get(self.where, 0) | (OPEN if is_open else 0)

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

    def may_fill(self, opcode: str) -> bool:
        """Whether APPENDS, ADDITEMS or SETITEMS may put more into what it has made."""
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


class UserEntry(Entry):
    """What a user has allowed: anything, but for what its builtin base or an enum forbids."""

    __slots__ = ("_known",)

    def __init__(self, where: Global, thing: Any = None) -> None:
        super().__init__(where, self._rule, builds=self._builds, newobj=True, thing=thing)
        self._known: Rule | None = None

    def _check(self, thing: Any) -> None:
        reason = refusal_of(thing)
        if reason is not None:
            raise CodecError(f"refers to {'.'.join(self.where)}, which is not to be allowed: {reason}")

    def _rule(self, walk: Walk, items: list[Any]) -> bool:
        if self._known is None:
            self._known = rule_for(self.thing)
        return self._known(walk, items)

    @property
    def is_free(self) -> bool:
        return self.is_callable and not self.hashes_parts

    @property
    def takes_state(self) -> bool:
        return self.is_free

    @property
    def has_no_state(self) -> bool:
        return self.is_free or self.has_members or self.is_row

    @property
    def hashes_parts(self) -> bool:
        """Whether what it makes may be hashed by what it is filled with later."""
        hashing: Any = getattr(self.thing, "__hash__", None)
        return hashing not in (None, object.__hash__) and not isinstance(self.thing, EnumType)

    def _own(self) -> int:
        recurses = not _is_of_python(self.thing)
        copies = rule_for(self.thing) is not rules.anything
        own = NUMBER if self._flags() & (LONG | DECIMAL) else 0
        own |= (0 if self.hashes_parts else ATOMIC) | (RECURSES if recurses else 0)
        return own | (0 if copies else REFERS)

    def _flags(self) -> int:
        flags = OPEN if not isinstance(self.thing, EnumType) else 0
        for base in self.thing.__mro__:
            flags |= _NUMBERS.get((base.__module__, base.__qualname__), 0)
        return flags | (HASHES_PARTS if self.hashes_parts else 0)

    @property
    def is_tuple(self) -> bool:
        return isinstance(self.thing, type) and issubclass(self.thing, tuple)

    @property
    def sets_state(self) -> bool:
        return hasattr(self.thing, "__setstate__")

    def takes_names(self) -> bool:
        return rule_for(self.thing) is rules.anything

    def may_fill(self, opcode: str) -> bool:
        return opcode != "SETITEMS" or getattr(self.thing, "__setitem__", None) not in _SLOW_TO_SET

    @property
    def is_row(self) -> bool:
        hashing: Any = getattr(self._thing, "__hash__", None)
        return self.is_callable and hashing is tuple.__hash__

    @property
    def is_callable(self) -> bool:
        cls = self._thing
        return (
            isinstance(cls, type)
            and rule_for(cls) is rules.anything
            and not any("__call__" in vars(base) for base in cls.__mro__)
            and not issubclass(cls, dict)
        )

    @property
    def has_members(self) -> bool:
        cls: Any = self._thing
        hashes: Any = (Enum.__hash__, int.__hash__, str.__hash__)
        return (
            type(cls) is EnumType
            and bool(cls.__members__)
            and cls.__hash__ in hashes
            and not hasattr(cls, "__setstate__")
            and not any("__call__" in vars(base) for base in cls.__mro__)
        )

    def _builds(self, walk: Walk, items: list[Any]) -> bool:
        """Not of a member of an enum: there is only one of it, and everybody has it."""
        cls = self.thing
        if isinstance(cls, EnumType):
            return False
        method = getattr(cls, "__setstate__", None)
        if method is None:
            return rules.slots(walk, items[1])
        for base in cls.__mro__:
            known = DATA.get((base.__module__, base.__qualname__))
            if known is not None and getattr(base, "__setstate__", None) is method:
                return known.builds(walk, items)
        return True


# With a slice, these put in all of something; or they look for the place, item by item.
_SLOW_TO_SET = (list.__setitem__, bytearray.__setitem__, deque.__setitem__)


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
_NUMBERS = {("builtins", "int"): LONG, ("fractions", "Fraction"): LONG, ("decimal", "Decimal"): DECIMAL}
_FREE = _STATELESS | _NETWORKS

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


_BASE_RULES: dict[type, Rule] = {
    int: rules.atoms,
    float: rules.atoms,
    str: rules.texts,
    bytes: rules.blob,
    list: rules.elements,
    dict: rules.elements,
    tuple: rules.elements,
    object: rules.anything,
}


# Their ``__new__`` does not look at what a subclass is called with, if that has an ``__init__`` of its own.
_MADE_BY_INIT = (list, dict, set, bytearray, deque, defaultdict, OrderedDict, Counter)
_ON_THE_HEAP = 1 << 9  # of the flags of a class


def rule_for(cls: Any) -> Rule:
    """The rule for what a user allows: that of the type which makes its objects, if it is one of ours."""
    if not isinstance(cls, type):
        return rules.anything
    if isinstance(cls, EnumType):
        return rules.one
    has_init = False
    for base in cls.__mro__:
        where = (base.__module__, base.__qualname__)
        rule = _BASE_RULES.get(base) or (DATA[where].rule if where in DATA else None)
        if rule is not None:
            return rules.anything if has_init and base in _MADE_BY_INIT else rule
        if "__new__" in vars(base):
            break
        has_init = has_init or "__init__" in vars(base)
    return rules.anything


def _is_of_python(cls: Any) -> bool:
    """Whether it is a class that Python code has made: then the interpreter's guard is there when it is freed."""
    kinds = (MethodDescriptorType, WrapperDescriptorType)
    return bool(cls.__flags__ & _ON_THE_HEAP) and not any(
        isinstance(thing, kinds) and thing.__objclass__ is cls for thing in vars(cls).values()
    )


zone_entry = Entry(ZONE, rules.zone, bare=False)
