"""Big values: views without a copy that stay what they are, whatever is written; values of several buffers."""

from __future__ import annotations

import dbm.dumb
import errno
import gc
import io
import os
import pickle
import random
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

import hutch.copying
import hutch.dbm
import hutch.packing
import hutch.rebuild
import hutch.viewing
from children import Child, Line
from hutch import format as fmt
from hutch import locking
from hutch.codecs.base import Pieces
from hutch.dbm import Database
from hutch.errors import CorruptEntryError, HutchError
from hutch.files import FileSystem
from hutch.heap import apart
from hutch.viewing import Lent

SMALL_LARGE_BYTES = 4 * 1024  # what counts as large in tests that make many of them
BLOCK = fmt.BLOCK_BYTES


@contextmanager
def large_from(size_bytes: int) -> Iterator[None]:
    """Values above a size are large ones, and go through chunks of a fraction of it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("commit", "copying", "dbm", "maintenance", "packing", "store", "viewing"):
            patch.setattr(f"hutch.{name}.LARGE_BYTES", size_bytes)
        for name in ("copying", "heap"):
            patch.setattr(f"hutch.{name}._CHUNK_BYTES", size_bytes // 3)
        yield


@pytest.fixture
def small_large() -> Iterator[None]:
    with large_from(SMALL_LARGE_BYTES):
        yield


@contextmanager
def other_system() -> Iterator[None]:
    """A system that has flock and no locks of extents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hutch.files.open_locks", partial(locking.open_locks, use_ofd=False))
        patch.setattr("hutch.files.open_pin", partial(locking.open_pin, use_ofd=False))
        yield


@pytest.fixture(params=["ranges", "flock"])
def locks(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "flock":
        with other_system():
            yield "flock"
    else:
        yield "ranges"


def noise(size_bytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size_bytes)


def is_pinned(path: Path) -> bool:
    with hutch.dbm.open(path, "r") as db:
        return db.store.is_pinned()


def churn(db: Database, *, rounds: int = 4) -> None:
    """Give up, and use again, whatever there is."""
    for number in range(rounds):
        for size in (300, 3_000, 30_000, 100_000):
            db[f"churn {size}"] = bytes([number]) * size
        db.sync()
        for size in (300, 3_000, 30_000, 100_000):
            del db[f"churn {size}"]
        db.sync()


# --- views ---


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4_096, 4_097, 70_000, 2_000_000])
@pytest.mark.parametrize("flag", ["r", "w"])
def test_a_view_is_the_value(tmp_path: Path, size: int, flag: Any) -> None:
    value = noise(size)
    with hutch.dbm.open(tmp_path / "db") as db:
        db["before"] = noise(3_000)
        db["key"] = value
        db["behind"] = noise(3_000)
        assert db.view("key") == value
    with hutch.dbm.open(tmp_path / "db", flag) as db:
        for key in ("key", b"key", bytearray(b"key")):
            for verify in (False, True):
                view = db.view(key, verify=verify)
                assert view == value and view.readonly and (view.ndim, view.format, view.itemsize) == (1, "B", 1)
                with pytest.raises(TypeError):
                    view[:1] = b"x"


