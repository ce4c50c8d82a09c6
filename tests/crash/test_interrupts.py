"""KeyboardInterrupt and MemoryError strike inside a statement: the next one still finds a whole database."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from crash.history import History
from crash.session import Session, Stage, contents, examine
from crash.simulated import Event, Machine
from crash.workloads import WORKLOADS

_NAMES = ["statements", "batches", "large_values", "rewrites"]
_PROBLEMS = (KeyboardInterrupt, MemoryError)
# Where a commit spends its time. Above them are only the locks, whose release nothing can make atomic.
_MODULES = [
    "attaching",
    "catching_up",
    "commit",
    "checkpoint",
    "directory",
    "files",
    "header",
    "heap",
    "index",
    "journal",
    "owning",
    "rebuild",
    "recovery",
    "single",
]


class InterruptedSession(Session):
    """Each statement may be interrupted; what it did is looked up then, and it goes on."""

    def __init__(self, machine: Machine, history: History, flag: str = "c", **options: Any) -> None:
        try:
            super().__init__(machine, history, flag, **options)
        except _PROBLEMS:
            self.process.die()  # an open that is interrupted is just tried again
            super().__init__(machine, history, flag, **options)

    def _survive(self, statement: Callable[[], None]) -> None:
        try:
            statement()
        except _PROBLEMS:
            self._look()

    def _look(self) -> None:
        if self.store.in_transaction:
            self.store.rollback()
        self.history.completed = min(self.history.completed, len(self.history.states) - 1)
        self.history.settle(contents(self.store))
        report = self.store.check()
        assert report.ok, report.problems

    def put(self, key: bytes, value: bytes) -> None:
        self._survive(lambda: super(InterruptedSession, self).put(key, value))

    def delete(self, key: bytes) -> None:
        self._survive(lambda: super(InterruptedSession, self).delete(key))

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        self._survive(lambda: super(InterruptedSession, self).apply(changes))

    def clear(self) -> None:
        self._survive(lambda: super(InterruptedSession, self).clear())

    def transaction(self, changes: list[tuple[bytes, bytes | None]], *, clear_first: bool = False) -> None:
        self._survive(lambda: super(InterruptedSession, self).transaction(changes, clear_first=clear_first))

    def rolled_back(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        self._survive(lambda: super(InterruptedSession, self).rolled_back(changes))

    def sync(self) -> None:
        self._survive(lambda: super(InterruptedSession, self).sync())

    def reorganize(self) -> None:
        self._survive(lambda: super(InterruptedSession, self).reorganize())

    def close(self) -> None:
        try:
            super().close()
        except _PROBLEMS:
            self.process.die()
            super().__init__(self.machine, self.history)
            self.check()
            super().close()


def _play(name: str, machine: Machine, history: History) -> None:
    WORKLOADS[name](Stage(machine, history, InterruptedSession))


def _verify(machine: Machine, history: History) -> None:
    assert examine(machine.copy()) == history.state


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("happens", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("problem", _PROBLEMS)
def test_at_every_event(name: str, happens: bool, problem: type[BaseException]) -> None:
    """Before it has happened, or just after."""
    counter = Machine()
    _play(name, counter, History())
    for number in range(0, counter.event_count, 2 if problem is MemoryError else 1):
        machine, history = Machine(), History()
        struck: list[int] = []

        def strike(event: Event, machine: Machine = machine, number: int = number, struck: list[int] = struck) -> None:
            if event.number == number and not struck:
                struck.append(number)
                if happens:
                    machine.apply(event)
                raise problem

        machine.hooks.append(strike)
        _play(name, machine, history)
        _verify(machine, history)


@contextmanager
def _strike_at_line(count: int) -> Iterator[list[int]]:
    """KeyboardInterrupt before the `count`-th line that the engine executes; yields how many there were.

    Not in a finalizer: what is raised there goes nowhere.
    """
    left = [count]
    modules = {f"hutch.{name}" for name in _MODULES}

    def on_line(_frame: FrameType, what: str, _argument: Any) -> Any:
        if what == "line":
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
        return on_line

    def on_call(frame: FrameType, _what: str, _argument: Any) -> Any:
        if frame.f_globals.get("__name__") not in modules or frame.f_code.co_name == "__del__":
            return None
        return on_line if left[0] > 0 else None

    previous = sys.gettrace()
    sys.settrace(on_call)
    try:
        yield left
    finally:
        sys.settrace(previous)


@pytest.mark.parametrize("name", _NAMES)
def test_between_lines(name: str) -> None:
    """Anywhere in a commit or a checkpoint."""
    with _strike_at_line(10**9) as left:
        _play(name, Machine(), History())
    line_count = 10**9 - left[0]
    for number in range(1, line_count, 1 + line_count // 150):
        machine, history = Machine(), History()
        with _strike_at_line(number):
            _play(name, machine, history)
        _verify(machine, history)
