"""``hutch diff``: what one database has and another has not, or has otherwise."""

from __future__ import annotations

import json
from typing import Any

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import Damage, entries, keys_of, open_database
from hutch.cli.escapes import printable
from hutch.cli.exits import NEGATIVE
from hutch.cli.options import KeyFormat, NameType, json_option, key_format_option, timeout_option
from hutch.cli.progress import steps
from hutch.cli.records import key_field
from hutch.cli.values import MISSING, literal, look, one_line
from hutch.errors import CodecError, CorruptError

__all__ = ["command"]

_SHOWN_CHARACTERS = 80


@click.command()
@click.argument("first", type=NameType(), metavar="A")
@click.argument("second", type=NameType(), metavar="B")
@click.option("--objects", is_flag=True, help="Values are equal if the objects are, whatever their bytes.")
@click.option("--brief", "-q", is_flag=True, help="Print nothing; the exit code says it.")
@json_option
@key_format_option
@timeout_option
@reading_options
@click.pass_context
def command(
    ctx: click.Context,
    first: str,
    second: str,
    objects: bool,
    brief: bool,
    as_json: bool,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """Compare two databases.

    "-" is only in A, "+" only in B, "~" in both, with different values. Exit code 0: no difference; 1: there are
    some. The order of keys does not count.
    """
    found = False
    damage = Damage()
    with (
        open_database(first, "r", timeout=timeout) as left,
        open_database(second, "r", timeout=timeout) as right,
        steps("comparing", len(left) + len(right), prints=not brief) as counter,
    ):

        def tell(sign: str, key: bytes, old: bytes | None, new: bytes | None) -> None:
            nonlocal found
            found = True
            if brief and not damage.messages:
                ctx.exit(NEGATIVE)
            if as_json:
                click.echo(json.dumps({"change": sign, "key": key_field(key)}))
            elif not brief:
                shown = "  ->  ".join(_shown(key, data, coding) for data in (old, new) if data is not None)
                click.echo(f"{sign} {key_format.show(key)}\t{shown}")

        for key, data in entries(left, damage):
            counter.advance()
            try:
                other = right.get(key)
            except CorruptError as problem:
                damage.add(problem)
                continue
            if other is None:
                tell("-", key, data, None)
            elif data != other and not (objects and _same(key, data, other, coding)):
                tell("~", key, data, other)
        for key in keys_of(right):
            counter.advance()
            if key not in left:
                try:
                    tell("+", key, None, right[key])
                except CorruptError as problem:
                    damage.add(problem)
    damage.settle(ctx)
    if found:
        ctx.exit(NEGATIVE)


def _shown(key: bytes, data: bytes, coding: Coding) -> str:
    try:
        seen = look(key, data, coding)
    except CodecError as problem:
        return printable(f"<{problem}>")
    return one_line(seen.summary if seen.object is MISSING else literal(seen.object), _SHOWN_CHARACTERS)


def _same(key: bytes, data: bytes, other: bytes, coding: Coding) -> bool:
    try:
        objects: list[Any] = [look(key, each, coding).object for each in (data, other)]
        return MISSING not in objects and bool(objects[0] == objects[1])
    except (CodecError, RecursionError):
        return False
