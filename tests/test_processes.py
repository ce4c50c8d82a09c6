"""Several processes and threads on one database: no lost update, no torn read, no half transaction."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hutch
import hutch.dbm
from children import Child, Line
from flags import Flag
from hutch.errors import ClosedError, DeadlockError, LockTimeout, TransactionError
from hutch.files import File, FileSystem
from hutch.store import open_store
from interpreters import newest_interpreter

PROCESSES = 3
pytestmark = pytest.mark.usefixtures("owners")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """An existing database with one entry."""
    with hutch.dbm.open(tmp_path / "db", "n") as database:
        database[b"first"] = b"entry"
    return tmp_path / "db"


def contents(base: Path) -> dict[bytes, bytes]:
    with hutch.dbm.open(base, "r") as database:
        return dict(database.items())


def run_threads(*works: Callable[[], None]) -> None:
    """Run each function in a thread of its own; the first failure is raised here."""
    problems: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 - raised below, in the test's own thread
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
        assert not thread.is_alive(), "a thread hangs"
    if problems:
        raise problems[0]


# --- no lost update --------------------------------------------------------------------------------------


def increment_in_transactions(line: Line, base: Path, rounds: int) -> None:
    with hutch.dbm.open(base, "w") as database:
        line.say("ready")
        line.hear()
        for i in range(rounds):
            with database.transaction():
                database[b"counter"] = b"%d" % (int(database.get(b"counter", b"0")) + 1)
                # A value that moves and grows, so that readers meet every size.
                database[b"trail %d" % (i % 10)] = b"t" * (i * 37 % 1500)


def start_together(children: list[Child]) -> None:
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")


def test_increments_of_several_processes_are_all_counted(base: Path) -> None:
    children = [Child(increment_in_transactions, base, 400) for _ in range(PROCESSES)]
    start_together(children)
    for child in children:
        child.finish()
    assert contents(base)[b"counter"] == b"%d" % (400 * PROCESSES)
    assert newest_interpreter().session(base, flag="r")[b"counter"] == b"%d" % (400 * PROCESSES)


def increment_by_edit(line: Line, base: Path, rounds: int) -> None:
    with hutch.open(str(base), "w") as shelf:
        line.say("ready")
        line.hear()
        for _ in range(rounds):
            with shelf.edit("numbers") as numbers:
                numbers["count"] += 1
                numbers["list"].append(os.getpid())


def test_edits_of_several_processes_are_all_counted(tmp_path: Path) -> None:
    base = tmp_path / "shelf"
    with hutch.open(str(base), "n") as shelf:
        shelf["numbers"] = {"count": 0, "list": []}
    children = [Child(increment_by_edit, base, 100) for _ in range(PROCESSES)]
    start_together(children)
    for child in children:
        child.finish()
    with hutch.open(str(base), "r") as shelf:
        numbers = shelf["numbers"]
    assert numbers["count"] == 100 * PROCESSES
    assert sorted(numbers["list"]) == sorted(child.pid for child in children for _ in range(100))


def test_increments_of_threads_sharing_one_handle_are_all_counted(base: Path) -> None:
    with hutch.dbm.open(base, "w") as database:

        def work() -> None:
            for _ in range(300):
                with database.transaction():
                    database[b"counter"] = b"%d" % (int(database.get(b"counter", b"0")) + 1)

        run_threads(*[work] * 4)
        assert database[b"counter"] == b"1200"


def test_increments_of_threads_with_a_handle_each_are_all_counted(base: Path) -> None:
    def work() -> None:
        with hutch.dbm.open(base, "w") as database:
            for _ in range(200):
                with database.transaction():
                    database[b"counter"] = b"%d" % (int(database.get(b"counter", b"0")) + 1)

    run_threads(*[work] * 3)
    assert contents(base)[b"counter"] == b"600"


def insert_own_keys(line: Line, base: Path, name: int) -> None:
    store = open_store(base, "w")
    line.say("ready")
    line.hear()
    for i in range(400):
        store.put(b"%d/%d" % (name, i), b"%d" % i * (i % 40))
        if i % 3 == 2:
            assert store.delete(b"%d/%d" % (name, i - 1))
        if i % 150 == 149:
            store.sync()
    store.close()


def test_insertions_and_deletions_of_several_processes_all_arrive(base: Path) -> None:
    """Enough of them that the index splits its buckets under each other's hands."""
    children = [Child(insert_own_keys, base, name) for name in range(PROCESSES)]
    start_together(children)
    for child in children:
        child.finish()
    expected = {
        b"%d/%d" % (name, i): b"%d" % i * (i % 40)
        for name in range(PROCESSES)
        for i in range(400)
        if i % 3 != 1 or i == 399
    }
    assert contents(base) == expected | {b"first": b"entry"}
    with hutch.dbm.open(base, "w") as database:
        assert database.check().ok
    assert newest_interpreter().session(base, flag="r") == expected | {b"first": b"entry"}


