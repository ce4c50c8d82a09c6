"""The database that NAME means: found with or without a suffix, opened for no more than is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

from hutch import dbm
from hutch.cli.exits import DAMAGED, UNAVAILABLE, Failure, told
from hutch.cli.progress import notice
from hutch.errors import CorruptError

if TYPE_CHECKING:
    import click

__all__ = [
    "Bytes",
    "Damage",
    "engine_of",
    "entries",
    "exists",
    "keys_of",
    "known_length",
    "name_of",
    "open_database",
    "require_folder",
    "transaction_of",
]

Bytes = MutableMapping[bytes, bytes]

_FILES = (".dat", ".dir")
_SUFFIXES = (".dir", ".dat", ".bak", ".log", ".idx")


def name_of(name: str) -> str:
    """NAME without the suffix of a file, if it has one and is not itself the name of a database.

    `stock.dir` is the database `stock`, unless there is a `stock.dir.dat`; also where there is neither yet.
    """
    if not exists(name):
        base, suffix = os.path.splitext(name)
        is_new = suffix in _FILES and not os.path.lexists(name)
        if suffix in _SUFFIXES and (is_new or exists(base)):
            return base
    return name


def exists(name: str) -> bool:
    """Whether hutch's files, or dbm.dumb's, of that name are there."""
    return any(os.path.lexists(name + suffix) for suffix in _FILES)


def open_database(name: str, flag: Literal["r", "w"], *, timeout: float | None = None, create: bool = False) -> Any:
    """Open what NAME means, and never make it by accident.

    Args:
        name: as the user wrote it.
        flag: 'r' or 'w'.
        timeout: seconds to wait for a lock.
        create: make it if there is none.

    Raises:
        Failure: there is none.
    """
    base = name_of(name)
    kind = "hutch.dbm" if exists(base) else dbm.whichdb(base)
    if kind is None and create:
        require_folder(base)
        return dbm.open(base, "c", timeout=timeout)
    if kind == "":
        raise Failure(f"{name} is no database that hutch knows", UNAVAILABLE)
    if kind is None:
        require_folder(base)
        if os.path.isdir(base):
            raise Failure(f"{name} is a folder, and no database that hutch knows", UNAVAILABLE)
        advice = "" if flag == "r" else "; --create makes one"
        raise Failure(f"{name}: no such database ({base}.dat and {base}.dir are not there){advice}", UNAVAILABLE)
    return dbm.open(base, flag, timeout=timeout)


def require_folder(path: str) -> None:
    """See that there is a folder that a file of this name can be in.

    Raises:
        Failure: there is none.
    """
    folder = os.path.dirname(path)
    if folder and not os.path.isdir(folder):
        raise Failure(f"{path}: there is no folder {folder}", UNAVAILABLE)


def engine_of(database: Any, wish: str) -> Any:
    """The engine below a database of hutch.

    Raises:
        Failure: it is in another form, which has none.
    """
    store = getattr(database, "store", None)
    if store is None:
        raise Failure(f"{wish} needs a database in hutch's form; `hutch convert` makes one", UNAVAILABLE)
    return store


def transaction_of(database: Any) -> AbstractContextManager[Any]:
    """Its transaction; nothing where it has none (GNU dbm, ndbm)."""
    begin = getattr(database, "transaction", None)
    return nullcontext() if begin is None else begin()


def known_length(database: Any) -> int | None:
    """How many entries there are, where nobody has to walk through all of them to know."""
    return len(database) if hasattr(database, "store") else None


def keys_of(database: Any) -> Iterator[bytes]:
    """The keys, one at a time where the database can."""
    step = getattr(database, "iterkeys", None)
    return step() if step is not None else iter(database.keys())


class Damage:
    """What a walk could not read: a message for each entry, and the exit code at the end."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.messages: list[str] = []
        self._quiet = quiet

    def add(self, problem: CorruptError) -> None:
        self.messages.append(str(problem))
        if not self._quiet:
            notice(f"Damaged: {told(problem)}")

    def settle(self, ctx: click.Context) -> None:
        """End the command with the code for damage if there was any."""
        if self.messages:
            ctx.exit(DAMAGED)


def entries(database: Any, damage: Damage) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values in the order of the database; goes on behind a damaged entry, which `damage` is told."""
    for key in keys_of(database):
        try:
            value = database.get(key)
        except CorruptError as problem:
            if problem.key is None:
                raise
            damage.add(problem)
            continue
        if value is not None:  # else deleted since
            yield key, value
