"""Bring a database over from one form to another: whole and verified, or not at all."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager

from hutch.errors import CorruptError, UnsupportedFileError
from hutch.files import FileSystem
from hutch.foreign.documents import DOCUMENTS, kind_of_document, read_document, write_document
from hutch.foreign.opening import READABLE, file_of, open_foreign
from hutch.names import Names
from hutch.store import open_store
from hutch.whichdb import whichdb

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, NamedTuple, TypeAlias

    from hutch.codecs.base import Codec
    from hutch.encoding import FileName

    Entries: TypeAlias = Iterable[tuple[bytes, bytes]]
    Progress: TypeAlias = Callable[[str, int, int | None], None]
else:
    from hutch.records import NamedTuple

__all__ = ["SOURCES", "TARGETS", "Conversion", "convert", "form_named", "source_form", "source_kind"]

SOURCES = ("hutch.dbm", *sorted(READABLE), *DOCUMENTS)
TARGETS = ("hutch.dbm", "dbm.gnu", "dbm.ndbm", "dbm.sqlite3", "sqlitedict", *DOCUMENTS)

# What people call them.
_ALIASES = {
    "dumb": "hutch.dbm",
    "dbm.dumb": "hutch.dbm",
    "gdbm": "dbm.gnu",
    "gnu": "dbm.gnu",
    "hutch": "hutch.dbm",
    "json": "jsonl",
    "ndbm": "dbm.ndbm",
    "sqlite": "dbm.sqlite3",
    "sqlite3": "dbm.sqlite3",
}
_BATCH_BYTES = 4 << 20
_BATCH_ENTRIES = 10_000
_PROGRESS_ENTRIES = 200
# All that a copy may consist of. The directory of a hutch database comes last: without it there is none yet.
_SUFFIXES = ("", ".db", ".pag", ".dat", ".idx", ".dir")
# What must not be there yet.
_NAMES = {"hutch.dbm": (".dat", ".dir", ".bak", ".log", ".idx"), "dbm.ndbm": (".db", ".pag", ".dir")}


class Conversion(NamedTuple):
    """What a conversion has done: from which form to which, how many entries, and the bytes of their values."""

    source_kind: str
    target_kind: str
    entry_count: int
    value_bytes: int


def source_kind(source: FileName) -> str:
    """Return the form that a database has: what `whichdb` says, or one of the documents; "" where nobody knows.

    Raises:
        FileNotFoundError: there is nothing of this name.
    """
    kind = whichdb(source)
    if kind is None:
        os.stat(source)
    return kind or kind_of_document(os.fsdecode(source))


def form_named(name: str) -> str:
    """Return which of `TARGETS` a name means.

    Raises:
        ValueError: none.
    """
    return _form_among(TARGETS, name, "written")


def source_form(name: str) -> str:
    """Return which of `SOURCES` a name means.

    Raises:
        ValueError: none.
    """
    return _form_among(SOURCES, name, "read")


def _form_among(forms: tuple[str, ...], name: str, what: str) -> str:
    form = _ALIASES.get(name, name)
    if form not in forms:
        raise ValueError(f"{name!r} is no form that can be {what}: there are {', '.join(forms)}")
    return form


def convert(
    source: FileName,
    destination: FileName,
    *,
    to: str = "hutch.dbm",
    kind: str | None = None,
    codec: Codec | None = None,
    table: str | None = None,
    unpickle: bool = False,
    timeout: float | None = None,
    progress: Progress | None = None,
) -> Conversion:
    """Write the entries of a database to a new one of another form.

    Keys and stored bytes are carried over as they are, so a shelf stays a shelf: its values are the same pickles.
    Everything is written under another name first; then each entry of the copy is read back and compared by
    checksum; then it takes its name. Whatever goes wrong before leaves no trace of it. O(n).

    Args:
        source: the database, as the library that made it calls it.
        destination: the new one's name, without a suffix that its library adds.
        to: its form, one of `TARGETS`; ``hutch``, ``gnu``, ``ndbm`` and ``sqlite3`` will do.
        kind: the form of the source, one of `SOURCES`; None to find out.
        codec: what makes objects of stored bytes, for a document of objects, and stored bytes of them. None: documents
            hold the bytes themselves, and objects that come from documents are stored as plain pickles.
        table: which table of an SQLite file, if not the usual one; of the source, or else of the new one.
        unpickle: read a source that is a pickle whatever it names. That runs what its author wanted.
        timeout: seconds to wait for somebody who writes to the source; None waits as long as it takes.
        progress: called now and then with ``"copy"`` or ``"verify"``, the number of entries done, and that of all, or
            None where it is not known.

    Raises:
        FileNotFoundError: there is no such source.
        FileExistsError: there is something of the new name.
        UnsupportedFileError: the source is of no known form; or this Python cannot write the form that is asked for.
        CorruptError: the source is damaged; or what was read back is not what was written.
        ValueError: an unknown form, or an entry has no place in it.
        OSError: as the operating system has it.
    """
    target_kind = form_named(to)
    found = source_form(kind) if kind else source_kind(source)
    name = os.path.abspath(os.fsdecode(destination))
    _refuse_existing(name, target_kind)
    tally = _Tally()
    with _reading(source, found, codec, table, unpickle, timeout, is_new=False) as (entries, total):
        source_table = table if found in ("sqlitedict", "dbm.sqlite3") else None
        temporary = f"{name}.{os.urandom(8).hex()}.tmp"
        try:
            copied = tally.counted(_reported(entries, "copy", total, progress))
            _write(target_kind, temporary, copied, codec, None if source_table else table)
            _verify(target_kind, temporary, codec, None if source_table else table, tally, progress)
            _place(temporary, name, _mode_of(source, found))
        except BaseException:
            for path in _files(temporary):
                os.unlink(path)
            raise
    return Conversion(found, target_kind, tally.entry_count, tally.value_bytes)


class _Tally:
    """Counts entries, and adds up a checksum of each: the sum does not depend on their order."""

    def __init__(self) -> None:
        self.entry_count = 0
        self.value_bytes = 0
        self.total = 0

    def counted(self, entries: Entries) -> Iterator[tuple[bytes, bytes]]:
        from xxhash import xxh3_128

        for key, value in entries:
            checksum = xxh3_128(len(key).to_bytes(8, "little"))
            checksum.update(key)
            checksum.update(value)
            self.total += checksum.intdigest()
            self.entry_count += 1
            self.value_bytes += len(value)
            yield key, value


def _reported(entries: Entries, step: str, total: int | None, progress: Progress | None) -> Entries:
    if progress is None:
        return entries
    return _reporting(entries, step, total, progress)


def _reporting(entries: Entries, step: str, total: int | None, progress: Progress) -> Iterator[tuple[bytes, bytes]]:
    done = 0
    progress(step, 0, total)
    for entry in entries:
        yield entry
        done += 1
        if done % _PROGRESS_ENTRIES == 0:
            progress(step, done, total)
    progress(step, done, total)


# The source.


@contextmanager
def _reading(
    source: FileName,
    kind: str,
    codec: Codec | None,
    table: str | None,
    unpickle: bool,
    timeout: float | None,
    *,
    is_new: bool,
) -> Iterator[tuple[Entries, int | None]]:
    """Open a source; gives its entries, and how many there are if that is known beforehand.

    Args:
        is_new: it has just been written here, so that nobody need ask whether the file is sound.
    """
    name = os.fsdecode(source)
    if kind == "hutch.dbm":
        store = open_store(source, "r", timeout=timeout)
        try:
            yield store.items(), store.count()
        finally:
            store.close()
    elif kind in DOCUMENTS:
        yield read_document(kind, name, codec, unpickle=unpickle), None
    elif not kind:
        raise UnsupportedFileError(f"{name} is no database that hutch knows")
    else:
        with open_foreign(source, "r", kind=kind, timeout=timeout, table=table) as database:
            for complaint in () if is_new else database._complaints():
                raise CorruptError(
                    f"{database.path} is damaged: {complaint}; its own library may save what there is",
                    file=database.path,
                )
            yield database.iteritems(), len(database)


# The target.


def _write(kind: str, name: str, entries: Entries, codec: Codec | None, table: str | None) -> None:
    if kind == "hutch.dbm":
        _write_hutch(name, entries)
    elif kind in DOCUMENTS:
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o600)
        with os.fdopen(fd, "wb") as file:
            write_document(kind, file, entries, codec)
    else:
        _write_mapping(kind, name, entries, table)
    for path in _files(name):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_hutch(name: str, entries: Entries) -> None:
    store = open_store(name, "n", 0o600)
    try:
        batch: dict[bytes, bytes | None] = {}
        waiting_bytes = 0
        for key, value in entries:
            if key in batch or store.contains(key):
                raise _twice(key)
            batch[key] = value
            waiting_bytes += len(value)
            if waiting_bytes > _BATCH_BYTES or len(batch) >= _BATCH_ENTRIES:
                store.apply(batch)
                batch = {}
                waiting_bytes = 0
        store.apply(batch)
    finally:
        store.close()
    log = Names.of(name).journal
    if os.path.exists(log):
        os.unlink(log)  # empty after a clean close


def _write_mapping(kind: str, name: str, entries: Entries, table: str | None) -> None:
    from hutch.foreign.borrowed import GnuModule, NdbmModule
    from hutch.foreign.sqlite import SqliteDatabase, SqlitedictDatabase

    database: Any
    if kind in ("dbm.gnu", "dbm.ndbm"):
        try:
            database = (GnuModule if kind == "dbm.gnu" else NdbmModule)(name, "n", 0o600)
        except ImportError as problem:
            raise UnsupportedFileError(
                f"this Python has no {kind}, so it cannot write such a file: {problem}"
            ) from problem
    else:
        sqlite = SqlitedictDatabase if kind == "sqlitedict" else SqliteDatabase
        database = sqlite(name, "n", 0o600, durability="commit", table=table)
    with database:
        if kind in ("dbm.gnu", "dbm.ndbm"):
            _fill(database, entries)
        else:
            with database.transaction():
                _fill(database, entries)


def _fill(database: Any, entries: Entries) -> None:
    for key, value in entries:
        if key in database:
            raise _twice(key)
        try:
            database[key] = value
        except UnicodeDecodeError as problem:
            raise ValueError(f"key {key!r} is no text, and {database.kind} has no other keys") from problem


def _twice(key: bytes) -> ValueError:
    return ValueError(f"the source has key {key!r} twice: there is no telling which of its values counts")


def _verify(
    kind: str, name: str, codec: Codec | None, table: str | None, written: _Tally, progress: Progress | None
) -> None:
    """Read everything back, as whoever opens it next would, and compare it with what was read from the source."""
    found = _Tally()
    if kind in DOCUMENTS and codec is not None:
        # What a codec makes of an object need not be the same bytes twice; that the document can be read must do.
        for _ in found.counted(
            _reported(read_document(kind, name, codec, unpickle=True), "verify", written.entry_count, progress)
        ):
            pass
        is_same = found.entry_count == written.entry_count
    else:
        with _reading(name, kind, codec, table, False, None, is_new=True) as (entries, total):
            for _ in found.counted(_reported(entries, "verify", total, progress)):
                pass
        is_same = (found.entry_count, found.total) == (written.entry_count, written.total)
    if not is_same:
        raise CorruptError(
            f"the copy differs from its source ({found.entry_count} entries instead of {written.entry_count}), so "
            "it has been removed; the source is as it was",
            file=name,
        )


def _files(name: str) -> list[str]:
    return [
        name + suffix for suffix in (*_SUFFIXES, ".log", "-journal", "-wal", "-shm") if os.path.lexists(name + suffix)
    ]


def _refuse_existing(name: str, kind: str) -> None:
    for suffix in _NAMES.get(kind, ("",)):
        if os.path.lexists(name + suffix):
            raise FileExistsError(errno.EEXIST, f"{os.strerror(errno.EEXIST)}: nothing is overwritten", name + suffix)


def _mode_of(source: FileName, kind: str) -> int:
    """Return the permission bits of the source: whoever may not read it may not read the copy."""
    path = Names.of(source).heap if kind == "hutch.dbm" else file_of(source, kind)
    return os.stat(path).st_mode & 0o666


def _place(temporary: str, name: str, mode: int) -> None:
    """Give the files of a finished copy their names; nothing of these names is overwritten, whoever was quicker."""
    placed: list[str] = []
    file_system = FileSystem()
    paths = _files(temporary)
    try:
        for path in paths:
            os.chmod(path, mode)
            target = name + path[len(temporary) :]
            try:
                os.link(path, target)
            except FileExistsError:
                raise
            except OSError:  # a file system without links
                if os.path.lexists(target):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
                os.rename(path, target)
            placed.append(target)
        file_system.sync_folder(name)
    except BaseException:
        for path in placed:
            os.unlink(path)
        raise
    for path in paths:
        if os.path.lexists(path):
            os.unlink(path)
