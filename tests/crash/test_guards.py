"""Every sync that the engine makes guards something: without it the crash tests fail."""

from __future__ import annotations

import functools

import pytest

from crash.history import History
from crash.session import Stage, examine, played
from crash.simulated import Event, Machine
from crash.sweep import Finding, Sweep
from crash.workloads import WORKLOADS, mixture

# Where the engine syncs which file, and the workload that shows why.
GUARDS: dict[str, str] = {
    "checkpoint._begin_round:log": "rounds",
    "checkpoint._finish:dir": "rounds",
    "checkpoint._finish:idx": "overwriting_sessions",
    "checkpoint._finish:log": "successors",
    "checkpoint._patch:dir": "statements",
    "checkpoint._sync_data:dat": "large_values",
    "checkpoint._sync_data:log": "overwriting_sessions",
    "commit.make_durable:dat": "durable_commits",
    "commit.make_durable:log": "durable_commits",
    "directory.write_directory:tmp": "clears",
    "catching_up.CatchingUp.prepare_to_write:folder": "durable_commits",
    "catching_up.CatchingUp.prepare_to_write:idx": "overwriting_sessions",
    "catching_up.CatchingUp.prepare_to_write:log": "statements",
    "rebuild._Clearing.say:log": "clears",
    "rebuild._sync_name:folder": "clears",
    "rebuild.rebuild:dat": "clears",
    "rebuild.rebuild:log": "clears",
}
# Syncs that no power cut can show to be needed, and why they are there.
REDUNDANT: dict[str, str] = {
    "commit.make_durable:folder": (
        "names are made durable by whoever makes them: the rebuild that renames a directory, the handle that creates "
        "the journal; this one, once per index, holds the promise of a durable commit without trusting in that"
    ),
}


_PLAYED = WORKLOADS | {f"mixture {seed}": mixture(seed) for seed in range(4)}
# Power cuts tried at each event: with few of them most guards are soon missed; if not, with nearly all.
_CUTS = (6, 24)


@functools.cache
def sites(name: str) -> dict[str, int]:
    """Every place where a workload makes the engine sync a file, with the number of the first event there."""
    found: dict[str, int] = {}

    def note(event: Event) -> None:
        if event.is_sync:
            found.setdefault(event.site, event.number)

    machine = Machine()
    machine.hooks.append(note)
    _PLAYED[name](Stage(machine, History()))
    return found


def test_every_sync_is_in_the_list() -> None:
    assert set().union(*map(sites, _PLAYED)) == GUARDS.keys() | REDUNDANT.keys()


def without(site: str, name: str) -> list[Finding]:
    """A workload, crashed everywhere from where one of the engine's syncs is gone; before that it is not missed."""
    for cuts in _CUTS:
        machine = Machine(lost_syncs=[lambda event: event.site == site])
        sweep = Sweep(examine, cuts=cuts, seeds=14, kills=False, limit=1, first=sites(name)[site])
        findings = sweep.run(played(WORKLOADS[name]), machine).findings
        if findings:
            return findings
    return []


@pytest.mark.parametrize("site", GUARDS)
def test_without_it_a_power_cut_breaks_a_promise(site: str) -> None:
    assert without(site, GUARDS[site]), f"{site} guards nothing that {GUARDS[site]} shows"
