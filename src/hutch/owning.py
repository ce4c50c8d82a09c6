"""The right to write: the writer lock, and how one handle does without asking for it again and again.

Two system calls a statement are a third of what a small put costs, and most databases have one writer. So a handle that
has written for a while with nobody else in between becomes the owner: it takes the owner lock, says so in the header of
the index (`OWNED_AT`), and from then on only looks at that header before it writes.

Whoever else wants to write takes the writer lock as ever, finds `OWNED_AT`, and ends the ownership: it sets
`WANTED_AT`, and waits until the owner is not inside a statement (`PENDING_AT` is 0) or is gone (its lock is free).
The owner sets `PENDING_AT` first and looks at `WANTED_AT` then, the other one does it the other way round, so that one
of the two sees the other: Dekker's scheme. It wants the store of each to be visible before its load. An owner's load
covers the byte that it has just stored, so it waits for it; the other one, who is in no hurry, sleeps in between.

Source of the idea: K. Kawachiya, A. Koseki, T. Onodera, "Lock reservation", OOPSLA 2002.
"""

from __future__ import annotations

import os
import time
import weakref

from hutch import format as fmt
from hutch.errors import DeadlockError, LockTimeout, is_own
from hutch.shared import JOURNAL_LIMIT_BYTES, Shared

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.files import File

__all__ = ["Owning"]

# Each ownership that was ended makes the next one come later, so that two busy writers do not keep taking it from
# one another.
_PATIENCE_FACTOR = 8
_MAX_PATIENCE = 1 << 20
_VISIBLE_SECONDS = 0.001
_PAUSE_SECONDS = 0.0002
# Of a line, besides what stands between the quotes.
_LINE_BYTES = len("\n''") + fmt.FIELDS_BYTES + 1
# Of a record, besides the key: of one that is a line, or of another.
_RECORD_BYTES = max(_LINE_BYTES + fmt.LINE_RECORD_TAIL.size, fmt.RECORD_FRAME_BYTES + fmt.OPERATION_BYTES)
_YES = b"\1"
_NO = b"\0"

# This process's owner of a file, to tell a wait from a deadlock.
_owners: weakref.WeakValueDictionary[tuple[int, int], Owning] = weakref.WeakValueDictionary()
os.register_at_fork(after_in_child=_owners.clear)


