"""What SafePickle unpickles unless it is told more: types that are data, and what each of them may be made of.

A type that is harmless to have may be harmful to call: ``bytearray(10**12)`` takes a terabyte, ``set(range(10**12))``
as well, ``Fraction('1e999999999')`` computes for ever. So an entry has a rule for the arguments, which looks at the
notes of `hutch.codecs.opcodes` before anything is made. The functions that pickles of data need (of `copyreg`,
`_codecs`, numpy) are not handed out at all: a stand-in does the one thing that they are needed for.
"""

from __future__ import annotations

from enum import Enum, EnumType
from types import ModuleType

from hutch.codecs import opcodes
from hutch.codecs.hopeless import refusal_of, successor
from hutch.codecs.opcodes import Made
from hutch.errors import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from hutch.codecs.opcodes import Global, Walk

    Rule: TypeAlias = Callable[[Walk, list[Any]], bool]

__all__ = [
    "DATA",
    "GETATTR",
    "RECONSTRUCTOR",
    "ZONE",
    "Entry",
    "UserEntry",
    "is_bytes",
    "never",
    "rule_for",
    "successor",
    "zone_entry",
]

GETATTR = ("builtins", "getattr")
RECONSTRUCTOR = ("copyreg", "_reconstructor")
ZONE = ("zoneinfo", "ZoneInfo._unpickle")  # only `getattr` as pickles of time zones use it leads here

