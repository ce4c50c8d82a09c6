"""dump, load, diff and convert: everything comes back, whatever it is."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import fractions
import json
import math
import os
import pathlib
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hutch
from command_line import SECRET, command, make_all
from hutch import dbm
from hutch.cli.jsonvalues import NotPlainError, tagged, untagged
from hutch.codecs import Json, Signed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    make_all(folder)
    return folder


def contents(name: Path) -> dict[bytes, bytes]:
    with dbm.open(name, "r") as database:
        return dict(database.items())


# Objects as JSON.

atoms = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 200), 1 << 200)
    | st.floats(allow_nan=False)
    | st.text(st.characters())
    | st.binary()
    | st.complex_numbers(allow_nan=False)
    | st.datetimes(
        timezones=st.none()
        | st.just(dt.UTC)
        | st.builds(dt.timezone, st.timedeltas(dt.timedelta(hours=-23), dt.timedelta(hours=23)))
    )
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.fractions()
    | st.uuids()
    | st.just(...)
    | st.builds(range, st.integers(), st.integers(), st.integers(1))
    | st.builds(pathlib.PurePosixPath, st.text(st.characters(categories=["L"])))
    | st.builds(pathlib.PureWindowsPath, st.text(st.characters(categories=["L"])))
)
hashable = st.recursive(
    atoms.filter(lambda value: value.__hash__ is not None),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
objects = st.recursive(
    atoms | hashable,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.just("$tuple"), inner, max_size=4)
        | st.dictionaries(hashable, inner, max_size=3)
        | st.sets(hashable, max_size=3)
        | st.binary().map(bytearray)
        | st.lists(inner, max_size=3).map(tuple)
        | st.lists(inner, max_size=3).map(collections.deque)
        | st.lists(inner, max_size=3).map(lambda items: collections.deque(items, 5))
        | st.dictionaries(hashable, inner, max_size=3).map(collections.OrderedDict)
        | st.dictionaries(hashable, st.integers(), max_size=3).map(collections.Counter)
    ),
    max_leaves=8,
)


def spelled(value: Any) -> bytes:
    """What tells -0.0 from 0, True from 1, and one order from another; sets have none."""
    kind = type(value)
    if kind in (set, frozenset):
        return repr((kind, sorted(map(spelled, value)))).encode()
    if kind in (list, tuple):
        return repr((kind, list(map(spelled, value)))).encode()
    if kind is collections.deque:
        return repr((kind, list(map(spelled, value)), value.maxlen)).encode()
    if isinstance(value, dict):
        return repr((kind, [(spelled(key), spelled(item)) for key, item in value.items()])).encode()
    if kind in (dt.datetime, dt.time):
        return repr((value, value.fold)).encode()
    return repr((kind, value)).encode("utf-8", "surrogatepass")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(objects)
def test_every_object_comes_back_from_json(value: Any) -> None:
    try:
        made = tagged(value)
    except NotPlainError as problem:
        assert "twice" in str(problem)  # Hypothesis may have put one object in two places
        return
    assert spelled(untagged(json.loads(json.dumps(made)))) == spelled(value)


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.nan, math.inf],
        {math.inf: -math.inf},
        slice(1, None),
        -0.0,
        {"$": 1},
        {"$x": {"$y": 1, "a": 2}},
        decimal.Decimal("NaN"),
        fractions.Fraction(1, 3),
    ],
    ids=repr,
)
def test_odd_objects_come_back(value: Any) -> None:
    assert repr(untagged(json.loads(json.dumps(tagged(value))))) == repr(value)


class Own(dict[str, int]):
    """Of a class that no tag knows."""


shared: list[int] = []
loop: list[Any] = []
loop.append(loop)


@pytest.mark.parametrize(
    "value",
    [
        Own(a=1),
        [shared, shared],
        loop,
        dt.datetime(2024, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "Home")),
        object(),
        len,
    ],
    ids=["subclass", "shared", "loop", "named zone", "object", "function"],
)
def test_what_json_would_change_is_refused(value: Any) -> None:
    with pytest.raises(NotPlainError):
        tagged(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"$nothing": 1}',
        '{"$set": [[]]}',
        '{"$bytes": "?"}',
        '{"$int": 1}',
        '{"$dict": [[1]]}',
        '{"$datetime": "soon"}',
        '{"$complex": [1, 2, 3]}',
        '{"$decimal": "x"}',
        '{"$uuid": 5}',
    ],
)
def test_a_wrong_tag_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\$"):
        untagged(json.loads(text))


# Databases as lines of JSON.


@pytest.mark.parametrize("name", ["stock", "mixed", "empty", "stdlib", "giant", "foreign", "big"])
def test_a_dump_makes_the_same_again(world: Path, tmp_path: Path, name: str) -> None:
    dumped = command("dump", world / name)
    assert dumped.code in (0, 5), dumped.err
    copy = tmp_path / "copy"
    loaded = command("load", copy, "--create", data=dumped.out.encode())
    assert loaded.code == 0, loaded.err
    found, stored = contents(copy), contents(world / name)
    assert list(found) == list(stored)
    for key, data in found.items():
        # What is one object in a pickle may be two in JSON, and the other way round.
        assert data == stored[key] or pickle.loads(data) == pickle.loads(stored[key])
    assert not (world / "unpickled").exists()


def test_a_dump_takes_wrapping_off_when_asked(world: Path) -> None:
    dumped = command("dump", world / "mixed", "--unwrap", "--key-file", world / "secret").out.splitlines()
    lines = {line["key"]: line for line in map(json.loads, dumped[1:-1])}
    assert all(lines[key]["value"] == ["data"] * 20 for key in ("zipped", "signed", "encrypted", "sealed"))
    kept = [json.loads(line) for line in command("dump", world / "mixed").out.splitlines()]
    assert not any("value" in line for line in kept if line.get("key") in ("zipped", "signed", "encrypted", "sealed"))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.dictionaries(
        st.binary(max_size=5), st.binary(max_size=20) | st.builds(pickle.dumps, objects, st.integers(0, 5)), max_size=5
    )
)
def test_any_bytes_come_back(tmp_path: Path, entries: dict[bytes, bytes]) -> None:
    with dbm.open(tmp_path / "a", "n") as database:
        database.update(entries)
    for options in ([], ["--bytes"]):
        dumped = command("dump", tmp_path / "a", *options)
        assert dumped.code in (0, 5)
        with dbm.open(tmp_path / "b", "n"):
            pass
        assert command("load", tmp_path / "b", data=dumped.out.encode()).code == 0
        found = contents(tmp_path / "b")
        assert found.keys() == entries.keys()
        for key, data in found.items():
            if data != entries[key]:  # the same object may be pickled otherwise, but of the same protocol
                assert not options
                assert data[:2] == entries[key][:2] or entries[key][:1] != b"\x80"
                assert spelled(pickle.loads(data)) == spelled(pickle.loads(entries[key]))
    assert command("diff", tmp_path / "a", tmp_path / "b", "--objects").code == 0


def test_a_dump_is_made_to_be_read(world: Path) -> None:
    assert command("dump", world / "stock").out.splitlines() == [
        '{"hutch": "dump", "version": 1, "entries": 6, "protocol": 4}',
        '{"key": "apples", "value": {"count": 3, "price": {"$decimal": "0.40"}}}',
        '{"key": "pears", "value": [1, 2.5, null, true]}',
        '{"key": "plums", "value": {"$tuple": [{"$bytes": "AP8="}, {"$set": ["blue"]}]}}',
        '{"key": "since", "value": {"$date": "2024-02-29"}}',
        '{"key": "naïve\\n", "value": "text"}',
        '{"key": {"$bytes": "/1w="}, "value": {"count": 3, "price": {"$decimal": "0.40"}}}',
        '{"hutch": "end", "entries": 6, "damaged": 0}',
    ]


def test_a_dump_under_a_codec(world: Path, tmp_path: Path) -> None:
    with hutch.open(tmp_path / "a", codec=Json()) as shelf:
        shelf["x"] = {"y": [1, 2]}
    dumped = command("dump", tmp_path / "a", "--codec", "json").out
    assert '"value": {"y": [1, 2]}' in dumped
    assert command("load", tmp_path / "b", "--create", data=dumped.encode()).code == 0
    assert contents(tmp_path / "b") == contents(tmp_path / "a")
    signed = ["--signed", "--key-file", str(world / "secret"), "--codec", "pickle"]
    assert command("load", tmp_path / "c", "--create", *signed, data=dumped.encode()).code == 0
    from hutch.codecs import Pickle

    with hutch.open(tmp_path / "c", "r", codec=Signed(Pickle(), SECRET)) as shelf:
        assert dict(shelf) == {"x": {"y": [1, 2]}}


def test_a_dump_of_a_damaged_database_has_the_rest(world: Path, tmp_path: Path) -> None:
    answer = command("dump", world / "damaged", tmp_path / "out.jsonl")
    assert answer.code == 3
    assert "key2" in answer.err
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[-1]) == {
        "hutch": "end",
        "entries": 4,
        "damaged": 1,
    }
    assert command("load", tmp_path / "b", tmp_path / "out.jsonl", "--create").code == 0
    assert len(contents(tmp_path / "b")) == 4


def test_a_dump_takes_the_place_of_a_file_whole(world: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("before")
    target.chmod(0o640)
    assert command("dump", world / "missing", target).code == 4
    assert target.read_text() == "before"
    assert command("dump", world / "stock", target).code == 0
    assert target.stat().st_mode & 0o777 == 0o640
    assert os.listdir(tmp_path) == ["out.jsonl"]
    assert command("dump", world / "stock", os.devnull).code == 0
    assert not Path(os.devnull).is_file()
    assert command("dump", world / "stock", tmp_path / "no" / "folder").code == 4


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ('{"key": "a", "value": 1}', 0, "1 entry stored"),
        ('\n  {"key": "a", "value": {"$tuple": []}}\n\n', 0, "1 entry stored"),
        ("", 0, "0 entries stored"),
        ("nonsense", 2, "line 1 is not one of a dump"),
        ('{"key": "a", "value": 1}\n{"key": "b"}', 2, "line 2 is not one of a dump: it needs"),
        ('{"key": 5, "value": 1}', 2, "line 1"),
        ('{"key": "a", "data": 5}', 2, "line 1"),
        ('{"key": "a", "value": {"$nonsense": 1}}', 2, "unknown tag"),
        ('{"key": "a", "value": 1, "data": "x"}', 2, "line 1"),
        ('{"key": "a", "value": 1, "protocol": 9}', 2, "protocol 9"),
        ("[1]", 2, "no JSON object"),
        ("[" * 100_000, 2, "line 1"),
        ('{"hutch": "dump", "version": 99}', 2, "version 99"),
        ('{"hutch": "dump", "version": 1, "codec": "nonsense"}', 2, "none of pickle"),
        ('{"hutch": "dump", "version": 1, "codec": []}', 2, "none of pickle"),
        ('{"hutch": "dump", "version": 1}\n{"key": "a", "value": 1}', 3, "cut off"),
        ('{"hutch": "dump", "version": 1}\n{"hutch": "end", "entries": 3}', 3, "damaged"),
        ('{"hutch": "dump", "version": 1}\n{"hutch": "end", "entries": 0}\n{"key": "a", "value": 1}', 2, "behind"),
        ("\ufeff", 2, "line 1"),
        ("\0", 2, "line 1"),
    ],
)
def test_load_says_what_is_wrong_with_a_line(tmp_path: Path, text: str, code: int, said: str) -> None:
    answer = command("load", tmp_path / "a", "--create", data=text.encode())
    assert answer.code == code
    assert said in answer.out + answer.err
    assert command("check", tmp_path / "a").code == 0


def test_load_keeps_what_came_before_an_error_unless_it_is_atomic(tmp_path: Path) -> None:
    text = b'{"key": "a", "value": 1}\nnonsense\n'
    assert "what came before it is stored: 1 entry" in command("load", tmp_path / "a", "--create", data=text).err
    assert command("len", tmp_path / "a").out == "1\n"
    assert "nothing has been stored" in command("load", tmp_path / "b", "--create", "--atomic", data=text).err
    assert command("len", tmp_path / "b").out == "0\n"


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.text().map(str.encode))
def test_load_takes_any_bytes_without_a_traceback(tmp_path: Path, data: bytes) -> None:
    assert command("load", tmp_path / "a", "--create", data=data).code in (0, 2, 3)


# diff.


def test_diff(tmp_path: Path) -> None:
    with hutch.open(tmp_path / "a") as shelf:
        shelf.update(same=1, old=[1], gone="x")
    with hutch.open(tmp_path / "b", protocol=2) as shelf:
        shelf.update(new=5, old=[2])
        shelf.dict["same"] = pickle.dumps(1, 2)
    answer = command("diff", tmp_path / "a", tmp_path / "b")
    assert answer.code == 1
    assert answer.out.splitlines() == ["~ same\t1  ->  1", "~ old\t[1]  ->  [2]", "- gone\t'x'", "+ new\t5"]
    assert "same" not in command("diff", tmp_path / "a", tmp_path / "b", "--objects").out
    lines = command("diff", tmp_path / "a", tmp_path / "b", "--json").out.splitlines()
    assert json.loads(lines[-1]) == {"change": "+", "key": "new"}
    assert command("diff", tmp_path / "a", tmp_path / "b", "-q") == (1, "", "")
    assert command("diff", tmp_path / "a", tmp_path / "a.dir") == (0, "", "")


def test_diff_of_a_damaged_one(world: Path, tmp_path: Path) -> None:
    for pair in ((world / "damaged", world / "empty"), (world / "empty", world / "damaged")):
        answer = command("diff", *pair)
        assert answer.code == 3
        assert len(answer.out.splitlines()) == 4
        assert "key2" in answer.err


# convert.


@pytest.mark.parametrize("form", ["copy.sqlite", "copy.jsonl", "copy.pickle", "copy.plist"])
@pytest.mark.parametrize("name", ["stock", "empty", "stdlib", "mixed"])
def test_there_and_back(world: Path, tmp_path: Path, name: str, form: str) -> None:
    there = command("convert", str(world / name) + ".dir", tmp_path / form)
    if there.code == 2 and form == "copy.plist":
        assert "no text" in there.err  # keys that are no text have no place in a property list
        return
    assert there.code == 0, there.err
    assert "read back and compared" in there.out
    back = command("convert", tmp_path / form, tmp_path / "back")
    assert back.code == 0, back.err
    assert contents(tmp_path / "back") == contents(world / name)
    assert not (world / "unpickled").exists()


def test_convert_overwrites_nothing(world: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.jsonl").write_text("mine")
    assert command("convert", world / "stock", tmp_path / "taken.jsonl").code == 4
    assert (tmp_path / "taken.jsonl").read_text() == "mine"
    assert command("convert", world / "missing", tmp_path / "x").code == 4
    assert command("convert", world / "stock", tmp_path / "x", "--to", "nonsense").code == 2
    assert command("convert", world / "damaged", tmp_path / "x").code == 3
    assert os.listdir(tmp_path) == ["taken.jsonl"]
    told = command("convert", world / "foreign", tmp_path / "x", "--json")
    assert json.loads(told.out) == {
        "source_kind": "dbm.sqlite3",
        "target_kind": "hutch.dbm",
        "entry_count": 2,
        "value_bytes": 2,
    }
