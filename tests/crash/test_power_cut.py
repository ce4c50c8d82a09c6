"""The power is cut at every event; what comes back is one state of the history, no older than promised."""

from __future__ import annotations

from functools import partial

import pytest

from crash.session import examine, played
from crash.sweep import Sweep, crash_again
from crash.workloads import WORKLOADS, aftermath, mixture

# Crash at each so many-th event: 1 where the workload is short enough for all of them.
_EVERY = {"growth": 23, "reorganizations": 2}
_MIXTURES = range(6)


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_event(name: str) -> None:
    sweep = Sweep(examine, every=_EVERY.get(name, 1), cuts=3, kills=False)
    sweep.run(played(WORKLOADS[name])).assert_clean()


@pytest.mark.parametrize("seed", _MIXTURES)
def test_random_statements(seed: int) -> None:
    Sweep(examine, every=3, cuts=3, kills=False).run(played(mixture(seed))).assert_clean()


@pytest.mark.parametrize("name", WORKLOADS)
def test_crash_while_recovering_and_after(name: str) -> None:
    """The first crash is a kill or a power cut, and so is the second, at the events of the recovery."""
    again = partial(crash_again, workload=played(aftermath), sweep=lambda: Sweep(examine, every=9, cuts=2))
    every = 29 * _EVERY.get(name, 1)
    Sweep(examine, every=every, cuts=2, again=again, again_every=5).run(played(WORKLOADS[name])).assert_clean()
