"""Marshal: the interpreter's own format, fast, and seldom the right one."""

from __future__ import annotations

import marshal

from hutch.codecs.base import Codec, refuse
from hutch.codecs.looks import size_of_marshal
from hutch.codecs.plain import Plain, kind_of
from hutch.codecs.whole import TOO_SHORT, is_whole_marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.codecs.base import Data

__all__ = ["Marshal"]

_CODE = type((lambda: None).__code__)
_LEAVES = (type(None), bool, int, float, complex, str, bytes, type(...), type, _CODE)
_COUNTED = tuple(bytes((kind | flag,)) for kind in b"([<>" for flag in (0, 0x80))  # four bytes of count follow


class Marshal(Codec):
    """``marshal``: built-in types only, code objects among them. Use it for caches that may be thrown away.

    Do not use it for what you want to keep, or for bytes of others:

    - the format belongs to one version of Python; another may read it wrongly, or not at all;
    - it is not safe against hostile or damaged bytes: these may crash the interpreter, which nobody can catch. (What
      hutch has stored and not been tampered with is safe: its checksums see accidental damage first.)

    Subclasses, bytearrays and other buffers are refused: they would come back as something else.

    Args:
        version: of the format; None: this Python's.

    Raises:
        ValueError: this Python has no such version.
    """

    name = "Marshal"

    def __init__(self, version: int | None = None) -> None:
        if version is not None and (type(version) is not int or not 0 <= version <= marshal.version):
            raise ValueError(f"the versions of marshal are 0 to {marshal.version}, not {version!r}")
        self.version = version

    def __repr__(self) -> str:
        return f"{type(self).__name__}({'' if self.version is None else self.version})"

    def encode(self, key: bytes, value: Any) -> bytes:
        """The bytes.

        Raises:
            TypeError: something in `value` would come back as something else.
            ValueError: something in it cannot be marshalled.
        """
        data = marshal.dumps(value, marshal.version if self.version is None else self.version)
        if type(value) not in _LEAVES:
            _PLAIN.check(value)
        return data

    def decode(self, key: bytes, data: Data) -> Any:
        """The object. Never for bytes that somebody else may have written.

        Raises:
            CodecError: it is not marshalled.
        """
        try:
            size = size_of_marshal(data)
            if size is not None and size < len(data):
                raise ValueError("there is something behind the end of it")
            if data[:1] in _COUNTED and int.from_bytes(data[1:5], "little") > len(data):
                raise ValueError("it is shorter than it says")  # before memory is taken for so much
            return marshal.loads(data)  # noqa: S302  # what this codec is for, and what its docstring warns of
        except MemoryError as problem:
            if is_whole_marshal(data):
                raise
            raise refuse(self, key, data, TOO_SHORT) from problem
        except Exception as problem:
            raise refuse(self, key, data, problem) from problem


def _bad_part(part: Any) -> TypeError:
    return TypeError(f"Marshal would store something else than a {kind_of(part)}: make it plain data, or use Pickle")


_PLAIN = Plain(
    leaves=_LEAVES,
    keys=(*_LEAVES, tuple, frozenset),
    bad_key=_bad_part,
    bad_leaf=_bad_part,
    sets=True,
    shares=True,
)
