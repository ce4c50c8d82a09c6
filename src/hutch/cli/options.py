"""The arguments and options that commands share, and what the shell completes them to."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hutch.cli.escapes import escaped, unescaped

if TYPE_CHECKING:
    TextType = click.ParamType[str]  # older versions of click have no such brackets
else:
    TextType = click.ParamType

__all__ = [
    "KeyFormat",
    "NameType",
    "create_option",
    "json_option",
    "key_argument",
    "key_format_option",
    "keys_argument",
    "name_argument",
    "prefix_option",
    "timeout_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])

_LOCK_SECONDS = 30.0
_COMPLETION_SECONDS = 0.5
_COMPLETED_KEYS = 200
_SEARCHED_KEYS = 50_000


class NameType(TextType):
    """The name of a database; completed to those of the files that are there."""

    name = "database"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not value:
            self.fail("it is empty", param, ctx)
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        folder, start = os.path.split(incomplete)
        found = set()
        try:
            with os.scandir(folder or ".") as files:
                for file in files:
                    base, suffix = os.path.splitext(file.name)
                    if not file.name.startswith(start):
                        continue
                    if file.is_dir():
                        found.add(os.path.join(folder, file.name) + os.sep)
                    elif suffix == ".dat":
                        found.add(os.path.join(folder, base))
        except OSError:
            return []
        return [CompletionItem(name) for name in sorted(found)] or [CompletionItem(incomplete, type="file")]


class _KeyType(TextType):
    """A key; completed to those of the database that the line names."""

    name = "key"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from itertools import islice

        from click.shell_completion import CompletionItem

        from hutch.cli.database import keys_of, open_database

        try:
            with open_database(ctx.params["name"], "r", timeout=_COMPLETION_SECONDS) as database:
                names = (escaped(key) for key in islice(keys_of(database), _SEARCHED_KEYS))
                found = (name for name in names if name.startswith(incomplete))
                return [CompletionItem(name) for name in islice(found, _COMPLETED_KEYS)]
        except Exception:  # noqa: BLE001  # nothing to offer: the command itself will say what is wrong
            return []


class KeyFormat:
    """How keys are written on the command line and in the output: escaped, raw or base64."""

    def __init__(self, name: str) -> None:
        self.name = name

    def parse(self, text: str) -> bytes:
        """The key that the user has written.

        Raises:
            BadParameter: it is not in this form.
        """
        if self.name == "raw":
            return os.fsencode(text)
        try:
            return base64.b64decode(text, validate=True) if self.name == "base64" else unescaped(text)
        except binascii.Error as problem:
            raise click.BadParameter(f"{text!r} is no base64: {problem}", param_hint="KEY") from None
        except ValueError as problem:
            raise click.BadParameter(str(problem), param_hint="KEY") from None

    def show(self, key: bytes) -> str:
        """The key for a line of output."""
        if self.name == "raw":
            return os.fsdecode(key)
        if self.name == "base64":
            return base64.b64encode(key).decode()
        return escaped(key)


def _key_format(ctx: click.Context, param: click.Parameter, value: str) -> KeyFormat:
    return KeyFormat(value)


def name_argument(command: Command) -> Command:
    """NAME of a database."""
    return click.argument("name", type=NameType(), metavar="NAME")(command)


def key_argument(command: Command) -> Command:
    """One KEY."""
    return click.argument("key", type=_KeyType(), metavar="KEY")(command)


def keys_argument(command: Command) -> Command:
    """One KEY or more."""
    return click.argument("keys", type=_KeyType(), metavar="KEY...", nargs=-1, required=True)(command)


def key_format_option(command: Command) -> Command:
    """``--key-format``."""
    return click.option(
        "--key-format",
        "-k",
        type=click.Choice(["escaped", "raw", "base64"]),
        default="escaped",
        show_default=True,
        callback=_key_format,
        help="How keys are written, here and in the output.",
    )(command)


def prefix_option(command: Command) -> Command:
    """``--prefix``."""
    return click.option("--prefix", metavar="KEY", default="", help="Only keys that begin so.")(command)


def timeout_option(command: Command) -> Command:
    """``--timeout``."""
    return click.option(
        "--timeout",
        type=click.FloatRange(min=0),
        default=_LOCK_SECONDS,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for other processes.",
    )(command)


def create_option(command: Command) -> Command:
    """``--create``."""
    return click.option("--create", is_flag=True, help="Make the database if there is none.")(command)


def json_option(command: Command) -> Command:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(command)
