"""``hutch check``: what is damaged, and what could not be read though it is whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import Damage, engine_of, entries, name_of, open_database
from hutch.cli.escapes import escaped, printable
from hutch.cli.exits import DAMAGED, UNREADABLE, told
from hutch.cli.options import json_option, name_argument, timeout_option
from hutch.cli.progress import steps
from hutch.cli.quantities import count_text
from hutch.cli.records import key_field
from hutch.errors import CodecError
from hutch.reports import CheckReport

__all__ = ["command"]


@click.command()
@name_argument
@click.option("--fix", is_flag=True, help="Remove damaged entries; make a damaged index anew.")
@click.option("--values", is_flag=True, help="Look into the values too, without running them.")
@json_option
@timeout_option
@reading_options
@click.pass_context
def command(
    ctx: click.Context, name: str, fix: bool, values: bool, as_json: bool, timeout: float | None, coding: Coding
) -> None:
    """Read everything and compare it with its checksums.

    Exit code 3: there is damage (with --fix: damage that could not be mended). Nothing is changed without --fix; copy
    the files first, if what is damaged may still be of use. With --values, exit code 5: a value is whole, but no pickle
    (or whatever --codec says), or names a class that is not there, or its signature or cipher does not verify.
    """
    unreadable: list[tuple[bytes, str]] = []
    with open_database(name, "w" if fix else "r", timeout=timeout) as database:
        report = _check(database, fix)
        is_own = hasattr(database, "store")
        if values:
            unreadable = _look_into(database, coding)
    if as_json:
        problems = [
            {**asdict(problem), "key": None if problem.key is None else key_field(problem.key)}
            for problem in report.problems
        ]
        facts: dict[str, Any] = {"ok": report.ok, "entry_count": report.entry_count, "problems": problems}
        if values:
            facts["unreadable"] = [{"key": key_field(key), "message": message} for key, message in unreadable]
        click.echo(json.dumps(facts, indent=2))
    else:
        for problem in report.problems:
            click.echo(f"{'fixed' if problem.fixed else 'DAMAGED'}: {told(problem.message)}")
        for key, message in unreadable:
            click.echo(f"UNREADABLE: {escaped(key)}: {printable(message)}")
        click.echo(_verdict(name_of(name), report, is_own))
        if unreadable:
            click.echo(f"{count_text(len(unreadable), 'value')} could not be read")
    if not report.ok:
        ctx.exit(DAMAGED)
    if unreadable:
        ctx.exit(UNREADABLE)


def _check(database: Any, fix: bool) -> CheckReport:
    if fix:
        engine_of(database, "check --fix")
    with steps("checking") as counter:
        report: CheckReport = database.check(fix, progress=counter.at)
    return report


def _look_into(database: Any, coding: Coding) -> list[tuple[bytes, str]]:
    """The values that are whole and could not be read, with the reasons. Nothing of them is run."""
    found = []
    with steps("looking", len(database)) as counter:
        for key, data in entries(database, Damage(quiet=True)):
            counter.advance()
            try:
                found += [(key, message) for message in _complaints(key, data, coding)]
            except CodecError as problem:
                found.append((key, str(problem)))
    return found


def _complaints(key: bytes, data: bytes, coding: Coding) -> list[str]:
    from hutch.cli.layers import unwrap
    from hutch.cli.pickles import protocol_of
    from hutch.cli.values import look
    from hutch.survey import is_there, references

    outer = unwrap(key, data, coding.secrets)
    if outer.closed:
        return [outer.closed]
    if coding.codec not in (None, "pickle"):
        seen = look(key, data, coding)
        return [seen.reason] if seen.reason else []
    inner = unwrap(key, data, coding.secrets, peek=True).data
    if protocol_of(inner) is None:
        return ["it is no pickle: --codec says what it is"]
    return [
        f"it names {printable(f'{module}.{name}')}, which is not there"
        for module, name in sorted(references(inner))
        if is_there(module, name) is False
    ]


def _verdict(name: str, report: CheckReport, is_own: bool) -> str:
    looked_at = count_text(report.entry_count, "entry", "entries")
    if not report.problems:
        return f"{name}: {looked_at}, all as they were stored"
    left = sum(not problem.fixed for problem in report.problems)
    if not left:
        return f"{name}: {looked_at}, {count_text(len(report.problems), 'problem')}, all mended"
    advice = f"`hutch check --fix {name}` mends what can be mended"
    if not is_own:
        advice = f"`hutch dump {name} | hutch load COPY --create` brings over what can be read"
    return f"{name}: {looked_at}, {count_text(left, 'problem')}; {advice}"
