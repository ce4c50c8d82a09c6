"""``hutch stat``: sizes, free space, the state of the index, and how large the values are."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import click

from hutch.cli.database import engine_of, open_database
from hutch.cli.options import json_option, name_argument, timeout_option
from hutch.cli.progress import steps
from hutch.cli.quantities import count_text, size_text
from hutch.reports import Statistics

__all__ = ["command"]

_BLOCK_BYTES = 512
_BAR_CHARACTERS = 30


@dataclass(frozen=True)
class _Sizes:
    """How large keys and values are, and how the heap is cut up.

    Attributes:
        histogram: number of values whose size in bytes has so many binary digits.
        value_bytes: of all values.
        largest: the largest value's bytes.
        key_bytes: of all keys.
        gap_count: runs of blocks that no value owns.
        largest_gap_bytes: the longest of them.
    """

    histogram: dict[int, int]
    value_bytes: int
    largest: int
    key_bytes: int
    gap_count: int
    largest_gap_bytes: int


def _measure(store: Any) -> _Sizes:
    from hutch.scan import collect

    histogram: Counter[int] = Counter()
    value_bytes = largest = key_bytes = 0
    extents = []
    found = collect(store)
    with steps("measuring", len(found)) as counter:
        for key, (_, offset, size, _) in found:
            histogram[size.bit_length()] += 1
            value_bytes += size
            largest = max(largest, size)
            key_bytes += len(key)
            if size:
                extents.append((offset, -(-size // _BLOCK_BYTES) * _BLOCK_BYTES))
            counter.advance()
    gaps = _gaps(sorted(extents))
    return _Sizes(dict(sorted(histogram.items())), value_bytes, largest, key_bytes, len(gaps), max(gaps, default=0))


def _gaps(extents: list[tuple[int, int]]) -> list[int]:
    gaps = []
    end = 0
    for offset, size in extents:
        if offset > end:
            gaps.append(offset - end)
        end = max(end, offset + size)
    return gaps


@click.command()
@name_argument
@json_option
@timeout_option
def command(name: str, as_json: bool, timeout: float | None) -> None:
    """Show sizes, free space and the state of the index.

    Reads the directory and the index, and no value.
    """
    with open_database(name, "r", timeout=timeout) as database:
        store = engine_of(database, "stat")
        statistics: Statistics = store.statistics()
        sizes = _measure(store)
        path = store.path
    if as_json:
        histogram = [
            {"from": _lowest(digits), "to": (1 << digits) - 1, "count": count}
            for digits, count in sizes.histogram.items()
        ]
        facts = {"path": path, **asdict(statistics), **asdict(sizes), "histogram": histogram}
        click.echo(json.dumps(facts, indent=2))
        return
    _print(path, statistics, sizes)


def _lowest(digits: int) -> int:
    return 1 << digits - 1 if digits else 0


def _print(path: str, statistics: Statistics, sizes: _Sizes) -> None:
    from rich.markup import escape

    from hutch.cli.console import result_console

    console = result_console()
    console.print(
        f"[bold]{escape(os.path.basename(path))}[/bold]  {count_text(statistics.key_count, 'key')}", soft_wrap=True
    )
    rows = _rows(statistics, sizes)
    _table(console, rows)
    if sizes.histogram:
        console.print("\nSizes of the values")
        console.print(_histogram(sizes.histogram, ascii_only=console.options.ascii_only), highlight=False)


def _rows(statistics: Statistics, sizes: _Sizes) -> list[tuple[str, str, str]]:
    count = max(statistics.key_count, 1)
    heap = f"{size_text(statistics.live_bytes)} in use, {size_text(statistics.free_bytes)} free"
    if sizes.gap_count:
        heap += f" ({count_text(sizes.gap_count, 'gap')}, the longest {size_text(sizes.largest_gap_bytes)})"
    if statistics.bucket_count:
        buckets = count_text(statistics.bucket_count, "bucket")
        index = f"{buckets}, load {statistics.load:.2f}, {count_text(statistics.overflow_count, 'overflow page')}"
    else:
        index = "not in use: the directory is read instead"
    journal = f"{count_text(statistics.uncheckpointed_count, 'commit')} since the last checkpoint"
    values = f"{size_text(sizes.value_bytes / count)} each, the largest {size_text(sizes.largest)}"
    return [
        ("keys", size_text(sizes.key_bytes), f"{size_text(sizes.key_bytes / count)} each"),
        ("values", size_text(sizes.value_bytes), values),
        ("heap (.dat)", size_text(statistics.heap_bytes), heap),
        (
            "directory (.dir)",
            size_text(statistics.directory_bytes),
            f"{size_text(statistics.dead_bytes)} of dead lines",
        ),
        ("journal (.log)", size_text(statistics.journal_bytes), journal),
        ("index (.idx)", size_text(statistics.index_bytes), index),
    ]


def _table(console: Any, rows: list[tuple[str, str, str]]) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=True, show_header=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _histogram(histogram: dict[int, int], *, ascii_only: bool) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), pad_edge=True, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="cyan", no_wrap=True)
    most = max(histogram.values())
    mark = "#" if ascii_only else "█"
    for digits in range(min(histogram), max(histogram) + 1):
        count = histogram.get(digits, 0)
        label = "empty" if not digits else f"below {size_text(1 << digits)}"
        table.add_row(label, f"{count:,}", mark * -(-_BAR_CHARACTERS * count // most))
    return table
