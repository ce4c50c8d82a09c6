"""A handle that writes again and again, alone, does without the writer lock, until somebody else wants to write."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from children import Child, Line
from crash.collisions import colliding_hashes
from crash.simulated import as_slice
from hutch import format as fmt
from hutch import owning, shared, single
from hutch import store as statements
from hutch.errors import ClosedError, DeadlockError, LockTimeout, OutcomeUnknownError
from hutch.files import File, words_of
from hutch.store import Store, open_store


@pytest.fixture
def base(tmp_path: Path) -> Path:
    store = open_store(tmp_path / "db", "n")
    store.put(b"first", b"entry")
    store.close()
    return tmp_path / "db"


@pytest.fixture
def stores(base: Path) -> Iterator[Callable[..., Store]]:
    """Opens handles, and closes them afterwards."""
    opened: list[Store] = []

    def open_one(flag: str = "w", **options: Any) -> Store:
        opened.append(open_store(base, flag, **options))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def owner_of(store: Store) -> Store:
    """Write until the handle owns the database."""
    for number in range(store.patience):
        store.put(b"calm", b"%d" % number)
    assert store.is_owner
    return store


class Stepped:
    """A view that calls `action` once: when the version word has become odd, or before it becomes even again."""

    def __init__(self, store: Store, becomes_odd: bool, action: Callable[[], None]) -> None:
        assert store.index is not None
        self.store, self.index, self.becomes_odd, self.action = store, store.index, becomes_odd, action
        self.view = store.index.file.view
        self.is_done = False
        self.put_in_place(self)

    def put_in_place(self, view: Any) -> None:
        self.index.file.view = view
        self.index.file.words = words_of(view)
        if self.store.is_owner:
            self.store.lay_out()

    def __len__(self) -> int:
        return len(self.view)

    def __getitem__(self, span: slice) -> bytes:
        return self.view[span]

    def __setitem__(self, place: slice | int, stored: bytes | int) -> None:
        span, data = as_slice(place, stored)
        is_it = not self.is_done and span.start == fmt.WORD_START and data[0] & 1 == self.becomes_odd
        if is_it:
            self.is_done = True
            self.put_in_place(self.view)
        if is_it and not self.becomes_odd:
            self.action()
        self.view[span] = data
        if is_it and self.becomes_odd:
            self.action()


class Afterwards(Stepped):
    """Calls `action` right after the version word has become even."""

    def __setitem__(self, place: slice | int, stored: bytes | int) -> None:
        span, data = as_slice(place, stored)
        is_it = not self.is_done and span.start == fmt.WORD_START and not data[0] & 1
        self.view[span] = data
        if is_it:
            self.is_done = True
            self.put_in_place(self.view)
            self.action()


class Slotwise(Stepped):
    """Calls `action` before an entry is put into its slot."""

    def __setitem__(self, place: slice | int, stored: bytes | int) -> None:
        span, data = as_slice(place, stored)
        if not self.is_done and span.start >= fmt.INDEX_HEADER_BYTES and len(data) == fmt.SLOT_BYTES:
            self.is_done = True
            self.action()
        self.view[span] = data


def flags(store: Store) -> bytes:
    assert store.index is not None
    return store.index.file.view[fmt.PENDING_AT : fmt.GATE_END]


def test_whoever_writes_alone_for_a_while_asks_for_no_lock(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores()
    for number in range(shared.FIRST_PATIENCE - 1):
        store.put(b"calm", b"%d" % number)
        assert not store.is_owner
    store.put(b"calm", b"now")
    assert store.is_owner
    assert flags(store) == b"\0\0\0\1"
    asked: list[str] = []
    monkeypatch.setattr(store.locks, "acquire_writer", lambda timeout: asked.append("writer"))
    for number in range(20):
        store.put(b"key %d" % number, b"value")
        assert store.delete(b"key %d" % number)
    assert not store.delete(b"missing")
    assert len(asked) < 5  # to make a file longer
    assert flags(store) == b"\0\0\0\1"


def test_replacing_in_a_database_that_has_just_been_opened_asks_for_no_lock_either(
    base: Path, stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no room for new keys yet, and none is needed."""
    store = owner_of(stores())
    store.apply({b"key %d" % number: b"old" for number in range(100)})
    store.close()
    store = owner_of(stores())
    asked: list[str] = []
    monkeypatch.setattr(store.locks, "acquire_writer", lambda timeout: asked.append("writer"))
    for number in range(20):
        store.put(b"key %d" % number, b"new")
    assert len(asked) < 5  # to make a file longer
    assert store.check().ok


