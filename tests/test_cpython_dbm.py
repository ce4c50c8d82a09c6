"""CPython's own test_dbm_dumb and test_dbm, as installed with each interpreter, run on hutch.

Nothing is left out. In one respect hutch is not dbm.dumb, and says so: see `EDITS` in cpython_suite.py.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hutch.dbm
from interpreters import StdlibPython, find_interpreters

SUITE = Path(__file__).with_name("cpython_suite.py")
SOURCE = Path(hutch.dbm.__file__).parent.parent
NEWER = [python for python in find_interpreters() if python.version >= (3, 11)]
# What hutch must have done with each version's tests to have run them all.
LEAST_TESTS = {"test_dbm_dumb": 20, "test_dbm": 14}


@functools.cache
def environment(python: StdlibPython) -> dict[str, str] | None:
    """The environment in which `python` finds hutch and what it depends on, or None."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    settings["PYTHONPATH"] = os.fspath(SOURCE)
    done = subprocess.run(
        [python.executable, "-c", "import sortedcontainers, xxhash"],
        env=settings,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return settings if done.returncode == 0 else None


@pytest.mark.parametrize("python", NEWER, ids=str)
@pytest.mark.parametrize("name", ["test_dbm_dumb", "test_dbm"])
def test_cpython(python: StdlibPython, name: str, tmp_path: Path) -> None:
    settings = environment(python)
    if settings is None:
        pytest.skip(f"xxhash or sortedcontainers is not installed for Python {python}")
    done = subprocess.run(
        [python.executable, os.fspath(SUITE), name],
        cwd=tmp_path,
        env=settings,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    report = done.stdout + done.stderr
    assert done.returncode == 0, report
    run = int(report.rpartition("\nRan ")[2].split()[0])
    assert run >= LEAST_TESTS[name], report


def test_they_run_here() -> None:
    """The interpreter that runs this suite is one of them, and has CPython's tests."""
    assert sys.version_info[:2] in [python.version for python in NEWER]
    assert importlib.util.find_spec("test.test_dbm_dumb") is not None
