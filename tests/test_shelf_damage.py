"""Entries that cannot be read fail alone: passed over, listed, checked, and found out without unpickling anything."""

from __future__ import annotations

import dataclasses
import os
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hutch
import hutch.dbm
from hutch import Shelf, UnreadableValueError
from hutch.codecs import Compressed, Encrypted, Json, Marshal, Pickle, SafePickle, Signed
from hutch.errors import CodecError, CorruptEntryError, ForbiddenGlobalError, TamperedError
from hutch.reports import CheckReport

SECRET = b"a key for signing, of any length"
GOOD = {"one": 1, "two": [2], "three": "three"}


class Point:
    """A class that has been through some changes."""

    def __init__(self, x: int = 0, y: int = 0) -> None:
        self.x = x
        self.y = y

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class Canary:
    """Says so when it is unpickled."""

    sung: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Canary.sing, ("a",)

    @staticmethod
    def sing(song: str) -> None:
        Canary.sung.append(song)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "shelf")


@pytest.fixture
def damaged(path: str) -> Iterator[Shelf]:
    """Three entries that are well, and between them one of each kind of those that are not."""
    module = types.ModuleType("gone_module")
    module.Gone = type("Gone", (), {"__module__": "gone_module"})  # type: ignore[attr-defined]
    sys.modules["gone_module"] = module
    with hutch.open(path) as shelf:
        shelf["one"] = 1
        shelf["gone"] = [module.Gone()]
        shelf["torn"] = "T" * 3000
        shelf["two"] = [2]
        shelf.dict["garbage"] = b"\x80\x04garbage."
        shelf.dict["cut"] = pickle.dumps(["text"] * 9)[:-4]
        shelf.dict["empty"] = b""
        shelf["three"] = "three"
    del sys.modules["gone_module"]
    heap = Path(path + ".dat").read_bytes()
    Path(path + ".dat").write_bytes(heap.replace(b"T" * 50, b"S" * 50, 1))
    with hutch.open(path) as shelf:
        yield shelf


DAMAGED = {
    "gone": UnreadableValueError,
    "torn": CorruptEntryError,
    "garbage": UnreadableValueError,
    "cut": UnreadableValueError,
    "empty": UnreadableValueError,
}


# -- iteration ---------------------------------------------------------------------------------------------


def test_iteration_passes_over_what_cannot_be_read(damaged: Shelf) -> None:
    for view, expected in (
        (damaged.items(errors="skip"), GOOD.items()),
        (damaged.values(errors="skip"), GOOD.values()),
    ):
        for _ in range(2):
            assert list(view) == list(expected)
            assert [skipped.key for skipped in view.skipped] == list(DAMAGED)
            for skipped in view.skipped:
                assert type(skipped.error) is DAMAGED[str(skipped.key)]
                assert str(skipped.key) in str(skipped.error)
        assert len(view) == len(damaged) == 8


def test_or_tells_a_function(damaged: Shelf) -> None:
    told = []
    view = damaged.items(errors=lambda key, error: told.append((key, type(error))))
    assert dict(view) == GOOD
    assert told == list(DAMAGED.items())
    assert [(skipped.key, type(skipped.error)) for skipped in view.skipped] == told

    def stop(key: Any, error: Exception) -> None:
        raise LookupError(key)

    items = iter(damaged.items(errors=stop))
    assert next(items) == ("one", 1)
    with pytest.raises(LookupError):
        next(items)
    with pytest.raises(LookupError):
        next(items)
    assert next(items) == ("two", [2])


def test_or_raises(damaged: Shelf) -> None:
    for view in (damaged.items(), damaged.values(errors="raise")):
        with pytest.raises(UnreadableValueError, match="'gone'"):
            list(view)
        assert view.skipped == []
    for wrong in ("ignore", None, 5, []):
        with pytest.raises(ValueError, match="errors must be"):
            damaged.items(errors=wrong)  # type: ignore[arg-type]


