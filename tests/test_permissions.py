"""Modes, owners, read-only places, full disks, exhausted descriptors, vanished folders.

The suite may run as root, for whom permissions are no obstacle: where they matter, a forked child becomes
an unprivileged user first.
"""

from __future__ import annotations

import errno
import importlib
import os
import pkgutil
import resource
import shutil
import signal
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import hutch
import hutch.dbm
from children import Child, Line
from flags import ALL_FLAGS, Flag
from hutch.errors import ReadOnlyError, RecoveryWarning
from hutch.foreign import open_foreign
from hutch.store import Store, open_store
from interpreters import newest_interpreter

NOBODY = 65534
ENTRIES = {b"alpha": b"a" * 100, b"beta": b"b" * 1500, b"gamma": b""}

for module in pkgutil.walk_packages(hutch.__path__, "hutch."):
    # An unprivileged child may not be able to read the source of what is imported late.
    if not module.name.endswith("__main__"):
        try:
            importlib.import_module(module.name)
        except ImportError:
            pass  # an extra that is not installed


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can reach; pytest's own is for one user only."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        path = Path(name) / "data"
        path.mkdir(mode=0o755)
        yield path
        path.chmod(0o755)


@pytest.fixture
def base(folder: Path) -> Path:
    with hutch.dbm.open(folder / "db", "n") as database:
        database.update(ENTRIES)
    return folder / "db"


@pytest.fixture
def umask() -> Iterator[Callable[[int], None]]:
    before = os.umask(0o022)
    yield lambda mask: (os.umask(mask), None)[1]
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir() if path.is_file()}


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(path.stat().st_uid, path.stat().st_gid) for path in folder.iterdir() if path.is_file()}


def on_disk(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    found = {path.name: (path.stat(), path.read_bytes()) for path in sorted(folder.iterdir())}
    return {name: (status.st_mtime_ns, status.st_mode, data) for name, (status, data) in found.items()}


@contextmanager
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveryWarning)
        yield


def contents(base: Path) -> dict[bytes, bytes]:
    with quiet(), hutch.dbm.open(base, "r") as database:
        return dict(database.items())


def unprivileged(work: Callable[..., object], *arguments: Any) -> Any:
    """Run `work` as a user who is not root; returns its result."""

    def run(line: Line) -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        line.say(work(*arguments))

    with Child(run) as child:
        return child.hear()


# --- modes and owners ------------------------------------------------------------------------------------


def use_everything(base: Path, flag: Flag = "c", mode: int | None = None) -> None:
    """Whatever makes, rewrites or replaces a file."""
    with hutch.dbm.open(base, flag) if mode is None else hutch.dbm.open(base, flag, mode) as database:
        _look(base)
        for i in range(300):
            database[b"%d" % i] = b"v" * i
        database.sync()
        for i in range(0, 300, 2):
            del database[b"%d" % i]
        _look(base)
        database.reorganize()
        _look(base)
        database.clear()
        database[b"end"] = b"e"
        _look(base)
    _look(base)


seen_modes: dict[str, set[int]] = {}


def _look(base: Path) -> None:
    for name, mode in modes(base.parent).items():
        seen_modes.setdefault(name, set()).add(mode)


@pytest.mark.parametrize(
    ("mode", "mask", "expected"),
    [
        (None, 0o022, 0o644),
        (None, 0o027, 0o640),
        (None, 0o000, 0o666),
        (0o600, 0o022, 0o600),
        (0o666, 0o077, 0o600),
        (0o660, 0o002, 0o660),
    ],
)
def test_mode_and_umask_apply_to_every_file(
    mode: int | None, mask: int, expected: int, folder: Path, umask: Callable[[int], None]
) -> None:
    umask(mask)
    seen_modes.clear()
    use_everything(folder / "db", "c", mode)
    assert {"db.dat", "db.dir"} <= set(seen_modes)
    assert {name: found for name, found in seen_modes.items() if found != {expected}} == {}


