"""MessagePack: what JSON has and bytes, in few bytes, for most languages."""

from __future__ import annotations

from hutch.codecs.base import Codec, refuse
from hutch.codecs.looks import EMPTY_LIST_OF_MARSHAL
from hutch.codecs.plain import Plain, kind_of
from hutch.codecs.typed import mismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from typing import Any

    from hutch.codecs.base import Data

__all__ = ["MessagePack"]

_LEAVES = (type(None), bool, int, float, str, bytes, bytearray, memoryview)
_KEYS = (type(None), bool, int, float, str, bytes, tuple)


class MessagePack(Codec):
    """MessagePack as it is: dicts, lists, text, bytes, numbers, True, False, None, and datetimes with a time zone.

    A tuple comes back as a list (but as a tuple in a key), a bytearray as bytes, and a datetime in UTC. What would
    come back as something else is refused: a set, a date, an enum member... Integers have 64 bits. Needs
    ``pip install 'hutch[msgspec]'``.

    Args:
        type: of the values: a dataclass, a msgspec Struct, ``list[int]`` or whatever msgspec knows. They come back as
            objects of this type, and what does not fit it is an error.

    Raises:
        ImportError: msgspec is not installed.
        TypeError: msgspec does not know this type.
    """

    name = "MessagePack"
    is_inert = True

    def __init__(self, type: Any = None) -> None:  # noqa: A002  # what it is called in msgspec, too
        from hutch.codecs.typed import Typed, import_msgspec

        msgspec = import_msgspec("MessagePack")
        self.type = type
        form = msgspec.msgpack
        if type is not None:
            typed = Typed(self.name, form, type)
            self._typed: Typed | None = typed
            self._decode = typed.decode
            return
        self._typed = None
        self._encode = form.Encoder().encode
        self._decode = form.Decoder().decode
        from datetime import datetime

        self._plain = Plain(
            leaves=(*_LEAVES, form.Ext),
            keys=_KEYS,
            bad_key=_bad_part,
            bad_leaf=_bad_part,
            checks={datetime: _check_moment},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.type,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.type is None else repr(self.type)})"

    def encode(self, key: bytes, value: Any) -> bytes:
        """The bytes.

        Raises:
            TypeError: something in `value` is not what MessagePack has.
            ValueError: an integer has more than 64 bits.
        """
        try:
            if self._typed is not None:
                return self._typed.encode(value)
            data: bytes = self._encode(value)
        except OverflowError as problem:
            raise ValueError("MessagePack has integers of 64 bits: store larger ones with Json or Pickle") from problem
        self._plain.check(value)
        return data

    def decode(self, key: bytes, data: Data) -> Any:
        """The object.

        Raises:
            CodecError: it is not MessagePack, or not of the type.
            LimitError: it nests too deeply.
        """
        try:
            if data == EMPTY_LIST_OF_MARSHAL:
                raise ValueError("no text of no characters takes five bytes")
            return self._decode(data)
        except MemoryError:
            raise
        except Exception as problem:
            raise refuse(self, key, data, problem, mismatch(self, problem)) from problem


def _bad_part(part: Any) -> TypeError:
    return TypeError(
        f"MessagePack has no {kind_of(part)}, and would store something else: make it plain data yourself, "
        "say MessagePack(type=...), or use Pickle"
    )


def _check_moment(moment: datetime) -> None:
    if moment.tzinfo is None:
        raise TypeError("MessagePack has no datetime without a time zone, and would store text: give it one")
