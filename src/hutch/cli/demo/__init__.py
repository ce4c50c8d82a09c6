"""``hutch demo``: a shelf of the whole Unicode character database, checked, killed and timed before your eyes."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import click
from rich.console import Console

from hutch.cli.console import result_console
from hutch.cli.demo.course import Demo
from hutch.cli.demo.report import Report
from hutch.cli.demo.ucd import code_points

__all__ = ["command"]


def _run(demo: Demo, folder: str, console: Console | None) -> None:
    """Go through the demo, printing (unless `console` is None) as it goes."""
    report = Report(console)
    report.title(demo)
    demo.store()
    report.stored(demo)
    demo.compare_with_stdlib("the stdlib's shelve reads every entry")
    report.latest_check(demo)
    demo.kill_inside_transaction()
    report.latest_check(demo)
    demo.kill_between_commits()
    report.latest_check(demo)
    demo.compare_with_stdlib("the stdlib's shelve reads every entry, after the kills")
    report.latest_check(demo)
    demo.race(folder)
    report.speeds(demo)
    report.verdict(demo)


@contextmanager
def _tidy_when_terminated() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the temporary folder goes away as it does after Ctrl-C."""

    def leave(number: int, _: object) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@click.command()
@click.option("--keep", "kept", type=click.Path(), metavar="PATH", help="Make the shelf at PATH and leave it there.")
@click.option("--size", type=click.IntRange(min=1), metavar="N", help="Use only the first N objects.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")
def command(kept: str | None, size: int | None, as_json: bool) -> None:
    """Build a shelf of the Unicode character database, check it, kill its writers, time it.

    Stores every character that Python knows (about 150,000 objects), compares each entry through the standard library's
    own shelve, kills writer processes in the middle of transactions and while they commit, compares again, and prints
    the speed beside the standard library's. Exits with 0 if every check held.
    """
    if kept is not None:
        taken = [kept + suffix for suffix in (".dat", ".dir", ".bak", ".log") if os.path.lexists(kept + suffix)]
        if taken:
            raise click.UsageError(f"{taken[0]} exists already; choose another name for --keep")
    with _tidy_when_terminated(), TemporaryDirectory(prefix="hutch-demo-") as folder:
        demo = Demo(kept or os.path.join(folder, "unicode"), code_points(size), show_progress=not as_json)
        _run(demo, folder, None if as_json else result_console())
        if as_json:
            click.echo(json.dumps(demo.as_json(), indent=2))
    sys.exit(0 if demo.ok else 1)