@pytest.mark.parametrize("flag", ["w", "c", "n"])
def test_modes_survive_rewrites_whatever_the_umask_is_now(flag: Flag, base: Path, umask: Callable[[int], None]) -> None:
    """Side files and rewritten ones take the heap's mode: they hold keys and values, too."""
    for path in base.parent.iterdir():
        path.chmod(0o640)
    for mask in (0o000, 0o077, 0o022):
        umask(mask)
        seen_modes.clear()
        use_everything(base, flag, mode=0o666)
        assert {name: found for name, found in seen_modes.items() if found != {0o640}} == {}


def test_modes_survive_the_adoption_of_a_stdlib_database(folder: Path, umask: Callable[[int], None]) -> None:
    newest_interpreter().session(folder / "db", flag="n", store={b"a": b"1", b"b": b"2"})
    for path in folder.iterdir():
        path.chmod(0o600)
    umask(0)
    seen_modes.clear()
    use_everything(folder / "db", "w")
    assert {name: found for name, found in seen_modes.items() if found != {0o600}} == {}


def test_modes_survive_recovery_and_a_new_index(base: Path, umask: Callable[[int], None]) -> None:
    crash(base)
    for path in base.parent.iterdir():
        path.chmod(0o600)
    Path(f"{base}.idx").unlink()
    umask(0)
    with quiet(), hutch.dbm.open(base, "w") as database:
        assert database[b"pending"] == b"p" * 600
        assert set(modes(base.parent).values()) == {0o600}
    assert set(modes(base.parent).values()) == {0o600}


def test_a_backup_and_a_journal_set_aside_are_as_private_as_the_heap(base: Path, umask: Callable[[int], None]) -> None:
    for path in base.parent.iterdir():
        path.chmod(0o600)
    umask(0)
    with hutch.dbm.open(base, "w") as database:
        database.backup(base.parent / "copy")
    crash(base)
    newest_interpreter().session(base, delete=[b"alpha"])
    for path in base.parent.iterdir():
        path.chmod(0o600)  # the stdlib has its own idea
    with quiet():
        hutch.dbm.open(base, "w").close()
    found = modes(base.parent)
    assert len(found) > 4
    assert {name: mode for name, mode in found.items() if mode != 0o600} == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_survives_rewrites(base: Path) -> None:
    for path in base.parent.iterdir():
        os.chown(path, 12345, 23456)
    use_everything(base, "w")
    assert owners(base.parent) == {(12345, 23456)}
    crash(base)
    Path(f"{base}.idx").unlink()
    with quiet():
        hutch.dbm.open(base, "w").close()
    assert owners(base.parent) == {(12345, 23456)}


# --- places that may only be read ------------------------------------------------------------------------


def write_and_wait(line: Line, base: Path) -> None:
    store = open_store(base, "w")
    store.put(b"pending", b"p" * 600)
    store.delete(b"gamma")
    line.say("done")
    line.hear()


def crash(base: Path) -> dict[bytes, bytes]:
    """A writer is killed with a pending journal; returns what must be found."""
    with Child(write_and_wait, base) as child:
        assert child.hear() == "done"
        child.kill()
    return {b"alpha": ENTRIES[b"alpha"], b"beta": ENTRIES[b"beta"], b"pending": b"p" * 600}


def make_read_only(folder: Path) -> None:
    for path in folder.iterdir():
        path.chmod(0o444)
    folder.chmod(0o555)


def look_around(base: Path) -> list[tuple[bytes, bytes]]:
    """As a reader: everything that reading offers."""
    with quiet():
        database = hutch.dbm.open(base, "r")
    found = dict(database.items())
    assert len(database) == len(found)
    assert {key: database[key] for key in database} == found
    assert database.check().ok
    database.statistics()
    assert b"never" not in database
    try:
        database[b"x"] = b"y"
    except ReadOnlyError:
        pass
    else:
        raise AssertionError("written to")
    database.close()
    return sorted(found.items())


def refusal(base: Path, flag: Flag) -> str:
    try:
        with quiet():
            hutch.dbm.open(base, flag).close()
    except PermissionError:
        return "refused"
    return "opened"


