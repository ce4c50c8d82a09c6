"""Every stdlib on this machine, from 2.7 on, opens what hutch closed, and hutch opens what it wrote.

The interpreters are the ones found here (`interpreters.find_interpreters`); at least the running one is.
"""

from __future__ import annotations

import dbm.dumb
import pickle
from pathlib import Path
from typing import Any

import pytest

import hutch
import hutch.dbm
from children import Child, Line
from flags import Flag
from hutch.errors import RecoveryWarning
from hutch.store import open_store
from interpreters import StdlibPython, find_interpreters, newest_interpreter

INTERPRETERS = find_interpreters()
every_python = pytest.mark.parametrize("python", INTERPRETERS, ids=str)

# Values at the edges of dbm.dumb's 512-byte blocks.
SIZES = (0, 1, 511, 512, 513, 5000)
KEYS = (
    b"",
    b"plain",
    b"it's",
    b'say "so"',
    b"'\"both\"'",
    b"back\\slash",
    b"\\",
    b"trailing\\'",
    b"tab\tnewline\ncr\rcrlf\r\nnul\x00bell\x07escape\x1bdel\x7f",
    b"# not a comment",
    b"key', (0, 0)  # 00000000",
    b" spaces ",
    b"(" * 100,
    b"\x80\x85\xa0\xad\xe9\xff",
    "Grüße 漢字".encode(),
    bytes(range(256)),
    b"k" * 3000,
)


