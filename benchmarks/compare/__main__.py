"""``python -m benchmarks.compare``: measure hutch beside its peers; see ``--help``.

Everything, with docs/benchmarks.md and its charts rewritten, in the time that is given:

    python -m benchmarks.compare --minutes 25 --python python3.13 --docs docs
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from benchmarks import machine
from benchmarks.compare import page, plan
from benchmarks.compare.entrants import find
from benchmarks.compare.reach import judge
from benchmarks.compare.runner import Run
from benchmarks.compare.tables import group_table, obstacles, reach_table
from benchmarks.compare.task import OBJECTS, RAW


def _numbers(text: str) -> list[int]:
    return [int(part.replace("_", "")) for part in text.split(",") if part]


def _words(text: str) -> list[str]:
    return [part.strip() for part in text.split(";" if ";" in text else ",") if part.strip()]


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--minutes", type=float, default=25.0, help="about how long the run may take (%(default)s)")
    add("--sizes", type=_numbers, default=list(plan.SIZES), help="numbers of entries (1000,100000,1000000)")
    add("--values", type=_numbers, default=list(plan.VALUES), help="bytes of raw values (100,4096)")
    add("--levels", type=_words, default=[RAW, OBJECTS], help="raw,objects")
    add("--growth", type=_numbers, default=list(plan.GROWTH_SIZES), help="entries of the chart of growth; '' for none")
    add("--workloads", type=_words, default=[], help="only these, by name (all)")
    add("--peers", type=_words, default=[], help="only these, by name, with ';' between them (all)")
    add(
        "--python",
        action="append",
        default=[],
        metavar="EXECUTABLE",
        help="another interpreter, for peers that this one lacks",
    )
    add("--all", action="store_true", help="also what takes hours: a million large values, changes of large databases")
    add("--reach", action="store_true", help="only what the table of speeds to reach needs: five minutes do")
    add("--turns", type=int, default=5, help="repetitions at most (%(default)s)")
    add("--longest", type=float, default=2.0, help="seconds of a measured loop at most (%(default)s)")
    add("--patience", type=float, default=25.0, help="seconds that a cell may take at most (%(default)s)")
    add("--folder", help="where the databases are made (the temporary folder)")
    add("--json", metavar="FILE", help="keep every number")
    add("--docs", metavar="FOLDER", type=Path, help="rewrite benchmarks.md and charts/ there, and keep the numbers")
    add(
        "--from",
        dest="source",
        metavar="FILE",
        type=Path,
        help="measure nothing: take the numbers from a file of --json",
    )
    add("--quiet", action="store_true", help="say nothing about the progress")
    chosen = parser.parse_args(arguments)
    if chosen.reach:
        chosen.peers = ["hutch", *plan.held_peers()]
    return chosen


def measure(chosen: argparse.Namespace) -> dict[str, Any]:
    """One run.

    Returns:
        The report, ready for JSON.
    """
    begin = monotonic()
    groups = plan.reach_groups() if chosen.reach else _groups(chosen)
    with TemporaryDirectory(prefix="hutch-compare-", dir=chosen.folder) as folder:
        host = machine.describe(folder)
        entrants, missing = find(folder, chosen.python, chosen.peers)
        run = Run(folder, entrants, chosen.patience, chosen.turns, chosen.longest, chosen.quiet)
        results = run.everything(groups, chosen.minutes * 60 - (monotonic() - begin))
        host["load_average_after"] = machine.load()
    names = {
        entrant.interpreter.path: f"python{entrant.interpreter.version.rpartition('.')[0]}" for entrant in entrants
    }
    facts: dict[str, dict[str, Any]] = {}
    for entrant in entrants:
        facts.setdefault(entrant.level, {})[entrant.label] = entrant.facts()
    return {
        "command": _command(chosen, names),
        "seconds": monotonic() - begin,
        "machine": host,
        "groups": {group.name: asdict(group) | {"title": group.title} for group in groups},
        "entrants": facts,
        "missing": missing,
        "results": _rounded(results),
    }


def _rounded(found: Any) -> Any:
    """The same with five digits that count: the file is for readers, too."""
    if isinstance(found, dict):
        return {name: _rounded(value) for name, value in found.items()}
    return float(f"{found:.5g}") if isinstance(found, float) else found


def _groups(chosen: argparse.Namespace) -> list[plan.Group]:
    return plan.groups(chosen.sizes, chosen.values, chosen.levels, chosen.growth, chosen.workloads, chosen.all)


def _command(chosen: argparse.Namespace, names: dict[str, str]) -> str:
    """The command that makes the page again; interpreters by name, not by the place that they have here."""
    words = ["python", "-m", "benchmarks.compare", "--minutes", f"{chosen.minutes:g}", "--docs", "docs"]
    for name in ("sizes", "values", "growth"):
        default = {"sizes": plan.SIZES, "values": plan.VALUES, "growth": plan.GROWTH_SIZES}[name]
        if tuple(getattr(chosen, name)) != default:
            words += [f"--{name}", ",".join(map(str, getattr(chosen, name)))]
    words += [f"--{name}" for name in ("all", "reach") if getattr(chosen, name)]
    for python in chosen.python:
        words += ["--python", names.get(python, os.path.basename(python))]
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or read, print, and keep what was asked for."""
    chosen = options(arguments)
    report = json.loads(chosen.source.read_text(encoding="utf-8")) if chosen.source else measure(chosen)
    rows = judge(report["results"])
    report["rows"] = [asdict(row) for row in rows]
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    if chosen.json:
        Path(chosen.json).write_text(text, encoding="utf-8")
    if chosen.docs:
        page.write(report, chosen.docs)
        (chosen.docs / "charts" / "benchmarks.json").write_text(text, encoding="utf-8")
    for name, cells in report["results"].items():
        group = report["groups"][name]
        print(f"## {group['title']} ({name})\n\n{group_table(cells, report['entrants'][group['level']])}\n")
    print(f"## To reach\n\n{reach_table(rows)}\n\n{obstacles(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
