"""docs/format.md and the code say the same, and what the page says is enough to read a database.

The tables of the page are compared with `hutch.format`. `PageReader` is a reader of hutch's files written from
the page alone: it imports nothing of hutch, and must find what hutch has stored, whether the database was closed,
copied while it was open, or left by a killed writer. The worked example of the page is made again and compared.
"""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import pytest
import xxhash

from children import Child, Line
from hutch import format as fmt
from hutch import locking
from hutch.errors import CorruptDirectoryError, RecoveryWarning
from hutch.files import FileSystem
from hutch.names import Names
from hutch.store import Store, open_store

PAGE = Path(__file__).parent.parent / "docs" / "format.md"
TEXT = PAGE.read_text(encoding="utf-8")


# --- The page's tables ------------------------------------------------------------------------------


def section(title: str) -> str:
    """The text under a heading, up to the next heading."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match is not None, f"docs/format.md has no section {title!r}"
    return match[1]


def table(title: str, *columns: str) -> list[dict[str, str]]:
    """The rows of the section's table that has these columns."""
    for block in re.findall(r"(?:^\|.*\n)+", section(title), re.MULTILINE):
        rows = [[cell.strip() for cell in row.strip("|\n").split("|")] for row in block.splitlines()]
        if set(columns) <= set(rows[0]):
            return [dict(zip(rows[0], row, strict=True)) for row in rows[2:]]
    raise AssertionError(f"no table with the columns {columns} under {title!r}")


def number(text: str) -> int:
    """A number as the page writes it: 512, 0xff, 2^62, 10^15 - 1."""
    text = text.strip("`")
    power = re.fullmatch(r"(\d+)\^(\d+)( - 1)?", text)
    return int(power[1]) ** int(power[2]) - bool(power[3]) if power else int(text, 0)


CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q"}


def struct_of(title: str, start: int, end: int) -> str:
    """The struct format of the fields between two offsets, which must leave no hole."""
    position, codes = start, "<"
    for row in table(title, "offset", "size", "type"):
        offset = number(row["offset"])
        if offset < start or offset >= end:
            continue
        size = number(row["size"])
        assert offset == position, f"{title}: a hole or an overlap at offset {offset}"
        code = CODES.get(row["type"], f"{size}s")
        assert struct.calcsize("<" + code) == size, f"{title}: {row}"
        codes += code
        position += size
    assert position == end
    return codes


def plain(packed: struct.Struct) -> str:
    """A struct's format with its counts written out."""
    return re.sub(r"(\d+)([BHIQ])", lambda match: match[2] * int(match[1]), packed.format)


STRUCTS = {
    ("Journal header", 0, 64): fmt.JOURNAL_HEADER,
    ("Record", 0, 24): fmt.RECORD_HEADER,
    ("Operation", 0, 40): fmt.OPERATION,
    ("Line record", 0, 16): fmt.LINE_RECORD_TAIL,
    ("Index header", fmt.WORD_START, fmt.WORD_END): fmt.WORD,
    ("Index header", fmt.STATE_AT, fmt.STATE_AT + 64): fmt.STATE,
    ("Index header", fmt.TABLE_AT, fmt.TABLE_AT + 24): fmt.TABLE,
    ("Index header", fmt.ROUND_AT, fmt.ROUND_AT + 64): fmt.ROUND,
    ("Index header", fmt.IDENTITY_AT, fmt.IDENTITY_AT + 56): fmt.IDENTITY,
    ("Index header", fmt.IDENTITY_AT + 56, fmt.IDENTITY_AT + 64): fmt.IDENTITY_CHECKSUM,
    ("Index header", fmt.STATES_CHECKSUM_AT, fmt.STATES_CHECKSUM_AT + 8): fmt.STATES_CHECKSUM,
    ("Slot", 0, 32): fmt.SLOT,
    ("Bucket page", fmt.LINK_AT, fmt.LINK_AT + 4): fmt.LINK,
}


@pytest.mark.parametrize("where", STRUCTS, ids=lambda where: f"{where[0]} {where[1]}")
def test_structs(where: tuple[str, int, int]) -> None:
    assert struct_of(*where) == plain(STRUCTS[where])


