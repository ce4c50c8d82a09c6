"""`Pickle`: all that the standard library's pickle offers, each as one argument; and classes that have moved."""

from __future__ import annotations

import array
import collections
import copyreg
import functools
import io
import pickle
import sqlite3
import sys
import types
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import moved
from hutch.codecs import Pickle
from hutch.codecs.base import joined
from hutch.errors import CodecError, LimitError, WrongCodecError

KEY = b"entry"
each_protocol = pytest.mark.parametrize("protocol", range(6))


def stored(codec: Pickle, value: Any) -> bytes:
    return joined(codec.encode(KEY, value))


# --- Plain pickles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [*range(6), None])
def test_without_options_it_is_the_stdlibs_pickle(protocol: int | None) -> None:
    value = {"a": [1, 2.5, None, "ü", b"x"], 3: (moved.Outer, len)}
    assert Pickle(protocol).encode(KEY, value) == pickle.dumps(value, protocol)
    for other in range(6):  # whichever it writes, it reads all
        assert Pickle(protocol).decode(KEY, pickle.dumps(value, other)) == value


@each_protocol
def test_what_stands_behind_a_pickle_is_ignored(protocol: int) -> None:
    """As ``pickle.loads`` does: other programs may have appended something."""
    for codec in (Pickle(), Pickle(renames={"a.b": "c.d"}), Pickle(buffers=True)):
        assert codec.decode(KEY, pickle.dumps([1], protocol) + b"more") == [1]


class Counter:
    """An object with state that a pickle cannot hold."""

    def __init__(self, start: int) -> None:
        self.count = start
        self.file = io.StringIO("x")

    def __getstate__(self) -> dict[str, Any]:
        return {"count": self.count}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["count"])  # type: ignore[misc]


@pytest.mark.parametrize("protocol", range(2, 6))
def test_stateful_objects(protocol: int) -> None:
    back = Pickle(protocol).decode(KEY, stored(Pickle(protocol), Counter(3)))
    assert (back.count, back.file.read()) == (3, "x")


# --- Dispatch tables and reducers --------------------------------------------------------------------------


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


class Kelvin:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


def reduce_celsius(thing: Celsius) -> tuple[Any, ...]:
    return Kelvin, (thing.degrees + 273,)


@each_protocol
def test_a_dispatch_table_is_private(protocol: int) -> None:
    codec = Pickle(protocol, dispatch_table={Celsius: reduce_celsius})
    back = codec.decode(KEY, stored(codec, [Celsius(1), Celsius(2)]))
    assert [type(thing) for thing in back] == [Kelvin, Kelvin]
    assert back[1].degrees == 275
    assert type(pickle.loads(pickle.dumps(Celsius(1), protocol))) is Celsius
    assert Celsius not in copyreg.dispatch_table


@each_protocol
def test_copyreg_is_honoured_behind_a_private_table(protocol: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copyreg, "dispatch_table", {**copyreg.dispatch_table, Kelvin: lambda _: (str, ("warm",))})
    for table in ({}, {Celsius: reduce_celsius}):
        codec = Pickle(protocol, dispatch_table=table)
        assert codec.decode(KEY, stored(codec, Kelvin(1))) == "warm"
    codec = Pickle(protocol, dispatch_table={Kelvin: lambda _: (str, ("mine",))})
    assert codec.decode(KEY, stored(codec, Kelvin(1))) == "mine"


def test_a_dispatch_table_is_taken_as_it_was() -> None:
    table = {Celsius: reduce_celsius}
    codec = Pickle(dispatch_table=table)
    table.clear()
    assert type(codec.decode(KEY, stored(codec, Celsius(1)))) is Kelvin


def override(thing: Any) -> Any:
    if isinstance(thing, types.FunctionType) and thing.__name__ == "<lambda>":
        return eval, (f"lambda: {thing()!r}",)
    return NotImplemented


