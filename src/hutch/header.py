"""The header of the index: the shared state of a database's live handles.

It says whether the index may be believed (clean, or written by this very boot of the machine), which
directory it belongs to, and how far heap, directory and journal reach. Writers change it under the writer
lock; readers take no lock: they remember the version word, and compare.
"""

from __future__ import annotations

from struct import Struct
from threading import RLock

from hutch import format as fmt
from hutch.errors import CorruptIndexError
from hutch.files import MappedFile
from hutch.records import NamedTuple

__all__ = ["Identity", "IndexHeader", "masks"]


_STATE_AND_TABLE = Struct("<11Q")  # they lie side by side: one store publishes both
assert fmt.STATE_AT + fmt.STATE.size == fmt.TABLE_AT
assert _STATE_AND_TABLE.size == fmt.STATE.size + fmt.TABLE.size
_TABLE_END = fmt.TABLE_AT + fmt.TABLE.size
_WORD = fmt.WORD_START // 8
_WORD_MASK = 0xFFFF_FFFF_FFFF_FFFF


class Identity(NamedTuple):
    """What an index file says about itself, and never changes."""

    version: int
    generation: int  # of the directory that its line offsets point into
    database_id: int
    device: int  # of the index file: a copy of a live database must not be believed
    inode: int
    directory_inode: int
    boot_id: bytes  # the boot that wrote it: an index that was never synced dies with its page cache


