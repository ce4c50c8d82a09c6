"""Views of a shelf's values and items that read them one at a time and survive updates."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any, TypeAlias

    AnyItems: TypeAlias = ItemsView[str, Any]
    AnyValues: TypeAlias = ValuesView[Any]
    AnyIterator: TypeAlias = Iterator[tuple[str, Any]]
else:
    AnyItems, AnyValues, AnyIterator = ItemsView, ValuesView, Iterator

__all__ = ["ItemIterator", "ShelfItems", "ShelfValues"]


class ItemIterator(AnyIterator):
    """Look up one key after another, and pass over those that have been deleted meanwhile.

    No generator, for it would be at its end after an error: here the next call goes on behind the entry
    that cannot be read.
    """

    __slots__ = ("_keys", "_mapping")

    def __init__(self, mapping: MutableMapping[str, Any]) -> None:
        self._mapping = mapping
        self._keys = iter(mapping)

    def __next__(self) -> tuple[str, Any]:
        while True:
            key = next(self._keys)
            try:
                return key, self._mapping[key]
            except KeyError:
                continue


class ShelfItems(AnyItems):
    """The pairs of key and value of a shelf."""

    __slots__ = ()
    _mapping: Any

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._mapping._iterate_items()  # type: ignore[no-any-return]


class ShelfValues(AnyValues):
    """The values of a shelf."""

    __slots__ = ()
    _mapping: Any

    def __iter__(self) -> Iterator[Any]:
        return map(_second, self._mapping._iterate_items())

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)


def _second(pair: tuple[str, Any]) -> Any:
    return pair[1]