def test_iteration_passes_over_nothing_else(damaged: Shelf) -> None:
    """What is wrong with all of it, or with the program, is raised."""

    def interrupted(data: bytes) -> Any:
        raise problem

    problem: BaseException
    for problem in (MemoryError(), KeyboardInterrupt(), hutch.errors.LockTimeout(), hutch.errors.ClosedError()):
        shelf = Shelf({b"a": b""}, serializer=pickle.dumps, deserializer=interrupted)
        with pytest.raises(type(problem)):
            list(shelf.items(errors="skip"))
    view = damaged.items(errors="skip")
    damaged.close()
    with pytest.raises(ValueError, match="closed"):
        list(view)


@pytest.mark.parametrize("writeback", [False, True])
def test_iteration_over_other_mappings_and_caches(writeback: bool) -> None:
    shelf = Shelf({b"a": b"", b"b": pickle.dumps(1), b"\xff": pickle.dumps(2)}, writeback=writeback)
    view = shelf.items(errors="skip")
    assert dict(view) == {"b": 1}
    assert [(skipped.key, type(skipped.error)) for skipped in view.skipped] == [
        ("a", UnreadableValueError),
        (b"\xff", UnicodeDecodeError),
    ]


def test_a_subclass_is_asked_for_every_value() -> None:
    class Upper(Shelf):
        def __getitem__(self, key: str) -> Any:
            if key == "b":
                raise CodecError("not this one", key=b"b")
            return str(super().__getitem__(key)).upper()

    shelf = Upper({})
    shelf.update(a="x", b="y", c="z")
    view = shelf.items(errors="skip")
    assert dict(view) == {"a": "X", "c": "Z"}
    assert [skipped.key for skipped in view.skipped] == ["b"]


def test_forbidden_and_tampered_values_fail_alone() -> None:
    below: dict[bytes, bytes] = {}
    Shelf(below).update(a=1, b=Point(), c=os.system, d=OrderedDict(a=4))
    view = Shelf(below, codec=SafePickle()).items(errors="skip")
    assert dict(view) == {"a": 1, "d": {"a": 4}}
    assert [type(skipped.error) for skipped in view.skipped] == [ForbiddenGlobalError] * 2
    shelf = Shelf({}, codec=Signed(Json(), SECRET))
    shelf.update(a=1, b=2, c=3)
    shelf.dict[b"b"] = shelf.dict[b"a"]
    view = shelf.items(errors="skip")
    assert dict(view) == {"a": 1, "c": 3}
    assert [type(skipped.error) for skipped in view.skipped] == [TamperedError]


def test_damaged_entries_can_be_replaced_and_deleted(damaged: Shelf) -> None:
    for key in DAMAGED:
        damaged[key] = "mended"
        assert damaged[key] == "mended"
        del damaged[key]
    assert dict(damaged) == GOOD


# -- check -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decode", [False, True])
def test_check_lists_what_cannot_be_read(damaged: Shelf, decode: bool) -> None:
    report = damaged.check(decode=decode)
    assert type(report) is CheckReport
    assert not report.ok
    assert sorted({problem.key for problem in report.problems if problem.key}) == sorted(map(str.encode, DAMAGED))
    assert report.entry_count == 8
    for problem in report.problems:
        assert problem.key is not None and problem.key.decode() in problem.message
        assert problem.file == damaged.dict.path + ".dat"
        assert not problem.fixed


def test_check_fixes_what_the_engine_can_fix_and_keeps_the_rest(damaged: Shelf) -> None:
    report = damaged.check(fix=True)
    assert [problem.key for problem in report.problems if problem.fixed] == [b"torn"]
    assert "torn" not in damaged
    assert len(damaged) == 7
    assert sorted(problem.key or b"" for problem in damaged.check().problems) == [b"cut", b"empty", b"garbage", b"gone"]