@each_protocol
def test_a_reducer_override(protocol: int) -> None:
    codec = Pickle(protocol, reducer_override=override)
    back = codec.decode(KEY, stored(codec, [lambda: 5, moved.function, Celsius(1)]))
    assert back[0]() == 5
    assert back[1] is moved.function
    assert back[2].degrees == 1


def test_a_reducer_override_comes_before_the_table() -> None:
    codec = Pickle(reducer_override=lambda thing: (str, ("o",)) if type(thing) is Celsius else NotImplemented,
                   dispatch_table={Celsius: reduce_celsius, Kelvin: lambda _: (str, ("t",))})  # fmt: skip
    assert codec.decode(KEY, stored(codec, [Celsius(1), Kelvin(1)])) == ["o", "t"]


def test_errors_of_a_reducer_pass() -> None:
    def fail(thing: Any) -> Any:
        raise LookupError("no")

    with pytest.raises(LookupError):
        Pickle(reducer_override=fail).encode(KEY, Celsius(1))
    with pytest.raises((pickle.PicklingError, AttributeError)):
        Pickle().encode(KEY, lambda: 1)


# --- Objects that live elsewhere ---------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of the table `todo`, as in the documentation of pickle."""

    key: int
    task: str


@pytest.fixture
def todo() -> Any:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE todo (key INTEGER PRIMARY KEY, task TEXT)")
    database.executemany("INSERT INTO todo (task) VALUES (?)", [("give food",), ("clean cage",)])
    yield database
    database.close()


