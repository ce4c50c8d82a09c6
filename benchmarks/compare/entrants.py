"""Which peer runs under which interpreter, or why it cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.compare.borrowed import lend
from benchmarks.compare.peers import BY_LEVEL

_ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Interpreter:
    """A Python that workers can run under.

    Attributes:
        path: of its executable.
        version: "3.13.0".
        lent: a folder of modules that it borrows.
        peers: by name: {"version": ...} or {"missing": reason}.
    """

    path: str
    version: str
    lent: str
    peers: dict[str, dict[str, str]]

    @property
    def environment(self) -> dict[str, str]:
        return _environment(self.lent)


@dataclass(frozen=True)
class Entrant:
    """A peer under an interpreter.

    Attributes:
        label: the name in the tables: the peer's, with the version of Python if it is not the run's own.
    """

    label: str
    peer: str
    level: str
    version: str
    interpreter: Interpreter

    def facts(self) -> dict[str, Any]:
        """What a reader wants to know beside the numbers."""
        peer = BY_LEVEL[self.level][self.peer]
        return {
            "peer": self.peer,
            "python": self.interpreter.version,
            "version": self.version,
            "durability": peer.durability,
            "survives": peer.survives,
            "durable": peer.durable or f"cannot: {peer.not_durable}",
        }


def _environment(*places: str) -> dict[str, str]:
    path = [str(_ROOT), str(_ROOT / "src"), *filter(None, [*places, os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def _probe(python: str, lent: str = "") -> dict[str, Any]:
    finished = subprocess.run(
        [python, "-m", "benchmarks.compare.probe"],
        env=_environment(lent),
        check=True,
        stdout=subprocess.PIPE,
        timeout=_PATIENCE_SECONDS,
    )
    found: dict[str, Any] = json.loads(finished.stdout)
    return found


def look_at(python: str, folder: str) -> Interpreter:
    """Ask an interpreter what it has, with what it can borrow."""
    bare = _probe(python)
    lent = lend(folder, bare["suffix"], bare["minor"]) if bare["suffix"] else ""
    return Interpreter(python, bare["python"], lent, _probe(python, lent)["peers"])


def find(folder: str, others: Sequence[str] = (), only: Sequence[str] = ()) -> tuple[list[Entrant], dict[str, str]]:
    """Find an interpreter for each peer.

    Where a peer is to be had only under another interpreter, hutch runs there too: so the two can be compared.

    Args:
        folder: for what is borrowed.
        others: interpreters besides the one that runs this.
        only: names of peers; all, if it is empty.

    Returns:
        The entrants, and the reasons why others are missing.
    """
    own, *guests = [look_at(python, folder) for python in (sys.executable, *others)]
    entrants: list[Entrant] = []
    missing: dict[str, str] = {}
    for level, peers in BY_LEVEL.items():
        away: dict[str, Interpreter] = {}
        for name in peers:
            if only and name not in only:
                continue
            host = next((host for host in (own, *guests) if "version" in host.peers[name]), None)
            if host is None:
                missing[name] = own.peers[name]["missing"]
            else:
                entrants.append(_entrant(name, level, host, own))
                if host is not own:
                    away[host.path] = host
        for host in away.values():
            if "version" in host.peers["hutch"]:
                entrants.append(_entrant("hutch", level, host, own))
    return entrants, missing


def _entrant(name: str, level: str, host: Interpreter, own: Interpreter) -> Entrant:
    minor = host.version.rpartition(".")[0]
    label = name if host is own else f"{name} (Python {minor})"
    return Entrant(label, name, level, host.peers[name]["version"], host)
