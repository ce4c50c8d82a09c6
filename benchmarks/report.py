"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.rows import Row


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns also line up as plain text."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def markdown(machine: dict[str, Any], parameters: dict[str, Any], results: dict[str, Any], rows: Sequence[Row]) -> str:
    """The whole report."""
    verdicts = {True: "yes", False: "**no**", None: "-"}
    summary = [
        [row.name, row.target, "-" if row.measured is None else f"{row.measured:.3g} {row.unit}", verdicts[row.reached]]
        for row in rows
    ]
    peers = results["peers"]
    cells = [
        [
            workload,
            peer,
            f"{cell['microseconds']:,.2f}" if "microseconds" in cell else "",
            f"{cell['p50']:,.2f}" if "p50" in cell else "",
            f"{cell['p99']:,.2f}" if "p99" in cell else "",
            f"{cell['operations']:,.0f}" if "operations" in cell else f"{cell['timed']:,.0f}",
        ]
        for workload, by_peer in results["workloads"].items()
        for peer, cell in by_peer.items()
    ]
    sections = [
        "# Speed",
        "Targets, and what one run measured (medians of its repetitions).",
        table(["what", "target", "measured", "reached"], summary),
        "\n".join(f"- {row.name}: {row.note}." for row in rows),
        "Microseconds an operation.",
        table(["workload", "peer", "mean", "p50", "p99", "operations"], cells),
        "What a statement that has returned survives:",
        "\n".join(f"- {name} ({peer['version']}): {peer['durability']}." for name, peer in peers.items()),
        "\n".join(f"- Not measured: {name}: {reason}." for name, reason in results["missing_peers"].items()),
        "Machine and parameters:",
        "\n".join(f"- {name}: {value}" for name, value in (machine | parameters).items()),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"
