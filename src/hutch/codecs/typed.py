"""JSON and MessagePack of objects of a given type, by way of msgspec."""

from __future__ import annotations

from hutch.codecs.base import missing_extra
from hutch.codecs.plain import kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

__all__ = ["Typed", "import_msgspec", "mismatch"]


def import_msgspec(codec: str) -> ModuleType:
    """The module, or an error that says how to get it.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import msgspec.json
        import msgspec.msgpack
    except ImportError as problem:
        raise missing_extra(codec, "msgspec", "msgspec") from problem
    return msgspec


class Typed:
    """The two functions of a format for one type.

    What would not be read again is refused when it is to be stored: it is read once, to see.

    Args:
        codec: its name, for messages.
        form: of msgspec: ``msgspec.json`` or ``msgspec.msgpack``.
        type: of the objects, as annotations write it: a dataclass, a Struct, ``list[int]``...
        options: of its Encoder.

    Raises:
        TypeError: msgspec cannot make objects of this type.
    """

    def __init__(self, codec: str, form: Any, type: Any, **options: Any) -> None:  # noqa: A002  # as in msgspec
        self._codec = codec
        self._type = type
        self._is_record = hasattr(type, "__dataclass_fields__") or hasattr(type, "__struct_fields__")
        self._encode: Callable[[Any], bytes] = form.Encoder(**options).encode
        self.decode: Callable[[Any], Any] = form.Decoder(type).decode

    def encode(self, value: Any) -> bytes:
        """The bytes of an object of the type.

        Raises:
            TypeError: it is not one, or has fields that are not of their types.
        """
        if self._is_record and type(value) is not self._type:
            wanted = f"{self._type.__module__}.{self._type.__qualname__}"
            raise TypeError(f"{self._codec} was made for values of type {wanted}, not {kind_of(value)}")
        data = self._encode(value)
        try:
            self.decode(data)
        except (RecursionError, MemoryError):
            raise
        except Exception as problem:
            raise TypeError(f"{self._codec} would not read this value again: {problem}") from problem
        return data


def mismatch(codec: Any, problem: Exception) -> str | None:
    """What to say of a value that is of the format, but not of the type; None of all others."""
    if codec.type is None or type(problem).__name__ != "ValidationError":
        return None
    return f"it looks like {codec.name} of another type than {kind_of_type(codec.type)}"


def kind_of_type(wanted: Any) -> str:
    """A type as annotations write it."""
    return wanted.__qualname__ if isinstance(wanted, type) else repr(wanted)
