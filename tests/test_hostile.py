"""Hostile and damaged files, byte by byte.

Whatever the files hold, opening and reading them raises errors of the HutchError family and nothing else,
never gives a value that was not stored under its key, never hangs, never takes memory that the files
do not have; a read-only handle changes nothing on disk. Damage to one entry leaves the others readable.
"""

from __future__ import annotations

import os
import random
import resource
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hutch.dbm
from children import Child, Line
from hutch import format as fmt
from hutch.errors import (
    CorruptDirectoryError,
    CorruptEntryError,
    CorruptHeapError,
    HutchError,
    RecoveryWarning,
    UnsupportedFileError,
)
from hutch.store import Store, open_store

FLIPS = (0xFF, 0x01)
SUFFIXES = (".dir", ".dat", ".log", ".idx")

ENTRIES = {
    b"alpha": b"first value",
    b"": b"of the empty key",
    b"it's": b"q" * 600,
    b"\xe9\n": b"",
    b"last": b"l" * 512,
}
OLD = {b"alpha": {b"older"}, b"gone": {b"deleted"}}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A database that was closed properly, with a replaced value and a deleted key in its past."""
    store = open_store(tmp_path / "db", "n")
    store.put(b"alpha", b"older")
    store.put(b"gone", b"deleted")
    for key, value in ENTRIES.items():
        store.put(key, value)
    store.delete(b"gone")
    store.close()
    return tmp_path / "db"


def history_of(key: bytes) -> set[bytes]:
    """Every value that was ever stored under a key."""
    return ({ENTRIES[key]} if key in ENTRIES else set()) | OLD.get(key, set())


@contextmanager
def quiet() -> Iterator[None]:
    """Recovery may or may not be worth a warning; any other warning is an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RecoveryWarning)
        yield


def on_disk(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        path.name: (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.iterdir())
    }


def patch(path: Path, offset: int, data: bytes) -> None:
    """Write into the file as it lies there: same inode, so that an index keeps its identity."""
    fd = os.open(path, os.O_RDWR)
    os.pwrite(fd, data, offset)
    os.close(fd)


