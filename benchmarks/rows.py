"""The speeds that hutch is to reach, and what was measured of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Measured = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One row of the table.

    Attributes:
        name: what is measured.
        unit: of `limit` and of what `value` returns.
        limit: the most that counts as reached.
        value: picks the number out of all measurements; raises KeyError or TypeError if it was not measured.
        note: a sentence from the same measurements.
        strict: the number has to stay below the limit, not only at it.
    """

    name: str
    unit: str
    limit: float
    value: Callable[[Measured], float]
    note: Callable[[Measured], str]
    strict: bool = False


@dataclass(frozen=True)
class Row:
    """A target and what came of it; `measured` is None where it could not be measured."""

    name: str
    target: str
    measured: float | None
    unit: str
    reached: bool | None
    note: str


def _ratio(workload: str) -> Callable[[Measured], float]:
    return lambda all_: all_[workload]["hutch"]["microseconds"] / all_[workload]["dbm.dumb"]["microseconds"]


def _beside(workload: str) -> Callable[[Measured], str]:
    def note(all_: Measured) -> str:
        parts = []
        for peer, cell in all_[workload].items():
            sample = f", {cell['operations']:,.0f} operations" if peer != "hutch" else ""
            parts.append(
                f"{peer} {cell['microseconds']:,.2f} µs (p50 {cell['p50']:,.2f}, p99 {cell['p99']:,.2f}{sample})"
            )
        return "; ".join(parts)

    return note


def _open_note(all_: Measured) -> str:
    cell = all_["open_get_close"]["hutch"]
    return (
        f"large p50 {cell['p50']:,.0f} µs (p99 {cell['p99']:,.0f}), "
        f"small p50 {cell['small_p50']:,.0f} µs (p99 {cell['small_p99']:,.0f})"
    )


def _import_note(all_: Measured) -> str:
    return ", ".join(
        f"{name} {cell['p50']:.1f} ms (p99 {cell['p99']:.1f}; +{cell['above']:.1f})"
        for name, cell in all_["import"].items()
    )


def _memory_note(all_: Measured) -> str:
    parts = []
    for name, cell in all_["memory"].items():
        parts.append(f"{name} " + ", ".join(f"{kind} {size:.1f}" for kind, size in cell.items()))
    return "; ".join(parts)


def _sync_note(all_: Measured) -> str:
    cell, traced = all_["durable_put"]["hutch"], all_["durable_put"]["strace"]
    by_strace = f"strace: {traced['calls']} in {traced['puts']} puts" if traced else "strace: not available"
    return (
        f"counted at the file door: median {cell['syncs_median']:g}, most {cell['syncs_max']:g}, "
        f"mean {cell['syncs_each']:.3f}; "
        f"{by_strace}; a put p50 {cell['p50']:,.0f} µs, p99 {cell['p99']:,.0f}; "
        f"a bare 512-byte write and fdatasync p50 {cell['bare_p50']:,.0f} µs"
    )


TARGETS = [
    Target("get at random", "x dbm.dumb", 1 / 6, _ratio("get"), _beside("get")),
    Target("put one by one", "x dbm.dumb", 1 / 5, _ratio("put"), _beside("put")),
    Target(
        "delete one by one", "µs", 20, lambda all_: all_["delete"]["hutch"]["microseconds"], _beside("delete"), True
    ),
    Target(
        "open + get + close, large beside small",
        "x small",
        1.5,
        lambda all_: all_["open_get_close"]["hutch"]["p50"] / all_["open_get_close"]["hutch"]["small_p50"],
        _open_note,
    ),
    Target(
        "import hutch, above bare Python", "ms", 25, lambda all_: all_["import"]["hutch"]["above"], _import_note, True
    ),
    Target(
        "memory of the large one after gets, above bare Python",
        "MiB",
        20,
        lambda all_: all_["memory"]["hutch"]["resident"] - all_["memory"]["bare Python"]["resident"],
        _memory_note,
        True,
    ),
    Target(
        "syncs of a durable small put",
        "syncs",
        1,
        lambda all_: all_["durable_put"]["hutch"]["syncs_median"],
        _sync_note,
    ),
]


def judge(measured: Measured) -> list[Row]:
    """Hold every target against the measurements."""
    rows = []
    for target in TARGETS:
        sign = "<" if target.strict else "≤"
        aim = f"{sign} {target.limit:.3g} {target.unit}"
        try:
            value = target.value(measured)
            note = target.note(measured)
        except (KeyError, TypeError):
            rows.append(Row(target.name, aim, None, target.unit, None, "not measured in this run"))
            continue
        reached = value < target.limit if target.strict else value <= target.limit
        rows.append(Row(target.name, aim, value, target.unit, reached, note))
    return rows
