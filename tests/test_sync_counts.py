"""What a statement costs in syncs of the disk is what docs/design.md says."""

from __future__ import annotations

import dbm.dumb
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hutch.files import File, FileSystem
from hutch.store import open_store

DESIGN = Path(__file__).parent.parent / "docs" / "design.md"
TABLE = dict(re.findall(r"^\| (.+?) \| (\d) \| .*\|$", DESIGN.read_text(encoding="utf-8"), re.MULTILINE))


class CountedFile(File):
    """A file that counts its syncs in `CountedFileSystem.count`."""

    __slots__ = ("system",)

    def sync(self) -> None:
        self.system.count += 1
        super().sync()


class CountedFileSystem(FileSystem):
    def __init__(self) -> None:
        self.count = 0

    def open(self, path: str, **options: Any) -> File:
        opened = super().open(path, **options)
        file = CountedFile(opened.fd, opened.path, opened.writable)
        opened.fd = -1  # it has a new owner
        file.system = self
        return file

    def sync_folder(self, path: str) -> None:
        self.count += 1
        super().sync_folder(path)


@pytest.fixture
def counted() -> CountedFileSystem:
    return CountedFileSystem()


def costs(counted: CountedFileSystem, statement: Callable[[], object], row: str) -> None:
    before = counted.count
    statement()
    assert counted.count - before == int(TABLE[row]), row


def test_a_session(counted: CountedFileSystem, tmp_path: Path) -> None:
    base = tmp_path / "db"
    store = open_store(base, file_system=counted)
    costs(counted, lambda: store.put(b"a", b"1"), "the first write of a new database, or of one that a stdlib wrote")
    costs(counted, lambda: store.put(b"b", b"2"), 'any later write, `durability="close"`')
    costs(counted, lambda: store.put(b"large", bytes(10_000)), 'any later write, `durability="close"`')
    other = open_store(base, file_system=counted)
    costs(counted, lambda: other.put(b"c", b"3"), "the same beside a handle that has written, or after it was killed")
    other.close()
    store.put(b"b", b"3")
    costs(counted, store.sync, "`sync()`")
    costs(counted, store.sync, "`sync()`, nothing written since the last")
    store.delete(b"a")
    costs(counted, store.sync, "`sync()` that writes the directory anew")
    costs(counted, store.clear, "`clear()`")
    store.put(b"d", b"4")
    costs(counted, store.close, "`close()` of the last handle")
    nothing = "open, any read, `close()` without a write"
    costs(counted, lambda: open_store(base, "w", file_system=counted).close(), nothing)
    store = open_store(base, file_system=counted)
    costs(counted, lambda: store.get(b"d"), nothing)
    costs(counted, lambda: store.put(b"e", b"5"), "the first write after an open")
    store.close()


def test_the_first_write_to_a_stdlib_database(counted: CountedFileSystem, tmp_path: Path) -> None:
    with dbm.dumb.open(str(tmp_path / "db")) as foreign:
        foreign["a"] = "1"
    store = open_store(tmp_path / "db", file_system=counted)
    costs(counted, lambda: store.put(b"b", b"2"), "the first write of a new database, or of one that a stdlib wrote")
    store.close()


def test_durable_writes(counted: CountedFileSystem, tmp_path: Path) -> None:
    lazy = open_store(tmp_path / "db", file_system=counted)
    lazy.put(b"a", b"1")
    store = open_store(tmp_path / "db", file_system=counted, durability="commit")
    store.put(b"b", b"2")
    large = 'one with values above 4 KiB, or after writes of handles with `durability="close"`'
    costs(counted, lambda: store.put(b"b", b"3"), 'a small write, `durability="commit"`')
    costs(counted, lambda: store.put(b"large", bytes(10_000)), large)
    costs(counted, lambda: store.apply({b"%d" % n: b"x" for n in range(100)}), 'a small write, `durability="commit"`')
    costs(counted, lambda: store.delete(b"b"), 'a small write, `durability="commit"`')
    lazy.put(b"large", bytes(20_000))
    costs(counted, lambda: store.put(b"b", b"4"), large)
    store.close()
    lazy.close()


def test_every_row_is_counted() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert len(TABLE) == 12
    assert [row for row in TABLE if row not in source] == []