def rewrite(path: Path, data: bytes) -> None:
    """Replace the file's bytes, not the file."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, len(data))
    os.pwrite(fd, data, 0)
    os.close(fd)


def read_everything(base: Path) -> dict[bytes, bytes | None] | None:
    """Open for reading, look at everything in every way; None for an error of the family at opening.

    Returns:
        The value of each key of ENTRIES that is there, None for one that is damaged; asserts on the way that
        no value is wrong, no way of looking contradicts another and no error is a stranger.
    """
    try:
        with quiet():
            store = open_store(base, "r")
    except HutchError:
        return None
    found: dict[bytes, bytes | None] = {}
    try:
        for key in ENTRIES:
            try:
                value = store.get(key)
            except CorruptEntryError as problem:
                assert problem.key == key
                found[key] = None
                continue
            if value is not None:
                assert value in history_of(key), (key, value)
                found[key] = value
        for key in list(store.keys()):
            try:
                value = store.get(key)
            except CorruptEntryError:
                continue
            assert value is not None
            assert value in history_of(key), (key, value)
        assert store.count() == len(list(store.keys()))
        report = store.check()
        assert all(found.get(key) is not None for key in ENTRIES) or not report.ok or len(found) < len(ENTRIES)
    except HutchError:
        pass  # the whole of it is unreadable, and says so
    finally:
        with quiet():
            store.close()
    return found


# --- the directory ---------------------------------------------------------------------------------------


def line_of(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset)


@pytest.mark.parametrize("flip", [*FLIPS, None], ids=["invert", "lowest bit", "zero"])
def test_every_byte_of_the_directory(flip: int | None, base: Path) -> None:
    """An error at opening, or only the entry of that very line is damaged or gone."""
    path = Path(f"{base}.dir")
    good = path.read_bytes()
    keys = list(ENTRIES)
    owner = {good.index(fmt.key_literal(key) + b", ("): key for key in keys}
    before = on_disk(base.parent)
    for offset, byte in enumerate(good):
        changed = 0 if flip is None else byte ^ flip
        patch(path, offset, bytes((changed,)))
        found = read_everything(base)
        if found is not None:
            touched = {key for start, key in owner.items() if line_of(good, start) == line_of(good, offset)}
            for key in keys:
                if key not in touched and found.get(key) != ENTRIES[key]:
                    # A newline that dies takes its neighbour along, or the header its database.
                    assert good[offset] == ord("\n"), (offset, good[offset : offset + 1], key)
        patch(path, offset, bytes((byte,)))
    os.utime(path, ns=(before["db.dir"][0], before["db.dir"][0]))
    assert on_disk(base.parent) == before


def test_a_directory_cut_off_or_extended_anywhere(base: Path) -> None:
    path = Path(f"{base}.dir")
    good = path.read_bytes()
    for size_bytes in range(len(good)):
        rewrite(path, good[:size_bytes])
        found = read_everything(base)
        if found is not None:
            for key, value in found.items():
                assert value in (None, ENTRIES[key])
    for tail in (b"\0", b"\0" * 4096, b"x", b"'", b"'a', (0, 3", b"\n\n", b"#", b"\xff" * 100, b"(" * 20_000):
        rewrite(path, good + tail)
        found = read_everything(base)
        if found is not None:
            assert {key: found.get(key) for key in ENTRIES} == ENTRIES, tail[:20]
    rewrite(path, good)
    assert read_everything(base) == ENTRIES


def test_what_the_directory_lost_is_never_silently_overwritten(base: Path) -> None:
    """A refused directory stays as it is, whatever flag it is opened with."""
    path = Path(f"{base}.dir")
    good = path.read_bytes()
    heap = Path(f"{base}.dat").read_bytes()
    for offset in range(0, len(good), 7):
        bad = good[:offset] + b"\xff\xfe" + good[offset + 2 :]
        rewrite(path, bad)
        for flag in ("r", "w", "c"):
            try:
                with quiet():
                    store = open_store(base, flag)
            except HutchError:
                assert path.read_bytes() == bad
                assert Path(f"{base}.dat").read_bytes() == heap
            else:
                with quiet():
                    store.close()
                assert Path(f"{base}.dat").read_bytes()[: len(heap)] == heap
                rewrite(path, bad)


def _plant(base: Path, directory: bytes) -> None:
    Path(f"{base}.dir").write_bytes(directory)
    Path(f"{base}.dat").write_bytes(b"A" * 2048)


MALICIOUS = {
    "a call": b"__import__('os').system('touch PWNED'), (0, 3)",
    "a call in the tuple": b"'a', (__import__('os').system('touch PWNED'), 3)",
    "a call as the line": b"exit()",
    "an f-string": b'f\'{open("PWNED", "w")}\', (0, 3)',
    "20,000 parentheses": b"(" * 20_000,
    "20,000 closed parentheses": b"(" * 20_000 + b")" * 20_000,
    "20,000 parentheses in the tuple": b"'a', " + b"(" * 20_000 + b"0, 3" + b")" * 20_000,
    "20,000 brackets": b"[" * 20_000,
    "20,000 minus signs": b"'a', (" + b"-" * 20_000 + b"1, 3)",
    "a million digits": b"'a', (" + b"9" * 1_000_000 + b", 3)",
    "5,000 digits": b"'a', (0, " + b"1" * 5_000 + b")",
    "a power": b"'a', (9**9**9, 3)",
    "a product": b"'a' * 99999999999, (0, 3)",
    "a sum": b"'a' + 'b', (0, 3)",
    "a list": b"'a', [0, 3]",
    "a triple": b"'a', (0, 3, 4)",
    "one number": b"'a', (0,)",
    "no key": b"(0, 3)",
    "three of them": b"'a', (0, 3), (0, 3)",
    "a negative offset": b"'a', (-1, 3)",
    "a negative size": b"'a', (0, -3)",
    "a float": b"'a', (0.0, 3)",
    "an exponent": b"'a', (0, 1e3)",
    "infinity": b"'a', (0, 1e999)",
    "hexadecimal": b"'a', (0x10, 3)",
    "underscores": b"'a', (1_0, 3)",
    "arabic digits": "'a', (٣, 3)".encode(),
    "superscript digits": b"'a', (\xb2, 3)",
    "a complex number": b"'a', (0, 3j)",
    "a name": b"'a', (None, True)",
    "a bytes literal": b"b'a', (0, 3)",
    "a unicode literal": b"u'a', (0, 3)",
    "a raw literal": b"r'a', (0, 3)",
    "a triple quoted literal": b"'''a''', (0, 3)",
    "adjacent literals": b"'a' 'b', (0, 3)",
    "an unknown escape": b"'\\q', (0, 3)",
    "a name escape": b"'\\N{DIGIT ONE}', (0, 3)",
    "a unicode escape": b"'\\u0141', (0, 3)",
    "an octal escape": b"'\\101', (0, 3)",
    "an octal escape of nought": b"'\\01', (0, 3)",
    "half an escape": b"'\\x4', (0, 3)",
    "an escaped line end": b"'a\\\n', (0, 3)",
    "an open quote": b"'a, (0, 3)",
    "the wrong quote": b"'a\", (0, 3)",
    "a semicolon": b"'a', (0, 3); print(1)",
    "a null byte": b"'a\x00', (0, 3)",
    "a null byte behind": b"'a', (0, 3)\x00",
    "only null bytes": b"\x00" * 600,
    "an empty line first": b"\n'a', (0, 3)",
    "an empty line": b"'a', (0, 3)\n\n'b', (0, 3)",
    "a comment": b"# dumb",
    "a byte order mark": b"\xef\xbb\xbf'a', (0, 3)",
    "utf-16": "'a', (0, 3)\n".encode("utf-16"),
    "a pickle": b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
    "a form feed between lines": b"'a', (0, 3)\x0c'b', (0, 3)",
    "a unicode line separator": "'a', (0, 3)\u2028'b', (0, 3)".encode(),
    "a next line character": b"'a', (0, 3)\x85'b', (0, 3)",
    "a hutch header that is none": b"'a', (              0,             3)  # 00000000 hutch1 deadbeef",
    "a quadratic trap of quotes": b"'" + b"\\'" * 100_000,
    "a quadratic trap of spaces": b"'a'," + b" " * 200_000 + b"x",
    "a quadratic trap of hashes": b"'a', (              0,             3)  # 00000000" + b"#" * 200_000 + b"\x00",
}


@pytest.mark.parametrize("line", MALICIOUS.values(), ids=MALICIOUS.keys())
@pytest.mark.parametrize("place", ["alone", "first", "last"])
def test_a_malicious_line_is_refused_and_nothing_is_evaluated(
    line: bytes, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = {"alone": [line], "first": [line, b"'z', (0, 3)"], "last": [b"'z', (0, 3)", line]}[place]
    _plant(tmp_path / "db", b"\n".join(lines) + b"\n")
    before = on_disk(tmp_path)
    for flag in ("r", "w", "c"):
        with pytest.raises(CorruptDirectoryError) as raised:
            hutch.dbm.open(tmp_path / "db", flag)
        assert isinstance(raised.value, ValueError)
        assert isinstance(raised.value, HutchError)
        assert len(str(raised.value)) < 2000
        after = on_disk(tmp_path)
        assert {name: after[name] for name in before} == before
        assert set(after) <= set(before) | {"db.log", "db.idx"}
        assert flag != "r" or after == before


def test_a_plain_line_among_hutch_lines_is_damage(base: Path) -> None:
    """Behind them it is a stdlib writer's; between them nobody wrote it."""
    path = Path(f"{base}.dir")
    lines = path.read_bytes().splitlines(keepends=True)
    rewrite(path, b"".join([lines[0], b"'plain', (0, 3)\n", *lines[1:]]))
    for flag in ("r", "w"):
        with pytest.raises(CorruptDirectoryError):
            open_store(base, flag)


