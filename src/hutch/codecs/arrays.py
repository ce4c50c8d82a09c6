"""What pickles of NumPy's arrays and scalars name, and what SafePickle lets them do.

Only numbers, truth values, text, bytes and times. The state of a dtype decides how NumPy reads memory, and NumPy
believes it: a dtype of objects whose flags deny it would make pointers of bytes. So each state must be the one that
belongs to the dtype's name, word for word. Arrays of objects and of records are refused.
"""

from __future__ import annotations

import re

from hutch.codecs import notes
from hutch.codecs.allowed import Entry
from hutch.codecs.notes import Made, extent_of
from hutch.codecs.rules import is_bytes, never, parts_of_tuple
from hutch.errors import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hutch.codecs.opcodes import Global, Walk

__all__ = ["ENTRIES"]

_NAME = re.compile(r"(?:(b1|[iu][1248]|f(?:2|4|8|16)|c(?:8|16|32))|([SUV])(0|[1-9]\d{0,8})|([mM])8)", re.ASCII)
_MAX_UNIT = 1 << 31
_SCALAR_WORK = 8
_WIDEST = 1 << 20  # bytes of an element, unless the pickle is as long


def _is_made(item: Any, where: Global) -> bool:
    return type(item) is Made and item.kind == notes.RESULT and item.items == where


def _same(found: list[Any], expected: list[Any]) -> bool:
    """The same numbers: True is not 1 here."""
    return len(found) == len(expected) and all(
        type(mine) is type(yours) and mine == yours for mine, yours in zip(found, expected, strict=True)
    )


def _dtype(walk: Walk, items: list[Any]) -> bool:
    """``dtype(name, False, True)``: a copy, so that nobody else has it when its state is set."""
    name = walk.text(items[0]) if len(items) == 3 else None
    return name is not None and _NAME.fullmatch(name) is not None and items[1] in (0, False) and items[2] in (1, True)


def _dtype_state(walk: Walk, items: list[Any]) -> bool:
    """The state that NumPy writes for a dtype of that name."""
    target, state = items
    found = parts_of_tuple(state)
    arguments = target.arguments
    match = _NAME.fullmatch(walk.text(arguments[0]) or "") if arguments else None
    if found is None or match is None or len(found) < 8 or walk.text(found[1]) not in ("<", ">", "|", "="):
        return False
    version, _, *rest = found
    numeric, sized, size, _ = match.groups()
    if sized is not None:
        width = int(size) * (4 if sized == "U" else 1)
        if width > max(_WIDEST, len(walk.data)):  # even an empty array takes as much
            return False
        if not _same(rest, [None, None, None, width, 4 if sized == "U" else 1, 8 if sized == "U" else 0]):
            return False
    elif not _same(rest[:6], [None, None, None, -1, -1, 0]):
        return False
    if numeric is not None or sized is not None:
        return version == 3 and len(found) == 8
    return version == 4 and len(found) == 9 and _is_unit(found[8])


def _is_unit(item: Any) -> bool:
    """The unit of a time: ``(None or {}, (b'ns', 1, 1, 1))``."""
    pair = parts_of_tuple(item)
    if pair is None or len(pair) != 2:
        return False
    extra, unit = pair
    numbers = parts_of_tuple(unit)
    return (
        (extra is None or (type(extra) is Made and extra.kind == notes.DICT and extra.size == 0))
        and numbers is not None
        and len(numbers) == 4
        and is_bytes(numbers[0])
        and all(type(number) is int and 0 < number < _MAX_UNIT for number in numbers[1:])
    )


def _reconstruct(walk: Walk, items: list[Any]) -> bool:
    if len(items) != 3 or type(items[0]) is not Made or items[0].kind != notes.GLOBAL:
        return False
    shape = parts_of_tuple(items[1])
    return items[0].items == ("numpy", "ndarray") and shape is not None and _same(shape, [0]) and is_bytes(items[2])


def _width(walk: Walk, dtype: Any) -> int:
    """Bytes of an element, if it is one of text or bytes."""
    arguments = dtype.arguments if type(dtype) is Made else None
    match = _NAME.fullmatch(walk.text(arguments[0]) or "") if arguments else None
    return int(match[3]) * (4 if match[2] == "U" else 1) if match and match[3] else 0


