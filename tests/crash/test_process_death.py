"""A process is killed at every event; nothing that a statement completed is lost, and the others go on."""

from __future__ import annotations

import pytest

from crash import session
from crash.history import History
from crash.session import Session, Stage, contents, examine, played
from crash.simulated import Event, Killed, Machine
from crash.sweep import Sweep
from crash.workloads import WORKLOADS, mixture
from hutch.catching_up import CatchingUp


@pytest.mark.parametrize("name", WORKLOADS)
def test_every_event(name: str) -> None:
    """Before each event, and within each write."""
    Sweep(examine, every=17 if name == "growth" else 1, cuts=0).run(played(WORKLOADS[name])).assert_clean()


def test_an_open_that_minds_no_dead_writer_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where the machine runs on: there the index is believed that the writer has left in the page cache."""
    for known in ("_examined", "_read_again"):
        monkeypatch.setattr(session, known, {})
    monkeypatch.setattr(CatchingUp, "_mind_dead_writer", lambda _self: None)
    (finding,) = Sweep(examine, cuts=0, limit=1).run(played(WORKLOADS["statements"])).findings
    assert "restarted" not in finding.crash.how


@pytest.mark.parametrize("seed", range(6))
def test_random_statements(seed: int) -> None:
    Sweep(examine, every=2, cuts=0).run(played(mixture(100 + seed))).assert_clean()


@pytest.mark.parametrize("name", ["statements", "batches", "large_values", "rewrites", "reorganizations"])
@pytest.mark.parametrize("readonly", [False, True], ids=["writer", "reader"])
def test_another_process_goes_on(name: str, readonly: bool) -> None:
    """A handle that was open all the time sees the last state, and can go on writing."""
    event_count = _count_events(name)
    for number in range(0, event_count, 1 + event_count // 200):
        machine, history = Machine(), History()
        survivor = Session(machine, history)
        observer = Session(machine, history, "r") if readonly else survivor
        stage = Stage(machine, history)

        def kill(event: Event, number: int = number, survivor: Session = survivor) -> None:
            if event.number >= number and event.process is not survivor.process:
                event.process.die()
                raise Killed

        machine.hooks.append(kill)
        try:
            WORKLOADS[name](stage)
        except Killed:
            pass  # beside another handle there are fewer events: the last numbers are never reached
        machine.hooks.clear()
        history.check(contents(observer.store), power_was_cut=False)
        survivor.store.delete(b"no such key")  # whoever writes next finishes what the dead process began
        history.settle(contents(observer.store))
        observer.check()
        survivor.put(b"afterwards", b"x" * 600)
        survivor.check()
        observer.check()
        assert survivor.store.check().ok, number
        survivor.close()
        assert examine(machine.copy()) == history.state, number


def _count_events(name: str) -> int:
    machine, history = Machine(), History()
    first = Session(machine, history)
    WORKLOADS[name](Stage(machine, history))
    first.close()
    return machine.event_count
