"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.compare.catalog import CATALOG
from benchmarks.compare.reach import Row
from benchmarks.report import table

Cell = dict[str, Any]

_NO_RIVALS = ("hutch", "dict", "pickled dict", "pickleDB")  # it itself, and what is in memory as a whole


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def shown(cell: Cell, notes: list[str]) -> str:
    """A cell: its value with p50 and p99, or a mark that refers to a note."""
    if "value" not in cell:
        reason = cell.get("skipped") or f"FAILED: {cell.get('failed')}"
        return f"- [{_note(reason, notes)}]"
    text = number(cell["value"])
    if "p99" in cell:
        text += f" ({number(cell['p50'])}, {number(cell['p99'])})"
    if "writer" in cell:
        text += f"; a put {number(cell['writer'])}"
    if "put" in cell:
        text += f": {number(cell['put'])} and {number(cell['get'])}"
    return text + (f" [{_note(cell['remark'], notes)}]" if "remark" in cell else "")


def _note(text: str, notes: list[str]) -> int:
    if text not in notes:
        notes.append(text)
    return notes.index(text) + 1


def group_table(cells: dict[str, dict[str, Cell]], facts: dict[str, dict[str, Any]]) -> str:
    """A row for each peer, a column for each workload, in tables narrow enough to be read; notes below.

    Args:
        cells: by workload and label.
        facts: by label: what a statement "survives", and how a "durable" one is made.
    """
    notes: list[str] = []
    parts = []
    names = [name for name in cells if name in CATALOG]
    labels = list(dict.fromkeys(label for name in names for label in cells[name]))
    for start in range(0, len(names), 5):
        some = names[start : start + 5]
        header = ["", "survives", *(f"{CATALOG[name].title}, {CATALOG[name].unit}" for name in some)]
        rows = []
        for label in labels:
            line = [f"**{label}**" if label.startswith("hutch") else label, facts[label]["survives"]]
            for name in some:
                line.append(shown(cells[name][label], notes) if label in cells[name] else "")
                if name == "durable_put" and "value" in cells[name].get(label, {}):
                    line[-1] += f" [{_note(facts[label]['durable'], notes)}]"
            rows.append(line)
        parts.append(table(header, rows))
    if notes:
        parts.append("\n".join(f"{position}. {note}" for position, note in enumerate(notes, 1)))
    return "\n\n".join(parts)


def reach_table(rows: Sequence[Row]) -> str:
    """Every row as measured."""
    verdicts = {True: "yes", False: "**no**", None: "-"}
    lines = []
    for row in rows:
        measured = "-" if row.measured is None else f"{number(row.measured)} {row.unit}"
        parts = [f"hutch {number(row.hutch)}" if row.hutch is not None else ""]
        if row.other is not None:
            parts.append(f"{row.other_name or 'other'} {number(row.other)}")
        middle = f"{number(row.of_p50)} x" if row.of_p50 is not None else ""
        beside = ", ".join(filter(None, parts))
        lines.append([row.name, f"at most {row.aim}", measured, verdicts[row.reached], middle, beside])
    return table(["workload", "target", "measured", "reached", "of p50", "µs"], lines)


def obstacles(rows: Sequence[Row]) -> str:
    """What stands in the way of the rows that were not reached, and of those that were not measured."""
    lines = [f"- {row.name}, at most {row.aim}: {row.obstacle}." for row in rows if not row.reached]
    return "\n".join(lines)


def losses(cells: dict[str, dict[str, Cell]]) -> list[tuple[str, str, float]]:
    """The workloads in which a peer with its data in files is faster or smaller: (workload, peer, factor)."""
    found = []
    for name, by_label in cells.items():
        if name not in CATALOG or "value" not in by_label.get("hutch", {}):
            continue
        own = by_label["hutch"]["value"]
        rivals = [
            (cell["value"], label)
            for label, cell in by_label.items()
            if "value" in cell and not label.startswith(_NO_RIVALS) and "(Python" not in label
        ]
        if rivals and min(rivals)[0] < own:
            value, label = min(rivals)
            found.append((name, label, own / value if value else float("inf")))
    return found
