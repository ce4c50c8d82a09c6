"""Reading everything that another library's database holds, to see what of it can be read."""

from __future__ import annotations

from hutch.errors import CorruptError, HutchError, LockTimeout
from hutch.reports import CheckReport, Problem

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.foreign.base import ForeignDatabase
    from hutch.reports import Progress

__all__ = ["check"]


def check(database: ForeignDatabase, progress: Progress | None) -> CheckReport:
    """See `ForeignDatabase.check`."""
    problems: list[Problem] = []
    count = 0

    def add(problem: HutchError, key: bytes | None = None) -> None:
        offset = getattr(problem, "offset", None)
        file = getattr(problem, "file", None) or database.path
        problems.append(Problem(key or getattr(problem, "key", None), file, offset, str(problem), fixed=False))

    problems += [Problem(None, database.path, None, message, fixed=False) for message in database._complaints()]
    try:
        total = len(database) if progress is not None else 0
        for key in database.iterkeys():
            try:
                is_found = database.get(key) is not None
            except LockTimeout:
                raise
            except HutchError as problem:
                add(problem, key)
            else:
                if not is_found and not database._may_change:
                    add(CorruptError(f"{database.path}: a search does not find {key!r}, which is there", key=key))
            count += 1
            if progress is not None:
                progress(count, total)
    except CorruptError as problem:
        add(problem)  # the walk ends here: behind it nothing can be found
    return CheckReport(tuple(problems), count)
