"""A handle of the engine on a simulated machine that writes the history of the database as it goes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from crash.dumb_reader import read_dumb
from crash.history import History, State, Violation
from crash.simulated import Machine
from hutch.errors import RecoveryWarning
from hutch.files import FileSystem
from hutch.store import Store, open_store

__all__ = ["BASE", "Session", "Stage", "contents", "examine", "open_quietly", "played"]

BASE = "/simulated/db"
# What was found, by the machine's fingerprint, the oldest first; no more of it than fits into memory.
_examined: dict[bytes, State] = {}
_read_again: dict[bytes, State] = {}
_MOST_KNOWN = 3000


class Stage:
    """Where a workload plays: one machine, one database, one history.

    Attributes:
        session_type: what `open` makes: `Session`, or one that lives with errors.
    """

    def __init__(self, machine: Machine, history: History, session_type: type[Session] | None = None) -> None:
        self.machine = machine
        self.history = history
        self.session_type = session_type or Session

    def open(self, flag: str = "c", **options: Any) -> Session:
        return self.session_type(self.machine, self.history, flag, **options)


class Session:
    """One process with one handle; each statement becomes a state of the history.

    Args:
        machine: where it runs.
        history: what it writes down; shared by the sessions of one database.
        options: for `open_store`.

    Attributes:
        stored: the newest state that this handle has made: what its `close` promises to keep.
    """

    def __init__(self, machine: Machine, history: History, flag: str = "c", **options: Any) -> None:
        self.machine = machine
        self.history = history
        self.process = machine.process()
        self.is_durable = options.get("durability") == "commit"
        self.stored = 0
        self.store = self.open_store(flag, options)
        self.store.patience = 1  # own the database from the second statement on, as one of many more would
        if history.completed % 2 == 0:
            self.store.batch_from = 2  # a few insertions at once go the way of many

    def open_store(self, flag: str, options: dict[str, Any]) -> Store:
        return open_quietly(BASE, flag, self.process, **options)

    @contextmanager
    def _stores(self, statement: AbstractContextManager[None]) -> Iterator[None]:
        with statement:
            yield
        self.stored = self.history.completed

    def put(self, key: bytes, value: bytes) -> None:
        with self._stores(self.history.statement({key: value}, durable=self.is_durable)):
            self.store.put(key, value)

    def delete(self, key: bytes) -> None:
        with self._stores(self.history.statement({key: None}, durable=self.is_durable)):
            assert self.store.delete(key) == (key in self.history.state)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        with self._stores(self.history.statement(changes, durable=self.is_durable)):
            self.store.apply(changes)

    def clear(self) -> None:
        with self._stores(self.history.becomes({}, durable=self.is_durable)):
            self.store.clear()

    def transaction(self, changes: list[tuple[bytes, bytes | None]], *, clear_first: bool = False) -> None:
        """Begin, make the changes one by one, and commit."""
        state = {} if clear_first else dict(self.history.state)
        for key, value in changes:
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        with self._stores(self.history.becomes(state, durable=self.is_durable)):
            self._make(changes, clear_first)
            self.store.commit()

    def rolled_back(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        """Begin, make the changes one by one, and roll back."""
        with self.history.statement({}):
            self._make(changes, False)
            self.store.rollback()

    def _make(self, changes: list[tuple[bytes, bytes | None]], clear_first: bool) -> None:
        self.store.begin()
        try:
            if clear_first:
                self.store.clear()
            for key, value in changes:
                if value is None:
                    self.store.delete(key)
                else:
                    self.store.put(key, value)
                if self.store.get(key) != value:
                    raise Violation(f"a transaction does not see its own {key!r}")
        except Exception:
            self.store.rollback()
            raise

    def sync(self) -> None:
        self.store.sync()
        self.history.acknowledge()

    def reorganize(self) -> None:
        self.store.reorganize()

    def close(self) -> None:
        self.store.close()
        self.history.acknowledge(self.stored)

    def check(self) -> None:
        """Compare what the handle shows with the history."""
        found = contents(self.store)
        if list(found.items()) != list(self.history.state.items()):
            self.history.check(found, power_was_cut=False)
            raise Violation("the handle shows a state that is not committed")


def played(workload: Callable[[Stage], None]) -> Callable[[Machine, History], None]:
    """A workload as a `Sweep` runs it."""
    return lambda machine, history: workload(Stage(machine, history))


def open_quietly(base: str, flag: str, file_system: FileSystem, **options: Any) -> Store:
    """Open a database; a warning about what a crash left is no failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveryWarning)
        return open_store(base, flag, file_system=file_system, **options)


def contents(store: Store) -> State:
    """Everything in the database, read three ways that must agree."""
    found = dict(store.items())
    if list(store.keys()) != list(found) or store.count() != len(found):
        raise Violation(f"keys() {list(store.keys())}, count() {store.count()}, items() {list(found)}")
    for key, value in found.items():
        if store.get(key) != value:
            raise Violation(f"get({key!r}) is not what items() says")
    return found


def examine(machine: Machine) -> State:
    """Open a crashed database, write to it, close it, look at the files, open it again.

    Of equal machines only the first is examined; what is wrong with a machine is found again with each.

    Returns:
        What it contained when it was opened.
    """
    return _once(_examined, machine, _examine)


def _once(known: dict[bytes, State], machine: Machine, look: Callable[[Machine], State]) -> State:
    fingerprint = machine.fingerprint()
    found = known.get(fingerprint)
    if found is None:
        found = look(machine)
        if len(known) == _MOST_KNOWN:
            del known[next(iter(known))]
        known[fingerprint] = found
    return found


def _examine(machine: Machine) -> State:
    store = open_quietly(BASE, "c", machine.process())
    found = contents(store)
    _check_store(store)
    orphans = [name for name in machine.names if name.endswith(".orphan")]
    if orphans:
        raise Violation(f"the database's own journal was set aside as {orphans}")
    expected = dict(found)
    victims = list(found)[::3]
    for key in victims:
        store.delete(key)
        del expected[key]
    changes = {b"after": b"crash" * 150, b"empty": b"", **{key: b"changed" + key for key in list(expected)[:2]}}
    for key, value in changes.items():
        store.put(key, value)
        expected[key] = value
    store.apply({b"batch 1": b"b" * 5000, b"batch 2": b"b", b"batch 3": None})
    expected |= {b"batch 1": b"b" * 5000, b"batch 2": b"b"}
    _expect(contents(store), expected, "what was written after the crash")
    _check_store(store)
    store.close()
    _expect(_once(_read_again, machine, _read), expected, "what is there after the crash, a close and an open")
    return found


def _read(machine: Machine) -> State:
    """What a closed database contains, for dbm.dumb as well as for hutch."""
    store = open_quietly(BASE, "r", machine.process())
    found = contents(store)
    store.close()
    _expect(read_dumb(machine, BASE), found, "what dbm.dumb sees after the crash and a close")
    return found


def _expect(found: State, expected: State, what: str) -> None:
    if list(found.items()) != list(expected.items()):
        history = History(expected)
        try:
            history.check(found, power_was_cut=False)
        except Violation as problem:
            raise Violation(f"{what}: {problem}") from None


def _check_store(store: Store) -> None:
    report = store.check()
    if not report.ok:
        raise Violation(f"check() finds {report.problems}")
    if report.entry_count != store.count():
        raise Violation(f"check() counts {report.entry_count} entries, count() {store.count()}")