@pytest.mark.parametrize("index", ["index", "no index", "empty index", "garbage for an index"])
@pytest.mark.parametrize("state", ["closed", "crashed", "written by the stdlib"])
def test_reading_where_nothing_may_be_written(state: str, index: str, base: Path) -> None:
    expected = dict(ENTRIES)
    if state == "crashed":
        expected = crash(base)
    elif state == "written by the stdlib":
        expected = newest_interpreter().session(base, delete=[b"gamma"])
    path = Path(f"{base}.idx")
    if index == "no index":
        path.unlink(missing_ok=True)
    elif index == "empty index":
        path.write_bytes(b"")
    elif index == "garbage for an index":
        path.write_bytes(b"hutchidx" + os.urandom(8000))
    make_read_only(base.parent)
    before = on_disk(base.parent)
    assert unprivileged(look_around, base) == sorted(expected.items())
    assert on_disk(base.parent) == before
    for flag in ALL_FLAGS[1:]:
        assert unprivileged(refusal, base, flag) == "refused"
        assert on_disk(base.parent) == before


def test_a_reader_without_rights_follows_a_writer_with_them(base: Path) -> None:
    """It can neither lock for writing nor touch a file, and still sees every commit."""

    def follow(line: Line) -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        database = hutch.dbm.open(base, "r")
        line.say(len(database))
        for _ in range(5):
            line.hear()
            line.say(dict(database.items()))

    base.parent.chmod(0o555)
    with Child(follow) as reader, hutch.dbm.open(base, "w") as database:
        assert reader.hear() == len(ENTRIES)

        def agree() -> None:
            reader.say("look")
            assert reader.hear() == dict(database.items())

        database[b"alpha"] = b"changed" * 500
        agree()
        for i in range(500):
            database[b"%d" % i] = b"%d" % i
        agree()
        for i in range(0, 500, 2):
            del database[b"%d" % i]
        database.sync()
        agree()
        database.reorganize()
        agree()
        database.clear()
        agree()


def open_for(base: Path, flag: Flag) -> str:
    try:
        with quiet(), hutch.dbm.open(base, flag) as database:
            return f"opened with {len(database)} entries"
    except OSError as problem:
        return errno.errorcode.get(problem.errno or 0, type(problem).__name__)


@pytest.mark.parametrize("suffix", [".dat", ".dir", ".log"])
@pytest.mark.parametrize("flag", ["r", "w", "c"])
def test_no_permission_to_read_is_never_taken_for_missing(flag: Flag, suffix: str, base: Path) -> None:
    """dbm.dumb thinks that a directory which it may not read is missing, and destroys the database."""
    expected = crash(base)
    for path in [base.parent, *base.parent.iterdir()]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    Path(f"{base}{suffix}").chmod(0)
    before = {path.name: path.stat().st_size for path in base.parent.iterdir()}
    said = unprivileged(open_for, base, flag)
    if suffix == ".log":
        # With a whole index a reader need not look into the journal; a stale answer it may not give.
        assert said in ("EACCES", "opened with 3 entries")
    else:
        assert said == "EACCES"
        assert {path.name: path.stat().st_size for path in base.parent.iterdir()} == before
    for path in base.parent.iterdir():
        path.chmod(0o666)
    assert contents(base) == expected


@pytest.mark.parametrize("flag", ["r", "w", "c"])
def test_an_index_that_may_not_be_read_is_done_without(flag: Flag, base: Path) -> None:
    for path in base.parent.iterdir():
        path.chmod(0o666)
    base.parent.chmod(0o777)
    Path(f"{base}.idx").chmod(0)
    assert unprivileged(open_for, base, flag) in (f"opened with {len(ENTRIES)} entries", "EACCES")
    if flag == "r":
        assert unprivileged(open_for, base, flag) == f"opened with {len(ENTRIES)} entries"
    Path(f"{base}.idx").chmod(0o666)
    assert contents(base) == ENTRIES


def change_it(base: Path) -> str:
    try:
        with quiet(), hutch.dbm.open(base, "w") as database:
            database[b"alpha"] = b"changed"
            del database[b"beta"]
            for i in range(100):
                database[b"%d" % i] = b"x" * i
            database.sync()
    except OSError as problem:
        return errno.errorcode.get(problem.errno or 0, type(problem).__name__)
    return "changed"