def test_no_value_no_view(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        with pytest.raises(KeyError, match="missing"):
            db.view("missing")
        db["key"] = noise(5_000)
        del db["key"]
        with pytest.raises(KeyError):
            db.view("key")
        with pytest.raises(TypeError):
            db.view(1)  # type: ignore[arg-type]
    with pytest.raises(HutchError):
        db.view("key")


def test_a_view_is_no_copy(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        db["key"] = noise(3_000_000)
        one, other = db.view("key"), db.view("key")
        assert one.obj is other.obj
        db["small"], db["other"] = b"1" * 600, b"2" * 600
        one, other = db.view("small"), db.view("other")
        assert one.obj is other.obj


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", [600, 60_000])
def test_what_a_view_shows_stays(tmp_path: Path, locks: str, size: int) -> None:
    value = noise(size)
    path = tmp_path / "db"
    with hutch.dbm.open(path) as db:
        db["key"] = value
        view = db.view("key")
        db["key"] = b"another" * 100
        churn(db)
        assert view == value
        del db["key"]
        churn(db)
        assert view == value
        db.clear()
        churn(db)
        assert view == value
        db.reorganize()
        churn(db)
        assert view == value
    assert view == value and is_pinned(path)
    with hutch.dbm.open(path, "n") as db:
        churn(db)
        db.reorganize()
        churn(db)
    assert view == value
    with hutch.dbm.open(path, "n", exclusive=True) as db:
        churn(db)
        assert view == value
    del view
    assert not is_pinned(path)


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", [600, 60_000])
def test_what_a_view_shows_stays_when_the_index_is_lost(tmp_path: Path, locks: str, size: int) -> None:
    path = tmp_path / "db"
    value = noise(size)
    with hutch.dbm.open(path) as db:
        db["first"] = b"1"
        db["key"] = value
        view = db.view("key")
        del db["key"]
    for number in range(3):
        (tmp_path / "db.idx").unlink()
        with hutch.dbm.open(path) as db:
            db[f"new {number}"] = noise(size, number)
            churn(db)
        assert view == value


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", [600, 60_000])
def test_what_a_view_shows_stays_when_a_directory_is_taken_over(tmp_path: Path, size: int) -> None:
    path = tmp_path / "db"
    value = noise(size)
    with hutch.dbm.open(path) as db:
        db["first"] = noise(1_200)
        db["key"] = value
        view = db.view("key")
        del db["key"]
    # A stdlib's directory, in which two entries share a block: one of them has to go elsewhere.
    (tmp_path / "db.dir").write_text("'first', (0, 700)\n'second', (512, 600)\n", "latin-1")
    with hutch.dbm.open(path) as db:
        shared = db["second"]
        db["more"] = noise(size, 2)
        assert db["second"] == shared
        churn(db)
    assert view == value


def test_a_view_of_a_stdlib_database(tmp_path: Path) -> None:
    path = tmp_path / "db"
    value = noise(2_000_000)
    with closing(dbm.dumb.open(str(path))) as old:
        old["key"], old["small"] = value, b"small"
    with hutch.dbm.open(path, "r") as db:
        view, small = db.view("key", verify=True), db.view("small")
        assert view == value and small == b"small"
        with hutch.dbm.open(path, "w") as writer:
            del writer["key"], writer["small"]
            churn(writer)
        assert view == value and small == b"small"
        with pytest.raises(KeyError):
            db.view("key")


@pytest.mark.usefixtures("small_large")
def test_a_view_of_what_only_the_journal_has(tmp_path: Path) -> None:
    path = tmp_path / "db"

    def work(line: Line) -> None:
        db = hutch.dbm.open(path)
        db["key"], db["large"] = b"value" * 200, noise(9_000)
        line.say()
        line.hear()

    with Child(work) as child:
        child.hear()
        child.kill()
    (tmp_path / "db.idx").unlink()
    with hutch.dbm.open(path, "r") as db:
        assert db.store.snapshot is not None
        assert db.view("key") == b"value" * 200 and db.view("large", verify=True) == noise(9_000)


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", [600, 60_000])
def test_arrays_and_slices_keep_the_bytes(tmp_path: Path, size: int) -> None:
    numpy = pytest.importorskip("numpy")
    path = tmp_path / "db"
    value = noise(size)
    with hutch.dbm.open(path) as db:
        db["key"] = value
        array = numpy.frombuffer(db.view("key"), dtype="u1")[: size // 2].reshape(2, -1)
        assert not array.flags.writeable
        del db["key"]
        churn(db)
    gc.collect()
    assert is_pinned(path) and array.tobytes() == value[: size // 2]
    del array
    assert not is_pinned(path)


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", [600, 60_000])
def test_a_fork_shares_what_it_sees(tmp_path: Path, locks: str, size: int) -> None:
    path = tmp_path / "db"
    value = noise(size)
    with hutch.dbm.open(path) as db:
        db["key"] = value
        views = [db.view("key")]

        def work(line: Line) -> None:
            line.say()
            line.hear()
            line.say(views[0] == value)
            own = db.view("key")
            line.say(bytes(own[:3]))
            views.clear()  # the parent's; its own remains
            line.say()
            line.hear()
            del own
            line.say()
            line.hear()

        with Child(work) as child:
            child.hear()
            views.clear()
            db["key"] = b"new" * (size // 3)
            churn(db)
            child.say()
            assert child.hear() is True
            assert child.hear() == b"new"
            child.hear()
            assert is_pinned(path)
            child.say()
            child.hear()
            assert not is_pinned(path)
            child.say()


def test_a_view_in_a_transaction_is_of_its_own_state(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        db["old"], db["gone"] = noise(2_000_000, 1), b"gone"
        with db.transaction():
            db["old"] = noise(2_000_000, 2)
            db["new"] = b"new"
            del db["gone"]
            assert db.view("old", verify=True) == noise(2_000_000, 2)
            assert db.view("new") == b"new"
            with pytest.raises(KeyError):
                db.view("gone")
            db.clear()
            with pytest.raises(KeyError):
                db.view("old")
            db["old"] = b"after"
            assert db.view("old") == b"after"
        assert db.view("old") == b"after"


@pytest.mark.usefixtures("small_large")
def test_other_blocks_are_used_again_beside_a_view_of_a_large_value(tmp_path: Path) -> None:
    path = tmp_path / "db"
    value = noise(64 * 1024)
    with hutch.dbm.open(path) as db:
        for number in range(8):
            db[f"{number}"] = noise(64 * 1024, number)
        db["key"] = value
        view = db.view("key")
        for number in range(40):
            for key in ("key", "0", "1", "2"):
                db[key] = noise(64 * 1024, number)
            db.sync()
            assert view == value
        assert db.store.index is not None and db.store.index.heap_blocks * BLOCK < 40 * 64 * 1024
        blocks = db.store.index.heap_blocks
        del view
        # What it showed is given out once nobody sees it: in this handle, without a new list of free extents.
        for number in range(20):
            db["0"] = noise(64 * 1024, number)
            db.sync()
        assert db.store.index.heap_blocks == blocks


@pytest.mark.usefixtures("small_large")
def test_a_transient_view_costs_no_space(tmp_path: Path) -> None:
    """Somebody is reading all the time: that must not keep the file growing."""
    path = tmp_path / "db"
    with hutch.dbm.open(path) as db, hutch.dbm.open(path, "r") as reader:
        for number in range(8):
            db[f"{number}"] = noise(64 * 1024, number)
        view = reader.view("0")
        for number in range(60):
            db["0"] = noise(64 * 1024, number)
            db.sync()
            view = reader.view("0", verify=True)
            assert view[:9] == noise(64 * 1024, number)[:9]
        assert db.store.index is not None and db.store.index.heap_blocks * BLOCK < 32 * 64 * 1024


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", [600, 60_000])
def test_a_view_that_comes_while_the_heap_is_packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    path = tmp_path / "db"
    seen: list[tuple[memoryview, bytes]] = []
    with hutch.dbm.open(path) as db, hutch.dbm.open(path, "r") as reader:
        for number in range(12):
            db[f"{number}"] = noise(size, number)
        for number in range(0, 12, 3):
            del db[f"{number}"]
        checkpoint = hutch.packing.checkpoint

        def look_too(handle: Any) -> None:
            checkpoint(handle)
            for key, value in reader.items():
                seen.append((reader.view(key), value))

        monkeypatch.setattr(hutch.packing, "checkpoint", look_too)
        for _ in range(3):
            db.reorganize()
            assert seen and all(view == value for view, value in seen)
        monkeypatch.undo()
        churn(db)
        assert all(view == value for view, value in seen)
        seen.clear()
        db.reorganize()
    assert path.with_suffix(".dat").stat().st_size == 8 * -(-size // BLOCK) * BLOCK


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("size", [600, 60_000])
@pytest.mark.parametrize("moment", ["_write_directory", "_write_index", "_open_index"])
def test_a_view_that_comes_while_an_index_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str, size: int
) -> None:
    path = tmp_path / "db"
    views: list[memoryview] = []
    value = noise(size)
    with hutch.dbm.open(path) as db, hutch.dbm.open(path, "r") as reader:
        db["key"] = value
        assert reader["key"] == value
        original = getattr(hutch.rebuild, moment)

        def look_too(*arguments: Any) -> Any:
            if not views:
                views.append(reader.view("key"))
            return original(*arguments)

        monkeypatch.setattr(hutch.rebuild, moment, look_too)
        db.clear()
        churn(db)
        assert views[0] == value
        db.reorganize()
        churn(db)
        assert views[0] == value


def test_backup_beside_views(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        db["key"], db["small"] = noise(2_000_000), b"small"
        views = [db.view("key"), db.view("small")]
        del db["key"]
        db.backup(tmp_path / "copy")
        churn(db)
        assert views == [noise(2_000_000), b"small"]
    with hutch.dbm.open(tmp_path / "copy", "r") as db:
        assert db.keys() == [b"small"] and db.check().ok


@pytest.mark.usefixtures("small_large")
def test_damage_is_neither_copied_nor_packed(tmp_path: Path) -> None:
    path = tmp_path / "db"
    with hutch.dbm.open(path) as db:
        for number in range(8):
            db[f"{number}"] = noise(20_000, number)
    data = bytearray(path.with_suffix(".dat").read_bytes())
    data[data.index(noise(20_000, 5)) + 10_000] ^= 1
    path.with_suffix(".dat").write_bytes(data)
    with hutch.dbm.open(path) as db:
        with pytest.raises(CorruptEntryError, match="'5'"):
            db.backup(tmp_path / "copy")
        assert sorted(path.parent.glob("copy*")) == []
        for number in (0, 2):
            del db[f"{number}"]
        db.reorganize()
        assert [problem.key for problem in db.check().problems] == [b"5"]
        with pytest.raises(CorruptEntryError, match="'5'"):
            db["5"]
        for number in (1, 3, 4, 6, 7):
            assert db[f"{number}"] == noise(20_000, number)
        db.check(fix=True)
        db.backup(tmp_path / "copy")
        db.reorganize()
    assert path.with_suffix(".dat").stat().st_size == 5 * 20_480
    with hutch.dbm.open(tmp_path / "copy", "r") as db:
        assert db.check().ok and db.keys() == [b"1", b"3", b"4", b"6", b"7"]


def test_a_replaced_heap_is_read_by_copying(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db", "c") as db:
        db["key"] = noise(2_000_000)
        db.sync()
        for name in ("db.dat", "db.dir", "db.idx", "db.log"):
            (tmp_path / name).rename(tmp_path / f"away.{name}")
        assert db.view("key") == noise(2_000_000)
        (tmp_path / "db.dat").write_bytes(bytes(3_000_000))
        assert db.view("key", verify=True) == noise(2_000_000)
        for name in ("db.dat", "db.dir", "db.idx", "db.log"):
            (tmp_path / f"away.{name}").rename(tmp_path / name)


def test_damage_is_found_where_it_is_asked_for(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        db["key"] = noise(2_000_000)
    data = (tmp_path / "db.dat").read_bytes()
    (tmp_path / "db.dat").write_bytes(data[:1_000_000] + bytes([data[1_000_000] ^ 1]) + data[1_000_001:])
    with hutch.dbm.open(tmp_path / "db", "r") as db:
        assert len(db.view("key")) == 2_000_000
        with pytest.raises(CorruptEntryError, match="key"):
            db.view("key", verify=True)
        with pytest.raises(CorruptEntryError):
            db.store.lend(b"key")
    with hutch.dbm.open(tmp_path / "db", "r", verify=False) as db:
        assert len(db.view("key")) == 2_000_000 and isinstance(db.store.lend(b"key"), Lent)
        with pytest.raises(CorruptEntryError, match="key"):
            db.view("key", verify=True)
    with open(tmp_path / "db.dat", "r+b") as file:
        file.truncate(1_000_000)
    with hutch.dbm.open(tmp_path / "db", "r") as db, pytest.raises(CorruptEntryError, match="end of the heap"):
        db.view("key")


HUGE = (2**64 - 1, 2**63, 2**63 - 1, 2**62 - 1, 2**40, 10**15 - 1)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(HUGE) | st.integers(0, 2**64 - 1), st.sampled_from(HUGE) | st.integers(0, 2**64 - 1))
def test_a_hostile_index_gives_errors_of_ours(offset: int, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "db"
        value = noise(5_000)
        with hutch.dbm.open(path) as db:
            db["key"] = value
        raw = bytearray(path.with_suffix(".idx").read_bytes())
        entry = fmt.SLOT.pack(0, 0, 0, 0, 5_000)[-16:]
        at = raw.index(entry, fmt.INDEX_HEADER_BYTES)
        raw[at : at + 16] = offset.to_bytes(8, "little") + size.to_bytes(8, "little")
        page = fmt.INDEX_HEADER_BYTES + (at - fmt.INDEX_HEADER_BYTES) // 512 * 512
        seal = fmt.hash64(bytes(raw[page : page + fmt.SEAL_AT]), page)
        raw[page + fmt.SEAL_AT : page + 512] = seal.to_bytes(8, "little")
        path.with_suffix(".idx").write_bytes(raw)
        for verify in (True, False):
            try:
                with hutch.dbm.open(path, "r") as db:
                    view = db.view("key", verify=verify)
                    assert view == value or not verify
            except HutchError:
                pass


def test_many_views_need_few_descriptors(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        with db.transaction():
            for number in range(500):
                db[f"{number}"] = bytes([number % 251]) * 1_000
        before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
        views = [db.view(f"{number}") for number in range(500)]
        if sys.platform == "linux":
            assert len(os.listdir("/proc/self/fd")) <= before + 2
        assert all(view == bytes([number % 251]) * 1_000 for number, view in enumerate(views))


@pytest.mark.usefixtures("small_large")
def test_without_descriptors_large_views_share_a_mapping_or_say_so(tmp_path: Path) -> None:
    path = tmp_path / "db"

    def work(line: Line) -> None:
        db = hutch.dbm.open(path, "r")
        shared = db.view("small")
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))
        views = [db.view(f"{number}") for number in range(60)]
        line.say(all(bytes(view) == noise(9_000, number) for number, view in enumerate(views)))
        views.clear()
        del shared
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        try:
            db.view("0")
        except OSError as problem:
            line.say(problem.errno)
        line.say(db["0"] == noise(9_000, 0))

    with hutch.dbm.open(path) as db:
        db["small"] = b"small"
        for number in range(60):
            db[f"{number}"] = noise(9_000, number)
    with Child(work) as child:
        assert child.hear() is True
        assert child.hear() == errno.EMFILE
        assert child.hear() is True


def test_no_room_in_the_address_space_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = FileSystem.map_pinned
    refused: list[Any] = []

    def map_pinned(self: FileSystem, path: str, model: os.stat_result, extent: Any = None) -> memoryview | None:
        if extent in refused:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), path)
        return original(self, path, model, extent)

    monkeypatch.setattr(FileSystem, "map_pinned", map_pinned)
    with hutch.dbm.open(tmp_path / "db") as db:
        db["small"], db["large"] = b"small", noise(2_000_000)
        refused.append(None)
        assert db.view("small") == b"small" and db.view("large") == noise(2_000_000)
        refused[:] = [(0, 5), (512, 2_000_000)]
        assert db.view("small") == b"small" and db.view("large") == noise(2_000_000)
        refused.append(None)
        for key in ("small", "large"):
            with pytest.raises(OSError, match="memory") as caught:
                db.view(key)
            assert "Let go of other views" in caught.value.__notes__[0]


spans = st.tuples(st.integers(0, 60), st.integers(1, 20)).map(lambda span: (span[0], span[0] + span[1]))


@given(st.lists(spans, max_size=6), st.lists(spans, max_size=6))
def test_extents_are_divided(extents: list[tuple[int, int]], barred: list[tuple[int, int]]) -> None:
    def members(found: list[tuple[int, int]]) -> list[int]:
        return sorted(block for start, length in found for block in range(start, start + length))

    outside, inside = apart([(start, end - start) for start, end in extents], barred)
    kept_out = {block for start, end in barred for block in range(start, end)}
    everything = [block for start, end in extents for block in range(start, end)]
    assert members(outside) == sorted(block for block in everything if block not in kept_out)
    assert members(inside) == sorted(block for block in everything if block in kept_out)


@pytest.mark.skipif(not locking.HAS_OFD, reason="this system cannot lock extents")
@settings(max_examples=50, deadline=None)
@given(st.lists(spans, max_size=8))
def test_locked_extents_are_found(extents: list[tuple[int, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/db.dat"
        Path(path).write_bytes(b"")
        with closing(locking.open_locks(path, writable=True)) as locks:
            assert locks.presence.try_lock() and locks.writer.try_lock()
            opened = [locking.open_pin(path, (start, end - start)) for start, end in extents]
            assert not locks.pin.is_taken_elsewhere()
            found = {block for start, end in locks.locked_extents() for block in range(start, end)}
            assert found == {block for start, end in extents for block in range(start, end)}
            for fd, _ in opened:
                os.close(fd)
            fd, _ = locking.open_pin(path)
            assert not locks.locked_extents() and locks.pin.is_taken_elsewhere()
            os.close(fd)
            assert not locks.pin.is_taken_elsewhere()


WRITES: list[Callable[[Database, random.Random], object]] = [
    lambda db, chance: db.__setitem__(f"{chance.randrange(6)}", chance.randbytes(chance.choice((700, 5_000, 40_000)))),
    lambda db, chance: db.pop(f"{chance.randrange(6)}", None),
    lambda db, chance: db.sync(),
    lambda db, chance: db.reorganize(),
    lambda db, chance: db.clear(),
    lambda db, chance: db.update({f"{n}": chance.randbytes(9_000) for n in range(3)}),
]


@pytest.mark.usefixtures("small_large")
@pytest.mark.parametrize("flag", ["r", "w"])
def test_views_under_writers_of_other_processes(tmp_path: Path, flag: Any) -> None:
    path = tmp_path / "db"

    def write(line: Line, seed: int) -> None:
        chance = random.Random(seed)
        while not line.connection.poll():
            if chance.random() < 0.05:
                hutch.dbm.open(path, "n").close()
            with hutch.dbm.open(path) as db:
                for _ in range(chance.randrange(20)):
                    chance.choices(WRITES, (8, 2, 3, 1, 1, 2))[0](db, chance)

    with hutch.dbm.open(path) as db:
        db["0"] = noise(9_000)
    chance = random.Random(flag)
    seen = 0
    with ExitStack() as stack:
        children = [stack.enter_context(Child(write, seed)) for seed in range(2)]
        kept: list[tuple[memoryview, bytes]] = []
        for _ in range(40):
            with hutch.dbm.open(path, flag) as db:
                for _ in range(20):
                    try:
                        view = db.view(f"{chance.randrange(6)}", verify=True)
                    except KeyError:
                        continue
                    seen += 1
                    kept.append((view, bytes(view)))
                    if len(kept) > 12:
                        kept.pop(chance.randrange(12))
                    assert all(view == value for view, value in kept)
        for child in children:
            child.say()
    assert all(view == value for view, value in kept) and seen


class Views(RuleBasedStateMachine):
    """Two handles of a database, and views that are compared with a copy after every step."""

    held = Bundle("held")
    keys = st.sampled_from([b"a", b"b", b"c", b"d"])
    sizes = st.sampled_from([0, 1, 600, 3_000, 5_000, 40_000, 90_000])

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.stack.enter_context(large_from(SMALL_LARGE_BYTES))
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.handles: list[Database | None] = [None, None]
        self.model: dict[bytes, bytes] = {}
        self.views: dict[int, tuple[memoryview, bytes]] = {}
        self.count = 0

    @initialize(has_ranges=st.booleans())
    def choose_the_system(self, has_ranges: bool) -> None:
        if not has_ranges:
            self.stack.enter_context(other_system())

    def handle(self, number: int) -> Database:
        db = self.handles[number]
        if db is None:
            db = self.handles[number] = hutch.dbm.open(self.folder / "db")
        return db

    numbers = st.sampled_from([0, 1])

    @rule(number=numbers, key=keys, size=sizes)
    def put(self, number: int, key: bytes, size: int) -> None:
        self.count += 1
        self.model[key] = noise(size, self.count)
        self.handle(number)[key] = self.model[key]

    @rule(number=numbers, key=keys, sizes=st.lists(sizes, min_size=1, max_size=4))
    def put_pieces(self, number: int, key: bytes, sizes: list[int]) -> None:
        self.count += 1
        buffers = [noise(size, self.count + place) for place, size in enumerate(sizes)]
        self.model[key] = b"".join(buffers)
        self.handle(number)[key] = Pieces([memoryview(bytearray(buffer)) for buffer in buffers])  # type: ignore[assignment]

    @rule(number=numbers, key=keys)
    def delete(self, number: int, key: bytes) -> None:
        assert self.handle(number).pop(key, None) == self.model.pop(key, None)

    @rule(target=held, number=numbers, key=keys, verify=st.booleans())
    def look(self, number: int, key: bytes, verify: bool) -> int:
        self.count += 1
        if key in self.model:
            view = self.handle(number).view(key, verify=verify)
            assert view == self.model[key]
            self.views[self.count] = view, self.model[key]
        return self.count

    @rule(which=consumes(held))
    def let_go(self, which: int) -> None:
        self.views.pop(which, None)

    @rule(number=numbers)
    def sync(self, number: int) -> None:
        self.handle(number).sync()

    @rule(number=numbers)
    def close(self, number: int) -> None:
        self.handle(number).close()
        self.handles[number] = None

    @rule(number=numbers)
    def reorganize(self, number: int) -> None:
        self.handle(number).reorganize()

    @rule(number=numbers)
    def clear(self, number: int) -> None:
        self.handle(number).clear()
        self.model.clear()

    @rule(number=numbers)
    def begin_anew(self, number: int) -> None:
        self.handle(number).close()
        self.handles[number] = hutch.dbm.open(self.folder / "db", "n")
        self.model.clear()

    @precondition(lambda self: self.handles == [None, None])
    @rule()
    def lose_the_index(self) -> None:
        (self.folder / "db.idx").unlink(missing_ok=True)

    @precondition(lambda self: self.handles == [None, None])
    @rule()
    def use_the_stdlib(self) -> None:
        with closing(dbm.dumb.open(str(self.folder / "db"))) as db:
            assert {key: db[key] for key in db} == self.model
            db[b"stdlib"] = b"stdlib"
            self.model[b"stdlib"] = b"stdlib"

    @invariant()
    def views_are_what_they_were(self) -> None:
        assert all(view == value for view, value in self.views.values())

    def teardown(self) -> None:
        self.views.clear()
        db = self.handle(0)
        assert dict(db) == self.model and db.check().ok
        for handle in self.handles:
            if handle is not None:
                handle.close()
        self.stack.close()


Views.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestViews = Views.TestCase


# --- writing ---


def pieces_of(value: bytes, cuts: list[int]) -> Pieces:
    ends = sorted({min(cut, len(value)) for cut in cuts} | {len(value)})
    starts = [0, *ends[:-1]]
    parts: list[Any] = [value[start:end] for start, end in zip(starts, ends, strict=True)]
    return Pieces([part if number % 2 else memoryview(bytearray(part)) for number, part in enumerate(parts)])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40_000), st.lists(st.integers(0, 40_000), max_size=6))
def test_pieces_are_one_value(size: int, cuts: list[int]) -> None:
    value = noise(size)
    with tempfile.TemporaryDirectory() as folder, large_from(SMALL_LARGE_BYTES):
        with hutch.dbm.open(Path(folder) / "db") as db:
            pieces: Any = pieces_of(value, cuts)
            db["one"] = pieces
            db.update({"two": pieces, "small": b"1", "three": pieces})
            with db.transaction():
                db["four"] = pieces
                assert db["four"] == value
            db.store.put(b"five", pieces)
            db.store.apply({b"six": pieces, b"small": None})
            with db.transaction():
                db.clear()
                db.update({"seven": pieces, "eight": b"8"})
            for key in ("one", "two", "three", "four", "five", "six"):
                db[key] = pieces
            assert all(db[key] == value for key in db if key != b"eight")
            assert db.check().ok
        with closing(dbm.dumb.open(str(Path(folder) / "db"), "r")) as old:
            assert all(old[key] == value for key in old if key != b"eight")


@pytest.mark.parametrize("make", [bytes, bytearray, lambda data: memoryview(bytearray(data))])
def test_any_buffer_is_a_value(tmp_path: Path, make: Callable[[bytes], Any]) -> None:
    value = noise(3_000_001)
    with hutch.dbm.open(tmp_path / "db") as db:
        db["key"] = make(value)
        db.update(other=make(value))
        assert db["key"] == db["other"] == value and db.check().ok


def test_arrays_of_any_shape_and_type_are_values(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    arrays = {
        "floats": numpy.arange(300_000, dtype="f8"),
        "complex": numpy.arange(200_000, dtype="c16"),
        "records": numpy.zeros(100_000, dtype=[("a", "i4"), ("b", "f8")]),
        "matrix": numpy.arange(600_000, dtype="i4").reshape(600, 1000),
        "columns": numpy.asfortranarray(numpy.arange(600_000, dtype="i4").reshape(600, 1000)),
        "strided": numpy.arange(900_000, dtype="i4")[::2],
        "scalar": numpy.array(7),
    }
    with hutch.dbm.open(tmp_path / "db") as db:
        for name, array in arrays.items():
            db[name] = array
            assert db[name] == array.tobytes()
        db.update(arrays)
        assert all(db.view(name) == array.tobytes() for name, array in arrays.items())


def test_a_buffer_that_changes_meanwhile_is_stored_as_it_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = bytearray(noise(5_000_000))
    original = hutch.files.File.write_at

    def write_at(self: hutch.files.File, offset: int, data: Any) -> None:
        for at in range(0, len(value), 4096):
            value[at] ^= 1
        original(self, offset, data)

    with hutch.dbm.open(tmp_path / "db") as db:
        db["before"] = b"before"
        monkeypatch.setattr(hutch.files.File, "write_at", write_at)
        db["key"] = value
        db["pieces"] = Pieces([memoryview(value), b"end"])  # type: ignore[assignment]
        monkeypatch.undo()
        assert len(db["key"]) == 5_000_000 and db.check().ok


def test_what_has_no_buffer_is_refused(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        for value in (1, None, [b"a"], object()):
            with pytest.raises(TypeError, match="values must be bytes or strings"):
                db["key"] = value  # type: ignore[assignment]
            with pytest.raises(TypeError, match="values must be bytes or strings"):
                db.update(key=value)  # type: ignore[arg-type]
        assert not db.keys()


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40_000), st.integers(100, 9_000), st.booleans())
def test_calls_that_move_less_than_they_were_asked_for(size: int, limit: int, cold: bool) -> None:
    value = noise(size)
    with tempfile.TemporaryDirectory() as folder, large_from(SMALL_LARGE_BYTES), pytest.MonkeyPatch.context() as patch:
        patch.setattr("hutch.files._MAX_CALL_BYTES", limit)
        if cold:
            patch.setattr("hutch.files._COLD_FILE_BYTES", 0)
        pwrite, pread, preadv = os.pwrite, os.pread, os.preadv
        patch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, memoryview(data)[: limit - 1], at))
        patch.setattr(os, "pread", lambda fd, count, at: pread(fd, min(count, limit - 1), at))
        patch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [views[0][: limit - 1]], at))
        path = Path(folder) / "db"
        with hutch.dbm.open(path) as db:
            db["key"] = value
            db["data"] = memoryview(bytearray(pickle.dumps(value, 5)))
            db["key"] = Pieces([value, value])  # type: ignore[assignment]
        with hutch.dbm.open(path, "r") as db:
            assert db["key"] == value + value == db.view("key", verify=True)
            lent = db.store.lend(b"data")
            assert (lent.unpickled() if isinstance(lent, Lent) else pickle.loads(lent or b"")) == value
            db.backup(Path(folder) / "copy")
        with hutch.dbm.open(Path(folder) / "copy", "r") as db:
            assert db["key"] == value + value and db.check().ok


MEASURE = """
import resource, sys
from pathlib import Path
import hutch.dbm
from hutch.codecs.base import Pieces

def peak():  # of this process alone: what getrusage says begins with what the parent had
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

size = 64 * 1024 * 1024
value = bytearray(size)
view = memoryview(value)
values = {
    "array": value, "view": view, "pieces": Pieces([b"head", view[: size // 2], view[size // 2 :]]),
}
with hutch.dbm.open(Path(sys.argv[1]) / "db") as db:
    db["warm"] = bytes(2_000_000)
    before = peak()
    for name, value in values.items():
        db[name] = value
        db.update({name: value})
        db.store.put(name.encode(), value)
    print(peak() - before)
    del value, view, values
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says how much memory a process has had")
def test_writing_takes_no_memory_of_the_size_of_the_value(tmp_path: Path) -> None:
    answer = subprocess.run([sys.executable, "-c", MEASURE, tmp_path], check=True, capture_output=True, text=True)
    assert int(answer.stdout) < 8 * 1024 * 1024


# --- lending ---


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_is_lent_unpickles(tmp_path: Path, protocol: int) -> None:
    values = [noise(2_000_000), ["text" * 5, 1.5, None] * 60_000, bytearray(noise(1_500_000)), "ä" * 1_000_000]
    with hutch.dbm.open(tmp_path / "db") as db:
        for number, value in enumerate(values):
            data = pickle.dumps(value, protocol)
            db["key"], db["behind"] = data, noise(3_000)
            for lent in (db.store.lend(b"key"), db.store.get(b"key", 1_000_000)):
                if len(data) > 1_048_576 or (isinstance(lent, Lent) and len(data) > 1_000_000):
                    assert isinstance(lent, Lent) and len(lent) == len(data) and bytes(lent) == data, number
                    assert lent.unpickled() == value
                else:
                    assert lent == data


def test_what_is_small_missing_or_buffered_is_lent_as_it_is(tmp_path: Path) -> None:
    with hutch.dbm.open(tmp_path / "db") as db:
        store = db.store
        db["small"], db["medium"] = b"small", noise(100_000)
        for get in (store.lend, lambda key: store.get(key, 1_048_576)):
            assert get(b"small") == b"small" and get(b"medium") == noise(100_000) and get(b"missing") is None
            with db.transaction():
                db["own"] = noise(2_000_000)
                assert get(b"own") == noise(2_000_000)
                del db["own"]
                assert get(b"own") is None


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_without_an_end_takes_nothing_of_its_neighbour(tmp_path: Path, protocol: int) -> None:
    whole = pickle.dumps([noise(1_500_000).hex(), 2, 3], protocol)
    with hutch.dbm.open(tmp_path / "db") as db:
        for cut in (1, 2, 7, 100_000):
            data = whole[:-cut]
            db.clear()
            db["key"] = data
            db["behind"] = whole[-cut:] * 300
            lent = db.store.lend(b"key")
            assert isinstance(lent, Lent)
            with pytest.raises((pickle.UnpicklingError, EOFError, ValueError)):
                lent.unpickled()


def test_lines_of_what_is_lent(tmp_path: Path) -> None:
    data = b"\n".join([b"a" * 10, b"", b"b" * 5_000, noise(1_200_000).replace(b"\n", b"."), b"end"])
    with hutch.dbm.open(tmp_path / "db") as db:
        db["key"] = data
        lent = db.store.lend(b"key")
        assert isinstance(lent, Lent)
        assert [lent.readline() for _ in range(7)] == [*io.BytesIO(data), b"", b""]


def test_what_is_lent_outlives_the_entry(tmp_path: Path) -> None:
    value = noise(3_000_000)
    with hutch.dbm.open(tmp_path / "db") as db:
        db["key"] = pickle.dumps(value, 5)
        lent = db.store.lend(b"key")
        assert isinstance(lent, Lent)
        del db["key"]
        db.sync()
        for number in range(3):
            db["new"] = noise(3_000_000, number)
            db.sync()
        assert lent.unpickled() == value


def test_a_file_system_without_pins_still_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FileSystem, "map_pinned", lambda *arguments: None)
    with hutch.dbm.open(tmp_path / "db") as db:
        db["key"] = pickle.dumps(noise(2_000_000))
        assert db.view("key") == db["key"] == db.store.lend(b"key")