@pytest.mark.parametrize(
    ("title", "end"), [("Index header", fmt.INDEX_HEADER_BYTES), ("Bucket page", fmt.BUCKET_BYTES), ("Operation", 40)]
)
def test_no_byte_is_left_out(title: str, end: int) -> None:
    struct_of(title, 0, end)


def test_the_frame_of_a_record() -> None:
    """Its checksum stands behind the payload; a record of one operation is packed at once."""
    assert "The last 8 bytes of a record" in section("Record")
    assert fmt.RECORD_CHECKSUM.format == "<Q"
    assert fmt.SINGLE_RECORD.format == fmt.RECORD_HEADER.format + fmt.OPERATION.format.removeprefix("<")


def test_a_slot_without_its_hash() -> None:
    packed = fmt.SLOT.pack(1, 2, 3, 4, 5)
    assert fmt.SLOT_ENTRY.unpack(packed) == fmt.SLOT.unpack(packed)[1:]
    assert fmt.SLOT_EXTENT.unpack(packed) == (2, 4, 5)


def test_where_the_slots_of_a_page_are() -> None:
    """By the offset of a tag; and nowhere for whatever else `find` may return."""
    slots = [fmt.SLOTS_AT + number * fmt.SLOT_BYTES for number in range(fmt.BUCKET_SLOTS)]
    assert [fmt.SLOT_PLACES[offset] for offset in range(-1, fmt.BUCKET_BYTES)] == [0, *slots, *bytes(512 - 15)]


def test_every_struct_is_in_the_page() -> None:
    parts = (fmt.RECORD_CHECKSUM, fmt.SINGLE_RECORD, fmt.SLOT_ENTRY, fmt.SLOT_EXTENT)
    documented = {id(packed) for packed in (*STRUCTS.values(), *parts)}
    assert all(id(value) in documented for value in vars(fmt).values() if isinstance(value, struct.Struct))


def test_flags_of_the_index() -> None:
    names = {row["field"]: number(row["offset"]) for row in table("Index header", "offset", "field")}
    for field in ("pending", "wanted", "superseded", "owned", "clean", "folder synced", "sync failed", "heap dirty"):
        assert names[field] == getattr(fmt, field.upper().replace(" ", "_") + "_AT")


def test_constants() -> None:
    """Every number and magic of `hutch.format` is in the page with its value, and nothing else is."""
    listed = {row["constant"].strip("`"): row["value"] for row in table("Constants", "constant", "value")}
    actual = {
        name: value
        for name, value in vars(fmt).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int | bytes)
    }
    assert listed.keys() == actual.keys()
    for name, value in actual.items():
        text = listed[name]
        assert (text.strip('`"').replace("␣", " ").encode() if isinstance(value, bytes) else number(text)) == value, (
            name
        )


def test_texts_of_the_directory() -> None:
    """The tables of the line and of the header comment, against lines that the code makes."""
    fields = fmt.pack_fields(0, 512, 37, 0x1A2B3C4D)
    comment = fmt.pack_header_comment(1, 2, 3)
    slot = fmt.pack_sequence(3)
    for title, text in (("Fields of a line", fields), ("Header comment", comment), ("Sequence slot", slot)):
        position = 0
        for row in table(title, "offset", "size", "text"):
            assert number(row["offset"]) == position, title
            size = number(row["size"])
            if row["text"].startswith("`"):
                assert text[position : position + size].decode() == row["text"].strip("`").replace("␣", " ")
            position += size
        assert position == len(text), title
    marks = {row["mark"].strip("`").encode(): row for row in table("Fields of a line", "mark", "meaning")}
    assert fmt.pack_fields(fmt.UNVERIFIED, 0, 0, 0)[-8:] in marks
    assert fmt.pack_fields(fmt.LOST, 0, 0, 0)[-8:] in marks


def test_operations_of_the_journal() -> None:
    kinds = {row["kind"]: number(row["value"]) for row in table("Operation", "kind", "value")}
    assert kinds == {
        "insert": fmt.OP_INSERT, "replace": fmt.OP_REPLACE, "delete": fmt.OP_DELETE, "clear": fmt.OP_CLEAR,
    }  # fmt: skip