def value_of(size_bytes: int, seed: int) -> bytes:
    return bytes((seed * 31 + i * 7 + i // 256) % 256 for i in range(size_bytes))


def sample() -> dict[bytes, bytes]:
    """Every awkward key and every size at the edge of a block."""
    entries = {key: value_of(40 + i, i) for i, key in enumerate(KEYS)}
    entries |= {b"size %d" % size: value_of(size, size) for size in SIZES}
    return entries


def write_sample(base: Path) -> dict[bytes, bytes]:
    """Through hutch: entries, some overwritten by each size, some deleted. Returns what must be there."""
    entries = sample()
    with hutch.dbm.open(base, "n") as database:
        for key, value in entries.items():
            database[key] = value
        for old in SIZES:
            for new in SIZES:
                key = b"from %d to %d" % (old, new)
                database[key] = value_of(old, 1)
                database[key] = entries[key] = value_of(new, 2)
        for i, key in enumerate(list(entries)):
            if i % 5 == 3:
                del database[key]
                del entries[key]
    return entries


def contents(base: Path, flag: Flag = "r") -> dict[bytes, bytes]:
    with hutch.dbm.open(base, flag) as database:
        found = dict(database.items())
        assert len(database) == len(found)
        for key, value in found.items():
            assert database[key] == value
        return found


@every_python
@pytest.mark.parametrize("kind", ["dumb", "anydbm"])
def test_the_stdlib_reads_what_hutch_closed(python: StdlibPython, kind: str, tmp_path: Path) -> None:
    expected = write_sample(tmp_path / "db")
    assert python.session(tmp_path / "db", flag="r", kind=kind) == expected


@every_python
def test_reading_in_the_stdlib_leaves_the_database_hutchs_own(python: StdlibPython, tmp_path: Path) -> None:
    write_sample(tmp_path / "db")
    before = (tmp_path / "db.dir").read_bytes(), (tmp_path / "db.dat").read_bytes()
    python.session(tmp_path / "db", flag="w")
    assert ((tmp_path / "db.dir").read_bytes(), (tmp_path / "db.dat").read_bytes()) == before
    assert contents(tmp_path / "db")


@every_python
@pytest.mark.parametrize("kind", ["dumb", "anydbm"])
def test_the_stdlib_writes_what_hutch_closed(python: StdlibPython, kind: str, tmp_path: Path) -> None:
    """It overwrites in place within a value's blocks: each size by each other one."""
    base = tmp_path / "db"
    expected = write_sample(base)
    changes = {b"from %d to %d" % (old, new): value_of(old, 3) for old in SIZES for new in SIZES}
    changes |= {key + b"!": value_of(60, i) for i, key in enumerate(KEYS)}
    gone = [key for key in KEYS if key in expected][::2]
    for key in gone:
        del expected[key]
    expected |= changes
    assert python.session(base, kind=kind, delete=gone, store=changes) == expected
    assert contents(base) == expected
    # and on: hutch writes its own form again, the stdlib reads it again
    with hutch.dbm.open(base, "w") as database:
        for i, key in enumerate(list(expected)):
            if i % 3 == 0:
                database[key] = expected[key] = value_of(SIZES[i % len(SIZES)], i)
            elif i % 3 == 1:
                del database[key]
                del expected[key]
        database[b"new"] = expected[b"new"] = b"value"
    assert python.session(base, flag="r", kind=kind) == expected
    assert contents(base) == expected


@every_python
def test_hutch_opens_what_the_stdlib_created(python: StdlibPython, tmp_path: Path) -> None:
    base = tmp_path / "db"
    expected = sample()
    assert python.session(base, flag="n", store=expected) == expected
    assert contents(base, "r") == expected
    assert contents(base, "w") == expected
    # overwritten and deleted by the stdlib, in the stdlib's form
    changes = {key: value_of(700, i) for i, key in enumerate(list(expected)[::3])}
    gone = list(expected)[1::3]
    python.session(base, delete=gone, store=changes)
    expected = {key: value for key, value in (expected | changes).items() if key not in gone}
    assert contents(base, "r") == expected
    with hutch.dbm.open(base, "c") as database:
        database[b"more"] = expected[b"more"] = b"from hutch"
        assert dict(database.items()) == expected
    assert python.session(base, flag="r") == expected


@every_python
def test_an_emptied_database_goes_back_and_forth(python: StdlibPython, tmp_path: Path) -> None:
    base = tmp_path / "db"
    hutch.dbm.open(base, "n").close()
    assert python.session(base, flag="r") == {}
    python.session(base, store={b"a": b"1"})
    python.session(base, delete=[b"a"])
    assert contents(base) == {}
    with hutch.dbm.open(base, "w") as database:
        database[b"b"] = b"2"
    assert python.session(base) == {b"b": b"2"}
    with hutch.dbm.open(base, "w") as database:
        database.clear()
    assert python.session(base, store={b"c": b"3"}) == {b"c": b"3"}
    assert contents(base) == {b"c": b"3"}


@every_python
def test_a_stdlib_writer_that_died_after_a_clean_close_loses_nothing_of_hutchs(
    python: StdlibPython, tmp_path: Path
) -> None:
    """Its new keys are plain lines behind hutch's: they are adopted."""
    base = tmp_path / "db"
    expected = write_sample(base)
    python.session(base, store={b"orphan": b"still here"}, die=True)
    expected[b"orphan"] = b"still here"
    with pytest.warns(RecoveryWarning, match="adopted"):
        assert contents(base) == expected
    with pytest.warns(RecoveryWarning, match="adopted"):
        database = hutch.dbm.open(base, "w")
    with database:
        database[b"after"] = expected[b"after"] = b"x"
        assert dict(database.items()) == expected
    assert python.session(base, flag="r") == expected


def test_a_long_round_trip(tmp_path: Path) -> None:
    """hutch → oldest → hutch → newest → hutch → every other one, with changes at each stop."""
    base = tmp_path / "db"
    expected = write_sample(base)
    stops = [INTERPRETERS[0], INTERPRETERS[-1], *INTERPRETERS[1:-1], INTERPRETERS[0]]
    for i, python in enumerate(stops):
        keys = sorted(expected)
        changes = {key: value_of(SIZES[(i + j) % len(SIZES)], i + j) for j, key in enumerate(keys[i::7])}
        changes[b"stop %d" % i] = str(python).encode()
        gone = keys[i + 1 :: 7]
        expected = {key: value for key, value in (expected | changes).items() if key not in gone}
        assert python.session(base, delete=gone, store=changes) == expected, f"stop {i}: {python}"
        assert contents(base) == expected, f"stop {i}: {python}"
        with hutch.dbm.open(base, "w") as database:
            keys = sorted(expected)
            for key in keys[i::5]:
                database[key] = expected[key] = value_of(SIZES[i % len(SIZES)], i)
            for key in keys[i + 2 :: 11]:
                del database[key]
                del expected[key]
            if i % 3 == 2:
                database.reorganize()
            assert dict(database.items()) == expected
        assert contents(base) == expected
    with hutch.dbm.open(base, "w") as database:
        assert database.check().ok


# --- shelves ---------------------------------------------------------------------------------------------

OBJECTS: dict[bytes, Any] = {
    b"none": None,
    b"int": -12345678901234567890,
    b"float": 0.1,
    b"text": "Grüße 漢字 \U0001f4da",
    b"list": [1, [2, [3]], {"a": True}],
    "clé".encode(): {"nested": {"deep": [None, False, 1.5]}},
    b"long": "x" * 5000,
    b"empty": "",
}


@every_python
def test_the_stdlib_reads_and_writes_a_shelf_of_hutch(python: StdlibPython, tmp_path: Path) -> None:
    base = tmp_path / "shelf"
    with hutch.open(str(base), "n", protocol=2) as shelf:
        for key, value in OBJECTS.items():
            shelf[key.decode()] = value
        shelf["replaced"] = "a" * 1000
        shelf["replaced"] = "b"
        shelf["deleted"] = 1
        del shelf["deleted"]
    expected = OBJECTS | {b"replaced": "b"}
    assert python.session(base, flag="r", kind="shelve") == expected
    expected = OBJECTS | {b"added": [str(python)]}
    assert python.session(base, kind="shelve", delete=[b"replaced"], store={b"added": [str(python)]}) == expected
    with hutch.open(str(base), "w", protocol=2) as shelf:
        assert dict(shelf.items()) == {key.decode(): value for key, value in expected.items()}
        shelf["added"] += ["hutch"]
    expected[b"added"] = [str(python), "hutch"]
    assert python.session(base, kind="shelve") == expected


@every_python
def test_hutch_reads_and_writes_a_shelf_of_the_stdlib(python: StdlibPython, tmp_path: Path) -> None:
    base = tmp_path / "shelf"
    assert python.session(base, flag="n", kind="shelve", store=OBJECTS) == OBJECTS
    with hutch.open(str(base), "r") as shelf:
        assert dict(shelf.items()) == {key.decode(): value for key, value in OBJECTS.items()}
    with hutch.open(str(base), "w", protocol=2, writeback=True) as shelf:
        shelf["list"].append("more")
    expected = OBJECTS | {b"list": [*OBJECTS[b"list"], "more"]}
    assert python.session(base, flag="r", kind="shelve") == expected


# --- a handle that is open, a writer that was killed -----------------------------------------------------


@every_python
def test_the_stdlib_reads_while_a_hutch_handle_is_open(python: StdlibPython, tmp_path: Path) -> None:
    base = tmp_path / "db"
    expected = write_sample(base)
    with hutch.dbm.open(base, "w") as database:
        assert python.session(base, flag="r") == expected
        for i, key in enumerate(list(expected)):
            if i % 2:
                database[key] = expected[key] = value_of(SIZES[i % len(SIZES)], i)
            elif i % 3:
                del database[key]
                del expected[key]
        database[b"new"] = expected[b"new"] = b"not there before"
        database.sync()
        assert python.session(base, flag="r") == expected
        database[b"unsynced"] = b"seen or not, but nothing breaks"
        del database[b"new"]
        found = python.session(base, flag="r")
        assert {key: found.get(key) for key in expected} == expected
        assert found.keys() <= expected.keys() | {b"unsynced"}
        assert found.get(b"unsynced") in (None, b"seen or not, but nothing breaks")
    del expected[b"new"]
    expected[b"unsynced"] = b"seen or not, but nothing breaks"
    assert python.session(base, flag="r") == expected


def crash(base: Path, *, flag: Flag = "w") -> tuple[dict[bytes, bytes], dict[bytes, set[bytes | None]]]:
    """A hutch writer is killed with commits that no checkpoint has seen.

    Returns:
        What hutch must find, and for each key the values that it has had since the last checkpoint.
    """
    with Child(_write_and_wait, base, flag) as child:
        now, seen = child.hear()
        child.kill()
    return now, seen


def _write_and_wait(line: Line, base: Path, flag: Flag) -> None:
    store = open_store(base, flag)
    now = dict(store.items())
    for i in range(40):
        key = b"checkpointed %d" % i
        store.put(key, value_of(30 * i, i))
        now[key] = value_of(30 * i, i)
    store.sync()
    seen: dict[bytes, set[bytes | None]] = {key: {value} for key, value in now.items()}

    def change(key: bytes, value: bytes | None) -> None:
        if value is None:
            store.delete(key)
            del now[key]
        else:
            store.put(key, value)
            now[key] = value
        seen.setdefault(key, {None}).add(value)

    for i in range(0, 40, 3):
        change(b"checkpointed %d" % i, value_of(SIZES[i % len(SIZES)], 5))
    for i in range(1, 40, 6):
        change(b"checkpointed %d" % i, None)
    for i in range(20):
        change(b"late %d" % i, value_of(100 * i, i))
    for i in range(0, 20, 2):
        change(b"late %d" % i, value_of(50, 7))
    for i in range(0, 20, 5):
        change(b"late %d" % i, None)
    line.say((now, seen))
    line.hear()


@every_python
def test_the_stdlib_opens_what_a_killed_hutch_writer_left(python: StdlibPython, tmp_path: Path) -> None:
    """It sees for each key a value that was stored under it, and everything up to the last checkpoint."""
    base = tmp_path / "db"
    expected, seen = crash(base, flag="n")
    found = python.session(base, flag="r")
    for key in found.keys() | seen.keys():
        assert found.get(key) in seen.get(key, set()), key
    assert contents(base) == expected  # reading only, the pending journal overlaid
    assert contents(base, "w") == expected
    assert python.session(base, flag="r") == expected


def journals_set_aside(base: Path) -> list[Path]:
    return sorted(
        path
        for path in base.parent.iterdir()
        if path.name.startswith(base.name) and ".log" in path.name and path.name != base.name + ".log"
    )


@every_python
def test_a_journal_that_the_stdlib_overtook_is_kept_and_can_be_merged(python: StdlibPython, tmp_path: Path) -> None:
    base = tmp_path / "db"
    pending, _ = crash(base, flag="n")
    by_stdlib = {b"from the stdlib": b"s" * 600, b"checkpointed 2": b"its own"}
    after_stdlib = python.session(base, delete=[b"checkpointed 5"], store=by_stdlib)
    with pytest.warns(RecoveryWarning, match="journal"):
        store = open_store(base, "w")
    assert dict(store.items()) == after_stdlib
    (aside,) = journals_set_aside(base)
    size_bytes = aside.stat().st_size
    assert size_bytes > 0
    store.put(b"after", b"the crash")
    store.close()
    # once said, not said again; kept all the same
    with hutch.dbm.open(base, "w") as database:
        assert database[b"after"] == b"the crash"
    assert aside.stat().st_size == size_bytes
    store = open_store(base, "w")
    assert store.merge_journal(aside) > 0
    # What only the journal knew is back, and what only the stdlib wrote is still there.
    assert store.get(b"from the stdlib") == b"s" * 600
    assert store.get(b"checkpointed 2") == b"its own"
    assert store.get(b"checkpointed 5") is None
    for key in pending:
        if key.startswith(b"late"):
            assert store.get(key) == pending[key], key
    merged = dict(store.items())
    store.close()
    assert python.session(base, flag="r") == merged
    assert contents(base) == merged


def test_a_journal_that_goes_aside_takes_its_values_along(tmp_path: Path) -> None:
    """Nothing owns them in the heap any more, so whoever writes next writes over them, or cuts them off."""
    base = tmp_path / "db"
    pending, _ = crash(base, flag="n")
    with dbm.dumb.open(str(base), "w") as database:
        database["late 1"] = "overwritten in place"
    with pytest.warns(RecoveryWarning, match="journal"):
        store = open_store(base, "w")
    first = store.get(b"late 1")
    assert first == b"overwritten in place"
    for round_number in range(3):
        store.apply({b"more %d %d" % (round_number, i): b"m" * 900 for i in range(300)})
        store.sync()
        store.apply({b"more %d %d" % (round_number, i): None for i in range(300)})
        store.close()
        store = open_store(base, "w")
    (aside,) = journals_set_aside(base)
    with pytest.warns(RecoveryWarning, match="left as they are"):
        assert store.merge_journal(aside) > 0
    expected = {key: value for key, value in pending.items() if len(value) <= 4096} | {b"late 1": first}
    assert {key: store.get(key) for key in expected} == expected
    store.close()


@every_python
def test_a_stdlib_writer_that_died_too_is_adopted_behind_the_journal(python: StdlibPython, tmp_path: Path) -> None:
    """Crash of hutch, then a stdlib writer that never reached its commit: both histories survive."""
    base = tmp_path / "db"
    expected, _ = crash(base, flag="n")
    python.session(base, store={b"orphan": b"o" * 700}, die=True)
    expected[b"orphan"] = b"o" * 700
    with pytest.warns(RecoveryWarning, match="adopted"):
        assert contents(base, "w") == expected
    assert contents(base) == expected
    assert python.session(base, flag="r") == expected


def test_a_crash_that_only_the_stdlib_read_is_recovered(tmp_path: Path) -> None:
    base = tmp_path / "db"
    expected, _ = crash(base, flag="n")
    for python in INTERPRETERS:
        python.session(base, flag="r")
    assert contents(base, "w") == expected
    assert not journals_set_aside(base)


def test_pickles_of_every_protocol_come_back(tmp_path: Path) -> None:
    """The newest stdlib reads whatever protocol hutch was told to write."""
    base = tmp_path / "shelf"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with hutch.open(str(base), "n", protocol=protocol) as shelf:
            for key, value in OBJECTS.items():
                shelf[key.decode()] = value
        assert newest_interpreter().session(base, flag="r", kind="shelve") == OBJECTS
