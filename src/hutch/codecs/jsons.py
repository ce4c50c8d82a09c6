"""JSON: text that people and other languages read."""

from __future__ import annotations

from hutch.codecs.base import Codec, refuse, show_options
from hutch.codecs.plain import Plain, kind_of
from hutch.codecs.typed import mismatch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from json import JSONDecoder, JSONEncoder
    from typing import Any

    from hutch.codecs.base import Data

__all__ = ["Json"]


class Json(Codec):
    """JSON in UTF-8 that other programs read: dicts with text keys, lists, text, numbers, True, False and None.

    A tuple comes back as a list, and an enum member as its value: JSON has nothing else. What would come back with
    another meaning is refused: keys that are not text (JSON would turn 1 into "1"), and the numbers that JSON lacks
    (NaN and the infinities).

    Args:
        default: called with an object that JSON does not have; returns one that it has.
        object_hook: called with each dict that is read; returns what to put in its place.
        indent: spaces for each level, for people; None: all on one line.
        sort_keys: write the keys of a dict in order, so that equal values are equal bytes.
        allow_nan: store and read NaN and the infinities under the names that JavaScript has for them, as most of
            Python's JSON does; other languages may refuse these.
        type: of the values: a dataclass, a msgspec Struct, ``list[int]`` or whatever msgspec knows. They come back as
            objects of this type, and what does not fit it is an error. Needs ``pip install 'hutch[msgspec]'``.

    Raises:
        ImportError: with `type`: msgspec is not installed.
        TypeError: with `type`: msgspec does not know this one.
        ValueError: with `type` there is no `object_hook` and no `allow_nan`.
    """

    name = "Json"
    reads = ("text",)
    is_inert = True

    def __init__(
        self,
        *,
        default: Callable[[Any], Any] | None = None,
        object_hook: Callable[[dict[str, Any]], Any] | None = None,
        indent: int | None = None,
        sort_keys: bool = False,
        allow_nan: bool = False,
        type: Any = None,  # noqa: A002  # what it is called in msgspec, too
    ) -> None:
        self.default = default
        self.object_hook = object_hook
        self.indent = indent
        self.sort_keys = sort_keys
        self.allow_nan = allow_nan
        self.type = type
        if type is not None:
            if object_hook is not None or allow_nan:
                raise ValueError("Json(type=...) makes its objects of the type: leave out object_hook and allow_nan")
            from hutch.codecs.typed import Typed, import_msgspec

            form = import_msgspec("Json(type=...)").json
            order = "sorted" if sort_keys else None
            self._format = form.format
            self._typed: Typed | None = Typed("Json", form, type, enc_hook=default, order=order)
            return
        self._typed = None
        from json import JSONDecoder, JSONEncoder

        self._encoders: list[JSONEncoder] = [
            JSONEncoder(
                ensure_ascii=is_ascii,
                allow_nan=allow_nan,
                indent=indent,
                sort_keys=sort_keys,
                separators=(",", ":") if indent is None else None,
            )
            for is_ascii in (False, True)
        ]
        refused = None if allow_nan else _no_constant
        self._decoder: JSONDecoder = JSONDecoder(object_hook=object_hook, parse_constant=refused)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (type(self), self._options())

    def __repr__(self) -> str:
        return show_options(self, self._options())

    def _options(self) -> dict[str, Any]:
        names = ("default", "object_hook", "indent", "sort_keys", "allow_nan", "type")
        return {name: getattr(self, name) for name in names}

    def encode(self, key: bytes, value: Any) -> bytes:
        """The text, in UTF-8. A lone surrogate, which UTF-8 lacks, is escaped with whatever else is not ASCII.

        Raises:
            TypeError: something in `value` is not what JSON has, such as a key that is not text.
            ValueError: there is a number that is not finite, or an object that contains itself.
        """
        if self._typed is not None:
            data = self._typed.encode(value)
            return data if self.indent is None else self._format(data, indent=self.indent)
        made = [value]  # and what `default` makes of its parts
        text = self._text(value, made, ensure_ascii=False)
        _PLAIN.check(*made)
        try:
            return text.encode()
        except UnicodeEncodeError:
            return self._text(value, [], ensure_ascii=True).encode()

    def _text(self, value: Any, made: list[Any], *, ensure_ascii: bool) -> str:
        encoder = self._encoders[ensure_ascii]
        if self.default is None:
            return encoder.encode(value)
        from copy import copy

        convert = self.default

        def default(thing: Any) -> Any:
            other = convert(thing)
            made.append(other)
            return other

        encoder = copy(encoder)  # others may be at work with this one
        encoder.default = default  # type: ignore[assignment]
        return encoder.encode(value)

    def decode(self, key: bytes, data: Data) -> Any:
        """The object.

        Raises:
            CodecError: it is not JSON, or not of the type.
            LimitError: it nests too deeply.
        """
        try:
            if self._typed is not None:
                return self._typed.decode(data)
            return self._decoder.decode(str(data, "utf-8").removeprefix("\ufeff"))
        except MemoryError:
            raise
        except Exception as problem:
            raise refuse(self, key, data, problem, mismatch(self, problem)) from problem


def _bad_key(key: Any) -> TypeError:
    return TypeError(
        f"Json keys are text, not {kind_of(key)}: {key!r} would come back as text. "
        f"Write str({key!r}) yourself, or store it with MessagePack or Pickle"
    )


_PLAIN = Plain(leaves=(type(None), bool, int, float, str), keys=(str,), bad_key=_bad_key)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON: read it with Json(allow_nan=True)")


def _remake(kind: type[Json], options: dict[str, Any]) -> Json:
    return kind(**options)
