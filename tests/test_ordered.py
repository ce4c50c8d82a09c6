"""Sorted access: the cursor, ranges and prefixes, beside updates from anywhere."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hutch.dbm
from children import Child, Line
from contract import AWKWARD_BYTES, BreakOff, broken_off
from hutch import ordered
from hutch.dbm import Database
from hutch.scan import scan


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "db")


@pytest.fixture
def db(path: str) -> Iterator[Database]:
    with hutch.dbm.open(path) as database:
        yield database


def fill(db: Database, *keys: bytes) -> dict[bytes, bytes]:
    model = {key: b"value of " + key for key in keys}
    db.update(model)
    return model


def test_the_cursor(db: Database) -> None:
    model = fill(db, b"b", b"d", b"a", b"c")
    assert db.first() == (b"a", model[b"a"])
    assert [db.next()[0] for _ in range(3)] == [b"b", b"c", b"d"]
    with pytest.raises(KeyError):
        db.next()
    assert db.previous() == (b"c", model[b"c"])  # it stayed at d
    assert db.last() == (b"d", model[b"d"])
    assert [db.previous()[0] for _ in range(3)] == [b"c", b"b", b"a"]
    with pytest.raises(KeyError):
        db.previous()
    assert db.next() == (b"b", model[b"b"])


def test_an_empty_database_has_no_first(db: Database) -> None:
    for attempt in (db.first, db.last, db.next, db.previous, lambda: db.set_location(b"")):
        with pytest.raises(KeyError):
            attempt()
    assert list(db.range()) == list(db.range(reverse=True)) == list(db.prefix(b"")) == []


def test_a_cursor_nowhere_begins_at_the_near_end(db: Database, path: str) -> None:
    fill(db, b"a", b"b", b"c")
    assert db.next()[0] == b"a"
    with hutch.dbm.open(path, "r") as other:
        assert other.previous()[0] == b"c"


def test_set_location(db: Database) -> None:
    model = fill(db, b"b", b"d", b"f")
    assert db.set_location(b"d") == (b"d", model[b"d"])
    assert db.set_location("e") == (b"f", model[b"f"])
    assert db.previous()[0] == b"d"
    assert db.set_location(b"")[0] == b"b"
    with pytest.raises(KeyError):
        db.set_location(b"g")
    assert db.next()[0] == b"d"  # it stayed at b
    with pytest.raises(TypeError, match="keys must be bytes or strings"):
        db.set_location(5)  # type: ignore[arg-type]


def test_the_cursor_is_a_place_that_survives_updates(db: Database) -> None:
    fill(db, b"b", b"d", b"f")
    db.set_location(b"d")
    del db[b"d"]
    assert db.next()[0] == b"f"
    db.set_location(b"b")
    db[b"c"] = b""
    assert db.next()[0] == b"c"
    db[b"bb"] = b""
    assert db.previous()[0] == b"bb"
    db.clear()
    fill(db, b"a", b"z")
    assert db.next()[0] == b"z"
    db.set_location(b"a")
    db.clear()
    with pytest.raises(KeyError):
        db.next()


def test_each_thread_has_its_cursor(db: Database) -> None:
    fill(db, b"a", b"b", b"c")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(db.first).result()[0] == b"a"
        assert db.last()[0] == b"c"
        assert pool.submit(db.next).result()[0] == b"b"
        assert db.previous()[0] == b"b"
        assert pool.submit(db.next).result()[0] == b"c"


def test_ranges(db: Database) -> None:
    model = fill(db, b"a", b"b", b"c", b"d")
    items = sorted(model.items())
    assert list(db.range()) == items
    assert list(db.range(b"b")) == items[1:]
    assert list(db.range("b")) == items[1:]
    assert list(db.range(stop=b"c")) == items[:2]
    assert list(db.range(b"b", b"d")) == items[1:3]
    assert list(db.range(b"aa", b"cc")) == items[1:3]
    assert list(db.range(b"c", b"c")) == list(db.range(b"d", b"a")) == []
    assert list(db.range(b"x")) == list(db.range(stop=b"")) == []
    assert list(db.range(b"b", b"d", reverse=True)) == items[2:0:-1]
    assert list(db.range(reverse=True)) == items[::-1]


def test_prefixes(db: Database) -> None:
    keys = [
        b"",
        b"a",
        b"a\0",
        b"a\xff",
        b"a\xff\xff",
        b"a\xffb",
        b"b",
        b"\xfe\xff",
        b"\xff",
        b"\xff\xff",
        b"\xff\xff\x01",
    ]
    fill(db, *keys, *AWKWARD_BYTES)
    everything = sorted({*keys, *AWKWARD_BYTES})
    for prefix in [*keys, b"\xff\xff\xff", b"c", b"\0", b"zz"]:
        expected = [key for key in everything if key.startswith(prefix)]
        assert [key for key, _ in db.prefix(prefix)] == expected
        assert [key for key, _ in db.prefix(prefix, reverse=True)] == expected[::-1]
    assert [key for key, _ in db.prefix("é")] == [key for key in everything if key.startswith("é".encode())]


@settings(max_examples=60, deadline=None)
@given(
    keys=st.sets(st.binary(max_size=3), max_size=20),
    start=st.none() | st.binary(max_size=3),
    stop=st.none() | st.binary(max_size=3),
    key=st.binary(max_size=3),
)
def test_any_range_is_a_sorted_list_s(keys: set[bytes], start: bytes | None, stop: bytes | None, key: bytes) -> None:
    ordered = sorted(keys)
    low = 0 if start is None else bisect_left(ordered, start)
    high = len(ordered) if stop is None else bisect_left(ordered, stop)
    with tempfile.TemporaryDirectory() as folder, hutch.dbm.open(os.path.join(folder, "db")) as db:
        fill(db, *keys)
        assert [found for found, _ in db.range(start, stop)] == ordered[low:high]
        assert [found for found, _ in db.range(start, stop, reverse=True)] == ordered[low:high][::-1]
        assert [found for found, _ in db.prefix(key)] == [found for found in ordered if found.startswith(key)]
        place = bisect_left(ordered, key)
        if place == len(ordered):
            with pytest.raises(KeyError):
                db.set_location(key)
            return
        assert db.set_location(key)[0] == ordered[place]
        for found in ordered[bisect_right(ordered, ordered[place]) :]:
            assert db.next()[0] == found


def test_a_long_range_comes_in_pieces(db: Database) -> None:
    model = fill(db, *(b"%04d" % number for number in range(1000)))
    assert list(db.range()) == sorted(model.items())
    assert list(db.range(reverse=True)) == sorted(model.items(), reverse=True)
    assert len(list(db.range(b"0100", b"0900"))) == 800
    assert len(list(db.prefix(b"05"))) == 100


def test_a_range_survives_updates(db: Database) -> None:
    fill(db, *(b"%04d" % number for number in range(1000)))
    seen = []
    for key, _ in db.range():
        seen.append(key)
        number = int(key[:4])
        if len(key) == 4 and number % 10 == 0:
            db.pop(b"%04d" % (number + 5), None)
            db[b"%04d behind" % (number - 1 if number else 0)] = b""
            db[b"%04d ahead" % (number + 300)] = b""
    assert seen == sorted(set(seen))
    kept = {b"%04d" % number for number in range(1000) if number % 10 != 5}
    assert kept <= set(seen)
    assert any(key.endswith(b"ahead") for key in seen)
    assert not any(b"%04d" % number in db for number in range(5, 1000, 10))


def test_random_updates_of_two_handles(path: str, db: Database) -> None:
    chaos = random.Random(3)
    model: dict[bytes, bytes] = {}
    with hutch.dbm.open(path) as other:
        for _ in range(300):
            handle = chaos.choice([db, other])
            key = b"%d" % chaos.randrange(40)
            step = chaos.random()
            if step < 0.5:
                handle[key] = model[key] = chaos.randbytes(4)
            elif step < 0.8:
                assert handle.pop(key, None) == model.pop(key, None)
            elif step < 0.83:
                handle.clear()
                model.clear()
            elif step < 0.86:
                handle.sync()
            elif step < 0.88:
                handle.reorganize()
            else:
                changes = {b"%d" % chaos.randrange(60): b"" for _ in range(8)}
                handle.update(changes)
                model.update(changes)
            if model:
                assert db.first()[0] == other.first()[0] == min(model)
                assert db.last()[0] == other.last()[0] == max(model)
            assert list(db.range()) == sorted(model.items())
        assert list(other.range()) == sorted(model.items())


def test_far_behind(path: str, db: Database) -> None:
    fill(db, b"a", b"b")
    with hutch.dbm.open(path, "r") as other:
        assert len(list(other.range())) == 2
        del db[b"a"]
        for number in range(2000):
            db[b"%d" % number] = b"x"
        db.sync()
        for number in range(1000):
            del db[b"%d" % number]
        assert [key for key, _ in other.range()] == sorted(other.keys())
        assert other.last()[0] == b"b"


def test_other_processes_are_followed(db: Database, path: str) -> None:
    fill(db, b"b")

    def child(line: Line) -> None:
        with hutch.dbm.open(path) as mine:
            line.say(mine.first()[0])
            mine[b"a"] = b""
            line.say(mine.first()[0])
            line.hear()
            line.say(mine.last()[0])

    with Child(child) as other:
        assert other.hear() == b"b"
        assert other.hear() == b"a"
        assert db.first()[0] == b"a"
        db[b"c"] = b""
        other.say()
        assert other.hear() == b"c"


def test_a_transaction_sees_its_own_order(path: str, db: Database) -> None:
    fill(db, b"b", b"c")
    assert db.first()[0] == b"b"
    with hutch.dbm.open(path, "r") as other, ThreadPoolExecutor(1) as pool:
        with db.transaction():
            db[b"a"] = b""
            del db[b"c"]
            assert db.first()[0] == b"a"
            assert db.last()[0] == b"b"
            assert [key for key, _ in db.range()] == [b"a", b"b"]
            assert other.first()[0] == b"b"
            assert pool.submit(lambda: [key for key, _ in db.range()]).result() == [b"b", b"c"]
            assert db.first()[0] == b"a"
        assert [key for key, _ in other.range()] == [b"a", b"b"]
        assert [key for key, _ in db.range()] == [b"a", b"b"]
        with broken_off(), db.transaction():
            db.clear()
            assert list(db.range()) == []
            db[b"z"] = b""
            assert db.last()[0] == b"z"
            raise BreakOff
        assert [key for key, _ in db.range()] == [b"a", b"b"]


def test_threads_read_and_write(db: Database) -> None:
    fill(db, *(b"%03d" % number for number in range(0, 300, 3)))

    def write(rest: int) -> None:
        for number in range(rest, 300, 3):
            db[b"%03d" % number] = b""

    def read() -> None:
        for _ in range(5):
            keys = [key for key, _ in db.range()]
            assert keys == sorted(set(keys))
            assert set(keys) >= {b"%03d" % number for number in range(0, 300, 3)}

    with ThreadPoolExecutor(4) as pool:
        tasks: list[Any] = [pool.submit(write, 1), pool.submit(write, 2), pool.submit(read), pool.submit(read)]
        for task in tasks:
            task.result()
    assert [key for key, _ in db.range()] == [b"%03d" % number for number in range(300)]


def test_a_key_that_is_stored_anew_while_the_keys_are_read_comes_once(
    path: str, db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(db, b"a", b"b", b"c")
    other = hutch.dbm.open(path)

    def scan_beside_a_writer(*arguments: Any, **options: Any) -> Iterator[tuple[bytes, bytes]]:
        found = scan(*arguments, **options)
        yield next(found)
        del other[b"a"]
        other[b"a"] = b"again"
        yield from found

    with monkeypatch.context() as patched:
        patched.setattr(ordered, "scan", scan_beside_a_writer)
        assert [key for key, _ in db.range()] == [b"a", b"b", b"c"]
    assert db.first() == (b"a", b"again")
    del db[b"a"]
    assert db.first()[0] == b"b"
    other.close()


def test_sortedcontainers_waits_until_it_is_needed(path: str) -> None:
    code = """
import sys, hutch.dbm
with hutch.dbm.open(sys.argv[1]) as db:
    db["a"] = "1"
    db.items()
    assert "sortedcontainers" not in sys.modules
    db.first()
    assert "sortedcontainers" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code, path], check=True, timeout=60)
