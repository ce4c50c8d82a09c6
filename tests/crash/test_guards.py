"""Every sync that the engine makes guards something: without it the crash tests fail."""

from __future__ import annotations

import functools

import pytest

from crash.history import History
from crash.session import Stage, examine, played
from crash.simulated import Event, Machine
from crash.sweep import Sweep
from crash.workloads import WORKLOADS, mixture

# Where the engine syncs which file, and the workload that shows why.
GUARDS: dict[str, str] = {}


@functools.cache
def sites() -> frozenset[str]:
    """Every place where the workloads make the engine sync a file."""
    found: set[str] = set()

    def note(event: Event) -> None:
        if event.is_sync:
            found.add(event.site)

    for workload in (*WORKLOADS.values(), *map(mixture, range(4))):
        machine = Machine()
        machine.hooks.append(note)
        workload(Stage(machine, History()))
    return frozenset(found)


def test_every_sync_is_in_the_list() -> None:
    assert sites() == GUARDS.keys()


@pytest.mark.parametrize("site", GUARDS)
def test_without_it_a_power_cut_breaks_a_promise(site: str) -> None:
    machine = Machine(lost_syncs=[lambda event: event.site == site])
    sweep = Sweep(examine, cuts=12, kills=False, limit=1).run(played(WORKLOADS[GUARDS[site]]), machine)
    assert sweep.findings, f"{site} guards nothing that {GUARDS[site]} shows"
