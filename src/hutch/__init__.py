"""A persistent dict: a drop-in for ``shelve`` over files that ``dbm.dumb`` reads and writes.

>>> import hutch, os, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> with hutch.open(os.path.join(folder.name, "stock")) as shelf:
...     shelf["apples"] = {"count": 3}
...     with shelf.edit("apples") as apples:
...         apples["count"] += 1
...     shelf["apples"]
{'count': 4}
>>> folder.cleanup()

`hutch.dbm` has the same for bytes, as ``dbm`` has; `hutch.errors` has what both raise.
"""

from __future__ import annotations

import atexit
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.shelve import BsdDbShelf, DbfilenameShelf, Shelf, ShelveError, UnreadableValueError, open  # noqa: A004

__all__ = ["BsdDbShelf", "DbfilenameShelf", "Shelf", "ShelveError", "UnreadableValueError", "open"]

if not TYPE_CHECKING:  # a type checker would take it as leave to ask for any name

    def __getattr__(name: str) -> object:
        """Import what is asked for when it is first asked for: a program may only want `hutch.dbm`."""
        if name in __all__:
            from hutch import shelve as home

            value = globals()[name] = getattr(home, name)
            return value
        if name in ("dbm", "errors"):
            from importlib import import_module

            return import_module(f"hutch.{name}")
        raise AttributeError(f"module 'hutch' has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "dbm", "errors"})


def _at_exit() -> None:
    """Close what is still open, after whatever the program itself has registered."""
    store = sys.modules.get("hutch.store")
    if store is not None:
        store.close_all()


atexit.register(_at_exit)
