"""Stand-ins for functions that pickles of data name: each does what they need it for, and no more."""

from __future__ import annotations

from enum import EnumType

from hutch.errors import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["array_of", "encode", "reconstruct", "zone_method"]


def encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode` as protocols 0 to 2 use it for bytes."""
    if type(text) is not str or encoding != "latin1":
        raise CodecError("_codecs.encode is there for bytes in latin1 only")
    return text.encode("latin-1")


def array_of(cls: Any, code: str, machine_format: int, items: bytes) -> Any:
    """`array._array_reconstructor` as protocols 3 to 5 use it: an array of the bytes of one."""
    import array

    if cls is not array.array:
        raise CodecError("array._array_reconstructor is there for array.array only")
    return vars(array)["_array_reconstructor"](cls, code, machine_format, items)


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
    if base.__init__ is not object.__init__:
        base.__init__(made, state)
    return made
