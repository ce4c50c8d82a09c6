"""Attaching to the files as they are now: believe the index, or read directory and journal, or mend the files.

A handle reads either through the index on the disk (`index`), shared with every other process, or, where
there is none to believe and none may be written (read-only media, a stdlib's directory before its first
change), from a `snapshot` in memory.
"""

from __future__ import annotations

import errno
import os
import time
import warnings

from hutch import format as fmt
from hutch.directory import DirectoryFile
from hutch.errors import (
    CorruptIndexError,
    HutchError,
    RecoveryWarning,
)
from hutch.files import MappedFile
from hutch.index import Index
from hutch.journal import Journal, Record, operations, pack_operation
from hutch.owning import Owning
from hutch.rebuild import open_journal
from hutch.recovery import Snapshot, load_snapshot

__all__ = ["Attaching"]

_SPINS = 100
_PAUSE_SECONDS = 0.0005
# The word and every flag of the header.
_WATCHED = slice(fmt.WORD_START, fmt.HEAP_DIRTY_AT + 1)
_TRIES = 5  # to read a directory and a journal while nobody writes
_NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Attaching(Owning):
    """What a handle does to find out what the database holds. Floor 4."""

    def attach(self) -> None:
        """Believe the index on the disk, or mend it, or fall back to memory."""
        self.give_up_owning()
        self.index = self.snapshot = self.journal = self.watched = None
        self.is_ready_to_write = False
        self.heap.free = None
        if self._try_index():
            self._mind_dead_writer()
            return
        if not self.writable:
            deadline = None if self.timeout_seconds is None else time.monotonic() + self.timeout_seconds
            tries_left = _TRIES
            while not self._try_index():
                is_late = deadline is not None and time.monotonic() >= deadline
                if is_late or not self.is_writing_elsewhere():
                    self.read_from_memory(self.rejected)
                    tries_left -= 1
                    if is_late or not tries_left or not self.is_outdated():
                        return
                    self.snapshot = self.watched = None  # a writer was between two statements, and lives
                time.sleep(_PAUSE_SECONDS)  # a writer is replacing the index right now, or is inside
            return
        held = self.depth > 0 or self.exclusive
        if not held:
            self.take_writer_lock()
        try:
            if not self._try_index():
                self.read_from_memory(self.rejected)
        finally:
            if not held:
                self.locks.release_writer()

    def _mind_dead_writer(self) -> None:
        """A writer that died behind its commit point has committed; `CatchingUp` shows it."""

    def is_outdated(self) -> bool:
        """Whether somebody has written since this handle began to read from memory: the heap may be newer."""
        watched = self.watched
        return self.index is None and watched is not None and watched.file.view[_WATCHED] != self.watched_header

    def read_from_memory(self, index: Index | None) -> None:
        """Read directory and journal, until somebody has been at this index, or has put another in its place."""
        # First: whoever writes while they are read makes what comes out a thing of the past, or a mixture.
        header = b"" if index is None else index.file.view[_WATCHED]
        self._load_snapshot()
        if self.index is None:
            self.watched, self.watched_header = index, header

    def _open_directory(self) -> DirectoryFile:
        fs, names = self.file_system, self.names
        path = names.directory
        if not self.writable and not fs.exists(path) and fs.exists(names.backup):
            path = names.backup
        return DirectoryFile(MappedFile(fs.open(path, writable=self.writable)))

    def _try_index(self) -> bool:
        """Attach to the index on the disk if it provably belongs to the directory and has seen everything."""
        fs, names = self.file_system, self.names
        self.directory = directory = self._open_directory()
        self.rejected = None
        try:
            file = fs.open(names.index, writable=self.writable)
        except OSError as problem:
            if problem.errno in _NO_RESOURCES:
                raise
            return False  # missing, or not ours to read: it is only a cache
        try:
            index = self.rejected = Index(MappedFile(file))
            index.load_identity()
            for _ in range(_SPINS):
                if index.load():
                    break
            else:
                return False
            if not self._is_believable(index, directory):
                return False
        except (CorruptIndexError, OSError, ValueError) as problem:
            if isinstance(problem, OSError) and problem.errno in _NO_RESOURCES:
                raise
            return False
        self.seed = directory.database_id  # first: whoever finds an index hashes with the seed
        self.index, self.rejected = index, None
        return True

    def _is_believable(self, index: Index, directory: DirectoryFile) -> bool:
        identity = index.identity
        status = index.file.file.status()
        directory_status = directory.file.file.status()
        if index.flag(fmt.SUPERSEDED_AT) or index.flag(fmt.SYNC_FAILED_AT):
            return False
        directory.database_id = identity.database_id
        directory.generation = identity.generation
        directory.header_offset = index.header_offset
        if index.directory_bytes:
            header = directory.header()
            if header is None or header[:2] != (identity.database_id, identity.generation):
                return False
        if directory_status.st_size != index.directory_file_bytes:
            return False
        if self.heap.file.file.size() < (index.heap_blocks - 1) * fmt.BLOCK_BYTES:
            return False
        if index.is_clean():
            if directory_status.st_mtime_ns != index.directory_mtime_ns:
                return False
            try:
                return self.file_system.status(self.names.journal).st_size == 0
            except FileNotFoundError:
                return True
        # Not clean: only the very file, in the page cache of the very boot, has seen everything.
        if (status.st_dev, status.st_ino) != (identity.device, identity.inode):
            return False
        boot_id = self.file_system.boot_id()
        if directory_status.st_ino != identity.directory_inode or boot_id != identity.boot_id or not any(boot_id):
            return False
        if index.sequence == index.base_sequence and not index.salt:
            return True
        journal = open_journal(self.place, writable=False)
        header_of_journal = journal.load() if journal is not None else None
        return header_of_journal is not None and header_of_journal.salt == index.salt

    def _load_snapshot(self) -> None:
        """Read directory and journal; then, if this handle may write, make the files agree with them."""
        directory = self.directory
        raw = directory.file.file
        data = raw.read_at(0, raw.size())
        journal = open_journal(self.place, writable=False)
        snapshot = load_snapshot(data, raw.path, journal, self.heap)
        self._mind_lost_commits(snapshot)
        if snapshot.foreign_journal:
            snapshot.notes.append(self._set_aside())
        for note in snapshot.notes:
            warnings.warn(note, RecoveryWarning, stacklevel=8)
        is_hutch = snapshot.database_id and (snapshot.entries or snapshot.must_rewrite)
        if self.writable and is_hutch and not self.failed:
            try:
                self._rebuild(snapshot, rewrite=snapshot.must_rewrite or self._has_failed_sync())
                return
            except OSError as problem:
                if isinstance(problem, HutchError):
                    raise
                # No space, say. Reading goes on from memory; a statement that writes tries again, and reports.
        self.snapshot = snapshot
        self.seed = snapshot.database_id

    def _rebuild(self, snapshot: Snapshot, *, rewrite: bool) -> None:
        was_plain = not snapshot.database_id
        floor = self.heap_file_blocks() if was_plain and not snapshot.entries else 0
        problem = self.rebuild(snapshot, rewrite=rewrite, rewrite_values=self._has_failed_sync(), heap_floor=floor)
        if problem is not None:
            raise problem
        if not self._try_index():
            raise CorruptIndexError(f"{self.names.index!r} was written anew and does not verify; check the disk")

    def _has_failed_sync(self) -> bool:
        try:
            index = Index(MappedFile(self.file_system.open(self.names.index, writable=False)))
            index.load_identity()
        except (OSError, ValueError):
            return False
        return index.flag(fmt.SYNC_FAILED_AT)

    def _mind_lost_commits(self, snapshot: Snapshot) -> None:
        """Say so when the journal of an unclean end is gone: that is a silent step back."""
        if snapshot.has_journal or not snapshot.database_id or snapshot.foreign_journal:
            return
        lost = "commits since the last checkpoint may be lost" if snapshot.is_padded else ""
        try:
            index = Index(MappedFile(self.file_system.open(self.names.index, writable=False)))
            index.load_identity()
            is_whole = index.load() and not index.flag(fmt.CLEAN_AT) and not index.flag(fmt.SUPERSEDED_AT)
            if is_whole and index.identity.database_id == snapshot.database_id:
                count = index.sequence - max(snapshot.sequence, index.base_sequence)
                lost = f"up to {count} commits since the last checkpoint may be lost" if count > 0 else ""
        except (OSError, ValueError):
            pass  # no index to ask
        if lost:
            snapshot.notes.append(
                f"{self.names.journal!r} is missing, empty or of another time, after an end without close(): {lost}"
            )
            snapshot.must_rewrite = True

    def _set_aside(self) -> str:
        """Keep a journal that is not this directory's, out of the way."""
        names = self.names
        kept = names.journal
        if self.writable:
            self._bring_values_along()
            kept = f"{names.journal}.{os.urandom(4).hex()}.orphan"
            self.file_system.replace(names.journal, kept)
            self.file_system.sync_folder(names.journal)
        return (
            f"the journal {names.journal!r} is not the one of {names.directory!r}: another program, or an older copy, "
            f"has replaced the directory since the last crash. It was not applied; it is kept as {kept!r}, "
            "and merge_journal() applies it if you want its commits"
        )

    def _bring_values_along(self) -> None:
        """Put small values into a journal that goes aside: no entry owns them in the heap, so they will not last there.

        What somebody else has overwritten already stays out, and where there is no room, all of them do.
        """
        fs, names = self.file_system, self.names
        journal = open_journal(self.place, writable=False)
        header = journal.load() if journal is not None else None
        if journal is None or header is None or journal.is_doubtful:
            return  # of a doubtful one nobody knows which records count
        temporary = names.temporary(names.journal)
        try:
            file = fs.open(temporary, writable=True, new=True, mode=0o600)
            try:
                fs.take_attributes(file, journal.file.file.status())
                copy = Journal(MappedFile(file))
                position = fmt.JOURNAL_HEADER_BYTES
                copy.reserve(position)
                copy.file.write(0, journal.file.view[:position])
                copy.salt = journal.salt
                has_more = False
                for record in journal.records(position, header.base_sequence):
                    count, payload = self._with_values(record, header.database_id)
                    copy.reserve(position + fmt.RECORD_FRAME_BYTES + len(payload))
                    position = copy.append(position, record.sequence, count, payload)
                    has_more = has_more or len(payload) > len(record.payload)
                if has_more:  # else it stays as it is, to the byte: it may be a stranger's
                    file.sync()
                    fs.replace(temporary, names.journal)
            finally:
                if fs.exists(temporary):
                    fs.unlink(temporary)
        except OSError:
            pass  # they stay where they are, for as long as it lasts

    def _with_values(self, record: Record, seed: int) -> tuple[int, bytes]:
        """The number of a record's operations, and the operations with all small values that are still whole."""
        count = 0
        pieces: list[bytes] = []
        for kind, key, entry, value in operations(record.payload):
            count += 1
            _, offset, size, checksum = entry
            if value is None and kind in (fmt.OP_INSERT, fmt.OP_REPLACE) and 0 < size <= fmt.INLINE_LIMIT_BYTES:
                value = self.heap.read(offset, size)
                if len(value) != size or fmt.checksum_of(value, fmt.hash_key(key, seed)) != checksum:
                    value = None
            pieces += pack_operation(kind, key, entry, value)
        return count, b"".join(pieces)