_LITERAL = frozenset((opcodes.LIST, opcodes.TUPLE, opcodes.DICT, opcodes.SET, opcodes.FROZENSET))


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

    __slots__ = ("_thing", "bare", "builds", "makes", "newobj", "rule", "where")

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
        self.builds = never if builds is None else builds
        self.bare = bare
        self.newobj = newobj
        self.makes = where if makes is None else makes
        self._thing = thing

    @property
    def is_free(self) -> bool:
        """Whether it may be called with what is flat, and what it makes be hashed: `hutch.codecs.glance` asks."""
        return self.where in _FREE

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
        hashing: Any = getattr(self._thing, "__hash__", None)
        return self.is_callable and hashing in (None, object.__hash__)

    @property
    def is_row(self) -> bool:
        hashing: Any = getattr(self._thing, "__hash__", None)
        return self.is_callable and hashing is tuple.__hash__

    @property
    def is_callable(self) -> bool:
        cls = self._thing
        return (
            isinstance(cls, type)
            and rule_for(cls) is _anything
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
        return not isinstance(self.thing, EnumType)


def _anything(walk: Walk, items: list[Any]) -> bool:
    return True


def never(walk: Walk, items: list[Any]) -> bool:
    """It must not be called at all."""
    return False


def _nothing(walk: Walk, items: list[Any]) -> bool:
    return not items


_POINTER_BYTES = 8


def _is_literal(item: Any) -> bool:
    return type(item) is Made and item.kind in _LITERAL


def is_bytes(item: Any) -> bool:
    """Bytes or a bytearray: as themselves, or as protocols 0 to 2 write them."""
    if type(item) is Made:
        return item.kind == opcodes.BYTEARRAY or (
            item.kind == opcodes.RESULT and item.items in (("_codecs", "encode"), ("builtins", "bytes"))
        )
    return type(item) is opcodes.BLOB


def _elements(walk: Walk, items: list[Any]) -> bool:
    """Nothing, or one container that the pickle spells out: its elements are no more than its bytes."""
    walk.hash(items)
    return not items or (len(items) == 1 and _is_literal(items[0]))


def _deque(walk: Walk, items: list[Any]) -> bool:
    if items and type(items[0]) is Made:
        walk.copy(_POINTER_BYTES * items[0].work)
    return not items or (_is_literal(items[0]) and (len(items) == 1 or (len(items) == 2 and _is_size(items[1]))))


def _is_size(item: Any) -> bool:
    return item is None or type(item) is int


def _defaultdict(walk: Walk, items: list[Any]) -> bool:
    """A factory that is a class which may be called: it will be, by a key that is missing."""
    if not items or (len(items) == 1 and items[0] is None):
        return True
    factory = items[0]
    return type(factory) is Made and factory.kind == opcodes.GLOBAL and _elements(walk, items[1:])


def _bytearray(walk: Walk, items: list[Any]) -> bool:
    if len(items) == 2:
        return walk.is_text(items[0]) and walk.text(items[1]) in ("latin-1", "latin1")
    return _blob(walk, items)


def _blob(walk: Walk, items: list[Any]) -> bool:
    return not items or (len(items) == 1 and is_bytes(items[0]))


def _latin1(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 2 and walk.is_text(items[0]) and walk.text(items[1]) == "latin1"


def _texts(walk: Walk, items: list[Any]) -> bool:
    return all(walk.is_text(item) for item in items)


def _fraction(walk: Walk, items: list[Any]) -> bool:
    """Two ints, or text without an exponent, whose number could have a billion digits."""
    if len(items) == 2:
        return type(items[0]) is int and type(items[1]) is int
    text = walk.text(items[0]) if len(items) == 1 else None
    return text is not None and text.isascii() and text.removeprefix("-").replace("/", "", 1).isdigit()


def _decimal(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 1 and walk.is_text(items[0])


def _one(walk: Walk, items: list[Any]) -> bool:
    """The value of a member of an enum: with more, a call may make another enum.

    If no member has it, the error shows it.
    """
    walk.hash(items)
    return len(items) == 1 and not (walk.is_late and type(items[0]) is Made)


def _address(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 1 and (type(items[0]) is int or walk.is_text(items[0]))


def _getattr(walk: Walk, items: list[Any]) -> bool:
    """The one method that the pickle of a time zone is made with."""
    zone = items[0] if len(items) == 2 else None
    named = type(zone) is Made and zone.kind == opcodes.GLOBAL and zone.items == ("zoneinfo", "ZoneInfo")
    return named and walk.text(items[1]) == "_unpickle"


def _zone(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 2 and walk.is_text(items[0]) and type(items[1]) in (int, bool)


def _three(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 3


# Stand-ins: what a pickle of data needs of a function, and no more.


def encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode` as protocols 0 to 2 use it for bytes."""
    if type(text) is not str or encoding != "latin1":
        raise CodecError("_codecs.encode is there for bytes in latin1 only")
    return text.encode("latin-1")


def zone_method(cls: Any, name: str) -> Any:
    """`getattr` as pickles of time zones use it."""
    import zoneinfo

    if cls is not zoneinfo.ZoneInfo or name != "_unpickle":
        raise CodecError("getattr is there for time zones only")
    return cls._unpickle  # type: ignore[attr-defined]


_BASES = (list, dict, tuple, int, float, complex, str, bytes)


def reconstruct(cls: Any, base: Any, state: Any) -> Any:
    """`copyreg._reconstructor` as protocols 0 and 1 use it: an object without state, or a copy of a base's."""
    if not isinstance(cls, type) or isinstance(cls, EnumType) or (base is object) != (state is None):
        raise CodecError("copyreg._reconstructor is there for ordinary classes only")
    if base is object:
        return object.__new__(cls)
    if base not in _BASES or type(state) is not base or not issubclass(cls, base):
        raise CodecError("copyreg._reconstructor is there for what protocols 0 and 1 write only")
    made = base.__new__(cls, state)
    base.__init__(made, state)
    return made


# What does not go into what it is called with, whatever that is: it takes it, or refuses it without a look inside.
_CALM = frozenset(
    [("datetime", name) for name in ("date", "time", "datetime", "timedelta", "timezone")]
    + [("decimal", "Decimal"), ("builtins", "complex"), ("builtins", "slice")]
)
# These go over it, as often as it is reached: text of it is made, or a path of paths.
_FREE = _CALM.union(
    [("ipaddress", f"{family}{kind}") for family in ("IPv4", "IPv6") for kind in ("Address", "Network", "Interface")]
    + [("pathlib", name) for name in ("PurePath", "PurePosixPath", "PureWindowsPath")]
    + [("uuid", "UUID")]
)

_DICTS = frozenset(
    [("collections", name) for name in ("Counter", "OrderedDict", "defaultdict")]
    + [("builtins", name) for name in ("dict", "float", "int", "list", "set")]
)

_EMPTY = frozenset([("collections", "OrderedDict"), ("collections", "deque")])


def _entries() -> dict[Global, Entry]:
    table: dict[Global, Entry] = {}

    def add(module: str, names: str, rule: Rule, **options: Any) -> None:
        for name in names.split():
            table[module, name] = Entry((module, name), rule, **options)

    add("builtins", "int float bool str list dict tuple", never)  # the factory of a defaultdict, an `int` in a list
    add("builtins", "object", _nothing)
    add("builtins", "Ellipsis NotImplemented", never)
    add("builtins", "set frozenset", _elements)
    add("builtins", "bytes", _nothing)
    add("builtins", "bytearray", _bytearray)
    add("builtins", "complex slice range", _anything)
    add("datetime", "date time datetime timedelta timezone", _anything)
    add("zoneinfo", "ZoneInfo", never)
    add(*GETATTR, _getattr, bare=False, thing=zone_method)
    add("decimal", "Decimal", _decimal)
    add("fractions", "Fraction", _fraction)
    add("uuid", "UUID", _nothing, builds=_anything, newobj=True)
    add("uuid", "SafeUUID", _one)
    add("collections", "OrderedDict", _elements, builds=_anything)
    add("collections", "Counter", _elements, builds=_anything)
    add("collections", "deque", _deque)
    add("collections", "defaultdict", _defaultdict)
    add("pathlib", "PurePath PurePosixPath PureWindowsPath", _texts)
    for family in ("IPv4", "IPv6"):
        add("ipaddress", f"{family}Address {family}Network {family}Interface", _address)
    add("_codecs", "encode", _latin1, bare=False, thing=encode)
    add(*RECONSTRUCTOR, _three, bare=False, thing=reconstruct)
    return table


DATA = _entries()


_BASE_RULES: dict[type, Rule] = {
    int: _anything,
    float: _anything,
    str: _texts,
    bytes: _blob,
    list: _elements,
    dict: _elements,
    tuple: _elements,
    object: _anything,
}


def rule_for(cls: Any) -> Rule:
    """The rule for what a user allows: that of the type which makes its objects, if it is one of ours."""
    if not isinstance(cls, type):
        return _anything
    if isinstance(cls, EnumType):
        return _one
    for base in cls.__mro__:
        if base in _BASE_RULES:
            return _BASE_RULES[base]
        where = (base.__module__, base.__qualname__)
        if where in DATA:
            return DATA[where].rule
        if "__new__" in vars(base) or "__init__" in vars(base):
            break
    return _anything


zone_entry = Entry(ZONE, _zone, bare=False)
