"""What `check` and `statistics` answer with: plain immutable records. Floor 0."""

from __future__ import annotations

from dataclasses import dataclass

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    # Called with the entries done so far, and all that there are. What it raises ends the work, which is safe.
    Progress: TypeAlias = Callable[[int, int], object]

__all__ = ["CheckReport", "Problem", "Statistics"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that `check` found.

    Attributes:
        key: the entry, or None where the damage is not one entry's.
        file: path of the file.
        offset: byte offset in it, or None.
        message: what is wrong.
        fixed: whether it has been mended (a damaged entry: removed).
    """

    key: bytes | None
    file: str
    offset: int | None
    message: str
    fixed: bool


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found: `problems`, and how many entries it looked at."""

    problems: tuple[Problem, ...]
    entry_count: int

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong (or nothing any more)."""
        return all(problem.fixed for problem in self.problems)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts and sizes of a database at one moment.

    Attributes:
        key_count: keys.
        live_bytes: bytes of the blocks that values own.
        free_bytes: bytes of blocks below the heap's end that no value owns.
        heap_bytes, directory_bytes, journal_bytes, index_bytes: sizes of the files.
        dead_bytes: bytes of deleted lines in the directory.
        bucket_count, load: buckets of the index, and entries per bucket slot (0 to 1, without overflow pages).
        overflow_count: overflow pages in use.
        sequence: number of the last commit.
        uncheckpointed_count: commits since the last checkpoint.
        checkpoint_count: checkpoints since the index was made.
    """

    key_count: int
    live_bytes: int
    free_bytes: int
    heap_bytes: int
    directory_bytes: int
    journal_bytes: int
    index_bytes: int
    dead_bytes: int
    bucket_count: int
    load: float
    overflow_count: int
    sequence: int
    uncheckpointed_count: int
    checkpoint_count: int
