"""What the values of a shelf are, found out without unpickling them: which cannot be read, and what they need."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from inspect import getattr_static

from hutch.codecs.base import innermost, show_key
from hutch.codecs.opcodes import UNKNOWN, globals_of
from hutch.errors import CodecError
from hutch.reports import CheckReport, Problem
from hutch.views import UNREADABLE, Skipped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from hutch.codecs.base import Data
    from hutch.reports import Progress
    from hutch.shelf import Shelf

__all__ = ["ClassReport", "ClassUse", "check", "classes", "is_there", "references"]

_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class ClassUse:
    """A class or function that pickles refer to.

    Attributes:
        module: where the pickles look for it.
        name: its qualified name there.
        entry_count: how many entries refer to it.
        keys: the first of these, as examples.
        found: whether it is there; None: only importing its module would tell.
    """

    module: str
    name: str
    entry_count: int
    keys: tuple[str | bytes, ...]
    found: bool | None


@dataclass(frozen=True, slots=True)
class ClassReport:
    """What `Shelf.classes` has found.

    Attributes:
        entry_count: entries that were looked at.
        classes: what they refer to; what most refer to comes first.
        skipped: entries that are no whole pickles, each with its key and error.
    """

    entry_count: int
    classes: tuple[ClassUse, ...]
    skipped: tuple[Skipped, ...]


def classes(shelf: Shelf) -> ClassReport:
    """See `Shelf.classes`."""
    users: dict[tuple[str, str], list[Any]] = {}
    skipped: list[Skipped] = []
    entry_count = 0
    makes_pickles = _makes_pickles(shelf)
    for name in shelf._names():
        key = shelf._show_name(name)
        try:
            data = shelf.dict[name]
            referred = _globals(shelf, name, data) if makes_pickles else set()
        except KeyError:
            continue
        except UNREADABLE as problem:
            skipped.append(Skipped(key, problem))
            referred = set()
        entry_count += 1
        for found in referred:
            keys = users.setdefault(found, [0])
            keys[0] += 1
            if len(keys) <= _EXAMPLES:
                keys.append(key)
    uses = [
        ClassUse(module, name, count, tuple(keys), is_there(module, name))
        for (module, name), (count, *keys) in users.items()
    ]
    uses.sort(key=lambda use: (-use.entry_count, use.module, use.name))
    return ClassReport(entry_count, tuple(uses), tuple(skipped))


def check(shelf: Shelf, *, fix: bool, decode: bool, progress: Progress | None = None) -> CheckReport:
    """See `Shelf.check`."""
    mapping = shelf.dict
    problems: list[Problem] = []
    if hasattr(mapping, "check"):
        options = {} if progress is None else {"progress": progress}  # a mapping of one's own may know nothing of it
        problems.extend(mapping.check(fix, **options).problems)
    known = {problem.key for problem in problems}
    path = getattr(mapping, "path", None)
    file = f"{path}.dat" if isinstance(path, str) else ""
    entry_count = 0
    total = len(mapping) if progress is not None else 0
    for name in shelf._names():
        if progress is not None:
            progress(entry_count, max(total, entry_count))
        entry_count += 1
        if name in known:
            continue
        try:
            key = shelf._decode_key(name)
            for message in _complaints(shelf, key, name, mapping[name], decode):
                problems.append(Problem(name, file, None, message, fixed=False))
        except KeyError:
            entry_count -= 1
        except UNREADABLE as problem:
            problems.append(Problem(name, file, None, str(problem), fixed=False))
    if progress is not None:
        progress(entry_count, entry_count)
    return CheckReport(tuple(problems), entry_count)


def _complaints(shelf: Shelf, key: str, name: bytes, data: Any, decode: bool) -> Iterator[str]:
    """What is wrong with a value; an error that its reading would raise is raised."""
    if decode or getattr(innermost(shelf._codec), "is_inert", False):
        shelf._load(key, data, name)
    elif _makes_pickles(shelf):
        renames = getattr(innermost(shelf._codec), "renames", None)
        for module, qualified in sorted(_globals(shelf, name, data)):
            if not renames and is_there(module, qualified) is False:
                yield (
                    f"the value of key {key!r} refers to {module}.{qualified}, which is not there: "
                    "if it is called something else now, name the new place in hutch.codecs.Pickle(renames=...)"
                )
    else:
        _inner_bytes(shelf, name, data)


def _makes_pickles(shelf: Shelf) -> bool:
    return bool(getattr(innermost(shelf._codec), "makes_pickles", False))


def _inner_bytes(shelf: Shelf, name: bytes, data: Any) -> Data:
    codec = shelf._codec
    return codec.inner_bytes(name, data) if hasattr(codec, "inner_bytes") else data


def _globals(shelf: Shelf, name: bytes, data: Any) -> set[tuple[str, str]]:
    try:
        return references(_inner_bytes(shelf, name, data))
    except CodecError as problem:
        raise CodecError(f"the value of key {show_key(name)} is no whole pickle: {problem}", key=name) from problem


def references(pickle: Data) -> set[tuple[str, str]]:
    """What a pickle refers to, as pairs of module and name: under today's names for those of Python 2.

    Raises:
        CodecError: it is no whole pickle.
    """
    found = set(globals_of(pickle))
    if found and not (pickle[:1] == b"\x80" and pickle[1] > 2):
        from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING

        found = {NAME_MAPPING.get(pair, (IMPORT_MAPPING.get(pair[0], pair[0]), pair[1])) for pair in found}
    return found


def is_there(module: str, name: str) -> bool | None:
    """Whether there is such a class or function, without importing anything; None: that would be needed to know."""
    if UNKNOWN in (module, name):
        return None
    home: Any = sys.modules.get(module)
    if home is None:
        return None if _has_module(module) else False
    for part in name.split("."):
        try:
            home = getattr_static(home, part)
        except AttributeError:
            return None if "__getattr__" in getattr(home, "__dict__", ()) else False
    return True


def _has_module(module: str) -> bool:
    """Whether an import would find a module; in doubt it would."""
    path: Any = None
    whole = ""
    for part in module.split("."):
        whole = f"{whole}.{part}" if whole else part
        if whole in sys.modules:
            path = getattr(sys.modules[whole], "__path__", None)
        else:
            try:
                specs = (finder.find_spec(whole, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
                spec = next((spec for spec in specs if spec is not None), None)
                if spec is None:
                    return False
                path = spec.submodule_search_locations
                path = None if path is None else list(path)
            except Exception:  # noqa: BLE001  # a finder that has to import the package first, say
                return True
        if path is None and whole != module:
            return False
    return True
