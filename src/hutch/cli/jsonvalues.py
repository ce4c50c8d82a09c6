"""Objects as JSON and back, with a tag for every type that JSON lacks: ``{"$tuple": [1, 2]}``.

Plain JSON stands for itself. An object whose one member begins with ``$`` is a tag; a dict that would look like one, or
has keys that are no text, becomes ``{"$dict": [[key, value], ...]}``.

>>> tagged({"when": (1, b"x"), 2: None})
{'$dict': [['when', {'$tuple': [1, {'$bytes': 'eA=='}]}], [2, None]]}
>>> untagged(tagged({"when": (1, b"x"), 2: None}))
{'when': (1, b'x'), 2: None}
"""

from __future__ import annotations

import base64
import collections
import datetime as dt
import decimal
import fractions
import math
import pathlib
import uuid
from collections.abc import Callable
from typing import Any

__all__ = ["NotPlainError", "tagged", "untagged"]

_MAX_DEPTH = 100
_MAX_NODES = 1_000_000
# Beyond it other readers of JSON round, and Python refuses to convert at 4300 digits.
_PLAIN_INT = 1 << 63


class NotPlainError(ValueError):
    """An object has no form in JSON that would come back as the same object."""


class _Tagger:
    """One conversion: what has been seen, and how much more there may be."""

    def __init__(self) -> None:
        self.nodes = 0
        self.seen: dict[int, Any] = {}  # mutable objects: one that occurs twice would come back as two

    def tagged(self, value: Any, depth: int = 0) -> Any:
        self.nodes += 1
        if depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            raise NotPlainError("it nests too deep, or is too large")
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return value
        if kind is int:
            return value if abs(value) < _PLAIN_INT else {"$int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if kind in _MUTABLE:
            if id(value) in self.seen:
                raise NotPlainError("it contains the same object twice")
            self.seen[id(value)] = value
        if kind is list:
            return [self.tagged(item, depth + 1) for item in value]
        if kind is dict:
            return self._dict(value, depth)
        writer = _WRITERS.get(kind)
        if writer is None:
            raise NotPlainError(f"it contains a {kind.__module__}.{kind.__qualname__}")
        tag, convert = writer
        return {tag: self.tagged(convert(value), depth + 1)}

    def _dict(self, value: dict[Any, Any], depth: int) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.tagged(item, depth + 1) for key, item in value.items()}
        pairs = [[self.tagged(key, depth + 1), self.tagged(item, depth + 1)] for key, item in value.items()]
        return {"$dict": pairs}


def tagged(value: Any) -> Any:
    """What `json.dumps` can write, for any object of the types below.

    Raises:
        NotPlainError: there is another type in it, or one object in two places.
    """
    return _Tagger().tagged(value)


def untagged(value: Any) -> Any:
    """The object that `tagged` made `value` of. Equal texts are one object in it, as pickles are smaller then.

    Raises:
        ValueError: an unknown tag, or one whose contents make no sense.
    """
    return _untagged(value, {})


def _untagged(value: Any, texts: dict[str, str]) -> Any:
    if type(value) is str:
        return texts.setdefault(value, value)
    if type(value) is list:
        return [_untagged(item, texts) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((tag, content),) = value.items()
        if tag.startswith("$"):
            read = _READERS.get(tag)
            if read is None:
                raise ValueError(f"unknown tag {tag!r}; a dict with such a key is {{'$dict': [[key, value], ...]}}")
            try:
                return read(_untagged(content, texts))
            except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as problem:
                raise ValueError(f"{tag!r} cannot be made of {content!r:.80}: {problem}") from problem
    return {texts.setdefault(key, key): _untagged(item, texts) for key, item in value.items()}


def _datetime(value: dt.datetime | dt.time) -> Any:
    if value.tzinfo is not None:
        offset = value.utcoffset()
        if type(value.tzinfo) is not dt.timezone or offset is None or value.tzinfo != dt.timezone(offset):
            raise NotPlainError("it contains a time of a named zone")
        if value.tzinfo.tzname(None) != dt.timezone(offset).tzname(None):
            raise NotPlainError("it contains a time of a named zone")
    return [value.isoformat(), 1] if value.fold else value.isoformat()


def _read_time(kind: Any) -> Callable[[Any], Any]:
    def read(content: Any) -> Any:
        if type(content) is list:
            return kind.fromisoformat(content[0]).replace(fold=content[1])
        return kind.fromisoformat(content)

    return read


def _base64(value: bytes | bytearray) -> str:
    return base64.b64encode(value).decode()


def _read_base64(content: str) -> bytes:
    return base64.b64decode(content, validate=True)


def _int(content: str) -> int:
    return int(content, 16)


def _deque(value: collections.deque[Any]) -> list[Any]:
    return [list(value), value.maxlen]


def _counter(pairs: list[Any]) -> collections.Counter[Any]:
    return collections.Counter(dict(pairs))


# Type -> tag, what it is made of, how it is made of that again.
_TYPES: list[tuple[Any, str, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (tuple, "$tuple", list, tuple),
    (set, "$set", list, set),
    (frozenset, "$frozenset", list, frozenset),
    (bytes, "$bytes", _base64, _read_base64),
    (bytearray, "$bytearray", _base64, lambda content: bytearray(_read_base64(content))),
    (complex, "$complex", lambda value: [value.real, value.imag], lambda parts: complex(*parts)),
    (range, "$range", lambda value: [value.start, value.stop, value.step], lambda parts: range(*parts)),
    (slice, "$slice", lambda value: [value.start, value.stop, value.step], lambda parts: slice(*parts)),
    (type(...), "$ellipsis", lambda value: None, lambda content: ...),
    (dt.datetime, "$datetime", _datetime, _read_time(dt.datetime)),
    (dt.date, "$date", dt.date.isoformat, dt.date.fromisoformat),
    (dt.time, "$time", _datetime, _read_time(dt.time)),
    (
        dt.timedelta,
        "$timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda parts: dt.timedelta(*parts),
    ),
    (decimal.Decimal, "$decimal", str, decimal.Decimal),
    (
        fractions.Fraction,
        "$fraction",
        lambda value: [value.numerator, value.denominator],
        lambda parts: fractions.Fraction(*parts),
    ),
    (uuid.UUID, "$uuid", str, uuid.UUID),
    (pathlib.PurePosixPath, "$posixpath", str, pathlib.PurePosixPath),
    (pathlib.PureWindowsPath, "$windowspath", str, pathlib.PureWindowsPath),
    (
        collections.OrderedDict,
        "$ordereddict",
        lambda value: [list(pair) for pair in value.items()],
        collections.OrderedDict,
    ),
    (
        collections.Counter,
        "$counter",
        lambda value: [list(pair) for pair in value.items()],
        _counter,
    ),
    (collections.deque, "$deque", _deque, lambda parts: collections.deque(*parts)),
]


_WRITERS = {kind: (tag, convert) for kind, tag, convert, _ in _TYPES}
_READERS: dict[str, Callable[[Any], Any]] = {tag: read for _, tag, _, read in _TYPES} | {
    "$int": _int,
    "$float": float,
    "$dict": lambda pairs: dict(map(tuple, pairs)),
}
_MUTABLE = {list, dict, set, bytearray, collections.OrderedDict, collections.Counter, collections.deque}
