"""``hutch check``, ``reorganize`` and ``backup``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from hutch.cli.database import engine_of, name_of, open_database
from hutch.cli.escapes import escaped
from hutch.cli.exits import DAMAGED, UNAVAILABLE, Failure
from hutch.cli.options import json_option, name_argument, timeout_option
from hutch.cli.progress import counted_calls, steps
from hutch.cli.quantities import count_text, size_text
from hutch.reports import CheckReport

__all__ = ["backup", "check", "reorganize"]


@click.command()
@name_argument
@click.option("--fix", is_flag=True, help="Remove damaged entries; make a damaged index anew.")
@json_option
@timeout_option
@click.pass_context
def check(ctx: click.Context, name: str, fix: bool, as_json: bool, timeout: float | None) -> None:
    """Read everything and compare it with its checksums.

    Exit code 3: there is damage (with --fix: damage that could not be mended). Nothing is changed without --fix;
    `hutch backup` first, if what is damaged may still be of use.
    """
    with open_database(name, "w" if fix else "r", timeout=timeout) as database:
        store = engine_of(database, "check")
        with steps("checking", len(database)) as counter, counted_calls(store, "get_committed", counter):
            report: CheckReport = store.check(fix)
    if as_json:
        problems = [{**asdict(problem), "key": _key_of(problem.key)} for problem in report.problems]
        facts: dict[str, Any] = {"ok": report.ok, "entry_count": report.entry_count, "problems": problems}
        click.echo(json.dumps(facts, indent=2))
    else:
        for problem in report.problems:
            click.echo(f"{'fixed' if problem.fixed else 'DAMAGED'}: {problem.message}")
        click.echo(_verdict(name_of(name), report))
    if not report.ok:
        ctx.exit(DAMAGED)


def _key_of(key: bytes | None) -> str | None:
    return None if key is None else escaped(key)


def _verdict(name: str, report: CheckReport) -> str:
    looked_at = count_text(report.entry_count, "entry", "entries")
    if not report.problems:
        return f"{name}: {looked_at}, all as they were stored"
    left = sum(not problem.fixed for problem in report.problems)
    if not left:
        return f"{name}: {looked_at}, {count_text(len(report.problems), 'problem')}, all mended"
    return f"{name}: {looked_at}, {count_text(left, 'problem')}; `hutch check --fix {name}` mends what can be mended"


@click.command()
@name_argument
@timeout_option
def reorganize(name: str, timeout: float | None) -> None:
    """Give unused space back.

    Packs the values, and drops the dead lines of the directory. Others may read and write meanwhile. Interrupted or
    killed at any moment it leaves the database whole.
    """
    with open_database(name, "w", timeout=timeout) as database:
        store = engine_of(database, "reorganize")
        before = _total_bytes(store)
        with steps("moving values") as counter, counted_calls(store, "get_committed", counter):
            store.reorganize()
        database.sync()
    with open_database(name, "r", timeout=timeout) as database:
        after = _total_bytes(database.store)
    click.echo(f"{name_of(name)}: {size_text(before)} before, {size_text(after)} after")


def _total_bytes(store: Any) -> int:
    statistics = store.statistics()
    return int(statistics.heap_bytes + statistics.directory_bytes)


@click.command()
@name_argument
@click.argument("target", metavar="COPY", type=click.Path())
@timeout_option
def backup(name: str, target: str, timeout: float | None) -> None:
    """Copy one moment of a database that is in use.

    Others go on writing meanwhile. COPY is a new database, which the stdlib opens as well.
    """
    with open_database(name, "r", timeout=timeout) as database:
        store = engine_of(database, "backup")
        try:
            with steps("copying", len(database)) as counter, counted_calls(store, "read_value", counter):
                store.backup(target)
        except FileExistsError as problem:
            raise Failure(f"{problem.filename} exists already: choose another name for the copy", UNAVAILABLE) from None
        click.echo(f"{target}: {count_text(counter.done, 'entry', 'entries')} copied")
