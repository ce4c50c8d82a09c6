"""A look over plain data, for what a format would store without a word as something else."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from typing import Any

__all__ = ["Plain", "kind_of"]


def kind_of(value: Any) -> str:
    """A type as messages name it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


class Plain:
    """What a format gives back as it was.

    Args:
        leaves: exact types that come back as they were.
        keys: exact types that do so as the keys of a dict; a tuple among them is looked into.
        bad_key: makes the error for another key.
        bad_leaf: makes the error for what is neither a leaf nor a dict, list or tuple; None: that is fine.
        sets: sets are containers too.
        shares: the format knows an object that is in many places, or in itself: each is looked at once.
        checks: of some leaves, what looks at them one by one, and at such keys.
    """

    def __init__(
        self,
        *,
        leaves: Collection[type],
        keys: Collection[type],
        bad_key: Callable[[Any], TypeError],
        bad_leaf: Callable[[Any], TypeError] | None = None,
        sets: bool = False,
        shares: bool = False,
        checks: Mapping[type, Callable[[Any], None]] | None = None,
    ) -> None:
        self._checks = dict(checks or ())
        self._leaves = frozenset(leaves) - frozenset(self._checks)
        self._keys = frozenset(keys)
        self._quick_keys = self._keys - {tuple} - frozenset(self._checks)
        self._bad_key = bad_key
        self._bad_leaf = bad_leaf
        self._containers = (dict, list, tuple, set, frozenset) if sets else (dict, list, tuple)
        self._shares = shares

    def check(self, *values: Any) -> None:
        """Look at every part of some values that the encoder has accepted. O(parts).

        Raises:
            TypeError, ValueError: from the functions.
        """
        leaves, quick_keys, containers, shares = self._leaves, self._quick_keys, self._containers, self._shares
        pending: list[Iterable[Any]] = [values]
        pop, push = pending.pop, pending.append
        seen: set[int] = set()
        while pending:
            for item in pop():
                kind = type(item)
                if kind in leaves:
                    continue
                if isinstance(item, containers):
                    if shares:
                        if id(item) in seen:
                            continue
                        seen.add(id(item))
                    if isinstance(item, dict):
                        if not quick_keys.issuperset(map(type, item)):
                            push(self._looked_at(item))
                        push(item.values())
                    else:
                        push(item)
                elif kind in self._checks:
                    self._checks[kind](item)
                elif self._bad_leaf is not None:
                    raise self._bad_leaf(item)

    def _looked_at(self, item: dict[Any, Any]) -> list[Any]:
        """The keys of a dict that need a second look.

        Raises:
            TypeError: there is one of another type.
        """
        for key in item:
            if type(key) not in self._keys:
                raise self._bad_key(key)
        return [key for key in item if type(key) not in self._quick_keys]
