"""Files of versions that no library of today writes, made of what one has written, as the formats are published.

GNU dbm up to 1.8 has a magic number of its own; the rest is as later. Berkeley DB up to 4.5 does not sort the keys of a
page of a hash; up to 4.0 its first page does not say how many pages there are, and has other things there. The pages
are rewritten here by code that shares nothing with the readers. Berkeley DB's own db_upgrade, where it is there, has to
make of such a file what it was made of: so it is one.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import hutch.dbm
from hutch.errors import CorruptError, HutchError
from hutch.foreign import open_foreign
from test_foreign import SYSTEM, expected, replace, system_has, unpacked

OLDEST_GNU = 0x13579ACE
UNSORTED, SORTED = 2, 13  # types of a page of a hash
UPGRADE = shutil.which("db5.3_upgrade")
DUMP = shutil.which("db5.3_dump")


@pytest.mark.parametrize("name", ["gnu", "gnu_32", "gnu_armel", "gnu_i386", "gnu_s390x"])
def test_the_oldest_magic_of_gnu_dbm(name: str, tmp_path: Path) -> None:
    path = unpacked(name, tmp_path)
    order = ">" if name == "gnu_s390x" else "<"
    replace(path, 0, struct.pack(order + "I", OLDEST_GNU))
    assert hutch.dbm.whichdb(path) == "dbm.gnu"
    with open_foreign(path) as database:
        assert dict(database.iteritems()) == expected()
        assert all(database[key] == value for key, value in expected().items())
        assert database.check().ok


def test_gnu_dbm_itself_takes_its_oldest_magic(tmp_path: Path) -> None:
    if not system_has("dbm.gnu"):
        pytest.skip("the system's Python has no dbm.gnu (on Debian: python3-gdbm)")
    path = unpacked("gnu", tmp_path)
    replace(path, 0, struct.pack("<I", OLDEST_GNU))
    program = "import dbm.gnu, sys; print(len(dbm.gnu.open(sys.argv[1], 'r').keys()))"
    done = subprocess.run([SYSTEM, "-c", program, path], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == len(expected())


def older(path: Path, order: str, version: int, *, keeps_last_page: bool, in_its_place: bytes = bytes(8)) -> None:
    """Make a file of an older version of one of Berkeley DB 5.3."""
    data = bytearray(path.read_bytes())
    chance = random.Random(version)
    page_bytes = struct.unpack_from(order + "I", data, 20)[0]
    struct.pack_into(order + "I", data, 16, version)
    if not keeps_last_page:
        data[32:40] = in_its_place
    for start in range(page_bytes, len(data), page_bytes):
        if data[start + 25] == SORTED:
            data[start + 25] = UNSORTED
            _shuffle(data, start, page_bytes, order, chance)
    path.write_bytes(data)


def _shuffle(data: bytearray, start: int, page_bytes: int, order: str, chance: random.Random) -> None:
    """Put the pairs of a page in another order: the items themselves, and so the offsets of them."""
    count = struct.unpack_from(order + "H", data, start + 20)[0]
    offsets = struct.unpack_from(f"{order}{count}H", data, start + 26)
    ends = (page_bytes, *offsets)[:count]
    items = [bytes(data[start + low : start + high]) for low, high in zip(offsets, ends, strict=True)]
    pairs = list(zip(items[::2], items[1::2], strict=True))
    chance.shuffle(pairs)
    end = page_bytes
    for index, item in enumerate(item for pair in pairs for item in pair):
        end -= len(item)
        data[start + end : start + end + len(item)] = item
        struct.pack_into(order + "H", data, start + 26 + 2 * index, end)


HASHES = [("ndbm", "<"), ("hash_big_endian", ">")]
TREES = [("btree", "<")]


def hash_8(path: Path, order: str) -> None:
    older(path, order, 8, keeps_last_page=True)


def hash_7(path: Path, order: str) -> None:
    older(path, order, 7, keeps_last_page=False)


def tree_8(path: Path, order: str) -> None:
    older(path, order, 8, keeps_last_page=False)


CASES: list[tuple[str, str, Callable[[Path, str], None]]] = [
    *((name, order, make) for name, order in HASHES for make in (hash_7, hash_8)),
    *((name, order, tree_8) for name, order in TREES),
]


@pytest.mark.parametrize(("name", "order", "make"), CASES)
def test_older_versions_of_berkeley_db(
    name: str, order: str, make: Callable[[Path, str], None], tmp_path: Path
) -> None:
    path = unpacked(name, tmp_path)
    make(path, order)
    with open_foreign(path) as database:
        assert dict(database.iteritems()) == expected()
        assert all(database[key] == value for key, value in expected().items())
        assert database.get(b"none") is None
        assert database.check().ok


def test_what_stands_where_the_last_page_would_is_of_no_use(tmp_path: Path) -> None:
    """Once the place of the last allocation in a log."""
    for name, version in (("ndbm", 7), ("btree", 8)):
        path = unpacked(name, tmp_path)
        older(path, "<", version, keeps_last_page=False, in_its_place=b"\x01\0\0\0\xff\xff\xff\xff")
        with open_foreign(path) as database:
            assert dict(database.iteritems()) == expected()


@pytest.mark.parametrize(("name", "order", "make"), [case for case in CASES if case[1] == "<"])
def test_berkeley_db_itself_brings_such_a_file_up_to_date(
    name: str, order: str, make: Callable[[Path, str], None], tmp_path: Path
) -> None:
    if UPGRADE is None or DUMP is None:
        pytest.skip("db5.3_upgrade is not here (on Debian: db5.3-util)")
    path = unpacked(name, tmp_path)
    make(path, order)
    subprocess.run([UPGRADE, path], check=True, timeout=60)
    dump = subprocess.run([DUMP, path], check=True, capture_output=True, text=True, timeout=60).stdout
    lines = [bytes.fromhex(line.strip()) for line in dump.splitlines() if line.startswith(" ")]
    assert dict(zip(lines[::2], lines[1::2], strict=True)) == expected()
    with open_foreign(path) as database:
        assert dict(database.iteritems()) == expected()


@pytest.mark.parametrize("make", [hash_7, hash_8])
def test_a_damaged_file_of_an_older_version(make: Callable[[Path, str], None], tmp_path: Path) -> None:
    path = unpacked("ndbm", tmp_path)
    make(path, "<")
    data = path.read_bytes()
    page_bytes = struct.unpack_from("<I", data, 20)[0]
    for size in (0, 30, 511, page_bytes, page_bytes + 1, len(data) // 2):
        path.write_bytes(data[:size])
        with pytest.raises(HutchError), open_foreign(path, kind="berkeleydb.hash") as database:
            dict(database.iteritems())
    for wrong in (0, 1, 100, 1 << 31):
        path.write_bytes(data)
        replace(path, 20, struct.pack("<I", wrong))
        with pytest.raises(CorruptError, match="contradicts itself"):
            open_foreign(path)