def test_values_that_were_swapped_are_not_taken_for_each_other(tmp_path: Path) -> None:
    """Same size, both whole: the checksum binds a value to its key."""
    base = tmp_path / "db"
    store = open_store(base, "n")
    store.put(b"a", b"1" * 512)
    store.put(b"b", b"2" * 512)
    store.close()
    path = Path(f"{base}.dat")
    heap = path.read_bytes()
    rewrite(path, heap[512:1024] + heap[:512])
    store = open_store(base, "r")
    for key in (b"a", b"b"):
        with pytest.raises(CorruptEntryError):
            store.get(key)
    store.close()
    # nor are two databases' values
    other = open_store(tmp_path / "other", "n")
    other.put(b"a", b"9" * 512)
    other.put(b"b", b"2" * 512)
    other.close()
    rewrite(path, Path(f"{tmp_path}/other.dat").read_bytes())
    store = open_store(base, "r")
    with pytest.raises(CorruptEntryError):
        store.get(b"a")
    store.close()


# --- the heap --------------------------------------------------------------------------------------------


def owner_of(base: Path) -> dict[int, bytes]:
    """For each byte of the heap that belongs to a value, its key."""
    store = open_store(base, "r")
    values = dict(store.items())
    store.close()
    heap = Path(f"{base}.dat").read_bytes()
    owners = {}
    for key, value in values.items():
        start = heap.rindex(value) if value else 0
        for offset in range(start, start + len(value)):
            owners[offset] = key
    return owners


@pytest.mark.parametrize("flip", [*FLIPS, None], ids=["invert", "lowest bit", "zero"])
def test_every_byte_of_the_heap_damages_one_value_and_no_other(flip: int | None, base: Path) -> None:
    path = Path(f"{base}.dat")
    good = path.read_bytes()
    owners = owner_of(base)
    assert set(owners.values()) == {key for key, value in ENTRIES.items() if value}
    store = open_store(base, "r")
    for offset, byte in enumerate(good):
        changed = 0 if flip is None else byte ^ flip
        if changed == byte:
            continue
        patch(path, offset, bytes((changed,)))
        for key, value in ENTRIES.items():
            if owners.get(offset) == key:
                with pytest.raises(CorruptEntryError) as raised:
                    store.get(key)
                assert raised.value.key == key
            else:
                assert store.get(key) == value
        patch(path, offset, bytes((byte,)))
    assert dict(store.items()) == ENTRIES
    store.close()


def test_a_damaged_value_is_named_by_check_and_iteration_and_can_be_replaced(base: Path) -> None:
    path = Path(f"{base}.dat")
    heap = path.read_bytes()
    patch(path, heap.index(b"q" * 600) + 5, b"Q")
    with hutch.dbm.open(base, "w") as database:
        (problem,) = database.check().problems
        assert problem.key == b"it's"
        assert problem.file is not None
        assert problem.file.endswith(".dat")
        with pytest.raises(CorruptEntryError) as raised:
            database.items()
        assert raised.value.key == b"it's"
        assert list(database.keys()) == list(ENTRIES)
        assert b"it's" in database
        good = {key: database[key] for key in ENTRIES if key != b"it's"}
        assert good == {key: value for key, value in ENTRIES.items() if key != b"it's"}
        database[b"it's"] = b"whole again"
        assert database.check().ok
    with hutch.dbm.open(base, "r") as database:
        assert dict(database.items()) == ENTRIES | {b"it's": b"whole again"}


