"""The files of a database, by name."""

from __future__ import annotations

import os

__all__ = ["Names"]


class Names:
    """Absolute paths of the files of the database `base`."""

    __slots__ = ("backup", "base", "directory", "heap", "index", "journal")

    def __init__(self, base: str) -> None:
        self.base = base
        self.heap = base + ".dat"
        self.directory = base + ".dir"
        self.journal = base + ".log"
        self.index = base + ".idx"
        self.backup = base + ".bak"  # dbm.dumb's, not ours

    @classmethod
    def of(cls, file: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> Names:
        """The names for what a user calls the database: without suffix, relative to the working directory."""
        return cls(os.path.abspath(os.fsdecode(file)))

    def temporary(self, target: str) -> str:
        """A name beside `target` that nobody can guess."""
        return f"{target}.{os.urandom(8).hex()}.tmp"
