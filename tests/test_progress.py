"""How far `check`, `backup` and `reorganize` say that they are; and that a function that ends them leaves all whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hutch
from hutch import dbm

Steps = list[tuple[int, int]]


class Enough(Exception):
    """What a function raises that has seen enough."""


def fill(path: Path) -> dict[bytes, bytes]:
    """A database with holes, and an empty value."""
    with dbm.open(path) as database:
        database.update({f"key{number:03}": b"%d" % number * (50 + number) for number in range(300)})
        for number in range(0, 300, 3):
            del database[f"key{number:03}"]
        database["nothing"] = b""
        return dict(database.items())


def heard(steps: Steps) -> Callable[[int, int], None]:
    return lambda done, total: steps.append((done, total))


def ending(after: int) -> Callable[[int, int], None]:
    """A function that raises once so many entries are done."""

    def stop(done: int, total: int) -> None:
        if done >= after:
            raise Enough

    return stop


@pytest.mark.parametrize("flag", ["r", "w"])
def test_check_tells_each_entry(flag: Any, tmp_path: Path) -> None:
    entries = fill(tmp_path / "x")
    steps: Steps = []
    with dbm.open(tmp_path / "x", flag) as database:
        assert database.check(progress=heard(steps)).ok
        assert steps == [(number, len(entries)) for number in range(len(entries) + 1)]
        with pytest.raises(Enough):
            database.check(progress=ending(7))
        assert dict(database.items()) == entries


def test_check_of_a_shelf_tells_both_its_walks(tmp_path: Path) -> None:
    with hutch.open(tmp_path / "x") as shelf:
        shelf.update(a=1, b=2)
        steps: Steps = []
        assert shelf.check(progress=heard(steps)).ok
        assert steps == [(0, 2), (1, 2), (2, 2)] * 2
    with hutch.Shelf({}) as shelf:
        shelf["a"] = 1
        steps = []
        assert shelf.check(progress=heard(steps)).ok
        assert steps == [(0, 1), (1, 1)]


def test_check_of_a_shelf_over_a_mapping_that_knows_no_progress(tmp_path: Path) -> None:
    class Own(dict[bytes, bytes]):
        def check(self, fix: bool = False) -> Any:
            return database.check(fix)

        def reorganize(self) -> None:
            self["reorganized"] = b""  # type: ignore[index]

    with dbm.open(tmp_path / "x") as database, hutch.Shelf(Own()) as shelf:
        assert shelf.check().ok
        shelf.reorganize()
        assert shelf.dict == {"reorganized": b""}


def test_backup_tells_each_entry_and_leaves_nothing_when_ended(tmp_path: Path) -> None:
    entries = fill(tmp_path / "x")
    steps: Steps = []
    with dbm.open(tmp_path / "x", "r") as database:
        database.backup(tmp_path / "copy", progress=heard(steps))
        assert steps == [(number, len(entries)) for number in range(len(entries) + 1)]
        before = sorted(os.listdir(tmp_path))
        with pytest.raises(Enough):
            database.backup(tmp_path / "other", progress=ending(7))
        assert sorted(os.listdir(tmp_path)) == before
    with dbm.open(tmp_path / "copy", "r") as database:
        assert dict(database.items()) == entries


def test_reorganize_tells_what_lies_where_it_stays(tmp_path: Path) -> None:
    entries = fill(tmp_path / "x")
    steps: Steps = []
    with dbm.open(tmp_path / "x", "w") as database:
        database.reorganize(progress=heard(steps))
        full = len(entries) - 1  # one is empty
        assert [total for _, total in steps] == [full] * len(steps)
        done = [number for number, _ in steps]
        assert done == sorted(done), "it never goes back"
        assert len(set(done)) > 3
        assert done[-1] == full
        assert dict(database.items()) == entries
        assert database.statistics().free_bytes == 0
        again: Steps = []
        database.reorganize(progress=heard(again))
        assert again == [(full, full)]


@pytest.mark.parametrize("after", [0, 10, 150])
def test_reorganize_may_be_ended_at_any_round(after: int, tmp_path: Path) -> None:
    entries = fill(tmp_path / "x")
    with hutch.Shelf(dbm.open(tmp_path / "x", "w")) as shelf:
        with pytest.raises(Enough):
            shelf.reorganize(progress=ending(after))
        database: Any = shelf.dict
        assert dict(database.items()) == entries
        assert database.check().ok
        database["more"] = b"1"
        shelf.reorganize()
        assert dict(database.items()) == entries | {b"more": b"1"}
        assert database.statistics().free_bytes == 0


def test_reorganize_of_an_empty_database(tmp_path: Path) -> None:
    steps: Steps = []
    with dbm.open(tmp_path / "x") as database:
        database.reorganize(progress=heard(steps))
    assert steps == [(0, 0)]
