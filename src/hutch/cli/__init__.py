"""The ``hutch`` command (extra ``cli``: click and rich).

``main`` is the entry point. One module holds one command; `app` lists them and imports only the one that is run.
"""

from __future__ import annotations

import os
import sys
from io import TextIOWrapper

__all__ = ["main"]

MISSING_EXTRA = "hutch: the command line needs {name}, which is not installed; run: pip install 'hutch[cli]'"
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def main() -> int:
    """Run the command line of this process.

    Returns:
        The exit code, for ``sys.exit``; most commands exit by themselves.
    """
    try:
        from hutch.cli.app import hutch

        if "_HUTCH_COMPLETE" in os.environ:
            from hutch.cli.completing import register

            register()
        _open_what_is_closed()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # whatever a key or a path may contain
        hutch(prog_name="hutch")
    except KeyboardInterrupt:  # before there was a command to interrupt
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as problem:
        package = (problem.name or "").partition(".")[0]
        if package not in ("click", "rich"):
            raise
        print(MISSING_EXTRA.format(name=package), file=sys.stderr)
        return EXIT_USAGE
    return 0


def _open_what_is_closed() -> None:
    """Put an empty stream where a shell has left none (``>&-``).

    It takes the lowest number that is free, which is the closed one: else a file of the database would get that, and
    whatever is printed.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = "w" if number else "r"
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  # for the whole process
