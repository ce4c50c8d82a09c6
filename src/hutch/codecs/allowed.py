"""What SafePickle unpickles unless it is told more: types that are data, and what each of them may be made of.

A type that is harmless to have may be harmful to call: ``bytearray(10**12)`` takes a terabyte, ``set(range(10**12))``
as well, ``Fraction('1e999999999')`` computes for ever. So an entry has a rule for the arguments, which looks at the
notes of `hutch.codecs.notes` before anything is made. The functions that pickles of data need (of `copyreg`,
`_codecs`, numpy) are not handed out at all: a stand-in does the one thing that they are needed for.
"""

from __future__ import annotations

from enum import Enum, EnumType
from types import ModuleType

from hutch.codecs import notes
from hutch.codecs.hopeless import refusal_of, successor
from hutch.codecs.notes import BLOB, OPEN, Made, width_of
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
    "UUID",
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
UUID = ("uuid", "UUID")
ZONE = ("zoneinfo", "ZoneInfo._unpickle")  # only `getattr` as pickles of time zones use it leads here

_LITERAL = frozenset((notes.LIST, notes.TUPLE, notes.DICT, notes.SET, notes.FROZENSET))


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
    def takes_state(self) -> bool:
        """Whether it may be called with nothing, given any dict as its state, and what it makes be hashed."""
        return False

    @property
    def has_no_state(self) -> bool:
        """Whether what it makes takes no dict as its state, nor does any harm with one."""
        return self.where in _STATELESS

    @property
    def hashes_parts(self) -> bool:
        """Whether what it makes is filled later, and may be hashed by what it is filled with."""
        return False

    @property
    def is_tuple(self) -> bool:
        """Whether what it makes is a tuple."""
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
        hashing: Any = getattr(self.thing, "__hash__", None)
        return hashing not in (None, object.__hash__) and not isinstance(self.thing, EnumType)

    @property
    def is_tuple(self) -> bool:
        return isinstance(self.thing, type) and issubclass(self.thing, tuple)

    def takes_names(self) -> bool:
        return rule_for(self.thing) is _anything

    def may_fill(self, opcode: str) -> bool:
        return opcode != "SETITEMS" or getattr(self.thing, "__setitem__", None) not in _BY_SLICE

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
        cls = self.thing
        if isinstance(cls, EnumType):
            return False
        method = getattr(cls, "__setstate__", None)
        if method is None:
            return _slots(walk, items[1])
        for base in cls.__mro__:
            known = DATA.get((base.__module__, base.__qualname__))
            if known is not None and getattr(base, "__setstate__", None) is method:
                return known.builds(walk, items)
        return True


_BY_SLICE = (list.__setitem__, bytearray.__setitem__)  # with a slice, these put in all of something


def _slots(walk: Walk, state: Any) -> bool:
    """Where the state is that of slots, too: it sets attributes, and ``__class__`` must not be among them."""
    if type(state) is not Made or state.kind != notes.TUPLE or len(state.items) != 2 or state.items[1] is None:
        return True
    items = walk.items_of(state.items[1])
    return items is not None and all(walk.is_text(name) and not walk.is_private(name) for name in items[::2])


def _anything(walk: Walk, items: list[Any]) -> bool:
    return True


def never(walk: Walk, items: list[Any]) -> bool:
    """It must not be called at all."""
    return False


def _nothing(walk: Walk, items: list[Any]) -> bool:
    return not items


_POINTER_BYTES = 8
_ELEMENT_BYTES = 16  # of a set or dict that is a copy: they take more, but data may have many, if each is copied once
_ZONE_BYTES, _ZONE_BYTES_ANEW = 1 << 11, 1 << 14  # what it takes to find a time zone; to make one that is not kept


def _is_literal(item: Any) -> bool:
    return type(item) is Made and item.kind in _LITERAL


def is_bytes(item: Any) -> bool:
    """Bytes or a bytearray: as themselves, or as protocols 0 to 2 write them."""
    if type(item) is Made:
        return item.kind == notes.BYTEARRAY or (
            item.kind == notes.RESULT and item.items in (("_codecs", "encode"), ("builtins", "bytes"))
        )
    return type(item) is BLOB


def _elements(walk: Walk, items: list[Any]) -> bool:
    """Nothing, or one container that the pickle spells out: its elements are no more than its bytes."""
    walk.hash(items)
    _count_copies(walk, items, _ELEMENT_BYTES)
    return not items or (len(items) == 1 and _is_literal(items[0]))


def _count_copies(walk: Walk, items: list[Any], size: int) -> None:
    for item in items:
        if type(item) is Made:
            walk.copy(size * item.work)


