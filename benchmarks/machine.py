"""What the numbers were measured on."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sqlite3
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any


def describe(folder: str) -> dict[str, Any]:
    """Interpreter, versions, machine, and how busy it was."""
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "python": f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()})",
        "executable": sys.executable,
        "packages": {name: package_version(name) for name in ("hutch", "sortedcontainers", "xxhash")},
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_mib": _memory_mib(),
        "file_system": _file_system(folder),
        "load_average": load(),
    }


def load() -> list[float] | None:
    """How many processes wanted to run in the last 1, 5 and 15 minutes."""
    return [round(average, 2) for average in os.getloadavg()] if hasattr(os, "getloadavg") else None


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _memory_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (AttributeError, ValueError, OSError):
        return None


def _file_system(folder: str) -> str | None:
    """The type of the file system that the databases lay on."""
    best, kind = "", None
    try:
        real = os.path.realpath(folder)
        for line in Path("/proc/mounts").read_text().splitlines():
            _, place, type_, *_ = line.split()
            if (real == place or real.startswith(place.rstrip("/") + "/")) and len(place) >= len(best):
                best, kind = place, type_
    except OSError:
        return None
    return kind
