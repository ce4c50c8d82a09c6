"""Kill writers of a shelf with SIGKILL, on purpose.

A writer (`victim`) is a process of its own. It says on stdout how far it has come, and is killed at a line of our
choice; nothing here waits by the clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import hutch

__all__ = ["COMPLETED", "ROUND_KEYS", "Killed", "Role", "kill_writer"]

Role = Literal["inside", "rounds"]

# What the writer "inside" stores in statements of their own before it begins its transaction, and never closes.
COMPLETED = {
    f"completed/{number:03d}": {"number": number, "text": "stored before the kill" * 8} for number in range(200)
}
# What the writer "rounds" sets to the number of the round, all of them in one transaction.
ROUND_KEYS = [f"round/{number:03d}" for number in range(200)]


@dataclass(frozen=True)
class Killed:
    """How a writer ended.

    Attributes:
        exit_code: of the process; minus the signal's number where there are signals.
        said: the lines it printed before it died, all of them.
    """

    exit_code: int
    said: list[str]

    @property
    def by_signal(self) -> bool:
        """Whether it was the kill that ended it, and not an error of its own."""
        return self.exit_code == -9 if os.name == "posix" else self.exit_code == 1


def kill_writer(role: Role, path: str, after_lines: int) -> Killed:
    """Start a writer on the shelf at `path` and kill it once it has printed so many lines.

    Args:
        role: "inside" prints one line in the middle of a transaction and then waits to be killed;
            "rounds" commits one transaction after the other and prints the number of each.
        path: the shelf, which has to exist.
        after_lines: when to kill.
    """
    # The writer must find the very hutch that runs here, be it installed or not.
    places = [str(Path(hutch.__file__).resolve().parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(  # noqa: S603  # this interpreter, on our own module
        [sys.executable, "-m", "hutch.cli.demo.victim", role, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        text=True,
    )
    assert process.stdout is not None
    with process:
        try:
            said = list(islice(process.stdout, after_lines))
        finally:
            process.kill()
        # Lines that were in the pipe already: commits that the writer had been told of.
        said += process.stdout.readlines()
    return Killed(process.returncode, [line.strip() for line in said])