@pytest.mark.parametrize("kept", [(".dat", ".dir"), (".dat", ".dir", ".log", ".idx")], ids=["two files", "all files"])
def test_files_that_may_be_written_in_a_folder_that_may_not(kept: tuple[str, ...], base: Path) -> None:
    """Nothing can be made or renamed there: it works within the files, or says so; nothing is half done."""
    for path in base.parent.iterdir():
        if path.suffix in kept:
            path.chmod(0o666)
        else:
            path.unlink()
    base.parent.chmod(0o555)
    said = unprivileged(change_it, base)
    base.parent.chmod(0o755)
    changed = {b"alpha": b"changed", b"gamma": b""} | {b"%d" % i: b"x" * i for i in range(100)}
    assert said in ("changed", "EACCES")
    assert contents(base) == (changed if said == "changed" else ENTRIES)
    assert newest_interpreter().session(base, flag="r") == (changed if said == "changed" else ENTRIES)


@pytest.mark.parametrize("only_readable", [".dat", ".dir", ".log"])
def test_a_writer_that_may_not_write_one_of_the_files_destroys_nothing(only_readable: str, base: Path) -> None:
    for path in base.parent.iterdir():
        path.chmod(0o666)
    base.parent.chmod(0o777)
    Path(f"{base}.log").touch()
    Path(f"{base}{only_readable}").chmod(0o444)
    said = unprivileged(change_it, base)
    assert said in ("changed", "EACCES")
    if said == "EACCES":
        assert contents(base) == ENTRIES
        assert newest_interpreter().session(base, flag="r") == ENTRIES
    else:
        assert contents(base)[b"alpha"] == b"changed"


# --- no space --------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of one MiB."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount a small file system (the size limits below cover the same ground)")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no small file system here: {made.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path, *, leave: int = 0) -> None:
    """Leave no more than `leave` bytes of the disk."""
    free = os.statvfs(folder)
    with (folder / "filler").open("ab", buffering=0) as file:
        left = free.f_bavail * free.f_frsize - leave
        try:
            while left > 0:
                left -= file.write(b"f" * min(left, 4096))
        except OSError as problem:
            assert problem.errno == errno.ENOSPC


def test_a_disk_that_fills_up_loses_nothing_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    base = small_disk / "db"
    store = open_store(base, "n")
    expected: dict[bytes, bytes] = {}
    with pytest.raises(OSError, match="space") as raised:
        for i in range(10_000):
            key, value = b"key %d" % i, b"v" * (i * 37 % 3000)
            store.put(key, value)
            expected[key] = value
    assert raised.value.errno == errno.ENOSPC
    assert len(expected) > 100
    for _ in range(3):
        with pytest.raises(OSError, match="space"):
            store.put(b"too large", b"x" * 500_000)
        assert store.get(b"too large") is None
    assert dict(store.items()) == expected
    assert store.count() == len(expected)
    reader = open_store(base, "r")
    assert dict(reader.items()) == expected
    reader.close()
    # deleting needs next to nothing
    for key in list(expected)[::2]:
        try:
            assert store.delete(key)
        except OSError as problem:
            assert problem.errno == errno.ENOSPC
        else:
            del expected[key]
    assert dict(store.items()) == expected
    try:
        store.sync()
    except OSError as problem:
        assert problem.errno == errno.ENOSPC
    assert dict(store.items()) == expected
    store.close()
    assert contents(base) == expected
    assert newest_interpreter().session(base, flag="r") == expected
    with hutch.dbm.open(base, "w") as database:
        assert database.check().ok


