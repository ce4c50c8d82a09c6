"""A signal handler, or a finalizer, uses a handle in the middle of a statement of the same handle and thread.

It is let in before the statement has begun or when it is done, and refused in between: nothing is lost silently.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import CO_GENERATOR
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import hutch.dbm
from hutch.dbm import Database
from hutch.errors import ClosedError, DeadlockError

_PLACES = 30  # in a statement, at least
_ALL = "hutch."
# Above these are only the locks, whose release nothing can make atomic.
_NAMES = ["batch", "commit", "files", "header", "heap", "index", "journal", "single", "table"]
_COMMIT = tuple(f"hutch.{name}" for name in _NAMES)


Statement = Callable[[Database, dict[bytes, bytes], int], None]


class Alarm(Exception):
    """Of a program's own."""


@contextmanager
def at_line(
    number: int, action: Callable[[], None], modules: str | tuple[str, ...] = _ALL, *, calls: bool = False
) -> Iterator[list[int]]:
    """Call `action` before the `number`-th line that is executed there; yields how many lines are left until then.

    Args:
        calls: before a function is called instead, which is where Python looks for signals.
    """
    left = [number]

    def count() -> None:
        left[0] -= 1
        if not left[0]:
            sys.settrace(None)
            try:
                action()
            finally:
                sys.settrace(on_call)

    def on_line(_frame: FrameType, what: str, _argument: Any) -> Any:
        if what == "line" and not calls:
            count()
        return on_line

    def on_call(frame: FrameType, _what: str, _argument: Any) -> Any:
        if not frame.f_globals.get("__name__", "").startswith(modules) or gives_way(frame):
            return None
        if calls and not frame.f_code.co_flags & CO_GENERATOR:  # what is raised when one is closed goes nowhere
            count()
        return on_line

    previous = sys.gettrace()
    gc.disable()  # what other tests have left is not collected in the middle of a statement
    sys.settrace(on_call)
    try:
        yield left
    finally:
        sys.settrace(previous)
        gc.enable()


def gives_way(frame: FrameType | None) -> bool:
    """Whether what is raised there goes nowhere: in a finalizer, or behind another exception that is under way."""
    while frame is not None and frame.f_globals.get("__name__", "").startswith(_ALL):
        if frame.f_code.co_name in ("__del__", "_settle"):
            return True
        frame = frame.f_back
    return False


def _put(db: Database, model: dict[bytes, bytes], number: int) -> None:
    db[b"outer %d" % number] = model[b"outer %d" % number] = b"new"


def _replace(db: Database, model: dict[bytes, bytes], number: int) -> None:
    db[b"old"] = model[b"old"] = b"%d" % number


def _put_large(db: Database, model: dict[bytes, bytes], number: int) -> None:
    db[b"large"] = model[b"large"] = b"%d" % number * 9000


def _delete(db: Database, model: dict[bytes, bytes], number: int) -> None:
    key = b"to go %d" % (number % 300)
    if key in model:
        del db[key], model[key]


def _update(db: Database, model: dict[bytes, bytes], number: int) -> None:
    changes = {b"batch %d %d" % (number, key): b"%d" % key for key in range(70)}
    db.update(changes)
    model.update(changes)


def _transaction(db: Database, model: dict[bytes, bytes], number: int) -> None:
    with db.transaction():
        _put(db, model, number)
        _replace(db, model, number)


def _sync(db: Database, model: dict[bytes, bytes], number: int) -> None:
    db.sync()


def _reorganize(db: Database, model: dict[bytes, bytes], number: int) -> None:
    db.reorganize()


_STATEMENTS = [_put, _replace, _put_large, _delete, _update, _transaction, _sync, _reorganize]


def _fresh(path: Path) -> tuple[Database, dict[bytes, bytes]]:
    model = {b"old": b"value"} | {b"to go %d" % number: b"value" for number in range(300)}
    db = hutch.dbm.open(path, "n")
    db.update(model)
    for number in range(20):
        db[b"calm"] = model[b"calm"] = b"%d" % number
    assert db.store.is_owner
    return db, model


