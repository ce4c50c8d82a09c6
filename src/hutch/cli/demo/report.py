"""What ``hutch demo`` prints: a line for each check, and the table of speeds."""

from __future__ import annotations

import platform
import unicodedata
from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hutch.cli.console import micro_sign
from hutch.cli.demo.race import WORKLOADS, Contender

if TYPE_CHECKING:
    from hutch.cli.demo.course import Demo

__all__ = ["Report"]

_MEBIBYTE = 1024 * 1024
_INDENT = 9
_MARGIN = " " * _INDENT


class Report:
    """Prints to a console, or nowhere."""

    def __init__(self, console: Console | None) -> None:
        self._console = console or Console(quiet=True)
        self._second = micro_sign(self._console) + "s"

    def title(self, demo: Demo) -> None:
        self._console.print(
            f"\n[bold]The Unicode {unicodedata.unidata_version} character database, "
            f"as Python {platform.python_version()} knows it[/bold]\n"
        )

    def stored(self, demo: Demo) -> None:
        each = f"{demo.stored_seconds / len(demo.points) * 1e6:.1f} {self._second}"
        size = f"{demo.size_bytes / _MEBIBYTE:.1f} MiB"
        self._line(
            "stored",
            "cyan",
            f"{len(demo.points):,} objects",
            f"{demo.stored_seconds:.1f} s, {each} each; {size} in two files",
        )

    def latest_check(self, demo: Demo) -> None:
        check = demo.checks[-1]
        self._line("ok" if check.ok else "FAILED", "green" if check.ok else "bold red", check.name, check.detail)

    def speeds(self, demo: Demo) -> None:
        """The table: microseconds an operation, and how many times that of hutch it is."""
        hutch, *others = demo.contenders
        table = Table(box=None, padding=(0, 1), pad_edge=False)
        table.add_column(f"{self._second} per operation", no_wrap=True)
        table.add_column("hutch", justify="right", no_wrap=True, style="cyan")
        for other in others:
            table.add_column(other.name.replace(" over ", " over\n"), justify="right", no_wrap=True)
            table.add_column("x hutch", justify="right", no_wrap=True)
        for workload in WORKLOADS:
            row = [workload, self._time(hutch, workload)]
            for other in others:
                row += [self._time(other, workload), self._ratio(other, hutch, workload)]
            table.add_row(*row)
        self._console.print()
        self._console.print(Padding(table, (0, 0, 0, 2), expand=False))
        lines = wrap(self._footnote(demo), self._console.width - 4, initial_indent="  ", subsequent_indent="  ")
        self._console.print(Text("\n".join(lines), "dim"), soft_wrap=True)

    def verdict(self, demo: Demo) -> None:
        failed = sum(not check.ok for check in demo.checks)
        if failed:
            self._console.print(f"\n[bold red]{failed} of {len(demo.checks)} checks failed.[/bold red]\n")
        else:
            self._console.print(f"\n[bold green]All {len(demo.checks)} checks held.[/bold green]\n")

    def _line(self, mark: str, style: str, name: str, detail: str) -> None:
        lines = wrap(detail, self._console.width - _INDENT, initial_indent=_MARGIN, subsequent_indent=_MARGIN)
        self._console.print(
            Text.assemble((f"{mark:>{_INDENT - 1}} ", style), name, "\n", ("\n".join(lines), "dim")), soft_wrap=True
        )

    def _time(self, contender: Contender, workload: str) -> str:
        return f"{contender.cells[workload].microseconds:,.1f}"

    def _ratio(self, other: Contender, hutch: Contender, workload: str) -> str:
        ratio = other.cells[workload].microseconds / hutch.cells[workload].microseconds
        return f"{ratio:,.0f}x" if ratio >= 100 else f"{ratio:.1f}x"

    def _footnote(self, demo: Demo) -> str:
        deletes = ", ".join(
            f"{contender.cells['delete'].operations:,} ({contender.name})" for contender in demo.contenders
        )
        sentences = [f"Means. Each shelf was given the same objects; deleted were samples: {deletes}."]
        sentences += [
            f"{contender.name} stored only {contender.entries:,} of them in its time, and is measured on those."
            for contender in demo.contenders
            if contender.entries < len(demo.points)
        ]
        return " ".join(sentences)
