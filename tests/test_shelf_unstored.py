"""`warn_unstored=True`: objects that were fetched, changed, and never stored, with file and line of the fetch."""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import hutch
from children import Child, Line
from contract import BreakOff
from hutch import Shelf, unstored
from hutch.codecs import Encrypted, Json
from hutch.errors import HutchWarning, UnstoredChangeWarning


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "shelf")


@pytest.fixture
def shelf(path: str) -> Iterator[Shelf]:
    with hutch.open(path, warn_unstored=True) as shelf:
        shelf.update(a=[1], b={"x": 1}, c="text")
        yield shelf
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shelf.close()


@contextmanager
def warned(*expected: tuple[str, int]) -> Iterator[None]:
    """The block brings warnings about these keys, fetched in these lines of this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    assert [(warning.message.key, warning.lineno) for warning in caught] == list(expected)  # type: ignore[union-attr]
    for warning in caught:
        assert warning.category is UnstoredChangeWarning
        assert warning.filename == __file__
        assert repr(warning.message.key) in str(warning.message)  # type: ignore[union-attr]


def here() -> int:
    """The line of the caller."""
    frame = inspect.currentframe()
    assert frame is not None and frame.f_back is not None
    return frame.f_back.f_lineno


def test_the_line_that_fetched_what_was_changed(shelf: Shelf) -> None:
    shelf["a"].append(2)
    line = here() - 1
    with warned(("a", line)):
        shelf.sync()
    with warned():
        shelf.sync()
        shelf.close()


def test_when_it_is_looked_at(shelf: Shelf, path: str) -> None:
    shelf["a"].append(2)
    line = here() - 1
    with warned(("a", line)):
        assert shelf["a"] == [1]
    shelf["a"].append(2)
    line = here() - 1
    with warned(("a", line)):
        shelf.close()
    shelf = hutch.open(path, warn_unstored=True)
    shelf["a"].append(2)
    line = here() - 1
    with warned(("a", line)):
        del shelf
        gc.collect()


FETCHES: dict[str, Callable[[Shelf], Any]] = {
    "[]": lambda shelf: shelf["b"],
    "get": lambda shelf: shelf.get("b"),
    "setdefault": lambda shelf: shelf.setdefault("b", {}),
    "get_many": lambda shelf: shelf.get_many(["b"])["b"],
    "items": lambda shelf: dict(shelf.items())["b"],
    "values": lambda shelf: list(shelf.values())[1],
    "skip": lambda shelf: list(shelf.values(errors="skip"))[1],
    "dict": lambda shelf: dict(shelf)["b"],
}


@pytest.mark.parametrize("how", FETCHES)
def test_every_way_of_fetching(shelf: Shelf, how: str) -> None:
    value = FETCHES[how](shelf)
    line = FETCHES[how].__code__.co_firstlineno
    assert value == {"x": 1}
    value["y"] = 2
    with warned(("b", line)):
        shelf.sync()


def test_a_default_that_was_stored_and_then_changed(shelf: Shelf) -> None:
    shelf.setdefault("new", []).append(1)
    line = here() - 1
    with warned(("new", line)):
        shelf.sync()


STORES: dict[str, Callable[[Shelf, Any], Any]] = {
    "[]": lambda shelf, value: shelf.__setitem__("b", value),
    "update": lambda shelf, value: shelf.update(b=value),
    "another": lambda shelf, value: shelf.__setitem__("b", dict(value)),
    "another key": lambda shelf, value: shelf.__setitem__("other", value),
    "modify": lambda shelf, value: shelf.modify("b", lambda _: value),
    "delete": lambda shelf, value: shelf.__delitem__("b"),
    "clear": lambda shelf, value: shelf.clear(),
}


@pytest.mark.parametrize("how", STORES)
def test_what_was_stored_is_forgotten(shelf: Shelf, how: str) -> None:
    value = shelf["b"]
    value["y"] = 2
    with warned():
        STORES[how](shelf, value)
        shelf.sync()


def test_what_was_not_changed_is_no_mistake(shelf: Shelf) -> None:
    kept = [shelf["a"], shelf["b"], shelf["c"], *shelf.values()]
    with shelf.edit("a") as value:
        value.append(2)
    shelf.modify("b", lambda value: {**value, "y": 2})
    with warned():
        for _ in range(3):
            shelf.sync()
    assert len(kept) == 6


def test_a_change_later_on_is_seen(shelf: Shelf) -> None:
    value = shelf["a"]
    line = here() - 1
    with warned():
        shelf.sync()
        for _ in range(3):
            assert shelf["a"] == [1]
    value.append(2)
    with warned(("a", line)):
        shelf.sync()


def test_two_objects_of_one_key(shelf: Shelf) -> None:
    first, second = shelf["a"], shelf["a"]
    line = here() - 1
    second.append(2)
    with warned(("a", line)):
        shelf.sync()
    first.append(3)
    with warned(("a", line)):
        shelf.sync()


class Restless:
    """Pickles differently each time."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Restless, (), {"at": time.monotonic_ns()}