def test_locks(tmp_path: Path) -> None:
    heap = tmp_path / "locked.dat"
    heap.touch()
    locks = locking.open_locks(str(heap), writable=True, use_ofd=False)
    locks.close()
    rows = table("Locks", "lock", "byte", "file")
    assert [row["lock"] for row in rows] == ["writer", "presence", "pin", "owner"]
    assert [number(row["byte"]) for row in rows] == [locking._FIRST_LOCK_OFFSET + n for n in range(4)]
    assert {row["file"].strip("`").replace("NAME", "locked") for row in rows} | {"locked.dat"} == {
        path.name for path in tmp_path.iterdir()
    }


# --- A reader written from the page alone -------------------------------------------------------------


class Entry(NamedTuple):
    """Where a value is. Line: offset of the directory line, without flags."""

    line: int
    offset: int
    size: int
    checksum: int | None
    inline: bytes | None = None


LITERAL = rb"('(?:[^'\\\r\n\0]|\\.)*'|\"(?:[^\"\\\r\n\0]|\\.)*\")"
HUTCH_LINE = re.compile(
    LITERAL + rb", \(([ 0-9]{15}), ([ 0-9]{13})\)  # (.{8})( hutch1 [0-9a-f ]{86})?(?:#[^\r\n\0]*)? *(?:\n|\Z)"
)
ESCAPE = re.compile(rb"\\(?:x(..)|(.))")
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def key_of(literal: bytes) -> bytes:
    return ESCAPE.sub(
        lambda match: bytes.fromhex(match[1].decode()) if match[1] else ESCAPES.get(match[2], match[2]), literal[1:-1]
    )


