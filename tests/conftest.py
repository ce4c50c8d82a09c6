"""Fixtures of several test modules."""

from __future__ import annotations

import pytest

from hutch import owning, shared


@pytest.fixture(params=["patient", "eager"])
def owners(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether handles come to own a database after a while, as they do, or at once and again at once: see `owning`."""
    if request.param == "eager":
        monkeypatch.setattr(shared, "FIRST_PATIENCE", 1)
        monkeypatch.setattr(owning, "_PATIENCE_FACTOR", 1)
    return str(request.param)
