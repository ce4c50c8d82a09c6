"""Run the plan: repetitions in turns, every cell in a process of its own and bounded."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from time import monotonic
from typing import Any

from benchmarks.compare.catalog import CATALOG
from benchmarks.compare.entrants import Entrant
from benchmarks.compare.plan import Group
from benchmarks.compare.task import Task

Cell = dict[str, Any]

_MOST_OPERATIONS = 100_000
_WITHOUT_DATABASE = {"load", "put", "huge_value"}
_START_SECONDS = 0.4  # of a worker: Python, imports, keys
_LONGER = {"overwritten_disk": 2.0, "beside_writer": 1.0, "two_writers": 1.0, "fresh_process": 0.5, "huge_value": 4.0}
_HELD_FACTOR = 3  # how much longer a cell of a row that hutch is held to may take
_HELD_TURNS = 5
_LIMITS = (0.05, 2.0)
_WORTH_WHILE = 0.15
_LAST_WORDS = 300


def execute(task: Task, entrant: Entrant, patience: float) -> Cell:
    """Run a worker.

    Returns:
        Its result; {"skipped": reason} if it took too long, {"failed": message} if it broke.
    """
    process = subprocess.Popen(
        [entrant.interpreter.path, "-m", "benchmarks.compare.worker", task.to_json()],
        env=entrant.interpreter.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that its own children end with it
    )
    try:
        printed, problem = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return {"skipped": f"longer than {patience:g} s"}
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    if process.returncode:
        last = (problem.strip().splitlines() or [f"it ended with {process.returncode}"])[-1]
        return {"failed": last[:_LAST_WORDS]}
    result: Cell = json.loads(printed)
    return result


def merged(results: Sequence[Cell]) -> Cell:
    """The medians over the repetitions; a reason, if there is no result at all."""
    good = [result for result in results if "value" in result]
    if not good:
        return dict(results[-1]) if results else {"skipped": "no time was left"}
    numbers = [name for name, value in good[0].items() if isinstance(value, (int, float))]
    cell: Cell = {name: median(result[name] for result in good if name in result) for name in numbers}
    cell["repetitions"] = len(good)
    cell["lowest"], cell["highest"] = min(result["value"] for result in good), max(result["value"] for result in good)
    remarks = [result["remark"] for result in good if "remark" in result]
    return cell | ({"remark": remarks[-1]} if remarks else {})


def limits(group: Group, entrants: Sequence[Entrant], seconds: float, most_turns: int) -> tuple[int, float]:
    """How many turns, and how long a measured loop, so that the group takes about that time.

    Returns:
        Turns, and seconds of a loop.
    """
    limit = _LIMITS[0]
    for turns in sorted({*range(1, most_turns + 1)}, reverse=True):
        fixed = units = 0.0
        for name in group.workloads:
            workload = CATALOG.get(name)
            repeats = 1 if workload is not None and workload.once else turns
            for entrant in entrants:
                held = group.is_held(name, entrant.peer)
                fixed += repeats * (_START_SECONDS + _LONGER.get(name, 0.0) + group.entries * 3e-6)
                units += repeats * 1.5 * (_HELD_FACTOR if held else 1)
        limit = min(_LIMITS[1], max(_LIMITS[0], (seconds - fixed) / max(units, 1.0)))
        if limit >= _WORTH_WHILE or turns == 1:
            return turns, limit
    return 1, limit


class Run:
    """One run, in a folder for its databases.

    Args:
        folder: where they lie.
        entrants: who takes part.
        patience: the longest that a cell may take, in seconds.
        most_turns: repetitions.
        quiet: say nothing on stderr.
    """

    def __init__(
        self, folder: str, entrants: Sequence[Entrant], patience: float, most_turns: int, quiet: bool = False
    ) -> None:
        self.folder = folder
        self.entrants = entrants
        self.patience = patience
        self.most_turns = most_turns
        self.quiet = quiet

    def everything(self, groups: Sequence[Group], seconds: float) -> dict[str, dict[str, dict[str, Cell]]]:
        """Group by group; time that one leaves goes to the next.

        Returns:
            Cells by group, workload and label.
        """
        end = monotonic() + seconds
        results = {}
        for position, group in enumerate(groups):
            share = group.weight / sum(other.weight for other in groups[position:])
            left = max(0.0, end - monotonic())
            self._say(f"{group.name}: {left * share:.0f} s")
            results[group.name] = self.group(group, left * share)
        return results

    def group(self, group: Group, seconds: float) -> dict[str, dict[str, Cell]]:
        """The cells of a group, in turns."""
        deadline = monotonic() + seconds
        entrants = [
            entrant
            for entrant in self.entrants
            if entrant.level == group.level and (not group.peers or entrant.label in group.peers)
        ]
        folder = os.path.join(self.folder, group.name)
        os.makedirs(folder)
        collected: dict[str, dict[str, list[Cell]]] = {
            name: {entrant.label: [] for entrant in entrants} for name in group.workloads
        }
        turns, limit = limits(group, entrants, seconds, self.most_turns)
        try:
            for turn in range(max(turns, _HELD_TURNS if self.most_turns > 1 else 1)):
                for name in group.workloads:
                    for entrant in _rotated(entrants, turn):
                        if self._is_due(group, name, entrant, turn, turns) and (monotonic() < deadline or not turn):
                            cells = collected[name][entrant.label]
                            loaded = collected["load"][entrant.label] if "load" in collected else []
                            late = monotonic() > deadline
                            cells.append(self._cell(group, folder, name, entrant, turn, limit, loaded, late))
        finally:
            shutil.rmtree(folder)
        return {name: {label: merged(cells) for label, cells in by.items()} for name, by in collected.items()}

    def _is_due(self, group: Group, name: str, entrant: Entrant, turn: int, turns: int) -> bool:
        if not turn:
            return True
        if CATALOG[name].once if name in CATALOG else False:
            return False
        if name == "load" and group.entries > _MOST_OPERATIONS:
            return False
        return turn < turns or group.is_held(name, entrant.peer)

    def _cell(
        self, group: Group, folder: str, name: str, entrant: Entrant, turn: int, limit: float, loaded: list[Cell],
        late: bool,
    ) -> Cell:  # fmt: skip
        if name not in _WITHOUT_DATABASE and loaded and not any("value" in cell for cell in loaded):
            reason = loaded[-1].get("skipped") or loaded[-1].get("failed")
            return {"skipped": f"no database of that size: {reason}"}
        if late:
            return {"skipped": "no time was left"}
        held = group.is_held(name, entrant.peer)
        task = Task(
            name,
            entrant.peer,
            group.level,
            group.value_bytes,
            folder if entrant.label == entrant.peer else os.path.join(folder, entrant.interpreter.version),
            group.entries,
            min(group.entries, _MOST_OPERATIONS),
            limit * (_HELD_FACTOR if held else 1),
            turn,
        )
        os.makedirs(task.folder, exist_ok=True)
        begin = monotonic()
        cell = execute(task, entrant, self.patience)
        took = monotonic() - begin
        shown = cell.get("skipped") or cell.get("failed") or f"{cell['value']:,.3f}"
        self._say(f"  {group.name} {name} {entrant.label}: {shown} ({took:.1f} s)")
        return cell

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)


def _rotated(entrants: Sequence[Entrant], turn: int) -> list[Entrant]:
    """Another one begins each turn."""
    start = turn % max(1, len(entrants))
    return [*entrants[start:], *entrants[:start]]
