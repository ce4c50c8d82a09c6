"""Becoming fit to write: see what other handles have done, finish what a dead writer left, map for writing.

Everything that other handles can change is cached together with the version word and the pending flag, and
believed only while the index's header still says the same.
"""

from __future__ import annotations

import errno
import warnings

from hutch import format as fmt
from hutch.attaching import Attaching
from hutch.directory import DirectoryFile
from hutch.errors import (
    CorruptIndexError,
    OutcomeUnknownError,
    RecoveryWarning,
)
from hutch.heap import FreeSpace, apart, gaps
from hutch.index import Index
from hutch.journal import Journal, operations
from hutch.rebuild import open_journal
from hutch.recovery import load_snapshot

__all__ = ["CatchingUp"]

_MIN_FREE_BLOCKS = 64


class CatchingUp(Attaching):
    """What happens between taking the writer lock and the first write."""

    def _mind_dead_writer(self) -> None:
        """A writer that died behind its commit point has committed: show it to whoever opens from now on."""
        index = self.index
        if index is None or self.depth:
            return
        while index.flag(fmt.PENDING_AT):
            word = index.file.view[fmt.WORD_START : fmt.WORD_END]
            if self.is_writing_elsewhere():
                return
            if index.flag(fmt.PENDING_AT) and index.file.view[fmt.WORD_START : fmt.WORD_END] == word:
                break  # else it was alive, and has finished since we looked
        else:
            return
        if self.writable:
            if self.exclusive or self.locks.writer.try_lock():
                self.depth += 1
                try:
                    self.end_other_ownership()
                    self.catch_up()
                finally:
                    self.depth -= 1
                    if not self.exclusive:
                        self.locks.writer.unlock()
            return
        self.index = None
        self.read_from_memory(index)

    def catch_up(self) -> None:
        """Make this handle fit to write: see what others have done, finish what a dead writer left."""
        self.at_hand = None
        if self.failed:
            raise OutcomeUnknownError(
                f"a sync of {self.names.base!r} failed, so the outcome of its last write is unknown; close every "
                "handle, check the disk, and open the database again: recovery keeps what is whole"
            )
        index = self.index
        if index is not None and index.flag(fmt.SUPERSEDED_AT):
            self.attach()
            index = self.index
        if index is None:
            self._adopt()
            index = self.index
            assert index is not None, "adoption makes an index or raises"
        if index.flag(fmt.SYNC_FAILED_AT):
            self.failed = True
            self.catch_up()
        if index.is_writer_inside() or not index.load():
            self.attach()  # not believable: a writer died inside; rebuilt from directory and journal
            index = self.index
            assert index is not None
        elif index.flag(fmt.PENDING_AT):
            self._redo_tail(index)
            index = self.index  # perhaps a new one
            assert index is not None
        elif self.is_ready_to_write:
            self.heap.free = None  # others have allocated since, and may have begun a new round
            self.freed.clear()
            for file in (self.directory.file, self.heap.file):
                if len(file.view) != file.file.size():
                    file.refresh()
            if self.journal is None or self.journal.salt != index.salt:
                self.is_ready_to_write = False
        self.directory.header_offset = index.header_offset
        if not self.is_ready_to_write:
            self.prepare_to_write(index)

    def _adopt(self) -> None:
        """The first change of a directory in the stdlib's form, or of an empty one: make it hutch's."""
        if self._try_index():
            self.snapshot = None
            return
        self.snapshot = None
        raw = self.directory.file.file
        journal = open_journal(self.place, writable=False)
        snapshot = load_snapshot(raw.read_at(0, raw.size()), raw.path, journal, self.heap)
        if snapshot.foreign_journal:
            warnings.warn(self._set_aside(), RecoveryWarning, stacklevel=8)
        self._rebuild(snapshot, rewrite=True)

    def _redo_tail(self, index: Index) -> None:
        """A writer died between its journal record and the index: show the index what it has missed."""
        journal = self._journal_of(index)
        if journal is not None:
            for record in journal.records(index.journal_bytes, index.sequence):
                changes = list(operations(record.payload))
                if any(change.kind == fmt.OP_CLEAR for change in changes):
                    self._reload()
                    return
                index.reserve(len(changes))
                index.begin_update()
                for kind, key, entry, _ in changes:
                    redo_in_index(index, kind, fmt.hash_key(key, self.seed), entry, self.directory, key)
                index.sequence = record.sequence
                index.journal_bytes = record.end
                index.end_update()
        self.directory.file.warm()
        self.directory.file.refresh()
        self.directory.blank(index.directory_bytes)
        index.set_flag(fmt.PENDING_AT, False)
        self.heap.free = None

    def _reload(self) -> None:
        """Throw the index away and start from directory and journal."""
        assert self.index is not None
        self.index.set_flag(fmt.SUPERSEDED_AT, True)
        self.attach()

    def _journal_of(self, index: Index) -> Journal | None:
        if self.journal is None:
            self.journal = open_journal(self.place, writable=True)
        if self.journal is not None:
            self.journal.file.refresh()
            header = self.journal.load()
            if header is None or header.salt != index.salt:
                return None
        return self.journal

    def prepare_to_write(self, index: Index) -> None:
        """Once a handle: map for writing, and say durably that the index is no longer clean."""
        for file in (index.file, self.directory.file, self.heap.file):
            file.warm()
            file.refresh()
        if index.flag(fmt.CLEAN_AT):
            # Were this lost in a power cut, an index that missed commits would be believed.
            index.set_flag(fmt.CLEAN_AT, False)
            identity = index.identity._replace(boot_id=self.file_system.boot_id())
            status = index.file.file.status()
            identity = identity._replace(
                device=status.st_dev,
                inode=status.st_ino,
                directory_inode=self.directory.file.file.status().st_ino,
            )
            index.store_identity(identity)
            try:
                index.file.file.sync()
            except OSError as problem:
                self.fail(problem)
        if self._journal_of(index) is None:
            self.journal = open_journal(self.place, writable=True, create=True)
            assert self.journal is not None
            try:
                self.file_system.sync_folder(self.names.journal)
                self.start_round(index)
                # Recovery needs this header to tell what a crash has left behind the directory's known end.
                self.journal.file.file.sync()
            except OSError as problem:
                if problem.errno == errno.ENOSPC:
                    raise
                self.fail(problem)
            index.set_flag(fmt.FOLDER_SYNCED_AT, True)
        self.is_ready_to_write = True
        if index.sequence == index.base_sequence:
            self.find_free_space(index)

    def start_round(self, index: Index) -> None:
        """An empty journal with a new salt, starting where the directory stands."""
        assert self.journal is not None
        salt = self.file_system.random_id()
        identity = index.identity
        self.journal.reserve(fmt.JOURNAL_HEADER_BYTES)
        # First the odd word: whoever dies in between leaves a journal that the index knows nothing of.
        index.begin_update()
        self.journal.start(identity.generation, identity.database_id, index.sequence, index.directory_bytes, salt)
        index.salt = salt
        index.base_sequence = index.sequence
        index.journal_bytes = fmt.JOURNAL_HEADER_BYTES
        index.changed_lines = 0
        index.store_round()
        index.end_update()

    def find_free_space(self, index: Index) -> None:
        """List the free extents if they are worth a scan of the index: O(keys), after a quarter of them moved.

        Only right after a checkpoint: until then recovery may need what has been given up since the last one.
        """
        kept: list[tuple[int, int]] = []
        if self.is_pinned_whole():
            self.heap.free = None
        elif self.heap.free is not None:
            given_up, kept = apart(self.freed, self.pinned_spans())
            for start, blocks in given_up:
                self.heap.free.add(start, blocks)
        else:
            free_blocks = index.heap_blocks - index.heap_floor - index.live_blocks
            if free_blocks >= _MIN_FREE_BLOCKS and free_blocks * 4 >= index.heap_blocks:
                owned = (
                    (entry[1] >> fmt.BLOCK_SHIFT, fmt.block_count(entry[2]))
                    for _, entry in index.entries()
                    if entry[2] and not entry[0] & fmt.LOST
                )
                try:
                    unowned = gaps(owned, index.heap_floor, index.heap_blocks)
                    unowned, kept = apart(unowned, self.pinned_spans())
                    self.heap.free = FreeSpace(unowned)
                except CorruptIndexError:
                    self.heap.free = None  # whoever needs the damaged page makes a new index
        self.freed[:] = kept  # somebody is looking at these: the next checkpoint asks again
        self.freed_blocks = 0