# --- no torn read, atomic visibility ---------------------------------------------------------------------


def signed(number: int, size_bytes: int) -> bytes:
    """A value that proves itself: a digest over its own body."""
    body = b"%d:" % number + bytes([number % 256]) * size_bytes
    return hashlib.sha256(body).digest() + body


def proven(value: bytes) -> int:
    assert hashlib.sha256(value[32:]).digest() == value[:32], "a torn value"
    return int(value[32 : value.index(b":", 32)])


HOT = 6


def rewrite_for_ever(line: Line, base: Path) -> None:
    """Each transaction writes one number into every hot key; now and then a checkpoint and a reorganize."""
    store = open_store(base, "w")
    number = 1
    while not line.connection.poll():
        store.begin()
        for key in range(HOT):
            store.put(b"hot %d" % key, signed(number, (number * 97 + key * 501) % 5000))
        store.commit()
        # Keys that come and go, so that extents are freed and used again at once.
        store.put(b"cold %d" % (number % 20), signed(number, number * 31 % 3000))
        store.delete(b"cold %d" % ((number + 10) % 20))
        if number % 40 == 0:
            store.sync()
        if number % 100 == 0:
            store.reorganize()
        number += 1
    store.close()
    line.say(number)


def plant_hot_keys(base: Path) -> None:
    store = open_store(base, "c")
    store.apply({b"hot %d" % key: signed(0, 100) for key in range(HOT)})
    store.close()


@pytest.mark.parametrize("flag", ["r", "w"])
def test_readers_beside_a_writer_see_whole_values_that_never_go_back(flag: Flag, base: Path) -> None:
    plant_hot_keys(base)
    reader = open_store(base, flag)
    with Child(rewrite_for_ever, base) as writer:
        last = [0] * HOT
        reads = 0
        while last[0] < 250 or reads < 3000:
            for key in range(HOT):
                value = reader.get(b"hot %d" % key)
                assert value is not None, "a key that is always there was missed"
                number = proven(value)
                assert number >= last[key], "a value from the past"
                last[key] = number
                reads += 1
            # Keys are read in rising order, so the numbers of one round never fall behind each other.
            assert last == sorted(last), "half of a transaction was seen"
            cold = reader.get(b"cold %d" % (reads % 20))
            if cold is not None:
                proven(cold)
        writer.say("enough")
    reader.close()


def test_threads_of_one_handle_read_while_one_of_them_writes(base: Path) -> None:
    plant_hot_keys(base)
    store = open_store(base, "w")
    stop = threading.Event()

    def write() -> None:
        try:
            for number in range(1, 250):
                store.begin()
                for key in range(HOT):
                    store.put(b"hot %d" % key, signed(number, (number * 97 + key * 501) % 5000))
                store.commit()
                if number % 80 == 0:
                    store.sync()
                if number % 100 == 0:
                    store.reorganize()
        finally:
            stop.set()

    def read() -> None:
        last = [0] * HOT
        while not stop.is_set():
            for key in range(HOT):
                value = store.get(b"hot %d" % key)
                assert value is not None
                number = proven(value)
                assert number >= last[key]
                last[key] = number
            assert last == sorted(last)
            assert store.count() == HOT + 1

    run_threads(write, read, read)
    store.close()


def test_a_snapshot_under_a_transaction_is_of_one_moment(base: Path) -> None:
    plant_hot_keys(base)
    with Child(rewrite_for_ever, base) as writer, hutch.dbm.open(base, "w") as database:
        for _ in range(60):
            with database.transaction():
                numbers = {proven(database[b"hot %d" % key]) for key in range(HOT)}
                again = {proven(value) for key, value in database.items() if key.startswith(b"hot")}
            assert len(numbers) == 1
            assert again == numbers
        writer.say("enough")


