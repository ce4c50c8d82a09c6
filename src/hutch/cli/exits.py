"""How a command ends: the exit codes, and every error as a message that says what to do."""

from __future__ import annotations

import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from hutch.cli.escapes import printable
from hutch.cli.progress import notice
from hutch.errors import CodecError, CorruptError, HutchWarning, LockTimeout, WrongCodecError

__all__ = ["DAMAGED", "NEGATIVE", "UNAVAILABLE", "UNREADABLE", "USAGE", "Failure", "closing", "failure_of", "told"]

NEGATIVE = 1  # no such key; the databases differ
USAGE = 2
DAMAGED = 3
UNAVAILABLE = 4  # missing, locked, no permission, no space
UNREADABLE = 5  # a value makes no object under the codec, or may not be had, or has no place in another form
_BY_SIGNAL = 128
_TEMPORARY = re.compile(r"\.[0-9a-f]{16}\.tmp(\.[a-z]+)?$")  # what a file is called until it has its name


# What the library's messages advise, and what that is here.
_COMMANDS = {
    "check(fix=True)": "`hutch check --fix`",
    "check()": "`hutch check`",
    "leave the codec away": "leave --objects and --codec away",
    "merge_journal() applies it": "`hutch shell --write NAME -c 'db.merge_journal(FILE)'` applies it",
}


def told(problem: object) -> str:
    """A message of the library, as the command line says it: one line, printable, with commands for methods."""
    text = str(problem)
    for call, line in _COMMANDS.items():
        text = text.replace(call, line)
    return printable(text)


class Failure(click.ClickException):
    """An error that ends the command with a message and a code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(told(message))
        self.exit_code = exit_code  # type: ignore[misc]  # click shares one among all of a class


def failure_of(problem: BaseException) -> Failure | None:
    """The message and code for an error; None for one that nobody has foreseen, which keeps its traceback."""
    if isinstance(problem, CorruptError):
        return Failure(str(problem), DAMAGED)
    if isinstance(problem, LockTimeout):
        return Failure(f"{problem}. Another process writes or has it for itself; try again, or --timeout", UNAVAILABLE)
    if isinstance(problem, WrongCodecError):
        return Failure(f"{problem} (--codec and --key-file say what values are)", UNREADABLE)
    if isinstance(problem, CodecError) or type(problem).__name__ == "UnreadableValueError":
        return Failure(str(problem), UNREADABLE)
    if isinstance(problem, MemoryError):
        return Failure(f"a value is too large for the memory that there is {problem}".rstrip(), UNAVAILABLE)
    if isinstance(problem, OSError):
        return Failure(_spelled_out(problem), UNAVAILABLE)
    return None


def _spelled_out(problem: OSError) -> str:
    if problem.strerror is None:
        return str(problem)
    if problem.filename is None:
        return problem.strerror
    return f"{_TEMPORARY.sub('', os.fsdecode(problem.filename))}: {problem.strerror}"


def _show_warning(message: Warning | str, *details: Any, **more: Any) -> None:
    notice(f"Warning: {told(message)}")


@contextmanager
def closing(ctx: click.Context) -> Iterator[None]:
    """Turn what a command raises into its last words and its exit code."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", HutchWarning)
        warnings.showwarning = _show_warning  # catch_warnings puts the former one back
        try:
            yield
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit):
            raise
        except (KeyboardInterrupt, click.Abort) as problem:
            for note in getattr(problem, "__notes__", ()):
                click.echo(note, err=True)
            click.echo("Interrupted.", err=True)
            ctx.exit(_BY_SIGNAL + signal.SIGINT)
        except BrokenPipeError:
            # Whoever read has seen enough. The interpreter would complain once more when it flushes stdout at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            ctx.exit(_BY_SIGNAL + signal.SIGPIPE)
        except Exception as problem:
            failure = failure_of(problem)
            if failure is None:
                raise
            raise failure from problem
