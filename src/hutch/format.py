"""Every byte layout of hutch: structs, constants, checksums and the lines of the directory.

Pure functions and constants; nothing here reads or writes a file. docs/format.md describes the same in
prose, and a test holds the two together. Offsets and sizes are bytes unless a name says blocks.

Hashing: XXH3 (64 bits, seeded with the database's random id) addresses the index; the checksum of an entry
is the low half of XXH3 over its value, seeded with the hash of its key, so that a value found under another
key does not verify. Source: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md
"""

from __future__ import annotations

from struct import Struct
from zlib import crc32

from xxhash import xxh3_64 as Hasher  # noqa: N812  # a class
from xxhash import xxh3_64_intdigest as hash64

__all__ = [
    "BLOCK_BYTES",
    "GATE_END",
    "INLINE_LIMIT_BYTES",
    "KEYED",
    "LOST",
    "OFFSET_MASK",
    "UNVERIFIED",
    "Hasher",
    "block_count",
    "checksum_of",
    "format_line",
    "hash64",
    "hash_key",
    "key_literal",
    "pack_header_comment",
]

# --- The heap -----------------------------------------------------------------------------------

BLOCK_BYTES = 512  # dbm.dumb's: a value owns every block that it touches
BLOCK_SHIFT = 9
BLOCK_MASK = BLOCK_BYTES - 1
assert 1 << BLOCK_SHIFT == BLOCK_BYTES

CHECKSUM_MASK = 0xFFFF_FFFF


def block_count(size_bytes: int) -> int:
    """Blocks that a value of `size_bytes` owns; an empty value owns none."""
    return (size_bytes + BLOCK_MASK) >> BLOCK_SHIFT


KEY_LENGTHS = [bytes((length,)) for length in range(256)]


def hash_key(key: bytes, seed: int) -> int:
    """The 64-bit hash of a key under a database's seed (its id)."""
    return hash64(key, seed)


def checksum_of(value: bytes | memoryview, key_hash: int) -> int:
    """The 32-bit checksum of an entry: of its value, bound to its key and its database."""
    return hash64(value, key_hash) & CHECKSUM_MASK


# --- Entries --------------------------------------------------------------------------------------
# In memory an entry is the tuple (line, offset, size, checksum): the offset of its directory line with the
# two flags below, and the extent and checksum of its value.

OFFSET_MASK = (1 << 56) - 1
UNVERIFIED = 1 << 62  # adopted from the stdlib: there is no checksum yet
# The key, its length (a byte) in front, follows the value in the unused rest of its last block: a lookup need not
# go to the directory.
# Only in the index; whoever makes an index anew leaves it out.
KEYED = 1 << 60
LOST = 1 << 61  # its extent reaches past the end of the heap; only the key is left

Entry = tuple[int, int, int, int]

# --- Directory lines --------------------------------------------------------------------------------
# 'key', (<offset:15>, <size:13>)  # <checksum:8 hex>[ hutch1 <id> <generation> <crc> <slot> <slot>][#dead lines…]
# where a slot is <sequence> <crc>: a checkpoint rewrites the older one, so one is whole whatever tears.

OFFSET_DIGITS = 15
SIZE_DIGITS = 13
MAX_OFFSET = 10**OFFSET_DIGITS - 1
MAX_VALUE_BYTES = 10**SIZE_DIGITS - 1
CHECKSUM_DIGITS = 8
FIELDS_BYTES = len(", (") + OFFSET_DIGITS + len(", ") + SIZE_DIGITS + len(")  # ") + CHECKSUM_DIGITS
SEQUENCE_SLOT_BYTES = 16 + len(" ") + 8
SEQUENCE_SLOTS_AT = len(" hutch1 ") + 16 + len(" ") + 8 + len(" ") + 8 + len(" ")
HEADER_COMMENT_BYTES = SEQUENCE_SLOTS_AT + SEQUENCE_SLOT_BYTES + len(" ") + SEQUENCE_SLOT_BYTES
MAX_GENERATION = 0xFFFF_FFFF
_NO_CHECKSUM = b"--------"
_LOST_MARK = b"!!!!!!!!"


def key_literal(key: bytes) -> bytes:
    """The key as dbm.dumb quotes it: a str literal of its Latin-1 decoding, here in plain ASCII."""
    if key.isalnum():
        return b"'%b'" % key
    return ascii(key.decode("latin-1")).encode("ascii")


def pack_fields(line: int, offset: int, size: int, checksum: int) -> bytes:
    """What follows the key literal: fixed width, so that a checkpoint rewrites it in place."""
    if not line & (UNVERIFIED | LOST):
        return b", (%15d, %13d)  # %08x" % (offset, size, checksum)
    mark = _LOST_MARK if line & LOST else _NO_CHECKSUM
    return b", (%15d, %13d)  # %b" % (offset, size, mark)