def test_check_of_a_shelf_that_is_well(path: str) -> None:
    for codec in (
        None,
        Json(),
        SafePickle(),
        Compressed(Pickle()),
        Encrypted(Pickle(buffers=True), b"k" * 32),
        Marshal(),
    ):
        with hutch.open(path, "n", codec=codec) as shelf:
            shelf.update(GOOD)
            for decode in (False, True):
                report = shelf.check(decode=decode)
                assert (report.ok, report.problems, report.entry_count) == (True, (), 3)
    assert Shelf({}).check().ok


def test_check_runs_nothing_unless_told_to() -> None:
    shelf = Shelf({})
    shelf["bird"] = Canary()
    signed = Shelf({}, codec=Signed(Compressed(Pickle(), min_size=0), SECRET))
    signed["bird"] = Canary()
    Canary.sung.clear()
    for aviary in (shelf, signed):
        assert aviary.check().ok
        (use,) = aviary.classes().classes
        assert (use.module, use.name, use.found) == (__name__, "Canary.sing", True)
        assert not Canary.sung
    assert shelf.check(decode=True).ok
    assert Canary.sung == ["a"]


def test_check_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "never_imported").mkdir()
    for name in ("never_imported/__init__.py", "never_imported/inner.py", "bystander.py"):
        (tmp_path / name).write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    below = {
        b"a": b"cnever_imported\nCls\n.",
        b"b": b"cnever_imported.inner\nCls\n.",
        b"c": b"cnever_imported.missing\nCls\n.",
        b"d": b"cbystander\nCls\n.",
        b"e": b"cbystander.inner\nCls\n.",
        b"f": b"cno_such_module\nCls\n.",
        b"g": b"cos\nno_such_function\n.",
        b"h": b"cos\npath\n.",
        b"i": b"ccopy_reg\n_reconstructor\n.",
        b"j": b"c__builtin__\nxrange\n.",
        b"k": pickle.dumps(dataclasses.Field),
    }
    shelf = Shelf(below)
    found = {use.keys[0]: use.found for use in shelf.classes().classes}
    assert found == dict(zip("abcdefghijk", [None, None, False, None, False, False, False, *[True] * 4], strict=True))
    assert {problem.key for problem in shelf.check().problems} == {b"c", b"e", b"f", b"g"}
    assert not {"never_imported", "bystander"} & set(sys.modules)


def test_check_reads_what_runs_nothing() -> None:
    shelf = Shelf({b"a": b"[1]", b"b": b"[1", b"c": pickle.dumps(1)}, codec=Json())
    report = shelf.check()
    assert [problem.key for problem in report.problems] == [b"b", b"c"]
    assert "look like Pickle" in report.problems[1].message
    assert report.problems[0].file == ""


def test_check_of_a_serializer_runs_it_only_if_told_to() -> None:
    shelf = Shelf({b"a": b"no number"}, serializer=lambda value, protocol: b"%d" % value, deserializer=int)
    assert shelf.check().ok
    assert [problem.key for problem in shelf.check(decode=True).problems] == [b"a"]


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.binary(max_size=3), st.binary(max_size=40) | st.sampled_from([b"\x80\x04N.", b"I1\n."])))
def test_whatever_the_bytes_are(below: dict[bytes, bytes]) -> None:
    for codec in (None, Pickle(buffers=True), Json(), Compressed(SafePickle()), Signed(Pickle(), SECRET)):
        shelf = Shelf(dict(below), codec=codec)
        report, classes = shelf.check(), shelf.classes()
        assert report.entry_count == classes.entry_count == len(below)
        assert {problem.key for problem in report.problems} <= set(below)


# -- classes -----------------------------------------------------------------------------------------------