class Lazy:
    """Fills in what it has worked out, and is the same as before."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lazy) and self.number == other.number

    def __hash__(self) -> int:
        return hash(self.number)

    def square(self) -> int:
        self.known = self.number**2
        return self.known


def test_no_false_alarms(shelf: Shelf) -> None:
    shelf.update(restless=Restless(), lazy=Lazy(5), words={"a", "b", "c"}, shared=[x := ["x"], x])
    kept = shelf["restless"], shelf["words"], shelf["shared"], shelf["c"]
    lazy = shelf["lazy"]
    assert lazy.square() == 25
    with warned():
        shelf.sync()
    assert len(kept) == 4
    lazy.number = 6
    line = here() - 6
    with warned(("lazy", line)):
        shelf.sync()


def test_what_pickles_no_more_was_changed(shelf: Shelf) -> None:
    shelf["a"].append(threading.Lock())
    line = here() - 1
    with warned(("a", line)):
        shelf.sync()


@pytest.mark.parametrize("codec", [Json(), Encrypted(Json(), b"k" * 32)], ids=["Json", "Encrypted"])
def test_under_other_codecs(path: str, codec: Any) -> None:
    with hutch.open(path, codec=codec, warn_unstored=True) as shelf:
        shelf.update(a=[1], b=[2])
        kept = shelf["a"]
        shelf["b"].append(3)
        line = here() - 1
        with warned(("b", line)):
            shelf.sync()
        kept.append(2)
        line = here() - 6
        with warned(("a", line)):
            shelf.recode(None)
        shelf["a"].append(2)
        line = here() - 1
        with warned(("a", line)):
            shelf.sync()


def test_where_warnings_are_errors(path: str) -> None:
    with hutch.open(path, warn_unstored=True) as shelf:
        shelf.update(a=[1], b=[2])
    shelf = hutch.open(path, warn_unstored=True)
    shelf["a"].append(2)
    shelf["b"].append(2)
    with pytest.raises(UnstoredChangeWarning, match="'a'") as caught:
        shelf.close()
    assert caught.value.key == "a"
    assert isinstance(caught.value, HutchWarning)
    assert shelf.dict.closed
    with hutch.open(path) as shelf:
        assert dict(shelf) == {"a": [1], "b": [2]}


def test_only_so_many_are_kept(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unstored, "_LIMIT", 10)
    with hutch.open(path, warn_unstored=True) as shelf:
        shelf.update({str(number): [number] for number in range(30)})
        kept = list(shelf.values())
        assert shelf._unstored is not None
        assert len(shelf._unstored._fetches) == 10
        kept[0].append("too long ago")
        kept[25].append("seen")
        with warned(("25", here() - 5)):
            shelf.sync()


def test_a_block_that_fails(shelf: Shelf) -> None:
    with pytest.raises(BreakOff), shelf.transaction():
        value = shelf["a"]
        value.append(2)
        shelf["a"] = value
        raise BreakOff
    with warned():
        shelf.sync()
    assert shelf["a"] == [1]


def test_off_by_default(path: str) -> None:
    with hutch.open(path) as shelf:
        assert shelf._unstored is None
        shelf["a"] = [1]
        with warned():
            shelf["a"].append(2)
            shelf.sync()
        assert shelf._loads is not None
    with warned(), hutch.open(path, writeback=True, warn_unstored=True) as shelf:
        shelf["a"].append(2)
    with hutch.open(path) as shelf:
        assert shelf["a"] == [1, 2]


def test_a_pickled_shelf_watches_anew(shelf: Shelf) -> None:
    value = shelf["a"]
    value.append("here")
    line = here() - 2
    with warned(), pickle.loads(pickle.dumps(shelf)) as other:
        assert other._unstored is not None
        assert other["a"] == [1]
    with warned(("a", line)):
        shelf.sync()


def _close(line: Line, shelf: Shelf) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        shelf["b"]["y"] = 2
        shelf.close()
    line.say([warning.message.key for warning in caught])  # type: ignore[union-attr]


def test_a_child_does_not_repeat_what_its_parent_says(shelf: Shelf) -> None:
    shelf["a"].append(2)
    line = here() - 1
    with Child(_close, shelf) as child:
        assert child.hear() == ["b"]
        child.finish()
    with warned(("a", line)):
        shelf.sync()


@pytest.mark.parametrize(
    ("options", "environment", "warns"),
    [
        ([], {}, False),
        (["-X", "dev"], {}, True),
        ([], {"HUTCH_WARN_UNSTORED": "1"}, True),
        (["-X", "dev"], {"HUTCH_WARN_UNSTORED": "0"}, True),
        ([], {"HUTCH_WARN_UNSTORED": "0"}, False),
    ],
)
def test_how_it_is_switched_on(tmp_path: Path, options: list[str], environment: dict[str, str], warns: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import hutch, sys\nshelf = hutch.open(sys.argv[1])\nshelf['a'] = [1]\n\nshelf['a'].append(2)  # line 5\n"
    )
    done = subprocess.run(
        [sys.executable, *options, "-W", "default::UserWarning", program, tmp_path / "shelf"],
        env={**os.environ, "PYTHONPATH": os.fspath(Path(hutch.__file__).parent.parent), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("program.py:5: UnstoredChangeWarning" in done.stderr) == warns
    assert ("shelf['a'].append(2)  # line 5" in done.stderr) == warns


def test_it_warns_where_there_is_no_source(tmp_path: Path) -> None:
    """`python -c`, and a prompt, have a `__main__` that nobody can load."""
    program = (
        f"import hutch\nshelf = hutch.open({str(tmp_path / 'db')!r}, warn_unstored=True)\n"
        "shelf['jam'] = ['plums']\nshelf['jam'].append('sugar')\nshelf.close()\nprint('closed')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "closed\n", done.stderr
    assert "UnstoredChangeWarning" in done.stderr and "<string>:4:" in done.stderr
