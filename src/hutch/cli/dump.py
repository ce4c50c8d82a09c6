"""``hutch dump``: every entry as a line of JSON."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, Any

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import Damage, entries, open_database, require_folder
from hutch.cli.exits import UNREADABLE, told
from hutch.cli.options import KeyFormat, key_format_option, name_argument, prefix_option, timeout_option
from hutch.cli.progress import notice, steps
from hutch.cli.records import VERSION, key_field, value_fields
from hutch.cli.values import MISSING, Seen, look
from hutch.errors import CodecError

__all__ = ["command"]

_DEFAULT_PROTOCOL = 4


def _line(out: IO[bytes], fields: dict[str, Any]) -> None:
    try:
        text = json.dumps(fields, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and UTF-8 cannot
        text = json.dumps(fields).encode("ascii")
    out.write(text + b"\n")


@click.command()
@name_argument
@click.argument("file", metavar="[FILE]", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@click.option("--bytes", "as_bytes", is_flag=True, help="The stored bytes of every value, none as an object.")
@click.option(
    "--unwrap", is_flag=True, help="Objects of compressed, signed and encrypted values too; load stores them without."
)
@prefix_option
@key_format_option
@timeout_option
@reading_options
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    file: str,
    as_bytes: bool,
    unwrap: bool,
    prefix: str,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """Write every entry as a line of JSON.

    To FILE or stdout. `hutch load` makes the same of it. A value that names only data is written as an object; types
    that JSON lacks have a tag, {"$tuple": [1, 2]}. Any other value is written as the bytes that are stored, so
    nothing is lost and nothing is run. The file is written beside FILE and takes its place at the end. Damaged
    entries are left out and reported (exit code 3).
    """
    damage = Damage()
    start = key_format.parse(prefix)
    with open_database(name, "r", timeout=timeout) as database, _target(file) as out:
        total = len(database)
        with steps("dumping", total, prints=file == "-") as counter:
            header = {"hutch": "dump", "version": VERSION, "entries": total, "protocol": _DEFAULT_PROTOCOL}
            if coding.codec not in (None, "pickle", "safe"):
                header["codec"] = coding.codec
            _line(out, header)
            written = unread = 0
            for key, data in entries(database, damage):
                counter.advance()
                if not key.startswith(start):
                    continue
                try:
                    seen = Seen(len(data), "bytes") if as_bytes else look(key, data, coding)
                except CodecError as problem:
                    notice(f"Unreadable, and written as bytes: {told(problem)}")
                    unread += 1
                    seen = Seen(len(data), "bytes")
                if seen.layers and not unwrap:
                    seen = replace(seen, object=MISSING, protocol=None)
                _line(out, {"key": key_field(key), **value_fields(data, seen), **_protocol(seen)})
                written += 1
            _line(out, {"hutch": "end", "entries": written, "damaged": len(damage.messages)})
    damage.settle(ctx)
    if unread:
        ctx.exit(UNREADABLE)


def _protocol(seen: Seen) -> dict[str, int]:
    return {} if seen.protocol in (None, _DEFAULT_PROTOCOL) else {"protocol": seen.protocol}


@contextmanager
def _target(file: str) -> Iterator[IO[bytes]]:
    """The file to write to; it takes its name when all has been written, and not after an error."""
    if file == "-":
        yield sys.stdout.buffer
        return
    require_folder(file)
    try:
        status = os.stat(file)
    except FileNotFoundError:
        umask = os.umask(0o077)
        os.umask(umask)
        mode = 0o666 & ~umask
    else:
        if not stat.S_ISREG(status.st_mode):  # a pipe, a terminal: nothing that could be put in its place
            with open(file, "wb") as out:
                yield out
            return
        mode = stat.S_IMODE(status.st_mode)
    file = os.path.realpath(file)
    temporary = f"{file}.{os.urandom(8).hex()}.tmp"
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as out:
            yield out
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.replace(temporary, file)
    except BaseException:
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass  # it could not even be made
        raise
