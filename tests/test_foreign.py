"""Databases of other libraries: what the real ones wrote is read as it is, and what is damaged is an error."""

from __future__ import annotations

import errno
import gzip
import importlib.util
import io
import os
import pickle
import random
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hutch
import hutch.dbm
from hutch.errors import (
    ClosedError,
    CorruptError,
    HutchError,
    LockTimeout,
    ReadOnlyError,
    UnsupportedFileError,
)
from hutch.foreign import ForeignDatabase, open_foreign
from hutch.foreign.berkeley_hash import fowler_noll_vo
from hutch.foreign.gnu import hashes_of

FIXTURES = Path(__file__).parent / "fixtures" / "foreign"

# Fixture and what whichdb calls it.
HASHES = {
    "gnu": "dbm.gnu",
    "gnu_32": "dbm.gnu",
    "gnu_armel": "dbm.gnu",
    "gnu_i386": "dbm.gnu",
    "gnu_numsync": "dbm.gnu",
    "gnu_s390x": "dbm.gnu",
    "hash_big_endian": "berkeleydb.hash",
    "hash_checksums": "berkeleydb.hash",
    "ndbm": "berkeleydb.hash",
    "old_hash": "bsddb185.hash",
    "old_hash_big_endian": "bsddb185.hash",
    "semidbm": "semidbm",
    "sqlite3": "dbm.sqlite3",
}
TREES = {"btree": "berkeleydb.btree", "btree_big_endian": "berkeleydb.btree"}
OTHERS = {
    "btree_duplicates": "berkeleydb.btree",
    "diskcache": "diskcache",
    "hash_duplicates": "berkeleydb.hash",
    "lmdb": "lmdb",
    "sqlitedict": "sqlitedict",
}
READ = {**HASHES, **TREES}


