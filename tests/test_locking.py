"""The three locks, under open file description locks and under the flock fallback alike."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from children import Child, Line
from hutch.errors import DeadlockError, LockTimeout, UnsupportedFileError
from hutch.files import FileSystem
from hutch.locking import HAS_OFD, Locks, open_locks
from hutch.store import open_store

pytestmark = pytest.mark.parametrize(
    "use_ofd",
    [
        pytest.param(True, marks=pytest.mark.skipif(not HAS_OFD, reason="no open file description locks here")),
        False,
    ],
    ids=["ofd", "flock"],
)


@pytest.fixture
def heap(tmp_path: Path) -> Path:
    path = tmp_path / "db.dat"
    path.touch(mode=0o640)
    return path


@pytest.fixture
def take(heap: Path, use_ofd: bool) -> TakeLocks:
    return TakeLocks(heap, use_ofd)


class TakeLocks:
    """Opens handles' locks on one heap; picklable by fork only."""

    def __init__(self, heap: Path, use_ofd: bool) -> None:
        self.heap = heap
        self.use_ofd = use_ofd

    def __call__(self, *, writable: bool = True) -> Locks:
        return open_locks(str(self.heap), writable=writable, use_ofd=self.use_ofd)


def in_thread(work: Callable[[], object]) -> object:
    """Run `work` in another thread; its result or its exception."""
    answer: list[object] = []

    def run() -> None:
        try:
            answer.append(work())
        except BaseException as problem:  # noqa: BLE001 - it is the answer
            answer.append(problem)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert answer, "the thread hangs"
    return answer[0]


# --- the writer lock -------------------------------------------------------------------------------------


def test_there_is_one_writer_at_a_time(take: TakeLocks) -> None:
    one, other = take(), take()
    assert not other.writer.is_taken_elsewhere()
    one.acquire_writer(None)
    assert other.writer.is_taken_elsewhere()
    assert not one.writer.is_taken_elsewhere()
    assert not other.writer.try_lock()
    one.release_writer()
    assert not other.writer.is_taken_elsewhere()
    other.acquire_writer(0)
    assert one.writer.is_taken_elsewhere()
    other.release_writer()
    one.close()
    other.close()


def test_asking_takes_nothing_and_gives_nothing_up(take: TakeLocks) -> None:
    one, other, third = take(), take(), take()
    one.acquire_writer(None)
    for _ in range(3):
        assert other.writer.is_taken_elsewhere()
        assert not one.writer.is_taken_elsewhere()
    assert not third.writer.try_lock()
    one.release_writer()
    for _ in range(3):
        assert not other.writer.is_taken_elsewhere()
    assert third.writer.try_lock()
    for locks in (one, other, third):
        locks.close()


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_waiting_longer_than_the_timeout_is_an_error(take: TakeLocks, timeout: float) -> None:
    one, other = take(), take()
    one.acquire_writer(None)
    problem = in_thread(lambda: other.acquire_writer(timeout))
    assert isinstance(problem, LockTimeout)
    assert isinstance(problem, TimeoutError)
    assert str(take.heap) in str(problem)
    one.release_writer()
    other.acquire_writer(timeout)
    other.release_writer()
    one.close()
    other.close()


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_waiter_gets_the_lock_as_soon_as_it_is_free(take: TakeLocks, timeout: float | None) -> None:
    one, other = take(), take()
    one.acquire_writer(None)

    def work(line: Line) -> None:
        line.say("waiting")
        locks = take()
        locks.acquire_writer(timeout)
        line.say("mine")
        locks.release_writer()

    with Child(work) as child:
        assert child.hear() == "waiting"
        one.release_writer()
        assert child.hear() == "mine"
    one.close()
    other.close()


def test_the_same_thread_through_another_handle_is_a_deadlock(take: TakeLocks) -> None:
    one, other = take(), take()
    one.acquire_writer(None)
    for timeout in (None, 60):
        with pytest.raises(DeadlockError):
            other.acquire_writer(timeout)
    # not so in another thread, and no longer once it is released
    assert isinstance(in_thread(lambda: other.acquire_writer(0)), LockTimeout)
    one.release_writer()
    other.acquire_writer(None)
    assert isinstance(in_thread(lambda: one.acquire_writer(0)), LockTimeout)
    other.release_writer()
    one.close()
    other.close()


def test_a_holder_that_is_killed_lets_go(take: TakeLocks) -> None:
    def work(line: Line) -> None:
        locks = take()
        locks.acquire_writer(None)
        locks.acquire_presence(exclusive=True, timeout_seconds=0)
        line.say("mine")
        line.hear()

    locks = take()
    with Child(work) as child:
        assert child.hear() == "mine"
        assert locks.writer.is_taken_elsewhere()
        child.kill()
    locks.acquire_writer(0)
    locks.acquire_presence(exclusive=True, timeout_seconds=0)
    locks.close()