def test_damage_survives_maintenance_as_damage(base: Path) -> None:
    """reorganize and backup neither drop a damaged entry in silence nor give it a valid checksum."""
    path = Path(f"{base}.dat")
    patch(path, path.read_bytes().index(b"q" * 600) + 5, b"Q")
    good = {key: value for key, value in ENTRIES.items() if key != b"it's"}
    with hutch.dbm.open(base, "w") as database:
        try:
            database.reorganize()
        except HutchError:
            pass
        for key, value in good.items():
            assert database[key] == value
        with pytest.raises((CorruptEntryError, KeyError)):
            database[b"it's"]
        try:
            database.backup(base.parent / "copy")
        except HutchError:
            pass
    if Path(f"{base.parent}/copy.dir").exists():
        with quiet(), hutch.dbm.open(base.parent / "copy", "r") as database:
            for key, value in good.items():
                assert database[key] == value
            with pytest.raises((CorruptEntryError, KeyError)):
                database[b"it's"]


def test_a_heap_cut_off_anywhere_keeps_what_lies_before(base: Path) -> None:
    path = Path(f"{base}.dat")
    good = path.read_bytes()
    ends: dict[bytes, int] = {}
    for offset, key in owner_of(base).items():
        ends[key] = max(ends.get(key, 0), offset + 1)
    before = on_disk(base.parent)
    for size_bytes in [*range(0, len(good), 13), *(size + d for size in ends.values() for d in (-1, 0))]:
        rewrite(path, good[:size_bytes])
        store = open_store(base, "r")
        for key, value in ENTRIES.items():
            if ends.get(key, 0) <= size_bytes:
                assert store.get(key) == value
            else:
                with pytest.raises((CorruptEntryError, CorruptHeapError)):
                    store.get(key)
        store.close()
    rewrite(path, good)
    os.utime(path, ns=(before["db.dat"][0], before["db.dat"][0]))
    assert on_disk(base.parent) == before


# --- the index -------------------------------------------------------------------------------------------


def expect_everything(base: Path, context: object) -> None:
    with quiet():
        store = open_store(base, "r")
    try:
        for key, value in ENTRIES.items():
            assert store.get(key) == value, context
        assert store.get(b"gone") is None, context
        assert store.get(b"never") is None, context
        assert dict(store.items()) == ENTRIES, context
        assert store.count() == len(ENTRIES), context
    finally:
        store.close()


@pytest.fixture
def index(base: Path) -> Path:
    path = Path(f"{base}.idx")
    assert path.exists()
    return path


@pytest.mark.parametrize("flip", FLIPS, ids=["invert", "lowest bit"])
def test_every_byte_of_the_index_is_doubted(flip: int, base: Path, index: Path) -> None:
    """The index is a cache: no damage to it loses an entry or invents one."""
    good = index.read_bytes()
    before = on_disk(base.parent)
    # The header is mostly padding: of a long run of zeros, every 61st byte will do.
    offsets = [offset for offset in range(len(good)) if any(good[max(0, offset - 8) : offset + 9]) or offset % 61 == 0]
    for offset in offsets:
        patch(index, offset, bytes((good[offset] ^ flip,)))
        expect_everything(base, f"byte {offset} of the index")
        patch(index, offset, good[offset : offset + 1])
    os.utime(index, ns=(before["db.idx"][0], before["db.idx"][0]))
    assert on_disk(base.parent) == before


def test_no_tag_brings_a_deleted_key_back(base: Path, index: Path) -> None:
    """Of a key in one of 255 databases, one bit that rots makes the tag of an empty slot its own again."""
    good = index.read_bytes()
    store = open_store(base, "r")
    tag = bytes((fmt.tag_of(fmt.hash_key(b"gone", store.seed)),))
    store.close()
    empty = 0
    for page in range(4096, len(good) - 511, 512):
        for slot in range(15):
            if not good[page + slot]:
                empty += 1
                patch(index, page + slot, tag)
                expect_everything(base, f"slot {slot} of the page at {page}")
                patch(index, page + slot, b"\0")
    assert empty > 30


ABSURD = [0, 1, 2, 8, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1]


@pytest.mark.parametrize("number", ABSURD)
def test_absurd_numbers_in_the_header_of_the_index(number: int, base: Path, index: Path) -> None:
    good = index.read_bytes()
    for offset in range(8, 512, 8):
        patch(index, offset, number.to_bytes(8, "little"))
        expect_everything(base, f"{number} at byte {offset} of the index")
        patch(index, offset, good[offset : offset + 8])


def test_absurd_numbers_in_the_buckets_of_the_index(base: Path, index: Path) -> None:
    """Among them every link: to itself, in circles, out of the file."""
    good = index.read_bytes()
    bucket_count = (len(good) - fmt.INDEX_HEADER_BYTES) // fmt.BUCKET_BYTES
    for bucket in range(bucket_count):
        start = fmt.INDEX_HEADER_BYTES + bucket * fmt.BUCKET_BYTES
        in_use = any(good[start : start + fmt.BUCKET_SLOTS])
        places = range(start, start + fmt.BUCKET_BYTES - 3, 4) if in_use else [start + fmt.LINK_AT]
        for offset in places:
            numbers = (1, 8, 9, 17, 0xFFFF, 2**32 - 1) if offset == start + fmt.LINK_AT else (0, 2**32 - 1)
            for number in numbers:
                if good[offset : offset + 4] == number.to_bytes(4, "little"):
                    continue
                patch(index, offset, number.to_bytes(4, "little"))
                expect_everything(base, f"{number} at byte {offset} of the index (bucket {bucket})")
                patch(index, offset, good[offset : offset + 4])


