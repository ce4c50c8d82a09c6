"""``python -m benchmarks.codecs``: sizes and speeds of the codecs, for the tables of docs/values.md.

Measures, prints the tables, and writes them into the page between its markers. Each figure is the best of several
loops: what the codec costs, not what else the machine did. It takes about four minutes.
"""

from __future__ import annotations

import argparse
import gc
import json
import pickle
import platform
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from time import perf_counter
from typing import Any

import numpy as np

import hutch
from benchmarks import machine
from benchmarks.codec_rows import CODECS, Several, Value, nested, odd, of_classes, safe_pickle, values
from benchmarks.report import table

PAGE = Path(__file__).parent.parent / "docs" / "values.md"
BEGIN, END = "<!-- measured: begin.", "<!-- measured: end -->"
KEY = b"0123456789abcdef"

MOST_OVER_RAW_US = 0.6  # of shelf[key], and of shelf[key] = value, over the database and pickle
MOST_TIMES_PLAIN = 3  # of a read with SafePickle
_ENTRIES = 500
_PASSES = 3  # over all codecs
_LOOPS = 7  # of a codec in each
_SHELF_LOOPS = 201  # where small differences of large numbers count: shorter, and in turns


# Timing.


def best(seconds: float, repeats: int, *loops: Callable[[int], object]) -> list[float]:
    """Microseconds of one turn of each loop: the best of some repeats, among those of the other loops.

    Args:
        seconds: for all the repeats of one loop; 0: each does one turn, once.
        repeats: of each loop.
        loops: called with a number of turns.
    """
    gc.collect()
    gc.disable()
    try:
        turns = []
        for loop in loops:
            count, took = 1, _took(loop, 1)
            while took < seconds / repeats and count < 1 << 24:
                count *= 2
                took = _took(loop, count)
            turns.append(count)
        fastest = [float("inf")] * len(loops)
        order = list(range(len(loops)))
        dice = random.Random(7)
        for _ in range(repeats if seconds > 0 else 1):
            dice.shuffle(order)  # or what comes now and then, such as a checkpoint, would always hit the same one
            for place in order:
                fastest[place] = min(fastest[place], _took(loops[place], turns[place]) / turns[place] * 1e6)
        return fastest
    finally:
        gc.enable()


def _took(loop: Callable[[int], object], count: int) -> float:
    begin = perf_counter()
    loop(count)
    return perf_counter() - begin


# What is measured.


def measure_codecs(seconds: float) -> dict[str, dict[str, dict[str, float]]]:
    """By codec and value: its bytes, and microseconds to encode and decode; nothing where it takes no such value."""
    bytes(16 << 20)  # after that malloc keeps what large values took, as in any program that has had some
    cells: dict[str, dict[str, dict[str, float]]] = {}
    loops = {}
    for name, make in CODECS.items():
        cells[name] = {}
        for value in values():
            try:
                codec = make(value)
                data = bytes(codec.encode(KEY, value.thing))
            except (TypeError, ValueError):
                continue
            stored = memoryview(data) if codec.wants_view else data
            if not np.array_equal(codec.decode(KEY, stored), value.thing):
                raise ValueError(f"{name} gives back another {value.name}")
            cells[name][value.name] = {"bytes": len(data)}
            loops[name, value.name] = (_loop(codec.encode, KEY, value.thing), _loop(codec.decode, KEY, stored))
    for turn in range(_PASSES if seconds > 0 else 1):  # a minute apart, so that one busy moment spoils no figure
        print(f"  codecs, pass {turn + 1}", file=sys.stderr, flush=True)
        for (name, column), pair in loops.items():
            cell = cells[name][column]
            for kind, took in zip(("encode", "decode"), best(seconds / _PASSES, _LOOPS, *pair), strict=True):
                cell[kind] = min(took, cell.get(kind, took))
    return cells