@pytest.mark.parametrize("leave", [0, 4096, 20_000, 100_000])
@pytest.mark.parametrize("action", ["put", "transaction", "delete", "clear", "reorganize", "sync", "close", "large"])
def test_whatever_meets_a_full_disk_is_all_or_nothing(action: str, leave: int, small_disk: Path) -> None:
    base = small_disk / "db"
    store = open_store(base, "n")
    expected = {b"key %d" % i: b"v" * (i * 11) for i in range(150)}
    store.apply(expected)
    store.sync()
    store.put(b"key 3", b"pending")
    expected[b"key 3"] = b"pending"
    fill(small_disk, leave=leave)
    wanted = dict(expected)
    try:
        if action == "put":
            for i in range(2000):
                store.put(b"new %d" % i, b"n" * 100)
                expected[b"new %d" % i] = wanted[b"new %d" % i] = b"n" * 100
        elif action == "transaction":
            wanted = {b"key %d" % i: b"w" * 900 for i in range(0, 150, 2)} | {b"more %d" % i: b"m" for i in range(3000)}
            wanted = expected | wanted
            store.begin()
            for key, value in wanted.items():
                store.put(key, value)
            store.commit()
        elif action == "large":
            wanted[b"large"] = b"l" * 150_000
            store.put(b"large", b"l" * 150_000)
        elif action == "delete":
            for key in list(expected)[:100]:
                wanted.pop(key)
                store.delete(key)
                del expected[key]
        elif action == "clear":
            wanted = {}
            store.clear()
        elif action == "reorganize":
            store.reorganize()
        elif action == "sync":
            store.sync()
        else:
            store.close()
    except OSError as problem:
        assert problem.errno == errno.ENOSPC
    else:
        expected = wanted
    if action != "close":
        assert not store.in_transaction
        assert dict(store.items()) == expected
    assert contents(base) == expected
    (small_disk / "filler").unlink()
    if action != "close":
        store.put(b"afterwards", b"there is room")
        expected[b"afterwards"] = b"there is room"
        assert dict(store.items()) == expected
    store.close()
    assert contents(base) == expected
    assert newest_interpreter().session(base, flag="r") == expected


def test_opening_on_a_full_disk(small_disk: Path) -> None:
    base = small_disk / "db"
    with hutch.dbm.open(base, "n") as database:
        database.update(ENTRIES)
    expected = crash(base)
    fill(small_disk)
    for with_index in (True, False):
        if not with_index:
            Path(f"{base}.idx").unlink()
            fill(small_disk)
        assert contents(base) == expected
        for flag in ALL_FLAGS[1:3]:
            try:
                with quiet(), hutch.dbm.open(base, flag) as database:
                    assert dict(database.items()) == expected
            except OSError as problem:
                assert problem.errno == errno.ENOSPC
    (small_disk / "filler").unlink()
    with quiet(), hutch.dbm.open(base, "w") as database:
        assert dict(database.items()) == expected
    assert newest_interpreter().session(base, flag="r") == expected


def test_adopting_on_a_full_disk(small_disk: Path) -> None:
    base = small_disk / "db"
    expected = {b"key %d" % i: b"v" * i for i in range(200)}
    newest_interpreter().session(base, flag="n", store=expected)
    fill(small_disk)
    database = hutch.dbm.open(base, "w")
    assert dict(database.items()) == expected
    with pytest.raises(OSError, match="space"):
        database[b"key 3"] = b"x" * 5000
    assert dict(database.items()) == expected
    database.close()
    assert newest_interpreter().session(base, flag="r") == expected
    (small_disk / "filler").unlink()
    with hutch.dbm.open(base, "w") as database:
        database[b"key 3"] = expected[b"key 3"] = b"x" * 5000
    assert newest_interpreter().session(base, flag="r") == expected


