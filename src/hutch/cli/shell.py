"""``hutch shell``: Python's prompt, where the shelf is a dict."""

from __future__ import annotations

import code
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import click

from hutch.cli.coding import Coding, reading_options
from hutch.cli.database import keys_of, open_database
from hutch.cli.exits import NEGATIVE, UNAVAILABLE, Failure, failure_of
from hutch.cli.options import create_option, name_argument, timeout_option
from hutch.cli.quantities import count_text
from hutch.errors import ReadOnlyError

__all__ = ["Completer", "command"]

_OFFERED_KEYS = 200
_SEARCHED_KEYS = 100_000
_HISTORY_LINES = 2000
_SUBSCRIPT = re.compile(r"""(\w+)\[(b?)(["'])((?:(?!\3)[^\\]|\\.)*)$""")


class Completer:
    """Completes names as Python's own prompt does, and keys within ``shelf["``.

    Args:
        namespace: of the prompt.
        closes: whether a key is followed by its quote and bracket; GNU readline puts the quote there itself.
    """

    def __init__(self, namespace: dict[str, Any], *, closes: bool) -> None:
        from rlcompleter import Completer as Names

        self._namespace = namespace
        self._closes = closes
        self._names = Names(namespace)
        self._found: list[str] = []

    def complete(self, text: str, state: int) -> str | None:
        """Number `state` of what `text`, the last word of the line, may become."""
        import readline

        line = readline.get_line_buffer()[: readline.get_endidx()]
        return self.complete_line(line, text, state)

    def complete_line(self, line: str, text: str, state: int) -> str | None:
        """As `complete`; `line` is all that stands before the cursor."""
        subscript = _SUBSCRIPT.search(line)
        if subscript is None or subscript[1] not in self._namespace:
            return self._names.complete(text, state)
        if state == 0:
            self._found = list(self._keys(subscript, text))
        return self._found[state] if state < len(self._found) else None

    def _keys(self, subscript: re.Match[str], text: str) -> Iterator[str]:
        _, is_bytes, quote, typed = subscript.groups()
        database = self._namespace[subscript[1]]
        database = getattr(database, "dict", database)
        try:
            names = (self._spelled(key, bool(is_bytes), quote) for key in islice(keys_of(database), _SEARCHED_KEYS))
            found = (name for name in names if name is not None and name.startswith(typed))
            for name in islice(found, _OFFERED_KEYS):
                yield name[len(typed) - len(text) :] + (f"{quote}]" if self._closes else "")
        except Exception:  # noqa: BLE001  # nothing to offer; the statement itself will say what is wrong
            return

    def _spelled(self, key: bytes, is_bytes: bool, quote: str) -> str | None:
        """The inside of a literal for the key."""
        try:
            inside = repr(key)[2:-1] if is_bytes else repr(key.decode("utf-8"))[1:-1]
        except UnicodeDecodeError:
            return None
        return inside if quote not in inside else None


def _history_file() -> str:
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "hutch", "history")


@contextmanager
def _line_editing(namespace: dict[str, Any]) -> Iterator[None]:
    """History and completion, where stdin is a terminal and this Python has readline."""
    if not sys.stdin.isatty():
        # A script: no prompts in its output.
        sys.ps1 = sys.ps2 = ""
        yield
        return
    try:
        import readline
    except ImportError:
        yield
        return
    is_editline = "libedit" in (readline.__doc__ or "")
    readline.set_completer(Completer(namespace, closes=is_editline).complete)
    readline.parse_and_bind("bind ^I rl_complete" if is_editline else "tab: complete")
    path = _history_file()
    try:
        readline.read_history_file(path)
    except OSError:
        pass  # the first time
    try:
        yield
    finally:
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            readline.set_history_length(_HISTORY_LINES)
            readline.write_history_file(path)
        except OSError as problem:
            click.echo(f"Warning: the history is not kept: {problem}", err=True)


class _Console(code.InteractiveConsole):
    """A prompt that remembers whether anything went wrong: for a script, that is its exit code."""

    has_failed = False

    def write(self, data: str) -> None:
        if data != "\n" or sys.stdin.isatty():  # the line that ends the prompt of who pressed Ctrl-D
            super().write(data)

    def showtraceback(self) -> None:
        self.has_failed = True
        super().showtraceback()

    def showsyntaxerror(self, *arguments: Any, **options: Any) -> None:
        self.has_failed = True
        super().showsyntaxerror(*arguments, **options)


def _run(program: str, namespace: dict[str, Any]) -> None:
    """Run what the user typed; what it raises is shown as Python shows it, without the frames of this command."""
    try:
        exec(compile(program, "<-c>", "exec"), namespace)  # noqa: S102
    except ReadOnlyError as problem:
        raise Failure(f"{problem}: say --write to change it", UNAVAILABLE) from problem
    except Exception as problem:
        if failure_of(problem) is not None:
            raise  # a message says it better
        from traceback import print_exception

        trace = problem.__traceback__
        print_exception(problem.with_traceback(None if trace is None else trace.tb_next))
        sys.exit(NEGATIVE)


@click.command()
@name_argument
@click.option("--write", is_flag=True, help="Changes are possible, and are stored at once.")
@create_option
@click.option("-c", "program", metavar="CODE", help="Run this instead of a prompt.")
@timeout_option
@reading_options
def command(name: str, write: bool, create: bool, program: str | None, timeout: float | None, coding: Coding) -> None:
    """Start a prompt where the shelf is a dict.

    `shelf` holds objects, and `db` the same as bytes. Tab completes names and keys. Nothing can be changed without
    --write. Pickles that name classes are refused without --unpickle. What comes on stdin, if that is no terminal, is
    run line by line. Exit code 1: something that was run so, or with -c, has raised an error.
    """
    import hutch
    from hutch.cli.autocodec import AutoCodec

    flag: Literal["r", "w"] = "w" if write or create else "r"
    with (
        open_database(name, flag, timeout=timeout, create=create) as database,
        hutch.Shelf(database, codec=AutoCodec(coding)) as shelf,
    ):
        namespace: dict[str, Any] = {"shelf": shelf, "db": database, "hutch": hutch, "__name__": "__console__"}
        if program is not None:
            _run(program, namespace)
            return
        console = _Console(namespace, "<hutch>")
        state = "" if flag == "w" else ", read-only"
        banner = f"hutch shell: shelf and db are {name} ({count_text(len(database), 'key')}{state}). Ctrl-D ends it."
        with _line_editing(namespace):
            console.interact(banner if sys.stdin.isatty() else "", exitmsg="")
        if console.has_failed and not sys.stdin.isatty():
            sys.exit(NEGATIVE)
