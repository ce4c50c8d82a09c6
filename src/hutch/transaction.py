"""A transaction's own view: what it will change, over what is committed."""

from __future__ import annotations

import threading

from hutch.commit import Change

__all__ = ["Transaction"]


class Transaction:
    """Buffered changes of one thread. The writer lock is held as long as it lives."""

    __slots__ = ("added", "changes", "cleared", "depth", "failed", "thread_id")

    def __init__(self) -> None:
        self.thread_id = threading.get_ident()
        self.depth = 1
        self.failed = False  # an inner level rolled back: the whole does
        self.cleared = False
        # key -> (value or None for a deletion, whether it moves to the end)
        self.changes: dict[bytes, tuple[bytes | None, bool]] = {}
        self.added = 0  # keys more (or fewer) than are committed; from 0 after a clear

    def put(self, key: bytes, value: bytes, *, is_committed: bool) -> None:
        old = self.changes.get(key)
        if old is None:
            self.changes[key] = value, False
            self.added += not is_committed
        elif old[0] is None:
            # Deleted before: as in a dict, the key comes back at the end.
            del self.changes[key]
            self.changes[key] = value, is_committed
            self.added += 1
        else:
            self.changes[key] = value, old[1]

    def delete(self, key: bytes, *, is_committed: bool) -> bool:
        old = self.changes.get(key)
        if old is None:
            if is_committed:
                self.changes[key] = None, False
                self.added -= 1
            return is_committed
        if old[0] is None:
            return False
        if is_committed:
            self.changes[key] = None, False
        else:
            del self.changes[key]
        self.added -= 1
        return True

    def clear(self) -> None:
        self.cleared = True
        self.changes.clear()
        self.added = 0

    def to_commit(self) -> list[Change]:
        return [(key, value, moves) for key, (value, moves) in self.changes.items()]
