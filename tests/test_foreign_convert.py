"""Conversions: whole and verified, or not at all."""

from __future__ import annotations

import dbm.dumb
import json
import os
import pickle
import plistlib
import shelve
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hutch
import hutch.dbm
from hutch.codecs import Json, Pickle
from hutch.errors import CorruptError, ForbiddenGlobalError, HutchError, LockTimeout, UnsupportedFileError
from hutch.foreign import SOURCES, TARGETS, convert, converting, open_foreign, source_kind
from test_foreign import (
    HASHES,
    SYSTEM,
    TREES,
    expected,
    import_folders,
    maker,
    system_can_import_hutch,
    system_has,
    unpacked,
)

# Those that need no library.
HERE = [kind for kind in TARGETS if kind not in ("dbm.gnu", "dbm.ndbm")]


def items_of(name: Path | str) -> dict[bytes, bytes]:
    with hutch.dbm.open(name, "r") as database:
        return dict(database.iteritems())


def made(name: Path, entries: dict[bytes, bytes]) -> Path:
    with hutch.dbm.open(name, "n") as database:
        database.update(entries)
    return name


@pytest.mark.parametrize("name", [*HASHES, *TREES])
def test_what_the_real_libraries_wrote_comes_over(name: str, tmp_path: Path) -> None:
    source = unpacked(name, tmp_path)
    before = sorted(map(str, tmp_path.rglob("*")))
    done = convert(source, tmp_path / "new")
    assert items_of(tmp_path / "new") == expected()
    kind = {**HASHES, **TREES}[name]
    size = sum(map(len, expected().values()))
    assert done == (kind, "hutch.dbm", len(expected()), size)
    with dbm.dumb.open(os.fspath(tmp_path / "new"), "r") as stdlib:
        assert {key: stdlib[key] for key in stdlib.keys()} == expected()  # noqa: SIM118
    with hutch.dbm.open(tmp_path / "new") as database:
        assert database.check().ok
    new = {str(tmp_path / "new") + suffix for suffix in (".dat", ".dir", ".idx", ".log")}
    # Whoever only reads a file of SQLite that has a log makes these beside it, and may not remove them.
    new |= {f"{source}-wal", f"{source}-shm"} if name == "sqlite3" else set()
    assert set(map(str, tmp_path.rglob("*"))) - set(before) <= new, "nothing is left over"


@pytest.mark.parametrize("kind", HERE)
def test_there_and_back(kind: str, tmp_path: Path) -> None:
    entries = dict(maker().entries())
    if kind == "sqlitedict":
        entries = {key: value for key, value in entries.items() if key.isascii()}
    source = made(tmp_path / "source", entries)
    target = tmp_path / "target"
    done = convert(source, target, to=kind)
    assert (done.target_kind, done.entry_count) == (kind, len(entries))
    assert source_kind(target) == kind
    assert convert(target, tmp_path / "back").source_kind == kind
    assert items_of(tmp_path / "back") == entries


def test_there_and_back_where_there_is_nothing(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {})
    for kind in HERE:
        assert convert(source, tmp_path / kind, to=kind).entry_count == 0
        assert convert(tmp_path / kind, tmp_path / f"back from {kind}").entry_count == 0
        assert items_of(tmp_path / f"back from {kind}") == {}