def test_nor_does_it_in_one_whose_index_was_made_anew(
    base: Path, stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the key does not stand behind the value, as far as the index knows, it stands in its line."""
    store = owner_of(stores())
    model = {(b"it's %d" if number % 2 else b"key%d") % number: b"old" for number in range(100)}
    store.apply(model)
    store.close()
    base.with_suffix(".idx").unlink()
    store = owner_of(stores())
    asked: list[str] = []
    monkeypatch.setattr(store.locks, "acquire_writer", lambda timeout: asked.append("writer"))
    for key in model:
        store.put(key, b"new")
    assert len(asked) < 10  # to make a file longer
    assert all(store.get(key) == b"new" for key in model)
    assert store.check().ok


def test_an_exclusive_handle_needs_no_lock_either(base: Path, stores: Callable[..., Store]) -> None:
    store = owner_of(stores(exclusive=True))
    assert flags(store) == b"\0\0\0\0"
    store.put(b"key", b"value")
    assert store.get(b"key") == b"value"


def test_a_durable_handle_syncs_every_statement_all_the_same(stores: Callable[..., Store]) -> None:
    store = stores(durability="commit")
    for number in range(3 * shared.FIRST_PATIENCE):
        store.put(b"key", b"%d" % number)
        assert store.index is not None
        assert not store.index.flag(fmt.HEAP_DIRTY_AT)


def test_another_writer_ends_it(stores: Callable[..., Store]) -> None:
    owner, other = owner_of(stores()), stores()
    other.put(b"key", b"of the other")
    assert flags(owner)[1:] == b"\1\0\0"
    assert owner.is_owner  # it has not noticed yet
    assert owner.get(b"key") == b"of the other"
    owner.put(b"key", b"of the owner")
    assert not owner.is_owner
    assert other.get(b"key") == b"of the owner"
    assert owner.patience > shared.FIRST_PATIENCE


def test_two_who_take_turns_lose_nothing(stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "FIRST_PATIENCE", 1)
    monkeypatch.setattr(owning, "_PATIENCE_FACTOR", 1)
    monkeypatch.setattr(owning, "_VISIBLE_SECONDS", 0)
    handles = [stores(), stores()]
    model = {b"first": b"entry"}
    for number in range(300):
        store = handles[number // (1 + number % 5) % 2]
        key = b"key %d" % (number % 40)
        if number % 3:
            store.put(key, b"%d" % number)
            model[key] = b"%d" % number
        else:
            assert store.delete(key) == (model.pop(key, None) is not None)
        if number % 50 == 49:
            store.sync()
    for store in handles:
        assert dict(store.items()) == model
        assert store.check().ok


def test_its_transactions_and_the_rest_take_the_lock(stores: Callable[..., Store]) -> None:
    owner, other = owner_of(stores()), stores()
    owner.begin()
    owner.put(b"key", b"not yet")
    with pytest.raises(DeadlockError):
        other.put(b"key", b"in between")
    owner.rollback()
    other.put(b"key", b"now")
    assert owner.get(b"key") == b"now"


def test_what_needs_more_room_goes_the_long_way_round_and_it_stays_the_owner(stores: Callable[..., Store]) -> None:
    owner = owner_of(stores())
    for size in (0, 1, 511, 512, 4096, 4097, 100_000):
        owner.put(b"of %d bytes" % size, bytes(size))
        assert owner.get(b"of %d bytes" % size) == bytes(size)
    for number in range(3000):
        owner.put(b"key %d" % number, b"value")
    assert owner.is_owner
    owner.sync()
    owner.reorganize()
    owner.put(b"key 0", b"after")
    assert owner.count() == 3009
    assert owner.check().ok


def pause_in_an_update(line: Line, base: Path) -> None:
    """Own the database, and stop in the middle of a statement until told to go on."""
    store = owner_of(open_store(base, "w"))

    def pause() -> None:
        line.say("inside")
        line.hear()

    Stepped(store, True, pause)
    store.put(b"key", b"of the owner")
    line.say("outside")
    line.hear()
    store.put(b"later", b"too")
    line.say(store.is_owner)
    line.hear()
    store.close()


def test_nobody_writes_while_the_owner_is_inside_a_statement(base: Path, stores: Callable[..., Store]) -> None:
    other = stores(timeout=0.01)
    with Child(pause_in_an_update, base) as child:
        assert child.hear() == "inside"
        with pytest.raises(LockTimeout):
            other.put(b"key", b"in between")
        child.say("go on")
        assert child.hear() == "outside"
        other.put(b"key", b"of the other")  # beside an owner who is outside, and has not been told yet
        child.say("go on")
        assert child.hear() is False
        assert other.get(b"key") == b"of the other"
        assert other.get(b"later") == b"too"
        child.say("close")


def test_an_owner_that_dies_inside_a_statement_is_finished_by_the_next(
    base: Path, stores: Callable[..., Store]
) -> None:
    with Child(pause_in_an_update, base) as child:
        assert child.hear() == "inside"
        child.kill()
    other = stores()
    assert other.get(b"key") == b"of the owner"  # it was past its commit point
    other.put(b"key", b"next")
    assert flags(other)[3:] == b"\0"
    assert other.check().ok


def test_a_reader_sees_what_an_owner_that_died_has_committed(base: Path, stores: Callable[..., Store]) -> None:
    reader = stores("r")
    with Child(pause_in_an_update, base) as child:
        assert child.hear() == "inside"
        child.kill()
    assert reader.get(b"key") == b"of the owner"


def test_a_flag_that_a_crash_has_left_means_nothing(base: Path, stores: Callable[..., Store]) -> None:
    store = stores()
    store.put(b"key", b"value")
    assert store.index is not None
    store.index.set_flag(fmt.OWNED_AT, True)
    store.index.set_flag(fmt.PENDING_AT, True)
    other = stores(timeout=5)
    other.put(b"key", b"next")
    assert flags(other)[3:] == b"\0"
    assert other.get(b"key") == b"next"


def test_a_late_owner_does_not_make_the_next_one_look_busy(stores: Callable[..., Store]) -> None:
    """A former owner that notices late has said that it is inside, and nobody would ever say that it is not."""
    former, store = owner_of(stores()), stores(timeout=5)
    store.enter()
    assert former.index is not None
    former.index.set_flag(fmt.PENDING_AT, True)  # as far as it comes before it looks who wants to write
    former.give_up_owning()
    store.calm = store.patience
    store.consider_owning()
    assert not store.is_owner
    store.leave()
    stores(timeout=5).put(b"key", b"value")
    assert store.get(b"key") == b"value"


def test_a_statement_inside_a_statement_of_the_owner_is_a_deadlock(stores: Callable[..., Store]) -> None:
    """As from a signal handler, or a finalizer."""
    owner, other = owner_of(stores()), stores()
    problems: list[BaseException] = []

    def write_inside() -> None:
        with pytest.raises(DeadlockError) as caught:
            other.put(b"key", b"of the other")
        problems.append(caught.value)

    Stepped(owner, True, write_inside)
    owner.put(b"key", b"of the owner")
    assert len(problems) == 1
    assert owner.get(b"key") == b"of the owner"
    other.put(b"key", b"later")
    assert owner.get(b"key") == b"later"


def write_in_child(line: Line, store: Store) -> None:
    line.say(store.is_owner)
    store.put(b"from", b"child")
    line.say(store.get(b"from"))
    store.close()


def test_a_forked_child_is_not_the_owner(stores: Callable[..., Store]) -> None:
    owner = owner_of(stores())
    with Child(write_in_child, owner) as child:
        assert child.hear() is False
        assert child.hear() == b"child"
    assert owner.get(b"from") == b"child"
    owner.put(b"from", b"parent")
    assert owner.get(b"from") == b"parent"


def raising(problem: type[BaseException]) -> Callable[[], None]:
    def action() -> None:
        raise problem

    return action


def test_an_interrupted_statement_of_the_owner_holds_nobody_up(stores: Callable[..., Store]) -> None:
    owner, other = owner_of(stores()), stores(timeout=5)
    Stepped(owner, False, raising(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        owner.put(b"key", b"committed")
    assert not owner.is_owner
    assert other.get(b"key") == b"committed"
    other.put(b"key", b"next")
    assert owner.get(b"key") == b"next"
    assert owner.check().ok


def test_an_owner_that_finds_itself_wanted_does_not_make_the_other_wait(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has said that it is inside, and now waits for the writer lock, whose holder waits until it is outside."""
    owner, other = owner_of(stores()), stores(timeout=5)
    late = threading.Thread(target=owner.put, args=(b"key", b"of the owner"))
    sleep = time.sleep

    def wait_for_the_owner(seconds: float) -> None:
        if not late.ident:
            late.start()
            while flags(owner)[:1] != b"\1":
                sleep(0)

    monkeypatch.setattr(owning.time, "sleep", wait_for_the_owner)
    other.put(b"key", b"of the other")
    monkeypatch.undo()
    late.join()
    assert other.get(b"key") == b"of the owner"


def test_an_owner_that_is_interrupted_does_not_make_the_other_wait(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = owner_of(stores()), stores(timeout=5)
    inside, go_on = threading.Event(), threading.Event()
    problems: list[BaseException] = []

    def interrupted() -> None:
        inside.set()
        go_on.wait(60)
        raise KeyboardInterrupt

    def put() -> None:
        try:
            owner.put(b"key", b"of the owner")
        except KeyboardInterrupt as problem:
            problems.append(problem)

    Stepped(owner, False, interrupted)
    thread = threading.Thread(target=put)
    thread.start()
    assert inside.wait(60)
    monkeypatch.setattr(owning, "_VISIBLE_SECONDS", 0)
    monkeypatch.setattr(owning.time, "sleep", lambda seconds, sleep=time.sleep: (go_on.set(), sleep(seconds)))
    other.put(b"key", b"of the other")
    monkeypatch.undo()
    thread.join()
    assert len(problems) == 1
    assert owner.get(b"key") == b"of the other"
    assert owner.check().ok


def test_an_error_behind_the_commit_point_is_none_of_the_callers(stores: Callable[..., Store]) -> None:
    owner = owner_of(stores())
    Stepped(owner, False, raising(MemoryError))
    owner.put(b"key", b"committed")
    assert owner.get(b"key") == b"committed"
    assert not owner.is_owner


def test_it_uses_the_space_that_a_checkpoint_with_a_new_directory_has_found(stores: Callable[..., Store]) -> None:
    """The new directory has a new index, of which nobody is the owner yet: that is nobody else's doing."""
    owner = owner_of(stores())
    owner.apply({b"key %d" % number: b"value" for number in range(600)})
    for number in range(500):
        owner.delete(b"key %d" % number)
    assert owner.is_owner
    owner.sync()
    assert owner.index is not None and owner.heap.free is not None
    blocks = owner.index.heap_blocks
    for number in range(100):
        owner.put(b"new %d" % number, b"value")
    assert owner.index.heap_blocks == blocks
    owner_of(owner)
    free = owner.heap.free
    assert free.block_count
    for number in range(free.block_count):
        owner.put(b"last %d" % number if number % 2 else b"key 599", b"value %d" % number)
        assert owner.at_hand is not None  # it needs no lock for that
    assert owner.index.heap_blocks == blocks
    for number in range(100):  # and goes on without, when there is none left
        owner.put(b"newer %d" % number, b"value")
    assert owner.index.heap_blocks > blocks
    assert owner.heap.free is None
    assert owner.at_hand is not None
    assert owner.check().ok


def test_closing_gives_it_up(base: Path, stores: Callable[..., Store]) -> None:
    owner_of(stores()).close()
    store = stores()
    assert flags(store)[3:] == b"\0"
    assert not store.locks.owner.is_taken_elsewhere()


def test_a_handle_that_was_dropped_gives_it_up(base: Path, stores: Callable[..., Store]) -> None:
    owner = owner_of(open_store(base, "w"))
    owner.locks.close()  # as its finalizer does
    store = stores(timeout=5)
    store.put(b"key", b"value")
    assert flags(store)[3:] == b"\0"


def pause_before_the_record(line: Line, base: Path) -> None:
    """Own the database, and stop between the line and the journal record of a statement."""
    store = owner_of(open_store(base, "w"))
    journal = store.journal
    assert journal is not None
    view = journal.file.view

    class Slow:
        def __len__(self) -> int:
            return len(view)

        def __getitem__(self, span: slice) -> bytes:
            return view[span]

        def __setitem__(self, span: slice, data: bytes) -> None:
            line.say("inside")
            line.hear()
            view[span] = data

    journal.file.view = Slow()  # type: ignore[assignment]
    store.lay_out()
    store.put(b"new key", b"of the owner")
    journal.file.view = view
    store.lay_out()
    line.say(store.get(b"new key"))
    line.hear()
    store.close()


def test_who_has_to_give_up_waiting_touches_nothing_of_the_owners(base: Path, stores: Callable[..., Store]) -> None:
    other = stores(timeout=0.01)
    with Child(pause_before_the_record, base) as child:
        assert child.hear() == "inside"
        for _ in range(3):
            with pytest.raises(LockTimeout):
                other.put(b"key", b"in between")
            assert flags(other)[:1] == b"\1"
        child.say("go on")
        assert child.hear() == b"of the owner"
        other.put(b"key", b"later")
        child.say("close")
    assert other.get(b"new key") == b"of the owner"
    assert other.check().ok


def test_a_handle_that_failed_to_catch_up_does_not_believe_it_has(
    base: Path, stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = stores(), stores()
    for number in range(3):
        one.put(b"one %d" % number, b"value")
        other.put(b"other %d" % number, b"value")
    one.put(b"one", b"before the new round")
    one.sync()
    with monkeypatch.context() as patch:
        patch.setattr(type(other.heap.file.file), "size", lambda self: (_ for _ in ()).throw(OSError(24, "EMFILE")))
        with pytest.raises(OSError, match="EMFILE"):
            other.put(b"key", b"refused")
    other.put(b"key", b"COMMITTED")
    assert other.index is not None and other.journal is not None
    assert other.journal.salt == other.index.salt
    assert one.get(b"key") == b"COMMITTED"


def test_an_owner_whose_sync_failed_lets_the_others_see(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = owner_of(stores(durability="commit"))
    assert owner.journal is not None
    monkeypatch.setattr(type(owner.journal.file.file), "sync", lambda self: (_ for _ in ()).throw(OSError(5, "EIO")))
    with pytest.raises(OutcomeUnknownError):
        owner.put(b"key", b"unknown")
    monkeypatch.undo()
    assert not owner.is_owner
    assert not owner.locks.owner.is_taken_elsewhere()
    assert stores("r").get(b"first") == b"entry"


def at_line(code: CodeType, number: int, action: Callable[[], None]) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that acts once, before the `number`-th line of a function: as a signal handler would."""
    left = [number]

    def on_line(frame: FrameType, what: str, _argument: Any) -> Any:
        if frame.f_code is code and what == "line":
            left[0] -= 1
            if not left[0]:
                action()
        return on_line

    return on_line


@pytest.mark.parametrize("number", range(1, 40))
def test_who_writes_before_a_statement_of_the_owner_has_begun_comes_first(
    stores: Callable[..., Store], number: int
) -> None:
    """A signal handler, for one, that uses the same handle."""
    owner = owner_of(stores())
    inner: list[bytes] = []

    def write_inside() -> None:
        if not owner.is_busy:
            owner.put(b"inner", b"value")
            inner.append(b"inner")

    previous = sys.gettrace()
    sys.settrace(at_line(single.put_as_owner.__code__, number, write_inside))
    try:
        owner.put(b"outer", b"value")
    finally:
        sys.settrace(previous)
    for store in (owner, stores("r")):
        assert [store.get(key) for key in [b"outer", *inner]] == [b"value"] * (1 + len(inner))
    assert owner.check().ok


def test_statements_inside_a_transaction_never_go_the_owners_way(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an interrupt in one of them would let go of the transaction's lock."""

    def refuse(*_: object) -> None:
        raise AssertionError("a statement of its own")

    owner = owner_of(stores())
    owner.begin()
    with monkeypatch.context() as patched:
        patched.setattr("hutch.store.put_as_owner", refuse)
        patched.setattr("hutch.store.delete_as_owner", refuse)
        owner.put(b"key", b"value")
        assert owner.delete(b"calm")
    owner.commit()
    assert owner.get(b"key") == b"value"
    assert owner.get(b"calm") is None


def test_what_a_statement_has_done_is_not_undone_for_want_of_memory_for_the_next(stores: Callable[..., Store]) -> None:
    class Full(bytearray):
        def extend(self, more: Any) -> None:
            raise MemoryError

    owner = owner_of(stores())
    assert owner.index is not None
    owner.index.checked = Full(owner.index.checked)
    owner.apply({b"a": b"1", b"b": b"2"})
    assert owner.at_hand is None
    owner.put(b"c", b"3")
    assert [owner.get(key) for key in (b"a", b"b", b"c")] == [b"1", b"2", b"3"]


def test_what_replaced_values_leave_is_used_again_before_it_outgrows_what_is_live(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though their records are short: values do not travel in the journal."""
    monkeypatch.setattr(statements, "_MIN_FREED_BLOCKS", 64)
    owner = owner_of(stores())
    assert owner.index is not None
    blocks = 8 * 2000
    for number in range(2000):
        owner.put(b"key", b"%d" % number * 800)
    assert owner.index.heap_blocks < blocks // 8
    assert owner.statistics().checkpoint_count > 0


def test_closing_leaves_nothing_that_a_durable_commit_would_sync(stores: Callable[..., Store]) -> None:
    owner = owner_of(stores())
    assert owner.index is not None
    assert owner.index.flag(fmt.HEAP_DIRTY_AT)
    owner.close()
    durable = stores(durability="commit")
    assert durable.index is not None
    assert not durable.index.flag(fmt.HEAP_DIRTY_AT)


def test_a_durable_commit_syncs_what_the_owner_has_put_since_the_last_sync(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    durable = stores(durability="commit")
    durable.put(b"durable", b"1")
    owner = owner_of(stores())
    owner.sync()
    assert owner.at_hand is not None
    owner.put(b"lazy", b"value that is in the heap alone")
    synced: list[str] = []
    monkeypatch.setattr(File, "sync", lambda file: synced.append(file.path[-3:]))
    durable.put(b"durable", b"2")
    assert synced == ["dat", "log"]


def test_a_round_with_free_space_leaves_nothing_of_the_old_one_at_hand(stores: Callable[..., Store]) -> None:
    """Its salt, for one: a record under another would be none."""
    owner = owner_of(stores())
    assert owner.index is not None and owner.journal is not None
    for number in range(200):
        owner.put(b"key", b"%d" % number)
    owner.sync()
    assert owner.is_owner and owner.heap.free is not None
    owner.put(b"after", b"value")
    records = owner.journal.records(fmt.JOURNAL_HEADER_BYTES, owner.index.base_sequence)
    assert [record.sequence for record in records] == [owner.index.sequence]


def test_a_closed_owner_touches_nothing(stores: Callable[..., Store]) -> None:
    owner, other = owner_of(stores()), stores()
    owner.close()
    with pytest.raises(ClosedError):
        owner.put(b"key", b"value")
    assert flags(other)[0] == 0


def test_a_forked_child_asks_for_the_lock_before_it_writes(stores: Callable[..., Store]) -> None:
    owner = owner_of(stores())
    child = os.fork()
    if not child:
        try:
            owner.put(b"key", b"of the child")
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert flags(owner) != b"\0\0\0\1"  # it has ended the ownership
    owner.put(b"other key", b"of the parent")
    assert [owner.get(key) for key in (b"key", b"other key")] == [b"of the child", b"of the parent"]


def test_a_thread_that_is_taking_the_state_over_is_waited_for(
    stores: Callable[..., Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would put back what the owner's statement has moved, and the next line would go over the last one."""
    owner = owner_of(stores())
    index = owner.index
    assert index is not None
    loading, go_on = threading.Event(), threading.Event()
    unpack, wait_for_loading = index._unpack, index.wait_for_loading

    def late(packed: bytes) -> None:
        loading.set()
        assert go_on.wait(60)
        unpack(packed)

    def finish() -> None:
        go_on.set()
        reader.join(60)

    def wait() -> None:
        go_on.set()
        wait_for_loading()

    monkeypatch.setattr(index, "_unpack", late)
    monkeypatch.setattr(index, "wait_for_loading", wait)
    reader = threading.Thread(target=index.load)
    reader.start()
    assert loading.wait(60)
    Slotwise(owner, True, finish)
    owner.put(b"key", b"value")
    finish()
    owner.put(b"next", b"value")
    assert list(owner.keys()) == [b"first", b"calm", b"key", b"next"]
    assert list(stores("r").keys()) == [b"first", b"calm", b"key", b"next"]


def test_who_sees_the_word_of_a_statement_sees_its_counts(stores: Callable[..., Store]) -> None:
    owner, reader = owner_of(stores()), stores("r")
    counted: list[tuple[int, int]] = []
    count, sequence = owner.count(), owner.sequence
    Afterwards(owner, False, lambda: counted.append((reader.count(), reader.sequence)))
    owner.put(b"key", b"value")
    assert counted == [(count + 1, sequence + 1)]


@pytest.mark.parametrize("length", [0, 3, 200])
def test_a_long_key_is_not_taken_for_a_short_one(stores: Callable[..., Store], length: int) -> None:
    """Behind a value stands its key with one byte for its length, and zeros behind that."""
    with colliding_hashes():
        owner = owner_of(stores())
        short = b"k" * length
        long = short + bytes(256)
        owner.put(short, b"value")
        assert not owner.delete(long)
        assert owner.get(long) is None
        owner.put(long, b"of the long one")
        assert owner.is_owner
        assert (owner.get(short), owner.get(long)) == (b"value", b"of the long one")
        assert owner.delete(long)
        assert (owner.get(short), owner.get(long)) == (b"value", None)
