"""The options that say what the bytes of a value mean, and the codec that they add up to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any

import click

from hutch.codecs.base import Codec

__all__ = ["CODECS", "Coding", "reading_options", "writing_options"]

CODECS = ("pickle", "safe", "json", "msgpack", "plist", "marshal", "raw")
_METHODS = ("zlib", "bz2", "lzma", "zstd")


@dataclass(frozen=True)
class Coding:
    """What the user has said about values.

    Attributes:
        codec: one of `CODECS`; None: whatever each value looks like.
        unpickle: whether what could run code may be made an object.
        allow: classes that pickles may name beside the types of data.
        secrets: the contents of the key files.
        protocol: of pickles that are written.
        compress: how what is written is compressed, or None.
        signed: whether what is written is signed.
        encrypted: whether what is written is encrypted.
    """

    codec: str | None = None
    unpickle: bool = False
    allow: tuple[str, ...] = ()
    secrets: tuple[bytes, ...] = ()
    protocol: int | None = None
    compress: str | None = None
    signed: bool = False
    encrypted: bool = False

    def base(self, name: str) -> Codec:
        """The codec of that name, without what is wrapped around it.

        Raises:
            UsageError: a package that it needs is missing, or `allow` has what is no class.
        """
        try:
            return _base(name, self.protocol, self.allow)
        except (ImportError, ValueError) as problem:
            raise click.UsageError(str(problem)) from problem

    def writer(self, base: str | None = None) -> Codec:
        """The whole codec for values that are written, around the one of the name `base`, or `codec`."""
        codec = self.base(base or self.codec or "pickle")
        try:
            if self.compress is not None:
                from hutch.codecs.compressed import Compressed

                codec = Compressed(codec, self.compress)  # type: ignore[arg-type]  # click has checked it
            if self.signed:
                from hutch.codecs.signed import Signed

                codec = Signed(codec, self.secrets)
            if self.encrypted:
                from hutch.codecs.encrypted import Encrypted

                codec = Encrypted(codec, self.secrets)
        except (ImportError, ValueError) as problem:
            raise click.UsageError(str(problem)) from problem
        return codec


@cache
def _base(name: str, protocol: int | None, allow: tuple[str, ...]) -> Codec:
    from hutch import codecs

    if name == "raw":
        from hutch.cli.layers import Raw

        return Raw()
    if name == "pickle":
        from hutch.codecs.pickles import Pickle

        return Pickle(protocol)
    if name == "safe":
        from hutch.codecs.safe import SafePickle

        return SafePickle(allow, protocol=protocol)
    kinds = {
        "json": "Json",
        "msgpack": "MessagePack",
        "plist": "Plist",
        "marshal": "Marshal",
    }
    codec = getattr(codecs, kinds[name])()
    assert isinstance(codec, Codec)
    return codec


def _secret(path: str) -> bytes:
    """The key in a file: its bytes, or those that its one line of hexadecimal digits stands for."""
    try:
        with open(path, "rb") as file:
            data = file.read(1 << 16)
    except OSError as problem:
        raise click.BadParameter(f"{path}: {problem.strerror}", param_hint="--key-file") from None
    try:
        return bytes.fromhex(data.decode("ascii").strip()) or data
    except ValueError:
        return data


def _gather(command: Callable[..., Any]) -> Callable[..., Any]:
    """Hand the options to the command as one `coding`."""

    @wraps(command)
    def call(*arguments: Any, **options: Any) -> Any:
        taken = {
            name: options.pop(name)
            for name in ("codec", "unpickle", "allow", "protocol", "compress", "signed", "encrypted")
            if name in options
        }
        secrets = tuple(map(_secret, options.pop("key_files")))
        coding = Coding(secrets=secrets, **taken)
        if (coding.unpickle or coding.allow) and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())  # where the user's own modules are, as for `python -m`
        if (coding.signed or coding.encrypted) and not secrets:
            raise click.UsageError("--signed and --encrypted need a --key-file")
        return command(*arguments, coding=coding, **options)

    return call


_KEY_FILE = click.option(
    "--key-file",
    "key_files",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="A key of signed or encrypted values: bytes, or a line of hexadecimal digits. The first one writes, all read.",
)


def reading_options(command: Any) -> Any:
    """``--codec``, ``--unpickle``, ``--key-file``; the command gets them as `coding`."""
    result = _gather(command)
    result = _KEY_FILE(result)
    result = click.option(
        "--allow",
        multiple=True,
        metavar="MODULE.CLASS",
        help="Make objects of pickles that name this class too, and nothing else that is no data.",
    )(result)
    result = click.option(
        "--unpickle",
        is_flag=True,
        help="Make objects of pickles that name classes. This runs whatever they say: only for files that you trust.",
    )(result)
    return click.option("--codec", type=click.Choice(CODECS), help="What values are. Default: what each looks like.")(
        result
    )


def writing_options(command: Any) -> Any:
    """Those of `Coding.writer`; the command gets them as `coding`."""
    result = _gather(command)
    result = _KEY_FILE(result)
    result = click.option("--encrypted", is_flag=True, help="Encrypt values, with the first --key-file.")(result)
    result = click.option("--signed", is_flag=True, help="Sign values, with the first --key-file.")(result)
    result = click.option("--compress", type=click.Choice(_METHODS), help="Compress values.")(result)
    result = click.option(
        "--protocol", type=click.IntRange(0, 5), help="Of pickles; 2 is the last that Python 2 reads."
    )(result)
    return click.option("--codec", type=click.Choice(CODECS), help="What the values are to be. Default: pickle.")(
        result
    )
