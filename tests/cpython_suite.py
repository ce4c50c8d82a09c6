"""Run one of CPython's own test modules, as installed, with hutch in the place of what it tests.

A program, not a test: ``python cpython_suite.py test_dbm_dumb`` in a folder of its own. It prints a line
for each edit to the test's source and the summary of unittest, and exits with 1 if a test fails.
"""

from __future__ import annotations

import dbm
import importlib.util
import sys
import types
import unittest
from pathlib import Path

import hutch.dbm

# dbm.dumb renames the former directory to .bak at each commit. hutch never leaves one behind: a second,
# outdated directory is what one restores by mistake. So hutch is asked for the opposite.
_NO_BACKUP = "hutch leaves no .bak"

EDITS: dict[str, list[tuple[str, str, str]]] = {
    "test_dbm_dumb": [
        (
            _NO_BACKUP,
            "self.assertTrue(os.path.exists(_fname + '.bak'))",
            "self.assertFalse(os.path.exists(_fname + '.bak'))",
        ),
        (_NO_BACKUP, "os.unlink(_fname + '.bak')", "os_helper.unlink(_fname + '.bak')"),
    ],
    "test_dbm": [],
}


def stand_in(name: str) -> types.ModuleType:
    """A module of the stdlib's name with hutch's contents."""
    module = types.ModuleType(name)
    for public in hutch.dbm.__all__:
        setattr(module, public, getattr(hutch.dbm, public))
    return module


def replace_modules() -> None:
    """Whoever imports dbm.dumb gets hutch, and dbm knows no other kind of database."""
    module = stand_in("dbm.dumb")
    sys.modules["dbm.dumb"] = module
    dbm.dumb = module  # type: ignore[assignment]
    dbm._names[:] = ["dbm.dumb"]  # type: ignore[attr-defined]
    dbm._modules.clear()  # type: ignore[attr-defined]
    dbm._defaultmod = None  # type: ignore[attr-defined]


def load(name: str) -> types.ModuleType:
    """Import a module of the test package with its edits; each must find its text in some version of it."""
    spec = importlib.util.find_spec("test." + name)
    assert spec is not None
    assert spec.origin is not None
    source = Path(spec.origin).read_text(encoding="utf-8")
    for reason, old, new in EDITS[name]:
        print(f"edit: {reason}: {source.count(old)} times")
        source = source.replace(old, new)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    exec(compile(source, spec.origin, "exec"), module.__dict__)
    return module


def main() -> int:
    replace_modules()
    suite = unittest.defaultTestLoader.loadTestsFromModule(load(sys.argv[1]))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    return not (result.wasSuccessful() and result.testsRun)


if __name__ == "__main__":
    sys.exit(main())
