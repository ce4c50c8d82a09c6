"""Lists of all keys or items, which are read in whole spans: the same as a walk gives, whatever there is or happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hutch.dbm
from hutch import format as fmt
from hutch import reading, spans
from hutch.errors import CorruptDirectoryError, CorruptEntryError
from hutch.lines import iterate_lines, simple_columns, simple_keys

PAIRS = {b"key %d" % number: b"%d" % number * 20 for number in range(1, 3000)}
_ENTRIES = st.tuples(
    st.integers(0, fmt.MAX_OFFSET), st.integers(0, fmt.MAX_VALUE_BYTES), st.integers(0, fmt.CHECKSUM_MASK)
)
_LINES = st.lists(
    st.tuples(
        st.binary(max_size=8) | st.sampled_from([b"k", b"a key", b"it's", "\xfc".encode(), b"\\n", b"'\""]), _ENTRIES
    ),
    max_size=4,
)


@pytest.fixture
def path(tmp_path: Path) -> str:
    path = str(tmp_path / "db")
    with hutch.dbm.open(path, "n") as db:
        db.update(PAIRS)
    return path


def _refuse(*_: Any, **__: Any) -> Iterator[tuple[bytes, bytes]]:
    raise AssertionError("a walk")


def test_lists_need_no_walk(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "scan", _refuse)
    for flag in "rw":
        with hutch.dbm.open(path, flag) as db:
            assert db.keys() == list(PAIRS)
            assert db.items() == list(PAIRS.items())


def test_lists_show_what_has_just_been_changed(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directory lines still show the old extent of a replaced value, and lines of deleted keys."""
    expected = dict(PAIRS)
    with hutch.dbm.open(path, "w") as db:
        db[b"key 7"] = expected[b"key 7"] = b"another"
        del db[b"key 8"], expected[b"key 8"]
        db[b"new"] = expected[b"new"] = b""
        assert list(db) == list(expected)
        assert list(db.iteritems()) == list(expected.items())
        with monkeypatch.context() as patched:
            patched.setattr(reading, "scan", _refuse)
            assert db.keys() == list(expected)
            del db[b"new"], expected[b"new"]  # an empty value is looked at by itself
            assert db.items() == list(expected.items())
        with db.transaction():
            db[b"newer"] = b"still to come"
            del db[b"key 9"]
            uncommitted = {**expected, b"newer": b"still to come"}
            del uncommitted[b"key 9"]
            assert db.keys() == list(uncommitted)
            assert db.items() == list(uncommitted.items())
        assert db.items() == list(uncommitted.items())
    with hutch.dbm.open(path, "r") as db:  # after the checkpoint, with dead lines in comments
        assert db.keys() == list(uncommitted)
        assert db.items() == list(uncommitted.items())


@pytest.mark.parametrize("method", ["keys", "items"])
def test_who_writes_between_two_spans_makes_it_a_walk(path: str, monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """A list is of one moment; when there was none, it has each key that was there all the while exactly once."""
    read_span = spans.read_span
    spans_read = 0

    def beside_a_writer(*arguments: Any) -> tuple[int, bytes]:
        nonlocal spans_read
        spans_read += 1
        if spans_read == 2:
            del other[b"key 1"]
            other[b"key 2000"] = b"replaced"
        return read_span(*arguments)

    with hutch.dbm.open(path, "r") as db, hutch.dbm.open(path, "w") as other:
        monkeypatch.setattr(spans, "read_span", beside_a_writer)
        found = getattr(db, method)()
        assert spans_read > 1
        expected = {**PAIRS, b"key 2000": b"replaced"}
        del expected[b"key 1"]
        assert found == list(getattr(expected, method)())


@pytest.mark.parametrize("size_bytes", [0, 1, 4096, 60_000])
def test_values_of_every_size(tmp_path: Path, size_bytes: int) -> None:
    """Empty ones have no place in the heap, and many large ones are not read ahead."""
    pairs = {b"%d" % number: bytes((number,)) * size_bytes for number in range(100)}
    with hutch.dbm.open(str(tmp_path / "db"), "n") as db:
        db.update(pairs)
        assert db.items() == list(db.iteritems()) == list(pairs.items())


def test_a_damaged_value_is_told_by_its_key(path: str) -> None:
    heap = Path(path + ".dat")
    data = bytearray(heap.read_bytes())
    data[data.index(PAIRS[b"key 2345"])] ^= 1
    heap.write_bytes(data)
    with hutch.dbm.open(path, "r") as db:
        assert db.keys() == list(PAIRS)
        with pytest.raises(CorruptEntryError, match="key 2345"):
            db.items()


@pytest.mark.parametrize("sign", [b"-", b"+", b"_"])
def test_a_damaged_number_is_not_believed(path: str, sign: bytes) -> None:
    directory = Path(path + ".dir")
    data = directory.read_bytes()
    at = data.index(b"key 2345") + len(b"key 2345', (")
    at = next(place for place in range(at, len(data)) if data[place : place + 1].isdigit())
    at += 2 if sign == b"_" else -1
    with hutch.dbm.open(path, "r") as db:
        db.keys()
        with directory.open("r+b") as file:
            file.seek(at)
            file.write(sign)
        assert db.items() == list(db.iteritems()) == list(PAIRS.items())  # the index knows better


@given(_LINES, st.integers(0), st.none() | st.binary(min_size=1, max_size=1))
def test_quick_reading_agrees_with_strict_reading(
    entries: list[tuple[bytes, tuple[int, int, int]]], at: int, damage: bytes | None
) -> None:
    """Also of damaged lines: what is read quickly is never anything but what the lines say."""
    data = b"".join(fmt.format_line(fmt.key_literal(key), (0, *entry)) + b"\n" for key, entry in entries)
    if damage is not None and data:
        at %= len(data)
        data = data[:at] + damage + data[at + 1 :]
    keys, columns = simple_keys(data), simple_columns(data)
    try:
        strict = list(iterate_lines(data, 0, len(data), "db.dir"))
    except CorruptDirectoryError:
        strict = None
    if strict is None:
        return
    if keys is not None:
        assert keys == [line.key for line in strict]
    if columns is not None:
        assert list(zip(*columns, strict=True)) == [(line.key, *line.entry[1:]) for line in strict]
    if damage is None:
        assert keys is not None
        assert columns is not None


def test_a_newline_in_a_number_does_not_hide_other_keys(path: str) -> None:
    """It parts a line in two, and from there on keys and lines would no longer belong together."""
    directory = Path(path + ".dir")
    at = directory.read_bytes().index(b"key 700") + len(b"key 700', (")
    with hutch.dbm.open(path, "w") as db:
        db.keys()
        with directory.open("r+b") as file:
            file.seek(at)
            file.write(b"\n")
        for is_changed in (False, True):
            if is_changed:
                db[b"key 1"] = b"another"
            for read in (db.keys, db.items, lambda: list(db), lambda: list(db.iteritems())):
                with pytest.raises(CorruptDirectoryError, match="key 700"):
                    read()
        with directory.open("r+b") as file:
            file.seek(at)
            file.write(b" ")


def test_lines_that_all_have_one_place_take_no_more_memory_than_a_span(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged lines, or hostile ones: nothing is read ahead for them."""

    with hutch.dbm.open(path, "r") as db:
        monkeypatch.setattr(db.store.heap, "file", None)
        count = 1000
        columns = (tuple(PAIRS)[:count], [0] * count, [1024 * 1024] * count, [0] * count)
        assert spans.pairs_at_once(db.store, columns) is None
        monkeypatch.undo()