@given(st.dictionaries(st.binary(max_size=12), st.binary(max_size=40), max_size=6))
@settings(max_examples=6, deadline=None)
def test_any_bytes_survive_any_form(entries: dict[bytes, bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = made(folder / "source", entries)
        for kind in ("dbm.sqlite3", "jsonl", "plist", "pickle"):
            convert(source, folder / kind, to=kind)
            convert(folder / kind, folder / f"back {kind}")
            assert items_of(folder / f"back {kind}") == entries


def test_keys_that_xml_would_change(tmp_path: Path) -> None:
    entries = dict.fromkeys(
        (b"a\rb", b"a\r\nb", b"a\nb", b"\x00", b"\xff", b"", "\ufffe".encode(), b"<&>\"'"), b"value"
    )
    for name, some in enumerate([entries, {b"<&>\"'": b"\r\n", "käse".encode(): b""}]):
        source = made(tmp_path / f"source {name}", some)
        convert(source, tmp_path / f"{name}.plist", to="plist")
        convert(tmp_path / f"{name}.plist", tmp_path / f"back {name}")
        assert items_of(tmp_path / f"back {name}") == some
    assert plistlib.loads((tmp_path / "1.plist").read_bytes()) == {"<&>\"'": b"\r\n", "käse": b""}


def test_values_stay_the_pickles_they_were(tmp_path: Path) -> None:
    with shelve.open(os.fspath(tmp_path / "old"), protocol=2) as old:
        old["list"] = [1, {"two": 3.0}]
    done = convert(tmp_path / "old", tmp_path / "new")
    raw = items_of(tmp_path / "new")
    assert raw == {b"list": pickle.dumps([1, {"two": 3.0}], 2)}
    assert done.source_kind == hutch.dbm.whichdb(tmp_path / "old")
    with hutch.open(tmp_path / "new") as shelf:
        assert shelf["list"] == [1, {"two": 3.0}]


# -- objects -------------------------------------------------------------------------------------------


def test_objects_for_other_programs(tmp_path: Path) -> None:
    values: dict[str, Any] = {"käse": [1, 2.5, None, {"a": "b"}], "b": True}
    with hutch.open(tmp_path / "shelf") as shelf:
        shelf.update(values)
    with pytest.raises(ValueError, match="property list"):
        convert(tmp_path / "shelf", tmp_path / "out.plist", to="plist", codec=Pickle())
    with hutch.open(tmp_path / "shelf") as shelf:
        shelf["käse"] = values["käse"] = [1, 2.5, {"a": b"b"}]
    convert(tmp_path / "shelf", tmp_path / "out.plist", to="plist", codec=Pickle())
    assert plistlib.loads((tmp_path / "out.plist").read_bytes()) == values
    convert(tmp_path / "shelf", tmp_path / "out.pickle", to="pickle", codec=Pickle())
    assert pickle.loads((tmp_path / "out.pickle").read_bytes()) == values
    with pytest.raises(ValueError, match="of type bytes, which JSON has not"):
        convert(tmp_path / "shelf", tmp_path / "out.jsonl", to="jsonl", codec=Pickle())
    with hutch.open(tmp_path / "shelf") as shelf:
        shelf["käse"] = values["käse"] = [1, 2.5, None]
    convert(tmp_path / "shelf", tmp_path / "out.jsonl", to="jsonl", codec=Pickle())
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert {line["key"]: line["value"] for line in lines[1:-1]} == values
    for name in ("out.plist", "out.pickle", "out.jsonl"):
        convert(tmp_path / name, tmp_path / f"from {name}")
        convert(tmp_path / name, tmp_path / f"json from {name}", codec=Json()) if name == "out.jsonl" else None
        with hutch.open(tmp_path / f"from {name}", "r") as shelf:
            assert set(shelf) == set(values)
            assert shelf["b"] is True
    with hutch.open(tmp_path / "json from out.jsonl", "r", codec=Json()) as shelf:
        assert dict(shelf) == values
    assert items_of(tmp_path / "json from out.jsonl")[b"b"] == b"true"


def test_a_pickle_of_objects_becomes_a_shelf(tmp_path: Path) -> None:
    values = {"list": [1, 2], "tuple": (1, "a"), "set": {1}, "bytes": b"b"}
    (tmp_path / "old.pickle").write_bytes(pickle.dumps(values))
    assert convert(tmp_path / "old.pickle", tmp_path / "new").source_kind == "pickle"
    with hutch.open(tmp_path / "new", "r") as shelf:
        assert dict(shelf) == values


def test_a_pickle_runs_nothing_unless_it_may(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (os.fspath(tmp_path / "been here"),)

    (tmp_path / "evil").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(ForbiddenGlobalError):
        convert(tmp_path / "evil", tmp_path / "new")
    assert sorted(os.listdir(tmp_path)) == ["evil"]
    convert(tmp_path / "evil", tmp_path / "new", unpickle=True)
    assert (tmp_path / "been here").is_dir()


def test_documents_that_are_none(tmp_path: Path) -> None:
    cases: dict[str, tuple[str, bytes]] = {
        "no dict": ("pickle", pickle.dumps([1])),
        "number": ("pickle", pickle.dumps({1: 2})),
        "cut pickle": ("pickle", pickle.dumps({"a": "b" * 100})[:50]),
        "plist": ("plist", b"<?xml version='1.0'?><plist><dict><key>a</key>"),
        "plist array": ("plist", plistlib.dumps([1])),
        "lines": ("jsonl", b'{"key": "a", "data": "b"}\nno json\n'),
        "line": ("jsonl", b'{"key": "a"}\n'),
        "number line": ("jsonl", b'{"key": 1, "data": "b"}\n'),
        "base64": ("jsonl", b'{"key": "a", "data": {"$bytes": "?"}}\n'),
        "array": ("jsonl", b'{"key": "a", "data": "b"}\n[]\n'),
        "tagged": ("jsonl", b'{"key": "a", "value": {"$tuple": [1]}}\n'),
        "version": ("jsonl", b'{"hutch": "dump", "version": 99}\n'),
        "cut": ("jsonl", b'{"hutch": "dump", "version": 1}\n{"key": "a", "data": "b"}\n'),
        "too few": ("jsonl", b'{"hutch": "dump", "version": 1}\n{"hutch": "end", "entries": 1}\n'),
        "twice": ("jsonl", b'{"key": "a", "data": "b"}\n{"key": "a", "data": "c"}\n'),
    }
    for name, (kind, data) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises((HutchError, ValueError)) as problem:
            convert(tmp_path / name, tmp_path / "new")
        assert source_kind(tmp_path / name) == kind, name
        assert str(problem.value), name
        os.unlink(tmp_path / name)
    assert os.listdir(tmp_path) == [], "nothing is left over"


# -- what goes wrong leaves nothing --------------------------------------------------------------------------


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"a": b"1"})
    for kind in HERE:
        target = tmp_path / f"target {kind}"
        target.mkdir()
        name = target / "name"
        there = Path(f"{name}.dat" if kind == "hutch.dbm" else name)
        there.write_bytes(b"precious")
        with pytest.raises(FileExistsError):
            convert(source, name, to=kind)
        assert there.read_bytes() == b"precious"
        assert os.listdir(target) == [there.name]


def test_a_name_taken_in_the_meantime_is_not_overwritten(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"a": b"1"})
    for kind in HERE:
        folder = tmp_path / kind
        folder.mkdir()
        there = folder / ("name.dir" if kind == "hutch.dbm" else "name")

        def take(step: str, done: int, total: int | None, there: Path = there) -> None:
            there.write_bytes(b"precious")

        with pytest.raises(FileExistsError):
            convert(source, folder / "name", to=kind, progress=take)
        assert os.listdir(folder) == [there.name]
        assert there.read_bytes() == b"precious"


