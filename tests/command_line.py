"""The `hutch` command as tests run it, and the databases that they run it on."""

from __future__ import annotations

import datetime as dt
import decimal
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner

import hutch
from hutch import dbm
from hutch.cli.app import hutch as group
from hutch.codecs import Compressed, Encrypted, Pickle, Signed
from hutch.foreign import open_foreign

__all__ = ["HUTCH", "SECRET", "Answer", "Loud", "command", "make_all", "spawn"]

HUTCH = [sys.executable, "-m", "hutch"]
SECRET = bytes(range(32))


class Loud:
    """Unpickling one leaves a folder behind: a command that was not asked to unpickle must leave none."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


class Answer(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def command(*arguments: str | Path, data: bytes | None = None) -> Answer:
    """Run it in this process."""
    result = CliRunner().invoke(group, [os.fspath(argument) for argument in arguments], input=data)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Answer(result.exit_code, result.stdout, result.stderr)


def spawn(*arguments: str | Path, **options: Any) -> Answer:
    """Run it in a process of its own."""
    line = [*HUTCH, *map(os.fspath, arguments)]
    done = subprocess.run(line, check=False, capture_output=True, text=True, timeout=60, **options)
    return Answer(done.returncode, done.stdout, done.stderr)


def make_all(folder: Path) -> None:
    """The databases: stock, empty, mixed, damaged, big, giant, foreign (SQLite) and stdlib, and a key file."""
    (folder / "secret").write_text(SECRET.hex() + "\n")
    with hutch.open(folder / "stock") as shelf:
        shelf["apples"] = {"count": 3, "price": decimal.Decimal("0.40")}
        shelf["pears"] = [1, 2.5, None, True]
        shelf["plums"] = (b"\x00\xff", {"blue"})
        shelf["since"] = dt.date(2024, 2, 29)
        shelf["naïve\n"] = "text"
        shelf.dict[b"\xff\\"] = shelf.dict[b"apples"]
    dbm.open(folder / "empty").close()
    make_mixed(folder)
    with dbm.open(folder / "damaged") as database:
        database.update({f"key{number}": b"value %d" % number for number in range(5)})
    spoil(folder / "damaged.dat", b"value 2", b"VALUE 2")
    with hutch.open(folder / "big") as shelf:
        shelf.update({f"key{number:05}": {"number": number, "text": "x" * (number % 97)} for number in range(5000)})
    make_giant(folder / "giant")
    with open_foreign(folder / "foreign", "c", kind="dbm.sqlite3") as database:
        database.update({"one": b"1", "two": b"2"})
    (folder / "stdlib.dir").write_text("'apples', (0, 3)\n'pears', (512, 5)\n")
    (folder / "stdlib.dat").write_bytes(b"red".ljust(512, b"\0") + b"green")


def make_mixed(folder: Path) -> None:
    """Values of every kind."""
    codecs: dict[str, Any] = {
        "zipped": Compressed(Pickle(), "zlib", min_size=0),
        "signed": Signed(Pickle(), SECRET),
        "encrypted": Encrypted(Pickle(), SECRET),
        "sealed": Encrypted(Compressed(Pickle(), min_size=0), SECRET),
    }
    with dbm.open(folder / "mixed") as database:
        database["plain"] = Pickle().encode(b"plain", ["data"] * 20)
        database["old"] = Pickle(0).encode(b"old", {"a": 1})
        for name, codec in codecs.items():
            database[name] = bytes(codec.encode(name.encode(), ["data"] * 20))
        database["loud"] = Pickle().encode(b"loud", Loud(str(folder / "unpickled")))
        database["fraction"] = Pickle().encode(b"fraction", Fraction(1, 3))
        database["json"] = b'{"a": [1, 2]}'
        database["text"] = b"just text"
        database["binary"] = bytes(range(200, 256))
        database["torn"] = Pickle().encode(b"torn", list(range(300)))[:-3] + b"xx."
        database["nothing"] = b""


def make_giant(base: Path) -> None:
    """200 GB, nearly all of them a hole: what the stdlib would call a database with three entries."""
    far = 200 * 1024**3
    base.with_suffix(".dir").write_text(f"'first', (0, 5)\n'far', ({far}, 7)\n'empty', (0, 0)\n")
    with open(base.with_suffix(".dat"), "wb") as heap:
        heap.write(b"first")
        heap.seek(far)
        heap.write(b"the far")


def spoil(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