def test_an_index_cut_off_extended_or_of_another_database(base: Path, index: Path, tmp_path: Path) -> None:
    good = index.read_bytes()
    other = open_store(tmp_path / "other", "n")
    for i in range(200):
        other.put(b"%d" % i, b"other" * i)
    other.close()
    stranger = Path(f"{tmp_path}/other.idx").read_bytes()
    sizes = [0, 1, 7, 8, 16, 255, 300, 511, 512, 4095, 4096, 4097, 4608, len(good) - 1]
    for data in [*(good[:size] for size in sizes), good + b"\xff" * 5000, stranger, b"\0" * len(good), b"\xff" * 9999]:
        rewrite(index, data)
        expect_everything(base, f"an index of {len(data)} bytes, {data[:8]!r}")
        with quiet():
            store = open_store(base, "w")
        assert dict(store.items()) == ENTRIES
        store.put(b"alpha", b"first value")
        store.close()
        expect_everything(base, "after the rebuild")
    for data in (b"", stranger):
        rewrite(index, data)
        index.unlink()
        expect_everything(base, "no index")


def test_a_damaged_index_is_rebuilt_by_the_next_writer(base: Path, index: Path) -> None:
    chance = random.Random(3)
    good = index.read_bytes()
    assert any(good[fmt.INDEX_HEADER_BYTES :])
    for _ in range(60):
        data = bytearray(index.read_bytes())
        places = [offset for offset in range(len(data)) if data[offset]]
        for _ in range(chance.choice((1, 4, 40))):
            data[chance.choice(places)] = chance.randrange(256)
        rewrite(index, bytes(data))
        with quiet():
            store = open_store(base, "w")
        store.put(b"turn", b"x")
        assert store.delete(b"turn")
        assert {key: store.get(key) for key in ENTRIES} == ENTRIES
        store.put(b"it's", ENTRIES[b"it's"])
        assert dict(store.items()) == ENTRIES
        assert store.check().ok
        store.close()
        expect_everything(base, "after the rebuild")


# --- the journal -----------------------------------------------------------------------------------------


def leave_a_journal(line: Line, base: Path) -> None:
    store = open_store(base, "n")
    store.put(b"old", b"checkpointed")
    store.put(b"kept", b"k" * 700)
    store.sync()
    line.say(dict(store.items()))
    for change in STEPS:
        store.apply(change)
    line.say("done")
    line.hear()


STEPS: list[dict[bytes, bytes | None]] = [
    {b"one": b"1"},
    {b"old": b"replaced" * 100},
    {b"two": b"22", b"three": b"333", b"one": None},
    {b"large": b"L" * 5000},
    {b"kept": b"short", b"four": b""},
    {b"two": None},
]


@pytest.fixture
def crashed(tmp_path: Path) -> tuple[Path, list[dict[bytes, bytes]]]:
    """A database whose writer was killed, and its states from the checkpoint on."""
    base = tmp_path / "db"
    with Child(leave_a_journal, base) as child:
        states = [child.hear()]
        assert child.hear() == "done"
        child.kill()
    for change in STEPS:
        state = states[-1] | {key: value for key, value in change.items() if value is not None}
        states.append({key: value for key, value in state.items() if change.get(key, b"") is not None})
    return base, states


def used_bytes(data: bytes) -> int:
    return len(data.rstrip(b"\0"))


def expect_a_prefix(base: Path, states: list[dict[bytes, bytes]], context: object) -> int:
    """Reading only: some state of the history, whole; returns which."""
    with quiet():
        store = open_store(base, "r")
    found = dict(store.items())
    assert found in states, (context, found)
    assert store.count() == len(found)
    store.close()
    return states.index(found)


