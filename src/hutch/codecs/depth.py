"""How deep an object nests, found out by going over what it holds."""

from __future__ import annotations

import gc
from types import WrapperDescriptorType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["is_deep"]

_LEAVES = frozenset((int, str, float, bool, bytes, bytearray, complex, type(None), type, range))
_CODE = (type, type(gc), type(lambda: None), type(len))  # classes, modules, functions: what these hold is no data
_CONTAINERS = frozenset((list, tuple, set, frozenset))
_LEVELS = 64
_HAVE_GC = 1 << 14  # of the flags of a class
_PLAIN = _CONTAINERS | {dict}


def is_deep(value: Any, max_depth: int, most: int = 0, *, is_tree: bool = False) -> bool:
    """Whether an object nests deeper than that, itself included; cycles are followed once. O(its parts).

    Args:
        most: a quick look may go over as many parts first: the bytes of its pickle are more, if it shares little.
        is_tree: it is plain data that shares nothing; a quicker look will do.
    """
    if is_tree:
        level = [value]
        for _ in range(max_depth):
            level = gc.get_referents(*level)
            if not level:
                return False
    elif _is_flat(value, min(max_depth, _LEVELS), most):
        return False
    depths: dict[int, int] = {}  # by id, of what has been gone over; 0: on the path, where a way back goes no deeper
    path = [(value, iter(_parts(value)), [0])]
    while path:
        if len(path) > max_depth:
            return True
        owner, parts, below = path[-1]
        for part in parts:
            known = depths.get(id(part))
            if known is None:
                held = _parts(part)
                if held:
                    depths[id(part)] = 0
                    path.append((part, iter(held), [0]))
                    break
                known = 1
                if type(part) not in _LEAVES:  # it may be large, and be there many times
                    depths[id(part)] = 1
            if known > below[0]:
                below[0] = known
        else:
            path.pop()
            depth = depths[id(owner)] = below[0] + 1
            if len(path) + depth > max_depth:
                return True
            if path and depth > path[-1][2][0]:
                path[-1][2][0] = depth
    return False


def _is_flat(value: Any, levels: int, most: int) -> bool:
    """Whether it surely nests no deeper than that: gone over level by level, without what holds nothing, or is code.

    What is shared counts as often as it is reached, so cycles and much sharing run into a limit: then it is not sure.
    """
    level = [value]
    kinds: set[type] = {type(value)}
    for _ in range(levels - 1):  # one less: what is no container may be one level more
        if kinds <= _PLAIN:
            most -= sum(map(len, level))
        else:
            sizes = {kind: _size_of(kind) for kind in kinds}
            most -= len(level) + sum([size(part) for part in level if (size := sizes[type(part)]) is not None])
        if most < 0:
            return False
        level = [part for part in gc.get_referents(*level) if type(part) not in _LEAVES]
        kinds = {*map(type, level)}
        holding = {kind for kind in kinds if kind.__flags__ & _HAVE_GC and not issubclass(kind, _CODE)}
        if not holding:
            return True
        if holding != kinds:
            level = [part for part in level if type(part) in holding]
            kinds = holding
    return False


def _size_of(kind: type) -> Any:
    """What tells how many things an object holds, if it may be many: ``__len__`` of whatever is not made by Python."""
    for base in kind.__mro__ if kind.__flags__ & _HAVE_GC else ():
        if base in _LEAVES:
            break
        if isinstance(size := vars(base).get("__len__"), WrapperDescriptorType):
            return size
    return None


def _parts(value: Any) -> Any:
    """What an object holds, if not only what holds nothing."""
    kind = type(value)
    if kind is dict:
        held = value.values() if _LEAVES.issuperset(map(type, value)) else [*value, *value.values()]
    elif kind in _CONTAINERS:
        held = value
    elif kind in _LEAVES:
        return ()
    else:
        held = gc.get_referents(value)
        if not _LEAVES.issuperset(map(type, held)):
            held = [part for part in held if not isinstance(part, _CODE)]
    return () if _LEAVES.issuperset(map(type, held)) else held