def redo_in_index(
    index: Index, kind: int, key_hash: int, entry: fmt.Entry, directory: DirectoryFile, key: bytes
) -> None:
    """Apply one journaled operation to the index; a second time it changes nothing."""
    line = entry[0] & fmt.OFFSET_MASK
    found = None
    for position, old in index.candidates(key_hash):
        if old[0] & fmt.OFFSET_MASK == line:
            found = position, old
            break
    if kind == fmt.OP_DELETE:
        if found is not None:
            index.remove(found[0])
            index.live_blocks -= fmt.block_count(found[1][2])
            index.changed_lines += 1
            index.dead_bytes += len(fmt.key_literal(key)) + fmt.FIELDS_BYTES + 1
        return
    if found is not None:
        index.replace(found[0], key_hash, entry)
        index.live_blocks -= fmt.block_count(found[1][2])
        index.changed_lines += 1
    else:
        index.insert(key_hash, entry)
        literal_bytes = len(fmt.key_literal(key))
        if not index.directory_bytes:
            index.header_offset = literal_bytes + fmt.FIELDS_BYTES
            directory.header_offset = index.header_offset
            index.store_round()
        index.directory_bytes = max(
            index.directory_bytes,
            line + literal_bytes + fmt.FIELDS_BYTES + (0 if line else fmt.HEADER_COMMENT_BYTES),
        )
    size = entry[2]
    index.live_blocks += fmt.block_count(size)
    index.heap_blocks = max(index.heap_blocks, fmt.block_count(entry[1] + size))