def expect_a_loud_step_back(base: Path, states: list[dict[bytes, bytes]], context: object) -> None:
    """Reading only, when the journal's very header is gone: what the directory alone says, and a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            store = open_store(base, "r")
        except HutchError:
            return
    found = dict(store.items())
    store.close()
    if found == states[-1]:
        return  # the index had seen everything
    assert any(issubclass(warning.category, RecoveryWarning) for warning in caught), (context, "a silent step back")
    for key, value in found.items():
        assert any(state.get(key) == value for state in states), (context, key, value)


@pytest.mark.parametrize("with_index", [True, False], ids=["index", "no index"])
def test_every_byte_of_a_pending_journal(with_index: bool, crashed: tuple[Path, list[dict[bytes, bytes]]]) -> None:
    """Recovery gives a prefix of history, never past the first bad record, never half a transaction."""
    base, states = crashed
    if not with_index:
        Path(f"{base}.idx").unlink()
    path = Path(f"{base}.log")
    good = path.read_bytes()
    assert expect_a_prefix(base, states, "undamaged") == len(states) - 1
    before = on_disk(base.parent)
    reached = set()
    for offset in range(used_bytes(good)):
        if not good[offset] and offset % 5:
            continue
        patch(path, offset, bytes((good[offset] ^ 0xFF,)))
        if offset < fmt.JOURNAL_HEADER.size:
            expect_a_loud_step_back(base, states, f"byte {offset} of the journal")
        else:
            reached.add(expect_a_prefix(base, states, f"byte {offset} of the journal"))
        patch(path, offset, good[offset : offset + 1])
    for size_bytes in range(0, used_bytes(good), 17):
        rewrite(path, good[:size_bytes])
        if size_bytes < fmt.JOURNAL_HEADER.size:
            expect_a_loud_step_back(base, states, f"{size_bytes} bytes of the journal")
        else:
            reached.add(expect_a_prefix(base, states, f"{size_bytes} bytes of the journal"))
    rewrite(path, good)
    assert expect_a_prefix(base, states, "whole again") == len(states) - 1
    assert with_index or len(reached) > 3, "the journal was not looked at"
    os.utime(path, ns=(before["db.log"][0], before["db.log"][0]))
    assert on_disk(base.parent) == before


def forge_record(data: bytes, record: int, change: Callable[[bytearray], None]) -> bytes:
    """Change a record of a journal and give it a valid checksum again, as an attacker would."""
    (*_, salt, _) = fmt.JOURNAL_HEADER.unpack_from(data)
    position = fmt.JOURNAL_HEADER_BYTES
    for _ in range(record):
        _, _, payload_bytes, _ = fmt.RECORD_HEADER.unpack_from(data, position)
        position += fmt.RECORD_FRAME_BYTES + payload_bytes
    _, _, payload_bytes, _ = fmt.RECORD_HEADER.unpack_from(data, position)
    end = position + fmt.RECORD_FRAME_BYTES + payload_bytes
    both = bytearray(data[position : end - fmt.RECORD_CHECKSUM.size])
    change(both)
    forged = bytes(both) + fmt.RECORD_CHECKSUM.pack(fmt.hash64(bytes(both), salt))
    return data[:position] + forged + data[end:]


@pytest.mark.parametrize("number", [0, 1, 7, 2**32 - 1])
def test_a_forged_journal_with_valid_checksums_breaks_nothing(
    number: int, crashed: tuple[Path, list[dict[bytes, bytes]]]
) -> None:
    """Absurd kinds, lengths, offsets and sizes in an operation: an error of the family, or entries that
    are damaged; no crash, no gigabytes, no stranger's error."""
    base, states = crashed
    Path(f"{base}.idx").unlink()
    path = Path(f"{base}.log")
    good = path.read_bytes()
    for record in (0, 2, 3):
        for at in range(0, fmt.OPERATION_BYTES, 2):

            def change(both: bytearray, at: int = at) -> None:
                place = fmt.RECORD_HEADER.size + at
                both[place : place + 4] = number.to_bytes(4, "little")

            rewrite(path, forge_record(good, record, change))
            try:
                with quiet():
                    store = open_store(base, "r")
            except HutchError:
                continue
            for key in [*states[-1], b"one", b"never"]:
                try:
                    value = store.get(key)
                except HutchError:
                    continue
                assert value is None or any(state.get(key) == value for state in states)
            try:
                list(store.items())
            except HutchError:
                pass
            store.close()
    rewrite(path, good)
    assert expect_a_prefix(base, states, "whole again") == len(states) - 1


def test_garbage_in_place_of_an_empty_journal(base: Path, tmp_path: Path) -> None:
    with Child(leave_a_journal, tmp_path / "other") as child:
        child.hear()
        child.hear()
        child.kill()
    stranger = Path(f"{tmp_path}/other.log").read_bytes()
    path = Path(f"{base}.log")
    for data in (b"", b"\0" * 4096, b"\xff" * 4096, b"hutchlog", b"hutchlog" * 100, os.urandom(3000), stranger):
        for index in (True, False):
            rewrite(path, data)
            if not index:
                Path(f"{base}.idx").unlink(missing_ok=True)
            before = on_disk(base.parent)
            expect_everything(base, data[:16])
            assert on_disk(base.parent) == before
            with quiet():
                store = open_store(base, "w")
            assert dict(store.items()) == ENTRIES
            store.put(b"alpha", ENTRIES[b"alpha"])
            with quiet():
                store.close()
            expect_everything(base, data[:16])
    kept = [path for path in tmp_path.iterdir() if path.name.startswith("db") and path.is_file()]
    assert any(stranger[: used_bytes(stranger)] in path.read_bytes() for path in kept), "a journal was thrown away"


# --- sizes that no machine has ---------------------------------------------------------------------------


def read_within_little_memory(line: Line, base: Path) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
    for flag in ("r", "w"):
        try:
            with quiet():
                store = open_store(base, flag)
        except HutchError as problem:
            line.say(str(type(problem)))
            continue
        for key in list(store.keys()):
            try:
                store.get(key)
            except HutchError:
                pass
        store.check()
        store.put(b"new", b"value") if flag == "w" else None
        store.close()
        line.say("read")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to measure memory with")
