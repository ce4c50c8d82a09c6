"""The comparison with peers: turns, bounds in time, reasons, judgements, and what it writes."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # the benchmarks are not part of the package

from benchmarks.compare import charts, page, plan, sharing, special, tables, worker  # noqa: E402
from benchmarks.compare.borrowed import lend  # noqa: E402
from benchmarks.compare.catalog import CATALOG, GROWTH  # noqa: E402
from benchmarks.compare.data import LARGER, SMALLER, Data  # noqa: E402
from benchmarks.compare.entrants import Entrant, Interpreter  # noqa: E402
from benchmarks.compare.pace import Pace, Planned  # noqa: E402
from benchmarks.compare.peers import BY_LEVEL  # noqa: E402
from benchmarks.compare.reach import OBJECT_GROUP, RAW_GROUP, TARGETS, judge  # noqa: E402
from benchmarks.compare.runner import execute, merged, order  # noqa: E402
from benchmarks.compare.task import OBJECTS, RAW, Task  # noqa: E402

ENTRIES = 40
# What a module of the standard library is nothing without.
NEEDED = {"dbm.gnu": "_gdbm", "dbm.ndbm": "_dbm"}
PRESENT = [
    (level, name)
    for level, peers in BY_LEVEL.items()
    for name, peer in peers.items()
    if find_spec(NEEDED.get(peer.module, peer.module))
]


def task(folder: Path, workload: str, peer: str = "hutch", level: str = RAW) -> Task:
    return Task(workload, peer, level, 100, str(folder), ENTRIES, ENTRIES, 0.01)


def entrant(name: str, level: str = RAW, label: str = "", python: str = sys.executable) -> Entrant:
    return Entrant(label or name, name, level, "1", Interpreter(python, "3.13.0", "", {}))


# --- peers and workloads ---


@pytest.mark.filterwarnings("ignore")  # of the peers' own
@pytest.mark.parametrize(("level", "name"), PRESENT)
def test_every_peer_is_a_mapping(level: str, name: str, tmp_path: Path) -> None:
    peer, data = BY_LEVEL[level][name], Data(level, 100)
    pairs = dict(data.pairs(range(20)))
    path = str(tmp_path / "database")
    handle = peer.open(path, "n")
    handle.load(pairs)
    if not peer.in_memory:
        handle.close()
        handle = peer.open(path, "w", durable=peer.durable is not None)
    new = data.pairs(range(20, 25))
    if peer.durable:
        handle.durable_each(new)
    else:
        handle.put_each(new)
    handle.put_each(data.pairs(range(3), kind=LARGER))
    handle.delete_each(data.keys([19]))
    if not peer.in_memory:
        handle.close()
        handle = peer.open(path, "r")
    wanted = pairs | dict(new) | dict(data.pairs(range(3), kind=LARGER))
    del wanted[data.key(19)]
    assert {key: handle.get(key) for key in wanted} == wanted
    assert {_text(key) for key in handle.keys()} == {_text(key) for key in wanted}  # noqa: SIM118  # no mapping
    assert {_text(key): value for key, value in handle.items()} == {_text(key): value for key, value in wanted.items()}
    handle.get_each(wanted)
    handle.miss_each(data.missing(3))
    assert handle.get(data.missing(1)[0]) is None
    handle.close()
    del handle
    gc.collect()  # here, where the filter holds: diskcache leaves a connection in a cycle


def _text(key: str | bytes) -> str:
    return key if isinstance(key, str) else key.decode()


@pytest.mark.parametrize("name", CATALOG)
def test_every_workload_gives_numbers(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(special, "HUGE_BYTES", 2**20)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    if name == "memory" and not os.path.exists("/proc/self/status"):
        pytest.skip("this system has no /proc")
    level = CATALOG[name].levels[0]
    worker.run(task(tmp_path, "load", level=level))
    result = worker.run(task(tmp_path, name, level=level))
    assert result["value"] > 0 or name == "memory"
    assert "remark" not in result
    if "p50" in result:
        assert result["p50"] <= result["p99"]


def test_peers_say_what_they_cannot_do(tmp_path: Path) -> None:
    for workload, peer, reason in (
        ("durable_put", "dbm.dumb", "does not reach the disk"),
        ("durable_put", "dict (the limit)", "in memory"),
        ("disk", "dict (the limit)", "in memory"),
        ("two_writers", "dict (the limit)", "one process"),
        ("beside_writer", "pickled dict", "a copy of its own"),
        ("two_writers", "hutch, exclusive", "no other handle"),
    ):
        assert reason in worker.run(task(tmp_path, workload, peer))["skipped"], (workload, peer)


def test_processes_that_wait_for_each_other_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    tasks = [task(tmp_path, "side_put"), task(tmp_path, "side_put")]
    with pytest.raises(sharing.Unfit, match="waits for the other"):
        sharing._together(tasks, patience=0)


def test_a_process_that_is_refused_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    with pytest.raises(sharing.Unfit, match="refused: FileNotFoundError"):
        sharing._together([task(tmp_path, "side_read")], patience=60)  # there is no database


def test_every_peer_says_what_a_statement_survives() -> None:
    for peers in BY_LEVEL.values():
        for peer in peers.values():
            assert peer.survives
            assert peer.durability
            assert peer.durable or peer.not_durable
            compile(peer.setup, peer.name, "exec")


def test_values_differ_as_they_are_told() -> None:
    raw, objects = Data(RAW, 100), Data(OBJECTS, 100)
    assert [len(raw.values(1, kind=kind)[0]) for kind in ("same", SMALLER, LARGER)] == [100, 50, 200]
    sizes = [len(repr(objects.values(1, kind=kind)[0])) for kind in (SMALLER, "same", LARGER)]
    assert sizes == sorted(sizes)
    assert objects.pairs(range(9)) == Data(OBJECTS, 100).pairs(range(9))
    assert not set(raw.missing(100)) & set(raw.keys(range(1000)))


# --- turns and time ---


def test_the_peers_of_a_workload_take_turns() -> None:
    group = next(group for group in plan.groups() if group.name == RAW_GROUP)
    entrants = [entrant("hutch"), entrant("dbm.gnu"), entrant("semidbm")]
    for turn in range(3):
        cells = order(group, entrants, turn)
        blocks = [
            block for block, _ in groupby(cells, lambda cell: (cell.workload != "load" and cell.weight, cell.workload))
        ]
        assert len(blocks) == len(set(blocks))  # all of one workload, then all of the next
        assert cells[0] == Planned("load", entrants[turn].label, cells[0].weight)
    once = {cell.workload for cell in order(group, entrants, 0)} - {cell.workload for cell in order(group, entrants, 3)}
    assert once == {name for name in group.workloads if CATALOG[name].once}
    assert {cell.weight for cell in order(group, entrants, 1)} == {3.0}  # only what hutch is held to


def test_every_size_can_be_had() -> None:
    usual, everything = ({group.name: group for group in plan.groups(everything=all_)} for all_ in (False, True))
    assert set(everything) - set(usual) == {"raw-4096-1000000"}
    for level in (RAW, OBJECTS):
        wanted = {name for name, workload in CATALOG.items() if level in workload.levels} - {"huge_value"}
        assert wanted == set(everything[f"{level}-100-1000000"].workloads) == set(usual[f"{level}-100-1000"].workloads)


def test_a_large_group_has_hutch_first() -> None:
    group = next(group for group in plan.groups() if group.name == "raw-100-1000000")
    cells = order(group, [entrant("plyvel"), entrant("hutch")], 0)
    assert [(cell.workload, cell.label) for cell in cells[:3]] == [
        ("load", "hutch"),
        ("open_get_close", "hutch"),
        ("load", "plyvel"),
    ]
    assert not group.admits("hutch (Python 3.13)", "hutch")
    assert group.admits("dbm.sqlite3 (Python 3.13)", "dbm.sqlite3")


def test_rows_that_hutch_is_held_to_come_first_and_take_longer() -> None:
    group = next(group for group in plan.groups() if group.name == RAW_GROUP)
    cells = order(group, [entrant("hutch"), entrant("plyvel"), entrant("dbm.gnu")], 0)
    rest = [cell for cell in cells if cell.workload != "load"]
    weights = [cell.weight for cell in rest]
    assert weights == sorted(weights, reverse=True)
    assert {cell.label for cell in rest if cell.weight > 1} == {"hutch", "dbm.gnu"}


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("overhead", [0.05, 0.4, 3.0])
@pytest.mark.parametrize("seconds", [0.0, 5.0, 60.0, 600.0])
def test_a_group_ends_in_its_time(overhead: float, seconds: float) -> None:
    clock = Clock()
    turns = [[Planned("get", str(number), 1.0 + number % 3) for number in range(20)] for _ in range(4)]
    pace = Pace(turns, seconds, clock=clock)
    ran = 0
    longest = 0.0
    for turn, cells in enumerate(turns):
        for cell in cells:
            if pace.is_over:
                break
            limit = pace.limit(cell)
            longest = max(longest, 1.5 * limit + overhead)
            clock.now += 1.5 * limit + overhead
            pace.done(cell, turn, limit, 1.5 * limit + overhead)
            ran += 1
    assert clock.now <= seconds + longest
    if seconds >= 20 * (overhead + 1.5 * 0.2 * 3):
        assert ran >= 20  # every cell has had its turn


def test_a_cell_is_bounded(tmp_path: Path) -> None:
    assert execute(task(tmp_path, "load"), entrant("hutch"), patience=0) == {"skipped": "longer than 0 s"}


def test_a_cell_that_breaks_says_why(tmp_path: Path) -> None:
    result = execute(task(tmp_path, "get"), entrant("hutch"), patience=60)  # there is no database
    assert "FileNotFoundError" in result["failed"]


def test_repetitions_are_merged() -> None:
    cells = [{"value": 3.0, "p50": 1.0}, {"skipped": "no time"}, {"value": 1.0, "p50": 5.0, "remark": "odd"}]
    cell = merged([*cells, {"value": 2.0, "p50": 2.0}])
    assert (cell["value"], cell["p50"], cell["repetitions"]) == (2.0, 2.0, 3)
    assert (cell["lowest"], cell["highest"], cell["remark"]) == (1.0, 3.0, "odd")
    assert merged([{"skipped": "it cannot"}]) == {"skipped": "it cannot"}
    assert merged([]) == {"skipped": "no time was left"}


def test_modules_are_borrowed_from_the_same_version(tmp_path: Path) -> None:
    system = tmp_path / "python3.11"
    system.mkdir()
    (system / "_gdbm.cpython-311-x.so").touch()
    (system / "_dbm.cpython-312-x.so").touch()
    places = [str(tmp_path / "python3.{minor}")]
    lent = lend(str(tmp_path), ".cpython-311-x.so", 11, places=places)
    assert os.listdir(lent) == ["_gdbm.cpython-311-x.so"]
    assert lend(str(tmp_path), ".cpython-311-x.so", 11, places=places) == lent
    assert os.listdir(lend(str(tmp_path), ".cpython-313-x.so", 13, places=places)) == []


# --- what comes out ---


def cell(value: float) -> dict[str, Any]:
    return {"value": value, "p50": value / 2, "p99": value * 2}


def results() -> dict[str, Any]:
    return {
        RAW_GROUP: {
            "get": {
                "hutch": cell(2),
                "dbm.gnu": cell(1),
                "lmdb": {"skipped": "longer than 1 s"},
                "hutch (Python 3.13)": cell(1),
                "dbm.sqlite3 (Python 3.13)": cell(10),
            },
            "durable_put": {"hutch": cell(90), "lmdb": cell(100), "rocksdict": cell(80), "semidbm": cell(1)},
            "two_writers": {"hutch": cell(9), "dbm.dumb": cell(8) | {"remark": "5 of 9 puts were lost"}},
        },
        OBJECT_GROUP: {"put": {"hutch": cell(10), "shelve, dbm.gnu": cell(10)}},
        "raw-100-1000000": {"open_get_close": {"hutch": cell(260)}},
        "raw-100-1000": {"open_get_close": {"hutch": cell(200)}},
        "growth-1000": {"get": {"hutch": cell(2)}, "open_get_close": {"hutch": cell(9)}},
        "growth-2000": {"get": {"hutch": cell(2.1)}, "open_get_close": {"hutch": cell(10)}},
    }


def test_rows_are_judged() -> None:
    rows = {(row.name, row.aim): row for row in judge(results())}
    assert len(rows) == 16
    assert rows["get", "2.5 x dbm.gnu"].reached is True
    assert rows["get", "2.5 x dbm.gnu"].measured == 2
    assert rows["get", "1.5 x lmdb"].reached is None
    assert rows["get", "1/8 x dbm.sqlite3"].measured == 0.1  # beside hutch under the same interpreter
    durable = rows["durable put", "0.8 x the best of lmdb, dbm.gnu, rocksdict"]
    assert (durable.other_name, durable.reached) == ("rocksdict", False)
    assert rows["object put", "0.75 x shelve, dbm.gnu"].reached is False
    name = "open + get + close, 1,000,000 entries"
    assert rows[name, "0.5 ms"].measured == 0.26
    assert rows[name, "1.3 x that of 1,000 entries"].reached is True
    assert all(row.reached is None for row in judge({}))
    shown = tables.reach_table(judge(results()))
    assert shown.count("**no**") == 2
    assert "durable put, at most" in tables.obstacles(judge(results()))


FACTS = {
    label: {"survives": "a kill", "durable": "a sync", "durability": "a kill", "version": "1"}
    for by in results().values()
    for cells in by.values()
    for label in cells
}


def test_a_table_gives_reasons_in_notes() -> None:
    shown = tables.group_table(results()[RAW_GROUP], FACTS)
    assert "| **hutch** " in shown
    assert "2.00 (1.00, 4.00)" in shown
    assert "90.0 (45.0, 180) [1]" in shown
    assert "- [2]" in shown
    assert shown.endswith("1. a sync\n2. longer than 1 s\n3. 5 of 9 puts were lost")
    lines = [line for line in shown.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1


def test_losses_are_named() -> None:
    assert tables.losses(results()[RAW_GROUP]) == [
        ("get", "dbm.gnu", 2.0),
        ("durable_put", "semidbm", 90.0),
        ("two_writers", "dbm.dumb", 9 / 8),
    ]
    assert set(CATALOG) <= set(page.REASONS)


def texts_of(svg: str) -> Iterator[ET.Element]:
    return ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")


def test_charts_are_well_formed_and_fit() -> None:
    panel = charts.Bars("get <&>", "µs", [("hutch", 2.0, "a kill"), ("one & only", 0.001, ""), ("slow", 2e6, "")])
    svg = charts.bars('a "title"', [panel, charts.Bars("none", "µs", [])])
    assert [text.text for text in texts_of(svg)].count("one & only") == 1
    assert "prefers-color-scheme:dark" in svg
    root = ET.fromstring(svg)
    width, height = (float(root.attrib[name]) for name in ("width", "height"))
    for bar in root.iter("{http://www.w3.org/2000/svg}rect"):
        assert float(bar.attrib["x"]) >= 0
        assert float(bar.attrib["x"]) + float(bar.attrib["width"]) <= width
        assert float(bar.attrib["y"]) + 12 <= height
    lines = charts.Lines("get", "µs", {"hutch": [(1000, 2), (3e6, 2.5)], "dbm.gnu": [(1000, 2.1)], "x": [(1000, 2.2)]})
    svg = charts.growth("growth", [lines])
    places = sorted(float(text.attrib["y"]) for text in texts_of(svg) if text.text in ("hutch", "dbm.gnu", "x"))
    assert min(b - a for a, b in pairwise(places)) >= 12  # labels do not cover each other


# --- all of it ---

PEERS = ["hutch", "dbm.dumb", "dict (the limit)"]
WORKLOADS = ["durable_put", "get", "two_writers"]


def finished(folder: Path, docs: Path) -> tuple[str, dict[str, Any]]:
    """One run: what it printed, and its JSON."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.compare",
        "--minutes",
        "5",
        "--longest",
        "0.02",
        "--sizes",
        "30",
        "--values",
        "100",
    ]
    command += ["--growth", "20", "--turns", "1", "--peers", ";".join(PEERS), "--workloads", ",".join(WORKLOADS)]
    command += ["--folder", str(folder), "--docs", str(docs), "--quiet"]
    process = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=110)
    assert process.returncode == 0, process.stderr
    assert list(folder.iterdir()) == []
    return process.stdout, json.loads((docs / "charts" / "benchmarks.json").read_text(encoding="utf-8"))