class PageReader:
    """NAME.dat, NAME.dir, NAME.log and NAME.idx, read by somebody who has read docs/format.md."""

    def __init__(self, base: Path) -> None:
        self.heap, self.directory, self.journal, self.index = (
            path.read_bytes() if (path := base.with_name(base.name + suffix)).exists() else b""
            for suffix in (".dat", ".dir", ".log", ".idx")
        )
        self.entries: dict[bytes, Entry] = {}
        self.id = self.generation = self.sequence = self.line_record_count = 0
        base_sequence = trusted = None
        if self.journal:
            heads = []
            for slot in (self.journal[:64], self.journal[512:576]):
                magic, version, *fields, checksum = struct.unpack("<8sIIQQQQQQ", slot)
                if magic == b"hutchlog" and version == 1 and xxhash.xxh3_64_intdigest(slot[:56]) == checksum:
                    heads.append(fields)
                else:
                    assert not any(slot)
            self.generation, self.id, base_sequence, trusted, self.salt, _ = max(heads, key=lambda head: head[5])
        self._read_directory(len(self.directory) if trusted is None else trusted)
        if base_sequence is not None:
            assert base_sequence <= self.sequence or not trusted
            self.sequence = base_sequence
            for sequence, payload in self.records():
                self._redo(payload)
                self.sequence = sequence

    def _read_directory(self, end: int) -> None:
        position = 0
        while position < end:
            match = HUTCH_LINE.match(self.directory, position, end)
            assert match is not None
            literal, offset, size, checksum, comment = match.groups()
            assert (comment is not None) == (position == 0)
            if comment is not None:
                self._read_header(comment)
            number = None if checksum == b"--------" else int(checksum, 16)
            self.entries[key_of(literal)] = Entry(position, int(offset), int(size), number)
            position = match.end()

    def _read_header(self, comment: bytes) -> None:
        assert len(comment) == 94
        assert crc32(comment[1:33]) == int(comment[34:42], 16)
        slots = [comment[at : at + 25] for at in (43, 69)]
        self.id, self.generation = int(comment[8:24], 16), int(comment[25:33], 16)
        self.sequence = max(int(slot[:16], 16) for slot in slots if crc32(slot[:16]) == int(slot[17:], 16))

    def records(self) -> Iterator[tuple[int, bytes]]:
        position, sequence = 1024, self.sequence
        while position + 32 <= len(self.journal):
            if self.journal[position] == 0x0A:
                record = self.line_record(position)
                if record is None:
                    return
                position, sequence = record[0], sequence + 1
                self.line_record_count += 1
                yield sequence, record[1]
                continue
            magic, _, size, number = struct.unpack_from("<IIQQ", self.journal, position)
            end = position + 32 + size
            if magic != 0x63657268 or number != sequence + 1 or end > len(self.journal):
                return
            covered = self.journal[position : end - 8]
            if xxhash.xxh3_64_intdigest(covered, self.salt) != struct.unpack_from("<Q", self.journal, end - 8)[0]:
                return
            payload = covered[24:]
            yield number, payload
            position, sequence = end, number

    def line_record(self, position: int) -> tuple[int, bytes] | None:
        """Where it ends, and the operation that it stands for."""
        for mark in re.finditer(re.escape(b")  # "), self.journal[position : position + 2000]):
            end = position + mark.end() + 8
            line, checksum = struct.unpack("<QQ", self.journal[end : end + 16])
            if xxhash.xxh3_64_intdigest(self.journal[position:end], self.salt ^ line) == checksum:
                match = HUTCH_LINE.fullmatch(self.journal, position + 1, end)
                assert match is not None
                literal, offset, size, digits, comment = match.groups()
                assert comment is None
                key = key_of(literal)
                assert len(key) <= 255
                fields = 1, 0, 0, len(key), line, int(offset), int(size), int(digits, 16), 0
                return end + 16, struct.pack("<BBHIQQQII", *fields) + key
        return None

    def _redo(self, payload: bytes) -> None:
        position = 0
        while position < len(payload):
            kind, inline, _, key_size, line, offset, size, checksum, _ = struct.unpack_from(
                "<BBHIQQQII", payload, position
            )
            position += 40
            key = payload[position : position + key_size]
            position += key_size
            value = payload[position : position + size] if inline else None
            position += size if inline else 0
            if kind in (1, 2):
                assert (kind == 2) == (key in self.entries)
                self.entries[key] = Entry(line & (1 << 56) - 1, offset, size, checksum, value)
            elif kind == 3:
                del self.entries[key]
            elif kind == 4:
                self.entries.clear()
        assert position == len(payload)

    def value(self, key: bytes, entry: Entry) -> bytes:
        """The value in the heap, which the one in the journal must agree with."""
        value = self.heap[entry.offset : entry.offset + entry.size]
        assert len(value) == entry.size
        assert entry.inline in (None, value)
        if entry.checksum is not None:
            assert xxhash.xxh3_64_intdigest(value, self.hash(key)) & 0xFFFFFFFF == entry.checksum
        return value

    def hash(self, key: bytes) -> int:
        return xxhash.xxh3_64_intdigest(key, self.id)

    def contents(self) -> dict[bytes, bytes]:
        return {key: self.value(key, entry) for key, entry in self.entries.items()}

    # The index.

    def chain(self, bucket: int) -> Iterator[bytes]:
        page_number = bucket + (bucket >> 3)
        while True:
            at = 4096 + 512 * page_number
            page = self.index[at : at + 512]
            assert xxhash.xxh3_64_intdigest(page[:504], at) == int.from_bytes(page[504:], "little")
            yield page
            (page_number,) = struct.unpack_from("<I", page, 496)
            if not page_number:
                return
            assert page_number % 9 == 8

    def slots(self, bucket: int) -> Iterator[tuple[int, int, Entry, bool]]:
        """(tag, low half of the hash, entry, whether the key follows the value) of each slot in use."""
        for page in self.chain(bucket):
            for number in range(15):
                if page[number]:
                    low, checksum, line, offset, size = struct.unpack_from("<IIQQQ", page, 16 + 32 * number)
                    unverified = line >> 62 & 1
                    entry = Entry(line & (1 << 56) - 1, offset, size, None if unverified else checksum)
                    yield page[number], low, entry, bool(line >> 60 & 1)

    def lookup(self, key: bytes) -> Entry | None:
        hashed, buckets = self.hash(key), self.bucket_count
        level = buckets.bit_length() - 1
        bucket = hashed & (2 << level) - 1
        if bucket >= buckets:
            bucket = hashed & (1 << level) - 1
        for tag, low, entry, keyed in self.slots(bucket):
            if tag == (hashed >> 56 or 255) and low == hashed & 0xFFFFFFFF:
                quoted = re.compile(LITERAL).match(self.directory, entry.line)
                if quoted is not None and key_of(quoted[0]) == key:
                    behind = entry.offset + entry.size
                    assert not keyed or self.heap[behind : behind + 1 + len(key)] == bytes((len(key),)) + key
                    assert not keyed or -entry.size % 512 > len(key)
                    return entry
        return None

    @property
    def bucket_count(self) -> int:
        return int(struct.unpack_from("<Q", self.index, 96)[0])

    def check_index(self) -> None:
        """Header and table, against what directory and journal say."""
        assert self.index[:8] == b"hutchidx"
        assert not self.index[8] & 1
        assert self.index[16:18] == b"\0\0"
        identity = struct.unpack_from("<IIQQQQ16s", self.index, 256)
        assert xxhash.xxh3_64_intdigest(self.index[256:312]) == int.from_bytes(self.index[312:320], "little")
        assert identity[:3] == (1, self.generation, self.id)
        sequence, _, directory_end, heap_blocks, live_blocks, keys = struct.unpack_from("<6Q", self.index, 32)
        assert (sequence, keys) == (self.sequence, len(self.entries))
        assert live_blocks == sum((entry.size + 511) // 512 for entry in self.entries.values())
        assert heap_blocks * 512 <= len(self.heap)
        assert not self.directory[directory_end:].strip(b" \n")
        for key, entry in self.entries.items():
            assert self.lookup(key) == entry._replace(inline=None), key
        assert sum(1 for bucket in range(self.bucket_count) for _ in self.slots(bucket)) == keys
        free, used, number = 0, *struct.unpack_from("<Q", self.index, 112), self._free_list()
        while number:
            free += 1
            assert number % 9 == 8
            (number,) = struct.unpack_from("<I", self.index, 4096 + 512 * number + 496)
        assert free + used == self.bucket_count >> 3
        if self.index[20]:
            assert xxhash.xxh3_64_intdigest(self.index[32:184]) == int.from_bytes(self.index[512:520], "little")
            assert not self.journal
            assert struct.unpack_from("<Q", self.index, 136)[0] == len(self.directory)

    def _free_list(self) -> int:
        return int(struct.unpack_from("<Q", self.index, 104)[0])


# --- Real databases -------------------------------------------------------------------------------------

ODD_KEYS = [b"", b"'", b'"', b"'\"", b"\\", b"\r\n\t\0", bytes(range(256)), b"# no comment", "naïve".encode()]


def fill(store: Store) -> dict[bytes, bytes]:
    """Work of every kind; returns what the store must hold afterwards."""
    model = {key: b"value of " + key for key in ODD_KEYS}
    for key, value in model.items():
        store.put(key, value)
    many = {b"%d" % number: bytes((number & 255,)) * number for number in range(1000)}
    store.apply(dict(many))
    store.put(b"large", b"L" * 10_000)
    store.sync()
    changes = {b"%d" % number: None if number % 3 else b"n" * (number * 7) for number in range(0, 1000, 2)}
    store.apply(dict(changes))
    store.delete(b"'")
    store.put(b"empty", b"")
    model |= many | {b"large": b"L" * 10_000, b"empty": b""}
    for key, change in {**changes, b"'": None}.items():
        if change is None:
            del model[key]
        else:
            model[key] = change
    # By the owner, one by one: with records that are lines.
    odd_keys = [b")  # 01234567", b")  # " * 50, bytes(255), b"\xff" * 255, b"k" * 256, b"\"')  # \n"]
    for key in [b"more %d" % number for number in range(20)] + odd_keys:
        store.put(key, b"value of " + key)
        model[key] = b"value of " + key
    return model


def copy_files(base: Path, folder: Path) -> Path:
    folder.mkdir()
    for suffix in (".dat", ".dir", ".log", ".idx"):
        shutil.copyfile(base.with_name(base.name + suffix), folder / f"copy{suffix}")
    return folder / "copy"


def test_reads_a_closed_database(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db")
    model = fill(store)
    assert dict(store.items()) == model
    store.close()
    reader = PageReader(tmp_path / "db")
    assert not reader.journal
    assert reader.contents() == model
    assert reader.index[20] == 1
    reader.check_index()


def test_reads_a_live_database(tmp_path: Path) -> None:
    """A copy made between two statements, from first to last: of every state that the work goes through."""
    store = open_store(tmp_path / "db")
    for round_number in range(3):
        model = fill(store)
        reader = PageReader(copy_files(tmp_path / "db", tmp_path / str(round_number)))
        assert any(reader.journal[1024:])
        assert reader.line_record_count >= (24 if not round_number else 0)
        assert reader.contents() == model == dict(store.items())
        reader.check_index()
    store.close()


def test_reads_a_database_that_was_emptied(tmp_path: Path) -> None:
    """Its directory has no line, so no header: the journal alone says which database it is."""
    store = open_store(tmp_path / "db")
    fill(store)
    store.clear()
    reader = PageReader(copy_files(tmp_path / "db", tmp_path / "empty"))
    assert reader.contents() == {}
    reader.check_index()
    model = fill(store)
    reader = PageReader(copy_files(tmp_path / "db", tmp_path / "filled"))
    assert reader.contents() == model
    reader.check_index()
    store.close()


def _write_and_wait(line: Line, base: str) -> None:
    store = open_store(base)
    line.say(fill(store))
    line.hear()


def test_reads_what_a_killed_writer_left(tmp_path: Path) -> None:
    with Child(_write_and_wait, str(tmp_path / "db")) as child:
        model = child.hear()
        child.kill()
    reader = PageReader(tmp_path / "db")
    assert reader.contents() == model
    reader.check_index()
    copy = copy_files(tmp_path / "db", tmp_path / "copied")
    store = open_store(copy, "w")
    assert dict(store.items()) == model
    store.close()
    again = PageReader(copy)
    assert again.contents() == model
    again.check_index()


def test_overflow_pages(tmp_path: Path) -> None:
    """A table that has chains is read like any other. (Of so many keys, by any seed, some share a full page.)"""
    store = open_store(tmp_path / "db")
    model = {b"key %d" % number: b"%d" % number for number in range(40_000)}
    for key, value in model.items():
        store.put(key, value)
    store.close()
    reader = PageReader(tmp_path / "db")
    assert sum(1 for bucket in range(reader.bucket_count) for _ in reader.chain(bucket)) > reader.bucket_count
    assert reader.contents() == model
    reader.check_index()


# --- Versions ---------------------------------------------------------------------------------------------


def test_a_directory_of_another_version_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db")
    store.put(b"key", b"value")
    store.close()
    path = tmp_path / "db.dir"
    newer = path.read_bytes().replace(b" hutch1 ", b" hutch2 ")
    path.write_bytes(newer)
    with pytest.raises(CorruptDirectoryError):
        open_store(tmp_path / "db")
    assert path.read_bytes() == newer


def test_an_index_of_another_version_is_replaced(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db")
    store.put(b"key", b"value")
    store.close()
    path = tmp_path / "db.idx"
    data = bytearray(path.read_bytes())
    data[256:260] = struct.pack("<I", 2)
    data[312:320] = xxhash.xxh3_64_intdigest(bytes(data[256:312])).to_bytes(8, "little")
    path.write_bytes(data)
    store = open_store(tmp_path / "db")
    assert store.get(b"key") == b"value"
    store.close()
    PageReader(tmp_path / "db").check_index()


def test_a_journal_of_another_version_is_set_aside(tmp_path: Path) -> None:
    store = open_store(tmp_path / "db")
    store.put(b"key", b"value")
    store.close()
    journal = b"hutchlog" + struct.pack("<I", 2) + bytes(1012) + b"hrec" + bytes(100)
    (tmp_path / "db.log").write_bytes(journal)
    with pytest.warns(RecoveryWarning):
        store = open_store(tmp_path / "db")
    assert store.get(b"key") == b"value"
    store.close()
    (kept,) = tmp_path.glob("*.orphan")
    assert re.fullmatch(r"db\.log\.[0-9a-f]{8}\.orphan", kept.name)
    assert kept.read_bytes() == journal


def test_names_of_side_files() -> None:
    rows = {row["file"].strip("`") for row in table("Side files", "file", "what")}
    assert {"NAME.log.XXXXXXXX.orphan", "NAME.dir.XXXXXXXXXXXXXXXX.tmp", "NAME.idx.XXXXXXXXXXXXXXXX.tmp"} <= rows
    names = Names("NAME")
    assert re.fullmatch(r"NAME\.dir\.[0-9a-f]{16}\.tmp", names.temporary(names.directory))


# --- The worked example -------------------------------------------------------------------------------------


class FixedNumbers(FileSystem):
    """A file system whose random numbers and boot are those of the example."""

    def __init__(self) -> None:
        self.numbers = iter([0x0123456789ABCDEF, 0xFEEDFACECAFEBEEF])

    def random_id(self) -> int:
        return next(self.numbers)

    def boot_id(self) -> bytes:
        return b"\x01" * 16


def dump(data: bytes, start: int = 0) -> str:
    """Rows of sixteen bytes, as `hexdump -C` prints them; ``*`` stands for repeated rows."""
    rows: list[str] = []
    last: bytes | None = None
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        if row == last and at + 16 < len(data):
            if rows[-1] != "*":
                rows.append("*")
            continue
        last = row
        digits = " ".join(f"{byte:02x}" for byte in row[:8]) + "  " + " ".join(f"{byte:02x}" for byte in row[8:])
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append(f"{start + at:08x}  {digits:<48}  |{text}|")
    return "\n".join(rows) + "\n"


def make_example(folder: Path) -> dict[str, str]:
    """The blocks of the worked example, by caption."""
    base = folder / "example"
    store = open_store(base, file_system=FixedNumbers())
    store.put(b"pi", b"3.14159")
    store.apply({b"caf\xe9": b"coffee", b"pi": b"3.14"})
    live = PageReader(base)
    log_end, directory_end = struct.unpack_from("<2Q", live.index, 40)
    page = 4096 + 512 * next(n for n in range(8) for slot in live.slots(n) if slot[2].line == 0)
    blocks = {
        "`example.dir`, open": live.directory[:directory_end].decode("ascii") + "\n",
        "`example.log`, open": dump(live.journal[:log_end]),
        "`example.idx`, open, header": dump(live.index[:184]),
        "`example.idx`, open, bucket": dump(live.index[page : page + 512], page),
    }
    hashed = live.hash(b"pi")
    value = b"3.14"
    blocks["Numbers"] = (
        f"XXH3(70 69, seed 0123456789abcdef) = {hashed:016x}      hash of the key pi\n"
        f"XXH3(33 2e 31 34, seed {hashed:016x}) = {xxhash.xxh3_64_intdigest(value, hashed):016x}"
        f"      its low half is the checksum\n"
        f"bucket of 8: {hashed & 15:x} -> {hashed & 15 if hashed & 15 < 8 else hashed & 7}"
        f"      tag: {hashed >> 56:02x}      low half in the slot: {hashed & 0xFFFFFFFF:08x}\n"
        f'CRC-32("hutch1 0123456789abcdef 00000001") = {crc32(b"hutch1 0123456789abcdef 00000001"):08x}\n'
        f'CRC-32("0000000000000003") = {crc32(b"0000000000000003"):08x}\n'
    )
    store.delete(b"caf\xe9")
    store.close()
    blocks["`example.dir`, closed"] = (folder / "example.dir").read_text(encoding="ascii")
    blocks["`example.dat`, closed"] = dump((folder / "example.dat").read_bytes())
    return blocks


def test_worked_example(tmp_path: Path) -> None:
    found = {
        match[1]: match[2]
        for match in re.finditer(
            r"^([^\n]+):\n\n```text\n(.*?)^```$", section("Worked example"), re.MULTILINE | re.DOTALL
        )
    }
    assert found == make_example(tmp_path)