def test_other_handles_and_threads_see_nothing_of_an_open_transaction(base: Path) -> None:
    with hutch.dbm.open(base, "w") as writer, hutch.dbm.open(base, "r") as reader:
        seen: list[dict[bytes, bytes]] = []
        with writer.transaction():
            writer[b"first"] = b"changed"
            writer[b"second"] = b"added"
            assert dict(writer.items()) == {b"first": b"changed", b"second": b"added"}
            assert dict(reader.items()) == {b"first": b"entry"}
            run_threads(lambda: seen.append(dict(writer.items())))
            assert seen == [{b"first": b"entry"}]
        assert dict(reader.items()) == {b"first": b"changed", b"second": b"added"}


# --- iteration beside writers ----------------------------------------------------------------------------


def churn(line: Line, base: Path) -> None:
    """Keys come, go, move and come back around keys that stay."""
    store = open_store(base, "w")
    i = 0
    while not line.connection.poll():
        store.put(b"comes %d" % (i % 300), b"x" * (i * 53 % 2000))
        store.delete(b"comes %d" % ((i + 150) % 300))
        store.put(b"stays %d" % (i * 7 % 200), b"%d" % i)
        if i % 200 == 199:
            store.sync()
        if i % 500 == 499:
            store.reorganize()
        i += 1
    store.close()


@pytest.mark.parametrize("flag", ["r", "w"])
def test_iteration_beside_a_writer_gives_each_key_that_stays_exactly_once(flag: Flag, base: Path) -> None:
    stays = [b"stays %d" % i for i in range(200)]
    store = open_store(base, "w")
    store.apply(dict.fromkeys(stays, b"0"))
    store.close()
    store = open_store(base, flag)
    with Child(churn, base) as writer:
        sequence = store.sequence
        passes = 0
        while passes < 40 or store.sequence < sequence + 1500:
            keys = list(store.keys())
            assert len(keys) == len(set(keys)), "a key came twice"
            assert [key for key in keys if key.startswith(b"stays")] == stays
            items = list(store.items())
            assert len(items) == len({key for key, _ in items})
            assert [key for key, _ in items if key.startswith(b"stays")] == stays
            passes += 1
        writer.say("enough")
    store.close()


@pytest.mark.parametrize("pause", [1, 40, 100])
def test_iteration_goes_on_after_a_checkpoint_beside_lines_that_have_died(pause: int, base: Path) -> None:
    """A checkpoint turns dead lines into comments, also the one that the walk would have read next."""
    keys = [b"key %d" % i for i in range(120)]
    with hutch.dbm.open(base, "w") as database, hutch.dbm.open(base, "r") as reader:
        database.update(dict.fromkeys(keys, b"old"))
        database.sync()
        for key in keys[1:]:
            del database[key]
            database[key] = b"new"
        for walk in (reader.iterkeys(), (key for key, _ in reader.iteritems())):
            seen = [next(walk) for _ in range(pause)]
            database.sync()
            seen += walk
            assert seen == [b"first", *keys]


def test_iteration_over_ones_own_changes(base: Path) -> None:
    """Replace, delete and add everything while walking over it."""
    with hutch.dbm.open(base, "w") as database:
        del database[b"first"]
        keys = [b"key %d" % i for i in range(500)]
        database.update(dict.fromkeys(keys, b"v"))
        seen = []
        for i, key in enumerate(database):
            seen.append(key)
            database[key] = b"w" * i
            if i % 2:
                del database[key]
            if i % 100 == 0:
                database.sync()
            if i == 250:
                database.reorganize()
        assert [key for key in seen if key in set(keys)] == keys
        assert len(seen) == len(set(seen))
        assert list(database.keys()) == keys[::2]
        for key in database.iterkeys():
            database[b"more " + key] = b"added while walking"
            if len(database) > 2000:
                break
        assert set(database.keys()) >= set(keys[::2])


def test_changes_since_tells_what_another_process_did(base: Path) -> None:
    store = open_store(base, "w")
    before = store.sequence
    with Child(insert_two_and_delete_one, base) as child:
        child.finish()
    changes = store.changes_since(before)
    assert changes is None or dict(changes) == {b"one": False, b"two": True}
    assert store.get(b"two") == b"2"
    assert store.sequence > before
    store.close()


def insert_two_and_delete_one(line: Line, base: Path) -> None:
    with hutch.dbm.open(base, "w") as database:
        database[b"one"] = b"1"
        database[b"two"] = b"2"
        del database[b"one"]


# --- exclusive, timeout, deadlock ------------------------------------------------------------------------


