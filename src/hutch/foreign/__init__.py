"""Databases of other libraries: read where that is enough, written where it is easy, brought over and back.

>>> import os, sqlite3, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> name = os.path.join(folder.name, "stock")
>>> with open_foreign(name, "c", kind="dbm.sqlite3") as database:
...     database["apples"] = "3"
>>> with open_foreign(name) as database:
...     database.kind, database["apples"]
('dbm.sqlite3', b'3')
>>> folder.cleanup()

`hutch.dbm.open` and `hutch.open` call `open_foreign` by themselves when they find such a file.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.foreign.base import ForeignDatabase
    from hutch.foreign.converting import SOURCES, TARGETS, Conversion, convert, source_kind
    from hutch.foreign.opening import READABLE, WRITABLE, open_foreign

__all__ = [
    "READABLE",
    "SOURCES",
    "TARGETS",
    "WRITABLE",
    "Conversion",
    "ForeignDatabase",
    "convert",
    "open_foreign",
    "source_kind",
]

_HOMES = {
    "Conversion": "converting",
    "ForeignDatabase": "base",
    "READABLE": "opening",
    "SOURCES": "converting",
    "TARGETS": "converting",
    "WRITABLE": "opening",
    "convert": "converting",
    "open_foreign": "opening",
    "source_kind": "converting",
}

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Import what is asked for when it is first asked for."""
        if name in _HOMES:
            from importlib import import_module

            value = globals()[name] = getattr(import_module(f"hutch.foreign.{_HOMES[name]}"), name)
            return value
        raise AttributeError(f"module 'hutch.foreign' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
