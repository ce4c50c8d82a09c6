"""What a user has allowed SafePickle to unpickle: classes of anybody, of which only their bases are known."""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, UserDict, defaultdict, deque
from enum import Enum, EnumType
from random import Random
from types import FunctionType, MethodDescriptorType, WrapperDescriptorType

from hutch.codecs import notes, rules
from hutch.codecs.allowed import DATA, FLAGS, WEIGHTS, Entry
from hutch.codecs.hopeless import refusal_of
from hutch.codecs.notes import ATOMIC, DECIMAL, HASHES_PARTS, LONG, NUMBER, OPEN, PYTHON, RECURSES, REFERS, VAST
from hutch.errors import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.codecs.opcodes import Global, Walk
    from hutch.codecs.rules import Rule

__all__ = ["UserEntry", "rule_for"]


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
        own = NUMBER if self._flags() & (LONG | DECIMAL) else 0
        own |= PYTHON if isinstance(getattr(self.thing, "__hash__", None), FunctionType) else 0
        own |= (0 if self.hashes_parts else ATOMIC) | (0 if _is_of_python(self.thing) else RECURSES)
        return own | (REFERS if rule_for(self.thing) is rules.anything else 0)

    def _weight(self) -> int:
        return max(WEIGHTS.get(home, 0) for home in self._homes())

    def _flags(self) -> int:
        flags = HASHES_PARTS if self.hashes_parts else 0
        if not isinstance(self.thing, EnumType):
            flags |= OPEN | (VAST if any(map(_is_iterated_by_python, self.thing.__mro__)) else 0)
        for home in self._homes():
            flags |= FLAGS.get(home, 0)
        return flags

    def _homes(self) -> list[Global]:
        """Modules and names of the class and its bases."""
        return [(base.__module__, base.__qualname__) for base in self.thing.__mro__]

    @property
    def is_tuple(self) -> bool:
        return isinstance(self.thing, type) and issubclass(self.thing, tuple)

    @property
    def sets_state(self) -> bool:
        return hasattr(self.thing, "__setstate__")

    def takes_names(self) -> bool:
        return rule_for(self.thing) in (rules.anything, rules.copied)

    def may_fill(self, opcode: str, items: list[Any]) -> bool:
        if isinstance(self.thing, EnumType):  # everybody has its members
            return False
        if opcode == "SETITEMS":
            return _takes_keys(self.thing) and (not _makes_text(self.thing) or all(map(_is_morsel, items[1::2])))
        return any(hasattr(self.thing, name) for name in _FILLING[opcode])

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
            and self._is_closed
        )

    @property
    def _is_closed(self) -> bool:
        """Whether nothing happens to the class itself where a pickle treats it as one of its objects."""
        cls: Any = self._thing
        return not hasattr(type(cls), "__setitem__") and not any(_is_misled(cls, name) for name in _TAKING)

    @property
    def has_members(self) -> bool:
        cls: Any = self._thing
        hashes: Any = (Enum.__hash__, int.__hash__, str.__hash__)
        return (
            type(cls) is EnumType
            and bool(cls.__members__)
            and cls.__hash__ in hashes
            and not any(hasattr(cls, name) for name in ("__setitem__", *_TAKING))
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
        if method is vars(Random)["__setstate__"]:
            return rules.generator_state(walk, items[1])
        if _is_of_library(method):
            return rules.copied(walk, items[1:])
        if method is BaseException.__setstate__:
            walk.copy(notes.copied_by_state(items[1]))
            return rules.attributes(walk, items[1])
        if not isinstance(method, FunctionType) and type(items[1]) is notes.Made:  # it may copy parts of parts
            walk.copy(notes.POINTER_BYTES * items[1].work)
        return True


def _is_iterated_by_python(base: type) -> bool:
    """Whether a class brings Python code that goes over what its objects hold."""
    return any(isinstance(vars(base).get(name), FunctionType) for name in ("__iter__", "__getitem__", "keys"))


def _takes_keys(cls: Any) -> bool:
    """Whether it may be given items by keys: most of what is no dict takes a slice, and puts in all of something."""
    method = getattr(cls, "__setitem__", None)
    if isinstance(method, FunctionType):
        return not _is_of_library(method) or method is UserDict.__setitem__ or issubclass(cls, dict)
    return method in (None, dict.__setitem__, OrderedDict.__setitem__)


def _is_of_library(method: Any) -> bool:
    """Whether it is a function of the standard library that is written in Python."""
    return isinstance(method, FunctionType) and method.__module__.partition(".")[0] in sys.stdlib_module_names


def _is_misled(cls: type, name: str) -> bool:
    """Whether a method does something when the class itself is given what its objects would be.

    One that takes an object and something to put into it does not: it is called with one of both.
    """
    method = getattr(cls, name, None)
    if isinstance(method, FunctionType):
        return method.__code__.co_argcount - len(method.__defaults__ or ()) < 2
    return callable(method) and not isinstance(method, (MethodDescriptorType, WrapperDescriptorType))


def _makes_text(cls: Any) -> bool:
    """Whether what it is given by keys is made into text, unless it is a `Morsel`: as cookies do."""
    method = getattr(cls, "__setitem__", None)
    return getattr(method, "__qualname__", None) == "BaseCookie.__setitem__" and method.__module__ == "http.cookies"


def _is_morsel(item: Any) -> bool:
    return type(item) is notes.Made and item.kind == notes.RESULT and item.items == ("http.cookies", "Morsel")


# The methods that put more into what is no list or set.
_FILLING = {"APPENDS": ("extend", "append"), "ADDITEMS": ("add",)}
_TAKING = (*_FILLING["APPENDS"], *_FILLING["ADDITEMS"], "__setstate__")  # and what takes a state

_BASE_RULES: dict[type, Rule] = {
    int: rules.atoms,
    float: rules.atoms,
    str: rules.texts,
    bytes: rules.blob,
    list: rules.parts,
    dict: rules.elements,
    tuple: rules.parts,
    object: rules.anything,
}


# Their ``__new__`` does not look at what a subclass is called with, if that has an ``__init__`` of its own.
_MADE_BY_INIT = (list, dict, set, bytearray, deque, defaultdict, OrderedDict, Counter)
# With arguments these would open files, parse text, or make numbers and text of anything. Picklers give them a state.
_MADE_OF_NOTHING = {
    "argparse": "Namespace",
    "email.charset": "Charset",
    "email.headerregistry": "Address Group",
    "email.message": "Message MIMEPart EmailMessage",
    "email.policy": "EmailPolicy",
    "email._policybase": "Compat32",
    "graphlib": "TopologicalSorter",
    "http.cookiejar": "Cookie",
    "http.cookies": "BaseCookie Morsel",
    "logging": "LogRecord",
    "statistics": "NormalDist",
    "string": "Template",
    "xml.etree.ElementTree": "ElementTree",
}
_RULES_BY_NAME: dict[Global, Rule] = {
    ("collections", "UserString"): rules.texts,
    ("random", "Random"): rules.generator,
    **{(module, name): rules.nothing for module, names in _MADE_OF_NOTHING.items() for name in names.split()},
}
_COPYING = (UnicodeError, SyntaxError, BaseExceptionGroup)  # exceptions that copy what they are called with
_ON_THE_HEAP = 1 << 9  # of the flags of a class


def rule_for(cls: Any) -> Rule:
    """The rule for what a user allows: that of the type which makes its objects, if it is one of ours.

    `rules.anything` is for what refers to whatever it is called with; `rules.copied`, for what may copy it.
    """
    if not isinstance(cls, type):
        return rules.anything
    if isinstance(cls, EnumType):
        return rules.one
    has_init = False
    for base in cls.__mro__:
        where = (base.__module__, base.__qualname__)
        if where in _RULES_BY_NAME and not has_init:
            return _RULES_BY_NAME[where]
        rule = _BASE_RULES.get(base) or (DATA[where].rule if where in DATA else None)
        if rule not in (None, rules.anything) and not (has_init and base in _MADE_BY_INIT):
            return rule
        if rule is not None or "__new__" in vars(base):
            break
        has_init = has_init or "__init__" in vars(base)
    return rules.anything if _refers(cls) else rules.copied


def _refers(cls: Any) -> bool:
    """Whether it holds what it is called with, not a copy: what the standard library does not make is taken to.

    So do most exceptions of Python itself.
    """
    is_error = issubclass(cls, BaseException) and not issubclass(cls, _COPYING)
    makers = [base for base in cls.__mro__ if "__new__" in vars(base) or "__init__" in vars(base)]
    homes = {base.__module__.partition(".")[0] for base in makers if base not in (object, tuple)}
    if is_error:
        homes.discard("builtins")
    if not homes.isdisjoint(sys.stdlib_module_names):
        return False
    return is_error or _is_of_python(cls)


def _is_of_python(cls: Any) -> bool:
    """Whether it is a class that Python code has made: then the interpreter's guard is there when it is freed."""
    kinds = (MethodDescriptorType, WrapperDescriptorType)
    return bool(cls.__flags__ & _ON_THE_HEAP) and not any(
        isinstance(thing, kinds) and thing.__objclass__ is cls for thing in vars(cls).values()
    )