def test_an_exclusive_handle_is_alone(base: Path) -> None:
    with hutch.dbm.open(base, "w", exclusive=True) as database:
        with pytest.raises(LockTimeout):
            hutch.dbm.open(base, "w", timeout=0.01)
        with pytest.raises(LockTimeout):
            hutch.dbm.open(base, "r", timeout=0)
        with pytest.raises(TimeoutError):
            hutch.dbm.open(base, "w", exclusive=True, timeout=0.01)
        database[b"second"] = b"alone"
    with hutch.dbm.open(base, "r", timeout=0) as database:
        assert database[b"second"] == b"alone"
        with pytest.raises(LockTimeout):
            hutch.dbm.open(base, "w", exclusive=True, timeout=0.01)
        assert database[b"second"] == b"alone"
    hutch.dbm.open(base, "w", exclusive=True, timeout=0).close()


def test_n_does_not_wipe_what_an_exclusive_handle_holds(base: Path) -> None:
    with hutch.dbm.open(base, "w", exclusive=True) as database:
        with pytest.raises(LockTimeout):
            hutch.dbm.open(base, "n", timeout=0.01)
        assert database[b"first"] == b"entry"
    assert contents(base) == {b"first": b"entry"}


def open_exclusively(line: Line, base: Path) -> None:
    line.say("opening")
    with hutch.dbm.open(base, "w", exclusive=True) as database:
        database[b"alone"] = b"at last"


def test_an_exclusive_handle_waits_for_the_others_without_a_timeout(base: Path) -> None:
    database = hutch.dbm.open(base, "w")
    with Child(open_exclusively, base) as child:
        assert child.hear() == "opening"
        database[b"second"] = b"first of all"
        assert b"alone" not in database
        database.close()
    assert contents(base) == {b"first": b"entry", b"second": b"first of all", b"alone": b"at last"}


def test_an_exclusive_handle_that_is_killed_is_gone(base: Path) -> None:
    def hold(line: Line) -> None:
        store = open_store(base, "w", exclusive=True)
        store.put(b"last", b"words")
        line.say("held")
        line.hear()

    with Child(hold) as child:
        assert child.hear() == "held"
        with pytest.raises(LockTimeout):
            hutch.dbm.open(base, "w", timeout=0)
        child.kill()
    with hutch.dbm.open(base, "w", timeout=0) as database:
        assert database[b"last"] == b"words"


def test_a_timeout_leaves_the_handle_usable_and_changes_nothing(base: Path) -> None:
    with hutch.dbm.open(base, "w") as holder, hutch.dbm.open(base, "w", timeout=0.01) as impatient:
        inside = threading.Event()
        leave = threading.Event()

        def hold() -> None:
            with holder.transaction():
                holder[b"first"] = b"changed"
                inside.set()
                assert leave.wait(60)

        def try_to_write() -> None:
            assert inside.wait(60)
            try:
                with pytest.raises(LockTimeout):
                    impatient[b"second"] = b"x"
                with pytest.raises(LockTimeout):
                    del impatient[b"first"]
                with pytest.raises(LockTimeout), impatient.transaction():
                    pytest.fail("a transaction without the lock")
                with pytest.raises(LockTimeout):
                    impatient.update({b"a": b"b"})
                with pytest.raises(LockTimeout):
                    impatient.clear()
                assert dict(impatient.items()) == {b"first": b"entry"}
            finally:
                leave.set()

        run_threads(hold, try_to_write)
        impatient[b"second"] = b"x"
        assert dict(holder.items()) == {b"first": b"changed", b"second": b"x"}


@pytest.mark.parametrize("timeout", [None, 30])
def test_waiting_for_oneself_is_an_error_at_once(timeout: float | None, base: Path) -> None:
    with hutch.dbm.open(base, "w") as one, hutch.dbm.open(base, "w", timeout=timeout) as other:
        with one.transaction():
            one[b"first"] = b"changed"
            with pytest.raises(DeadlockError):
                other[b"first"] = b"never"
            with pytest.raises(DeadlockError), other.transaction():
                pytest.fail("two transactions in one thread")
            assert other[b"first"] == b"entry"
        other[b"first"] = b"afterwards"
        assert one[b"first"] == b"afterwards"


def test_a_thread_that_waits_for_another_is_no_deadlock(base: Path) -> None:
    with hutch.dbm.open(base, "w") as one, hutch.dbm.open(base, "w") as other:
        inside = threading.Event()

        def hold() -> None:
            with one.transaction():
                one[b"first"] = b"changed"
                inside.set()

        def wait() -> None:
            assert inside.wait(60)
            other[b"second"] = b"x"

        run_threads(hold, wait)
        assert dict(one.items()) == {b"first": b"changed", b"second": b"x"}


