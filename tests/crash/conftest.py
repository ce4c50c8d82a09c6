"""What the simulated machine spares its processes."""

from __future__ import annotations

import pytest

from hutch import owning


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """All processes are one thread here: whoever waits until the others have seen a flag waits for nobody."""
    monkeypatch.setattr(owning, "_VISIBLE_SECONDS", 0)
