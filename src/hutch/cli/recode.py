"""``hutch recode``: all values under another codec, or with another wrapping."""

from __future__ import annotations

from typing import Any

import click

from hutch.cli.coding import Coding, writing_options
from hutch.cli.database import keys_of, open_database
from hutch.cli.exits import UNREADABLE, Failure
from hutch.cli.layers import unwrap
from hutch.cli.options import name_argument, timeout_option
from hutch.cli.progress import steps
from hutch.cli.values import MISSING, look
from hutch.codecs.base import Codec, joined
from hutch.errors import CodecError, CorruptError

__all__ = ["command"]

_BATCH_COUNT = 500
_BATCH_BYTES = 8 << 20


class _Recoder:
    """Makes the new bytes of one value of the old ones.

    Without a codec only the wrapping changes, and no value is made an object.
    """

    def __init__(self, source: Coding, target: Coding) -> None:
        self._source = source
        self._is_rewrap = target.codec is None
        self._codec: Codec = target.writer("raw" if self._is_rewrap else None)

    def __call__(self, key: bytes, data: bytes) -> bytes:
        """The new bytes.

        Raises:
            CodecError: the old ones may not be read, or what they are cannot be written so.
        """
        if self._is_rewrap:
            outer = unwrap(key, data, self._source.secrets)
            if outer.closed:
                raise CodecError(f"the value of {key!r}: {outer.closed}", key=key)
            return joined(self._codec.encode(key, outer.data))
        seen = look(key, data, self._source)
        if seen.object is MISSING:
            raise CodecError(f"the value of {key!r} is {seen.summary}", key=key)
        try:
            return joined(self._codec.encode(key, seen.object))
        except (TypeError, ValueError) as problem:
            raise CodecError(f"the value of {key!r} cannot be written so: {problem}", key=key) from problem


@click.command()
@name_argument
@click.option(
    "--from",
    "source",
    type=click.Choice(["pickle", "safe", "json", "msgpack", "plist", "marshal", "raw"]),
    help="What the values are now. Default: what each looks like.",
)
@click.option(
    "--unpickle", is_flag=True, help="Make objects of pickles that name classes. This runs whatever they say."
)
@timeout_option
@writing_options
def command(name: str, source: str | None, timeout: float | None, coding: Coding) -> None:
    """Rewrite all values under another codec; without --codec, only with another wrapping.

    With --compress, --signed or --encrypted values are compressed, signed or encrypted, without any of them these are
    taken off. All values are looked at first: if one cannot be rewritten, nothing is. It may be interrupted and run
    again: each value is whole, in the old form or in the new one.
    """
    old = Coding(codec=source, unpickle=coding.unpickle, secrets=coding.secrets)
    recoder = _Recoder(old, coding)
    with open_database(name, "w", timeout=timeout) as database:
        _check_all(database, recoder)
        with steps("rewriting", len(database)) as counter:
            changed = _rewrite(database, recoder, counter)
        database.sync()
    click.echo(f"{changed:,} of {counter.done:,} values rewritten")


def _check_all(database: Any, recoder: _Recoder) -> None:
    with steps("looking", len(database)) as counter:
        for key in keys_of(database):
            counter.advance()
            data = database.get(key)
            if data is None:
                continue
            try:
                recoder(key, data)
            except (CodecError, CorruptError) as problem:
                raise Failure(f"{problem}; nothing has been changed", UNREADABLE) from problem


def _rewrite(database: Any, recoder: _Recoder, counter: Any) -> int:
    changed = 0
    waiting: list[bytes] = []
    size = 0
    for key in list(keys_of(database)):
        waiting.append(key)
        size += len(database.get(key) or b"")
        if len(waiting) >= _BATCH_COUNT or size >= _BATCH_BYTES:
            changed += _rewrite_batch(database, recoder, waiting)
            counter.advance(len(waiting))
            waiting, size = [], 0
    changed += _rewrite_batch(database, recoder, waiting)
    counter.advance(len(waiting))
    return changed


def _rewrite_batch(database: Any, recoder: _Recoder, keys: list[bytes]) -> int:
    """Rewrite a few values, with nobody writing in between."""
    with database.transaction():
        changes = {}
        for key in keys:
            data = database.get(key)
            if data is not None and (new := recoder(key, data)) != data:
                changes[key] = new
        database.update(changes)
    return len(changes)
