"""`Shelf.recode`: all values under another codec, interrupted at every step, and with others writing meanwhile."""

from __future__ import annotations

import ast
import itertools
import os
import pickle
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hutch
import hutch.dbm
import hutch.edit
import hutch.mixed
import hutch.pickling
import hutch.recode
from children import Child, Line
from hutch import Shelf, UnreadableValueError
from hutch.codecs import Codec, Compressed, Encrypted, Json, Marshal, MessagePack, Pickle, Plist, SafePickle, Signed
from hutch.errors import (
    CodecError,
    CorruptEntryError,
    ForbiddenGlobalError,
    ReadOnlyError,
    TamperedError,
    TransactionError,
)

OLD, NEW = b"the first key for signing", b"the key that comes after it"
AES_OLD, AES_NEW = b"o" * 32, b"n" * 32


class Own(Codec):
    """A codec of the user's own, whose bytes could be anything."""

    def encode(self, key: bytes, value: Any) -> bytes:
        return repr(value).encode()

    def decode(self, key: bytes, data: Any) -> Any:
        return ast.literal_eval(bytes(data).decode())


CODECS: dict[str, Callable[[], Any]] = {
    "Pickle": Pickle,
    "Pickle0": lambda: Pickle(0),
    "Buffers": lambda: Pickle(buffers=True),
    "SafePickle": SafePickle,
    "Json": Json,
    "Plist": Plist,
    "Compressed": lambda: Compressed(Pickle(), min_size=0),
    "CompressedJson": lambda: Compressed(Json(), "bz2"),
    "Signed": lambda: Signed(Pickle(), OLD),
    "Encrypted": lambda: Encrypted(Json(), AES_OLD),
    "Nested": lambda: Signed(Compressed(Encrypted(Plist(), AES_OLD)), OLD),
}
UNMARKED: dict[str, Callable[[], Any]] = {"Own": Own, "Marshal": Marshal, "MessagePack": MessagePack}
PAIRS = [(one, other) for one, other in itertools.permutations(CODECS, 2)]
EXAMPLES = {
    "text": "some text " * 40,
    "short": "x",
    "list": [1, 2.5, "three", True],
    "dict": {"a": ["b", {"c": "d"}], "": 0},
    "number": 5,
    "stop": "ends with a full stop.",
    "looks": "\x80é.",
    "tag": "<plist>",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "shelf")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hutch.recode, "_BATCH_ENTRIES", 3)


def fill(path: str, codec: Any, values: dict[str, Any] = EXAMPLES) -> None:
    with hutch.open(path, "n", codec=codec) as shelf:
        shelf.update(values)


def under(mapping: Any, codec: Any) -> dict[str, Any]:
    """Every entry as this codec alone reads it."""
    return {name.decode(): codec.decode(name, mapping[name]) for name in mapping}


def all_read(shelf: Shelf) -> bool:
    """Whether the shelf's own codec reads every entry."""
    items = shelf.items(errors="skip")
    return bool(list(items)) and not items.skipped


# -- from one to another ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_every_codec_to_every_other(old: str, new: str) -> None:
    shelf = Shelf({}, codec=CODECS[old]())
    shelf.update(EXAMPLES)
    codec = CODECS[new]()
    report = shelf.recode(codec)
    assert (report.entry_count, report.skipped) == (len(EXAMPLES), ())
    assert shelf.codec is codec
    assert dict(shelf) == under(shelf.dict, CODECS[new]()) == EXAMPLES
    assert list(shelf) == list(EXAMPLES)
    again = shelf.recode(codec)
    assert again.recoded_count == 0
    shelf.recode(CODECS[old]())
    assert under(shelf.dict, CODECS[old]()) == EXAMPLES


@pytest.mark.parametrize(("old", "new"), [*itertools.permutations(UNMARKED, 2), ("Pickle", "Own"), ("Own", "Json"),
                                          ("MessagePack", "Pickle"), ("Json", "Marshal")])  # fmt: skip
def test_codecs_whose_bytes_say_nothing(path: str, old: str, new: str) -> None:
    codecs = CODECS | UNMARKED
    fill(path, codecs[old]())
    with hutch.open(path, codec=codecs[old]()) as shelf:
        before = shelf.dict.statistics().sequence
        report = shelf.recode(codecs[new]())
        assert report.recoded_count == report.entry_count == len(EXAMPLES)
        assert shelf.dict.statistics().sequence == before + 1, "it is all one transaction"
        assert dict(shelf) == under(shelf.dict, codecs[new]()) == EXAMPLES