class Owning(Shared):
    """The right to write, of one handle."""

    # --- for everybody ---

    def take_writer_lock(self) -> None:
        """Take the writer lock, and end the ownership of another handle.

        Raises:
            LockTimeout, DeadlockError: see `Locks.acquire_writer`.
        """
        deadline = None if self.timeout_seconds is None else time.monotonic() + self.timeout_seconds
        self.locks.acquire_writer(self.timeout_seconds)
        try:
            self.end_other_ownership(deadline)
        except BaseException:
            self.locks.release_writer()
            raise

    def end_other_ownership(self, deadline: float | None = None) -> None:
        """Make sure that no other handle writes without the writer lock, which is held. May sleep for a moment."""
        file = self._index_file()
        if file is None or self.is_owner or file.read_at(fmt.OWNED_AT, 1) != _YES:
            return
        file.write_at(fmt.WANTED_AT, _YES)
        time.sleep(_VISIBLE_SECONDS)
        try:
            while not self.locks.owner.try_lock():
                if file.read_at(fmt.PENDING_AT, 1) == _NO:
                    file.write_at(fmt.OWNED_AT, _NO)
                    return
                self._refuse_to_wait_for_ourselves()
                if deadline is not None and time.monotonic() >= deadline:
                    raise LockTimeout(f"{self.names.base!r} is being written by another process or thread; try again")
                time.sleep(_PAUSE_SECONDS)
            file.write_at(fmt.OWNED_AT, _NO)
            file.write_at(fmt.WANTED_AT, _NO)
        finally:
            self.locks.owner.unlock()  # where it is not ours, this does nothing

    def is_writing_elsewhere(self) -> bool:
        """Whether somebody else is alive who may be writing: has the writer lock, or does not need it."""
        if self.locks.writer.is_taken_elsewhere():
            return True
        file = self._index_file()
        if file is None or self.is_owner:
            return False
        flags = file.read_at(fmt.WORD_START, fmt.GATE_END - fmt.WORD_START)
        is_inside = flags[:1] != bytes((flags[0] & 0xFE,)) or flags[fmt.PENDING_AT - fmt.WORD_START :][:1] == _YES
        return is_inside and flags[-1:] == _YES and self.locks.owner.is_taken_elsewhere()

    def _index_file(self) -> File | None:
        """The index that bears the name now, whether or not it can be believed."""
        index = self.index
        if index is not None and not index.flag(fmt.SUPERSEDED_AT):
            return index.file.file
        try:
            file = self.file_system.open(self.names.index, writable=self.writable)
        except OSError:
            return None
        return file if file.size() >= fmt.INDEX_HEADER_BYTES else None

    def _refuse_to_wait_for_ourselves(self) -> None:
        owner = _owners.get(self.locks.identity)
        if owner is not None and owner.thread_lock._is_owned():  # type: ignore[attr-defined]
            raise DeadlockError(
                f"{self.names.base!r} is being written through another handle of this thread, whose statement was "
                "interrupted by this one: use that handle"
            )

    def expect_gate(self) -> None:
        """Under the writer lock: remember what the header's gate says while nobody else has been at it."""
        assert self.index is not None
        wanted = self.index.file.view[fmt.WANTED_AT : fmt.WANTED_AT + 1]
        self.gate = b"\0" + wanted + b"\0" + (_YES if self.is_owner and not self.exclusive else _NO)

    # --- for the owner ---

    def consider_owning(self) -> None:
        """At the end of a statement, under the writer lock: own the database if nobody else seems to want it."""
        index = self.index
        self.calm += 1
        if self.calm < self.patience or index is None or self.failed or not self.is_ready_to_write:
            return
        self.calm = 0
        if not self.exclusive and not self.locks.owner.try_lock():  # an exclusive handle needs nobody's leave
            return  # a former owner has not noticed yet
        try:
            if index.flag(fmt.PENDING_AT):  # it was late to notice; we would look as if we were inside
                self.locks.owner.unlock()
                return
            if not self.exclusive:
                index.set_flag(fmt.OWNED_AT, True)
                _owners[self.locks.identity] = self
            index.set_flag(fmt.WANTED_AT, False)
            self.is_owner = True
            self.expect_gate()
            self.owner_gate = b"\1" + self.gate[1:]
        except BaseException as problem:
            self.is_owner = True
            self.give_up_owning()
            if not is_own(problem):
                raise

    def lay_out(self) -> None:
        """At the end of a statement: have at hand what the owner's next puts need, looked up once.

        It holds until the next statement that takes the writer lock: nothing else changes any of it.
        """
        index, log, heap = self.index, self.journal, self.heap
        if heap.free is not None and not heap.free.block_count:
            heap.free = None
        if self.durable or self.failed or index is None or log is None:
            return
        if not index.directory_bytes or index.flag(fmt.CLEAN_AT):
            return  # the first line is special; and after the last statement there is none
        index.set_flag(fmt.HEAP_DIRTY_AT, True)  # their values do not travel in the journal
        directory = self.directory.file.view
        index.checked.extend(bytes(max(0, index.bucket_count - len(index.checked))))
        self.at_hand = (
            index,
            index.file.view,
            index.file.words,
            index.checked,
            directory,
            heap.file.view,
            log.file.view,
            len(directory) - _LINE_BYTES,
            heap.file.fill(index.heap_blocks << fmt.BLOCK_SHIFT) - fmt.BLOCK_BYTES,
            min(log.file.fill(index.journal_bytes), JOURNAL_LIMIT_BYTES) - _RECORD_BYTES,
            self.seed,
            log.salt,
            int.from_bytes(self.owner_gate + index.file.view[fmt.GATE_END : fmt.GATE_END + 4], "little"),
            heap.free,
        )

    def give_up_owning(self) -> None:
        """From now on ask for the writer lock like everybody else."""
        self.at_hand = None
        if not self.is_owner:
            return
        self.calm = 0
        if self.exclusive:
            self.is_owner = False
            return
        self.patience = min(self.patience * _PATIENCE_FACTOR, _MAX_PATIENCE)
        index = self.index
        if index is not None:
            index.set_flag(fmt.OWNED_AT, False)
        _owners.pop(self.locks.identity, None)
        unlock = self.locks.owner.unlock
        self.is_owner = False  # only now: who is interrupted before begins anew
        unlock()
