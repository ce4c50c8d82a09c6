"""``hutch watch``: changes as they happen, whichever process makes them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import engine_of, exists, name_of, open_database
from hutch.cli.escapes import printable
from hutch.cli.exits import UNAVAILABLE, Failure
from hutch.cli.known import Known
from hutch.cli.options import KeyFormat, json_option, key_format_option, name_argument, prefix_option, timeout_option
from hutch.cli.progress import steps
from hutch.cli.quantities import count_text
from hutch.cli.values import MISSING, literal, look, one_line
from hutch.errors import CodecError, CorruptError

__all__ = ["Watcher", "command"]

Change = tuple[str, bytes]  # "+", "~" or "-", and the key


class Watcher:
    """Finds out what has changed since it was last asked.

    The journal says it, as far back as it reaches; where somebody has begun a new one, or replaced everything, what is
    there is compared with what was there: a few numbers for each key are kept for that, in a temporary file.
    """

    def __init__(self, store: Any) -> None:
        self._store = store
        self._known = Known()
        # What others do meanwhile has a later number, and is told by the journal, or by comparing everything.
        self._sequence = store.sequence
        with steps("reading", store.count()) as counter:
            for key in store.keys():  # noqa: SIM118  # a store is no dict
                entry = store.find_entry(key)
                if entry is not None:
                    self._known.put(key, self._sign(key, entry))
                counter.advance()

    @property
    def key_count(self) -> int:
        return len(self._known)

    def poll(self) -> Iterator[Change]:
        """The changes since the last time, in their order where the journal has it."""
        store = self._store
        sequence = store.sequence
        if sequence == self._sequence:
            return
        changes = store.changes_since(self._sequence)
        if changes is None:
            yield from self._compare_all()
            return
        # Commits that came after `sequence` was read come once more, and then nothing has changed since.
        self._sequence = sequence
        for key in dict.fromkeys(key for key, _ in changes):
            yield from self._compare(key)

    def close(self) -> None:
        self._known.close()

    def _compare_all(self) -> Iterator[Change]:
        """Compare everything that is there with everything that was there."""
        self._sequence = self._store.sequence
        self._known.begin_round()
        for key in self._store.keys():  # noqa: SIM118
            yield from self._compare(key)
        for key in self._known.unseen():
            yield from self._compare(key)

    def _compare(self, key: bytes) -> Iterator[Change]:
        was = self._known.get(key)
        entry = self._store.find_entry(key)
        if entry is None:
            if was is not None:
                self._known.drop(key)
                yield "-", key
            return
        sign = self._sign(key, entry)
        self._known.put(key, sign)
        if sign != was:
            yield ("+" if was is None else "~"), key

    def _sign(self, key: bytes, entry: Any) -> int:
        """A number that another value will not have."""
        from hutch import format as fmt

        line, _, size, checksum = entry
        if not line & (fmt.UNVERIFIED | fmt.LOST):
            return int(size << 32 | checksum)
        # The stdlib has written it, and keeps no checksum.
        try:
            value = self._store.get(key)
        except CorruptError:
            value = None
        return -1 if value is None else int(fmt.hash64(value))


@click.command()
@name_argument
@prefix_option
@click.option("--interval", type=click.FloatRange(min=0.01), default=0.2, show_default=True, metavar="SECONDS")
@click.option("--count", "-n", type=click.IntRange(min=1), metavar="N", help="End after N changes.")
@click.option("--keys-only", is_flag=True, help="No values.")
@json_option
@key_format_option
@timeout_option
@reading_options
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    prefix: str,
    interval: float,
    count: int | None,
    keys_only: bool,
    as_json: bool,
    key_format: KeyFormat,
    timeout: float | None,
    coding: Coding,
) -> None:
    """Print changes as they happen, whoever makes them.

    Until Ctrl-C. "+" is a new key, "~" a new value, "-" a deleted key. The value shown is the one that is there when
    the line is printed. Writers do not wait for the watcher; of changes in quick succession some may be shown as one,
    and a value that is stored once more is no change.
    """
    start = key_format.parse(prefix)
    base = name_of(name)
    with open_database(name, "r", timeout=timeout) as database:
        watcher = Watcher(engine_of(database, "watch"))
        ctx.call_on_close(watcher.close)
        click.echo(f"Watching {base}, {count_text(watcher.key_count, 'key')}; Ctrl-C ends it.", err=True)
        left = count
        while True:
            for sign, key in watcher.poll():
                if not key.startswith(start):
                    continue
                click.echo(_line(database, sign, key, keys_only, as_json, key_format, coding))
                if left is not None:
                    left -= 1
                    if not left:
                        return
            if not exists(base):
                raise Failure(f"{base} has been removed", UNAVAILABLE)
            time.sleep(interval)


def _line(
    database: Any, sign: str, key: bytes, keys_only: bool, as_json: bool, key_format: KeyFormat, coding: Coding
) -> str:
    fields: dict[str, Any] = {}
    shown = ""
    if sign != "-" and not keys_only:
        try:
            data = database.get(key)
            if data is not None:
                seen = look(key, data, coding)
                if as_json:
                    from hutch.cli.records import value_fields

                    fields = value_fields(data, seen)
                else:
                    shown = one_line(seen.summary if seen.object is MISSING else literal(seen.object))
        except (CorruptError, CodecError) as problem:
            shown = printable(f"<{problem}>")
    if as_json:
        from hutch.cli.records import key_field

        return json.dumps({"change": sign, "key": key_field(key), **fields})
    return f"{sign} {key_format.show(key)}\t{shown}".rstrip("\t")