def fill_up_to_a_limit(line: Line, base: Path, limit_bytes: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
    expected: dict[bytes, bytes] = {}
    try:
        store = open_store(base, "c")
    except OSError as problem:
        line.say((problem.errno, expected))
        return
    number = None
    try:
        for i in range(3000):
            value = b"v" * (i * 37 % 2000)
            store.put(b"key %d" % i, value)
            expected[b"key %d" % i] = value
    except OSError as problem:
        number = problem.errno
    assert dict(store.items()) == expected
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    store.put(b"afterwards", b"room")
    expected[b"afterwards"] = b"room"
    assert dict(store.items()) == expected
    store.close()
    line.say((number, expected))


@pytest.mark.parametrize("limit_bytes", [0, 100, 4096, 70_000, 200_000, 800_000])
def test_files_that_may_not_grow_any_further(limit_bytes: int, folder: Path) -> None:
    base = folder / "db"
    with Child(fill_up_to_a_limit, base, limit_bytes) as child:
        number, expected = child.hear()
    assert number == errno.EFBIG
    with quiet(), hutch.dbm.open(base, "c") as database:
        assert dict(database.items()) == expected
    assert newest_interpreter().session(base, flag="r") == expected


# --- no descriptors --------------------------------------------------------------------------------------


@contextmanager
def descriptors(spare: int) -> Iterator[None]:
    """Only `spare` more descriptors can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = os.open(os.devnull, os.O_RDONLY)
    os.close(first)
    blockers: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + spare + 1 + 64, hard))
    try:
        try:
            while True:
                blockers.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as problem:
            assert problem.errno == errno.EMFILE
        for _ in range(spare):
            os.close(blockers.pop())
        yield
    finally:
        for fd in blockers:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("state", ["closed", "crashed", "written by the stdlib", "no index"])
@pytest.mark.parametrize("flag", ["r", "w", "c"])
def test_too_many_open_files_destroy_nothing(flag: Flag, state: str, base: Path) -> None:
    expected = dict(ENTRIES)
    if state == "crashed":
        expected = crash(base)
    elif state == "written by the stdlib":
        expected = newest_interpreter().session(base, delete=[b"gamma"])
    elif state == "no index":
        Path(f"{base}.idx").unlink()
    before = on_disk(base.parent)
    opened = 0
    for spare in range(10):
        with descriptors(spare):
            try:
                with quiet():
                    database = hutch.dbm.open(base, flag)
            except OSError as problem:
                assert problem.errno == errno.EMFILE
                continue
            assert dict(database.items()) == expected, spare
            try:
                with quiet():
                    database.close()
            except OSError as problem:
                assert problem.errno == errno.EMFILE
            opened += 1
        if flag == "r":
            assert on_disk(base.parent) == before
    assert opened
    assert contents(base) == expected
    with hutch.dbm.open(base, "w") as database:
        assert dict(database.items()) == expected
    assert newest_interpreter().session(base, flag="r") == expected


def test_a_handle_goes_on_after_running_out_of_descriptors(base: Path) -> None:
    store = open_store(base, "w")
    expected = dict(ENTRIES)
    for spare in range(5):
        with descriptors(spare):
            for i, action in enumerate(_actions(store)):
                try:
                    action()
                except OSError as problem:
                    assert problem.errno == errno.EMFILE
                    continue
                if i == 0:
                    expected[b"new"] = b"n" * 100
            assert dict(store.items()) == expected
        assert dict(store.items()) == expected
    store.put(b"end", b"e")
    store.close()
    assert contents(base) == expected | {b"end": b"e"}
    assert newest_interpreter().session(base, flag="r") == expected | {b"end": b"e"}


def _actions(store: Store) -> list[Callable[[], object]]:
    return [lambda: store.put(b"new", b"n" * 100), store.sync, store.reorganize, store.check]


def test_a_failed_open_leaks_no_descriptor(base: Path, tmp_path: Path) -> None:
    def count() -> int:
        fd = os.open(os.devnull, os.O_RDONLY)
        os.close(fd)
        return fd

    Path(f"{tmp_path}/bad.dat").write_bytes(b"x" * 100)
    Path(f"{tmp_path}/bad.dir").write_bytes(b"garbage\n")
    before = count()
    for _ in range(5):
        with pytest.raises(ValueError, match=r"bad\.dir"):
            hutch.dbm.open(tmp_path / "bad", "w")
        with pytest.raises(FileNotFoundError):
            hutch.dbm.open(tmp_path / "missing", "w")
        with hutch.dbm.open(base, "w", exclusive=True), pytest.raises(TimeoutError):
            hutch.dbm.open(base, "w", timeout=0)
    assert count() == before


# --- folders that move away ------------------------------------------------------------------------------


def test_a_file_of_sqlite_is_read_where_nothing_may_be_written(folder: Path) -> None:
    """Also one with a write-ahead log, beside which SQLite would make a file even to read it."""
    for kind in ("dbm.sqlite3", "sqlitedict"):
        with open_foreign(folder / kind, "c", kind=kind) as database:
            database["key"] = "value"  # type: ignore[index]
    folder.chmod(0o555)

    def read(name: str) -> dict[bytes, bytes]:
        with hutch.dbm.open(folder / name, "r") as database:
            return dict(database.items())

    for kind in ("dbm.sqlite3", "sqlitedict"):
        assert unprivileged(read, kind) == {b"key": b"value"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["backup", "db", "copy"], "copy.dat: Permission denied"),
        (["convert", "db", "copy"], "copy: Permission denied"),
        (["convert", "db", "copy.jsonl"], "copy.jsonl: Permission denied"),
        (["dump", "db", "copy.jsonl"], "copy.jsonl: Permission denied"),
        (["set", "db", "key", "value"], "db.dat: Permission denied"),
        (["set", "new", "key", "value", "--create"], "new.dat: Permission denied"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
def test_the_command_names_the_file_that_may_not_be_made(base: Path, arguments: list[str], said: str) -> None:
    """And not the name that it has until it is finished."""
    command_line = pytest.importorskip("command_line", reason="click and rich are not installed here")
    for path in base.parent.iterdir():
        path.chmod(0o444)
    base.parent.chmod(0o555)
    before = on_disk(base.parent)
    words = [
        os.fspath(base.parent / word) if word.partition(".")[0] in ("db", "copy", "new") else word for word in arguments
    ]
    code, out, err = unprivileged(lambda: tuple(command_line.command(*words)))
    assert (code, out, err) == (4, "", f"Error: {base.parent / said}\n")
    assert on_disk(base.parent) == before


def test_a_relative_name_means_the_folder_that_it_was_opened_in(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with hutch.dbm.open("db", "c") as database:
        database[b"a"] = b"1"
        monkeypatch.chdir(tmp_path)
        database[b"b"] = b"2" * 5000
        database.sync()
        del database[b"a"]
        database.reorganize()
        for i in range(500):
            database[b"%d" % i] = b"x" * i
        assert database[b"b"] == b"2" * 5000
    assert not list(tmp_path.iterdir())
    assert len(contents(folder / "db")) == 501


def test_a_working_directory_that_was_deleted(base: Path, tmp_path: Path) -> None:
    def work(line: Line) -> None:
        gone = tmp_path / "gone"
        gone.mkdir()
        os.chdir(gone)
        gone.rmdir()
        with hutch.dbm.open(base, "w") as database:
            database[b"absolute"] = b"works"
        for flag in ALL_FLAGS:
            with pytest.raises(FileNotFoundError):
                hutch.dbm.open("relative", flag)

    Child(work).finish()
    assert contents(base) == ENTRIES | {b"absolute": b"works"}


def test_a_folder_that_is_renamed_under_an_open_handle(base: Path) -> None:
    """What has been written is where the files are now; nothing is made at the old place."""
    database = hutch.dbm.open(base, "w")
    database[b"before"] = b"1"
    moved = base.parent.with_name("moved")
    base.parent.rename(moved)
    database[b"after"] = b"2"
    assert database[b"before"] == b"1"
    try:
        database.close()
    except OSError as problem:
        assert problem.errno == errno.ENOENT
    base.parent.mkdir()
    assert not list(base.parent.iterdir())
    assert contents(moved / "db") == ENTRIES | {b"before": b"1", b"after": b"2"}


def test_a_missing_folder_is_the_systems_error(folder: Path) -> None:
    for flag in ALL_FLAGS:
        with pytest.raises(FileNotFoundError):
            hutch.dbm.open(folder / "missing" / "db", flag)
        with pytest.raises(NotADirectoryError):
            (folder / "file").touch()
            hutch.dbm.open(folder / "file" / "db", flag)
    assert [path.name for path in folder.iterdir()] == ["file"]
