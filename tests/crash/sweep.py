"""Crash at every event: photograph the machine just before it, crash the photograph, look what comes back.

A workload runs once. Before each of its events (and in the middle of each write) a hook copies the whole
machine and lets the copy crash: every process killed, or the power cut by several adversaries. The copy is then
examined, which is to open its database, compare it with the `History`, write more, close, and open again.
Equal disks are examined once.

An examination is itself a row of events: `crash_again` crashes these too.
"""

from __future__ import annotations

import random
import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from crash.history import History, State
from crash.power import PowerCut, cut_power, power_cuts
from crash.simulated import BusError, Event, Killed, Machine
from crash.simulated_locks import WouldHang

__all__ = ["Crash", "Finding", "Sweep", "crash_again"]

# A machine word is stored by one instruction, so a dying process cannot leave half of it.
_ATOMIC_STORE_BYTES = 8
# After so many-th events a machine whose processes were killed is looked at while it runs on, too.
_RUNS_ON_EVERY = 3

Workload = Callable[[Machine, History], None]
Examination = Callable[[Machine], State]


@dataclass(frozen=True)
class Crash:
    """How a photograph crashed."""

    event_number: int
    what: str
    how: str
    power_was_cut: bool

    def __str__(self) -> str:
        return f"at event {self.event_number}, before {self.what}: {self.how}"


@dataclass(frozen=True)
class Finding:
    """One broken promise and the crash that broke it."""

    crash: Crash
    message: str

    def __str__(self) -> str:
        return f"{self.crash}\n    {self.message}"


class Found(Exception):
    """Enough findings."""


@dataclass
class Sweep:
    """One workload, crashed everywhere.

    Attributes:
        examine: opens the database of a crashed machine, and returns its contents.
        every: crash at each so many-th event; 1 is all of them.
        cuts: power cuts tried at each event: the one that loses everything un-synced, and others in rotation.
        seeds: how many of the power cuts to choose from are random mixtures.
        kills: whether processes are killed (before each event, and within each write).
        limit: stop after so many findings.
        again: called with a sample of the crashes, to crash what follows them.
        again_every: every so many-th crash is in that sample.
        first: number of the first event to crash at.
    """

    examine: Examination
    every: int = 1
    cuts: int = 3
    seeds: int = 4
    kills: bool = True
    limit: int = 3
    again: Callable[[Machine, History, Crash], list[Finding]] | None = None
    again_every: int = 50
    first: int = 0
    findings: list[Finding] = field(default_factory=list)
    crash_count: int = 0
    examined_count: int = 0
    _seen: set[tuple[object, ...]] = field(default_factory=set)

    def run(self, workload: Workload, machine: Machine | None = None, history: History | None = None) -> Sweep:
        """Run the workload and crash it everywhere; findings are kept, and end the run when there are enough."""
        machine = machine or Machine()
        history = history or History()

        def hook(event: Event) -> None:
            if event.number >= self.first and event.number % self.every == 0:
                what = f"{event.kind} of {event.path}"
                self._crash_everywhere(machine, history, event.number, what, event)
                if len(self.findings) >= self.limit:
                    event.process.die()
                    raise Killed

        machine.hooks.append(hook)
        try:
            workload(machine, history)
        except Killed:
            pass
        else:
            self._crash_everywhere(machine, history, machine.event_count, "the end", None)
        finally:
            machine.hooks.remove(hook)
        return self

    def assert_clean(self) -> None:
        assert not self.findings, "\n".join(str(finding) for finding in self.findings)
        assert self.crash_count, "nothing was crashed"

    def _crash_everywhere(
        self, machine: Machine, history: History, number: int, what: str, event: Event | None
    ) -> None:
        for after, how, power_was_cut in self._crashes(machine, number, event):
            self.crash_count += 1
            key = (after.fingerprint(), power_was_cut, history.durable, history.completed, len(history.states))
            if key in self._seen:
                continue
            self._seen.add(key)
            crash = Crash(number, what, how, power_was_cut)
            self.examined_count += 1
            again = self.again if self.examined_count % self.again_every == 0 else None
            twin = after.copy() if again else None
            self._examine(after, history, crash)
            if again is not None and twin is not None:
                self.findings += again(twin, history, crash)
            if len(self.findings) >= self.limit:
                return

    def _crashes(self, machine: Machine, number: int, event: Event | None) -> Iterator[tuple[Machine, str, bool]]:
        if self.kills:
            yield from _killed(machine.copy(), number, "killed")
            if event is not None and event.change is not None and event.change.data is not None:
                size_bytes = len(event.change.data)
                if size_bytes > _ATOMIC_STORE_BYTES:
                    for part_bytes in {size_bytes // 2, random.Random(number).randrange(1, size_bytes)}:
                        after = machine.copy()
                        after.apply(event, part_bytes)
                        yield from _killed(after, number, f"killed after {part_bytes} of {size_bytes} bytes")
        for cut in _rotate(machine, number, self.cuts, self.seeds):
            yield cut_power(machine, cut), f"power cut, {cut}", True

    def _examine(self, after: Machine, history: History, crash: Crash) -> None:
        try:
            found = self.examine(after)
            history.check(found, power_was_cut=crash.power_was_cut)
        except (Exception, Killed, BusError, WouldHang) as problem:  # noqa: BLE001 - whatever it is, it is a finding
            self.findings.append(Finding(crash, describe(problem)))


def crash_again(
    machine: Machine, history: History, crash: Crash, *, workload: Workload, sweep: Callable[[], Sweep]
) -> list[Finding]:
    """Let a crashed machine run `workload`, and crash that everywhere.

    Args:
        workload: opens the database, settles the history, writes on.
        sweep: makes the sweep that crashes it the second time.
    """
    second = sweep()
    try:
        second.run(workload, machine, history.after_crash(power_was_cut=crash.power_was_cut))
    except Exception as problem:  # noqa: BLE001 - whatever it is, it is a finding
        second.findings.append(Finding(Crash(0, "the second crash", "none", False), describe(problem)))
    return [
        Finding(Crash(crash.event_number, crash.what, f"{crash.how}; then {finding.crash}", True), finding.message)
        for finding in second.findings
    ]


def describe(problem: BaseException) -> str:
    """An exception with the last places that it came through."""
    frames = traceback.extract_tb(problem.__traceback__)[-4:]
    places = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in reversed(frames)]
    return f"{type(problem).__name__}: {problem}\n    from {' < '.join(places)}"


def _killed(after: Machine, number: int, how: str) -> Iterator[tuple[Machine, str, bool]]:
    """The machine that runs on, where an engine may believe its page cache, at some events; and one started anew."""
    if number % _RUNS_ON_EVERY == 0:
        yield after.copy(), how, False
    after.restart()
    yield after, f"{how}, and the machine was restarted", False


def _rotate(machine: Machine, number: int, count: int, seeds: int) -> Iterator[PowerCut]:
    """Some of the adversaries, others at each event, the same in each run."""
    if not count:
        return
    suffixes = sorted(
        {name.rpartition(".")[2] for name, inode in machine.names.items() if machine.inodes[inode].pending}
    )
    cuts = list(power_cuts(suffixes, range(number * seeds, (number + 1) * seeds)))
    yield cuts[0]
    rest = cuts[1:]
    random.Random(zlib.crc32(b"%d" % number)).shuffle(rest)
    yield from rest[: count - 1]