def test_classes_with_counts_and_examples(path: str) -> None:
    with hutch.open(path) as shelf:
        for number in range(5):
            shelf[f"point {number}"] = [Point(), Point(1)]
        shelf["ordered"] = OrderedDict(a=Point)
        shelf["plain"] = {"nothing": ["but", 1, None]}
        shelf.dict["broken"] = b"\x80\x04."
        report = shelf.classes()
        assert report.entry_count == 8
        points, ordered = report.classes
        assert (points.module, points.name, points.entry_count, points.found) == (__name__, "Point", 6, True)
        assert points.keys == ("point 0", "point 1", "point 2")
        assert (ordered.module, ordered.name, ordered.keys) == ("collections", "OrderedDict", ("ordered",))
        assert [skipped.key for skipped in report.skipped] == ["broken"]
        for record in (report, points):
            with pytest.raises(dataclasses.FrozenInstanceError):
                record.entry_count = 0  # type: ignore[misc]
    with hutch.open(path, codec=SafePickle()) as shelf:
        assert shelf.classes().classes == report.classes


@pytest.mark.parametrize("protocol", range(6))
def test_classes_of_every_protocol(protocol: int) -> None:
    shelf = Shelf({}, protocol)
    shelf["key"] = Point(1, 2)
    assert (__name__, "Point") in [(use.module, use.name) for use in shelf.classes().classes]
    assert all(use.found for use in shelf.classes().classes)


def test_classes_inside_whatever_wraps_them() -> None:
    for codec in (
        Pickle(buffers=True),
        Compressed(Pickle(), min_size=0),
        Signed(Encrypted(Compressed(Pickle(), "lzma"), b"k" * 32), SECRET),
    ):
        shelf = Shelf({}, codec=codec)
        shelf["key"] = Point()
        assert [(use.name, use.keys) for use in shelf.classes().classes] == [("Point", ("key",))]
    shelf = Shelf({}, codec=Json())
    shelf["key"] = [1]
    report = shelf.classes()
    assert (report.entry_count, report.classes, report.skipped) == (1, (), ())


# -- classes that change ------------------------------------------------------------------------------------


def test_attributes_come_and_go() -> None:
    old = pickle.dumps(Point(1, 2)).replace(b"\x8c\x01y", b"\x8c\x01z")
    shelf = Shelf({b"key": old})
    assert vars(shelf["key"]) == {"x": 1, "z": 2}
    assert shelf.check().ok


def test_a_class_that_has_moved() -> None:
    old = {b"a": pickle.dumps([Point(1, 2)]).replace(b"test_shelf_damage", b"old_shelf_damages"), b"b": pickle.dumps(1)}
    old[b"a"] = old[b"a"].replace(b"Point", b"Punkt")
    shelf = Shelf(dict(old))
    with pytest.raises(UnreadableValueError, match="'a'"):
        shelf["a"]
    assert shelf["b"] == 1
    (problem,) = shelf.check().problems
    assert problem.key == b"a"
    assert "old_shelf_damages.Punkt" in problem.message
    assert "renames" in problem.message
    assert [use.found for use in shelf.classes().classes] == [False]
    renamed = Shelf(dict(old), codec=Pickle(renames={"old_shelf_damages.Punkt": f"{__name__}.Point"}))
    assert renamed["a"] == [Point(1, 2)]
    assert renamed.check().ok
    renamed.recode()
    assert Shelf(renamed.dict)["a"] == [Point(1, 2)]


def test_a_class_that_takes_its_old_state(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = Shelf({})
    shelf["key"] = Point(3, 4)

    def set_state(self: Point, state: dict[str, int]) -> None:
        self.__dict__.update(length=(state["x"] ** 2 + state["y"] ** 2) ** 0.5)

    monkeypatch.setattr(Point, "__setstate__", set_state, raising=False)
    assert vars(shelf["key"]) == {"length": 5.0}
    monkeypatch.setattr(Point, "__setstate__", lambda self, state: state["no such attribute"])
    with pytest.raises(UnreadableValueError, match="KeyError: 'no such attribute'"):
        shelf["key"]
    assert dict(shelf.items(errors="skip")) == {}
    assert shelf.check().ok
    assert not shelf.check(decode=True).ok
