"""What ``with`` statements hold: a transaction of many entries, or a slot with one."""

from __future__ import annotations

from hutch.encoding import encode_value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from hutch.dbm import Database
    from hutch.encoding import Value
    from hutch.store import Store

__all__ = ["Slot", "Transaction"]


class Transaction:
    """``with db.transaction():``, all or nothing: leaving the block commits, an exception rolls back."""

    __slots__ = ("_database",)

    def __init__(self, database: Database) -> None:
        self._database = database

    def __enter__(self) -> Database:
        self._database.store.begin()
        return self._database

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._database.store.commit()
        else:
            self._database.store.rollback()


class Slot:
    """``with db.edit(key) as slot:``, one entry that nobody else changes while it is worked on.

    Attributes:
        key: the key, as stored.
        value: what the key holds, or None where there is no such key. What is assigned here is stored
            when the block is left, and None deletes; if the block raises, nothing changes.
    """

    __slots__ = ("_before", "_store", "key", "value")

    def __init__(self, store: Store, key: bytes) -> None:
        self._store = store
        self._before: bytes | None = None
        self.key = key
        self.value: Value | None = None

    def __enter__(self) -> Self:
        self._store.begin()
        try:
            self.value = self._before = self._store.get(self.key)
        except BaseException:
            self._store.rollback()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        store = self._store
        if kind is not None:
            store.rollback()
            return
        try:
            if self.value is None:
                store.delete(self.key)
            else:
                value = encode_value(self.value)
                if value != self._before:
                    store.put(self.key, value)
        except BaseException:
            store.rollback()
            raise
        store.commit()
