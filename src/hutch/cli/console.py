"""Where the commands print: results to stdout, progress to stderr, and both plain when nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

__all__ = ["Advance", "micro_sign", "progress_bar", "result_console"]

Advance = Callable[[int], None]

# A line that is piped must not be folded at the 80 columns that rich assumes for a pipe.
_PIPE_COLUMNS = 120


def result_console() -> Console:
    """The console for results: colours and the terminal's width on a terminal, plain text elsewhere."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PIPE_COLUMNS)
    return console


def micro_sign(console: Console) -> str:
    """The prefix of "microseconds" that the console's encoding can show."""
    return "u" if console.options.ascii_only else "µ"


@contextmanager
def progress_bar(label: str, total: int, *, wanted: bool = True) -> Iterator[Advance]:
    """Show a bar on stderr while the body runs, only if that is a terminal; it vanishes at the end.

    Args:
        label: what is going on, a few words.
        total: the number of steps.
        wanted: False shows nothing at all.

    Returns:
        A function to be called with the number of steps done since the last call.
    """
    console = Console(stderr=True)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        expand=True,
        disable=not (wanted and console.is_terminal),
    )
    with bar:
        task = bar.add_task(label, total=total)
        yield lambda steps: bar.advance(task, steps)
