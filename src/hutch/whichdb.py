"""Which module opens a database: what the stdlib's whichdb knows, and a few more.

Nothing is opened but to look at its first bytes (of an SQLite file, at its tables), nothing is ever made, and nothing
here waits: not for a lock, and not for the other end of a pipe.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.encoding import FileName

__all__ = ["FOLDER_FILES", "whichdb"]

_HEAD_BYTES = 64
_SQLITE = b"SQLite format 3\0"

# The first four bytes of GNU dbm's files: the oldest; offsets of 32 and of 64 bits; the same, extended ("numsync").
_GNU = (0x13579ACE, 0x13579ACD, 0x13579ACF, 0x13579AD0, 0x13579AD1)
_BERKELEY = {0x061561: "hash", 0x053162: "btree", 0x042253: "queue", 0x074582: "heap"}
_BERKELEY_1_VERSIONS = {"hash": range(1, 4), "btree": range(2, 4)}
_LMDB = 0xBEEFC0DE
_SEMIDBM = b"SEMI"
_COLUMNS = """
    SELECT main.name, info.name FROM sqlite_master AS main JOIN pragma_table_info(main.name) AS info
    WHERE main.type = 'table' ORDER BY main.rowid, info.cid
"""
FOLDER_FILES = {"diskcache": "cache.db", "lmdb": "data.mdb", "semidbm": "data"}  # databases that are a folder
_NDBM_HASHES = ("berkeleydb.hash", "bsddb185.hash")


def whichdb(filename: FileName) -> str | None:
    """Guess which module opens a database.

    Every database in the form of dbm.dumb is hutch's, whoever wrote it: hutch opens it beside other
    processes and after a crash, where dbm.dumb would damage it.

    Args:
        filename: the name as it is passed to `open`, without a suffix that the module adds.

    Returns:
        The name of a module whose ``open`` takes `filename`: ``"hutch.dbm"``, ``"dbm.gnu"``, ``"dbm.ndbm"``,
        ``"dbm.sqlite3"`` (which is also what any SQLite file is called whose tables say nothing else),
        ``"sqlitedict"``, ``"diskcache"``, ``"lmdb"``, ``"semidbm"``; for files of Berkeley DB without the suffix of
        ndbm, ``"berkeleydb.hash"``, ``"berkeleydb.btree"``, ``"berkeleydb.queue"`` or ``"berkeleydb.heap"``, and for
        those of its version 1, ``"bsddb185.hash"`` or ``"bsddb185.btree"``; ``""`` for what nobody knows; None
        where there is nothing to read.
    """
    name = os.fsencode(filename)
    if _is_dumb(name):
        return "hutch.dbm"
    if _is_file(name + b".pag") and _is_file(name + b".dir"):
        return "dbm.ndbm"
    if _kind_of_file(name + b".db") in _NDBM_HASHES:
        return "dbm.ndbm"
    return _kind_of_file(name)


def _is_dumb(name: bytes) -> bool:
    if not os.path.isfile(name + b".dat"):
        return False
    try:
        size_bytes = os.stat(name + b".dir").st_size
    except OSError:
        # What dbm.dumb leaves when it dies in its commit; hutch.dbm recovers from it.
        return os.path.isfile(name + b".bak")
    return not size_bytes or (_head(name + b".dir") or b"")[:1] in (b"'", b'"')


def _is_file(name: bytes) -> bool:
    return _head(name) is not None


def _head(name: bytes) -> bytes | None:
    """Return the first bytes of a file; b"" for what is neither file nor folder, None for what cannot be read."""
    try:
        fd = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError):
        return None
    try:
        kind = os.fstat(fd).st_mode
        if stat.S_ISDIR(kind):
            return None
        return os.read(fd, _HEAD_BYTES) if stat.S_ISREG(kind) else b""
    except OSError:
        return None
    finally:
        os.close(fd)


def _kind_of_file(name: bytes) -> str | None:
    head = _head(name)
    if head is None:
        return _kind_of_folder(name)
    if head.startswith(_SQLITE):
        return _kind_of_sqlite(name)
    if head.startswith(_SEMIDBM):
        return "semidbm"
    for order in ("little", "big"):
        kind = _kind_of_numbers([int.from_bytes(head[at : at + 4], order) for at in range(0, _HEAD_BYTES, 4)])
        if kind:
            return kind
    return ""


def _kind_of_numbers(numbers: list[int]) -> str:
    """Return the kind of a file that begins with these numbers of four bytes, or ""."""
    if numbers[0] in _GNU:
        return "dbm.gnu"
    if numbers[3] in _BERKELEY:
        return f"berkeleydb.{_BERKELEY[numbers[3]]}"
    old = _BERKELEY.get(numbers[0], "")
    if numbers[1] in _BERKELEY_1_VERSIONS.get(old, ()):
        return f"bsddb185.{old}"
    # Behind the header of a page, which is of 16 bytes, or of 12 where addresses have 32 bits.
    return "lmdb" if _LMDB in numbers[3:5] else ""


def _kind_of_folder(name: bytes) -> str | None:
    """Return the kind of a database that is a folder, or None."""
    if os.path.isdir(name):
        for kind, file in FOLDER_FILES.items():
            path = os.path.join(name, os.fsencode(file))
            if os.path.isfile(path) and (_kind_of_file(path) == kind):
                return kind
    return None


def _kind_of_sqlite(path: bytes) -> str:
    """Tell by its tables what an SQLite file holds."""
    try:
        import sqlite3
    except ImportError:
        return "dbm.sqlite3"
    from urllib.parse import quote

    # Without locks, and without making the files that even reading would make. What is in a log beside the file
    # is not seen in this way, so a file without tables is asked once more.
    tables: dict[str, list[str]] = {}
    for options in ("mode=ro&immutable=1", "mode=ro"):
        try:
            connection = sqlite3.connect(f"file:{quote(os.path.abspath(path))}?{options}", uri=True, timeout=0)
        except sqlite3.Error:
            continue
        try:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            # Not a statement for each table: a damaged file may have names that no statement can hold.
            for table, column in connection.execute(_COLUMNS).fetchall():
                tables.setdefault(str(table), []).append(str(column))
        except (sqlite3.Error, UnicodeDecodeError):  # a message about the damage may quote what is no text
            tables = {}
        finally:
            connection.close()
        if tables or not os.path.exists(path + b"-wal"):
            break
    if "Dict" in tables and tables["Dict"] == ["key", "value"]:
        return "dbm.sqlite3"
    if "Settings" in tables and {"key", "raw", "mode", "filename", "value"} <= set(tables.get("Cache", ())):
        return "diskcache"
    if tables and all(columns == ["key", "value"] for columns in tables.values()):
        return "sqlitedict"
    return "dbm.sqlite3"