@pytest.mark.parametrize("is_owner", [False, True], ids=["not yet the owner", "owner"])
@pytest.mark.parametrize("statement", _STATEMENTS, ids=lambda statement: statement.__name__.lstrip("_"))
def test_who_comes_in_between_is_refused_or_counts(tmp_path: Path, statement: Statement, is_owner: bool) -> None:
    db, model = _fresh(tmp_path / "db")
    refused = let_in = 0

    def write_inside() -> None:
        nonlocal refused, let_in
        try:
            found = db.get(b"calm")
        except DeadlockError:
            refused += 1
        else:
            assert found == model[b"calm"]
        try:
            db[b"inner %d" % number] = b"inner"
        except DeadlockError as problem:
            assert "signal handler" in str(problem)
            refused += 1
        else:
            model[b"inner %d" % number] = b"inner"
            let_in += 1

    number, step = 1, 1
    while True:
        if not is_owner:
            db.store.give_up_owning()
        with at_line(number, write_inside) as left:
            statement(db, model, number)
        if left[0] > 0:
            break
        if number == 1:
            with at_line(10**9, write_inside) as left:
                statement(db, model, 0)
            step = max(1, (10**9 - left[0]) // _PLACES)
        assert {key: db.get(key) for key in model} == model
        number += step
    assert refused
    assert let_in
    assert dict(db.items()) == model
    assert db.check().ok
    db.close()
    with hutch.dbm.open(tmp_path / "db", "r") as again:
        assert dict(again.items()) == model
        assert again.check().ok


@pytest.mark.parametrize("problem", [TimeoutError, Alarm, KeyboardInterrupt])
@pytest.mark.parametrize("statement", [_put, _replace, _delete, _update, _put_large])
def test_what_a_signal_handler_raises_is_not_swallowed(
    tmp_path: Path,
    statement: Statement,
    problem: type[BaseException],
) -> None:
    """Wherever it strikes, also behind the commit point; the statement has been made then."""
    db, model = _fresh(tmp_path / "db")

    def strike() -> None:
        nonlocal struck
        struck = True
        raise problem

    number = 1
    with at_line(10**9, strike, _COMMIT) as left:
        statement(db, model, 0)
    step = max(1, (10**9 - left[0]) // _PLACES)
    while True:
        struck, before, after = False, dict(model), dict(model)
        statement(after, dict(model), number)  # type: ignore[arg-type]
        try:
            with at_line(number, strike, _COMMIT):
                statement(db, model, number)
        except problem:
            assert struck
        else:
            assert not struck
            break
        found = dict(db.items())
        assert found in (before, after)
        model.clear()
        model.update(found)
        number += step
    assert db.check().ok
    db.close()


@pytest.mark.parametrize("statement", [_put, _update, _sync], ids=lambda statement: statement.__name__.lstrip("_"))
def test_closing_in_the_middle_is_refused(tmp_path: Path, statement: Statement) -> None:
    db, model = _fresh(tmp_path / "db")
    refused = 0

    def close_inside() -> None:
        nonlocal refused
        try:
            db.close()
        except DeadlockError:
            refused += 1

    with at_line(10**9, close_inside, _COMMIT) as left:
        statement(db, model, 0)
    for number in range(1, 10**9 - left[0], 1 + (10**9 - left[0]) // _PLACES):
        with at_line(number, close_inside, _COMMIT):
            try:
                statement(db, model, number)
            except ClosedError:  # closed before it had begun
                db = hutch.dbm.open(tmp_path / "db", "w")
        if db.closed:
            db = hutch.dbm.open(tmp_path / "db", "w")
        assert dict(db.items()) == model
    assert refused
    db.close()


# What is interrupted, and what it does.
_SMALL = [(_put, [_put]), (_replace, [_replace]), (_delete, [_delete]), (_update, [_update]), (_sync, [])]
_SMALL += [(_transaction, [_put, _replace])]


@pytest.mark.parametrize("is_owner", [False, True], ids=["not yet the owner", "owner"])
@pytest.mark.parametrize(("statement", "effects"), _SMALL, ids=[case[0].__name__.lstrip("_") for case in _SMALL])
def test_an_interrupt_at_any_call_leaves_a_handle_that_works(
    tmp_path: Path, statement: Statement, effects: list[Statement], is_owner: bool
) -> None:
    """Also where a statement lets go of its locks: the next one sees that it is over, and others get their turn."""
    db, model = _fresh(tmp_path / "db")

    def strike() -> None:
        raise KeyboardInterrupt

    with at_line(10**9, strike, calls=True) as left:
        statement(db, model, 0)
    count = 10**9 - left[0]
    for number in range(1, count + 2, 1 + count // 100):
        if not is_owner:
            db.store.give_up_owning()
        before, after = dict(model), dict(model)
        for effect in effects:
            effect(after, dict(model), number)  # type: ignore[arg-type]
        with at_line(number, strike, calls=True) as left:
            try:
                statement(db, model, number)
            except KeyboardInterrupt:
                pass
        if db.store.in_transaction:  # it struck before the block, or where it ends
            db.store.rollback()
        db[b"next"] = before[b"next"] = after[b"next"] = b"%d" % number
        found = dict(db.items())
        assert found in (before, after)
        model.clear()
        model.update(found)
        if number % 10 == 0:
            with hutch.dbm.open(tmp_path / "db", "w", timeout=30) as other:
                other[b"other"] = model[b"other"] = b"%d" % number
    assert db.check().ok
    db.close()
