"""Transactions, of a kind, for a mapping that has none of its own."""

from __future__ import annotations

from collections.abc import MutableMapping

from hutch.cache import MISSING
from hutch.errors import TransactionError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType
    from typing import Any, Self, TypeAlias

    Raw: TypeAlias = MutableMapping[bytes, Any]
else:
    Raw = MutableMapping

__all__ = ["UndoLog"]


class UndoLog(Raw):
    """Stands before a mapping while a block lasts, and can take back what was done through it.

    In this process only, and nothing is kept from other threads or survives a crash: over a plain dict
    there is no more to be had.

    Attributes:
        mapping: the mapping.
    """

    def __init__(self, mapping: Any) -> None:
        self.mapping = mapping
        self._old: dict[bytes, Any] = {}
        self._order: list[bytes] | None = None
        self._depth = 0
        self._failed = False

    def transaction(self) -> Self:
        """Return this: blocks within blocks are counted, and the outermost one decides."""
        return self

    def __enter__(self) -> Self:
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        self._failed = self._failed or kind is not None
        if self._depth == 0 and self._failed:
            self._roll_back()
            if kind is None:
                raise TransactionError("a transaction inside this one has failed: everything is rolled back")

    def _roll_back(self) -> None:
        mapping = self.mapping
        for key, old in self._old.items():
            if old is not MISSING:
                mapping[key] = old
            elif key in mapping:
                del mapping[key]
        # What was deleted has come back at the end: put everything behind the first such into its place.
        for key in self._order or ():
            value = mapping[key]
            del mapping[key]
            mapping[key] = value

    def _remember(self, key: bytes) -> None:
        if key not in self._old:
            try:
                self._old[key] = self.mapping[key]
            except KeyError:
                self._old[key] = MISSING

    def __getitem__(self, key: bytes) -> Any:
        return self.mapping[key]

    def __setitem__(self, key: bytes, value: Any) -> None:
        self._remember(key)
        self.mapping[key] = value

    def __delitem__(self, key: bytes) -> None:
        self._remember(key)
        if self._order is None:
            self._order = [k for k in self.mapping.keys() if self._old.get(k) is not MISSING]  # noqa: SIM118  # gdbm's
        del self.mapping[key]

    def clear(self) -> None:
        for key in list(self.mapping.keys()):
            del self[key]

    def __iter__(self) -> Iterator[bytes]:
        return iter(list(self.mapping.keys()))

    def __len__(self) -> int:
        return len(self.mapping)

    def __contains__(self, key: object) -> bool:
        return key in self.mapping

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mapping, name)
