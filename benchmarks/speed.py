"""``python -m benchmarks.speed``: the speeds that hutch promises, measured beside its peers in one run.

Prints a Markdown report; ``--json FILE`` keeps every number. With the sizes left as they are it takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import inputs, machine, processes
from benchmarks.peers import PEERS, Peer
from benchmarks.report import markdown
from benchmarks.rows import judge
from benchmarks.timing import merged
from benchmarks.workloads import Task

# dbm.dumb takes a tenth of a second for a delete, so it gets a sample: as many as fit into the limit.
_COMPARED = ("get", "get_missing", "put", "replace", "delete")
_TIMES_OPENED = 200


class Run:
    """One run of the benchmark in a folder for its databases."""

    def __init__(self, options: argparse.Namespace, folder: str) -> None:
        self.options = options
        self.folder = folder
        self.missing = {peer.name: reason for peer in PEERS.values() if (reason := peer.missing())}
        self.peers = [peer for peer in PEERS.values() if peer.name not in self.missing]

    def _task(self, workload: str, peer: str, **changes: Any) -> dict[str, Any]:
        standard = {
            "folder": self.folder,
            "entries": self.options.entries,
            "operations": self.options.entries,
            "limit_seconds": self.options.limit,
        }
        task = Task(workload, peer, **(standard | changes))
        print(f"  {workload} {peer} {task.entries:,}", file=sys.stderr, flush=True)
        return processes.run_worker(task)

    def compare(self, peers: Sequence[Peer]) -> dict[str, dict[str, Any]]:
        """Every workload with every peer, in turns."""
        collected: dict[str, dict[str, list[Any]]] = {}
        for peer in peers:
            collected.setdefault("prepare", {})[peer.name] = [self._task("prepare", peer.name)]
        for _ in range(self.options.repeat):
            for workload in _COMPARED:
                for peer in peers:
                    collected.setdefault(workload, {}).setdefault(peer.name, []).append(self._task(workload, peer.name))
        return {
            workload: {peer: merged(results) for peer, results in by_peer.items()}
            for workload, by_peer in collected.items()
        }

    def opening(self) -> dict[str, Any]:
        """The large database beside the small one; both stay for `memory`."""
        options = self.options
        for entries in (options.small, options.large):
            self._task("prepare", "hutch", entries=entries)
        results = [
            self._task(
                "open_get_close", "hutch", entries=options.large, other_entries=options.small, operations=_TIMES_OPENED
            )
            for _ in range(options.repeat)
        ]
        return {"hutch": merged(results)}

    def memory(self) -> dict[str, Any]:
        """Bare Python, hutch, and dbm.dumb, which reads the very same files."""
        options = self.options
        path = Task("", "hutch", self.folder, options.large, 0, 0).path()
        cells = {
            name: processes.memory(module, path, options.large, 1000)
            for name, module in {"bare Python": None, "hutch": "hutch.dbm", "dbm.dumb": "dbm.dumb"}.items()
        }
        return {name: cell for name, cell in cells.items() if cell}

    def durable_put(self) -> dict[str, Any]:
        """Syncs and times of durable puts."""
        entries, puts = min(self.options.small, 1000), self.options.durable_puts
        return {
            "hutch": merged(
                [
                    self._task("durable_put", "hutch", entries=entries, operations=puts)
                    for _ in range(min(3, self.options.repeat))
                ]
            ),
            "strace": processes.traced_syncs(self.folder, entries, puts),
        }

    def everything(self) -> dict[str, Any]:
        """All measurements, by workload."""
        statements = {
            "bare Python": "pass",
            "hutch": "import hutch; hutch.open",  # which loads what a bare import puts off
            "hutch.dbm": "import hutch.dbm",
            "shelve, dbm.dumb": "import shelve, dbm.dumb",
        }
        start_up = processes.start_up(statements, turns=4 * self.options.repeat + 1)
        opening = self.opening()
        memory = self.memory()
        return {
            **self.compare(self.peers),
            "open_get_close": opening,
            "import": start_up,
            "memory": memory,
            "durable_put": self.durable_put(),
        }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000, help="entries of the compared databases (%(default)s)")
    parser.add_argument("--large", type=int, default=1_000_000, help="entries of the large database (%(default)s)")
    parser.add_argument("--small", type=int, default=1_000, help="entries of the small database (%(default)s)")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions, interleaved (%(default)s)")
    parser.add_argument("--limit", type=float, default=5.0, help="seconds for a measured loop (%(default)s)")
    parser.add_argument("--durable-puts", type=int, default=500, help="durable puts (%(default)s)")
    parser.add_argument("--folder", help="where the databases are made (default: the temporary folder)")
    parser.add_argument("--json", metavar="FILE", help="write every number there")
    parser.add_argument("--markdown", metavar="FILE", help="write the report there too")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and keep what was asked for."""
    options = _options(arguments)
    with TemporaryDirectory(prefix="hutch-benchmark-", dir=options.folder) as folder:
        host = machine.describe(folder)
        run = Run(options, folder)
        measured = run.everything()
        host["load_average_after"] = machine.load()
    rows = judge(measured)
    parameters = {
        name: getattr(options, name) for name in ("entries", "large", "small", "repeat", "limit", "durable_puts")
    }
    parameters |= {"key_bytes": inputs.KEY_BYTES, "value_bytes": inputs.VALUE_BYTES}
    results = {
        "peers": {peer.name: {"version": peer.version(), "durability": peer.durability} for peer in run.peers},
        "missing_peers": run.missing,
        "workloads": {name: measured[name] for name in ("prepare", *_COMPARED, "open_get_close")},
    }
    report = markdown(host, parameters, results, rows)
    if options.json:
        everything = {
            "machine": host,
            "parameters": parameters,
            "peers": results["peers"],
            "missing_peers": run.missing,
            "measured": measured,
            "rows": [asdict(row) for row in rows],
        }
        Path(options.json).write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    if options.markdown:
        Path(options.markdown).write_text(report, encoding="utf-8")
    print(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