@pytest.mark.parametrize("protocol", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("buffers", [False, True])
def test_objects_that_live_in_sqlite(todo: sqlite3.Connection, protocol: int, buffers: bool) -> None:
    def persistent_id(thing: Any) -> Any:
        return ("todo", thing.key) if isinstance(thing, Row) else None

    def persistent_load(pid: Any) -> Row:
        table, key = pid
        if table != "todo":
            raise pickle.UnpicklingError(f"there is no table {table}")
        found = todo.execute("SELECT key, task FROM todo WHERE key = ?", (key,)).fetchone()
        if found is None:
            raise pickle.UnpicklingError(f"row {key} has gone")
        return Row(*found)

    codec = Pickle(
        None if buffers else protocol, persistent_id=persistent_id, persistent_load=persistent_load, buffers=buffers
    )
    data = stored(codec, {"today": [Row(1, "give food"), Row(2, "clean cage")], "done": []})
    assert b"give food" not in data
    todo.execute("UPDATE todo SET task = 'give more food' WHERE key = 1")
    assert codec.decode(KEY, data) == {"today": [Row(1, "give more food"), Row(2, "clean cage")], "done": []}
    todo.execute("DELETE FROM todo WHERE key = 2")
    with pytest.raises(CodecError, match=r"'entry' cannot be read by Pickle.*: row 2 has gone"):
        codec.decode(KEY, data)
    with pytest.raises(CodecError, match="give Pickle a persistent_load"):
        Pickle().decode(KEY, stored(Pickle(protocol, persistent_id=persistent_id), [Row(1, "")]))


def test_protocol_0_has_ids_of_text() -> None:
    codec = Pickle(0, persistent_id=lambda thing: "len" if thing is len else None, persistent_load={"len": len}.get)
    assert codec.decode(KEY, stored(codec, [len, 1])) == [len, 1]


# --- Classes that have moved -------------------------------------------------------------------------------


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module `oldpkg.mod` that has the classes of `moved` as its own, and goes when `forget` is called."""
    package, module = types.ModuleType("oldpkg"), types.ModuleType("oldpkg.mod")
    package.__path__ = []
    package.mod = module  # type: ignore[attr-defined]
    source = Path(moved.__file__).read_text(encoding="utf-8")
    exec(compile(source, "oldpkg/mod.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, "oldpkg", package)
    monkeypatch.setitem(sys.modules, "oldpkg.mod", module)
    return module


def forget() -> None:
    del sys.modules["oldpkg"], sys.modules["oldpkg.mod"]


@each_protocol
@pytest.mark.parametrize(
    "renames",
    [
        {"oldpkg.mod.Alone": "moved.Alone"},
        {"oldpkg.mod:Alone": "moved:Alone"},
        {"oldpkg.mod.Alone": moved.Alone},
        {"oldpkg.mod": "moved"},
        {"oldpkg.mod": moved},
        {"oldpkg": "nowhere", "oldpkg.mod": "moved"},
        {"oldpkg.mod": "nowhere", "oldpkg.mod.Alone": "moved.Alone"},
    ],
    ids=str,
)
def test_a_class_has_moved(old: types.ModuleType, protocol: int, renames: dict[str, Any]) -> None:
    data = pickle.dumps([old.Alone(3), old.Alone], protocol)
    forget()
    back = Pickle(renames=renames).decode(KEY, data)
    assert type(back[0]) is moved.Alone is back[1]
    assert back[0].x == 3


@each_protocol
@pytest.mark.parametrize(
    "renames",
    [
        {"oldpkg.mod.Outer": "moved.Outer"},
        {"oldpkg.mod": "moved"},
        {"oldpkg.mod.Outer.Inner": "moved.Outer.Inner"},
        {"oldpkg.mod:Outer.Inner": "moved:Outer.Inner"},
        {"oldpkg.mod.Outer.Inner": moved.Outer.Inner},
    ],
    ids=str,
)
def test_a_class_inside_another_has_moved(old: types.ModuleType, protocol: int, renames: dict[str, Any]) -> None:
    data = pickle.dumps([old.Outer.Inner(3), old.Outer.Inner.Innermost()], protocol)
    forget()
    inner, innermost = Pickle(renames=renames).decode(KEY, data)
    assert type(inner) is moved.Outer.Inner
    assert type(innermost) is moved.Outer.Inner.Innermost
    assert inner.x == 3


@each_protocol
def test_a_class_has_moved_out_of_another(old: types.ModuleType, protocol: int) -> None:
    codec = Pickle(renames={"oldpkg.mod.Outer.Inner": "moved.Alone"})
    data = pickle.dumps([old.Outer.Inner(3), getattr], protocol)
    del old.Outer.Inner  # while the other is still there
    back = codec.decode(KEY, data)
    assert type(back[0]) is moved.Alone
    assert back[0].x == 3
    forget()  # and when it has gone
    assert type(codec.decode(KEY, data)[0]) is moved.Alone


@each_protocol
def test_nothing_stands_in_for_a_class_that_has_gone(old: types.ModuleType, protocol: int) -> None:
    """The class around one that has moved is looked through, but must not itself get into a value."""
    codec = Pickle(renames={"oldpkg.mod.Outer.Inner": "moved.Alone"})
    values = [[old.Outer], {"a": old.Outer()}, old.Outer, [old.Outer.Inner(1), (old.Outer,)]]
    pickles = [pickle.dumps(value, protocol) for value in values]
    forget()
    for data in pickles:
        with pytest.raises(CodecError):
            codec.decode(KEY, data)


@each_protocol
def test_a_method_of_a_class_that_has_moved(old: types.ModuleType, protocol: int) -> None:
    old.Person.make = classmethod(lambda cls: cls("a", "b"))
    old.Person.make.__func__.__qualname__ = "Person.make"
    data = pickle.dumps(functools.partial(old.Alone, 5), protocol)
    forget()
    assert Pickle(renames={"oldpkg": "nowhere", "oldpkg.mod": "moved"}).decode(KEY, data)().x == 5


@each_protocol
def test_a_class_has_changed_its_state(old: types.ModuleType, protocol: int) -> None:
    person = old.Person("x", "y")
    vars(person).clear()
    person.name = "Ada Lovelace"
    data = pickle.dumps(person, protocol)
    forget()
    assert Pickle(renames={"oldpkg.mod": "moved"}).decode(KEY, data) == moved.Person("Ada", "Lovelace")


@pytest.mark.parametrize("protocol", range(6))
def test_names_of_python_2(protocol: int) -> None:
    """Below protocol 3 a pickle calls what is in the standard library what Python 2 did; renames know both names."""
    value = collections.UserDict(a=1)
    data = pickle.dumps(value, protocol)
    for name in ("collections.UserDict", "UserDict.IterableUserDict"):
        back = Pickle(renames={name: "collections.UserList"}).decode(KEY, data)
        assert type(back) is (collections.UserList if protocol < 3 or name.startswith("coll") else collections.UserDict)
    assert Pickle(renames={"a.b": "c.d"}).decode(KEY, data) == value
    for thing in (range(3), {1, 2}, Exception("x"), collections.OrderedDict(a=1)):
        assert repr(Pickle(renames={"a.b.c": "d.e.f"}).decode(KEY, pickle.dumps(thing, protocol))) == repr(thing)


def test_a_new_name_is_never_taken_for_one_of_python_2(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("Queue")  # which Python 2 called today's queue
    module.Thing = type("Thing", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "Queue", module)
    assert Pickle(renames={"old.mod.Thing": "Queue.Thing"}).decode(KEY, b"cold.mod\nThing\n.") is module.Thing


def test_where_the_module_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest module that has the name; a colon says otherwise."""
    package, module = types.ModuleType("pkg"), types.ModuleType("pkg.Thing")
    package.__path__ = []
    package.Thing = type("Thing", (), {"Inner": "of the class", "Only": "there"})  # type: ignore[attr-defined]
    module.Inner = "of the module"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pkg", package)
    monkeypatch.setitem(sys.modules, "pkg.Thing", module)
    for new, wanted in {
        "pkg.Thing.Inner": "of the module",
        "pkg:Thing.Inner": "of the class",
        "pkg.Thing:Inner": "of the module",
        "pkg.Thing.Only": "there",
        "pkg.Thing": package.Thing,  # type: ignore[attr-defined]
    }.items():
        assert Pickle(renames={"old.x": new}).decode(KEY, b"cold\nx\n.") == wanted
    both = {"old.sub:x": "pkg:Thing.Only", "old:sub.x": "pkg.Thing:Inner"}
    assert Pickle(renames=both).decode(KEY, b"cold.sub\nx\n.") == "there"
    assert Pickle(renames=both).decode(KEY, b"\x80\x04\x8c\x03old\x8c\x05sub.x\x93.") == "of the module"
    assert Pickle(renames={"old.sub.x": len}).decode(KEY, b"cold.sub\nx\n.") is len
    assert Pickle(renames={"old.sub.x": len}).decode(KEY, b"\x80\x04\x8c\x03old\x8c\x05sub.x\x93.") is len


def test_renames_are_followed_once() -> None:
    swapped = Pickle(renames={"moved.Alone": "moved.Person", "moved.Person": "moved.Alone"})
    assert swapped.decode(KEY, pickle.dumps([moved.Alone, moved.Person])) == [moved.Person, moved.Alone]


def test_only_whole_names_count() -> None:
    codec = Pickle(renames={"mov": "nowhere", "moved.Al": "nowhere.Al", "moved.Alone.x": "nowhere"})
    assert codec.decode(KEY, pickle.dumps(moved.Alone)) is moved.Alone


@pytest.mark.parametrize("name", ["", ".a", "a.", "a..b", ":a", "a:", "a:b:c."])
def test_names_that_are_none(name: str) -> None:
    for renames in ({name: "a.b"}, {"a.b": name}):
        with pytest.raises(ValueError, match=r"'old\.mod\.Cls'"):
            Pickle(renames=renames)


# --- What has gone, and what it says -----------------------------------------------------------------------


@each_protocol
@pytest.mark.parametrize("codec", [Pickle(), Pickle(buffers=True), Pickle(renames={"x.y": "z"})], ids=repr)
def test_a_class_that_has_gone_is_named(old: types.ModuleType, protocol: int, codec: Pickle) -> None:
    data = pickle.dumps({"a": old.Alone(3)}, protocol)
    del old.Alone
    with pytest.raises(CodecError, match=r"key 'entry'.*Alone.*renames") as caught:
        codec.decode(KEY, data)
    forget()
    with pytest.raises(CodecError, match=r"No module named 'oldpkg'.*oldpkg\.mod\.Alone.*renames") as caught:
        codec.decode(KEY, data)
    assert caught.value.key == KEY
    assert isinstance(caught.value.__cause__, ImportError)
    assert not isinstance(caught.value, WrongCodecError)


def test_a_rename_that_leads_nowhere() -> None:
    for target, said in {"moved.Nobody": "moved.Nobody", "nowhere.mod.Cls": "nowhere.mod.Cls"}.items():
        with pytest.raises(CodecError, match=f"{said}.*renames"):
            Pickle(renames={"old.mod.Cls": target}).decode(KEY, b"cold.mod\nCls\n.")


def test_a_module_that_misses_another_is_not_looked_for_elsewhere(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "needs_more.py").write_text("import no_such_module_at_all\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CodecError, match="No module named 'no_such_module_at_all'"):
        Pickle(renames={"old.Cls": "needs_more.Cls"}).decode(KEY, b"cold\nCls\n.")


class Fails:
    def __init__(self, problem: BaseException) -> None:
        self.problem = problem

    def __setstate__(self, state: dict[str, Any]) -> None:
        raise state["problem"]


@pytest.mark.parametrize("problem", [KeyError("x"), OSError("y"), RuntimeError("z"), StopIteration()], ids=repr)
def test_errors_of_the_objects_are_named(problem: Exception) -> None:
    for codec in (Pickle(), Pickle(buffers=True), Pickle(renames={})):
        with pytest.raises(CodecError, match=rf"'entry' cannot be read by Pickle.*{type(problem).__name__}") as caught:
            codec.decode(KEY, pickle.dumps(Fails(problem)))
        assert type(caught.value.__cause__) is type(problem)


def test_what_is_no_error_of_the_value_passes() -> None:
    for problem in (KeyboardInterrupt(), MemoryError(), SystemExit()):
        with pytest.raises(type(problem)):
            Pickle().decode(KEY, pickle.dumps(Fails(problem)))


def test_recursion_is_a_limit() -> None:
    with pytest.raises(LimitError, match="nests too deeply"):
        Pickle().decode(KEY, pickle.dumps(Fails(RecursionError())))


@each_protocol
def test_each_cut(protocol: int) -> None:
    data = pickle.dumps([moved.Alone(3), {"a": 1.5}], protocol)
    for codec in (Pickle(), Pickle(renames={"x.y": "z.w"}), Pickle(buffers=True)):
        for size in range(len(data)):
            with pytest.raises(CodecError):
                codec.decode(KEY, data[:size])


# --- The codec itself --------------------------------------------------------------------------------------


def identify(thing: Any) -> Any:
    return "a" if thing is array else None


def identified(pid: Any) -> Any:
    return array


def test_a_codec_with_all_options_pickles() -> None:
    codec = Pickle(
        5,
        dispatch_table={Celsius: reduce_celsius},
        reducer_override=override,
        persistent_id=identify,
        persistent_load=identified,
        renames={"old.mod": "moved"},
        buffers=True,
    )
    again = pickle.loads(pickle.dumps(codec))
    assert repr(again) == repr(codec)
    back = again.decode(KEY, stored(again, [Celsius(0), array, lambda: 3]))
    assert type(back[0]) is Kelvin
    assert back[1] is array
    assert back[2]() == 3


def test_a_subclass() -> None:
    class Loud(Pickle):
        def encode(self, key: bytes, value: Any) -> Any:
            return super().encode(key, str(value).upper())

    assert Loud(4).decode(KEY, stored(Loud(4), "a")) == "A"
