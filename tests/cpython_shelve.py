"""Run CPython's own test_shelve, as installed, with hutch in the place of shelve and of every dbm module.

A program, not a test: ``python cpython_shelve.py`` in a folder of its own. Nothing in the test's source is
changed or left out. It prints the summary of unittest, and exits with 1 if a test fails.
"""

from __future__ import annotations

import importlib
import sys
import types
import unittest

import hutch
from cpython_suite import replace_modules


def replace_shelve() -> None:
    """Whoever imports shelve gets a module of its name with hutch's contents."""
    module = types.ModuleType("shelve")
    for public in hutch.__all__:
        setattr(module, public, getattr(hutch, public))
    sys.modules["shelve"] = module


def main() -> int:
    replace_modules()
    replace_shelve()
    suite = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module("test.test_shelve"))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    return not (result.wasSuccessful() and result.testsRun and not result.skipped)


if __name__ == "__main__":
    sys.exit(main())
