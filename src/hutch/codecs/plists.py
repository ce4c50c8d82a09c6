"""Property lists: the standard library's XML for data, and its binary form."""

from __future__ import annotations

from hutch.codecs.base import Codec, refuse
from hutch.codecs.plain import Plain, kind_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from typing import Any, Literal

    from hutch.codecs.base import Data

__all__ = ["Plist"]

_LEAVES = (bool, int, float, str, bytes, bytearray)
_FORMATS = {"xml": "FMT_XML", "binary": "FMT_BINARY"}


class Plist(Codec):
    """A property list: dicts with text keys, lists, text, bytes, numbers, True, False and datetimes; no None.

    Both forms are read, whichever is written. A tuple comes back as a list, a bytearray as bytes. Datetimes have no
    time zone, and in XML no fractions of a second; XML has no control characters and no carriage return. What a form
    lacks is refused. Entities in XML, with which a small file could become a huge value, are refused too.

    Args:
        fmt: ``"xml"`` or ``"binary"``.
        sort_keys: write the keys of a dict in order, so that equal values are equal bytes.

    Raises:
        ValueError: there is no such form.
    """

    name = "Plist"
    reads = ("text",)
    is_inert = True

    def __init__(self, fmt: Literal["xml", "binary"] = "xml", *, sort_keys: bool = False) -> None:
        if fmt not in _FORMATS:
            raise ValueError(f"the forms of Plist are 'xml' and 'binary', not {fmt!r}")
        self.fmt: Literal["xml", "binary"] = fmt
        self.sort_keys = sort_keys

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.fmt!r}{', sort_keys=True' if self.sort_keys else ''})"

    def encode(self, key: bytes, value: Any) -> bytes:
        """The property list.

        Raises:
            TypeError: something in `value` is not what property lists have.
            ValueError: some text or datetime cannot be written in this form; an integer has more than 64 bits; a
                container is inside itself.
        """
        import plistlib
        from datetime import datetime

        is_xml = self.fmt == "xml"
        if not is_xml:
            _check_tree(value)
        try:
            data = plistlib.dumps(value, fmt=getattr(plistlib, _FORMATS[self.fmt]), sort_keys=self.sort_keys)
        except OverflowError as problem:
            raise ValueError("Plist has integers of 64 bits: store larger ones with Json or Pickle") from problem
        checks: dict[type, Callable[[Any], None]] = {datetime: _check_seconds if is_xml else _check_moment}
        leaves: tuple[type, ...] = _LEAVES
        if is_xml:
            checks[str] = _check_text
        else:
            leaves = (*leaves, plistlib.UID)
        plain = Plain(
            leaves=leaves, keys=(str,), bad_key=_bad_part, bad_leaf=_bad_part, checks=checks, shares=not is_xml
        )
        plain.check(value)
        return data

    def decode(self, key: bytes, data: Data) -> Any:
        """The object.

        Raises:
            CodecError: it is not a property list, or contains itself.
        """
        import plistlib

        try:
            value = plistlib.loads(bytes(data))
            if value is None:
                raise ValueError("there is no value in it")
            if data[:6] == b"bplist":
                _check_tree(value)
        except MemoryError:
            raise
        except Exception as problem:
            raise refuse(self, key, data, problem) from problem
        return value


def _check_tree(value: Any) -> None:
    """Refuse a container that is inside itself, which only the binary form can say. O(parts)."""
    inside: set[int] = set()  # containers that are open
    seen: set[int] = set()  # and those that have been looked at: one may stand in many places
    path: list[tuple[int, Any]] = [(0, iter((value,)))]
    while path:
        for part in path[-1][1]:
            if not isinstance(part, (dict, list, tuple)):
                continue
            number = id(part)
            if number in inside:
                raise ValueError("a container is inside itself")
            if number not in seen:
                seen.add(number)
                inside.add(number)
                path.append((number, iter(part.values() if isinstance(part, dict) else part)))
                break
        else:
            inside.discard(path.pop()[0])


def _bad_part(part: Any) -> TypeError:
    return TypeError(f"Plist has no {kind_of(part)}, and would store something else: make it plain data yourself")


def _check_text(text: str) -> None:
    # plistlib itself refuses most control characters, but not what XML readers change or refuse.
    if "\r" in text or "\ufffe" in text or "\uffff" in text:
        raise ValueError("XML cannot hold a carriage return, U+FFFE or U+FFFF: use Plist('binary')")


def _check_moment(moment: datetime) -> None:
    if moment.tzinfo is not None:
        raise ValueError("Plist has no time zones: convert the datetime to UTC and take its tzinfo off")
    epoch = type(moment)(2001, 1, 1)
    from datetime import timedelta

    if epoch + timedelta(seconds=(moment - epoch).total_seconds()) != moment:
        raise ValueError(f"a binary Plist cannot hold the microseconds of {moment}, so far from 2001")


def _check_seconds(moment: datetime) -> None:
    if moment.tzinfo is not None:
        raise ValueError("Plist has no time zones: convert the datetime to UTC and take its tzinfo off")
    if moment.microsecond:
        raise ValueError("in XML a Plist has no fractions of a second: use Plist('binary'), or replace(microsecond=0)")