def test_closing_lets_go_of_everything(take: TakeLocks) -> None:
    one, other = take(), take()
    one.acquire_writer(None)
    one.acquire_presence(exclusive=True, timeout_seconds=0)
    assert one.pin.try_lock(shared=True)
    one.release_writer()
    one.close()
    other.acquire_writer(0)
    other.acquire_presence(exclusive=True, timeout_seconds=0)
    assert not other.pin.is_taken_elsewhere()
    other.close()
    other.close()


def test_another_descriptor_of_the_file_may_come_and_go(take: TakeLocks) -> None:
    """POSIX record locks would vanish here: closing any descriptor of a file drops them."""
    one, other = take(), take()
    one.acquire_writer(None)
    take.heap.read_bytes()
    os.close(os.open(take.heap, os.O_RDWR))
    take().close()
    assert other.writer.is_taken_elsewhere()
    one.release_writer()
    one.close()
    other.close()


def test_the_locks_are_independent_of_each_other(take: TakeLocks) -> None:
    one, other = take(), take()
    one.acquire_writer(None)
    other.acquire_presence(exclusive=True, timeout_seconds=0)
    assert one.pin.try_lock(shared=True)
    assert other.pin.try_lock(shared=True)
    one.release_writer()
    one.close()
    other.close()


def test_each_database_has_its_own(take: TakeLocks, tmp_path: Path) -> None:
    (tmp_path / "second.dat").touch()
    one = take()
    second = open_locks(str(tmp_path / "second.dat"), writable=True, use_ofd=take.use_ofd)
    assert one.identity != second.identity
    one.acquire_writer(None)
    second.acquire_writer(0)
    second.release_writer()
    one.release_writer()
    one.close()
    second.close()


def test_two_names_of_one_heap_are_one_database(take: TakeLocks, tmp_path: Path) -> None:
    (tmp_path / "link.dat").symlink_to(take.heap)
    one = take()
    other = open_locks(str(tmp_path / "link.dat"), writable=True, use_ofd=take.use_ofd)
    assert one.identity == other.identity
    one.acquire_writer(None)
    assert other.writer.is_taken_elsewhere()
    one.release_writer()
    one.close()
    other.close()


# --- presence --------------------------------------------------------------------------------------------


def test_presence_is_shared_by_ordinary_handles(take: TakeLocks) -> None:
    one, other, third = take(), take(), take()
    one.acquire_presence(exclusive=False, timeout_seconds=0)
    assert not one.presence.is_taken_elsewhere()
    other.acquire_presence(exclusive=False, timeout_seconds=0)
    assert one.presence.is_taken_elsewhere()
    assert other.presence.is_taken_elsewhere()
    # asking has not changed anything: an exclusive handle is still kept out, a shared one still let in
    assert isinstance(in_thread(lambda: third.acquire_presence(exclusive=True, timeout_seconds=0)), LockTimeout)
    third.acquire_presence(exclusive=False, timeout_seconds=0)
    for locks in (one, other, third):
        locks.close()


def test_exclusive_presence_keeps_others_out(take: TakeLocks) -> None:
    one, other = take(), take()
    one.acquire_presence(exclusive=True, timeout_seconds=0)
    for exclusive in (False, True):
        with pytest.raises(LockTimeout):
            other.acquire_presence(exclusive=exclusive, timeout_seconds=0.01)
    one.close()
    other.acquire_presence(exclusive=False, timeout_seconds=0)
    other.close()


def test_the_last_handle_finds_itself_alone(take: TakeLocks) -> None:
    """A close converts shared to exclusive, and keeps the shared one when that fails."""
    one, other, third = take(), take(), take()
    one.acquire_presence(exclusive=False, timeout_seconds=0)
    other.acquire_presence(exclusive=False, timeout_seconds=0)
    assert not one.presence.try_lock()
    assert not third.presence.try_lock()
    one.close()
    assert not third.presence.try_lock()
    assert other.presence.try_lock()
    assert not third.presence.try_lock(shared=True)
    # and back again
    assert other.presence.try_lock(shared=True)
    assert third.presence.try_lock(shared=True)
    other.close()
    third.close()


def test_a_conversion_that_fails_keeps_the_shared_lock(take: TakeLocks) -> None:
    one, other, third = take(), take(), take()
    assert one.presence.try_lock(shared=True)
    assert other.presence.try_lock(shared=True)
    assert not one.presence.try_lock()
    assert not other.presence.try_lock()
    other.close()
    assert not third.presence.try_lock(), "the failed conversion lost the lock"
    one.close()
    third.close()


def test_read_only_handles_announce_themselves(take: TakeLocks) -> None:
    """A descriptor opened for reading may hold shared locks and ask about all of them."""
    writer, reader = take(), take(writable=False)
    reader.acquire_presence(exclusive=False, timeout_seconds=0)
    assert writer.presence.is_taken_elsewhere()
    assert not reader.writer.is_taken_elsewhere()
    writer.acquire_writer(0)
    assert reader.writer.is_taken_elsewhere()
    writer.release_writer()
    assert reader.pin.try_lock(shared=True)
    assert writer.pin.is_taken_elsewhere()
    reader.pin.unlock()
    assert not writer.pin.is_taken_elsewhere()
    reader.close()
    writer.close()