def _is_shape(item: Any) -> bool:
    shape = parts_of_tuple(item)
    return shape is not None and len(shape) <= 64 and all(type(size) is int and size >= 0 for size in shape)


def _array_state(walk: Walk, items: list[Any]) -> bool:
    """``(1, shape, dtype, is_fortran, bytes)``; NumPy compares the size of the bytes with shape and dtype."""
    found = parts_of_tuple(items[1])
    if found is None or len(found) != 5:
        return False
    walk.copy(extent_of(found[4]))  # where bytes are in another order than here
    return (
        found[0] == 1
        and _is_shape(found[1])
        and _is_made(found[2], ("numpy", "dtype"))
        and type(found[3]) in (bool, int)
        and is_bytes(found[4])
    )


def _scalar(walk: Walk, items: list[Any]) -> bool:
    return len(items) == 2 and _is_made(items[0], ("numpy", "dtype")) and is_bytes(items[1])


def _frombuffer(walk: Walk, items: list[Any]) -> bool:
    order = walk.text(items[3]) if len(items) >= 4 else None
    walk.copy(_width(walk, items[1]) if len(items) > 1 else 0)  # an empty array takes as much as one element
    return (
        is_bytes(items[0])
        and _is_made(items[1], ("numpy", "dtype"))
        and _is_shape(items[2])
        and ((len(items) == 4 and order in ("C", "F")) or (len(items) == 5 and order == "K" and _is_shape(items[4])))
    )


# Stand-ins.


def reconstruct(cls: type, shape: Any, code: Any) -> Any:
    """`_reconstruct`: an empty array, whose state comes next."""
    import numpy as np

    if cls is not np.ndarray or shape != (0,) or code != b"b":
        raise CodecError("is no array as NumPy writes it")
    return np.ndarray.__new__(np.ndarray, (0,), "b")


def scalar(dtype: Any, data: bytes) -> Any:
    """`scalar`: the one element of an array; of no bytes, if it is empty text."""
    if len(data) == 0 and dtype.itemsize == 0:
        return dtype.type()
    return frombuffer(data, dtype, (1,), "C")[0]


def frombuffer(
    data: Any, dtype: Any, shape: tuple[int, ...], order: str, axis_order: tuple[int, ...] | None = None
) -> Any:
    """`_frombuffer`: an array over the bytes of the pickle, with its axes in another order if that is given."""
    if axis_order is not None:
        return frombuffer(data, dtype, shape, "C").transpose(axis_order)
    import numpy as np

    if type(data) not in (bytes, bytearray) or not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise CodecError("is no array as NumPy writes it")
    if len(data) == 0:  # which numpy.frombuffer refuses
        return np.frombuffer(type(data)(dtype.itemsize), dtype=dtype)[:0].reshape(shape, order=order)  # type: ignore[call-overload]
    return np.frombuffer(data, dtype=dtype).reshape(shape, order=order)  # type: ignore[call-overload]


class Scalar(Entry):
    """NumPy's scalars, which take long to compare with numbers of other types."""

    __slots__ = ()

    def _weight(self) -> int:
        return _SCALAR_WORK


def _entries() -> dict[Global, Entry]:
    table = {
        ("numpy", "ndarray"): Entry(("numpy", "ndarray"), never, builds=_array_state),
        ("numpy", "dtype"): Entry(("numpy", "dtype"), _dtype, builds=_dtype_state),
    }
    for core in ("numpy.core", "numpy._core"):
        for module, name, rule, thing, makes in (
            ("multiarray", "_reconstruct", _reconstruct, reconstruct, ("numpy", "ndarray")),
            ("multiarray", "scalar", _scalar, scalar, None),
            ("numeric", "_frombuffer", _frombuffer, frombuffer, None),
        ):
            where = (f"{core}.{module}", name)
            kind = Scalar if rule is _scalar else Entry
            table[where] = kind(where, rule, bare=False, thing=thing, makes=makes)
    return table


ENTRIES = _entries()
