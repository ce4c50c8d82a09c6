"""A database against a dict, in any order of statements, reopenings, crashes and sessions of the stdlib."""

from __future__ import annotations

import dbm.dumb

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from crash.collisions import colliding_hashes
from crash.session import Session, contents
from crash.worlds import RealWorld, SimulatedWorld, World, read_by_stdlib

_SETTINGS = settings(
    max_examples=15,
    stateful_step_count=30,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],  # to explain a failure takes minutes
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)

KEYS = st.sampled_from([b"", b"a", b"b", b"c", b"'", b'"', b"\\", b"\r\n", b"\0", b"\xff", b"#", b"long" * 100])
VALUES = st.builds(
    lambda piece, size: (piece * (size // max(1, len(piece)) + 1))[:size],
    st.binary(min_size=1, max_size=4),
    st.sampled_from([0, 1, 5, 511, 512, 513, 1500, 4096, 4097, 10000]),
)
CHANGES = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=6)


class DatabaseMachine(RuleBasedStateMachine):
    """Up to two handles, of two processes, on one database."""

    world_type: type[World]

    def __init__(self) -> None:
        super().__init__()
        self.world = self.world_type()
        self.history = self.world.history
        self.sessions: list[Session] = []

    def pick(self, choice: int) -> Session:
        if not self.sessions:
            self.sessions.append(self.world.open("c"))
        return self.sessions[choice % len(self.sessions)]

    @rule(flag=st.sampled_from("cw"), durability=st.sampled_from(("close", "commit")))
    def open(self, flag: str, durability: str) -> None:
        if len(self.sessions) < 2:
            if not self.sessions and self.history.completed == 0:
                flag = "c"
            self.sessions.append(self.world.open(flag, durability=durability))

    @rule(choice=st.integers(0, 1))
    def close(self, choice: int) -> None:
        session = self.pick(choice)
        session.close()
        self.sessions.remove(session)
        if not self.sessions:
            assert list(read_by_stdlib(self.world.stdlib_path()).items()) == list(self.history.state.items())

    @rule(choice=st.integers(0, 1), key=KEYS, value=VALUES)
    def put(self, choice: int, key: bytes, value: bytes) -> None:
        self.pick(choice).put(key, value)

    @rule(choice=st.integers(0, 1), key=KEYS)
    def delete(self, choice: int, key: bytes) -> None:
        self.pick(choice).delete(key)

    @rule(choice=st.integers(0, 1), changes=CHANGES)
    def apply(self, choice: int, changes: list[tuple[bytes, bytes | None]]) -> None:
        self.pick(choice).apply(dict(changes))

    @rule(choice=st.integers(0, 1), changes=CHANGES, clear_first=st.sampled_from([False, False, True]))
    def transaction(self, choice: int, changes: list[tuple[bytes, bytes | None]], clear_first: bool) -> None:
        self.pick(choice).transaction(changes, clear_first=clear_first)

    @rule(choice=st.integers(0, 1), changes=CHANGES)
    def rolled_back(self, choice: int, changes: list[tuple[bytes, bytes | None]]) -> None:
        self.pick(choice).rolled_back(changes)

    @rule(choice=st.integers(0, 1))
    def clear(self, choice: int) -> None:
        self.pick(choice).clear()

    @rule(choice=st.integers(0, 1))
    def sync(self, choice: int) -> None:
        self.pick(choice).sync()
        assert list(read_by_stdlib(self.world.stdlib_path()).items()) == list(self.history.state.items())

    @rule(choice=st.integers(0, 1))
    def reorganize(self, choice: int) -> None:
        self.pick(choice).reorganize()

    @rule(choice=st.integers(0, 1))
    def backup(self, choice: int) -> None:
        assert list(self.world.backup(self.pick(choice)).items()) == list(self.history.state.items())

    @rule(choice=st.integers(0, 1))
    def check(self, choice: int) -> None:
        report = self.pick(choice).store.check()
        assert report.ok, report.problems
        assert report.entry_count == len(self.history.state)

    @rule()
    def kill(self) -> None:
        self.world.kill(self.sessions)
        self.sessions = [self.world.open("c")]
        self.history.settle(contents(self.sessions[0].store))

    @precondition(lambda self: self.world.can_lose_power)
    @rule(choice=st.integers(0, 1000))
    def cut_power(self, choice: int) -> None:
        self.world.cut_power(self.sessions, choice)
        self.sessions = [self.world.open("c")]
        self.history.completed = self.history.durable
        self.history.settle(contents(self.sessions[0].store))

    @rule(changes=CHANGES)
    def stdlib_session(self, changes: list[tuple[bytes, bytes | None]]) -> None:
        self.close_all()
        with dbm.dumb.open(self.world.stdlib_path(), "c") as database, self.history.statement(dict(changes)):
            for key, value in dict(changes).items():
                if value is not None:
                    database[key] = value
                elif key in database:
                    del database[key]
        self.world.take_back()
        self.history.acknowledge()

    def close_all(self) -> None:
        while self.sessions:
            session = self.sessions.pop()
            if session.process.is_alive:
                session.close()

    @invariant()
    def every_handle_shows_the_same(self) -> None:
        for session in self.sessions:
            session.check()

    def teardown(self) -> None:
        self.close_all()
        self.world.tear_down()


@pytest.mark.parametrize("world", [RealWorld, SimulatedWorld])
def test_any_order(world: type[World]) -> None:
    run_state_machine_as_test(type("Machine", (DatabaseMachine,), {"world_type": world}), settings=_SETTINGS)


def test_any_order_when_every_hash_collides() -> None:
    with colliding_hashes():
        run_state_machine_as_test(
            type("Machine", (DatabaseMachine,), {"world_type": SimulatedWorld}), settings=_SETTINGS
        )
