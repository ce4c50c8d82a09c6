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
from benchmarks.compare.pace import Pace, Planned
from benchmarks.compare.plan import Group
from benchmarks.compare.task import Task

Cell = dict[str, Any]

_MOST_OPERATIONS = 100_000
_WITHOUT_DATABASE = {"load", "put", "huge_value"}
_LARGE = 1_000_000  # entries, whose load takes a good part of the group's time
_HELD_TURNS = 2  # which only those rows have, besides the ones that all have
_HELD_WEIGHT = 3.0  # how much longer a cell of a row that hutch is held to may take
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


class Run:
    """One run, in a folder for its databases.

    Args:
        folder: where they lie.
        entrants: who takes part.
        patience: the longest that a cell may take, in seconds.
        most_turns: repetitions.
        longest: seconds of a measured loop at most.
        quiet: say nothing on stderr.
    """

    def __init__(
        self,
        folder: str,
        entrants: Sequence[Entrant],
        patience: float,
        most_turns: int,
        longest: float,
        quiet: bool = False,
    ) -> None:
        self.folder = folder
        self.entrants = entrants
        self.patience = patience
        self.most_turns = most_turns
        self.quiet = quiet
        self.longest = longest

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
        entrants = {
            entrant.label: entrant
            for entrant in self.entrants
            if entrant.level == group.level and group.admits(entrant.label, entrant.peer)
        }
        folder = os.path.join(self.folder, group.name)
        os.makedirs(folder)
        collected: dict[str, dict[str, list[Cell]]] = {
            name: {label: [] for label in entrants} for name in group.workloads
        }
        turns = [order(group, list(entrants.values()), turn) for turn in range(self.most_turns)]
        pace = Pace(turns, seconds, self.longest)
        try:
            for turn, cells in enumerate(turns):
                for cell in cells:
                    if pace.is_over and turn:
                        break
                    limit = pace.limit(cell)
                    begin = monotonic()
                    loads = collected.get("load", {}).get(cell.label, [])
                    reason = "no time was left" if pace.is_over else _unloaded(cell.workload, loads)
                    entrant = entrants[cell.label]
                    result = {"skipped": reason} if reason else self._cell(group, folder, cell, entrant, turn, limit)
                    collected[cell.workload][cell.label].append(result)
                    pace.done(cell, turn, limit, monotonic() - begin)
        finally:
            shutil.rmtree(folder)
        return {name: {label: merged(cells) for label, cells in by.items()} for name, by in collected.items()}

    def _cell(self, group: Group, folder: str, cell: Planned, entrant: Entrant, turn: int, limit: float) -> Cell:
        task = Task(
            cell.workload,
            entrant.peer,
            group.level,
            group.value_bytes,
            folder if entrant.label == entrant.peer else os.path.join(folder, entrant.interpreter.version),
            group.entries,
            min(group.entries, _MOST_OPERATIONS),
            limit,
            turn,
        )
        os.makedirs(task.folder, exist_ok=True)
        begin = monotonic()
        # Without hutch's load a group says nothing, and a chart of growth has to go on to its end.
        first = group.entries >= _LARGE and (cell.label == "hutch" or group.name.startswith("growth"))
        result = execute(task, entrant, self.patience * (1 + group.entries / _LARGE if first else 1))
        took = monotonic() - begin
        shown = result.get("skipped") or result.get("failed") or f"{result['value']:,.3f}"
        self._say(f"  {group.name} {cell.workload} {entrant.label}: {shown} ({took:.1f} s)")
        return result

    def _say(self, line: str) -> None:
        if not self.quiet:
            print(line, file=sys.stderr, flush=True)


def order(group: Group, entrants: Sequence[Entrant], turn: int) -> list[Planned]:
    """The cells of a turn, those of one workload together; another peer begins each turn.

    Loads come first, then the rows that hutch is held to, then the rest. The second and the third turn repeat only
    those rows. Where loads take long, hutch comes before all others.
    """
    start = turn % max(1, len(entrants))
    rotated = [*entrants[start:], *entrants[:start]]
    phases: list[list[Planned]] = [[], [], [], []]
    for name in group.workloads:
        once = (name in CATALOG and CATALOG[name].once) or (name == "load" and group.entries >= _LARGE)
        for entrant in rotated:
            held = group.is_held(name, entrant.peer)
            if turn and (once or not (held or turn > _HELD_TURNS)):
                continue
            urgent = held or name == "load" or bool(group.peers)
            first = group.entries >= _LARGE and entrant.label == "hutch" and urgent
            phase = 0 if first else 1 if name == "load" else 2 if held else 3
            phases[phase].append(Planned(name, entrant.label, _HELD_WEIGHT if held else 1))
    return [cell for phase in phases for cell in phase]


def _unloaded(workload: str, loads: Sequence[Cell]) -> str:
    """Why there is no database to work on; empty if there is one, or none is needed."""
    if workload in _WITHOUT_DATABASE or not loads or any("value" in load for load in loads):
        return ""
    return f"no database of that size: {loads[-1].get('skipped') or loads[-1].get('failed')}"
