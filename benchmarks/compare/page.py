"""docs/benchmarks.md and its charts, from the results of one run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare import charts
from benchmarks.compare.catalog import CATALOG
from benchmarks.compare.plan import GROWTH_PEERS
from benchmarks.compare.reach import OBJECT_GROUP, RAW_GROUP, Row, judge
from benchmarks.compare.tables import group_table, losses, number, obstacles, reach_table
from benchmarks.compare.texts import HOW_HAD, INTRO, LOSING, OTHERS, REASONS

_TO_REACH = """## To reach

The speeds that hutch is held to, as measured in this run (100,000 entries, 16-byte keys, 100-byte values, where
nothing else is said).
"""
_SURVIVES = "The version, what a plain statement that has returned survives, and how a durable one is made."


# Where what a statement survives decides how fast it can be, the chart says it too.
_WRITES = {"put", "load", "delete", "writeback"}


def _bars(workload: str, cells: dict[str, dict[str, Any]], facts: dict[str, dict[str, Any]]) -> charts.Bars:
    found = []
    for label, cell in cells.items():
        if cell.get("value", 0) > 0:
            remark = facts[label]["survives"] if workload in _WRITES else ""
            found.append((label.replace("(Python ", "("), cell["value"], remark))
    return charts.Bars(CATALOG[workload].title, CATALOG[workload].unit, found)


def write_charts(report: dict[str, Any], folder: Path) -> list[tuple[str, str]]:
    """Write what can be drawn.

    Returns:
        (title, file name) of each chart.
    """
    folder.mkdir(parents=True, exist_ok=True)
    results, written = report["results"], []
    for name, title, shown in (
        (RAW_GROUP, "100,000 entries, 100-byte values", _SHOWN_RAW),
        (OBJECT_GROUP, "100,000 objects", _SHOWN_OBJECTS),
    ):
        panels = [
            _bars(workload, results[name][workload], report["entrants"][report["groups"][name]["level"]])
            for workload in shown
            if workload in results.get(name, {})
        ]
        if any(panel.bars for panel in panels):
            written.append((title, f"{name}.svg"))
            (folder / f"{name}.svg").write_text(charts.bars(title, panels), encoding="utf-8")
    panels_of_growth = _growth(results)
    if panels_of_growth:
        title = "How time grows with the number of entries"
        written.append((title, "growth.svg"))
        (folder / "growth.svg").write_text(charts.growth(title, panels_of_growth), encoding="utf-8")
    return written


_SHOWN_RAW = (
    "get",
    "get_missing",
    "put",
    "durable_put",
    "load",
    "delete",
    "iterate_items",
    "open_get_close",
    "memory",
    "disk",
)
_SHOWN_OBJECTS = ("get", "put", "durable_put", "load", "open_get_close", "writeback")


def _growth(results: dict[str, Any]) -> list[charts.Lines]:
    sizes = sorted(int(name.partition("-")[2]) for name in results if name.startswith("growth-"))
    panels = []
    for workload, title in (("get", "get"), ("put_more", "put"), ("open_get_close", "open, get, close")):
        lines: dict[str, list[tuple[float, float]]] = {}
        for size in sizes:
            for label, cell in results[f"growth-{size}"].get(workload, {}).items():
                if "value" in cell:
                    lines.setdefault(label, []).append((float(size), cell["p50"]))
        if lines:
            panels.append(charts.Lines(title, "µs", {name: lines[name] for name in GROWTH_PEERS if name in lines}))
    return panels


def page(report: dict[str, Any], pictures: Sequence[tuple[str, str]], rows: Sequence[Row]) -> str:
    """The whole page."""
    results = report["results"]
    parts = [
        INTRO.format(command=report["command"]),
        _machine(report),
        _TO_REACH,
        reach_table(rows),
        "What stands in the way of the rest:" if obstacles(rows) else "",
        obstacles(rows),
        *(f"![{title}](charts/{name})" for title, name in pictures),
        _losing(results),
    ]
    for name, group in report["groups"].items():
        if not name.startswith("growth") and name in results:
            parts += [f"## {group['title']}", group_table(results[name], report["entrants"][group["level"]])]
    parts += ["## What is compared", _peers(report), HOW_HAD, OTHERS]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _machine(report: dict[str, Any]) -> str:
    machine = report["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_mib']:,} MiB"
    before, after = machine["load_average"], machine["load_average_after"]
    lines = [
        f"- {machine['date']}, {machine['python']}, {machine['system']}",
        f"- {where}, databases on {machine['file_system']}",
        f"- load average {before} before, {after} after; the run took {report['seconds'] / 60:.1f} minutes",
    ]
    return "\n".join(lines)


def _losing(results: dict[str, Any]) -> str:
    found: dict[str, list[str]] = {}
    for name in (RAW_GROUP, OBJECT_GROUP):
        for workload, label, factor in losses(results.get(name, {})):
            found.setdefault(workload, []).append(f"{name.partition('-')[0]} {number(factor)} x {label}")
    lines = [
        f"- {CATALOG[workload].title}: {'; '.join(ratios)}. {REASONS[workload][0].upper()}{REASONS[workload][1:]}"
        for workload, ratios in found.items()
    ]
    return f"{LOSING}\n" + "\n".join(lines) if lines else ""


def _peers(report: dict[str, Any]) -> str:
    lines = [_SURVIVES]
    for level, entrants in report["entrants"].items():
        lines.append(f"\n**{level.capitalize()}**\n")
        for label, facts in entrants.items():
            lines.append(f"- {label} {facts['version']}: {facts['durability']}. Durable: {facts['durable']}.")
    lines += [f"\n- Not measured: {name}: {reason}." for name, reason in report["missing"].items()]
    return "\n".join(lines)


def write(report: dict[str, Any], docs: Path) -> list[Row]:
    """Rewrite the page and its charts below a folder of documentation."""
    rows = judge(report["results"])
    pictures = write_charts(report, docs / "charts")
    (docs / "benchmarks.md").write_text(page(report, pictures, rows), encoding="utf-8")
    return rows
