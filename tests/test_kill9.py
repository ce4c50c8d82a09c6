"""Writers that are really killed, with SIGKILL, in the middle of everything.

Whatever a statement completed is there afterwards; a transaction is there whole or not at all; the
survivors go on. A writer acknowledges each completed statement over a pipe, which outlives it.
"""

from __future__ import annotations

import os
import random
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

import hutch.dbm
from children import Child, Line
from hutch.errors import LockTimeout
from hutch.store import Store, open_store
from interpreters import newest_interpreter
from lethal_files import KillSwitch, LethalFileSystem

ACCOUNTS = 8
pytestmark = pytest.mark.usefixtures("owners")
STEP = struct.Struct("<q")


def value_of(step: int, key: int) -> bytes:
    """A value that names its step, in many sizes: empty rest, blocks, more than a journal record carries."""
    return b"%d:" % step + b"v" * ((step * 131 + key * 71) % 1400 if step % 23 else 6000)


# --- a history that both sides know ----------------------------------------------------------------------
#
# Step n of the history is a pure function of n, so that the parent knows what the database holds after any
# number of steps: the last acknowledged one, or the next (it was completed, but not yet acknowledged).


def changes_of(step: int) -> dict[bytes, bytes | None]:
    """What step `step` changes: one key, or (every fourth) a transaction over several."""
    if step % 4 == 3:
        return {
            b"key %d" % (step * 5 % 60): value_of(step, 0),
            b"key %d" % (step * 7 % 60 + 60): None,
            b"key %d" % (step * 3 % 60 + 120): value_of(step, 1),
            b"new %d" % step: value_of(step, 2),
            b"latest": b"%d" % step,
        }
    if step % 4 == 2:
        return {b"key %d" % (step * 11 % 180): None}
    return {b"key %d" % (step * 13 % 180): value_of(step, 3)}


def state_after(steps: int, start: dict[bytes, bytes] | None = None, first: int = 0) -> dict[bytes, bytes]:
    state = dict(start or {})
    for step in range(first, steps):
        for key, value in changes_of(step).items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
    return state


def take_step(store: Store, step: int) -> None:
    changes = changes_of(step)
    if len(changes) > 1:
        store.begin()
        for key, value in changes.items():
            if value is None:
                store.delete(key)
            else:
                store.put(key, value)
        store.commit()
    else:
        ((key, value),) = changes.items()
        if value is None:
            store.delete(key)
        else:
            store.put(key, value)
    if step % 37 == 36:
        store.sync()
    if step % 151 == 150:
        store.reorganize()


def write_history(line: Line, base: Path, first: int, microseconds: int | None) -> None:
    """Steps from `first` on for ever, each acknowledged; dies by the parent's hand or by a timer's."""
    store = open_store(base, "c")
    line.say("open")
    if microseconds is not None:
        # The default action of SIGALRM kills as suddenly as SIGKILL, and the timer needs no second processor.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
    fd = line.connection.fileno()
    step = first
    while True:
        take_step(store, step)
        os.write(fd, STEP.pack(step))
        step += 1


