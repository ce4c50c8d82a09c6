"""A session that lives with errors: a statement that fails has done nothing, and the next one works."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from crash.history import History, Violation
from crash.session import Session, contents
from crash.simulated import Event, Machine
from hutch.errors import OutcomeUnknownError

__all__ = ["Fault", "StubbornSession"]


class Fault:
    """A hook that makes one event fail, or that one and all until the statement is over.

    Attributes:
        number: of the event that fails.
        raise_error: raises the error, after it has done to the machine what such an error leaves.
        lasting: whether every further event that can fail does, until `heal`.
        struck: whether it has happened.
    """

    def __init__(self, number: int, raise_error: Callable[[Event], None], *, lasting: bool = False) -> None:
        self.number = number
        self.raise_error = raise_error
        self.lasting = lasting
        self.struck = False
        self._healed = False

    def __call__(self, event: Event) -> None:
        if event.number == self.number or (self.struck and self.lasting and not self._healed and event.may_fail):
            self.struck = True
            self.raise_error(event)

    def heal(self) -> None:
        if self.struck:
            self._healed = True


class StubbornSession(Session):
    """Each statement may fail with an OSError; then the database must be as it was, and usable."""

    def __init__(self, machine: Machine, history: History, flag: str = "c", **options: Any) -> None:
        self.options = options
        self.fault = next(hook for hook in machine.hooks if isinstance(hook, Fault))
        self._stubbornly(lambda: super(StubbornSession, self).__init__(machine, history, flag, **options), retry=True)

    def _stubbornly(self, statement: Callable[[], None], *, retry: bool = False) -> None:
        was_struck = self.fault.struck
        try:
            statement()
        except OutcomeUnknownError:
            self._reopen_after_failed_sync()
        except OSError:
            if was_struck and not self.fault.lasting:
                raise  # nothing failed this time
            self.fault.heal()
            if retry:
                statement()
            else:
                self._must_be_whole()
        self.fault.heal()

    def _must_be_whole(self) -> None:
        self.check()
        report = self.store.check()
        if not report.ok:
            raise Violation(f"after an error check() finds {report.problems}")

    def _reopen_after_failed_sync(self) -> None:
        """The handle must refuse to write; a new one shows which state it is now."""
        self.fault.heal()
        contents(self.store)
        if not self.store.closed:
            try:
                self.store.put(b"refused", b"")
            except OutcomeUnknownError:
                pass
            else:
                raise Violation("a handle whose sync failed goes on writing")
        self.process.die()
        super().__init__(self.machine, self.history, "c", **self.options)
        self.history.settle(contents(self.store))

    def put(self, key: bytes, value: bytes) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).put(key, value))

    def delete(self, key: bytes) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).delete(key))

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).apply(changes))

    def clear(self) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).clear())

    def transaction(self, changes: list[tuple[bytes, bytes | None]], *, clear_first: bool = False) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).transaction(changes, clear_first=clear_first))

    def rolled_back(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).rolled_back(changes))

    def sync(self) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).sync())

    def reorganize(self) -> None:
        self._stubbornly(lambda: super(StubbornSession, self).reorganize())

    def close(self) -> None:
        """An error at close is told; the next handle finds everything."""
        try:
            super().close()
        except OSError:
            self.fault.heal()
            self.process.die()
            super().__init__(self.machine, self.history, "c", **self.options)
            self.check()
            super().close()
        self.fault.heal()
