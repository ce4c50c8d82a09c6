"""Picklers and unpicklers with their own ideas: what reduces an object, and where its class is now."""

from __future__ import annotations

import copyreg
import sys
from pickle import Pickler, Unpickler
from weakref import ref

from hutch.codecs.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from hutch.codecs.base import Data

__all__ = ["make_pickler", "make_unpickler"]


class _Table(dict):  # type: ignore[type-arg]
    """A private dispatch table in front of that of ``copyreg``, which a pickler that has one ignores."""

    def __missing__(self, kind: type) -> Any:
        return copyreg.dispatch_table[kind]


def make_pickler(
    dispatch_table: Mapping[type, Any] | None,
    reducer_override: Callable[[Any], Any] | None,
    persistent_id: Callable[[Any], Any] | None,
) -> type[Pickler]:
    """A class of picklers with these functions. Static, since the C pickler calls them on the instance."""
    body: dict[str, Any] = {}
    if dispatch_table is not None:
        body["dispatch_table"] = _Table(dispatch_table)
    if reducer_override is not None:
        body["reducer_override"] = staticmethod(reducer_override)
    if persistent_id is not None:
        body["persistent_id"] = staticmethod(persistent_id)
    return type("_Pickler", (Pickler,), body)


def make_unpickler(
    renames: Mapping[str, Any] | None, persistent_load: Callable[[Any], Any] | None
) -> Callable[[Data, Any], Any]:
    """The function that makes an object of a pickle and its buffers."""
    body: dict[str, Any] = {}
    if persistent_load is not None:
        body["persistent_load"] = staticmethod(persistent_load)
    if renames is not None:
        places = Renames(renames)

        def find_class(self: Any, module: str, name: str) -> Any:
            found = places.find(module, name, self.protocol)
            if found is _UNMOVED:
                return Unpickler.find_class(self, module, name)
            if isinstance(found, _Gone):
                self.gone.append(ref(found))
            return found

        body["find_class"] = find_class
    kind: Any = type("_Unpickler", (Unpickler,), body)

    def load(data: Data, buffers: Iterable[Any] | None) -> Any:
        unpickler = kind(Source(bytes(data)), buffers=buffers)
        unpickler.protocol = data[1] if data[:1] == b"\x80" and len(data) > 1 else 0
        gone = unpickler.gone = []
        value = unpickler.load()
        if gone:
            del unpickler  # and its memo
            for left in gone:
                if (there := left()) is not None:
                    there()  # it is part of the value, which it must not be
        return value

    return load


class _Unmoved:
    """What `Renames.find` returns for a name that it has nothing to say about."""


_UNMOVED = _Unmoved()


class Renames:
    """Where classes are now, by where a pickle says that they were.

    Args:
        renames: as `Pickle` takes them.

    Raises:
        TypeError: an old name is not text.
        ValueError: a name is empty, or has an empty part.
    """

    def __init__(self, renames: Mapping[str, Any]) -> None:
        self._targets: dict[str, Any] = {}
        self._exact: dict[str, Any] = {}  # with the colon that says where the module ends
        for old, new in renames.items():
            if not isinstance(old, str):
                raise TypeError(f"renames takes names such as 'old.mod.Cls', not {old!r}")
            for name in (old, new):
                if isinstance(name, str) and not all(name.replace(":", ".", 1).split(".")):
                    raise ValueError(f"renames takes names such as 'old.mod.Cls', not {name!r}")
            (self._exact if ":" in old else self._targets)[old] = new
        # What may once have been a class with one inside it that has moved.
        self._outer = {
            prefix for old in renames for prefix in list(_prefixes(old.replace(":", ".")))[1:] if "." in prefix
        }

    def find(self, module: str, name: str, protocol: int) -> Any:
        """The object that is now what ``module.name`` was, or `_UNMOVED`.

        Args:
            protocol: of the pickle: below 3 it calls what is in the standard library what Python 2 called it, and
                below 4 it takes a class inside another by a call of ``getattr``.
        """
        found = self._find(module, name)
        if found is _UNMOVED and protocol < 3:
            module, name = _modern(module, name)
            found = self._find(module, name)
        if found is not _UNMOVED or protocol >= 4:
            return found
        if module == "builtins" and name == "getattr" and self._outer:
            return self._getattr
        if f"{module}.{name}" in self._outer:
            try:
                return _walk(_imported(module), name)
            except (ImportError, AttributeError):
                return _Gone(module, name)  # what was inside it has moved
        return _UNMOVED

    def _find(self, module: str, name: str) -> Any:
        whole = f"{module}.{name}"
        for known in _prefixes(f"{module}:{name}"):
            if known in self._exact:
                return _follow(self._exact[known], whole[len(known) + 1 :])
        for known in _prefixes(whole):
            if known in self._targets:
                return _follow(self._targets[known], whole[len(known) + 1 :])
        return _UNMOVED

    def _getattr(self, thing: Any, name: str, *default: Any) -> Any:
        """What ``getattr`` is while renames are looked for: a class inside one that has gone may have moved."""
        if isinstance(thing, (type, _Gone)):
            found = self._find(thing.__module__, f"{thing.__qualname__}.{name}")
            if found is not _UNMOVED:
                return found
            if isinstance(thing, _Gone):
                return _Gone(thing.__module__, f"{thing.__qualname__}.{name}", thing)
        return getattr(thing, name, *default)


class _Gone:
    """Stands for a class that is no more while a class inside it is looked for; no part of any value.

    Attributes:
        __module__: where the class was.
        __qualname__: its name there.
        outer: the one that it was inside, kept because that is the one whose end is watched.
    """

    def __init__(self, module: str, name: str, outer: _Gone | None = None) -> None:
        self.__module__, self.__qualname__ = module, name
        self.outer = outer

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise AttributeError(f"Can't get attribute {self.__qualname__!r} on module {self.__module__!r}")


def _prefixes(name: str) -> Iterable[str]:
    """A dotted name, and ever shorter beginnings of it."""
    while name:
        yield name
        name = name[: max(name.rfind("."), name.rfind(":"), 0)]


def _modern(module: str, name: str) -> tuple[str, str]:
    from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

    if (module, name) in NAME_MAPPING:
        return NAME_MAPPING[module, name]
    return IMPORT_MAPPING.get(module, module), name


def _follow(target: Any, rest: str) -> Any:
    """The object at a new place, or inside it.

    Where it is not said how much of the name is the module, that is the most that can be.

    Raises:
        AttributeError: it is not there.
        ImportError: its module cannot be imported.
    """
    if not isinstance(target, str):
        return _walk(target, rest)
    whole = f"{target}.{rest}" if rest else target
    if ":" in whole:
        module, _, name = whole.partition(":")
        return _walk(_imported(module), name)
    parts = whole.split(".")
    reason = ""  # as text: an error would keep the frames alive that led here, and what they look at
    for end in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:end])
        try:
            return _walk(_imported(module), ".".join(parts[end:]))
        except AttributeError as missing:
            reason = reason or f" ({missing})"
        except ModuleNotFoundError as missing:
            # That the module exists and misses another one is no reason to look elsewhere.
            if not (missing.name and (module + ".").startswith(missing.name + ".")):
                raise
            reason = reason or f" ({missing})"
    raise AttributeError(f"Can't get attribute {whole!r}, which is where the renames say that it is now{reason}")


def _imported(name: str) -> Any:
    __import__(name)
    return sys.modules[name]


def _walk(thing: Any, path: str) -> Any:
    for part in path.split(".") if path else ():
        thing = getattr(thing, part)
    return thing
