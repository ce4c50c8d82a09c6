"""``hutch keys``, ``items`` and ``len``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import Damage, entries, keys_of, known_length, open_database
from hutch.cli.exits import UNREADABLE, told
from hutch.cli.options import KeyFormat, json_option, key_format_option, name_argument, prefix_option, timeout_option
from hutch.cli.progress import Steps, notice, steps
from hutch.cli.values import MISSING, literal, look, one_line
from hutch.errors import CodecError

__all__ = ["items", "keys", "length"]

_Found = TypeVar("_Found")


def _limit(command: Any) -> Any:
    return click.option("--limit", "-n", type=click.IntRange(min=0), metavar="N", help="Only the first N.")(command)


@click.command()
@name_argument
@prefix_option
@click.option("--sorted", "in_order", is_flag=True, help="In the order of their bytes, not of insertion.")
@click.option("-0", "--null", is_flag=True, help="End each with a NUL byte, as `xargs -0` wants it.")
@_limit
@json_option
@key_format_option
@timeout_option
def keys(
    name: str,
    prefix: str,
    in_order: bool,
    null: bool,
    limit: int | None,
    as_json: bool,
    key_format: KeyFormat,
    timeout: float | None,
) -> None:
    """List the keys.

    One a line, in the order of insertion. What is printed is what the other commands take as KEY. With --json each
    line is a JSON string, or {"$bytes": base64} for a key that is no UTF-8.
    """
    from hutch.cli.records import key_field

    out = sys.stdout.buffer
    start = key_format.parse(prefix)
    end = b"\0" if null else b"\n"
    with (
        open_database(name, "r", timeout=timeout) as database,
        steps("listing", known_length(database), prints=True) as counter,
    ):
        found = (key for key in _counted(keys_of(database), counter) if key.startswith(start))
        for key in islice(iter(sorted(found)) if in_order else found, limit):
            if as_json:
                line = json.dumps(key_field(key)).encode()
            elif null or key_format.name == "raw":
                line = key if key_format.name != "base64" else key_format.show(key).encode()
            else:
                line = key_format.show(key).encode()
            out.write(line + end)
        out.flush()


@click.command()
@name_argument
@prefix_option
@_limit
@json_option
@key_format_option
@timeout_option
@reading_options
@click.pass_context
def items(
    ctx: click.Context,
    name: str,
    prefix: str,
    limit: int | None,
    as_json: bool,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """List keys and values.

    A line each: KEY, a tab, and what `hutch get` shows. A value that cannot be shown is described in its line, and
    the exit code is 5; a damaged one is reported on stderr, the others follow, and the exit code is 3. With --json
    each line is that of `hutch dump`.
    """
    from hutch.cli.records import key_field, value_fields

    start = key_format.parse(prefix)
    damage = Damage()
    unread = 0
    with (
        open_database(name, "r", timeout=timeout) as database,
        steps("listing", known_length(database), prints=True) as counter,
    ):
        found = _counted(entries(database, damage), counter)
        for key, data in islice(((key, data) for key, data in found if key.startswith(start)), limit):
            try:
                seen = look(key, data, coding)
            except CodecError as problem:
                notice(f"Unreadable: {told(problem)}")
                unread += 1
                continue
            unread += seen.object is MISSING
            if as_json:
                click.echo(json.dumps({"key": key_field(key), **value_fields(data, seen)}))
            else:
                shown = seen.summary if seen.object is MISSING else one_line(literal(seen.object))
                click.echo(f"{key_format.show(key)}\t{shown}")
    damage.settle(ctx)
    if unread:
        ctx.exit(UNREADABLE)


def _counted(found: Iterator[_Found], counter: Steps) -> Iterator[_Found]:
    for each in found:
        counter.advance()
        yield each


@click.command("len")
@name_argument
@json_option
@timeout_option
def length(name: str, as_json: bool, timeout: float | None) -> None:
    """Print the number of keys.

    It is the same with --json.
    """
    with open_database(name, "r", timeout=timeout) as database:
        click.echo(len(database))
