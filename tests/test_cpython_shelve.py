"""CPython's own test_shelve, as installed with each interpreter, run on hutch: all of it, as it stands."""

from __future__ import annotations

import functools
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import hutch
from interpreters import StdlibPython, find_interpreters

SUITE = Path(__file__).with_name("cpython_shelve.py")
SOURCE = Path(hutch.__file__).parent.parent
NEWER = [python for python in find_interpreters() if python.version >= (3, 11)]
LEAST_TESTS = 180  # what each version's test_shelve has with one kind of database


@functools.cache
def environment(python: StdlibPython) -> dict[str, str] | None:
    """The environment in which `python` finds hutch and what it depends on, or None."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    settings["PYTHONPATH"] = os.fspath(SOURCE)
    command = [python.executable, "-c", "import sortedcontainers, xxhash"]
    done = subprocess.run(command, env=settings, capture_output=True, timeout=60, check=False)
    return settings if done.returncode == 0 else None


@pytest.mark.parametrize("python", NEWER, ids=str)
def test_cpython(python: StdlibPython, tmp_path: Path) -> None:
    settings = environment(python)
    if settings is None:
        pytest.skip(f"xxhash or sortedcontainers is not installed for Python {python}")
    done = subprocess.run(
        [python.executable, "-W", "error", os.fspath(SUITE)],
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
    assert run >= LEAST_TESTS, report
    assert done.stderr == "", report


def test_it_runs_here() -> None:
    """The interpreter that runs this suite is one of them, and has CPython's test."""
    assert sys.version_info[:2] in [python.version for python in NEWER]
    assert importlib.util.find_spec("test.test_shelve") is not None