@cache
def maker() -> ModuleType:
    """The script that made the fixtures: it says what is in them."""
    spec = importlib.util.spec_from_file_location("make_foreign_fixtures", FIXTURES / "make_foreign_fixtures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def expected() -> dict[bytes, bytes]:
    return dict(maker().entries())


def unpacked(name: str, folder: Path) -> Path:
    """A fixture as its library left it."""
    path = folder / name
    if (FIXTURES / f"{name}.gz").exists():
        path.write_bytes(gzip.decompress((FIXTURES / f"{name}.gz").read_bytes()))
    else:
        data = gzip.decompress((FIXTURES / f"{name}.tar.gz").read_bytes())
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(path, filter="data")
    return path


# -- what the real libraries wrote -------------------------------------------------------------------------


@pytest.mark.parametrize("name", READ)
def test_what_the_real_library_wrote_is_read(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    with hutch.dbm.open(path, "r") as database:
        assert isinstance(database, ForeignDatabase)
        assert database.kind == READ[name]
        assert dict(database.iteritems()) == expected()
        assert len(database) == len(expected()) == len(database.keys())
        for key, value in expected().items():
            assert database[key] == value
            assert key in database
        assert sorted(database.itervalues()) == sorted(database.values()) == sorted(expected().values())
        for key in (b"", b"nothing", b"key 150", b"key", b"long key " + b"k" * 2999, bytes(range(128, 256))):
            assert database.get(key) is None
            assert key not in database
            with pytest.raises(KeyError):
                database[key]


@pytest.mark.parametrize("name", [*READ, *OTHERS])
def test_whichdb_names_what_the_real_library_wrote(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    before = sorted(map(str, tmp_path.rglob("*")))
    for filename in (path, os.fspath(path), os.fsencode(path)):
        assert hutch.dbm.whichdb(filename) == {**READ, **OTHERS}[name]
    assert sorted(map(str, tmp_path.rglob("*"))) == before, "whichdb makes no files"


@pytest.mark.parametrize("name", ["gnu", "hash_checksums", "old_hash", "sqlite3", "semidbm", "diskcache", "btree"])
def test_a_foreign_database_behaves_like_one_of_hutch(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    database = open_foreign(path)
    assert database.readonly
    assert not database.closed
    assert database.get("key 1") == database[b"key 1"] == database[bytearray(b"key 1")]
    assert database.get("none", 5) == 5
    assert list(database) == database.keys()
    assert database.get_many(["key 1", "none"]) == {"key 1": database["key 1"]}
    assert database["key 1"] in database.values()
    for wrong in (1, None, ["key"]):
        with pytest.raises(TypeError, match="keys must be bytes or strings"):
            database[wrong]  # type: ignore[index]
        with pytest.raises(TypeError):
            wrong in database  # noqa: B015
    for change in (
        lambda: database.__setitem__(b"key", b"value"),  # type: ignore[attr-defined]
        lambda: database.__delitem__(b"key 1"),  # type: ignore[attr-defined]
        lambda: database.update({}),  # type: ignore[attr-defined]
        lambda: database.pop(b"key 1"),  # type: ignore[attr-defined]
        lambda: database.clear() or None,  # type: ignore[attr-defined]
        lambda: database.transaction() or None,  # type: ignore[attr-defined]
    ):
        with pytest.raises(ReadOnlyError):
            change()
    assert "read-only" in repr(database)
    again = pickle.loads(pickle.dumps(database))
    assert again[b"key 1"] == database[b"key 1"]
    again.close()
    database.sync()
    with database:
        pass
    database.close()
    assert "closed" in repr(database)
    for use in (
        lambda: database["key 1"],
        lambda: list(database),
        lambda: len(database),
        lambda: database.get("key 1"),
        database.values,
        database.sync,
        lambda: pickle.dumps(database),
        lambda: "key 1" in database,
    ):
        with pytest.raises(ClosedError):
            use()


def test_several_values_of_a_key_give_the_first(tmp_path: Path) -> None:
    with open_foreign(unpacked("hash_duplicates", tmp_path)) as database:
        assert database[b"key 1"] == expected()[b"key 1"]
        assert database[b"key 3"] == expected()[b"key 3"]
        with pytest.raises(UnsupportedFileError, match="very many values"):
            database[b"key 2"]
        assert len(database) == len(expected())


def test_ndbm_is_found_by_its_name_without_suffix(tmp_path: Path) -> None:
    for fixture, suffix in (("ndbm", ".db"), ("old_hash", ".db"), ("gnu", ".pag")):
        name = tmp_path / fixture / "name"
        name.parent.mkdir()
        os.rename(unpacked(fixture, tmp_path / fixture), f"{name}{suffix}")
        if suffix == ".pag":
            assert hutch.dbm.whichdb(name) is None
            Path(f"{name}.dir").touch()
        assert hutch.dbm.whichdb(name) == "dbm.ndbm"
        with hutch.dbm.open(name, "r") as database:
            assert dict(database.iteritems()) == expected()


def test_a_shelf_made_elsewhere_opens(tmp_path: Path) -> None:
    """As dbm.ndbm on a machine that has it would have stored it."""
    db = pytest.importorskip("berkeleydb.db", reason="berkeleydb is not installed here")
    path = tmp_path / "shelf"
    maker_database = db.DB()
    maker_database.open(f"{path}.db", dbtype=db.DB_HASH, flags=db.DB_CREATE)
    maker_database[b"list"] = pickle.dumps([1, 2])
    maker_database.close()
    with hutch.open(path, "r") as shelf:
        assert shelf["list"] == [1, 2]
        assert dict(shelf) == {"list": [1, 2]}
        assert list(shelf.items()) == [("list", [1, 2])]
        with pytest.raises(ReadOnlyError, match="hutch convert"):
            shelf["list"] = 3


def test_a_shelf_over_each_kind(tmp_path: Path) -> None:
    for name in ("sqlitedict", "diskcache"):
        with hutch.open(unpacked(name, tmp_path), "r") as shelf:
            assert shelf["key 7"] == b"value of 49"
            for key, value in maker().text_entries():
                assert shelf[key] == value
    with hutch.open(tmp_path / "diskcache", "r") as shelf:
        assert shelf["text"] == "t" * 50_000
        assert shelf["list"] == [1, "two", 3.0]
        assert shelf["long list"] == list(range(2000))
        assert shelf["5"] == 2.5
        assert shelf["('a', 1)"] == "a tuple"
        assert "expired" not in shelf
        assert set(shelf) == {key for key, _ in maker().text_entries()} | {
            "text",
            "list",
            "long list",
            "5",
            "('a', 1)",
        }
        assert len(shelf) == len(list(shelf))
        assert dict(shelf.items())["long list"] == list(range(2000))


def test_a_cache_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    import sqlite3

    path = unpacked("diskcache", tmp_path)
    (tmp_path / "secret").write_bytes(b"secret")
    with sqlite3.connect(path / "cache.db") as connection:
        connection.execute("UPDATE Cache SET filename = '../secret' WHERE key = 'text'")
    connection.close()
    with open_foreign(path) as database:
        with pytest.raises(CorruptError, match="outside the cache"):
            database["text"]
        assert database["list"]


# -- flags and names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("flag", ["w", "c"])
def test_what_can_only_be_read_says_what_to_do(flag: Any, tmp_path: Path) -> None:
    for name in ("gnu", "hash_checksums", "old_hash", "semidbm", "diskcache"):
        path = unpacked(name, tmp_path)
        kind = READ.get(name, OTHERS.get(name, ""))
        if kind == "dbm.gnu" and importlib.util.find_spec("_gdbm"):
            continue
        with pytest.raises(UnsupportedFileError, match=f"form of {kind}.*hutch convert"):
            hutch.dbm.open(path, flag)
        with pytest.raises(UnsupportedFileError, match="hutch convert"):
            hutch.open(path, flag)
    with pytest.raises(UnsupportedFileError, match="lmdb, which hutch does not read"):
        hutch.open(unpacked("lmdb", tmp_path), "r")


def test_a_new_database_does_not_mind_what_is_there(tmp_path: Path) -> None:
    path = unpacked("gnu", tmp_path)
    with hutch.dbm.open(path, "n") as database:
        database["key"] = "value"
    with hutch.dbm.open(path) as database:
        assert database.items() == [(b"key", b"value")]
    assert hutch.dbm.whichdb(path) == "hutch.dbm"


def test_open_foreign_of_what_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_foreign(tmp_path / "missing")
    with pytest.raises(UnsupportedFileError, match="is a folder"):
        open_foreign(tmp_path)
    (tmp_path / "text").write_text("nothing of the kind")
    with pytest.raises(UnsupportedFileError, match="no database that hutch knows"):
        open_foreign(tmp_path / "text")


def test_whichdb_never_waits_and_never_raises(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "other.db")
    os.mkfifo(tmp_path / "third.dat")
    os.mkfifo(tmp_path / "third.dir")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    (tmp_path / "short").write_bytes(b"\xce")
    (tmp_path / "empty").touch()
    (tmp_path / "folder" / "data").mkdir(parents=True)
    assert hutch.dbm.whichdb(tmp_path / "pipe") == ""
    assert hutch.dbm.whichdb(tmp_path / "other") is None
    assert hutch.dbm.whichdb(tmp_path / "third") is None
    assert hutch.dbm.whichdb(tmp_path / "link") is None
    assert hutch.dbm.whichdb(tmp_path / "short") == hutch.dbm.whichdb(tmp_path / "empty") == ""
    assert hutch.dbm.whichdb(tmp_path / "folder") is None
    assert hutch.dbm.whichdb("nul\0") is None
    assert hutch.dbm.whichdb(os.fsdecode(b"\xff\xfe")) is None
    surrogate = os.fsencode(tmp_path) + b"/\xff\xfe"
    Path(os.fsdecode(surrogate)).write_bytes(gzip.decompress((FIXTURES / "sqlitedict.gz").read_bytes()))
    assert hutch.dbm.whichdb(surrogate) == "sqlitedict"


@given(data=st.binary(max_size=80))
@settings(max_examples=200, deadline=None)
def test_whichdb_of_any_bytes_is_a_name(data: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(data)
    assert isinstance(hutch.dbm.whichdb(path), str)


@pytest.mark.parametrize("order", ["little", "big"])
def test_whichdb_knows_every_magic_number(order: Any, tmp_path: Path) -> None:
    def kind(*numbers: int) -> str | None:
        (tmp_path / "file").write_bytes(b"".join(number.to_bytes(4, order) for number in numbers).ljust(512, b"\0"))
        return hutch.dbm.whichdb(tmp_path / "file")

    for magic in (0x13579ACD, 0x13579ACE, 0x13579ACF, 0x13579AD0, 0x13579AD1):
        assert kind(magic) == "dbm.gnu"
    for magic, name in ((0x061561, "hash"), (0x053162, "btree"), (0x042253, "queue"), (0x074582, "heap")):
        assert kind(0, 0, 0, magic) == f"berkeleydb.{name}"
    assert kind(0x061561, 2) == "bsddb185.hash"
    assert kind(0x053162, 3) == "bsddb185.btree"
    assert kind(0x061561, 77) == ""
    assert kind(0, 0, 0, 0, 0xBEEFC0DE) == kind(0, 0, 0, 0xBEEFC0DE) == "lmdb"
    assert kind(0x13579ACC) == kind(0) == ""


def test_whichdb_tells_files_of_sqlite_apart(tmp_path: Path) -> None:
    import sqlite3

    def kind(*statements: str) -> str | None:
        path = tmp_path / "file"
        path.unlink(missing_ok=True)
        connection = sqlite3.connect(path, isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        found = hutch.dbm.whichdb(path)  # while it is open: a log beside it may have it all
        connection.close()
        assert hutch.dbm.whichdb(path) == found
        return found

    table = "CREATE TABLE {} (key BLOB UNIQUE NOT NULL, value BLOB NOT NULL)"
    for log in ((), ("PRAGMA journal_mode = wal",)):
        assert kind(*log, table.format("Dict")) == "dbm.sqlite3"
        assert kind(*log, table.format('"my ""things"')) == "sqlitedict"
        assert kind(*log, table.format("Dict"), "CREATE TABLE more (a, b)") == "dbm.sqlite3"
        assert kind(*log, "CREATE TABLE something (a, b)") == "dbm.sqlite3", "as the stdlib says of any"
    (tmp_path / "damaged").write_bytes(b"SQLite format 3\0" + random.Random(1).randbytes(5000))
    assert hutch.dbm.whichdb(tmp_path / "damaged") == "dbm.sqlite3"


# -- what cannot be ------------------------------------------------------------------------------------


def outcome(path: Path, keys: list[bytes]) -> tuple[dict[bytes, bytes], dict[bytes, bytes | None], list[HutchError]]:
    """Read a database in both ways; nothing may be raised but hutch's errors."""
    walked: dict[bytes, bytes] = {}
    looked_up: dict[bytes, bytes | None] = {}
    errors = []
    try:
        with open_foreign(path) as database:
            try:
                for key, value in database.iteritems():
                    assert key not in walked, "a key comes once"
                    walked[key] = value
                assert len(database) == len(walked)
            except HutchError as problem:
                errors.append(problem)
            for key in keys:
                try:
                    looked_up[key] = database.get(key)
                except HutchError as problem:
                    errors.append(problem)
    except HutchError as problem:
        errors.append(problem)
    return walked, looked_up, errors


def replace(file: Path, at: int, data: bytes) -> None:
    with file.open("rb+") as stream:
        stream.seek(at)
        stream.write(data)


STRUCTURED = ["gnu", "gnu_s390x", "gnu_32", "ndbm", "hash_big_endian", "old_hash", "old_hash_big_endian", "semidbm"]


@pytest.mark.parametrize("name", [*STRUCTURED, "hash_checksums", *TREES])
def test_a_changed_byte_is_an_error_or_harmless(name: str, tmp_path: Path) -> None:
    """Most of these formats have no checksums, so inside a value, or where one ends, a change may go unseen.

    GNU dbm has the hash of each key, so that a changed key does not; in Berkeley DB's it does if it still belongs to
    its bucket.
    """
    path = unpacked(name, tmp_path)
    file = path / "data" if path.is_dir() else path
    pristine = file.read_bytes()
    chance = random.Random(name)
    used = [at for at in range(len(pristine)) if pristine[at]]
    places = [*chance.sample(range(160), 40), *chance.sample(used, 60), *chance.sample(range(len(pristine)), 20)]
    keys = chance.sample(sorted(expected()), 5)
    has_checksums = name in ("hash_checksums", "semidbm", "btree_big_endian")
    for at in places:
        replace(file, at, bytes((pristine[at] ^ chance.choice((1, 0x80, 0xFF)),)))
        walked, looked_up, _ = outcome(path, keys)
        strange = walked.keys() - expected().keys()
        assert len(strange) <= (0 if has_checksums or name.startswith("gnu") else 1), (at, strange)
        if has_checksums:
            assert all(expected()[key] == value for key, value in walked.items()), at
            assert all(value in (None, expected()[key]) for key, value in looked_up.items()), at
        replace(file, at, pristine[at : at + 1])


@pytest.mark.parametrize("name", STRUCTURED)
def test_a_file_cut_off_is_an_error_or_has_its_first_entries(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    file = path / "data" if path.is_dir() else path
    pristine = file.read_bytes()
    chance = random.Random(name)
    for size in (0, 1, 3, 4, 11, 40, 100, 511, 512, *chance.sample(range(len(pristine)), 6)):
        file.write_bytes(pristine[:size])
        walked, _, errors = outcome(path, sorted(expected())[:3])
        assert all(expected().get(key) == value for key, value in walked.items())
        assert errors or name.startswith("old") or walked.keys() <= expected().keys()


@pytest.mark.parametrize("name", STRUCTURED)
@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x01"])
def test_a_block_overwritten_ends_in_time(name: str, filler: bytes, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    file = path / "data" if path.is_dir() else path
    pristine = file.read_bytes()
    chance = random.Random(name)
    for _ in range(5):
        at = chance.randrange(len(pristine))
        size = chance.choice((2, 4, 8, 64, 512, 4096))
        file.write_bytes(pristine[:at] + filler * size + pristine[at + size :])
        outcome(path, sorted(expected())[:3])


@pytest.mark.parametrize("name", ["gnu", "ndbm", "old_hash", "semidbm", "sqlite3", "diskcache"])
def test_what_is_found_is_closed_when_opening_fails(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    file = {"semidbm": path / "data", "diskcache": path / "cache.db"}.get(name, path)
    file.write_bytes(file.read_bytes()[:30])
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for _ in range(5):
        with pytest.raises(HutchError):
            open_foreign(path, kind=READ.get(name) or OTHERS[name])
    if before:
        assert len(os.listdir("/proc/self/fd")) <= before


# -- the hashes ----------------------------------------------------------------------------------------


def test_hashes_are_the_published_ones() -> None:
    assert fowler_noll_vo(b"%$sniglet^&\0") == 0x5E688DD1  # stands in every file of Berkeley DB
    assert len(hashes_of(b"plain")) == 1
    assert len(hashes_of(b"\x80")) == 2


@given(st.binary(max_size=60))
def test_the_hash_of_gnu_dbm_by_the_book(key: bytes) -> None:
    for signed, value in zip((True, False), hashes_of(key), strict=False):
        total = 0x238F13AF * len(key)
        for index, byte in enumerate(key):
            character = byte - 256 if signed and byte > 127 else byte
            total = (total + (character << (index * 5 % 24))) & 0x7FFFFFFF
        assert (1103515243 * total + 12345) & 0x7FFFFFFF == value


# -- locks ---------------------------------------------------------------------------------------------


def test_gnu_dbm_is_not_read_while_it_is_written(tmp_path: Path) -> None:
    import fcntl

    path = unpacked("gnu", tmp_path)
    with path.open("rb+") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        with pytest.raises(LockTimeout, match="open in a program"):
            open_foreign(path)
    busy = pytest.raises(OSError, match=os.strerror(errno.EAGAIN))
    with open_foreign(path), open_foreign(path), path.open("rb+") as writer, busy:
        fcntl.flock(writer, fcntl.LOCK_EX | fcntl.LOCK_NB)


# -- the libraries themselves, where they are here -----------------------------------------------------------

SYSTEM = "/usr/bin/python3"
FILL = """
import dbm.{module} as module, pickle, random, sys
path, count, big = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(count)
database = module.open(path, "n")
model = {{}}
for number in range(count):
    key = b"%d" % number if number % 3 else chance.randbytes(chance.randrange(1, 40))
    value = chance.randbytes(chance.randrange(60))
    if big and number % 50 == 7:
        value = chance.randbytes(chance.choice([5000, 100_000, 3_000_000 if number < 100 else 9000]))
    if big and number % 70 == 3:
        key = chance.randbytes(6000)
    database[key] = model[key] = value
for key in chance.sample(sorted(model), count // 3):
    del database[key], model[key]
for key in chance.sample(sorted(model), len(model) // 3):
    database[key] = model[key] = chance.randbytes(chance.randrange(300))
database.close()
pickle.dump(model, open(path + ".model", "wb"))
"""


@cache
def system_has(module: str) -> bool:
    try:
        done = subprocess.run([SYSTEM, "-c", f"import {module}"], capture_output=True, timeout=60, check=False)
    except OSError:
        return False
    return done.returncode == 0


def import_folders() -> list[str]:
    """Where hutch and what it needs lie."""
    return [str(Path(hutch.__file__).parent.parent), *(name for name in sys.path if name.endswith("site-packages"))]


@cache
def system_can_import_hutch() -> bool:
    program = "import sys; sys.path[:0] = sys.argv[1:]; import hutch.dbm, hutch.store, xxhash, sortedcontainers"
    command = [SYSTEM, "-c", program, *import_folders()]
    return system_has("sys") and not subprocess.run(command, capture_output=True, timeout=60, check=False).returncode


@pytest.mark.parametrize("module", ["gnu", "ndbm"])
@pytest.mark.parametrize(("count", "big"), [(0, 0), (1, 0), (100, 1), (1000, 1), (10_000, 0)])
def test_what_the_library_of_this_system_writes_is_read(module: str, count: int, big: int, tmp_path: Path) -> None:
    if not system_has(f"dbm.{module}"):
        pytest.skip(f"the system's Python has no dbm.{module} (on Debian: python3-gdbm)")
    path = tmp_path / "made"
    subprocess.run(
        [SYSTEM, "-c", FILL.format(module=module), os.fspath(path), str(count), str(big)], check=True, timeout=100
    )
    model = pickle.loads(Path(f"{path}.model").read_bytes())
    assert hutch.dbm.whichdb(path) == f"dbm.{module}"
    with hutch.dbm.open(path, "r") as database:
        assert dict(database.iteritems()) == model
        assert len(database) == len(model)
        for key in random.Random(1).sample(sorted(model), min(len(model), 500)):
            assert database[key] == model[key]
        for number in range(100):
            assert database.get(b"not %d" % number) is None


WRITE = """
import sys; sys.path[:0] = sys.argv[2:]
import hutch, hutch.dbm
with hutch.dbm.open(sys.argv[1], "w") as database:
    database["new"] = "value"
    database[b"list"] = b"1"
    del database["list"]
    assert database["new"] == b"value" and "new" in database and database.get("none") is None
    assert (b"new", b"value") in database.items() and len(database) == len(database.keys()) == len(list(database))
    assert database.setdefault("other", "1") == b"1" and database.pop("other") == b"1"
    database.sync(); database.reorganize()
    try: database["none"]
    except KeyError as problem: assert problem.args == (b"none",)
    else: raise AssertionError
    try: del database["none"]
    except KeyError: pass
    else: raise AssertionError
with hutch.open(sys.argv[1]) as shelf:
    shelf["shelved"] = [1]
    shelf["shelved"] += [2]
    with shelf.edit("shelved") as value: value.append(3)
    assert shelf["shelved"] == [1, 2, 3] and "shelved" in shelf
with hutch.open(sys.argv[1], "r") as shelf:
    assert shelf["shelved"] == [1, 2, 3]
"""


@pytest.mark.parametrize("module", ["gnu", "ndbm"])
def test_where_the_library_is_there_it_writes(module: str, tmp_path: Path) -> None:
    if not system_has(f"dbm.{module}"):
        pytest.skip(f"the system's Python has no dbm.{module} (on Debian: python3-gdbm)")
    if not system_can_import_hutch():
        pytest.skip("the system's Python is of another version than the one that hutch is installed for")
    path = tmp_path / "made"
    subprocess.run([SYSTEM, "-c", FILL.format(module=module), os.fspath(path), "10", "0"], check=True, timeout=100)
    subprocess.run([SYSTEM, "-W", "error", "-c", WRITE, os.fspath(path), *import_folders()], check=True, timeout=100)
    with hutch.dbm.open(path, "r") as database:
        assert database["new"] == b"value"


BERKELEY_OPTIONS: list[Callable[[Any, Any], None]] = [
    lambda database, db: database.set_pagesize(512),
    lambda database, db: database.set_pagesize(65536),
    lambda database, db: database.set_h_ffactor(1),
    lambda database, db: database.set_h_nelem(5000),
    lambda database, db: database.set_lorder(4321),
    lambda database, db: database.set_flags(db.DB_CHKSUM),
]


@pytest.mark.parametrize("kind", ["hash", "btree"])
@pytest.mark.parametrize("option", range(len(BERKELEY_OPTIONS)))
def test_what_berkeley_db_writes_with_each_option_is_read(kind: str, option: int, tmp_path: Path) -> None:
    db = pytest.importorskip("berkeleydb.db", reason="berkeleydb is not installed here (it is built with libdb-dev)")
    if kind == "btree" and option in (2, 3):
        return
    path = os.fspath(tmp_path / "made")
    chance = random.Random(option)
    for count in (0, 1, 30, 700):
        if os.path.exists(path):
            os.unlink(path)
        database = db.DB()
        BERKELEY_OPTIONS[option](database, db)
        database.open(path, dbtype=db.DB_HASH if kind == "hash" else db.DB_BTREE, flags=db.DB_CREATE)
        model: dict[bytes, bytes] = {}
        for _ in range(count):
            key = chance.randbytes(chance.choice((1, 2, 3, 30, 30, 30, 700)))
            database[key] = model[key] = chance.randbytes(chance.choice((0, 5, 50, 300, 900, 20_000)))
        for key in chance.sample(sorted(model), len(model) // 2):
            del database[key], model[key]
        database.close()
        with open_foreign(path) as found:
            assert found.kind == f"berkeleydb.{kind}"
            assert dict(found.iteritems()) == model
            assert all(found[key] == value for key, value in model.items())
            assert all(found.get(b"absent %d" % number) is None for number in range(50))


# -- tables of SQLite ----------------------------------------------------------------------------------


@pytest.fixture(params=["dbm.sqlite3", "sqlitedict"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with open_foreign(tmp_path / "table", "c", kind=request.param) as database:
        yield database


def test_a_table_is_a_mapping(table: Any) -> None:
    assert len(table) == 0
    assert table.keys() == []
    table["b"] = "2"
    table[b"a"] = bytearray(b"1")
    table.update({"c": b"3"}, d="4")
    assert table.items() == [(b"b", b"2"), (b"a", b"1"), (b"c", b"3"), (b"d", b"4")]
    assert table.pop("d") == b"4"
    assert table.pop("d", None) is None
    assert table.setdefault("a", "9") == b"1"
    assert table.setdefault("e", "5") == b"5"
    assert table == {b"b": b"2", b"a": b"1", b"c": b"3", b"e": b"5"}
    for key in list(table):
        del table[key]
    assert not table
    for missing in (lambda: table["a"], lambda: table.pop("a"), lambda: table.__delitem__("a")):
        with pytest.raises(KeyError) as problem:
            missing()
        assert problem.value.args == (b"a",)
    for wrong in (1, None):
        with pytest.raises(TypeError):
            table[wrong] = b""
        with pytest.raises(TypeError):
            table["a"] = wrong
    table["x"] = ""
    assert table["x"] == b""
    table.clear()
    table.sync()
    table.reorganize()
    assert len(table) == 0


def test_a_walk_through_a_table_survives_changes(table: Any) -> None:
    table.update({f"{number}": "1" for number in range(1000)})
    seen = []
    with table.transaction():  # quicker
        for number, (key, _) in enumerate(table.iteritems()):
            seen.append(key)
            table[key] = "changed"
            table[f"new {number}"] = "1"
            table.pop(f"{number - 300}", None)
    assert seen == [b"%d" % number for number in range(1000)]


def test_a_transaction_of_a_table_is_all_or_nothing(table: Any) -> None:
    table["a"] = "1"
    with pytest.raises(ZeroDivisionError), table.transaction():
        table["a"] = "2"
        with table.transaction():
            table["b"] = "2"
        raise ZeroDivisionError
    assert table.items() == [(b"a", b"1")]
    with table.transaction():
        table["a"] = "2"
    assert table["a"] == b"2"


def test_a_table_is_shared_by_handles_and_pickles(table: Any) -> None:
    again = pickle.loads(pickle.dumps(table))
    with again:
        again["a"] = "1"
        assert table["a"] == b"1"
    with hutch.dbm.open(table.path, "r") as reader:
        assert reader["a"] == b"1"
        for change in (lambda: reader.__setitem__("a", b"2"), lambda: reader.__delitem__("a"), reader.clear):
            with pytest.raises(ReadOnlyError):
                change()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_table_survives_a_fork(table: Any) -> None:
    table["a"] = "1"
    child = os.fork()
    if not child:
        status = 1
        try:
            assert table["a"] == b"1"
            table["b"] = "2"
            table.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    table["c"] = "3"
    assert table.items() == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]


def test_a_table_that_somebody_holds_is_waited_for(table: Any) -> None:
    with open_foreign(table.path, "w", kind=table.kind, timeout=0) as other:
        with table.transaction(), pytest.raises(LockTimeout):
            other["a"] = "1"
        other["a"] = "1"
    assert table["a"] == b"1"
    table.close()
    with open_foreign(table.path, "w", kind=table.kind, exclusive=True), pytest.raises(LockTimeout):
        open_foreign(table.path, "w", kind=table.kind, timeout=0)["b"] = "2"  # type: ignore[index]


def test_a_table_keeps_its_rows_as_its_library_has_them(tmp_path: Path) -> None:
    import sqlite3

    for kind, types in (("dbm.sqlite3", ("blob", "blob")), ("sqlitedict", ("text", "blob"))):
        path = tmp_path / kind
        with hutch.Shelf(open_foreign(path, "c", kind=kind)) as shelf:
            shelf["käse"] = [1]
        assert hutch.dbm.whichdb(path) == kind
        connection = sqlite3.connect(path)
        table = "Dict" if kind == "dbm.sqlite3" else "unnamed"
        rows = connection.execute(
            f"SELECT typeof(key), typeof(value), CAST(key AS TEXT), value FROM {table}"
        ).fetchall()
        connection.close()
        assert [row[:3] for row in rows] == [(*types, "käse")]
        assert pickle.loads(rows[0][3]) == [1]


def test_sqlitedict_has_only_text_as_keys(tmp_path: Path) -> None:
    with open_foreign(tmp_path / "text", "c", kind="sqlitedict") as database:
        with pytest.raises(ValueError, match="utf-8"):
            database[b"\xff"] = b"1"  # type: ignore[index]
        assert database.get(b"\xff") is None


def test_tables_by_name(tmp_path: Path) -> None:
    path = tmp_path / "several"
    with open_foreign(path, "c", kind="sqlitedict", table="one") as one:
        one["a"] = b"1"  # type: ignore[index]
    with open_foreign(path, "c", kind="sqlitedict", table='t"wo') as two:
        two["a"] = b"2"  # type: ignore[index]
    with pytest.raises(UnsupportedFileError, match="several tables"):
        open_foreign(path)
    with open_foreign(path, table='t"wo') as two:
        assert two.items() == [(b"a", b"2")]
    with pytest.raises(UnsupportedFileError, match="no table 'three'"):
        open_foreign(path, table="three")


def test_a_file_of_sqlite_without_such_a_table(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "other"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE things (name, price)")
    connection.close()
    for flag in ("r", "w"):
        with pytest.raises(UnsupportedFileError, match=r"'things'.*no table 'Dict'"):
            hutch.dbm.open(path, flag)  # type: ignore[arg-type]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="dbm.sqlite3 came with Python 3.13")
def test_the_stdlib_and_hutch_share_a_file(tmp_path: Path) -> None:
    import dbm.sqlite3

    path = tmp_path / "both"
    with dbm.sqlite3.open(path, "c") as stdlib:
        stdlib["a"] = "1"
    with hutch.dbm.open(path) as database:
        assert database["a"] == b"1"
        database["a"] = "2"
        database[b"\xff"] = b"\0"
    with dbm.sqlite3.open(path, "w") as stdlib:
        assert sorted(stdlib.items()) == [(b"a", b"2"), (b"\xff", b"\0")]
        stdlib["a"] = "3"
    with hutch.dbm.open(path, "r") as database:
        assert database["a"] == b"3"


def test_importing_hutch_does_not_import_foreign_formats() -> None:
    program = (
        "import sys, hutch.dbm, hutch, tempfile, os\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    with hutch.open(os.path.join(folder, 'new')) as shelf: shelf['a'] = 1\n"
        "    with hutch.open(os.path.join(folder, 'new')) as shelf: shelf['a']\n"
        "print(*[name for name in sys.modules if name.startswith('hutch.foreign') or name == 'sqlite3'])\n"
    )
    folders = os.pathsep.join([str(Path(hutch.__file__).parent.parent), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": folders},
    )
    assert done.stdout.strip() == ""