@pytest.mark.parametrize(
    "line",
    [
        b"'a', (0, 9999999999999)",
        b"'a', (0, 9999999999999999999)",
        b"'a', (999999999999999, 1)",
        b"'a', (9999999999999999999, 0)",
        b"'a', (9223372036854775807, 9223372036854775807)",
        b"'a', (0, 2147483648)",
    ],
)
def test_a_size_that_no_machine_has_takes_no_memory(line: bytes, tmp_path: Path) -> None:
    _plant(tmp_path / "db", b"'z', (0, 3)\n" + line + b"\n")
    with Child(read_within_little_memory, tmp_path / "db") as child:
        said = child.finish()
    assert len(said) == 2
    if "read" in said:
        with hutch.dbm.open(tmp_path / "db", "r") as database:
            assert database[b"z"] == b"AAA"


def test_a_sparse_heap_of_a_terabyte_is_no_trouble(tmp_path: Path) -> None:
    _plant(tmp_path / "db", b"'a', (1099511627776, 3)\n'z', (0, 3)\n")
    fd = os.open(tmp_path / "db.dat", os.O_RDWR)
    try:
        os.pwrite(fd, b"far", 2**40)
    except OSError:
        pytest.skip("this file system has no files of a terabyte")
    finally:
        os.close(fd)
    # A writer maps the heap whole: that takes addresses, not memory.
    for flag in ("r", "w"):
        with hutch.dbm.open(tmp_path / "db", flag) as database:
            assert dict(database.items()) == {b"a": b"far", b"z": b"AAA"}
    with hutch.dbm.open(tmp_path / "db", "w") as database:
        database[b"new"] = b"value"
        assert dict(database.items()) == {b"a": b"far", b"z": b"AAA", b"new": b"value"}


