"""``hutch convert``: databases of other libraries, brought over and back."""

from __future__ import annotations

import json
import os

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import name_of, require_folder
from hutch.cli.exits import UNAVAILABLE, UNREADABLE, Failure
from hutch.cli.options import NameType, json_option, timeout_option
from hutch.cli.progress import steps
from hutch.cli.quantities import count_text, size_text

__all__ = ["command"]

# What a name's suffix says about the form that is meant.
_SUFFIXES = {
    ".jsonl": "jsonl",
    ".plist": "plist",
    ".pickle": "pickle",
    ".pkl": "pickle",
    ".sqlite": "dbm.sqlite3",
    ".sqlite3": "dbm.sqlite3",
    ".gdbm": "dbm.gnu",
}
_LABELS = {"copy": "copying", "verify": "verifying"}


@click.command()
@click.argument("source", type=NameType(), metavar="SRC")
@click.argument("target", type=NameType(), metavar="DST")
@click.option("--to", metavar="FORM", help="The form of DST. Default: what its suffix says, else hutch's own.")
@click.option("--from", "kind", metavar="FORM", help="The form of SRC. Default: what it looks like.")
@click.option("--table", metavar="TABLE", help="The table of an SQLite file, if not the usual one.")
@click.option("--objects", is_flag=True, help="Write the objects into a document, not the stored bytes.")
@json_option
@timeout_option
@reading_options
def command(
    source: str,
    target: str,
    to: str | None,
    kind: str | None,
    table: str | None,
    objects: bool,
    as_json: bool,
    timeout: float | None,
    coding: Coding,
) -> None:
    """Bring a database into another form, or from one.

    Forms: hutch, gnu, ndbm, sqlite3, sqlitedict, and the documents jsonl, plist and pickle; some more can be read. Keys
    and stored bytes are carried over as they are, so a shelf stays a shelf. DST is written under another name, read
    back, compared, and only then takes its name; nothing is overwritten. After Ctrl-C or an error there is no DST.
    """
    from hutch.foreign import convert
    from hutch.foreign.converting import form_named, source_form

    try:
        form = form_named(to or _form_of(target))
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="--to") from None
    try:
        kind = source_form(kind) if kind else None
    except ValueError as problem:
        raise click.BadParameter(str(problem), param_hint="--from") from None
    if form == "hutch.dbm":
        target = name_of(target)
    require_folder(target)
    codec = None
    if objects or coding.codec is not None:
        from hutch.cli.autocodec import AutoCodec

        codec = AutoCodec(coding)
    with steps("copying") as counter:

        def tell(step: str, done: int, total: int | None) -> None:
            if counter.label != _LABELS[step]:
                counter.begin(_LABELS[step])
            counter.total = total
            counter.advance(done - counter.done)

        try:
            done = convert(
                name_of(source),
                target,
                to=form,
                kind=kind,
                codec=codec,
                table=table,
                unpickle=coding.unpickle,
                timeout=timeout,
                progress=tell,
            )
        except FileNotFoundError as problem:
            raise Failure(f"{problem.filename}: no such file or database", UNAVAILABLE) from problem
        except FileExistsError as problem:
            raise Failure(f"{problem.filename} exists already: choose another name", UNAVAILABLE) from problem
        except ValueError as problem:
            if isinstance(problem, OSError):
                raise
            raise Failure(f"{problem}; nothing has been written", UNREADABLE) from problem
    if as_json:
        facts = {
            "source_kind": done.source_kind,
            "target_kind": done.target_kind,
            "entry_count": done.entry_count,
            "value_bytes": done.value_bytes,
        }
        click.echo(json.dumps(facts))
        return
    what = f"{count_text(done.entry_count, 'entry', 'entries')}, {size_text(done.value_bytes)}"
    click.echo(f"{target}: {what}, from {done.source_kind} to {done.target_kind}, read back and compared")


def _form_of(target: str) -> str:
    return _SUFFIXES.get(os.path.splitext(target)[1].lower(), "hutch.dbm")
