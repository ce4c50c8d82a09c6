"""Which module opens a database: the stdlib's answer, except that what dbm.dumb can open, hutch opens."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.encoding import FileName

__all__ = ["whichdb"]


def whichdb(filename: FileName) -> str | None:
    """Guess which module opens a database.

    Every database in the form of dbm.dumb is hutch's, whoever wrote it: hutch opens it beside other
    processes and after a crash, where dbm.dumb would damage it.

    Args:
        filename: the name as it is passed to `open`, without a suffix.

    Returns:
        The name of a module whose ``open`` takes `filename`: ``"hutch.dbm"``, or another as
        `dbm.whichdb` knows them (``"dbm.gnu"``…); ``""`` for a file that nobody knows; None where
        there is nothing to read.
    """
    from dbm import whichdb as stdlib_whichdb

    kind = stdlib_whichdb(filename)
    if kind == "dbm.dumb":
        return "hutch.dbm"
    if kind is None:
        name = os.fsencode(filename)
        # What dbm.dumb leaves when it dies in its commit; hutch.dbm recovers from it.
        if os.path.isfile(name + b".dat") and os.path.isfile(name + b".bak") and not os.path.exists(name + b".dir"):
            return "hutch.dbm"
    return kind
