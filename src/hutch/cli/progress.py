"""Progress on stderr: only on a terminal, only of what takes more than a second; it vanishes at the end."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["DELAY_SECONDS", "Steps", "notice", "steps"]

DELAY_SECONDS = 1.0
_REDRAW_SECONDS = 0.1
_shown: list[Steps] = []  # those that have a bar on the terminal


class Steps:
    """Counts steps, and draws a bar once they have taken a second.

    Args:
        label: what is going on, a few words.
        total: how many there will be; None if nobody knows.
        visible: whether anything may be drawn.
    """

    def __init__(self, label: str, total: int | None, *, visible: bool) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self._visible = visible
        self._next_look = monotonic() + DELAY_SECONDS
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def advance(self, count: int = 1) -> None:
        """So many more steps have been done."""
        self.done += count
        if self._visible and monotonic() >= self._next_look:
            self._draw()

    def at(self, done: int, total: int) -> None:
        """So many of so many steps have been done: what the engine calls as its `progress`."""
        self.total = total
        self.advance(done - self.done)

    def begin(self, label: str) -> None:
        """Go over to the next part of the work, and count from 0 again."""
        self.label = label
        self.done = 0

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                expand=True,
                auto_refresh=False,  # no thread: the commands may fork, and Ctrl-C finds one thread only
            )
            self._task = self._bar.add_task(self.label, total=self.total)
            self._bar.start()
            _shown.append(self)
        assert self._task is not None
        self._bar.update(self._task, description=self.label, total=self.total, completed=self.done, refresh=True)
        self._next_look = monotonic() + _REDRAW_SECONDS

    @property
    def console(self) -> Console:
        """What the bar is drawn on."""
        assert self._bar is not None
        return self._bar.console

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            _shown.remove(self)


def notice(text: str) -> None:
    """Print a line on stderr: above the bar, if there is one."""
    if not _shown:
        from click import echo

        echo(text, err=True)
        return
    _shown[-1].console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def steps(label: str, total: int | None = None, *, prints: bool = False) -> Iterator[Steps]:
    """Count the steps of the body; see `Steps`.

    Args:
        prints: the body prints lines as it goes. On a terminal they are progress enough, and a bar would get between.
    """
    counter = Steps(label, total, visible=sys.stderr.isatty() and not (prints and sys.stdout.isatty()))
    try:
        yield counter
    except KeyboardInterrupt as problem:
        of = "" if counter.total is None else f" of {counter.total:,}"
        problem.add_note(f"Stopped while {counter.label}, after {counter.done:,}{of}.")
        raise
    finally:
        counter.close()