def unpack_fields(fields: bytes) -> tuple[int, int, int]:
    """(offset, size, checksum) of what `pack_fields` has made of an entry that has all.

    Raises:
        ValueError: it is something else. (Not all else raises: pack it again, and compare.)
    """
    offset_at = len(", (")
    size_at = offset_at + OFFSET_DIGITS + len(", ")
    offset, size = fields[offset_at : offset_at + OFFSET_DIGITS], fields[size_at : size_at + SIZE_DIGITS]
    return int(offset), int(size), int(fields[-CHECKSUM_DIGITS:], 16)


def format_line(literal: bytes, entry: Entry, header: bytes = b"") -> bytes:
    """A directory line without its newline."""
    return literal + pack_fields(*entry) + header


def pack_header_comment(database_id: int, generation: int, sequence: int) -> bytes:
    """The rest of the first line's comment: which database this is, and up to which commit it reaches."""
    body = b"hutch1 %016x %08x" % (database_id, generation)
    slot = pack_sequence(sequence)
    return b" %b %08x %b %b" % (body, crc32(body), slot, slot)


def pack_sequence(sequence: int) -> bytes:
    """One of the two slots of a header comment."""
    digits = b"%016x" % sequence
    return b"%b %08x" % (digits, crc32(digits))


def unpack_sequence(slot: bytes) -> int:
    """The sequence number in a slot, or -1 if it is torn."""
    digits = slot[:16]
    try:
        return int(digits, 16) if crc32(digits) == int(slot[17:], 16) else -1
    except ValueError:
        return -1


def header_slots(comment: bytes) -> tuple[int, int]:
    """The sequence numbers in both slots of a header comment, -1 where one is torn."""
    second = SEQUENCE_SLOTS_AT + SEQUENCE_SLOT_BYTES + 1
    return unpack_sequence(comment[SEQUENCE_SLOTS_AT : second - 1]), unpack_sequence(comment[second:])


def unpack_header_comment(comment: bytes) -> tuple[int, int, int] | None:
    """(database id, generation, sequence) of a header comment, or None if it is not a valid one."""
    fields = comment[: SEQUENCE_SLOTS_AT - 1].split(b" ")
    if len(comment) != HEADER_COMMENT_BYTES or len(fields) != 5 or fields[1] != b"hutch1":
        return None
    sequence = max(header_slots(comment))
    try:
        if sequence < 0 or crc32(comment[1 : SEQUENCE_SLOTS_AT - 10]) != int(fields[4], 16):
            return None
        return int(fields[2], 16), int(fields[3], 16), sequence
    except ValueError:
        return None


# --- The journal --------------------------------------------------------------------------------------

JOURNAL_MAGIC = b"hutchlog"
JOURNAL_VERSION = 1
# Two slots, a sector each: a round writes its header over the older one, so one is whole whatever tears.
JOURNAL_SLOT_BYTES = 512
JOURNAL_HEADER_BYTES = 2 * JOURNAL_SLOT_BYTES
# magic, version, generation, database id, base sequence, directory bytes, salt, round, checksum of the foregoing
JOURNAL_HEADER = Struct("<8sIIQQQQQQ")
assert JOURNAL_HEADER.size == 64

RECORD_MAGIC = 0x63657268  # "hrec"; not zero, for zeros must never be a record
# magic, operation count, payload bytes, sequence; then the payload; then a checksum of both, seeded with the salt
RECORD_HEADER = Struct("<IIQQ")
RECORD_CHECKSUM = Struct("<Q")
RECORD_HEADER_BYTES = RECORD_HEADER.size
RECORD_FRAME_BYTES = RECORD_HEADER.size + RECORD_CHECKSUM.size
assert RECORD_FRAME_BYTES == 32

# Or the line of a new key, with the newline before it, and this: its offset in the directory; a checksum of the line,
# seeded with salt xor offset. Only for keys so short that a reader need not look far for the end of the line.
LINE_RECORD_TAIL = Struct("<QQ")
MAX_LINE_RECORD_KEY_BYTES = 255
LINE_RECORD_MARK = b")  # "  # 8 digits, and the tail, behind one of these

