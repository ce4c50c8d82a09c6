"""Views of a shelf's values and items: read one at a time, they survive updates, and can pass over what is damaged."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, ValuesView

from hutch.errors import CodecError, CorruptEntryError
from hutch.pickling import UnreadableValueError
from hutch.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any, Literal, TypeAlias

    from hutch.shelf import Shelf

    OnError: TypeAlias = Literal["raise", "skip"] | Callable[[str | bytes, Exception], object]

    AnyItems: TypeAlias = ItemsView[str, Any]
    AnyValues: TypeAlias = ValuesView[Any]
    AnyIterator: TypeAlias = Iterator[tuple[str, Any]]
else:
    AnyItems, AnyValues, AnyIterator = ItemsView, ValuesView, Iterator

__all__ = ["UNREADABLE", "ItemIterator", "LenientItems", "ShelfItems", "ShelfValues", "Skipped", "check_errors"]

# One entry's own: every other one can be read. (A key may be in another encoding.)
UNREADABLE = (UnreadableValueError, CodecError, CorruptEntryError, UnicodeDecodeError)


class Skipped(NamedTuple):
    """An entry that was passed over, and why.

    Attributes:
        key: its key; bytes, where these are no text in the shelf's encoding.
        error: what reading it has raised.
    """

    key: str | bytes
    error: Exception


def check_errors(errors: object) -> None:
    """Refuse what says nothing about errors. Raises ValueError."""
    if errors not in ("raise", "skip") and not callable(errors):
        raise ValueError(f"errors must be 'raise', 'skip' or a function of key and error, not {errors!r}")


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


class LenientItems(AnyIterator):
    """Look up one key after another, and pass over the entries that cannot be read."""

    __slots__ = ("_keys", "_on_error", "_shelf", "_skipped")

    def __init__(self, shelf: Shelf, errors: OnError, skipped: list[Skipped]) -> None:
        self._shelf = shelf
        self._keys: Iterator[str | bytes] = shelf._names() if shelf._is_plain else iter(shelf)
        self._on_error = None if isinstance(errors, str) else errors
        self._skipped = skipped

    def __next__(self) -> tuple[str, Any]:
        shelf = self._shelf
        while True:
            key = next(self._keys)
            try:
                if isinstance(key, bytes):
                    key = shelf._decode_key(key)
                return key, shelf[key]
            except KeyError:
                continue
            except UNREADABLE as problem:
                self._skipped.append(Skipped(key, problem))
                if self._on_error is not None:
                    self._on_error(key, problem)


class _Lenient:
    """What both views are made of.

    Attributes:
        skipped: what the iteration that began last has passed over so far.
    """

    _mapping: Any
    _errors: OnError
    skipped: list[Skipped]

    def _start(self, errors: OnError) -> None:
        check_errors(errors)
        self._errors = errors
        self.skipped = []

    def _pairs(self) -> Iterator[tuple[str, Any]]:
        self.skipped = []
        if self._errors == "raise":
            return self._mapping._iterate_items()  # type: ignore[no-any-return]
        return LenientItems(self._mapping, self._errors, self.skipped)


class ShelfItems(_Lenient, AnyItems):
    """The pairs of key and value of a shelf.

    Attributes:
        skipped: what the iteration that began last has passed over so far: a list of `Skipped`.
    """

    def __init__(self, mapping: Any, errors: OnError = "raise") -> None:
        super().__init__(mapping)
        self._start(errors)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return self._pairs()


class ShelfValues(_Lenient, AnyValues):
    """The values of a shelf.

    Attributes:
        skipped: as of `ShelfItems`.
    """

    def __init__(self, mapping: Any, errors: OnError = "raise") -> None:
        super().__init__(mapping)
        self._start(errors)

    def __iter__(self) -> Iterator[Any]:
        return map(_second, self._pairs())

    def __contains__(self, value: object) -> bool:
        return any(found is value or found == value for found in self)


def _second(pair: tuple[str, Any]) -> Any:
    return pair[1]