def _loop(function: Callable[[bytes, Any], Any], key: bytes, argument: Any) -> Callable[[int], object]:
    def loop(count: int) -> None:
        for _ in range(count):
            function(key, argument)

    return loop


def measure_shelf(folder: str, seconds: float) -> dict[str, dict[str, float]]:
    """A shelf with pickles beside its own database and ``pickle``, and beside one with SafePickle."""
    chosen = [*values()[:5], Value("100 nested records", nested(100), None), Value("1000 nested", nested(1000), None)]
    cells = {}
    # For these, SafePickle is of interest only.
    alone = [*(value for count in (1, 20, 200) for value in of_classes(count)), *odd()]
    for place, value in enumerate([*chosen, *alone]):
        path = f"{folder}/{place}"
        with hutch.open(path, "n") as shelf, hutch.open(path, codec=safe_pickle()) as safe:
            keys = [f"{number:016}" for number in range(_ENTRIES)]
            things = value.thing if isinstance(value.thing, Several) else [value.thing]
            shelf.update(zip(keys, cycle(things)))
            if value in alone:
                get, safe_get = best(2 * seconds, _SHELF_LOOPS, _get_loop(shelf, keys), _get_loop(safe, keys))
                cells[value.name] = {"get": get, "safe_get": safe_get}
                continue
            database: Any = shelf.dict
            raw_get, get, safe_get, raw_put, put = best(
                5 * seconds,
                _SHELF_LOOPS,
                _get_loop(database, [key.encode() for key in keys], pickle.loads),
                _get_loop(shelf, keys),
                _get_loop(safe, keys),
                _put_loop(database, [key.encode() for key in keys], value.thing, pickle.dumps),
                _put_loop(shelf, keys, value.thing),
            )
        cells[value.name] = {"raw_get": raw_get, "get": get, "safe_get": safe_get, "raw_put": raw_put, "put": put}
    return cells