# kind, whether the value follows, key bytes, line (offset and flags), value offset, value bytes, checksum
OPERATION = Struct("<BBHIQQQII")
OPERATION_BYTES = OPERATION.size
assert OPERATION_BYTES == 40
# Both in one, for a record of one operation.
SINGLE_RECORD = Struct("<IIQQBBHIQQQII")
assert SINGLE_RECORD.size == RECORD_HEADER_BYTES + OPERATION_BYTES
OP_INSERT = 1  # a new key: a line of its own
OP_REPLACE = 2  # a new value for the line of an old key
OP_DELETE = 3
OP_CLEAR = 4
INLINE_LIMIT_BYTES = 4096  # a value up to this size travels in the journal too, if the commit is to be durable

# --- The index -------------------------------------------------------------------------------------------

INDEX_MAGIC = b"hutchidx"
INDEX_VERSION = 1
INDEX_HEADER_BYTES = 4096

# Mutable header: magic 0-8, version word 8-16 (odd: a writer is inside), then flags of a byte each.
WORD_START, WORD_END = 8, 16
PENDING_AT = 16  # 1 from before the journal is written until the index has seen it
WANTED_AT = 17  # 1: somebody wants the writer lock, so its owner is to ask for it, too
SUPERSEDED_AT = 18  # 1: another file has taken this one's name
OWNED_AT = 19  # 1: whoever holds the owner lock writes without asking for the writer lock
GATE_END = 20  # behind all that a statement looks at before it writes
CLEAN_AT = 20  # 1: synced, and the journal is empty
FOLDER_SYNCED_AT = 21  # 1: the files' names are durable
SYNC_FAILED_AT = 22  # 1: a sync has failed since the last recovery
HEAP_DIRTY_AT = 23  # 1: values that are not in the journal are not synced yet
WORD = Struct("<Q")

# State that every commit changes: sequence, journal end, directory end, heap end (blocks), live blocks,
# key count, dead directory bytes, lines changed since the checkpoint
STATE_AT = 32
STATE = Struct("<8Q")
# State of the table: bucket count, first free overflow page, overflow pages in use
TABLE_AT = STATE_AT + STATE.size
TABLE = Struct("<3Q")
# State that a checkpoint changes: base sequence, salt of the journal, directory bytes (file), directory
# mtime in ns, heap floor (blocks), first line that counts and the header comment (offsets), checkpoints
ROUND_AT = TABLE_AT + TABLE.size
ROUND = Struct("<8Q")
# What never changes: version, generation of the directory, database id, device and inode of this file,
# inode of the directory, boot id; then a checksum
IDENTITY_AT = 256
IDENTITY = Struct("<IIQQQQ16s")
IDENTITY_CHECKSUM = Struct("<Q")
# At a clean close: a checksum of the three states above.
STATES_CHECKSUM_AT = 512
STATES_CHECKSUM = Struct("<Q")
assert ROUND_AT + ROUND.size <= IDENTITY_AT
assert IDENTITY_AT + IDENTITY.size + IDENTITY_CHECKSUM.size <= INDEX_HEADER_BYTES

# A bucket: 15 one-byte tags (0 is an empty slot), entries, the page of the next bucket in the chain (0: none).
BUCKET_BYTES = 512
BUCKET_SLOTS = 15
SLOT = Struct("<IIQQQ")  # low half of the hash, checksum, line (offset and flags), value offset, value bytes
SLOT_ENTRY = Struct("<4xIQQQ")  # the same without the hash
SLOT_EXTENT = Struct("<4xI8xQQ")  # and without the line
SLOT_BYTES = SLOT.size
SLOTS_AT = 16
LINK_AT = SLOTS_AT + BUCKET_SLOTS * SLOT_BYTES
# Where the entry is whose tag has been found at that offset of a page; 0 where that is no tag, or none was found (-1).
SLOT_PLACES = (*range(SLOTS_AT, LINK_AT, SLOT_BYTES), *bytes(BUCKET_BYTES - BUCKET_SLOTS))
LINK = Struct("<I")
# The seal: a checksum of all before it, seeded with the page's offset. A miss is only believed from a sealed page.
SEAL_AT = 504
SEAL_BYTES = 8
assert SLOT_BYTES == SLOT_ENTRY.size == 32
assert LINK_AT + LINK.size <= SEAL_AT == BUCKET_BYTES - SEAL_BYTES
HASH_LOW_MASK = 0xFFFF_FFFF
# One page in nine is kept for overflow, so primary buckets stay addressable by arithmetic alone.
OVERFLOW_SHIFT = 3
OVERFLOW_STRIDE = (1 << OVERFLOW_SHIFT) + 1
# Entries per bucket, on average, above which the table grows by one.
BUCKET_LOAD = 6


def tag_of(key_hash: int) -> int:
    """The one-byte tag of a hash: its top byte, but never 0."""
    return key_hash >> 56 or 255
