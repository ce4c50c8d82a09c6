"""Start processes and look at them from outside: workers, start-up times, memory, syncs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import inputs
from benchmarks.timing import percentile
from benchmarks.workloads import Task

_ROOT = Path(__file__).resolve().parents[1]
_PATIENCE_SECONDS = 1800
_KIBIBYTE = 1024

# Runs before and after what is measured; reads everything from stdin, so that bare Python does the same but for `WORK`.
_MEMORY_SCRIPT = """
import sys
path, *keys = sys.stdin.buffer.read().split(b"\\n")
{work}
print(open("/proc/self/status").read())
print(open("/proc/self/smaps_rollup").read())
"""
_MEMORY_WORK = """
import {module}
database = {module}.open(path.decode(), "r")
for key in keys:
    database[key]
"""

_SYNC_SCRIPT = """
import os, sys
import hutch.dbm
path, entries, puts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with hutch.dbm.open(path, "n", durability="commit") as database:
    database.update({b"%016d" % number: b"x" * 100 for number in range(entries)})
    for number in range(entries, entries + 100):
        database[b"%016d" % number] = b"x" * 100
    os.write(1, b"begin\\n")
    for number in range(entries + 100, entries + 100 + puts):
        database[b"%016d" % number] = b"x" * 100
    os.write(1, b"end\\n")
"""


def _environment() -> dict[str, str]:
    places = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def _run(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        arguments, check=True, stdout=subprocess.PIPE, timeout=_PATIENCE_SECONDS, env=_environment(), **options
    )


def run_worker(task: Task) -> dict[str, Any]:
    """Run a workload in a process of its own."""
    finished = _run([sys.executable, "-m", "benchmarks.worker", json.dumps(asdict(task))])
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def start_up(statements: dict[str, str], turns: int) -> dict[str, dict[str, float]]:
    """Time ``python -c STATEMENT`` of several statements that take turns.

    Args:
        statements: by name; the first is what the others are compared with.
        turns: of each.

    Returns:
        By name: "p50" and "p99" in milliseconds, and "above" the first, the median of the differences in a turn.
    """
    times: dict[str, list[float]] = {name: [] for name in statements}
    for turn in range(-1, turns):
        for name, statement in statements.items():
            begin = perf_counter()
            _run([sys.executable, "-c", statement])
            if turn >= 0:  # the first turn compiles and fills the page cache
                times[name].append((perf_counter() - begin) * 1000)
    bare = next(iter(times.values()))
    return {
        name: {
            "p50": percentile(each, 50),
            "p99": percentile(each, 99),
            "above": percentile([time - base for time, base in zip(each, bare, strict=True)], 50),
        }
        for name, each in times.items()
    }


def memory(module: str | None, path: str, entries: int, gets: int) -> dict[str, float] | None:
    """The memory of a fresh process that has opened a database and read some entries, in MiB.

    Args:
        module: has the `open`; None: bare Python, which does nothing.

    Returns:
        "resident", "peak" (resident at its highest), "proportional" (shared pages count in parts), "private", and
        "file" (resident pages of files: the kernel takes them back when it wants); None where there is no /proc.
    """
    if not os.path.exists("/proc/self/smaps_rollup"):
        return None
    work = _MEMORY_WORK.format(module=module) if module else ""
    wanted = inputs.shuffled(inputs.keys(entries), gets)
    lines = b"\n".join([path.encode(), *wanted])
    finished = _run([sys.executable, "-c", _MEMORY_SCRIPT.format(work=work)], input=lines)
    kibibytes: dict[str, int] = {}
    for line in finished.stdout.decode().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            kibibytes[name] = int(value.split()[0])
    return {
        "resident": kibibytes["VmRSS"] / _KIBIBYTE,
        "peak": kibibytes["VmHWM"] / _KIBIBYTE,
        "proportional": kibibytes["Pss"] / _KIBIBYTE,
        "private": (kibibytes["Private_Clean"] + kibibytes["Private_Dirty"]) / _KIBIBYTE,
        "file": kibibytes["RssFile"] / _KIBIBYTE,
    }


def traced_syncs(folder: str, entries: int, puts: int) -> dict[str, Any] | None:
    """Count, with strace, the syncs of durable puts of new keys; None where strace is missing or may not trace."""
    if shutil.which("strace") is None:
        return None
    log = os.path.join(folder, "strace.log")
    command = ["strace", "-f", "-o", log, "-e", "trace=fsync,fdatasync,sync,syncfs,sync_file_range,msync,write"]
    try:
        _run([*command, sys.executable, "-c", _SYNC_SCRIPT, os.path.join(folder, "traced"), str(entries), str(puts)])
    except subprocess.CalledProcessError:
        return None
    counts: dict[str, int] = {}
    counting = False
    for line in Path(log).read_text().splitlines():
        call = line.split(maxsplit=1)[1]
        if call.startswith('write(1, "begin'):
            counting = True
        elif call.startswith('write(1, "end'):
            break
        elif counting and not call.startswith(("write(", "<", "+", "-")):
            name = call.partition("(")[0]
            counts[name] = counts.get(name, 0) + 1
    return {"puts": puts, "calls": counts, "each": sum(counts.values()) / puts}
