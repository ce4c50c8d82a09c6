"""What every open database has: its files, its locks, and what it believes about the state that handles share."""

from __future__ import annotations

import threading

from hutch import format as fmt
from hutch.directory import DirectoryFile
from hutch.errors import (
    OutcomeUnknownError,
)
from hutch.files import FileSystem
from hutch.heap import Heap
from hutch.index import Index
from hutch.journal import Journal
from hutch.locking import Locks
from hutch.names import Names
from hutch.rebuild import Place, rebuild
from hutch.recovery import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

    from hutch.files import View, Words
    from hutch.heap import FreeSpace

    AtHand = tuple[
        Index,
        View,  # of the index
        Words,
        bytearray,  # its `checked`
        View,  # of the directory
        View,  # of the heap
        View,  # of the journal
        int,  # what each of these three must not be filled beyond
        int,
        int,
        int,  # the seed
        int,  # the salt
        int,  # `owner_gate`, and the flags behind it
        "FreeSpace | None",
    ]

__all__ = ["FIRST_PATIENCE", "JOURNAL_LIMIT_BYTES", "AtHand", "Shared"]

# So many statements in a row, with nobody else writing in between, make an owner.
FIRST_PATIENCE = 16
# A journal that is longer makes a checkpoint due.
JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024


class Shared:
    """Files, locks and cached state of one open database."""

    # What every statement looks at; a slot is quicker than the dict.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "at_hand",
        "depth",
        "heap",
        "index",
        "is_busy",
        "seed",
        "thread_lock",
        "transaction",
    )

    def __init__(self, names: Names, file_system: FileSystem, *, writable: bool, timeout_seconds: float | None) -> None:
        self.names = names
        self.file_system = file_system
        self.writable = writable
        self.timeout_seconds = timeout_seconds
        self.exclusive = False
        self.closed = True
        self.failed = False
        self.durable = False  # every commit is synced
        self.thread_lock = threading.RLock()
        self.depth = 0  # of writer-lock holders in this handle: a transaction and the statements in it
        self.statement: FrameType | None = None  # the caller of `enter`, inside it and until `leave`
        self.is_unsettled = False  # a statement has been committed, but not shown
        self.is_busy = False  # inside a statement: what interrupts it in this thread must keep out
        self.is_forked = False  # in a child that has not opened files and locks of its own yet
        self.seed = 0
        self.index: Index | None = None
        self.snapshot: Snapshot | None = None
        self.journal: Journal | None = None
        self.rejected: Index | None = None  # the index that `_try_index` has looked at last, and not believed
        # While reading from memory: the index that was rejected (kept open, so that no other gets its inode) and
        # what its header said then. It is tried again when either changes.
        self.watched: Index | None = None
        self.watched_header = b""
        self.is_ready_to_write = False
        self.left_word = b""  # the version word when this handle last gave the right to write back
        self.gate = b""  # what the header says between word and `fmt.GATE_END` while nothing has happened
        self.is_owner = False  # see `owning`
        self.owner_gate = b""  # `gate` inside a statement of the owner
        self.at_hand: AtHand | None = None  # what a statement of the owner needs: see `Owning.lay_out`
        self.calm = 0  # statements in a row that nobody else came between
        self.patience = FIRST_PATIENCE
        self.directory: DirectoryFile
        self.heap: Heap
        self.locks: Locks
        self.pins = 0
        self.freed: list[tuple[int, int]] = []  # (block, blocks) given up since the checkpoint
        self.freed_blocks = 0

    @property
    def place(self) -> Place:
        return Place(self.file_system, self.names, self.heap)

    def heap_file_blocks(self) -> int:
        return fmt.block_count(self.heap.file.file.size())

    def is_pinned(self) -> bool:
        """Whether somebody may be looking at values that no entry owns any more."""
        return self.is_pinned_whole() or bool(self.locks.locked_extents())

    def is_pinned_whole(self) -> bool:
        """Whether that may be any value; else it is one of `pinned_spans`."""
        return self.pins > 0 or self.locks.pin.is_taken_elsewhere()

    def pinned_spans(self) -> list[tuple[int, int]]:
        """The blocks at which somebody is looking: (start, end)."""
        return [(start >> fmt.BLOCK_SHIFT, fmt.block_count(end)) for start, end in self.locks.locked_extents()]

    def rebuild(
        self,
        snapshot: Snapshot,
        *,
        rewrite: bool,
        rewrite_values: bool = False,
        needs_index: bool = True,
        heap_floor: int = 0,
    ) -> Exception | None:
        """`rebuild.rebuild` for this handle, which writes no more after a failed sync in it."""
        try:
            return rebuild(
                self.place,
                snapshot,
                rewrite=rewrite,
                rewrite_values=rewrite_values,
                needs_index=needs_index,
                heap_floor=heap_floor,
                heap_end=self.heap_file_blocks() if self.index is None else self.index.heap_blocks,
                is_pinned=self.is_pinned,
            )
        except OutcomeUnknownError:
            self.failed = True
            raise

    def fail(self, problem: OSError) -> NoReturn:
        """A sync has failed: no handle writes any more until a recovery."""
        self.failed = True
        if self.index is not None:
            self.index.set_flag(fmt.SYNC_FAILED_AT, True)
            self.index.set_flag(fmt.PENDING_AT, True)  # so that every other handle looks
        raise OutcomeUnknownError(
            f"a sync of {self.names.base!r} failed ({problem}): whether the last write would survive a power cut is "
            "unknown, and this handle writes no more. Check the disk, close every handle, and open the database again"
        ) from problem