def test_back_to_plain_pickles(path: str) -> None:
    fill(path, CODECS["Nested"]())
    with hutch.open(path, codec=CODECS["Nested"]()) as shelf:
        shelf.recode()
        assert repr(shelf.codec) == repr(Pickle(pickle.DEFAULT_PROTOCOL))
        assert {name: pickle.loads(data) for name, data in shelf.dict.items()} == {
            key.encode(): value for key, value in EXAMPLES.items()
        }
        shelf["more"] = {1, 2}
    with hutch.open(path) as shelf:
        assert dict(shelf) == EXAMPLES | {"more": {1, 2}}


def test_from_a_serializer() -> None:
    shelf = Shelf({}, serializer=lambda value, protocol: repr(value).encode(), deserializer=ast.literal_eval)
    shelf.deserializer  # noqa: B018  # it is there before
    shelf["a"] = [1]
    with pytest.raises(UnreadableValueError):
        Shelf(shelf.dict)["a"]
    shelf = Shelf(shelf.dict, serializer=pickle.dumps, deserializer=lambda data: ast.literal_eval(data.decode()))
    shelf.recode(Json())
    assert shelf.dict == {b"a": b"[1]"}
    assert shelf.deserializer is None


def test_keys_are_rotated(path: str) -> None:
    fill(path, Encrypted(Json(), AES_OLD))
    with hutch.open(path, codec=Encrypted(Json(), AES_OLD)) as shelf:
        shelf.recode(Encrypted(Json(), [AES_NEW, AES_OLD]))
        assert under(shelf.dict, Encrypted(Json(), AES_NEW)) == EXAMPLES
    with hutch.open(path, codec=Encrypted(Json(), [AES_NEW, AES_OLD])) as shelf:
        shelf.recode(Encrypted(Json(), AES_NEW))
        assert dict(shelf) == EXAMPLES
    with hutch.open(path, codec=Encrypted(Json(), AES_OLD)) as shelf, pytest.raises(TamperedError):
        shelf["text"]


def test_a_class_that_has_moved_is_renamed_for_good() -> None:
    old = Shelf({b"there": pickle.dumps(random.Random(1).getstate()), b"moved": b"cno.such.module\nOrderedDict\n)R."})
    with pytest.raises(UnreadableValueError):
        old["moved"]
    old.recode(Pickle(renames={"no.such.module": "collections"}))
    assert dict(Shelf(old.dict)) == {"there": random.Random(1).getstate(), "moved": {}}


@pytest.mark.parametrize("writeback", [False, True])
def test_what_the_cache_holds_comes_along(path: str, writeback: bool) -> None:
    with hutch.open(path, writeback=writeback) as shelf:
        shelf.update(a=[1], b=[2])
        if writeback:
            shelf["a"].append("changed")
        shelf.recode(Json())
        expected = {"a": [1, "changed"] if writeback else [1], "b": [2]}
        assert dict(shelf) == expected
        if writeback:
            shelf["b"].append("later")
            expected["b"].append("later")
    with hutch.open(path, codec=Json()) as shelf:
        assert dict(shelf) == expected


def test_refusals(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["a"] = 1
        for wrong in (Json, 5):
            with pytest.raises(TypeError):
                shelf.recode(wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="errors must be"):
            shelf.recode(Json(), errors="ignore")  # type: ignore[arg-type]
        with shelf.transaction(), pytest.raises(TransactionError, match="end it first"):
            shelf.recode(Json())
        with shelf.edit("b", default=[]), pytest.raises(TransactionError):
            shelf.recode(Json())
        assert dict(shelf) == {"a": 1, "b": []}
    below = Shelf({})
    with below.transaction(), pytest.raises(TransactionError):
        below.recode(Json())
    with hutch.open(path, "r") as shelf:
        with pytest.raises(ReadOnlyError):
            shelf.recode(Json())
        assert repr(shelf.codec).startswith("Pickle(")
        assert dict(shelf) == {"a": 1, "b": []}
    with pytest.raises(ValueError, match="closed"):
        shelf.recode(Json())


def test_progress(path: str, small_batches: None) -> None:
    fill(path, None)
    calls = []
    with hutch.open(path) as shelf:
        shelf.recode(Json(), progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 8), (6, 8), (8, 8)]
    with Shelf({}) as empty:
        assert empty.recode(Json(), progress=lambda done, total: calls.append((done, total))).entry_count == 0
    assert len(calls) == 3


