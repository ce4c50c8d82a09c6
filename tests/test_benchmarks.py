"""The benchmark runs from end to end with small sizes, and judges what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # the benchmarks are not part of the package

from benchmarks import inputs, timing  # noqa: E402
from benchmarks.peers import PEERS  # noqa: E402
from benchmarks.rows import TARGETS, judge  # noqa: E402

SIZES = {"entries": 300, "large": 900, "small": 50, "repeat": 1, "limit": 0.2, "durable-puts": 20}


def finished(results: Path, folder: Path) -> tuple[str, dict[str, Any]]:
    """One run: what it printed, and its JSON."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed",
        *(f"--{name}={size}" for name, size in SIZES.items()),
        "--folder",
        str(folder),
    ]
    command += ["--json", str(results / "speed.json"), "--markdown", str(results / "speed.md")]
    process = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=110)
    assert process.returncode == 0, process.stderr
    assert (results / "speed.md").read_text(encoding="utf-8") == process.stdout.removesuffix("\n")
    return process.stdout, json.loads((results / "speed.json").read_text(encoding="utf-8"))


def test_every_target_is_measured(tmp_path: Path) -> None:
    """One test: a run takes seconds, and each of two workers would make its own."""
    results, folder = tmp_path / "results", tmp_path / "databases"
    results.mkdir()
    folder.mkdir()
    printed, report = finished(results, folder)
    assert [row["name"] for row in report["rows"]] == [target.name for target in TARGETS]
    for row in report["rows"]:
        if "memory" in row["name"] and not os.path.exists("/proc/self/smaps_rollup"):
            continue
        assert row["measured"] is not None, row
        assert isinstance(row["reached"], bool)
        assert f"| {row['name']} " in printed
    assert report["measured"]["durable_put"]["hutch"]["syncs_median"] == 1
    # The report says what was measured, on what.
    assert report["machine"]["python"].startswith("CPython")
    assert report["machine"]["packages"]["xxhash"][0].isdigit()
    assert report["parameters"]["key_bytes"] == 16
    assert report["parameters"]["entries"] == 300
    assert {"hutch", "dbm.dumb"} <= set(report["peers"])
    assert set(report["peers"]) | set(report["missing_peers"]) == set(PEERS)
    for name, peer in report["peers"].items():
        assert f"- {name} ({peer['version']}): {peer['durability']}." in printed
    for workload in ("get", "get_missing", "put", "replace", "delete"):
        assert set(report["measured"][workload]) == set(report["peers"])
        assert all(cell["p50"] <= cell["p99"] for cell in report["measured"][workload].values())
    # Nothing is left behind.
    assert list(folder.iterdir()) == []


def cell(microseconds: float) -> dict[str, float]:
    return {"microseconds": microseconds, "p50": microseconds, "p99": microseconds, "operations": 10.0}


def test_targets_are_judged() -> None:
    measured = {
        "get": {"hutch": cell(2), "dbm.dumb": cell(12)},
        "put": {"hutch": cell(10), "dbm.dumb": cell(40)},
        "delete": {"hutch": cell(20), "dbm.dumb": cell(100_000)},
        "memory": {},
    }
    rows = {row.name: row for row in judge(measured)}
    assert rows["get at random"].reached is True
    assert rows["put one by one"].reached is False
    assert rows["put one by one"].measured == 0.25
    assert rows["delete one by one"].reached is False  # "under" 20
    assert rows["import hutch, above bare Python"].reached is None
    assert rows["memory of the large one after gets, above bare Python"].reached is None


def test_a_slow_loop_is_a_sample() -> None:
    seen: list[int] = []

    def loop(piece: Iterator[int]) -> None:
        seen.extend(piece)

    assert timing.time_loop(loop, range(10_000), limit_seconds=60)["operations"] == 10_000
    assert seen == list(range(10_000))
    assert timing.time_loop(loop, range(10_000), limit_seconds=0)["operations"] == 1
    assert timing.time_each(seen.append, [7, 8, 9], limit_seconds=0)["timed"] == 1


def test_percentiles_and_medians() -> None:
    times = list(range(1, 101))
    assert timing.percentile(times, 50) == 51
    assert timing.percentile(times, 99) == 100
    assert timing.percentile([5], 99) == 5
    assert timing.merged([{"p50": 1.0}, {"p50": 9.0}, {"p50": 2.0}]) == {"p50": 2.0, "repetitions": 3}


def test_input_is_the_same_in_every_process() -> None:
    keys = inputs.keys(1000)
    assert len(set(keys)) == 1000
    assert {len(key) for key in keys} == {16}
    assert {len(value) for value in inputs.values(1000)} == {100}
    assert inputs.key(0) == b"ca08ea5bca49cc18"
    assert not set(keys) & set(inputs.missing_keys(1000))
