"""``hutch stat``: sizes, free space, the state of the index, and how large the values are."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from hutch.cli.database import Damage, entries, open_database
from hutch.cli.gaps import gaps
from hutch.cli.options import json_option, name_argument, timeout_option
from hutch.cli.progress import steps
from hutch.cli.quantities import count_text, size_text
from hutch.reports import Statistics

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["command", "measure"]

_Row = tuple[str, str, str]
_BAR_CHARACTERS = 30
_NOTE_CHARACTERS = 30  # with less room than that beside the sizes, notes go below them


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


class _Tally:
    """Adds entries up."""

    def __init__(self) -> None:
        self._histogram: Counter[int] = Counter()
        self._value_bytes = self._largest = self._key_bytes = 0

    def add(self, key: bytes, size: int) -> None:
        self._histogram[size.bit_length()] += 1
        self._value_bytes += size
        self._largest = max(self._largest, size)
        self._key_bytes += len(key)

    def sizes(self, gap_count: int = 0, largest_gap_bytes: int = 0) -> _Sizes:
        histogram = dict(sorted(self._histogram.items()))
        return _Sizes(histogram, self._value_bytes, self._largest, self._key_bytes, gap_count, largest_gap_bytes)


def measure(store: Any) -> _Sizes:
    """From directory and index, without reading a value, and keeping nothing of an entry."""
    tally = _Tally()
    total = store.count()
    with steps("measuring", total) as counter:

        def extents() -> Iterator[tuple[int, int]]:
            # The first time also everything else is added up.
            is_first = not counter.done
            if not is_first:
                counter.total = counter.done + total
            for key in store.keys():  # noqa: SIM118  # a store is no dict
                entry = store.find_entry(key)
                counter.advance()
                if entry is None:
                    continue  # deleted since
                _, offset, size, _ = entry
                if is_first:
                    tally.add(key, size)
                yield offset, size

        return tally.sizes(*gaps(extents))


def _measure_foreign(database: Any, damage: Damage) -> _Sizes:
    """By reading everything."""
    tally = _Tally()
    with steps("measuring", len(database)) as counter:
        for key, value in entries(database, damage):
            tally.add(key, len(value))
            counter.advance()
    return tally.sizes()


@click.command()
@name_argument
@json_option
@timeout_option
@click.pass_context
def command(ctx: click.Context, name: str, as_json: bool, timeout: float | None) -> None:
    """Show sizes, free space and the state of the index.

    Reads the directory and the index, and no value; of another library's database it reads everything.
    """
    damage = Damage()
    facts: dict[str, Any]
    with open_database(name, "r", timeout=timeout) as database:
        path = database.path
        if hasattr(database, "store"):
            statistics: Statistics = database.store.statistics()
            sizes = measure(database.store)
            facts = {"path": path, "kind": "hutch.dbm", **asdict(statistics)}
            title = count_text(statistics.key_count, "key")
            rows = _rows_of_entries(statistics.key_count, sizes) + _rows_of_files(statistics, sizes)
        else:
            sizes = _measure_foreign(database, damage)
            key_count = sum(sizes.histogram.values())
            facts = {"path": path, "kind": database.kind, "key_count": key_count}
            title = f"{count_text(key_count, 'key')}, {database.kind}"
            rows = _rows_of_entries(key_count, sizes)
    if as_json:
        histogram = [
            {"from": _lowest(digits), "to": (1 << digits) - 1, "count": count}
            for digits, count in sizes.histogram.items()
        ]
        click.echo(json.dumps({**facts, **asdict(sizes), "histogram": histogram}, indent=2))
    else:
        _print(os.path.basename(path), title, rows, sizes)
    damage.settle(ctx)


def _lowest(digits: int) -> int:
    return 1 << digits - 1 if digits else 0


def _print(name: str, title: str, rows: list[_Row], sizes: _Sizes) -> None:
    from rich.markup import escape

    from hutch.cli.console import result_console

    console = result_console()
    console.print(f"[bold]{escape(name)}[/bold]  {title}", soft_wrap=True)
    for line in _table(rows, console.width):
        console.print(line, soft_wrap=True)
    if sizes.histogram:
        console.print("\nSizes of the values")
        for line in _histogram(sizes.histogram, console.width, ascii_only=console.options.ascii_only):
            console.print(line, soft_wrap=True)


def _rows_of_entries(key_count: int, sizes: _Sizes) -> list[_Row]:
    count = max(key_count, 1)
    values = f"{size_text(sizes.value_bytes / count)} each, the largest {size_text(sizes.largest)}"
    return [
        ("keys", size_text(sizes.key_bytes), f"{size_text(sizes.key_bytes / count)} each"),
        ("values", size_text(sizes.value_bytes), values),
    ]


def _rows_of_files(statistics: Statistics, sizes: _Sizes) -> list[_Row]:
    heap = f"{size_text(statistics.live_bytes)} in use, {size_text(statistics.free_bytes)} free"
    if sizes.gap_count:
        heap += f" ({count_text(sizes.gap_count, 'gap')}, the longest {size_text(sizes.largest_gap_bytes)})"
    if statistics.bucket_count:
        buckets = count_text(statistics.bucket_count, "bucket")
        index = f"{buckets}, load {statistics.load:.2f}, {count_text(statistics.overflow_count, 'overflow page')}"
    else:
        index = "not in use: the directory is read instead"
    journal = f"{count_text(statistics.uncheckpointed_count, 'commit')} since the last checkpoint"
    return [
        ("heap (.dat)", size_text(statistics.heap_bytes), heap),
        (
            "directory (.dir)",
            size_text(statistics.directory_bytes),
            f"{size_text(statistics.dead_bytes)} of dead lines",
        ),
        ("journal (.log)", size_text(statistics.journal_bytes), journal),
        ("index (.idx)", size_text(statistics.index_bytes), index),
    ]


def _table(rows: list[_Row], width: int) -> list[Text]:
    """Lines: a label, a size, and what else there is to say, which goes on below itself where there is no room."""
    from textwrap import wrap

    from rich.text import Text

    labels, sizes = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    left = labels + sizes + 5
    is_narrow = width - left < _NOTE_CHARACTERS
    lines = []
    for label, size, note in rows:
        head = Text.assemble((f" {label:<{labels}}", "cyan"), f"  {size:>{sizes}}")
        indent = 3 if is_narrow else left
        first, *more = wrap(note, max(width - indent, _NOTE_CHARACTERS)) or [""]
        if is_narrow:
            more.insert(0, first)
        else:
            head.append(f"  {first}")
        lines += [head, *(Text(" " * indent + rest) for rest in more)]
    return lines


def _histogram(histogram: dict[int, int], width: int, *, ascii_only: bool) -> list[Text]:
    from rich.text import Text

    rows = [
        ("empty" if not digits else f"below {size_text(1 << digits)}", histogram.get(digits, 0))
        for digits in range(min(histogram), max(histogram) + 1)
    ]
    labels = max(len(label) for label, _ in rows)
    most = max(count for _, count in rows)
    counts = len(f"{most:,}")
    bar = max(min(_BAR_CHARACTERS, width - labels - counts - 6), 1)
    mark = "#" if ascii_only else "█"
    return [
        Text.assemble(f" {label:>{labels}}  {count:>{counts},}", ("  " + mark * -(-bar * count // most), "cyan"))
        if count
        else Text(f" {label:>{labels}}  {count:>{counts},}")
        for label, count in rows
    ]