@pytest.mark.parametrize("kind", HERE)
def test_an_interrupt_leaves_nothing(kind: str, tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"%d" % number: b"v" for number in range(1000)})
    before = sorted(os.listdir(tmp_path))
    steps: list[str] = []

    for moment in (0, 3, 6, 7, 9):
        steps.clear()

        def stop(step: str, done: int, total: int | None, moment: int = moment) -> None:
            steps.append(step)
            if len(steps) > moment:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            convert(source, tmp_path / "target", to=kind, progress=stop)
        assert sorted(os.listdir(tmp_path)) == before
    assert steps[-1] == "verify"


def test_progress_is_told(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"%d" % number: b"v" for number in range(450)})
    told: list[tuple[str, int, int | None]] = []
    convert(source, tmp_path / "target", progress=lambda *step: told.append(step))
    assert told == [(step, done, 450) for step in ("copy", "verify") for done in (0, 200, 400, 450)]


def test_a_copy_that_differs_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made(tmp_path / "source", {b"a": b"1", b"b": b"2"})
    before = sorted(os.listdir(tmp_path))
    write = converting._write_hutch

    def careless(name: str, entries: Any) -> None:
        write(name, ((key, value if key == b"a" else b"3") for key, value in entries))

    monkeypatch.setattr(converting, "_write_hutch", careless)
    with pytest.raises(CorruptError, match="differs from its source"):
        convert(source, tmp_path / "target")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_damaged_source_is_not_half_converted(tmp_path: Path) -> None:
    source = unpacked("semidbm", tmp_path)
    data = bytearray((source / "data").read_bytes())
    at = data.rindex(b"value of 22201")
    data[at] ^= 1
    (source / "data").write_bytes(data)
    with pytest.raises(CorruptError):
        convert(source, tmp_path / "new")
    assert os.listdir(tmp_path) == ["semidbm"]