def _deque(walk: Walk, items: list[Any]) -> bool:
    _count_copies(walk, items, _POINTER_BYTES)
    return not items or (_is_literal(items[0]) and (len(items) == 1 or (len(items) == 2 and _is_size(items[1]))))


def _is_size(item: Any) -> bool:
    return item is None or type(item) is int


def _defaultdict(walk: Walk, items: list[Any]) -> bool:
    """A factory that is a class which may be called: it will be, by a key that is missing."""
    if not items or (len(items) == 1 and items[0] is None):
        return True
    factory = items[0]
    return type(factory) is Made and factory.kind == notes.GLOBAL and _elements(walk, items[1:])


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
        return _integers(walk, items)
    text = walk.text(items[0]) if len(items) == 1 else None
    return text is not None and text.isascii() and text.removeprefix("-").replace("/", "", 1).isdigit()


def _integers(walk: Walk, items: list[Any]) -> bool:
    """Ints only. What divides them by one another takes the square of their bytes."""
    for item in items:
        width = width_of(item)
        walk.copy(width * width // 256)
    return all(type(item) is int for item in items)


def _atoms(walk: Walk, items: list[Any]) -> bool:
    """Numbers and text. What else an int can be made of may be one with a billion digits."""
    return not any(type(item) is Made for item in items)


def _decimal(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 1 and walk.is_text(items[0])


def _one(walk: Walk, items: list[Any]) -> bool:
    """The value of a member of an enum: with more, a call may make another enum.

    If no member has it, the error shows it.
    """
    walk.hash(items)
    if len(items) != 1:
        return False
    item = items[0]
    if type(item) is Made:
        walk.copy(item.shown)
        return not (walk.is_late and item.flags & OPEN)
    return True


def _dict(walk: Walk, items: list[Any]) -> bool:
    """A dict, of attributes."""
    state = items[1]
    return type(state) is Made and state.kind == notes.DICT


_MAX_NUMBER = 1 << 2048  # hashed as quickly as any other


def _number_of_uuid(walk: Walk, items: list[Any]) -> bool:
    """The state of a UUID: an int, and perhaps another one. Anything else would be hashed, or shown by an error."""
    pairs = walk.items_of(items[1])
    if not pairs:
        return False
    state = dict(zip(map(walk.text, pairs[::2]), pairs[1::2], strict=True))
    number, is_safe = state.get("int"), state.get("is_safe")
    return (
        state.keys() <= {"int", "is_safe"}
        and type(number) is int
        and abs(number) < _MAX_NUMBER
        and (is_safe is None or type(is_safe) is int)
    )


def _address(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 1 and (type(items[0]) is int or walk.is_text(items[0]))


def _getattr(walk: Walk, items: list[Any]) -> bool:
    """The one method that the pickle of a time zone is made with."""
    zone = items[0] if len(items) == 2 else None
    named = type(zone) is Made and zone.kind == notes.GLOBAL and zone.items == ("zoneinfo", "ZoneInfo")
    return named and walk.text(items[1]) == "_unpickle"


def _zone(walk: Walk, items: list[Any]) -> bool:
    walk.copy(_ZONE_BYTES if len(items) == 2 and items[1] else _ZONE_BYTES_ANEW)
    return len(items) == 2 and walk.is_text(items[0]) and type(items[1]) in (int, bool)


def _three(walk: Walk, items: list[Any]) -> bool:
    _count_copies(walk, items[2:], _ELEMENT_BYTES)
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
_SLICE = frozenset([("builtins", "slice")])  # SETITEM with one puts in all of something
_ADDRESSES, _NETWORKS = (
    frozenset(("ipaddress", f"{family}{kind}") for family in ("IPv4", "IPv6") for kind in kinds)
    for kinds in (["Address"], ["Network", "Interface"])
)
_PATHS = frozenset(("pathlib", name) for name in ("PurePath", "PurePosixPath", "PureWindowsPath"))
# Some of these go over it, as often as it is reached: text of it is made, or a path of paths.
_STATELESS = (_CALM - _SLICE) | _ADDRESSES | _PATHS
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
    add("builtins", "complex slice", _anything)
    add("builtins", "range", _integers)
    add("datetime", "date time datetime timedelta timezone", _anything)
    add("zoneinfo", "ZoneInfo", never)
    add(*GETATTR, _getattr, bare=False, thing=zone_method)
    add("decimal", "Decimal", _decimal)
    add("fractions", "Fraction", _fraction)
    add(*UUID, _nothing, builds=_number_of_uuid, newobj=True)
    add("uuid", "SafeUUID", _one)
    add("collections", "OrderedDict", _elements, builds=_dict)
    add("collections", "Counter", _elements)
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
    int: _atoms,
    float: _atoms,
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