def _turns(keys: Sequence[Any], count: int) -> Iterator[Sequence[Any]]:
    """The keys, over and over, so that `count` of them come in all."""
    for _ in range(count // len(keys)):
        yield keys
    yield keys[: count % len(keys)]


def _get_loop(shelf: Any, keys: Sequence[Any], loads: Any = None) -> Callable[[int], object]:
    def raw(count: int) -> None:
        for some in _turns(keys, count):
            for key in some:
                loads(shelf[key])

    def plain(count: int) -> None:
        for some in _turns(keys, count):
            for key in some:
                shelf[key]

    return plain if loads is None else raw


def _put_loop(shelf: Any, keys: Sequence[Any], thing: Any, dumps: Any = None) -> Callable[[int], object]:
    def raw(count: int) -> None:
        for some in _turns(keys, count):
            for key in some:
                shelf[key] = dumps(thing)

    def plain(count: int) -> None:
        for some in _turns(keys, count):
            for key in some:
                shelf[key] = thing

    return plain if dumps is None else raw


# The tables.


def show(number: float) -> str:
    """Two or three digits that count, and none that do not."""
    return f"{number:,.0f}" if number >= 99.95 else f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def codec_tables(cells: dict[str, dict[str, dict[str, float]]]) -> list[str]:
    """Bytes, and times."""
    columns = [value.name for value in values()]
    sizes, times = [], []
    for name, by_value in cells.items():
        found = [by_value.get(column) for column in columns]
        sizes.append([f"`{name}`", *("-" if cell is None else f"{cell['bytes']:,}" for cell in found)])
        times.append(
            [
                f"`{name}`",
                *("-" if cell is None else f"{show(cell['encode'])} / {show(cell['decode'])}" for cell in found),
            ]
        )
    return [
        "Bytes of a value. (A value takes whole blocks of 512 bytes in the file.)",
        table(["", *columns], sizes),
        "Microseconds to make bytes of an object / to make an object of bytes.",
        table(["", *columns], times),
    ]


def shelf_tables(cells: dict[str, dict[str, float]]) -> list[str]:
    """The shelf beside what is below it, and SafePickle beside plain pickles."""
    over, safe, late, slow = [], [], [], []
    for name, cell in cells.items():
        times = cell["safe_get"] / cell["get"]
        safe.append([name, show(cell["get"]), show(cell["safe_get"]), f"{times:.2f}"])
        slow += [f"{name} ({times:.2f})"] * (times > MOST_TIMES_PLAIN)
        if "raw_get" not in cell:
            continue
        more = {"get": cell["get"] - cell["raw_get"], "put": cell["put"] - cell["raw_put"]}
        over.append(
            [
                name,
                *(show(cell[kind]) for kind in ("raw_get", "get")),
                f"{more['get']:+.2f}",
                *(show(cell[kind]) for kind in ("raw_put", "put")),
                f"{more['put']:+.2f}",
            ]
        )
        words = {"get": "reading", "put": "storing"}
        late += [f"{words[kind]} {name} ({more[kind]:+.2f})" for kind in more if more[kind] > MOST_OVER_RAW_US]
    about_over = (
        f"A shelf of {_ENTRIES} entries with plain pickles, and the same by hand: the value of `hutch.dbm` and "
        f"`pickle.loads`, or `pickle.dumps` and storing that. In microseconds. The shelf is to cost no more than "
        f"{MOST_OVER_RAW_US} more. {_verdict(late)}"
    )
    about_safe = (
        f"`shelf[key]` with plain pickles and with `SafePickle`, in microseconds. It is to take no more than "
        f"{MOST_TIMES_PLAIN} times as long. {_verdict(slow)}"
    )
    return [
        about_over,
        table(["", "get + loads", "`shelf[key]`", "more", "dumps + put", "`shelf[key] = value`", "more "], over),
        about_safe,
        table(["", "`Pickle`", "`SafePickle`", "times"], safe),
    ]


def _verdict(misses: list[str]) -> str:
    return f"In this run it did not hold for {', '.join(misses)}." if misses else "In this run that held everywhere."


def machine_line(host: dict[str, Any]) -> str:
    packages = ", ".join(
        f"{name} {machine.package_version(name)}" for name in ("numpy", "msgspec", "cryptography", "backports.zstd")
    )
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, "
        f"{host['file_system']}, {host['cores']} cores of {host['processor']}; {packages}. "
        f"Each figure is the best of {_PASSES * _LOOPS} loops, those of shelves of {_SHELF_LOOPS}."
    )


def rewrite(page: str, measured: str) -> str:
    """The page with other tables between its markers.

    Raises:
        ValueError: it has no markers.
    """
    head, begin, rest = page.partition(BEGIN)
    comment, newline, rest = rest.partition("\n")
    _, end, tail = rest.partition(END)
    if not (begin and newline and end):
        raise ValueError(f"the page has no {BEGIN!r} and {END!r}")
    return f"{head}{begin}{comment}\n{measured}\n{end}{tail}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was measured into the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.codecs", description=__doc__)
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write into (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each figure; 0: one turn (%(default)s)")
    parser.add_argument("--folder", help="where the shelves are made (default: the temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write every number there")
    options = parser.parse_args(arguments)
    rewrite(options.page.read_text(encoding="utf-8"), "")  # before minutes are spent on it
    with TemporaryDirectory(prefix="hutch-benchmark-", dir=options.folder) as folder:
        host = machine.describe(folder)
        by_shelf = measure_shelf(folder, options.seconds)
    by_codec = measure_codecs(options.seconds)
    parts = [*codec_tables(by_codec), *shelf_tables(by_shelf), machine_line(host)]
    measured = "\n\n".join(part if part.startswith("|") else fill(part, 118, break_on_hyphens=False) for part in parts)
    print(measured)
    page = options.page.read_text(encoding="utf-8")
    options.page.write_text(rewrite(page, measured), encoding="utf-8")
    if options.json:
        everything = {"machine": host, "codecs": by_codec, "shelf": by_shelf}
        Path(options.json).write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
