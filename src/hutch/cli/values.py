"""What the bytes of a value are shown as: an object if that runs nothing, else a line about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hutch.cli.coding import Coding
from hutch.cli.escapes import printable
from hutch.cli.layers import is_with_buffers, unwrap
from hutch.errors import CodecError, ForbiddenGlobalError

__all__ = ["MISSING", "Seen", "literal", "look", "one_line"]

MISSING: Any = object()

_MAX_NODES = 200_000  # what is shown; shared parts count each time, as they are shown each time
_LINE_CHARACTERS = 200


@dataclass(frozen=True)
class Seen:
    """A value, as far as it may be looked at.

    Attributes:
        size_bytes: of what is stored.
        kind: what the bytes are: a codec's name; "bytes" if they look like none.
        layers: what was wrapped around them, outermost first.
        object: what they stand for, or `MISSING`.
        reason: why there is no object.
        names: the classes and functions that they name.
        protocol: of a pickle.
    """

    size_bytes: int
    kind: str
    layers: tuple[str, ...] = ()
    object: Any = MISSING
    reason: str = ""
    names: tuple[str, ...] = ()
    protocol: int | None = None

    @property
    def summary(self) -> str:
        """One line in the place of an object."""
        kind = f"pickle, protocol {self.protocol}" if self.protocol is not None else self.kind
        kinds = self.layers if kind == "closed" else (*self.layers, kind)  # then the reason says what it is
        parts = [*filter(None, [", ".join(kinds)]), f"{self.size_bytes:,} bytes"]
        if self.names:
            shown = ", ".join(self.names[:5]) + (", …" if len(self.names) > 5 else "")
            parts.append(f"names {shown}")
        if self.reason:
            parts.append(printable(self.reason))
        return f"<{'; '.join(parts)}>"


def look(key: bytes, data: bytes, coding: Coding) -> Seen:
    """Make of a value what may be made of it.

    Raises:
        CodecError: it is not what `coding` says, or not what was signed or encrypted.
    """
    outer = unwrap(key, data, coding.secrets)
    size, layers = len(data), outer.layers
    if outer.closed:
        return Seen(size, "closed", layers, reason=outer.closed)
    inner = outer.data
    name = coding.codec
    if name in ("json", "msgpack", "plist", "raw", "safe") or (name == "marshal" and coding.unpickle):
        assert name is not None
        return Seen(size, name, layers, coding.base(name).decode(key, inner))
    if name == "marshal":
        return Seen(
            size, name, layers, reason="reading a marshal is not safe against hostile bytes: --unpickle does it"
        )
    return _look_at_pickle(key, inner, coding, size, layers)


def _look_at_pickle(key: bytes, data: bytes, coding: Coding, size: int, layers: tuple[str, ...]) -> Seen:
    from hutch.cli.pickles import names_of, protocol_of
    from hutch.codecs.pickles import Pickle

    if is_with_buffers(data):
        if coding.unpickle:
            return Seen(size, "pickle with buffers", layers, Pickle(buffers=True).decode(key, data))
        return Seen(size, "pickle with buffers", layers, reason="--unpickle makes it an object")
    protocol = protocol_of(data)
    if protocol is None:
        if coding.codec == "pickle":
            raise CodecError(f"the value of {key!r} is no pickle", key=key)
        return Seen(size, "bytes", layers, data)
    if coding.unpickle:
        return Seen(size, "pickle", layers, coding.base("pickle").decode(key, data), protocol=protocol)
    try:
        return Seen(size, "pickle", layers, coding.base("safe").decode(key, data), protocol=protocol)
    except CodecError as problem:
        try:
            names = tuple(printable(f"{module}.{name}") for module, name in names_of(data))
        except CodecError:
            names = ()  # it is damaged, and `problem` says where
        reason = str(problem)
        if isinstance(problem, ForbiddenGlobalError):
            reason = "--unpickle makes it an object"
        return Seen(size, "pickle", layers, reason=reason, names=names, protocol=protocol)


def literal(value: Any, *, width: int | None = None) -> str:
    """The object as Python writes it; what would never end, or fill the terminal for hours, is cut short.

    Args:
        width: lay it out on lines of that many characters; None puts it all on one.
    """
    if not _fits(value):
        return f"<{type(value).__qualname__}, too large or too deep to show; --json and dump have it>"
    try:
        if width is None:
            return repr(value)
        from pprint import pformat

        return pformat(value, width=width, sort_dicts=False)
    except RecursionError:
        return f"<{type(value).__qualname__}, too deep to show>"
    except Exception as problem:  # noqa: BLE001  # the repr of a user's class may raise anything
        return f"<{type(value).__qualname__}, whose repr raises {type(problem).__name__}: {problem}>"


def one_line(text: str, characters: int = _LINE_CHARACTERS) -> str:
    """At most so many characters."""
    return text if len(text) <= characters else f"{text[: characters - 1]}…"


def _fits(value: Any) -> bool:
    """Whether the parts of a value, each counted as often as it is shown, are few enough. No recursion."""
    left = _MAX_NODES
    waiting = [iter((value,))]
    while waiting:
        item = next(waiting[-1], MISSING)
        if item is MISSING:
            waiting.pop()
            continue
        left -= 1
        if left < 0:
            return False
        if isinstance(item, dict):
            waiting.append(iter([part for pair in item.items() for part in pair]))
        elif isinstance(item, list | tuple | set | frozenset):
            waiting.append(iter(item))
        elif isinstance(item, int) and item.bit_length() > 10_000:
            return False
    return True