def test_a_run_measures_what_was_asked_for_and_writes_the_page(tmp_path: Path) -> None:
    """One test: a run takes seconds, and each of two workers would make its own."""
    folder, docs, again = (tmp_path / name for name in ("databases", "docs", "again"))
    for each in (folder, docs, again):
        each.mkdir()
    printed, report = finished(folder, docs)
    assert set(report["results"]) == {"raw-100-30", "objects-100-30", "growth-20"}
    cells = report["results"]["raw-100-30"]
    assert set(cells) == {"load", *WORKLOADS}
    assert set(report["results"]["growth-20"]) == {"load", *GROWTH}
    for group in report["results"].values():
        for workload, by_label in group.items():
            for label, found in by_label.items():
                assert "failed" not in found, (workload, label, found)
                assert "value" in found or found["skipped"]
    assert "value" in cells["get"]["hutch"]
    assert "lost" not in json.dumps(cells["two_writers"]["hutch"])
    for label, facts in report["entrants"][RAW].items():
        assert facts["durability"]
        assert label in printed
    text = (docs / "benchmarks.md").read_text(encoding="utf-8")
    for part in ("# Benchmarks", "## To reach", "## What is compared", "charts/growth.svg", "pip install '.[bench]'"):
        assert part in text
    assert report["machine"]["python"] in text
    ET.parse(docs / "charts" / "growth.svg")
    # And it is made again from its numbers.
    command = [sys.executable, "-m", "benchmarks.compare", "--from", str(docs / "charts" / "benchmarks.json")]
    subprocess.run([*command, "--docs", str(again)], cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert (again / "benchmarks.md").read_bytes() == (docs / "benchmarks.md").read_bytes()


def test_the_rows_alone_need_few_cells() -> None:
    entrants = [entrant(name) for name in ("hutch", *plan.held_peers())]
    for group in plan.reach_groups():
        held = [cell for cell in order(group, entrants, 1) if cell.workload != "load"]
        assert held
        assert all(cell.weight > 1 for cell in held)
    wanted = {(group.name, name) for group in plan.reach_groups() for name in group.workloads}
    assert wanted >= {(target.group, target.workload) for target in TARGETS}
