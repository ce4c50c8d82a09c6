"""Fixtures of several test modules, and what all of them have in common."""

from __future__ import annotations

import pytest
from hypothesis import settings

from hutch import owning, shared

settings.register_profile("hutch", deadline=None)  # no test depends on how fast the machine is
settings.load_profile("hutch")


@pytest.fixture(params=["patient", "eager"])
def owners(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether handles come to own a database after a while, as they do, or at once and again at once: see `owning`."""
    if request.param == "eager":
        monkeypatch.setattr(shared, "FIRST_PATIENCE", 1)
        monkeypatch.setattr(owning, "_PATIENCE_FACTOR", 1)
    return str(request.param)
