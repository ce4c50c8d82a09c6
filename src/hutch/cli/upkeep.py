"""``hutch reorganize`` and ``backup``."""

from __future__ import annotations

import json
from typing import Any

import click

from hutch.cli.database import engine_of, name_of, open_database, require_folder
from hutch.cli.exits import UNAVAILABLE, Failure
from hutch.cli.options import NameType, json_option, name_argument, timeout_option
from hutch.cli.progress import steps
from hutch.cli.quantities import count_text, size_text

__all__ = ["backup", "reorganize"]


@click.command()
@name_argument
@json_option
@timeout_option
def reorganize(name: str, as_json: bool, timeout: float | None) -> None:
    """Give unused space back.

    Packs the values, and drops the dead lines of the directory. Others may read and write meanwhile. Interrupted or
    killed at any moment it leaves the database whole.
    """
    with open_database(name, "w", timeout=timeout) as database:
        store = engine_of(database, "reorganize")
        before = _total_bytes(store)
        with steps("packing") as counter:
            database.reorganize(progress=counter.at)
        database.sync()
    with open_database(name, "r", timeout=timeout) as database:
        after = _total_bytes(database.store)
    if as_json:
        click.echo(json.dumps({"before_bytes": before, "after_bytes": after}))
    else:
        click.echo(f"{name_of(name)}: {size_text(before)} before, {size_text(after)} after")


def _total_bytes(store: Any) -> int:
    statistics = store.statistics()
    return int(statistics.heap_bytes + statistics.directory_bytes)


@click.command()
@name_argument
@click.argument("target", metavar="COPY", type=NameType())
@json_option
@timeout_option
def backup(name: str, target: str, as_json: bool, timeout: float | None) -> None:
    """Copy one moment of a database that is in use.

    Others go on writing meanwhile. COPY is a new database, which the stdlib opens as well.
    """
    with open_database(name, "r", timeout=timeout) as database:
        engine_of(database, "backup")
        target = name_of(target)
        require_folder(target)
        try:
            with steps("copying", len(database)) as counter:
                database.backup(target, progress=counter.at)
        except FileExistsError as problem:
            raise Failure(f"{problem.filename} exists already: choose another name for the copy", UNAVAILABLE) from None
    copied = f"{target}: {count_text(counter.done, 'entry', 'entries')} copied"
    click.echo(json.dumps({"entry_count": counter.done}) if as_json else copied)
