"""Damage that a search for it has found: in files of SQLite, in documents; and what `check` says of any file."""

from __future__ import annotations

import pickle
import plistlib
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import hutch.dbm
from hutch.codecs import Json
from hutch.errors import CorruptError, HutchError, UnsupportedFileError
from hutch.foreign import convert, open_foreign
from test_foreign import READ, expected, replace, unpacked

MAKERS = {"sqlite3": "dbm.sqlite3", "sqlitedict": "sqlitedict"}


def changed(path: Path, *statements: str) -> Path:
    """A file of SQLite after statements that no library would make, its schema included."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            connection.execute(statement)
    return path


# -- files of SQLite -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_a_schema_that_is_no_text(name: str, tmp_path: Path) -> None:
    """SQLite quotes it in its message, which Python then cannot make text of."""
    path = unpacked(name, tmp_path)
    data = path.read_bytes()
    at = data.index(b"CREATE TABLE")
    replace(path, at + 9, b"\xff\xfe\xff")
    assert hutch.dbm.whichdb(path) == "dbm.sqlite3", "as the stdlib calls any"
    for kind in MAKERS.values():
        with pytest.raises(HutchError):
            open_foreign(path, kind=kind)


def test_a_table_whose_name_no_statement_can_hold(tmp_path: Path) -> None:
    path = unpacked("sqlitedict", tmp_path)
    changed(path, "UPDATE sqlite_master SET name = CAST(x'ff00fe' AS TEXT), tbl_name = CAST(x'ff00fe' AS TEXT)")
    assert hutch.dbm.whichdb(path)
    with pytest.raises(HutchError):
        open_foreign(path, kind="sqlitedict")
    with pytest.raises(UnsupportedFileError, match="no statement can name"):
        open_foreign(unpacked("sqlitedict", tmp_path), kind="sqlitedict", table="a\0b")
    with pytest.raises(UnsupportedFileError, match="no statement can name"):
        open_foreign(tmp_path / "sqlitedict", kind="sqlitedict", table="a\udcffb")


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("key", "NULL", "key that is neither bytes nor text"),
        ("expire_time", "'soon'", "expires at 'soon', which is no time"),
        ("filename", "x'ff'", "whose name is none"),
        ("filename", "CAST(x'6100' AS TEXT)", "whose name is none"),
        ("mode", "'three'", "an unknown way"),
        ("mode", "9", "an unknown way"),
    ],
)
def test_a_cache_with_columns_of_other_types(column: str, value: str, said: str, tmp_path: Path) -> None:
    path = unpacked("diskcache", tmp_path)
    where = "raw = 0" if column == "key" else "filename IS NOT NULL"
    changed(
        path / "cache.db", "PRAGMA ignore_check_constraints = ON", f"UPDATE Cache SET {column} = {value} WHERE {where}"
    )
    with open_foreign(path) as database:
        with pytest.raises(CorruptError, match=said):
            dict(database.iteritems())
        for key in ("text", "5", "('a', 1)", "missing"):
            try:
                database.get(key)
            except HutchError:
                continue


def test_text_of_a_cache_that_is_none(tmp_path: Path) -> None:
    path = unpacked("diskcache", tmp_path)
    changed(path / "cache.db", "INSERT INTO Cache (key, raw, mode, value) VALUES ('bad', 1, 1, CAST(x'ff' AS TEXT))")
    with open_foreign(path) as database, pytest.raises(CorruptError, match="is text, but no UTF-8"):
        database["bad"]


def test_a_key_of_a_cache_that_nests_too_deep(tmp_path: Path) -> None:
    path = unpacked("diskcache", tmp_path)
    nested: Any = ()
    for _ in range(90):
        nested = (nested,)
    deep = pickle.dumps(nested)
    with closing(sqlite3.connect(path / "cache.db", isolation_level=None)) as connection:
        connection.execute("INSERT INTO Cache (key, raw, mode, value) VALUES (?, 0, 1, 7)", (deep,))
    with open_foreign(path) as database:
        try:
            assert repr(nested).encode() in database
        except HutchError:
            pass  # deeper than this Python shows, or SafePickle reads


def without_index(path: Path) -> None:
    """Make an empty page of the one of an index: what is counted and found is no longer what is walked."""
    with closing(sqlite3.connect(path)) as connection:
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]
        (root,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE type = 'index'").fetchone()
    at = (root - 1) * page_bytes
    replace(path, at, bytes((10, 0, 0, 0, 0)) + page_bytes.to_bytes(2, "big") + b"\0")


@pytest.mark.parametrize("kind", MAKERS.values())
def test_a_table_and_its_index_that_contradict_each_other(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "table"
    with open_foreign(path, "c", kind=kind) as database:
        database["a"] = database["b"] = "1"  # type: ignore[index]
        assert database.check().ok
        assert database.check().entry_count == 2
        database.sync()
    without_index(path)
    with open_foreign(path, kind=kind) as database:
        assert len(list(database)) == 2
        assert len(database) == 0
        problems = database.check().problems
        assert "missing from index" in problems[0].message
        assert "\n" not in problems[0].message
        assert problems[0].file == str(path)
    before = set(tmp_path.iterdir())
    with pytest.raises(CorruptError, match=r"is damaged: .*missing from index"):
        convert(path, tmp_path / "copy", kind=kind)
    assert set(tmp_path.iterdir()) == before


# -- Berkeley DB 1 -------------------------------------------------------------------------------------


def test_a_key_in_both_buckets_that_it_may_stand_in(tmp_path: Path) -> None:
    """A byte above 127 is one of two numbers in the hash, so the key may stand in one of two buckets: not in both."""
    path = tmp_path / "large"
    bucket_count, page_bytes = 512, 512
    path.write_bytes(_empty_hash(bucket_count, page_bytes))
    with open_foreign(path) as database:
        assert database.items() == []
        names = (b"\xff%d" % number for number in range(1000))
        buckets_of = database._buckets_of  # type: ignore[attr-defined]
        key, buckets = next((key, found) for key in names if len(found := buckets_of(key)) == 2)
    for count, bucket in enumerate(buckets, 1):
        replace(path, (bucket + 1) * page_bytes, _page_of_one(key, b"value", page_bytes))
        with open_foreign(path) as database:
            assert database[key] == b"value"
            if count == 1:
                assert database.items() == [(key, b"value")]
                continue
            assert [problem.key for problem in database.check().problems] == [key]
            with pytest.raises(CorruptError, match="occurs twice"):
                dict(database.iteritems())


def _empty_hash(bucket_count: int, page_bytes: int) -> bytes:
    """A file of db 1.85: its header, and a page for each bucket."""
    probe = 0
    for byte in b"%$sniglet^&\0":
        probe = (probe * 33 + byte) & 0xFFFFFFFF
    shift, mask = page_bytes.bit_length() - 1, bucket_count - 1
    about = (0x061561, 2, 1234, page_bytes, shift, 256, 8, 9, bucket_count, 0, mask, mask, mask >> 1, 40, 0, 1, probe)
    header = struct.pack(">16iI32i32H", *about, *[0] * 32, *[0] * 32)
    return header.ljust(page_bytes * (bucket_count + 1), b"\0")


def _page_of_one(key: bytes, value: bytes, page_bytes: int) -> bytes:
    """A page with one pair, which lies at its end."""
    at_key = page_bytes - len(key)
    at_value = at_key - len(value)
    table = struct.pack("<5H", 2, at_key, at_value, at_value - 10, at_value)
    return table.ljust(at_value, b"\0") + value + key


# -- check ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READ)
def test_check_of_a_sound_file_reads_every_entry(name: str, tmp_path: Path) -> None:
    with open_foreign(unpacked(name, tmp_path)) as database:
        steps: list[tuple[int, int]] = []
        report = database.check(progress=lambda done, total: steps.append((done, total)))
        assert report.ok
        assert not report.problems
        assert report.entry_count == len(expected())
        assert steps == [(number, len(expected())) for number in range(1, len(expected()) + 1)]
        assert database.check(fix=True) == report


def test_check_names_what_is_damaged_and_goes_on(tmp_path: Path) -> None:
    path = unpacked("semidbm", tmp_path)
    with open_foreign(path) as database:
        offset, _ = database._places[b"key 7"]  # type: ignore[attr-defined]
    replace(path / "data", offset + 8 + len(b"key 7"), b"X")
    with open_foreign(path) as database:
        report = database.check(fix=True)
    assert [(problem.key, problem.fixed) for problem in report.problems] == [(b"key 7", False)]
    assert report.problems[0].offset is not None
    assert report.entry_count == len(expected())
    assert not report.ok


def test_check_of_a_walk_that_cannot_go_on(tmp_path: Path) -> None:
    path = unpacked("hash_checksums", tmp_path)
    with open_foreign(path) as database:
        page_bytes = database._page_bytes  # type: ignore[attr-defined]
        bucket = next(database._pages_of(3))  # type: ignore[attr-defined]
    replace(path, bucket.number * page_bytes + 100, bytes(page_bytes - 100))
    with open_foreign(path) as database:
        report = database.check()
        assert list(database._pages_of(0))  # type: ignore[attr-defined]
    assert not report.ok
    assert report.entry_count < len(expected())


def test_check_finds_what_a_search_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_foreign(unpacked("gnu", tmp_path)) as database:
        find = database._find
        monkeypatch.setattr(database, "_find", lambda key: None if key == b"key 7" else find(key))
        assert [problem.key for problem in database.check().problems] == [b"key 7"]


def test_check_of_a_closed_database(tmp_path: Path) -> None:
    database = open_foreign(unpacked("gnu", tmp_path))
    database.close()
    with pytest.raises(HutchError):
        database.check()


# -- documents -----------------------------------------------------------------------------------------


def test_a_property_list_that_claims_to_be_larger_than_it_is(tmp_path: Path) -> None:
    """Python's reader asks a file for as many bytes as the list says it has objects."""
    path = tmp_path / "big.plist"
    data = bytearray(plistlib.dumps({"a": b"1"}, fmt=plistlib.FMT_BINARY))
    data[-24:-16] = (1 << 60).to_bytes(8, "big")
    path.write_bytes(data)
    with pytest.raises(CorruptError, match="no property list"):
        convert(path, tmp_path / "copy")


def test_what_a_codec_cannot_store_is_named(tmp_path: Path) -> None:
    documents: dict[str, Callable[[Any], bytes]] = {"x.pickle": pickle.dumps, "x.plist": plistlib.dumps}
    for name, dump in documents.items():
        (tmp_path / name).write_bytes(dump({"fine": 1, "bytes": b"\xff"}))
        with pytest.raises(ValueError, match="the value of key b'bytes' cannot be stored under Json"):
            convert(tmp_path / name, tmp_path / "copy", codec=Json())
        assert not list(tmp_path.glob("copy*"))


def test_a_log_cut_off_between_two_entries_is_a_shorter_log(tmp_path: Path) -> None:
    """Nothing in the file could tell; docs/migrating.md says so."""
    path = unpacked("semidbm", tmp_path)
    with open_foreign(path) as database:
        everything = dict(database.iteritems())
        last, (offset, _) = max(database._places.items(), key=lambda place: place[1])  # type: ignore[attr-defined]
    (path / "data").write_bytes((path / "data").read_bytes()[:offset])
    with open_foreign(path) as database:
        assert database.check().ok
        assert database.get(last) != everything[last]
        assert everything.items() - dict(database.iteritems()).items() == {(last, everything[last])}