# --- what is not a regular file --------------------------------------------------------------------------


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_socket(path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the name of a socket may not be long
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


def make_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_fifo(path: Path) -> None:
    os.mkfifo(f"{path}.target")
    path.symlink_to(f"{path}.target")


@pytest.mark.parametrize("make", [make_fifo, make_folder, make_socket, make_device, make_link_to_fifo])
@pytest.mark.parametrize("suffix", [".dat", ".dir"])
@pytest.mark.parametrize("flag", ["r", "w", "c", "n"])
def test_what_is_not_a_regular_file_is_refused_before_it_can_hang(
    flag: str, suffix: str, make: Callable[[Path], None], base: Path
) -> None:
    """Only flag n may put a file of its own in its place."""
    path = Path(f"{base}{suffix}")
    path.unlink()
    make(path)
    kind = path.lstat().st_mode
    others = {name: content for name, content in on_disk(base.parent).items() if name in ("db.dat", "db.dir")}
    try:
        store = open_store(base, flag)
    except UnsupportedFileError as problem:
        assert "not a regular file" in str(problem)
        assert path.lstat().st_mode == kind
        after = on_disk(base.parent)
        assert flag == "n" or {name: after[name] for name in others} == others
    else:
        assert flag == "n"
        store.put(b"a", b"1")
        store.close()
        expected = {b"a": b"1"}
        with hutch.dbm.open(base, "r") as database:
            assert dict(database.items()) == expected


@pytest.mark.parametrize("make", [make_fifo, make_folder, make_socket, make_device, make_link_to_fifo])
@pytest.mark.parametrize("suffix", [".log", ".idx"])
@pytest.mark.parametrize("flag", ["r", "w"])
def test_side_files_that_are_not_regular_do_not_hang(
    flag: str, suffix: str, make: Callable[[Path], None], base: Path
) -> None:
    """Refused, or for the index worked around; the database comes to no harm."""
    path = Path(f"{base}{suffix}")
    path.unlink(missing_ok=True)
    make(path)
    kind = path.lstat().st_mode
    try:
        with quiet():
            store = open_store(base, flag)
    except HutchError:
        assert path.lstat().st_mode == kind
    else:
        assert dict(store.items()) == ENTRIES
        with quiet():
            store.close()
    if path.is_dir():
        path.rmdir()
    elif path.exists():
        path.unlink()
    expect_everything(base, "after the strange file is gone")


def test_symbolic_links_are_followed_and_stay_links(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    for suffix in (".dat", ".dir"):
        Path(f"{base}{suffix}").rename(folder / f"real{suffix}")
        Path(f"{base}{suffix}").symlink_to(folder / f"real{suffix}")
    with quiet(), hutch.dbm.open(base, "w") as database:
        assert dict(database.items()) == ENTRIES
        database[b"new"] = b"value"
        del database[b"alpha"]
        database.reorganize()
    for suffix in (".dat", ".dir"):
        assert Path(f"{base}{suffix}").is_symlink()
        assert not (folder / f"real{suffix}").is_symlink()
    expected = {key: value for key, value in ENTRIES.items() if key != b"alpha"} | {b"new": b"value"}
    with quiet(), hutch.dbm.open(base, "r") as database:
        assert dict(database.items()) == expected
    with quiet(), hutch.dbm.open(folder / "real", "r") as database:
        assert dict(database.items()) == expected


@pytest.mark.parametrize("suffix", [".dat", ".dir"])
def test_a_dangling_link_is_a_missing_file(suffix: str, base: Path) -> None:
    path = Path(f"{base}{suffix}")
    path.unlink()
    path.symlink_to(base.parent / "nowhere" / "at all")
    for flag in ("r", "w"):
        with pytest.raises(FileNotFoundError):
            open_store(base, flag)
    assert path.is_symlink()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_link_to_itself_is_the_systems_error_or_none(suffix: str, base: Path) -> None:
    path = Path(f"{base}{suffix}")
    path.unlink(missing_ok=True)
    path.symlink_to(path.name)
    for flag in ("r", "w"):
        try:
            with quiet():
                store = open_store(base, flag)
        except OSError:
            continue
        assert dict(store.items()) == ENTRIES
        with quiet():
            store.close()


def test_a_planted_temporary_file_or_link_is_not_followed(base: Path, tmp_path: Path) -> None:
    """Everything that hutch makes is O_EXCL with a random name: a link planted beside it is never written through."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for name in ("db.tmp", "db.dir.tmp", "db.idx.tmp", "db.new", "db.dir.new", "db.dir~", "db.dat.tmp"):
        (tmp_path / name).symlink_to(victim)
    with hutch.dbm.open(base, "w") as database:
        database[b"alpha"] = b"x" * 1000
        del database[b""]
        database.reorganize()
        database.clear()
    assert victim.read_bytes() == b"precious"


# --- random damage everywhere ----------------------------------------------------------------------------


def mutate(chance: random.Random, data: bytes) -> bytes:
    mutated = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        kind = chance.randrange(7)
        at = chance.randrange(len(mutated) + 1)
        if kind == 0:
            mutated[at:at] = chance.randbytes(chance.randrange(1, 20))
        elif kind == 1:
            del mutated[at : at + chance.randrange(1, 20)]
        elif kind == 2 and at < len(mutated):
            mutated[at] = chance.randrange(256)
        elif kind == 3 and at < len(mutated):
            mutated[at] ^= 1 << chance.randrange(8)
        elif kind == 4:
            piece = mutated[at : at + chance.randrange(1, 80)]
            where = chance.randrange(len(mutated) + 1)
            mutated[where : where + len(piece)] = piece
        elif kind == 5:
            mutated[at : at + 512] = bytes(len(mutated[at : at + 512]))
        elif kind == 6 and chance.random() < 0.3:
            del mutated[at:]
    return bytes(mutated)


@pytest.mark.parametrize("seed", range(4))
def test_random_damage_to_any_of_the_files(seed: int, base: Path) -> None:
    chance = random.Random(seed)
    good = {suffix: Path(f"{base}{suffix}").read_bytes() for suffix in SUFFIXES if Path(f"{base}{suffix}").exists()}
    for turn in range(250):
        for suffix in chance.sample(list(good), chance.randrange(1, len(good) + 1)):
            rewrite(Path(f"{base}{suffix}"), mutate(chance, good[suffix]))
        before = on_disk(base.parent)
        read_everything(base)
        assert on_disk(base.parent) == before, f"a reader wrote, turn {turn}"
        for suffix, data in good.items():
            rewrite(Path(f"{base}{suffix}"), data)
    with quiet(), hutch.dbm.open(base, "w") as database:
        assert dict(database.items()) == ENTRIES


@pytest.mark.parametrize("seed", range(2))
def test_random_damage_opened_for_writing(seed: int, base: Path) -> None:
    """A writer repairs, refuses or works around; what it wrote itself is then there."""
    chance = random.Random(100 + seed)
    good = {suffix: Path(f"{base}{suffix}").read_bytes() for suffix in SUFFIXES if Path(f"{base}{suffix}").exists()}
    for turn in range(120):
        for suffix in chance.sample(list(good), chance.randrange(1, len(good) + 1)):
            rewrite(Path(f"{base}{suffix}"), mutate(chance, good[suffix]))
        directory = Path(f"{base}.dir").read_bytes()
        try:
            with quiet():
                _use(open_store(base, "w"), turn)
        except HutchError:
            pass
        else:
            with quiet():
                store = open_store(base, "r")
            assert store.get(b"mine") == b"turn %d" % turn
            store.close()
        del directory
        for path in base.parent.iterdir():
            path.unlink()
        for suffix, data in good.items():
            Path(f"{base}{suffix}").write_bytes(data)


def _use(store: Store, turn: int) -> None:
    """Read, write and close; a wrong value is a failure, an error of the family is none."""
    try:
        for key in ENTRIES:
            try:
                value = store.get(key)
            except CorruptEntryError:
                continue
            assert value is None or value in history_of(key), (key, value)
        store.put(b"mine", b"turn %d" % turn)
        assert store.get(b"mine") == b"turn %d" % turn
    finally:
        store.close()


@pytest.mark.parametrize("seed", range(3))
def test_binary_garbage_in_all_files(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    base = tmp_path / "db"
    for turn in range(60):
        for suffix in SUFFIXES:
            size_bytes = chance.choice((0, 1, 100, 511, 512, 4096, 5000, 20_000))
            magic = {".log": fmt.JOURNAL_MAGIC, ".idx": fmt.INDEX_MAGIC}.get(suffix, b"") if turn % 2 else b""
            rewrite(Path(f"{base}{suffix}"), magic + chance.randbytes(size_bytes))
        before = on_disk(tmp_path)
        try:
            with quiet():
                open_store(base, "r").close()
        except HutchError:
            pass
        assert on_disk(tmp_path) == before
