"""One door to every kind of database that `hutch.dbm.whichdb` names."""

from __future__ import annotations

import os

from hutch.errors import UnsupportedFileError
from hutch.foreign.borrowed import borrow
from hutch.whichdb import FOLDER_FILES, whichdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.encoding import FileName
    from hutch.foreign.base import ForeignDatabase

__all__ = ["READABLE", "WRITABLE", "file_of", "open_foreign"]

READABLE = frozenset(
    {
        "berkeleydb.btree",
        "berkeleydb.hash",
        "bsddb185.hash",
        "dbm.gnu",
        "dbm.ndbm",
        "dbm.sqlite3",
        "diskcache",
        "semidbm",
        "sqlitedict",
    }
)
WRITABLE = frozenset({"dbm.sqlite3", "sqlitedict"})  # by hutch itself


def file_of(filename: FileName, kind: str) -> str:
    """Return the file that holds the entries of a database."""
    name = os.path.abspath(os.fsdecode(filename))
    if kind == "dbm.ndbm":
        return name + (".pag" if os.path.exists(name + ".pag") and os.path.exists(name + ".dir") else ".db")
    if kind in FOLDER_FILES and os.path.isdir(name):
        return os.path.join(name, FOLDER_FILES[kind])
    return name


def open_foreign(
    file: FileName,
    flag: str = "r",
    mode: int = 0o666,
    *,
    kind: str | None = None,
    durability: str = "close",
    exclusive: bool = False,
    timeout: float | None = None,
    table: str | None = None,
) -> ForeignDatabase:
    """Open a database of another library as a mapping of bytes to bytes.

    Args:
        file: its name, as the library takes it.
        flag: ``'r'`` read; ``'w'`` and ``'c'`` write too, where that is possible.
        mode: permission bits for files that a module of the stdlib makes.
        kind: what it is, as `whichdb` has it; None to find out.
        durability: of SQLite's files, as in `hutch.dbm.open`.
        exclusive: of SQLite's files, likewise.
        timeout: of SQLite's files, likewise.
        table: of SQLite's files: the table, if it is not the usual one.

    Raises:
        FileNotFoundError: there is nothing of this name.
        UnsupportedFileError: nobody knows what it is; or hutch cannot read it; or it cannot be written to here.
        LockTimeout: somebody is writing to it.
        CorruptError: it is damaged.
    """
    if kind is None:
        kind = whichdb(file)
    name = os.fsdecode(file)
    if kind is None:
        os.stat(file)  # the error that says why it cannot be read
        raise UnsupportedFileError(f"{name} is a folder, and no database that hutch knows")
    if kind in WRITABLE:
        from hutch.foreign.sqlite import SqliteDatabase, SqlitedictDatabase

        sqlite = SqlitedictDatabase if kind == "sqlitedict" else SqliteDatabase
        return sqlite(file, flag, mode, durability=durability, exclusive=exclusive, timeout=timeout, table=table)
    if kind == "diskcache" and flag == "r":
        from hutch.foreign.diskcache import DiskcacheDatabase

        return DiskcacheDatabase(file, timeout=timeout)
    if kind not in READABLE:
        raise UnsupportedFileError(_no_reader(name, kind))
    if flag != "r":
        return borrow(kind, file, flag, mode)
    path = file_of(file, kind)
    if kind == "dbm.ndbm":
        kind = whichdb(path) or ""
    if kind == "dbm.gnu":
        from hutch.foreign.gnu import GnuDatabase

        return GnuDatabase(path)
    if kind == "berkeleydb.hash":
        from hutch.foreign.berkeley_hash import BerkeleyHash

        return BerkeleyHash(path)
    if kind == "berkeleydb.btree":
        from hutch.foreign.berkeley_tree import BerkeleyTree

        return BerkeleyTree(path)
    if kind == "bsddb185.hash":
        from hutch.foreign.berkeley1 import BerkeleyOneHash

        return BerkeleyOneHash(path)
    if kind == "semidbm":
        from hutch.foreign.semidbm import SemidbmDatabase

        return SemidbmDatabase(path)
    raise UnsupportedFileError(_no_reader(path, kind))


def _no_reader(name: str, kind: str) -> str:
    if not kind:
        return f"{name} is no database that hutch knows"
    return (
        f"{name} is a database in the form of {kind}, which hutch does not read: open it with its own library, and let "
        "a hutch database update() from it"
    )