# --- fork ------------------------------------------------------------------------------------------------


def test_a_child_that_forgets_does_not_unlock_the_parent(take: TakeLocks) -> None:
    locks, other = take(), take()
    locks.acquire_writer(None)
    locks.acquire_presence(exclusive=True, timeout_seconds=0)

    def work(line: Line) -> None:
        locks.forget()
        own = take()
        line.say((own.writer.is_taken_elsewhere(), own.presence.is_taken_elsewhere()))
        # The parent's thread has the same number as this one, but it is another process: no deadlock.
        with pytest.raises(LockTimeout):
            own.acquire_writer(0.01)

    with Child(work) as child:
        assert child.hear() == (True, True)
        child.finish()
    assert other.writer.is_taken_elsewhere()
    assert other.presence.is_taken_elsewhere()
    locks.release_writer()
    assert not other.writer.is_taken_elsewhere()
    locks.close()
    other.close()


def test_the_locks_stay_while_only_an_untouched_child_holds_copies(take: TakeLocks) -> None:
    """Why a child must forget: it shares the parent's description, and a lock lives as long as that does."""
    other = take()

    def parent(line: Line) -> None:
        locks = take()
        locks.acquire_writer(None)

        def grandchild(_: Line) -> None:
            line.say("born")
            line.hear()
            locks.forget()
            line.say("forgotten")
            line.hear()

        Child(grandchild)
        line.hear()

    with Child(parent) as child:
        assert child.hear() == "born"
        child.kill()
        assert other.writer.is_taken_elsewhere()
        child.say("forget")
        assert child.hear() == "forgotten"
        assert not other.writer.is_taken_elsewhere()
        child.say("leave")
    other.close()


# --- files -----------------------------------------------------------------------------------------------


def test_lock_files_take_the_heaps_mode_and_nothing_else_is_made(take: TakeLocks) -> None:
    take().close()
    made = sorted(path.name for path in take.heap.parent.iterdir() if path != take.heap)
    if take.use_ofd:
        assert made == []
    else:
        assert made == ["db.dat.owner", "db.dat.pin", "db.dat.presence", "db.dat.writer"]
        for name in made:
            assert stat.S_IMODE((take.heap.parent / name).stat().st_mode) == 0o640
    assert take.heap.stat().st_size == 0


def test_opening_fails_without_leaking_descriptors(take: TakeLocks, tmp_path: Path) -> None:
    spare = os.open(take.heap, os.O_RDONLY)
    os.close(spare)
    with pytest.raises(FileNotFoundError):
        open_locks(str(tmp_path / "missing.dat"), writable=True, use_ofd=take.use_ofd)
    (tmp_path / "db.dat.pin").symlink_to(tmp_path / "missing" / "folder")
    if not take.use_ofd:
        with pytest.raises(OSError, match=r"db\.dat\.pin"):
            take()
    again = os.open(take.heap, os.O_RDONLY)
    os.close(again)
    assert again == spare


def test_a_fifo_in_place_of_a_lock_file_does_not_hang(take: TakeLocks) -> None:
    os.mkfifo(f"{take.heap}.writer")
    if take.use_ofd:
        take().close()  # no such file is looked at
    else:
        with pytest.raises(UnsupportedFileError):
            take()


# --- the engine under both -------------------------------------------------------------------------------


class _Chosen(FileSystem):
    def __init__(self, use_ofd: bool) -> None:
        self._use_ofd = use_ofd

    def open_locks(self, path: str, *, writable: bool) -> Locks:
        return open_locks(path, writable=writable, use_ofd=self._use_ofd)


def count(line: Line, base: Path, use_ofd: bool) -> None:
    store = open_store(base, "w", file_system=_Chosen(use_ofd))
    line.say("ready")
    line.hear()
    for _ in range(150):
        store.begin()
        store.put(b"counter", b"%d" % (int(store.get(b"counter") or b"0") + 1))
        store.commit()
    store.close()


def test_the_engine_counts_and_recovers_under_it(use_ofd: bool, tmp_path: Path) -> None:
    base = tmp_path / "db"
    open_store(base, "n", file_system=_Chosen(use_ofd)).close()
    children = [Child(count, base, use_ofd) for _ in range(2)]
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
    for child in children:
        child.finish()
    with Child(count, base, use_ofd) as child:
        assert child.hear() == "ready"
        child.kill()
    store = open_store(base, "w", file_system=_Chosen(use_ofd), timeout=10)
    assert store.get(b"counter") == b"300"
    with pytest.raises(LockTimeout):
        open_store(base, "w", file_system=_Chosen(use_ofd), exclusive=True, timeout=0)
    store.close()
    open_store(base, "w", file_system=_Chosen(use_ofd), exclusive=True, timeout=0).close()