def test_threads_of_one_handle_wait_for_each_others_transactions(base: Path) -> None:
    with hutch.dbm.open(base, "w") as database:
        inside = threading.Event()
        order: list[str] = []

        def hold() -> None:
            with database.transaction():
                database[b"first"] = b"changed"
                inside.set()
                # The other thread is on its way into the lock, or will be.
                for i in range(200):
                    database[b"many %d" % i] = b"x"
                order.append("transaction")

        def wait() -> None:
            assert inside.wait(60)
            database[b"second"] = b"x"
            order.append("statement")
            assert database[b"many 199"] == b"x"

        run_threads(hold, wait)
        assert order == ["transaction", "statement"]


# --- fork ------------------------------------------------------------------------------------------------


def test_a_forked_child_uses_the_handle_and_so_does_the_parent(base: Path) -> None:
    database = hutch.dbm.open(base, "w")
    database[b"before"] = b"fork"

    def work(line: Line) -> None:
        assert database[b"before"] == b"fork"
        database[b"child"] = b"c" * 5000
        line.say("wrote")
        line.hear()
        assert database[b"parent"] == b"p" * 5000
        database[b"again"] = b"child"
        database.close()
        with pytest.raises(ClosedError):
            database[b"before"]

    with Child(work) as child:
        assert child.hear() == "wrote"
        assert database[b"child"] == b"c" * 5000
        database[b"parent"] = b"p" * 5000
        child.say("go on")
        child.finish()
    assert database[b"again"] == b"child"
    database[b"last"] = b"parent"
    database.close()
    assert len(contents(base)) == 6


def test_a_child_that_leaves_without_closing_harms_nothing(base: Path) -> None:
    database = hutch.dbm.open(base, "w")

    def work(line: Line) -> None:
        database[b"child"] = b"wrote and left"

    with Child(work) as child:
        child.finish()
    database[b"parent"] = b"goes on"
    assert database[b"child"] == b"wrote and left"
    database.close()
    assert contents(base) == {b"first": b"entry", b"child": b"wrote and left", b"parent": b"goes on"}


def test_parent_and_forked_children_count_together_on_inherited_handles(base: Path) -> None:
    database = hutch.dbm.open(base, "w")

    def work(line: Line) -> None:
        line.say("ready")
        line.hear()
        for _ in range(150):
            with database.transaction():
                database[b"counter"] = b"%d" % (int(database.get(b"counter", b"0")) + 1)

    children = [Child(work) for _ in range(2)]
    start_together(children)
    for _ in range(150):
        with database.transaction():
            database[b"counter"] = b"%d" % (int(database.get(b"counter", b"0")) + 1)
    for child in children:
        child.finish()
    assert database[b"counter"] == b"450"
    database.close()
    assert contents(base)[b"counter"] == b"450"


def test_a_fork_inside_a_transaction_leaves_it_to_the_parent(base: Path) -> None:
    database = hutch.dbm.open(base, "w", timeout=60)

    def work(line: Line) -> None:
        # The child is not inside: it sees the committed state, and its write waits for the parent's commit.
        assert dict(database.items()) == {b"first": b"entry"}
        line.say("looked")
        database[b"child"] = b"after the commit"
        assert database[b"parent"] == b"inside"
        database.close()

    with database.transaction():
        database[b"parent"] = b"inside"
        child = Child(work)
        assert child.hear() == "looked"
        assert database[b"parent"] == b"inside"
        database[b"more"] = b"inside"
    child.finish()
    assert dict(database.items()) == {
        b"first": b"entry",
        b"parent": b"inside",
        b"more": b"inside",
        b"child": b"after the commit",
    }
    database.close()


def test_a_child_forked_inside_a_transaction_cannot_commit_it(base: Path) -> None:
    """The transaction is the parent's: a child that leaves the with block, too, neither commits nor unlocks."""
    database = hutch.dbm.open(base, "w")
    other = hutch.dbm.open(base, "r")
    transaction = database.transaction()

    def leave(line: Line) -> None:
        with contextlib.suppress(TransactionError):
            transaction.__exit__(None, None, None)
        line.say(dict(database.items()))

    with transaction:
        database[b"parent"] = b"inside"
        with Child(leave) as child:
            assert child.hear() == {b"first": b"entry"}
        assert dict(other.items()) == {b"first": b"entry"}
        with Child(wait_no_longer, base) as child:
            assert child.hear() == "locked out"
    assert dict(other.items()) == {b"first": b"entry", b"parent": b"inside"}
    other.close()
    database.close()


