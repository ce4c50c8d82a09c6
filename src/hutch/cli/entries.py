"""``hutch get``, ``set`` and ``del``: one entry, or a few."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from hutch.cli.coding import Coding, reading_options, writing_options
from hutch.cli.database import open_database, transaction_of
from hutch.cli.exits import NEGATIVE, UNREADABLE, Failure
from hutch.cli.options import (
    KeyFormat,
    create_option,
    json_option,
    key_argument,
    key_format_option,
    keys_argument,
    name_argument,
    timeout_option,
)
from hutch.cli.values import MISSING, literal, look

__all__ = ["delete", "fetch", "get", "set_"]

_FORMS = ("text", "json", "literal")


def _missing(name: str, key: bytes, key_format: KeyFormat) -> Failure:
    return Failure(f"{name} has no key '{key_format.show(key)}'; `hutch keys {name}` lists them", NEGATIVE)


def fetch(name: str, key: bytes, key_format: KeyFormat, timeout: float | None) -> bytes:
    """The stored bytes of an entry.

    Raises:
        Failure: there is no such database, or key.
    """
    with open_database(name, "r", timeout=timeout) as database:
        data = database.get(key)
    if data is None:
        raise _missing(name, key, key_format)
    return bytes(data)


@click.command()
@name_argument
@key_argument
@click.option("--raw", is_flag=True, help="The stored bytes as they are, and nothing else.")
@click.option("--text", is_flag=True, help="Text and bytes without quotes.")
@json_option
@key_format_option
@timeout_option
@reading_options
def get(
    name: str,
    key: str,
    raw: bool,
    text: bool,
    as_json: bool,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """Print the value of KEY.

    Shows the object that it stands for, as Python writes it. A pickle that names classes is not made an object, but
    described in a line (and the exit code is 5), unless you say --unpickle. Exit code 1: there is no such key.
    """
    where = key_format.parse(key)
    data = fetch(name, where, key_format, timeout)
    if raw:
        sys.stdout.buffer.write(data)
        return
    seen = look(where, data, coding)
    if as_json:
        import json

        from hutch.cli.records import key_field, value_fields

        click.echo(json.dumps({"key": key_field(where), **value_fields(data, seen)}))
    elif seen.object is MISSING:
        click.echo(seen.summary)
    elif text and isinstance(seen.object, str):
        click.echo(seen.object)
    elif text and isinstance(seen.object, bytes | bytearray):
        sys.stdout.buffer.write(bytes(seen.object) + b"\n")
    else:
        click.echo(literal(seen.object, width=_width()))
    if seen.object is MISSING:
        sys.exit(UNREADABLE)


def _width() -> int | None:
    """Lay values out on a terminal; a pipe gets a line for each."""
    if not sys.stdout.isatty():
        return None
    return max(os.get_terminal_size(sys.stdout.fileno()).columns, 20)


@click.command("set")
@name_argument
@key_argument
@click.argument("value", metavar="VALUE")
@click.option("--as", "form", type=click.Choice(_FORMS), default="text", show_default=True, help="What VALUE is.")
@create_option
@key_format_option
@timeout_option
@writing_options
def set_(
    name: str,
    key: str,
    value: str,
    form: str,
    create: bool,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """Store VALUE under KEY.

    VALUE is text, unless --as says that it is JSON, or a literal of Python; `-` reads it from stdin, to the last byte.
    With --codec raw its bytes are stored as they are, as `dbm` does. No database is made without --create.
    """
    where = key_format.parse(key)
    data = sys.stdin.buffer.read() if value == "-" else os.fsencode(value)
    thing: Any = data if coding.codec == "raw" else _object_of(data, form)
    codec = coding.writer()
    try:
        encoded = codec.encode(where, thing)
    except (TypeError, ValueError) as problem:
        raise click.UsageError(
            f"VALUE cannot be stored with --codec {coding.codec or 'pickle'}: {problem}"
        ) from problem
    with open_database(name, "w", timeout=timeout, create=create) as database:
        if coding.codec is None:
            _check_kind(name, database, where, coding)
        database[where] = bytes(encoded)


def _check_kind(name: str, database: Any, key: bytes, coding: Coding) -> None:
    """Refuse to put the first plain pickle among values of another kind."""
    from hutch.cli.database import keys_of
    from hutch.errors import HutchError

    for neighbour in (key, next(keys_of(database), None)):
        try:
            data = None if neighbour is None else database.get(neighbour)
            kind = "" if neighbour is None or data is None else look(neighbour, data, Coding()).kind
        except HutchError:
            continue  # damaged, and so no example
        if kind == "bytes":
            raise click.UsageError(
                f"the values of {name} are no pickles: say --codec raw (or json, msgpack…) to store one of their kind, "
                "--codec pickle to store a pickle among them"
            )
        if kind == "closed" and not (coding.signed or coding.encrypted):
            raise click.UsageError(
                f"the values of {name} are signed or encrypted: --signed or --encrypted stores one of their kind, "
                "--codec pickle a plain one among them"
            )
        if kind:
            return


def _object_of(data: bytes, form: str) -> Any:
    try:
        text = data.decode("utf-8")
        if form == "json":
            import json

            return json.loads(text)
        if form == "literal":
            import ast

            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as problem:
        advice = "; --codec raw stores any bytes" if isinstance(problem, UnicodeDecodeError) else ""
        raise click.UsageError(f"VALUE is no {form}: {problem}{advice}") from None
    return text


@click.command("del")
@name_argument
@keys_argument
@click.option("--force", "-f", is_flag=True, help="It is fine if a key is not there.")
@key_format_option
@timeout_option
def delete(name: str, keys: tuple[str, ...], force: bool, key_format: KeyFormat, timeout: float | None) -> None:
    """Delete KEYs.

    All of them, or none if one is not there (exit code 1).
    """
    wanted = [key_format.parse(key) for key in keys]
    with open_database(name, "w", timeout=timeout) as database, transaction_of(database):
        there = [key for key in wanted if key in database]
        if not force and len(there) < len(wanted):
            raise _missing(name, next(key for key in wanted if key not in there), key_format)
        for key in dict.fromkeys(there):
            del database[key]
