"""The course of ``hutch demo``: what it does, and what it finds."""

from __future__ import annotations

import dbm
import os
import platform
import shelve
import unicodedata
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from time import perf_counter
from typing import Any

import hutch
from hutch.cli.console import Advance, progress_bar
from hutch.cli.demo.crash import COMPLETED, ROUND_KEYS, kill_writer
from hutch.cli.demo.race import WORKLOADS, Contender, contenders, run_contender
from hutch.cli.demo.ucd import key_of, record_of
from hutch.errors import HutchWarning

__all__ = ["Check", "Demo"]

# After so many commits the writers of the second kill are shot, while they are at the next one.
_KILLED_AFTER_COMMITS = (1, 7, 20)
_SHOWN_PROBLEMS = 5
_CHUNK = 500


@dataclass(frozen=True)
class Check:
    """Something that the demo looked at: what, whether it held, and how it knows."""

    name: str
    ok: bool
    detail: str


@dataclass
class Demo:
    """The course of one demo.

    Attributes:
        path: the shelf.
        points: the code points it holds.
        show_progress: draw progress bars, if there is a terminal.
        stored_seconds: how long storing them took.
        size_bytes: of the shelf's files after it was closed.
        checks: what was found.
        contenders: the speeds.
    """

    path: str
    points: list[int]
    show_progress: bool = True
    stored_seconds: float = 0.0
    size_bytes: int = 0
    checks: list[Check] = field(default_factory=list)
    contenders: list[Contender] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    @contextmanager
    def _bar(self, label: str, total: int | None = None) -> Iterator[Advance]:
        steps = len(self.points) if total is None else total
        with progress_bar(label, steps, wanted=self.show_progress) as advance:
            yield advance

    def store(self) -> None:
        """Build the shelf, one statement for each object, and close it."""
        with self._bar("storing") as advance, hutch.open(self.path, "n") as shelf:
            for start in range(0, len(self.points), _CHUNK):
                pairs = [(key_of(point), record_of(point)) for point in self.points[start : start + _CHUNK]]
                begin = perf_counter()
                for key, record in pairs:
                    shelf[key] = record
                self.stored_seconds += perf_counter() - begin
                advance(len(pairs))
        self.size_bytes = sum(os.path.getsize(self.path + suffix) for suffix in (".dat", ".dir"))

    def compare_with_stdlib(self, name: str) -> None:
        """Open the shelf with the standard library alone and compare every entry."""
        kind = dbm.whichdb(self.path)
        with self._bar("comparing, through the stdlib's shelve") as advance, self._stdlib_shelf() as shelf:
            problems = self._differences(shelf.items(), {}, advance)
        detail = f"dbm.whichdb() says {kind}; {len(self.points):,} entries compared"
        self._conclude(name, kind == "dbm.dumb", detail, problems)

    def kill_inside_transaction(self) -> None:
        """Kill a writer in the middle of a transaction; then every entry must be as before it."""
        killed = kill_writer("inside", self.path, after_lines=1)
        with self._bar("comparing, after the kill") as advance, self._reopened() as shelf:
            problems = self._differences(shelf.items(), COMPLETED, advance)
        detail = (
            f"exit code {killed.exit_code}; {len(self.points):,} entries compared: the {len(COMPLETED)} that "
            "the writer had just stored are there, nothing of its unfinished transaction is"
        )
        met = killed.by_signal and killed.said == ["inside"]
        self._conclude("a writer killed in the middle of a transaction lost nothing", met, detail, problems)
        self._remove(COMPLETED)

    def kill_between_commits(self) -> None:
        """Kill writers that commit without a pause; each transaction must be there wholly or not at all."""
        problems: list[str] = []
        met = True
        for commits in _KILLED_AFTER_COMMITS:
            killed = kill_writer("rounds", self.path, after_lines=commits)
            told = int(killed.said[-1]) if killed.said else 0
            met = met and killed.by_signal and told >= commits
            with self._reopened() as shelf:
                found = {shelf.get(key) for key in ROUND_KEYS}
            if found != {told} and found != {told + 1}:
                problems.append(f"after commit {told} the transaction's keys held {sorted(map(str, found))}")
            self._remove(ROUND_KEYS)
        detail = f"{len(_KILLED_AFTER_COMMITS)} writers, transactions of {len(ROUND_KEYS)} entries, whole every time"
        self._conclude("writers killed while they committed left whole transactions", met, detail, problems)

    def race(self, folder: str) -> None:
        """Measure hutch beside the standard library's shelve."""
        self.contenders = contenders(folder)
        steps = len(self.contenders) * len(WORKLOADS) * len(self.points)
        with self._bar("measuring, beside the stdlib's shelve", steps) as advance:
            for contender in self.contenders:
                run_contender(contender, folder, self.points, advance)

    def _stdlib_shelf(self) -> shelve.Shelf[Any]:
        return shelve.open(self.path, "r")  # noqa: S301  # pickles that this very demo wrote

    @contextmanager
    def _reopened(self) -> Iterator[Any]:
        with warnings.catch_warnings():
            # The writer was killed: that it needs recovery is the point, not news.
            warnings.simplefilter("ignore", HutchWarning)
            with hutch.open(self.path, "w") as shelf:
                yield shelf

    def _remove(self, keys: Iterable[str]) -> None:
        with self._reopened() as shelf, shelf.transaction():
            for key in keys:
                shelf.pop(key, None)

    def _differences(self, items: Iterable[tuple[str, Any]], extras: Mapping[str, Any], advance: Advance) -> list[str]:
        """Compare a shelf's items with what has to be there: no more, no less, no other value."""
        problems: list[str] = []
        waiting = {key_of(point): point for point in self.points}
        waiting_extras = dict(extras)
        for count, (key, value) in enumerate(items, 1):
            if (point := waiting.pop(key, None)) is not None:
                if value != record_of(point):
                    problems.append(f"{key} is {value!r}")
            elif key not in waiting_extras:
                problems.append(f"{key} ought not to be there")
            elif value != waiting_extras.pop(key):
                problems.append(f"{key} is {value!r}")
            if not count % _CHUNK:
                advance(_CHUNK)
        problems += [f"{key} is missing" for key in (*waiting, *waiting_extras)]
        return problems

    def _conclude(self, name: str, met: bool, detail: str, problems: list[str]) -> None:
        if problems:
            detail = "; ".join([f"{len(problems):,} problems", *problems[:_SHOWN_PROBLEMS]])
        self.checks.append(Check(name, met and not problems, detail))

    def as_json(self) -> dict[str, Any]:
        """The whole demo as a value for `json.dumps`."""
        return {
            "ok": self.ok,
            "hutch": _version(),
            "python": platform.python_version(),
            "unicode": unicodedata.unidata_version,
            "entries": len(self.points),
            "size_bytes": self.size_bytes,
            "stored_seconds": self.stored_seconds,
            "checks": [asdict(check) for check in self.checks],
            "speed": [
                {"contender": each.name, "entries": each.entries, "workload": workload}
                | asdict(cell)
                | {"microseconds": cell.microseconds}
                for each in self.contenders
                for workload, cell in each.cells.items()
            ],
        }


def _version() -> str:
    try:
        return version("hutch")
    except PackageNotFoundError:
        return "not installed"  # a checkout on PYTHONPATH
