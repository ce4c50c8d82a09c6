"""The disk is full, or fails, at every call that can: a failed statement has done nothing, the next one works."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from crash.history import History
from crash.power import cut_power, power_cuts
from crash.session import Stage, examine
from crash.simulated import Event, Machine
from crash.stubborn import Fault, StubbornSession
from crash.sweep import Sweep
from crash.workloads import WORKLOADS

_NAMES = ["statements", "batches", "large_values", "durable_commits", "two_handles", "rewrites", "reorganizations"]


def disk_full(event: Event) -> None:
    """Nothing fits any more."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), event.path)


def disk_fills_up(event: Event) -> None:
    """A part fits: a short write, and an error from the next."""
    if event.change is not None:
        event.process.machine.apply(event, 100)
    disk_full(event)


def disk_fails(event: Event) -> None:
    """Nothing was written; of a sync nobody knows, and Linux forgets the pages."""
    if event.kind == "sync" and event.inode is not None:
        event.inode.lose_pages()
    raise OSError(errno.EIO, os.strerror(errno.EIO), event.path)


def _failing_events(name: str, wanted: Callable[[Event], bool]) -> list[int]:
    numbers: list[int] = []
    machine = Machine()
    machine.hooks.append(Fault(-1, disk_full))
    machine.hooks.append(lambda event: numbers.append(event.number) if wanted(event) else None)
    WORKLOADS[name](Stage(machine, History(), StubbornSession))
    return numbers


def _run(name: str, number: int, error: Callable[[Event], None], *, lasting: bool) -> tuple[Machine, History]:
    machine, history = Machine(), History()
    fault = Fault(number, error, lasting=lasting)
    machine.hooks.append(fault)
    WORKLOADS[name](Stage(machine, history, StubbornSession))
    assert fault.struck
    return machine, history


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("error", [disk_full, disk_fills_up, disk_fails])
def test_every_call_that_can_fail(name: str, error: Callable[[Event], None], lasting: bool) -> None:
    for number in _failing_events(name, lambda event: event.may_fail and not event.is_sync):
        machine, history = _run(name, number, error, lasting=lasting)
        assert examine(machine.copy()) == history.state, number
        for cut in list(power_cuts([], range(0)))[:1]:
            assert examine(cut_power(machine, cut)) == history.state, number


@pytest.mark.parametrize("name", _NAMES)
def test_every_sync(name: str) -> None:
    """What was acknowledged before a sync fails stays; what was not has an unknown outcome."""
    for number in _failing_events(name, lambda event: event.is_sync):
        machine, history = _run(name, number, disk_fails, lasting=False)
        assert examine(machine.copy()) == history.state, number


@pytest.mark.parametrize("name", _NAMES)
def test_power_cut_after_an_error(name: str) -> None:
    """What failed stays undone, whatever of it reached the disk before its blocks were used again."""
    numbers = _failing_events(name, lambda event: event.may_fail and not event.is_sync)
    for number in numbers[:: 1 + len(numbers) // 12]:

        def faulty(machine: Machine, history: History, number: int = number) -> None:
            machine.hooks.insert(0, Fault(number, disk_fills_up))
            WORKLOADS[name](Stage(machine, history, StubbornSession))

        Sweep(examine, every=5, cuts=2, kills=False, first=number + 1).run(faulty).assert_clean()


@pytest.mark.parametrize("seed", range(3))
def test_first_lines_that_did_not_fit_never_come_to_light(seed: int) -> None:
    """They were cut off, and an empty directory is not synced again: a torn one would be nobody's any more."""

    def workload(stage: Stage) -> None:
        for _ in range(2):
            session = stage.open()
            session.put(b"key", b"value")
            session.clear()
            session.put(b"key", b"another")
            session.clear()
            session.close()

    writes: list[int] = []
    machine = Machine()
    machine.hooks.append(Fault(-1, disk_full))
    machine.hooks.append(lambda event: writes.append(event.number) if _is_first_line(event) else None)
    workload(Stage(machine, History(), StubbornSession))
    assert writes
    for number in writes:

        def faulty(machine: Machine, history: History, number: int = number) -> None:
            machine.hooks.insert(0, Fault(number, disk_fills_up))
            workload(Stage(machine, history, StubbornSession))

        Sweep(examine, every=2, cuts=8, seeds=16 + seed, kills=False, first=number + 1).run(faulty).assert_clean()


def _is_first_line(event: Event) -> bool:
    is_write = event.kind == "write" and event.change is not None and event.change.offset == 0
    return is_write and event.path.endswith(".dir")
