"""A look over plain data, for what a format would store without a word as something else."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

__all__ = ["check_plain", "kind_of"]


def kind_of(value: Any) -> str:
    """A type as messages name it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def check_plain(
    values: Iterable[Any],
    *,
    leaves: Collection[type],
    keys: Collection[type],
    bad_key: Callable[[Any], TypeError],
    bad_leaf: Callable[[Any], TypeError] | None = None,
    sets: bool = False,
    checks: Mapping[type, Callable[[Any], None]] | None = None,
) -> None:
    """Look at every part of some values that an encoder has accepted. O(parts).

    Args:
        leaves: exact types that come back as they were.
        keys: exact types that do so as the keys of a dict; a tuple among them is looked into.
        bad_key: makes the error for another key.
        bad_leaf: makes the error for what is neither a leaf nor a dict, list or tuple; None: that is fine.
        sets: sets are containers too.
        checks: of some leaves, what looks at them one by one.

    Raises:
        TypeError, ValueError: from these functions.
    """
    leaves, keys = frozenset(leaves), frozenset(keys)
    simple = leaves - frozenset(checks or ())
    pending: list[Iterable[Any]] = [values]
    seen: set[int] = set()  # containers: one may be in many places, and, where the format allows it, in itself
    while pending:
        items = pending.pop()
        # The types of many small things as one set: most of them need no second look.
        if simple.issuperset(map(type, items)):
            continue
        for item in items:
            kind = type(item)
            if kind in simple:
                continue
            if kind in leaves:
                assert checks is not None
                checks[kind](item)
            elif id(item) in seen:
                continue
            elif isinstance(item, dict):
                seen.add(id(item))
                if not keys.issuperset(map(type, item)):
                    raise bad_key(next(key for key in item if type(key) not in keys))
                if item:
                    pending.append(item.values())
                if checks and not simple.issuperset(map(type, item)):
                    pending.append(item.keys())
                elif tuple in keys:
                    pending.append([key for key in item if type(key) is tuple])
            elif isinstance(item, (list, tuple)) or (sets and isinstance(item, (set, frozenset))):
                seen.add(id(item))
                pending.append(item)
            elif bad_leaf is not None:
                raise bad_leaf(item)