def wait_no_longer(line: Line, base: Path) -> None:
    with hutch.dbm.open(base, "w", timeout=0.01) as database:
        try:
            database[b"intruder"] = b"x"
        except LockTimeout:
            line.say("locked out")
        else:
            line.say("got in")


def test_a_transaction_survives_its_forked_childs_end_and_kill(base: Path) -> None:
    with hutch.dbm.open(base, "w") as database, database.transaction():
        database[b"parent"] = b"inside"
        with Child(Line.hear) as child:
            child.kill()
        with Child(wait_no_longer, base) as child:
            assert child.hear() == "locked out"
        database[b"more"] = b"x"
    assert contents(base) == {b"first": b"entry", b"parent": b"inside", b"more": b"x"}


def test_a_killed_parent_does_not_leave_its_lock_with_a_child_that_lives_on(base: Path) -> None:
    """The child inherited the descriptors; as soon as it touches its handle it lets go of the parent's."""

    def parent(line: Line) -> None:
        database = hutch.dbm.open(base, "w")
        transaction = database.transaction()
        transaction.__enter__()
        database[b"never"] = b"committed"

        def grandchild(inner: Line) -> None:
            assert database[b"first"] == b"entry"
            line.say("looked")
            line.hear()

        Child(grandchild)
        line.hear()

    with Child(parent) as child:
        assert child.hear() == "looked"
        child.kill()
        with hutch.dbm.open(base, "w", timeout=10) as database:
            database[b"mine"] = b"now"
            assert dict(database.items()) == {b"first": b"entry", b"mine": b"now"}
        child.say("leave")


def test_an_exclusive_handle_in_a_fork_stays_the_parents(base: Path) -> None:
    """Two processes cannot both be alone: the child's use of it raises, and the parent's goes on."""
    database = hutch.dbm.open(base, "w", exclusive=True, timeout=0.05)

    def work(line: Line) -> None:
        try:
            line.say(database[b"first"])
        except OSError as problem:
            line.say(type(problem))

    with Child(work) as child:
        child.hear()
    with pytest.raises(LockTimeout):
        hutch.dbm.open(base, "r", timeout=0)
    database[b"second"] = b"still alone"
    database.close()
    assert contents(base) == {b"first": b"entry", b"second": b"still alone"}


def test_a_closed_handle_stays_closed_in_a_fork(base: Path) -> None:
    database = hutch.dbm.open(base, "w")
    database.close()

    def work(line: Line) -> None:
        with pytest.raises(ClosedError):
            database[b"first"]
        database.close()

    Child(work).finish()


def test_threads_and_a_fork_in_the_middle_of_their_writes(base: Path) -> None:
    """The fork may come while another thread holds the handle's thread lock: the child must not hang on it."""
    database = hutch.dbm.open(base, "w", timeout=60)
    stop = threading.Event()
    started = threading.Event()

    def write() -> None:
        i = 0
        while not stop.is_set():
            database[b"thread %d" % (i % 50)] = b"x" * (i % 700)
            i += 1
            if i == 50:
                started.set()

    def fork() -> None:
        assert started.wait(60)
        try:
            for i in range(12):
                with Child(use_inherited, database, i) as child:
                    child.finish()
        finally:
            stop.set()

    run_threads(write, fork)
    for i in range(12):
        assert database[b"forked %d" % i] == b"child"
    database.close()
    assert len(contents(base)) == 1 + 50 + 12


def use_inherited(line: Line, database: Any, i: int) -> None:
    assert database[b"first"] == b"entry"
    database[b"forked %d" % i] = b"child"
    assert database[b"forked %d" % i] == b"child"


# --- multiprocessing and pickles -------------------------------------------------------------------------