def test_a_batch_ends_at_its_size(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hutch.recode, "_BATCH_BYTES", 1000)
    fill(path, None, {str(number): "x" * 600 for number in range(9)})
    with hutch.open(path) as shelf:
        before = shelf.dict.statistics().sequence
        assert shelf.recode(Json()).recoded_count == 9
        assert shelf.dict.statistics().sequence == before + 5
        assert under(shelf.dict, Json()) == {str(number): "x" * 600 for number in range(9)}


# -- interruptions -----------------------------------------------------------------------------------------


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, after: bool = False) -> None:
    """Ctrl-C before, or after, entry number `at` is written."""
    calls = 0
    store = hutch.dbm.Database.__setitem__

    def set_item(self: Any, key: Any, value: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise KeyboardInterrupt
        store(self, key, value)
        if calls == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(hutch.dbm.Database, "__setitem__", set_item)


@pytest.mark.parametrize(("old", "new"), [("Pickle", "Json"), ("Compressed", "Encrypted"), ("Nested", "Pickle"),
                                          ("Pickle", "Pickle0"), ("Json", "CompressedJson")])  # fmt: skip
def test_ctrl_c_at_every_entry(path: str, small_batches: None, old: str, new: str) -> None:
    reopened = itertools.cycle([old, new, None])
    for at, after in itertools.product(range(1, len(EXAMPLES) + 1), (False, True)):
        fill(path, CODECS[old]())
        shelf = hutch.open(path, codec=CODECS[old]())
        with pytest.MonkeyPatch.context() as patch:
            interrupt(patch, at, after)
            is_laxer = hutch.mixed.is_laxer(CODECS[new](), (shelf.codec,))
            try:
                shelf.recode(CODECS[new]())
            except KeyboardInterrupt:
                assert type(shelf.codec) is (type(CODECS[old]()) if is_laxer else hutch.mixed.Mixed)
                if is_laxer:
                    assert under(shelf.dict, CODECS[old]()) == EXAMPLES, "it is all one transaction"
            else:
                assert new == "CompressedJson"  # which leaves short values as they are
        assert dict(shelf) == dict(shelf.items()) == EXAMPLES
        shelf["written"] = "meanwhile"
        assert shelf["written"] == "meanwhile"
        codec = next(reopened)
        if codec == new and is_laxer:
            codec = old  # there is nothing under the new one
        if codec is not None:
            shelf.close()
            shelf = hutch.open(path, codec=CODECS[codec]())
        if codec == new:
            back = CODECS[old]()
            if hutch.mixed.is_laxer(back, (shelf.codec,)) and not all_read(shelf):
                before = dict(shelf.dict)
                with pytest.raises(CodecError):
                    shelf.recode(back)  # the rest could have been planted: only who opens it with the old one trusts it
                assert dict(shelf.dict) == before
                shelf.close()
                shelf = hutch.open(path, codec=CODECS[old]())
            else:
                shelf.recode(back)  # back again: either codec will do to go on from
                assert under(shelf.dict, CODECS[old]()) == EXAMPLES | {"written": "meanwhile"}
        shelf.recode(CODECS[new]())
        assert under(shelf.dict, CODECS[new]()) == dict(shelf) == EXAMPLES | {"written": "meanwhile"}
        shelf.close()


@pytest.mark.parametrize(("old", "new"), [("Pickle", "Json"), ("Pickle", "Own")])
def test_ctrl_c_at_every_line(path: str, monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    monkeypatch.setattr(hutch.recode, "_BATCH_ENTRIES", 2)
    codecs = CODECS | UNMARKED
    values = {key: EXAMPLES[key] for key in ("text", "list", "number")}
    files = {hutch.recode.__file__, hutch.pickling.__file__, hutch.edit.__file__}
    fill(path, None, values)
    for at in itertools.count(1, 4):
        lines = 0

        def trace(frame: Any, event: str, argument: Any, at: int = at) -> Any:
            nonlocal lines
            if frame.f_code.co_filename not in files or frame.f_code.co_name in ("__exit__", "_wraps"):
                return None
            if event == "line":
                lines += 1
                if lines == at:
                    sys.settrace(None)
                    raise KeyboardInterrupt
            return trace

        with hutch.open(path, codec=codecs[old]()) as shelf:
            tracer = sys.gettrace()
            try:
                sys.settrace(trace)
                shelf.recode(codecs[new]())
            except KeyboardInterrupt:
                pass
            else:
                assert at > 100
                break
            finally:
                sys.settrace(tracer)
            if shelf.dict.store.in_transaction:
                continue  # struck between entering a block and its first line: no Python can help that
            if new == "Own":  # one moment decides: what follows it may be struck too, but the entries are whole
                try:
                    assert under(shelf.dict, codecs[old]()) == values
                except CodecError:
                    assert under(shelf.dict, codecs[new]()) == values
                    break
            assert dict(shelf) == values, at
            shelf.recode(codecs[old]())
            assert under(shelf.dict, codecs[old]()) == values


@pytest.mark.parametrize(("old", "new"), [("Pickle", "Own"), ("Marshal", "Json")])
def test_ctrl_c_where_the_bytes_say_nothing(path: str, small_batches: None, old: str, new: str) -> None:
    codecs = CODECS | UNMARKED
    fill(path, codecs[old]())
    for at in range(1, len(EXAMPLES) + 1):
        with hutch.open(path, codec=codecs[old]()) as shelf, pytest.MonkeyPatch.context() as patch:
            interrupt(patch, at)
            with pytest.raises(KeyboardInterrupt):
                shelf.recode(codecs[new]())
            assert dict(shelf) == under(shelf.dict, codecs[old]()) == EXAMPLES


def test_another_codec_after_an_interruption(path: str, small_batches: None) -> None:
    fill(path, None)
    with hutch.open(path) as shelf:
        for codec in (Json(), Compressed(Plist()), Signed(Json(), OLD)):
            with pytest.raises(ZeroDivisionError):
                shelf.recode(codec, progress=lambda done, total: 1 // (done < 6))
            assert dict(shelf) == EXAMPLES
        with pytest.raises(TransactionError, match="finish that"):
            shelf.recode(Own())
        shelf.recode(Json())
        assert under(shelf.dict, Json()) == EXAMPLES
        shelf.recode(Own())
        assert under(shelf.dict, Own()) == EXAMPLES


def _recode_until_killed(line: Line, path: str, at: int) -> None:
    hutch.recode._BATCH_ENTRIES = 3
    calls = 0
    encode = Json.encode

    def counted(self: Json, key: bytes, value: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(self, key, value)

    Json.encode = counted  # type: ignore[method-assign]
    with hutch.open(path) as shelf:
        shelf.recode(Json())


def test_kill_at_every_entry(path: str) -> None:
    fill(path, None)
    readable = hutch.mixed.Mixed((Json(), Pickle()))
    for at in range(1, len(EXAMPLES) + 1):
        with Child(_recode_until_killed, path, at) as child:
            with pytest.raises(EOFError):
                child.hear()
            child.kill()
        with hutch.open(path, "r", codec=readable) as shelf:
            assert dict(shelf) == EXAMPLES
    with hutch.open(path) as shelf:
        shelf.recode(Json())
        assert under(shelf.dict, Json()) == EXAMPLES


# -- others ------------------------------------------------------------------------------------------------


_NEW = 200


def _count(line: Line, path: str) -> None:
    """Write under the old codec, with a shelf that reads either, until told to stop."""
    with hutch.open(path, codec=hutch.mixed.Mixed((Pickle(), Json()))) as shelf:
        line.say("ready")
        count = 0
        while not line.connection.poll():
            shelf.modify("count", lambda value: value + 1, 0)
            shelf[f"new {count % _NEW}"] = count  # not more of them the longer the others take
            count += 1
        line.say(count)


def test_nothing_that_others_store_is_lost(path: str, small_batches: None) -> None:
    fill(path, None, {str(number): number for number in range(60)} | {"count": 0})
    with Child(_count, path) as child, hutch.open(path) as shelf:
        assert child.hear() == "ready"
        for codec in (Json(), Pickle(), Json()):
            with hutch.open(path, codec=hutch.mixed.Mixed((Json(), Pickle()))) as other:
                other.recode(codec)
        shelf.recode(Json())
        child.say("stop")
        count = child.hear()
        child.finish()
        with hutch.open(path) as other:  # what has been stored as a pickle after the end
            other.recode(Json())
        values = under(shelf.dict, Json())
        assert values == {str(number): number for number in range(60)} | {"count": count} | {
            f"new {number % _NEW}": number for number in range(count)
        }


def test_threads_read_and_write_meanwhile(path: str, small_batches: None) -> None:
    fill(path, None)
    done = threading.Event()

    def read() -> int:
        count = 0
        while not done.is_set():
            for key, value in EXAMPLES.items():
                assert shelf[key] == value
                count += 1
        return count

    count = 0

    def write() -> None:
        nonlocal count
        while not done.is_set():
            shelf["count"] = shelf.get("count", 0) + 1
            count += 1

    with hutch.open(path) as shelf, ThreadPoolExecutor(3) as pool:
        readers, writer = [pool.submit(read), pool.submit(read)], pool.submit(write)
        try:
            for name in ("Json", "Compressed", "Pickle", "Nested", "Pickle", "Json"):
                shelf.recode(CODECS[name]())
                before = count
                while count < before + 2 and not writer.done():
                    pass  # what was on its way at the end of one is not to meet the next
        finally:
            done.set()
        writer.result()
        assert all(reader.result() for reader in readers)
        assert under(shelf.dict, Json()) == EXAMPLES | {"count": count}


def test_what_others_store_under_the_old_codec_is_found(path: str, small_batches: None) -> None:
    fill(path, None)
    rounds = itertools.count()

    def write(done: int, total: int) -> None:
        number = next(rounds)
        if number < 40:
            with hutch.open(path, codec=Pickle()) as other:
                other["text"] = f"round {number}"  # which has been rewritten already
                other[f"new {number}"] = number

    with hutch.open(path) as shelf, pytest.MonkeyPatch.context() as patch:
        patch.setattr(hutch.recode, "_FREE_PASSES", 50)
        shelf.recode(Json(), progress=write)
        assert under(shelf.dict, Json()) == EXAMPLES | {"text": "round 39"} | {f"new {n}": n for n in range(40)}


def test_at_last_others_have_to_wait(path: str, small_batches: None) -> None:
    """One that never stops writing does not keep `recode` from its end."""
    fill(path, None)
    held = []

    def write(done: int, total: int) -> None:
        if shelf.dict.store.in_transaction:
            held.append(done)
            return
        with hutch.open(path) as other:
            other["text"] = "old"

    with hutch.open(path) as shelf:
        shelf.recode(Json(), progress=write)
        assert held
        assert under(shelf.dict, Json()) == EXAMPLES | {"text": "old"}


# -- entries that cannot be recoded ------------------------------------------------------------------------


@pytest.fixture
def faulty(path: str) -> Iterator[Shelf]:
    """One entry that the old codec cannot read, one that the new one cannot write, and one that is damaged."""
    fill(path, None, {"a": 1, "unwritable": {1, 2}, "b": 2, "unreadable": None, "damaged": "D" * 2000, "c": 3})
    with hutch.dbm.open(path) as db:
        db["unreadable"] = b"\x80\x04 no pickle."
    data = Path(path + ".dat").read_bytes()
    Path(path + ".dat").write_bytes(data.replace(b"D" * 20, b"E" * 20, 1))
    with hutch.open(path) as shelf:
        yield shelf


def test_an_entry_that_cannot_be_recoded_stops_it(faulty: Shelf, small_batches: None) -> None:
    for key, problem in (
        ("unwritable", (TypeError, ValueError)),
        ("unreadable", UnreadableValueError),
        ("damaged", CorruptEntryError),
    ):
        with pytest.raises(problem) as caught:
            faulty.recode(Json())
        assert any(repr(key) in note for note in caught.value.__notes__)
        assert (faulty["a"], faulty["b"], faulty["c"]) == (1, 2, 3)
        del faulty[key]
    faulty.recode(Json())
    assert under(faulty.dict, Json()) == {"a": 1, "b": 2, "c": 3}


def test_or_is_skipped_and_stays_as_it_is(faulty: Shelf, small_batches: None) -> None:
    report = faulty.recode(Json(), errors="skip")
    assert [skipped.key for skipped in report.skipped] == ["unwritable", "unreadable", "damaged"]
    assert [type(skipped.error) for skipped in report.skipped][1:] == [UnreadableValueError, CorruptEntryError]
    assert (report.entry_count, report.recoded_count) == (6, 3)
    assert {key: faulty[key] for key in ("a", "b", "c", "unwritable")} == {"a": 1, "b": 2, "c": 3, "unwritable": {1, 2}}
    assert type(faulty.codec) is hutch.mixed.Mixed
    for key in ("unwritable", "unreadable", "damaged"):
        del faulty[key]
    assert faulty.recode(Json()).skipped == ()
    assert type(faulty.codec) is Json


def test_what_the_new_codec_writes_and_does_not_read_stays(path: str) -> None:
    fill(path, None, {"a": [1], "b": random.Random})
    with hutch.open(path) as shelf:
        report = shelf.recode(SafePickle(), errors="skip")
        assert [skipped.key for skipped in report.skipped] == ["b"]
        assert shelf["b"] is random.Random


class Canary:
    """Does something when it is unpickled."""

    sung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return Canary.sing, ()

    @staticmethod
    def sing() -> None:
        Canary.sung = True


def test_what_the_old_codec_refuses_to_run_the_new_one_does_not_run_in_its_place() -> None:
    for new in (Pickle(), Pickle(renames={"a": "b"}), Compressed(Pickle()), Signed(Pickle(), OLD)):
        Canary.sung = False
        shelf = Shelf({b"a": pickle.dumps([1]), b"bird": pickle.dumps(Canary())}, codec=SafePickle())
        with pytest.raises(ForbiddenGlobalError):
            shelf.recode(new)
        with pytest.raises(ForbiddenGlobalError):
            shelf["bird"]
        report = shelf.recode(new, errors="skip")
        assert [(skipped.key, type(skipped.error)) for skipped in report.skipped] == [("bird", ForbiddenGlobalError)]
        assert shelf["a"] == [1]
        with pytest.raises(ForbiddenGlobalError):
            shelf["bird"]
        assert not Canary.sung
        del shelf["bird"]
        shelf.recode(new)
        assert dict(shelf) == under(shelf.dict, new) == {"a": [1]}


class Unsafe(Codec):
    """Pickles, by a codec of the user's own."""

    def encode(self, key: bytes, value: Any) -> bytes:
        return pickle.dumps(value)

    def decode(self, key: bytes, data: Any) -> Any:
        return pickle.loads(data)


PLANTED = {  # each reads its bytes, or runs them; the old codec is there to refuse them
    "Json": (Json, Pickle),
    "Json, as Pickle(0)": (Json, lambda: Pickle(0)),
    "Json, compressed": (Json, lambda: Compressed(Pickle(), min_size=0)),
    "Json, with buffers": (Json, lambda: Pickle(buffers=True)),
    "Json, wrapped in nothing": (lambda: Compressed(Json()), Pickle),
    "MessagePack": (MessagePack, Pickle),
    "MessagePack, of one's own": (MessagePack, Unsafe),
    "Plist": (Plist, Pickle),
    "SafePickle": (SafePickle, Pickle),
    "SafePickle, compressed": (SafePickle, lambda: Compressed(Pickle(), min_size=0)),
    "signed": (lambda: Signed(Pickle(), OLD), Pickle),
    "signed JSON": (lambda: Signed(Json(), OLD), Pickle),
    "encrypted": (lambda: Encrypted(Pickle(), AES_OLD), lambda: Compressed(Pickle(), min_size=0)),
    "compressed and signed": (lambda: Compressed(Signed(Pickle(), OLD)), Pickle),
    "nested": (CODECS["Nested"], Pickle),
}


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("is_dict", [False, True])
def test_what_was_planted_is_never_taken_for_rewritten(
    path: str, name: str, is_dict: bool, small_batches: None
) -> None:
    """Neither by the run that finds it, nor by another one, nor by the shelf afterwards."""
    make_old, make_new = PLANTED[name]
    planted = bytes(make_new().encode(b"bird", Canary()))
    Canary.sung = False
    with Shelf({}, codec=make_old()) if is_dict else hutch.open(path, "n", codec=make_old()) as shelf:
        shelf.update(EXAMPLES)
        shelf.dict[b"bird"] = planted
        shelf["last"] = [1]
        before = dict(shelf.dict)
        for _ in range(2):
            with pytest.raises(CodecError):
                shelf.recode(make_new())
            assert dict(shelf.dict) == before, "all or nothing"
            with pytest.raises(CodecError):
                shelf["bird"]
        assert shelf["last"] == [1]
        for count in (len(EXAMPLES) + 1,) * 2:  # a second run begins with what the first one has left
            report = shelf.recode(make_new(), errors="skip")
            assert ([skipped.key for skipped in report.skipped], report.recoded_count) == (["bird"], count)
            with pytest.raises(CodecError):
                shelf["bird"]
            assert {key: shelf[key] for key in (*EXAMPLES, "last")} == EXAMPLES | {"last": [1]}
            assert shelf.dict[b"bird"] == planted
        if name in ("Json", "SafePickle"):  # of no keys, which are not pickled
            with pytest.raises(CodecError):
                pickle.loads(pickle.dumps(shelf.codec)).decode(b"bird", planted)
        assert not Canary.sung
        shelf["bird"] = ["replaced"]
        shelf["class"] = ("only", "the new one has tuples")
        assert shelf["bird"] == ["replaced"]
        report = shelf.recode(codec := make_new())
        assert (report.skipped, shelf.codec) == ((), codec)
        expected = EXAMPLES | {"last": [1], "bird": ["replaced"], "class": ("only", "the new one has tuples")}
        assert dict(shelf) == under(shelf.dict, make_new()) == expected
    assert not Canary.sung


def test_dropping_a_signature_takes_no_unsigned_value_along(path: str) -> None:
    """There is nothing to run in JSON, but it is not what somebody with the key has written."""
    for old in (Signed(Json(), OLD), Encrypted(Json(), AES_OLD)):
        for new in (Json(), Compressed(Json()), SafePickle()):
            fill(path, old)
            with hutch.open(path, codec=old) as shelf:
                shelf.dict[b"forged"] = bytes(new.encode(b"forged", {"balance": 1_000_000}))
                before = dict(shelf.dict)
                with pytest.raises(CodecError):
                    shelf.recode(new)
                assert dict(shelf.dict) == before
                del shelf["forged"]
                shelf.recode(new)
                assert under(shelf.dict, new) == EXAMPLES


def test_a_change_to_a_stricter_codec_needs_no_transaction(path: str, small_batches: None) -> None:
    for new in (Json(), SafePickle(), Signed(Pickle(), OLD), Encrypted(Json(), AES_OLD)):
        fill(path, Pickle())
        with hutch.open(path, codec=Pickle()) as shelf:
            before = shelf.dict.statistics().sequence
            shelf.recode(new)
            assert shelf.dict.statistics().sequence > before + 1 or type(new) is SafePickle  # whose bytes are the same


def test_an_entry_that_was_damaged_is_read_by_neither_codec_until_it_is_replaced(faulty: Shelf) -> None:
    del faulty["unwritable"], faulty["unreadable"]
    report = faulty.recode(Own(), errors="skip")
    assert [skipped.key for skipped in report.skipped] == ["damaged"]
    assert type(faulty.codec) is hutch.mixed.Spared
    with pytest.raises(CorruptEntryError):
        faulty["damaged"]
    faulty["damaged"] = "mended"
    assert dict(faulty) == {"a": 1, "b": 2, "c": 3, "damaged": "mended"}


def test_threads_that_store_while_all_is_one_transaction(path: str) -> None:
    """What a thread makes under the old codec, and what it stores behind the end, is under the new one at last."""
    fill(path, Json())
    begun, stored = threading.Event(), threading.Event()

    def store() -> None:
        begun.wait()
        shelf["by a thread"] = ["plums"]  # waits for the transaction
        stored.set()

    def progress(done: int, total: int) -> None:
        begun.set()
        assert shelf["text"] == EXAMPLES["text"]

    with hutch.open(path, codec=Json()) as shelf, ThreadPoolExecutor(1) as pool:
        future = pool.submit(store)
        shelf.recode(Pickle(), progress=progress)
        future.result()
        assert under(shelf.dict, Pickle()) == EXAMPLES | {"by a thread": ["plums"]}


def test_another_process_that_writes_right_behind_the_end_changes_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what it stores in the place of the last entry, nor that it deletes that, undoes what was committed."""
    leave = hutch.edit.ShelfTransaction.__exit__
    for change in ("store", "delete"):
        fill(path, Json())

        def leave_and_write(self: Any, *problem: Any, change: str = change) -> None:
            leave(self, *problem)
            with hutch.dbm.open(path) as db:
                for key in EXAMPLES:
                    if change == "store":
                        db[key] = pickle.dumps("changed")
                    else:
                        del db[key]

        with hutch.open(path, codec=Json()) as shelf, monkeypatch.context() as patch:
            patch.setattr(hutch.edit.ShelfTransaction, "__exit__", leave_and_write)
            shelf.recode(Pickle())
            patch.undo()
            assert type(shelf.codec) is Pickle
            assert dict(shelf) == (dict.fromkeys(EXAMPLES, "changed") if change == "store" else {})


@pytest.mark.parametrize("writeback", [False, True])
@pytest.mark.parametrize("is_spared", [False, True])
@pytest.mark.parametrize("name", ["Encrypted", "Signed", "Compressed"])
def test_what_is_edited_in_a_mixture_is_wrapped_as_well(path: str, writeback: bool, is_spared: bool, name: str) -> None:
    """Everything that is stored is the new codec's, whichever way it takes: no secret is left in the open."""
    new = CODECS[name]()
    fill(path, Own() if is_spared else None, {"secret": ["s3cret"], "other": ["s3cret"], "third": [1]})
    with hutch.dbm.open(path) as db:
        db["bad"] = b"cno\nwhere\n."
    with hutch.open(path, writeback=writeback, codec=Own() if is_spared else None) as shelf:
        assert len(shelf.recode(new, errors="skip").skipped) == 1
        assert type(shelf.codec) is (hutch.mixed.Spared if is_spared else hutch.mixed.Mixed)
        with shelf.edit("secret") as value:
            value.append("s3cret too")
        shelf.modify("other", lambda value: [*value, "more s3cret"])
        with pytest.raises(ZeroDivisionError), shelf.transaction():
            shelf["third"].append(1 // 0)
        if writeback:
            with pytest.raises(ZeroDivisionError), shelf.transaction():
                shelf["third"].append(5)
                1 // 0  # noqa: B018  # the cache goes back
            shelf["third"].append(2)
            shelf.sync()
        shelf.update(fourth=["s3cret"])
        shelf.setdefault("fifth", ["s3cret"])
        expected = {"secret": ["s3cret", "s3cret too"], "other": ["s3cret", "more s3cret"], "fourth": ["s3cret"],
                    "fifth": ["s3cret"], "third": [1, 2] if writeback else [1]}  # fmt: skip
        del shelf["bad"]
        assert dict(shelf) == under(shelf.dict, new) == expected
        if name == "Encrypted":
            assert not any(b"s3cret" in data for data in shelf.dict.values())


def test_a_wrapper_of_ones_own_is_never_told_by_its_bytes() -> None:
    class Reversed(Compressed):
        """Its bytes may look like anything."""

    assert not hutch.mixed.tells_apart((Reversed(Pickle()), Pickle()))
    assert not hutch.mixed.tells_apart((Signed(Reversed(Pickle()), OLD), Json()))


def test_in_one_transaction_an_error_undoes_all(faulty: Shelf) -> None:
    with pytest.raises(UnreadableValueError):
        faulty.recode(Own())
    assert (faulty["a"], faulty["unwritable"]) == (1, {1, 2})
    assert repr(faulty.codec).startswith("Pickle(")


# -- telling codecs apart ----------------------------------------------------------------------------------

VALUES = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.text("ab.<\x80{}[]\"' N", max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pair=st.sampled_from([pair for pair in PAIRS if "Plist" not in pair and "Nested" not in pair]),
    values=st.dictionaries(st.text(max_size=3), VALUES, max_size=5),
    done=st.integers(0, 5),
)
def test_a_mixture_is_read_as_it_was_written(pair: tuple[str, str], values: dict[str, Any], done: int) -> None:
    old, new = (CODECS[name]() for name in pair)
    assert hutch.mixed.tells_apart((new, old))
    below: dict[bytes, bytes] = {}
    for number, (key, value) in enumerate(values.items()):
        Shelf(below, codec=new if number < done else old)[key] = value
    shelf = Shelf(below, codec=old)
    mixture = Shelf(below, codec=hutch.mixed.Mixed((new, old)))
    assert dict(mixture) == values
    if hutch.mixed.is_laxer(new, (old,)) and values and not all_read(shelf):
        before = dict(below)
        with pytest.raises(CodecError):
            shelf.recode(new)
        assert below == before
        assert shelf.codec is old
        shelf = mixture
    shelf.recode(new)
    assert under(below, new) == dict(shelf) == values


def test_a_codec_of_ones_own_is_never_believed_to_be_another() -> None:
    class Json(Own):  # the name is the point
        name = "Json"

    assert not hutch.mixed.tells_apart((Json(), Pickle()))
    assert not hutch.mixed.tells_apart((Compressed(Own()), Own()))
    assert hutch.mixed.tells_apart((Compressed(MessagePack()), MessagePack()))
    assert not hutch.mixed.tells_apart((MessagePack(), Pickle()))


def test_nothing_is_unpickled_to_find_out_what_it_is() -> None:
    """A value of JSON's is never given to the unpickler, and one that was signed not before that is verified."""
    shelf = Shelf({b"key": Signed(Pickle(), NEW).encode(b"key", [1]).__bytes__()}, codec=Json())
    with pytest.raises(CodecError):
        shelf.recode(Signed(Pickle(), OLD))
    with pytest.raises(CodecError):
        shelf["key"]