class IndexHeader:
    """Typed access to the header. Fields mirror the file as of the last `load` or `store`."""

    # Slots are quicker; and a dict beside them, so that a test may put something in the place of a method.
    __slots__ = (
        "__dict__",
        "_load_lock",
        "base_sequence",
        "bucket_count",
        "changed_lines",
        "checked",
        "checkpoints",
        "dead_bytes",
        "directory_bytes",
        "directory_file_bytes",
        "directory_mtime_ns",
        "file",
        "first_line",
        "header_offset",
        "heap_blocks",
        "heap_floor",
        "high_mask",
        "identity",
        "is_loading",
        "journal_bytes",
        "key_count",
        "live_blocks",
        "low_mask",
        "most_keys",
        "number",
        "overflow_free",
        "overflow_used",
        "room_for_buckets",
        "salt",
        "sequence",
    )

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        file.make_words()
        self.number = 0  # the version word as of the last `load` or update; even
        # Threads of one handle share the fields below: none may load while another is inside an update.
        # (One that its own thread may take again: it may have been interrupted between the last line and the release.)
        self._load_lock = RLock()
        self.is_loading = False
        self.identity = Identity(0, 0, 0, 0, 0, 0, b"")
        self.sequence = 0
        self.journal_bytes = 0
        self.directory_bytes = 0
        self.heap_blocks = 0
        self.live_blocks = 0
        self.key_count = 0
        self.dead_bytes = 0
        self.changed_lines = 0
        self.bucket_count = 0
        self.most_keys = 0  # with one more the table grows by a bucket
        self.overflow_free = 0
        self.overflow_used = 0
        self.base_sequence = 0
        self.salt = 0
        self.directory_file_bytes = 0
        self.directory_mtime_ns = 0
        self.heap_floor = 0
        self.first_line = 0
        self.header_offset = 0
        self.checkpoints = 0
        self.high_mask = 0
        self.room_for_buckets = 0
        self.checked = bytearray()  # buckets whose seals this handle has seen intact
        self.low_mask = 0

    @property
    def word(self) -> bytes:
        """The version word as of the last `load` or update."""
        return self.number.to_bytes(8, "little")

    # --- reading ---

    def load_identity(self) -> None:
        """Read and check what never changes.

        Raises:
            CorruptIndexError: not an index, or one of another version, or damaged.
        """
        view = self.file.view
        head = view[0 : fmt.INDEX_HEADER_BYTES]
        if len(head) < fmt.INDEX_HEADER_BYTES or head[:8] != fmt.INDEX_MAGIC:
            raise CorruptIndexError("not an index")
        end = fmt.IDENTITY_AT + fmt.IDENTITY.size
        packed = head[fmt.IDENTITY_AT : end]
        (checksum,) = fmt.IDENTITY_CHECKSUM.unpack_from(head, end)
        if fmt.hash64(packed) != checksum:
            raise CorruptIndexError("the identity of the index is damaged")
        self.identity = Identity(*fmt.IDENTITY.unpack(packed))
        if self.identity.version != fmt.INDEX_VERSION:
            raise CorruptIndexError("an index of another version")

    def load(self) -> bool:
        """Take over the shared state; False if a writer was inside, or came by meanwhile.

        Raises:
            CorruptIndexError: the state contradicts the size of the file.
        """
        with self._load_lock:
            self.is_loading = True  # before the word is read: `begin_update` changes the word before it reads this
            is_loaded = self._load()
            self.is_loading = False  # if an error keeps it set, an update only takes the lock without need
            return is_loaded

    def _load(self) -> bool:
        view = self.file.view
        word = view[fmt.WORD_START : fmt.WORD_END]
        packed = view[fmt.STATE_AT : fmt.ROUND_AT + fmt.ROUND.size]
        if len(packed) < fmt.ROUND_AT + fmt.ROUND.size - fmt.STATE_AT:
            raise CorruptIndexError("the index is cut short")
        if word[0] & 1 or view[fmt.WORD_START : fmt.WORD_END] != word:
            return False
        self._unpack(packed)
        if len(view) < self.table_bytes(self.bucket_count):
            self.file.refresh()  # another process has grown the file
            if len(self.file.view) < self.table_bytes(self.bucket_count):
                raise CorruptIndexError("the index is shorter than its buckets")
        self.number = int.from_bytes(word, "little")
        return True

    def _unpack(self, packed: bytes) -> None:
        (
            self.sequence,
            self.journal_bytes,
            self.directory_bytes,
            self.heap_blocks,
            self.live_blocks,
            self.key_count,
            self.dead_bytes,
            self.changed_lines,
        ) = fmt.STATE.unpack_from(packed, 0)
        bucket_count, self.overflow_free, self.overflow_used = fmt.TABLE.unpack_from(packed, fmt.STATE.size)
        (
            self.base_sequence,
            self.salt,
            self.directory_file_bytes,
            self.directory_mtime_ns,
            self.heap_floor,
            self.first_line,
            self.header_offset,
            self.checkpoints,
        ) = fmt.ROUND.unpack_from(packed, fmt.STATE.size + fmt.TABLE.size)
        if bucket_count < 1:
            raise CorruptIndexError("an index without buckets")
        self.set_bucket_count(bucket_count)

    def set_bucket_count(self, bucket_count: int) -> None:
        self.low_mask, self.high_mask = masks(bucket_count)
        self.bucket_count = bucket_count
        self.most_keys = bucket_count * fmt.BUCKET_LOAD

    @staticmethod
    def table_bytes(bucket_count: int) -> int:
        """Bytes of a file with so many buckets and the overflow pages among them."""
        return fmt.INDEX_HEADER_BYTES + (bucket_count + (bucket_count >> fmt.OVERFLOW_SHIFT)) * fmt.BUCKET_BYTES

    def is_current(self) -> bool:
        """Whether nobody has written since `load`."""
        return self.file.words[_WORD] == self.number

    def is_writer_inside(self) -> bool:
        """Whether the version word is odd."""
        return any(byte & 1 for byte in self.file.view[fmt.WORD_START : fmt.WORD_START + 1])

    def flag(self, position: int) -> bool:
        return self.file.view[position : position + 1] == b"\1"

    # --- writing: only under the writer lock ---

    def set_flag(self, position: int, value: bool) -> None:
        self.file.view[position : position + 1] = b"\1" if value else b"\0"

    def _states_checksum(self) -> bytes:
        packed = self.file.view[fmt.STATE_AT : fmt.ROUND_AT + fmt.ROUND.size]
        return fmt.STATES_CHECKSUM.pack(fmt.hash64(packed))

    def mark_clean(self) -> None:
        """Say that all is synced; the caller has done so."""
        at = fmt.STATES_CHECKSUM_AT
        self.file.view[at : at + fmt.STATES_CHECKSUM.size] = self._states_checksum()
        self.set_flag(fmt.CLEAN_AT, True)

    def is_clean(self) -> bool:
        """Whether the index was closed cleanly, and has not been damaged since.

        Raises:
            CorruptIndexError: it has.
        """
        if not self.flag(fmt.CLEAN_AT):
            return False
        at = fmt.STATES_CHECKSUM_AT
        if self.file.view[at : at + fmt.STATES_CHECKSUM.size] != self._states_checksum():
            raise CorruptIndexError("the header of the index is damaged")
        return True

    def begin_update(self) -> None:
        """Make the version word odd: readers wait. If `end_update` never follows, the next writer rebuilds."""
        self.file.words[_WORD] = self.number | 1
        if self.is_loading:
            self.wait_for_loading()

    def wait_for_loading(self) -> None:
        """Inside an update: let a thread of this handle finish that has seen the word as it was before."""
        with self._load_lock:
            pass

    def end_update(self) -> None:
        """Publish the state, make the version word even again: readers look anew."""
        view = self.file.view
        view[fmt.STATE_AT : _TABLE_END] = _STATE_AND_TABLE.pack(
            self.sequence,
            self.journal_bytes,
            self.directory_bytes,
            self.heap_blocks,
            self.live_blocks,
            self.key_count,
            self.dead_bytes,
            self.changed_lines,
            self.bucket_count,
            self.overflow_free,
            self.overflow_used,
        )
        self.number = number = self.number + 2 & _WORD_MASK
        self.file.words[_WORD] = number

    def store_round(self) -> None:
        """Write the state that a checkpoint changes; inside an update."""
        self.file.view[fmt.ROUND_AT : fmt.ROUND_AT + fmt.ROUND.size] = fmt.ROUND.pack(
            self.base_sequence,
            self.salt,
            self.directory_file_bytes,
            self.directory_mtime_ns,
            self.heap_floor,
            self.first_line,
            self.header_offset,
            self.checkpoints,
        )

    def store_identity(self, identity: Identity) -> None:
        self.identity = identity
        packed = fmt.IDENTITY.pack(*identity)
        packed += fmt.IDENTITY_CHECKSUM.pack(fmt.hash64(packed))
        self.file.view[fmt.IDENTITY_AT : fmt.IDENTITY_AT + len(packed)] = packed


def masks(bucket_count: int) -> tuple[int, int]:
    """Linear hashing's low and high mask: buckets below the split pointer are addressed with one bit more."""
    level = bucket_count.bit_length() - 1
    return (1 << level) - 1, (2 << level) - 1