def work_in_pool(database: Any, number: int) -> bytes:
    database[b"from %d" % number] = b"%d" % (number * number)
    return bytes(database[b"first"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_multiprocessing_takes_handles_along(method: str, base: Path) -> None:
    context: Any = multiprocessing.get_context(method)
    with hutch.dbm.open(base, "w") as database:
        processes = [context.Process(target=work_in_pool, args=(database, number)) for number in range(2)]
        for process in processes:
            process.start()
        database[b"parent"] = b"meanwhile"
        for process in processes:
            process.join(60)
            assert process.exitcode == 0
        assert dict(database.items()) == {
            b"first": b"entry",
            b"parent": b"meanwhile",
            b"from 0": b"0",
            b"from 1": b"1",
        }


@pytest.mark.parametrize("flag", ["r", "w", "c", "n"])
def test_a_pickled_handle_reopens_the_same_database_and_never_wipes_it(flag: Flag, base: Path) -> None:
    with hutch.dbm.open(base, flag) as database:
        if flag != "r":
            database[b"first"] = b"entry"
        with pickle.loads(pickle.dumps(database)) as copy:
            assert dict(copy.items()) == {b"first": b"entry"}
            if flag == "r":
                with pytest.raises(hutch.dbm.error):
                    copy[b"second"] = b"x"
            else:
                copy[b"second"] = b"x"
                assert database[b"second"] == b"x"
        assert database[b"first"] == b"entry"


def test_a_pickled_relative_handle_survives_another_working_directory(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(base.parent)
    with hutch.dbm.open("db", "w") as database:
        frozen = pickle.dumps(database)
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        with pickle.loads(frozen) as copy:
            assert copy[b"first"] == b"entry"
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_pickled_shelf_reopens(base: Path) -> None:
    with hutch.open(str(base), "c") as shelf:
        shelf["key"] = [1, 2]
        with pickle.loads(pickle.dumps(shelf)) as copy:
            assert copy["key"] == [1, 2]
            copy["key"] = [3]
        assert shelf["key"] == [3]


# --- the end of an interpreter ---------------------------------------------------------------------------


def run_script(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "dev", "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_open_handle_is_closed_at_interpreter_exit(tmp_path: Path) -> None:
    done = run_script(
        "import sys, hutch.dbm\n"
        "database = hutch.dbm.open(sys.argv[1], 'n')\n"
        "for i in range(100): database[str(i)] = str(i) * i\n",
        tmp_path / "db",
    )
    assert done.returncode == 0, done.stderr
    expected = {b"%d" % i: b"%d" % i * i for i in range(100)}
    # A checkpoint was made: the stdlib sees everything, and no journal waits.
    assert newest_interpreter().session(tmp_path / "db", flag="r") == expected
    assert contents(tmp_path / "db") == expected


def test_exit_with_handles_everywhere(tmp_path: Path) -> None:
    """In a global, a cycle, a thread's frame, a generator, a default argument; inside a transaction."""
    done = run_script(
        "import sys, threading, hutch.dbm\n"
        "def opened(name):\n"
        "    database = hutch.dbm.open(sys.argv[1] + name, 'n')\n"
        "    database['key'] = name\n"
        "    return database\n"
        "class Node: pass\n"
        "node = Node(); node.self = node; node.database = opened('cycle')\n"
        "def function(database=opened('default')): pass\n"
        "def generate():\n"
        "    with opened('generator') as database:\n"
        "        yield database\n"
        "generator = generate(); next(generator)\n"
        "inside = opened('transaction'); context = inside.transaction(); context.__enter__(); inside['key'] = 'never'\n"
        "started = threading.Event()\n"
        "def hold():\n"
        "    database = opened('thread'); started.set(); threading.Event().wait()\n"
        "threading.Thread(target=hold, daemon=True).start(); started.wait()\n",
        tmp_path / "db-",
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    for name in ("cycle", "default", "generator", "transaction", "thread"):
        assert newest_interpreter().session(tmp_path / f"db-{name}", flag="r") == {b"key": name.encode()}, name


def test_exit_does_not_hang_on_a_lock_that_somebody_else_holds(base: Path) -> None:
    with hutch.dbm.open(base, "w") as database, database.transaction():
        database[b"held"] = b"here"
        done = run_script(
            "import sys, hutch.dbm\ndatabase = hutch.dbm.open(sys.argv[1], 'w')\nprint(len(database))\n", base
        )
        assert done.stdout.strip() == "1", done.stderr
        assert done.returncode == 0, done.stderr
    assert contents(base) == {b"first": b"entry", b"held": b"here"}


def test_exit_with_unsynced_writes_while_somebody_else_holds_the_lock(base: Path) -> None:
    script = (
        "import sys, hutch.dbm, hutch.store\n"
        "hutch.store._EXIT_TIMEOUT_SECONDS = 0.1\n"  # all of it is waited for
        "database = hutch.dbm.open(sys.argv[1], 'w')\n"
        "database['last'] = 'words'\n"
        "print('written', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    with (
        hutch.dbm.open(base, "w") as database,
        subprocess.Popen(
            [sys.executable, "-X", "dev", "-c", script, str(base)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        with database.transaction():
            database[b"held"] = b"here"
            _, errors = process.communicate("leave\n", timeout=60)
            assert process.returncode == 0, errors
    expected = {b"first": b"entry", b"last": b"words", b"held": b"here"}
    assert contents(base) == expected
    assert newest_interpreter().session(base, flag="r") == expected


def test_a_handle_that_is_dropped_is_closed_and_says_so_no_louder_than_a_file(base: Path) -> None:
    done = run_script(
        "import sys, gc, os, hutch.dbm\n"
        "def use():\n"
        "    database = hutch.dbm.open(sys.argv[1], 'w')\n"
        "    database['dropped'] = 'kept'\n"
        "before = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0\n"
        "for _ in range(20): use()\n"
        "gc.collect()\n"
        "after = len(os.listdir('/proc/self/fd')) if os.path.isdir('/proc/self/fd') else 0\n"
        "assert after <= before, (before, after)\n",
        base,
    )
    assert done.returncode == 0, done.stderr
    assert newest_interpreter().session(base, flag="r") == {b"first": b"entry", b"dropped": b"kept"}


LIST_DESCRIPTORS = """
import os
for fd in os.listdir("/proc/self/fd"):
    try:
        print(os.readlink("/proc/self/fd/" + fd))
    except OSError:
        pass  # the listing's own
"""


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to list a process's descriptors")
def test_handles_are_not_inherited_by_programs_that_are_started(base: Path) -> None:
    with hutch.dbm.open(base, "w") as database:
        database[b"second"] = b"x"
        done = subprocess.run(
            [sys.executable, "-c", LIST_DESCRIPTORS],
            capture_output=True,
            text=True,
            close_fds=False,
            timeout=60,
            check=True,
        )
    assert str(base) not in done.stdout


# --- durability ------------------------------------------------------------------------------------------


class CountingFile(File):
    """Writes down which file is synced."""

    __slots__ = ("_syncs",)

    def __init__(self, file: File, syncs: list[str]) -> None:
        super().__init__(file.fd, file.path, file.writable)
        file.fd = -1  # the descriptor has one owner
        self._syncs = syncs

    def sync(self) -> None:
        self._syncs.append(os.path.splitext(self.path)[1])
        super().sync()


class CountingFileSystem(FileSystem):
    def __init__(self, syncs: list[str]) -> None:
        self._syncs = syncs

    def open(self, path: str, *, writable: bool, create: bool = False, new: bool = False, mode: int = 0o666) -> File:
        return CountingFile(super().open(path, writable=writable, create=create, new=new, mode=mode), self._syncs)


@pytest.mark.parametrize(("durability", "expected"), [("close", []), ("commit", [".log"])])
def test_what_a_small_put_syncs(durability: str, expected: list[str], base: Path) -> None:
    syncs: list[str] = []
    store = open_store(base, "w", durability=durability, file_system=CountingFileSystem(syncs))
    store.put(b"warm", b"up")
    for i in range(5):
        syncs.clear()
        store.put(b"small %d" % i, b"v" * 100)
        assert syncs == expected
    syncs.clear()
    store.apply({b"a": b"1", b"b": b"2", b"small 0": None})
    assert syncs == expected
    store.close()


def test_a_durable_commit_syncs_what_a_lazy_handle_left_behind(base: Path) -> None:
    """Large values are not in the journal: the heap has to go first, whoever wrote into it."""
    syncs: list[str] = []
    lazy = open_store(base, "w")
    durable = open_store(base, "w", durability="commit", file_system=CountingFileSystem(syncs))
    durable.put(b"warm", b"up")
    lazy.put(b"large", b"l" * 20_000)
    syncs.clear()
    durable.put(b"small", b"s")
    assert syncs == [".dat", ".log"]
    syncs.clear()
    durable.put(b"smaller", b"s")
    assert syncs == [".log"]
    durable.close()
    lazy.close()


def test_sync_and_close_sync_the_heap_and_the_journal_before_the_directory(base: Path) -> None:
    syncs: list[str] = []
    store = open_store(base, "w", file_system=CountingFileSystem(syncs))
    for finish in (store.sync, store.close):
        store.put(b"first", b"replaced" * 1000)
        syncs.clear()
        finish()
        assert {".dat", ".log", ".dir"} <= set(syncs)
        assert syncs.index(".dat") < syncs.index(".dir")
        assert syncs.index(".log") < syncs.index(".dir")
