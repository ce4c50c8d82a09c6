"""``hutch load``: what ``hutch dump`` has written, and any other lines of JSON with a key and a value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, Any

import click

from hutch.cli.coding import CODECS, Coding, writing_options
from hutch.cli.database import open_database, transaction_of
from hutch.cli.exits import DAMAGED, USAGE, Failure
from hutch.cli.jsonvalues import untagged
from hutch.cli.options import create_option, json_option, name_argument, timeout_option
from hutch.cli.progress import steps
from hutch.cli.quantities import count_text
from hutch.cli.records import VERSION, read_bytes
from hutch.codecs.base import Codec, joined

__all__ = ["command"]

_BATCH_COUNT = 1000
_BATCH_BYTES = 8 << 20


class _Lines:
    """The entries of a file, and what its first and last lines say about them."""

    def __init__(self, source: IO[bytes], coding: Coding, *, atomic: bool) -> None:
        self._atomic = atomic
        self._source = source
        self._coding = coding
        self._codecs: dict[int | None, Codec] = {}
        self.total: int | None = None
        self.has_header = False
        self.has_end = False
        self.count = 0

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        for number, line in enumerate(self._source, 1):
            if not line.strip():
                continue
            if self.has_end:
                raise Failure(f"line {number}: there is something behind the last line of the dump", USAGE)
            try:
                fields = json.loads(line)
                if not isinstance(fields, dict):
                    raise ValueError("it is no JSON object")  # a fault of the data
                if "hutch" in fields and "key" not in fields:
                    self._note(fields)
                    continue
                entry = self._entry(fields)
            except (ValueError, TypeError, RecursionError) as problem:
                kept = (
                    "nothing has been stored"
                    if self._atomic or not self.count
                    else f"what came before it is stored: {count_text(self.count, 'entry', 'entries')}"
                )
                raise Failure(
                    f"line {number} is not one of a dump: {problem}; {kept}",
                    USAGE,
                ) from None
            self.count += 1
            yield entry

    def _note(self, fields: dict[str, Any]) -> None:
        if fields["hutch"] == "end":
            self.has_end = True
            if fields.get("entries") != self.count:
                raise Failure(
                    f"the dump says that it has {fields.get('entries')} entries, but {self.count} came: it is damaged",
                    DAMAGED,
                )
            return
        if fields["hutch"] != "dump" or fields.get("version") != VERSION:
            raise ValueError(f"a dump of version {fields.get('version')!r}; this hutch reads {VERSION}")
        self.has_header = True
        total = fields.get("entries")
        self.total = total if isinstance(total, int) else None
        codec = fields.get("codec")
        if codec is not None and codec not in CODECS:
            raise ValueError(f"its codec {codec!r} is none of {', '.join(CODECS)}")
        if self._coding.codec is None and codec is not None:
            self._coding = replace(self._coding, codec=codec)

    def _entry(self, fields: dict[str, Any]) -> tuple[bytes, bytes]:
        if "key" not in fields or ("value" in fields) == ("data" in fields):
            raise ValueError('it needs a "key", and a "value" or "data"')
        key = read_bytes(fields["key"])
        if "data" in fields:
            return key, read_bytes(fields["data"])
        codec = self._codec(fields.get("protocol"))
        return key, joined(codec.encode(key, untagged(fields["value"])))

    def _codec(self, protocol: Any) -> Codec:
        if protocol is not None and protocol not in range(6):
            raise ValueError(f"there is no protocol {protocol!r}")
        if protocol not in self._codecs:
            coding = self._coding
            if coding.protocol is None:
                coding = replace(coding, protocol=4 if protocol is None else protocol)
            self._codecs[protocol] = coding.writer()
        return self._codecs[protocol]


@click.command()
@name_argument
@click.argument("file", metavar="[FILE]", type=click.Path(dir_okay=False, allow_dash=True), default="-")
@create_option
@json_option
@click.option("--atomic", is_flag=True, help="All or nothing: one transaction, which is kept in memory.")
@timeout_option
@writing_options
def command(
    name: str, file: str, create: bool, as_json: bool, atomic: bool, timeout: float | None, coding: Coding
) -> None:
    """Store what `hutch dump` has written.

    From FILE or stdin. Keys that are there already get the new value. Takes any lines like {"key": "apples", "value":
    {"count": 3}}. Entries are stored in batches: after an error or Ctrl-C those that came before it are there, and
    the same command may be run again. Exit code 3: the dump was cut off.
    """
    with click.open_file(file, "rb") as source, open_database(name, "w", timeout=timeout, create=create) as database:
        lines = _Lines(source, coding, atomic=atomic)
        with steps("loading") as counter:
            if atomic:
                with transaction_of(database):
                    _store(database, lines, counter)
            else:
                _store(database, lines, counter)
    if lines.has_header and not lines.has_end:
        came = count_text(lines.count, "entry", "entries")
        raise Failure(
            f"the dump ends after {came} without its last line: it was cut off. What it had is stored",
            DAMAGED,
        )
    stored = f"{count_text(lines.count, 'entry', 'entries')} stored"
    click.echo(json.dumps({"entry_count": lines.count}) if as_json else stored)


def _store(database: Any, lines: _Lines, counter: Any) -> None:
    batch: dict[bytes, bytes] = {}
    size = 0
    try:
        for key, value in lines:
            batch[key] = value
            size += len(key) + len(value)
            if len(batch) >= _BATCH_COUNT or size >= _BATCH_BYTES:
                counter.total = lines.total
                full, batch, size = batch, {}, 0
                database.update(full)
                counter.advance(len(full))
    finally:
        # Also what came before an error: the message says that it is there.
        database.update(batch)
    counter.advance(len(batch))