def test_the_copy_is_as_private_as_its_source(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"a": b"1"})
    for path in tmp_path.iterdir():
        path.chmod(0o640)
    convert(source, tmp_path / "out.jsonl", to="jsonl")
    convert(tmp_path / "out.jsonl", tmp_path / "back")
    for name in ("out.jsonl", "back.dat", "back.dir"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_what_is_asked_for_wrongly(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"\xff": b"1"})
    with pytest.raises(ValueError, match=r"'zip' is no form.*dbm\.sqlite3"):
        convert(source, tmp_path / "target", to="zip")
    with pytest.raises(FileNotFoundError):
        convert(tmp_path / "missing", tmp_path / "target")
    with pytest.raises(ValueError, match=r"is no text.*sqlitedict"):
        convert(source, tmp_path / "target", to="sqlitedict")
    (tmp_path / "text").write_text("nothing of the kind")
    with pytest.raises(UnsupportedFileError, match="no database that hutch knows"):
        convert(tmp_path / "text", tmp_path / "target")
    with pytest.raises(FileNotFoundError):
        convert(source, tmp_path / "no folder" / "target")
    for kind, module in (("gnu", "_gdbm"), ("ndbm", "_dbm")):
        try:
            __import__(module)
        except ImportError:
            with pytest.raises(UnsupportedFileError, match=f"no dbm.{kind}"):
                convert(source, tmp_path / "target", to=kind)
    assert not list(tmp_path.glob("target*"))
    assert {*TARGETS} <= {*SOURCES}


def test_a_source_that_is_held_is_waited_for_no_longer_than_asked(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"a": b"1"})
    with hutch.dbm.open(source, exclusive=True), pytest.raises(LockTimeout):
        convert(source, tmp_path / "target", timeout=0)
    with hutch.dbm.open(source) as database:
        database[b"b"] = b"2"
        convert(source, tmp_path / "target")
    assert items_of(tmp_path / "target") == {b"a": b"1", b"b": b"2"}


def test_tables_are_chosen(tmp_path: Path) -> None:
    source = made(tmp_path / "source", {b"a": b"1"})
    convert(source, tmp_path / "one", to="sqlitedict", table="mine")
    with sqlite3.connect(tmp_path / "one") as connection:
        assert connection.execute("SELECT * FROM mine").fetchall() == [("a", b"1")]
    connection.close()
    with open_foreign(tmp_path / "one", "c", kind="sqlitedict", table="other") as other:
        other["b"] = b"2"  # type: ignore[index]
    with pytest.raises(UnsupportedFileError, match="several tables"):
        convert(tmp_path / "one", tmp_path / "back")
    convert(tmp_path / "one", tmp_path / "back", table="other")
    assert items_of(tmp_path / "back") == {b"b": b"2"}


CONVERT = """
import sys; sys.path[:0] = sys.argv[2:]
import hutch.dbm
from hutch.foreign import convert, source_kind
from hutch.errors import HutchError
source = sys.argv[1]
entries = dict(hutch.dbm.open(source, "r").items())
for kind in ("gnu", "ndbm"):
    done = convert(source, f"{source} {kind}", to=kind)
    assert done.target_kind == source_kind(f"{source} {kind}") == f"dbm.{kind}", done
    module = __import__(f"dbm.{kind}", fromlist=["open"])
    with module.open(f"{source} {kind}", "r") as library:
        assert {key: library[key] for key in library.keys()} == entries
    convert(f"{source} {kind}", f"{source} back {kind}")
    assert dict(hutch.dbm.open(f"{source} back {kind}", "r").items()) == entries
    try: convert(source, f"{source} {kind}", to=kind)
    except FileExistsError: pass
    else: raise AssertionError
"""


def test_to_gnu_dbm_and_ndbm_where_they_are(tmp_path: Path) -> None:
    if not (system_has("dbm.gnu") and system_has("dbm.ndbm") and system_can_import_hutch()):
        pytest.skip("the system's Python lacks dbm.gnu or dbm.ndbm, or is not the one that hutch is installed for")
    source = made(tmp_path / "source", expected())
    command = [SYSTEM, "-W", "error", "-c", CONVERT, os.fspath(source), *import_folders()]
    subprocess.run(command, check=True, timeout=100)
    assert not list(tmp_path.glob("*.tmp*"))
