"""What somebody has seen of each key, kept in a temporary file: memory does not grow with the number of keys."""

from __future__ import annotations

from collections.abc import Iterator

from hutch.cli.exits import UNAVAILABLE, Failure

__all__ = ["Known"]

_CACHE_KIB = 8192
_SIGN_BYTES = 16
_BATCH = 500


class Known:
    """Keys, each with a number: a small table of SQLite in a file without a name, which goes away with the process.

    Raises:
        Failure: this Python has no sqlite3.
    """

    def __init__(self) -> None:
        try:
            import sqlite3
        except ImportError:
            raise Failure(
                "this needs Python's module sqlite3, which this Python was built without", UNAVAILABLE
            ) from None
        self._connection = sqlite3.connect("", isolation_level=None)  # no name: a temporary file
        for statement in (
            "PRAGMA journal_mode = OFF",
            f"PRAGMA cache_size = -{_CACHE_KIB}",
            "CREATE TABLE known (key BLOB PRIMARY KEY, sign BLOB NOT NULL, round INTEGER NOT NULL) WITHOUT ROWID",
            "BEGIN",  # never ended: nobody else will read it
        ):
            self._connection.execute(statement)
        self._round = 0

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM known").fetchone()[0])

    def get(self, key: bytes) -> int | None:
        """The number of a key, or None."""
        row = self._connection.execute("SELECT sign FROM known WHERE key = ?", (key,)).fetchone()
        return None if row is None else int.from_bytes(row[0], "big", signed=True)

    def put(self, key: bytes, sign: int) -> None:
        """Keep a number; the key counts as seen in this round."""
        data = sign.to_bytes(_SIGN_BYTES, "big", signed=True)
        self._connection.execute("INSERT OR REPLACE INTO known VALUES (?, ?, ?)", (key, data, self._round))

    def drop(self, key: bytes) -> None:
        """Forget a key."""
        self._connection.execute("DELETE FROM known WHERE key = ?", (key,))

    def begin_round(self) -> None:
        """From now on no key has been seen."""
        self._round += 1

    def unseen(self) -> Iterator[bytes]:
        """The keys that have not been seen in this round. Whoever asks may `put` and `drop` meanwhile."""
        last = b""
        while True:
            rows = self._connection.execute(
                "SELECT key FROM known WHERE round <> ? AND key >= ? ORDER BY key LIMIT ?", (self._round, last, _BATCH)
            ).fetchall()
            yield from (key for (key,) in rows)
            if len(rows) < _BATCH:
                return
            last = rows[-1][0] + b"\0"  # the key that comes next of all that there can be

    def close(self) -> None:
        """Let the file go. Closing twice does nothing."""
        self._connection.close()

    def __del__(self) -> None:
        connection = getattr(self, "_connection", None)  # None: there is no sqlite3
        if connection is not None:
            connection.close()