def acknowledged(child: Child, first: int, wanted: int | None) -> int:
    """Read acknowledgements: up to `wanted` of them, or all that there are. Returns the next step."""
    fd = child.connection.fileno()
    got = b""
    while wanted is None or len(got) < STEP.size * wanted:
        try:
            piece = os.read(fd, 65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        got += piece
    whole = len(got) // STEP.size * STEP.size
    steps = [step for (step,) in STEP.iter_unpack(got[:whole])]
    assert steps == list(range(first, first + len(steps)))
    return first + len(steps)


def check_history(base: Path, done: int) -> int:
    """Assert that the database is at step `done` or one further; returns the step it is at."""
    store = open_store(base, "w")
    found = dict(store.items())
    # Step `done` may have been completed without its acknowledgement. Never less, never half of it.
    if found == state_after(done):
        at = done
    else:
        assert found == state_after(done + 1), _difference(found, state_after(done), state_after(done + 1))
        at = done + 1
    assert store.count() == len(found)
    assert {key: store.get(key) for key in found} == found
    report = store.check()
    assert report.ok, report.problems
    store.close()
    return at


def _difference(found: dict[bytes, bytes], *expected: dict[bytes, bytes]) -> str:
    lines = []
    for wanted in expected:
        for key in sorted(found.keys() | wanted.keys()):
            have, want = found.get(key), wanted.get(key)
            if have != want:
                lines.append(f"{key!r}: found {(have or b'-')[:20]!r}, not {(want or b'-')[:20]!r}")
        lines.append("--- or ---")
    return "\n".join(lines)


@pytest.mark.parametrize("seed", range(3))
def test_everything_acknowledged_is_there_round_after_round(seed: int, tmp_path: Path) -> None:
    """The same database is killed again and again; even rounds by SIGKILL, odd ones by a timer."""
    chance = random.Random(seed)
    base = tmp_path / "db"
    at = 0
    for round_number in range(14):
        microseconds = chance.randrange(50, 20_000) if round_number % 2 else None
        with Child(write_history, base, at, microseconds) as child:
            assert child.hear() == "open"
            if microseconds is None:
                done = acknowledged(child, at, chance.randrange(1, 80))
                child.kill()
                done = acknowledged(child, done, None)
            else:
                done = acknowledged(child, at, None)
                child.kill()
        at = check_history(base, done)
    assert newest_interpreter().session(base, flag="r") == state_after(at)


def test_the_next_writer_recovers_without_a_pause_for_checking(tmp_path: Path) -> None:
    """Killed over and over with nobody looking in between: each writer recovers what the last one left."""
    base = tmp_path / "db"
    chance = random.Random(11)
    at = 0
    for _ in range(20):
        with Child(write_history, base, at, None) as child:
            assert child.hear() == "open"
            done = acknowledged(child, at, chance.randrange(1, 25))
            child.kill()
            done = acknowledged(child, done, None)
        # The unacknowledged step, if it was completed, is taken once more: it is idempotent.
        at = done
    check_history(base, at)


def write_durably(line: Line, base: Path) -> None:
    store = open_store(base, "c", durability="commit")
    fd = line.connection.fileno()
    step = 0
    while True:
        take_step(store, step)
        os.write(fd, STEP.pack(step))
        step += 1


def test_durable_commits_survive_as_well(tmp_path: Path) -> None:
    base = tmp_path / "db"
    with Child(write_durably, base) as child:
        done = acknowledged(child, 0, 60)
        child.kill()
        done = acknowledged(child, done, None)
    check_history(base, done)


# --- readers go on ---------------------------------------------------------------------------------------


def move_money(line: Line, base: Path, seed: int) -> None:
    """Transactions that keep the sum of all accounts, for ever."""
    chance = random.Random(seed)
    store = open_store(base, "w")
    line.say("open")
    while True:
        one, other = chance.sample(range(ACCOUNTS), 2)
        amount = chance.randrange(1, 100)
        store.begin()
        for account, change in ((one, -amount), (other, amount)):
            key = b"account %d" % account
            balance = store.get(key)
            assert balance is not None
            store.put(key, b"%d" % (int(balance) + change))
        store.commit()
        line.say(None)


def total(store: Store) -> int:
    """The sum, from one consistent look under the writer lock."""
    store.begin()
    try:
        return sum(int(store.get(b"account %d" % account) or b"-1000000") for account in range(ACCOUNTS))
    finally:
        store.rollback()


def test_survivors_read_and_write_on_while_writers_are_killed(tmp_path: Path) -> None:
    base = tmp_path / "db"
    reader = open_store(base, "c")
    for account in range(ACCOUNTS):
        reader.put(b"account %d" % account, b"1000")
    only_reading = open_store(base, "r")
    chance = random.Random(5)
    for round_number in range(12):
        with Child(move_money, base, round_number) as one, Child(move_money, base, 100 + round_number) as other:
            for child in (one, other):
                assert child.hear() == "open"
            for _ in range(chance.randrange(1, 12)):
                one.hear()
                other.hear()
                assert total(reader) == 1000 * ACCOUNTS
            one.kill()
            # The survivor takes the dead one's lock over and repairs what it left.
            sequence = reader.sequence
            while reader.sequence == sequence:
                other.hear()
            for account in range(ACCOUNTS):
                assert only_reading.get(b"account %d" % account) is not None
            assert total(reader) == 1000 * ACCOUNTS
            other.kill()
            assert len(dict(only_reading.items())) == ACCOUNTS
            assert total(reader) == 1000 * ACCOUNTS
        reader.put(b"account 0", reader.get(b"account 0") or b"")
    only_reading.close()
    reader.close()
    check = open_store(base, "r")
    assert sum(int(value) for _, value in check.items()) == 1000 * ACCOUNTS
    check.close()


# --- killed while holding, while waiting -----------------------------------------------------------------


def hold_transaction(line: Line, base: Path) -> None:
    store = open_store(base, "w")
    store.begin()
    for i in range(50):
        store.put(b"half %d" % i, b"never committed" * i)
    store.delete(b"kept")
    line.say("inside")
    line.hear()


def wait_and_write(line: Line, base: Path) -> None:
    store = open_store(base, "w")
    line.say("waiting")
    store.put(b"waiter", b"got through")
    line.say("done")
    store.close()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    with hutch.dbm.open(tmp_path / "db", "n") as database:
        database[b"kept"] = b"value"
    return tmp_path / "db"


def test_killed_inside_a_transaction_while_another_process_waits_for_the_lock(base: Path) -> None:
    with Child(hold_transaction, base) as holder:
        assert holder.hear() == "inside"
        with Child(wait_and_write, base) as waiter:  # only now: else it might write before the other begins
            assert waiter.hear() == "waiting"
            assert not waiter.connection.poll()
            holder.kill()
            assert waiter.hear() == "done"
    with hutch.dbm.open(base, "r") as database:
        assert dict(database.items()) == {b"kept": b"value", b"waiter": b"got through"}


def test_killed_while_it_waits_for_the_lock(base: Path) -> None:
    store = open_store(base, "w")
    store.begin()
    with Child(wait_and_write, base) as waiter:
        assert waiter.hear() == "waiting"
        waiter.kill()
    store.put(b"mine", b"1")
    store.commit()
    store.put(b"mine", b"2")
    store.close()
    with hutch.dbm.open(base, "r") as database:
        assert dict(database.items()) == {b"kept": b"value", b"mine": b"2"}


def test_a_holder_that_is_stopped_is_waited_for_no_longer_than_the_timeout(base: Path) -> None:
    with Child(hold_transaction, base) as holder:
        assert holder.hear() == "inside"
        holder.stop()
        impatient = open_store(base, "w", timeout=0.05)
        with pytest.raises(LockTimeout):
            impatient.put(b"x", b"1")
        with pytest.raises(TimeoutError):
            impatient.begin()
        # A reader needs no lock, and the handle is as good as before.
        assert impatient.get(b"kept") == b"value"
        assert dict(impatient.items()) == {b"kept": b"value"}
        assert not impatient.in_transaction
        reader = open_store(base, "r")
        assert reader.get(b"kept") == b"value"
        reader.close()
        holder.resume()
        holder.kill()
        impatient.put(b"x", b"1")
        impatient.close()
    with hutch.dbm.open(base, "r") as database:
        assert dict(database.items()) == {b"kept": b"value", b"x": b"1"}


def test_a_holder_that_is_stopped_and_resumed_loses_nothing(base: Path) -> None:
    with Child(hold_transaction, base) as holder:
        assert holder.hear() == "inside"
        with Child(wait_and_write, base) as waiter:
            assert waiter.hear() == "waiting"
            holder.stop()
            assert not waiter.connection.poll()
            holder.resume()
            assert not waiter.connection.poll()
            holder.kill()
            assert waiter.hear() == "done"


# --- killed at each call of the disk ---------------------------------------------------------------------


BEFORE = {b"key %d" % i: b"old %d" % i * (i * 9) for i in range(24)}


def a_transaction(store: Store) -> None:
    store.begin()
    for i in range(0, 24, 2):
        store.put(b"key %d" % i, b"new" * i * 7)
    for i in range(1, 24, 4):
        store.delete(b"key %d" % i)
    for i in range(12):
        store.put(b"added %d" % i, b"a" * i * 100)
    store.commit()


def a_checkpoint(store: Store) -> None:
    a_transaction(store)
    store.sync()


def a_close(store: Store) -> None:
    a_transaction(store)
    store.close()


def a_reorganize(store: Store) -> None:
    a_transaction(store)
    store.reorganize()


def a_clear(store: Store) -> None:
    store.clear()


WORKLOADS = {work.__name__: work for work in (a_transaction, a_checkpoint, a_close, a_reorganize, a_clear)}


def _after(work: Callable[[Store], None]) -> dict[bytes, bytes]:
    if work is a_clear:
        return {}
    after = dict(BEFORE)
    for i in range(0, 24, 2):
        after[b"key %d" % i] = b"new" * i * 7
    for i in range(1, 24, 4):
        del after[b"key %d" % i]
    return after | {b"added %d" % i: b"a" * i * 100 for i in range(12)}


def die_at_call(line: Line, base: Path, work: Callable[[Store], None], calls: int | None) -> None:
    switch = KillSwitch()
    store = open_store(base, "c", file_system=LethalFileSystem(switch))
    for key, value in BEFORE.items():
        store.put(key, value)
    switch.calls_seen = 0
    if calls is not None:
        switch.arm(calls)
    line.say("armed")
    work(store)
    line.say(switch.calls_seen)
    line.say("completed")


@pytest.mark.parametrize("work", WORKLOADS.values(), ids=WORKLOADS.keys())
def test_killed_at_a_call_of_the_disk_it_is_all_or_nothing(work: Callable[[Store], None], tmp_path: Path) -> None:
    after = _after(work)
    with Child(die_at_call, tmp_path / "rehearsal", work, None) as child:
        assert child.hear() == "armed"
        call_count = child.hear()
        child.kill()
    # Every call at the beginning and at the end, and as many between as there is time for.
    places = {*range(min(call_count, 12)), *range(max(0, call_count - 12), call_count)}
    places |= set(random.Random(call_count).sample(range(call_count), min(call_count, 16)))
    outcomes = []
    for place in sorted(places):
        base = tmp_path / f"db{place}"
        with Child(die_at_call, base, work, place) as child:
            said = list(child.hear_all())
            child.kill()
            assert child.exit_status == -signal.SIGKILL
        assert said == ["armed"], f"died too late or not at all at call {place}: {said}"
        reader = open_store(base, "r")
        seen = dict(reader.items())
        reader.close()
        assert seen in (BEFORE, after), f"call {place} of {call_count}: " + _difference(seen, BEFORE, after)
        outcomes.append(seen == after)
        with hutch.dbm.open(base, "w") as database:
            assert dict(database.items()) == seen, f"call {place} of {call_count}"
            database[b"afterwards"] = b"writable"
            assert database.check().ok, f"call {place} of {call_count}"
        with hutch.dbm.open(base, "r") as database:
            assert dict(database.items()) == seen | {b"afterwards": b"writable"}, f"call {place} of {call_count}"
    # Once committed it stays so: first the calls that leave the old state, then those that leave the new one.
    assert outcomes == sorted(outcomes)
    assert outcomes[-1]


def die_in_adoption(line: Line, base: Path, calls: int | None) -> None:
    switch = KillSwitch()
    store = open_store(base, "w", file_system=LethalFileSystem(switch))
    switch.calls_seen = 0
    if calls is not None:
        switch.arm(calls)
    store.put(b"b", b"replaced by hutch")
    store.put(b"c", b"added by hutch")
    store.close()
    line.say(switch.calls_seen)


def test_killed_at_each_call_of_the_first_write_to_a_stdlib_database(tmp_path: Path) -> None:
    def plant(base: Path) -> None:
        Path(f"{base}.dat").write_bytes(b"A" * 512 + b"B" * 512)
        Path(f"{base}.dir").write_bytes(b"'a', (0, 3)\r\n'b', (100, 600)\r\n'a', (3, 4)\r\n")

    states = [{b"a": b"AAAA", b"b": b"A" * 412 + b"B" * 188}]
    states.append(states[-1] | {b"b": b"replaced by hutch"})
    states.append(states[-1] | {b"c": b"added by hutch"})
    plant(tmp_path / "rehearsal")
    with Child(die_in_adoption, tmp_path / "rehearsal", None) as child:
        call_count = child.hear()
    outcomes = []
    for place in range(0, call_count, max(1, call_count // 40)):
        base = tmp_path / f"db{place}"
        plant(base)
        with Child(die_in_adoption, base, place) as child:
            assert list(child.hear_all()) == []
            child.kill()
        with hutch.dbm.open(base, "r") as database:
            seen = dict(database.items())
        assert seen in states, f"call {place} of {call_count}: {seen}"
        outcomes.append(states.index(seen))
        with hutch.dbm.open(base, "w") as database:
            assert dict(database.items()) == seen
            database[b"d"] = b"more"
        assert newest_interpreter().session(base, flag="r") == seen | {b"d": b"more"}
    assert outcomes == sorted(outcomes)


def die_in_creation(line: Line, base: Path, calls: int | None) -> None:
    switch = KillSwitch(calls)
    open_store(base, "c", file_system=LethalFileSystem(switch)).close()
    line.say(switch.calls_seen)


def test_killed_at_each_call_of_the_creation_it_opens_as_an_empty_database(tmp_path: Path) -> None:
    with Child(die_in_creation, tmp_path / "rehearsal", None) as child:
        call_count = child.hear()
    for place in range(call_count):
        base = tmp_path / f"db{place}"
        with Child(die_in_creation, base, place) as child:
            assert list(child.hear_all()) == []
            child.kill()
        with hutch.dbm.open(base, "c") as database:
            assert dict(database.items()) == {}
            database[b"a"] = b"1"
        with hutch.dbm.open(base, "r") as database:
            assert dict(database.items()) == {b"a": b"1"}


def die_in_recovery(line: Line, base: Path, calls: int) -> None:
    switch = KillSwitch(calls)
    open_store(base, "w", file_system=LethalFileSystem(switch)).close()


def test_killed_in_the_recovery_from_a_kill_again_and_again(tmp_path: Path) -> None:
    """Recovery that dies at its nth call, for every n, on the same database: it always gets through in the end."""
    base = tmp_path / "db"
    with Child(die_at_call, base, a_transaction, None) as child:
        assert child.hear() == "armed"
        child.hear()
        assert child.hear() == "completed"
        child.kill()
    expected = _after(a_transaction)
    place = 0
    while place < 300:
        with Child(die_in_recovery, base, place) as child:
            assert list(child.hear_all()) == []
            child._reap()
        with hutch.dbm.open(base, "r") as database:
            assert dict(database.items()) == expected, place
        if child.exit_status == 0:
            break
        place += 1 + place // 12
    else:
        pytest.fail("recovery never came to its end")
    assert newest_interpreter().session(base, flag="r") == expected
