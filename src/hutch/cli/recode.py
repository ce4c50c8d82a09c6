"""``hutch recode``: all values under another codec, or with another wrapping."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import click

from hutch.cli.coding import Coding, writing_options
from hutch.cli.database import keys_of, open_database, transaction_of
from hutch.cli.exits import UNREADABLE, Failure
from hutch.cli.layers import unwrap
from hutch.cli.options import json_option, name_argument, timeout_option
from hutch.cli.progress import steps
from hutch.cli.values import MISSING, look
from hutch.codecs.base import Codec, joined
from hutch.codecs.framing import guess
from hutch.errors import CodecError, CorruptError

__all__ = ["command"]

_BATCH_COUNT = 100  # in one transaction; others wait for it
_PASSES = 10  # others may store under the old codec for as long as they do not know of the new one


# What bytes look like, where the look is sure, and the codec that it means.
_SURE = {"Pickle": "pickle", "Pickle(buffers=True)": "pickle", "Json": "json", "Plist": "plist"}


class _Recoder:
    """Makes the new bytes of one value of the old ones.

    Without a codec only the wrapping changes, and no value is made an object.

    What looks as if it were rewritten already may have been planted. So a value without a signature is none of a
    database whose values are signed, and where pickles are to be run all values are pickles. What would leave a mixture
    of such values when it is interrupted is one transaction.
    """

    def __init__(self, source: Coding, target: Coding, *, trusts_unsigned: bool) -> None:
        self._source = source
        self._is_rewrap = target.codec is None
        self._codec: Codec = target.writer("raw" if self._is_rewrap else None)
        self._is_keyed = target.signed or target.encrypted
        self._trusts_unsigned = trusts_unsigned
        self._runs = source.codec is None and source.unpickle and target.codec == "pickle"
        self._verified: bool | None = None  # whether values are signed or encrypted; None: none has been looked at
        self._kind: str | None = None  # what all values are to be, where that matters
        names = ("pickle", "json", "plist")
        self._tells = self._is_rewrap or (source.codec is None and target.codec in (*names, "safe") and not self._runs)

    @property
    def is_resumable(self) -> bool:
        """Whether an interrupted run may be begun anew: each value tells what it is by now, and may be believed."""
        return self._tells and (self._trusts_unsigned or self._verified in (None, self._is_keyed))

    def __call__(self, key: bytes, data: bytes) -> bytes:
        """The new bytes.

        Raises:
            CodecError: the old ones may not be read, or what they are cannot be written so.
        """
        outer = unwrap(key, data, self._source.secrets)
        if outer.closed:
            raise CodecError(f"the value of {key!r}: {outer.closed}", key=key)
        if self._verified is None:
            self._verified = outer.verified
        elif outer.verified is not self._verified and not self._trusts_unsigned:
            unlike = "is" if outer.verified else "is not"
            raise CodecError(
                f"the value of {key!r} {unlike} signed or encrypted, unlike others here: somebody may have put it "
                "there who has no key. Delete what you do not trust; --trust-unsigned takes the rest",
                key=key,
            )
        if self._is_rewrap:
            return joined(self._codec.encode(key, outer.data))
        source = self._source
        if source.codec is None:
            name = _SURE.get(guess(outer.data) or "")
            if name is None:
                raise CodecError(f"nobody can tell what the value of {key!r} is: --from says it", key=key)
            self._kind = self._kind or name
            if self._runs and name != self._kind:
                raise CodecError(
                    f"the value of {key!r} looks like {name}, others here like {self._kind}, and pickles are to be "
                    "run: --from says what they are",
                    key=key,
                )
            source = replace(source, codec=name)
        seen = look(key, outer.data, source)
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
@click.option(
    "--trust-unsigned",
    is_flag=True,
    help="Take values that are neither signed nor encrypted beside others that are. Anybody can have written them.",
)
@json_option
@timeout_option
@writing_options
def command(
    name: str, source: str | None, as_json: bool, timeout: float | None, coding: Coding, trust_unsigned: bool
) -> None:
    """Rewrite all values under another codec.

    Without --codec only their wrapping changes: with --compress, --signed or --encrypted values are compressed,
    signed or encrypted, without any of them these are taken off. All values are looked at first: if one cannot be
    rewritten, nothing is. Each value is whole at any time, in the old form or in the new one: after Ctrl-C, run it
    again. A database of signed or encrypted values has no others: one that is not may have been planted, and is
    refused.
    """
    old = Coding(codec=source, unpickle=coding.unpickle, secrets=coding.secrets)
    recoder = _Recoder(old, coding, trusts_unsigned=trust_unsigned)
    with open_database(name, "w", timeout=timeout) as database:
        _check_all(database, recoder)
        with steps("rewriting", len(database)) as counter:
            changed = _rewrite(database, recoder, counter)
        database.sync()
    if as_json:
        click.echo(json.dumps({"rewritten_count": changed, "entry_count": counter.done}))
    else:
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
    if not recoder.is_resumable:
        # All or nothing, since nobody could tell the new values from the old ones, or from planted ones. Kept in
        # memory until the end.
        with transaction_of(database):
            return _rewrite_batch(database, recoder, list(keys_of(database)), counter)
    changed = 0
    for _ in range(_PASSES):
        before, commits = _sequence(database), 0
        keys = list(keys_of(database))
        for start in range(0, len(keys), _BATCH_COUNT):
            count = _rewrite_batch(database, recoder, keys[start : start + _BATCH_COUNT], counter)
            changed += count
            commits += count > 0
        if _sequence(database) in (0, before + commits):
            break  # nobody else has stored anything meanwhile
        counter.begin(counter.label)
    return changed


def _sequence(database: Any) -> int:
    """Number of the last commit, of whichever process; 0 where nobody counts."""
    return int(getattr(getattr(database, "store", None), "sequence", 0))


def _rewrite_batch(database: Any, recoder: _Recoder, keys: list[bytes], counter: Any) -> int:
    """Rewrite some values, with nobody writing in between."""
    changed = 0
    with transaction_of(database):
        for key in keys:
            data = database.get(key)
            if data is not None and (new := recoder(key, data)) != data:
                database[key] = new
                changed += 1
            counter.advance()
    return changed
