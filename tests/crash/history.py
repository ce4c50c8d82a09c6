"""What a database must contain after a crash: the states it went through, and how far each promise reaches.

Every statement of a workload adds one state. A crash may bring back the database as any one of them,
from the last one that the promise at hand covers up to the one in the making, and as nothing else:

    states:   0 … durable … completed  completed + 1
                  └── after a power cut ──────────┘
                            └── after a kill ─────┘   (only while a statement is under way)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from hutch.errors import OutcomeUnknownError

__all__ = ["History", "State", "Violation"]

State = dict[bytes, bytes]


class Violation(AssertionError):
    """A promise was broken."""


class History:
    """The committed states of one database, oldest first.

    Attributes:
        states: each a whole dict in insertion order. The last one may belong to a statement under way.
        completed: index of the state that the last completed statement made.
        durable: index of the newest state that was acknowledged as durable.
    """

    def __init__(self, state: Mapping[bytes, bytes] | None = None) -> None:
        self.states: list[State] = [dict(state or {})]
        self.completed = 0
        self.durable = 0

    def after_crash(self, *, power_was_cut: bool) -> History:
        """A copy in which all that the crash may have left is still possible; to be settled."""
        history = History()
        history.states = self.states[:]
        history.durable = self.durable
        history.completed = self.durable if power_was_cut else self.completed
        return history

    def settle(self, found: State) -> None:
        """The crash has left `found`: what came after it never was."""
        index = self.check(found, power_was_cut=False)
        del self.states[index + 1 :]
        self.completed = index
        self.durable = min(self.durable, index)

    @property
    def state(self) -> State:
        return self.states[self.completed]

    @contextmanager
    def statement(self, changes: Mapping[bytes, bytes | None], *, durable: bool = False) -> Iterator[None]:
        """A statement that makes one new state; a failed one makes none."""
        state = dict(self.state)
        for key, value in changes.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        with self.becomes(state, durable=durable):
            yield

    @contextmanager
    def becomes(self, state: State, *, durable: bool = False) -> Iterator[None]:
        """A statement after which the database contains `state`. One that changes nothing commits nothing."""
        is_commit = list(state.items()) != list(self.state.items())
        self.states.append(state)
        try:
            yield
        except OutcomeUnknownError:
            raise  # it may be the state now, or not
        except Exception:
            self.states.pop()
            raise
        self.completed += 1
        if durable and is_commit:
            self.durable = self.completed

    def acknowledge(self, index: int | None = None) -> None:
        """The states up to `index`, or all so far, have been promised to survive a power cut."""
        self.durable = self.completed if index is None else max(self.durable, min(index, self.completed))

    def check(self, found: State, *, power_was_cut: bool) -> int:
        """The index of the state that `found` is.

        Raises:
            Violation: it is none that this crash may leave.
        """
        floor = self.durable if power_was_cut else self.completed
        for index in range(len(self.states) - 1, floor - 1, -1):
            state = self.states[index]
            if len(state) == len(found) and state == found and list(state) == list(found):
                return index
        raise Violation(self._describe(found, floor))

    def _describe(self, found: State, floor: int) -> str:
        for index in range(floor - 1, -1, -1):
            if self.states[index] == found:
                return f"state {index} of {len(self.states) - 1} came back, but {floor} was promised"
        nearest = min(range(floor, len(self.states)), key=lambda index: len(_differences(self.states[index], found)))
        differences = _differences(self.states[nearest], found)
        if not differences:
            wanted = list(self.states[nearest])
            return f"state {nearest} came back in another order: {list(found)[:20]} for {wanted[:20]}"
        return (
            f"no state from {floor} to {len(self.states) - 1} came back; "
            f"nearest is {nearest}, different in {len(differences)}: {differences[:6]}"
        )


def _differences(wanted: State, found: State) -> list[str]:
    told = []
    for key in {**wanted, **found}:
        if wanted.get(key) != found.get(key):
            told.append(f"{key!r} is {_shorten(found.get(key))}, not {_shorten(wanted.get(key))}")
    return told


def _shorten(value: bytes | None) -> str:
    if value is None:
        return "missing"
    return repr(value) if len(value) <= 12 else f"{value[:12]!r}… ({len(value)} bytes)"
