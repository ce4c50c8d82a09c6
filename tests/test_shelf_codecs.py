"""The whole contract of a shelf under every codec, and what a shelf and its codec are to one another."""

from __future__ import annotations

import copy
import datetime as dt
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

import hutch
from children import Child, Line
from contract import BreakOff, MappingContract
from hutch import Shelf, ShelveError, UnreadableValueError
from hutch.codecs import (
    Codec,
    Compressed,
    Encrypted,
    Json,
    Marshal,
    MessagePack,
    Pickle,
    Pieces,
    Plist,
    SafePickle,
    Signed,
)
from hutch.errors import CodecError, ForbiddenGlobalError, TamperedError


def get_secret() -> bytes:
    return b"a key for signing, of any length"


def get_aes_key() -> bytes:
    return b"and one for AES-256 of 32 bytes "


SECRET = get_secret()


class Plain:
    """As little of a codec as there can be: no base class, nothing but the two methods."""

    name = "Plain"

    def encode(self, key: bytes, value: Any) -> bytes:
        return pickle.dumps((key, value))

    def decode(self, key: bytes, data: Any) -> Any:
        assert type(data) is bytes
        stored, value = pickle.loads(data)
        assert stored == key, "a codec is told whose value it is"
        return value


class InPieces(Codec):
    """Makes several buffers of every value, and wants views."""

    name = "InPieces"
    wants_view = True

    def encode(self, key: bytes, value: Any) -> Pieces:
        data = pickle.dumps(value)
        return Pieces([data[:7], memoryview(data)[7:], b""])

    def decode(self, key: bytes, data: Any) -> Any:
        assert not memoryview(data).readonly or isinstance(data, (bytes, memoryview))
        return pickle.loads(data)


CODECS: dict[str, Callable[[], Any]] = {
    "Pickle": Pickle,
    "Pickle0": lambda: Pickle(0),
    "Buffers": lambda: Pickle(buffers=True),
    "SafePickle": SafePickle,
    "Json": Json,
    "MessagePack": MessagePack,
    "Marshal": Marshal,
    "Plist": Plist,
    "Compressed": lambda: Compressed(Pickle(), min_size=0),
    "Signed": lambda: Signed(Json(), get_secret),
    "Encrypted": lambda: Encrypted(Pickle(), get_aes_key),
    "Nested": lambda: Signed(Compressed(Encrypted(SafePickle(), get_aes_key), "lzma"), get_secret),
    "Plain": Plain,
    "InPieces": InPieces,
}
TEXT_ONLY = {"Json", "Signed"}
IN_FILES = {"Buffers", "Nested", "InPieces"}


class CodecContract(MappingContract):
    """With text as keys, and objects as values that every codec takes."""

    __test__ = False
    lists = False
    binary_keys = False
    text_values = False
    codec: ClassVar[str]
    writeback: ClassVar[bool] = False

    def key(self, text: str) -> Any:
        return text

    def value(self, data: bytes) -> Any:
        return {"data": [data.decode("latin-1") if self.codec in TEXT_ONLY else data, len(data)]}

    def options(self) -> dict[str, Any]:
        return {"codec": CODECS[self.codec](), "writeback": self.writeback}

    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with Shelf({}, **self.options()) as shelf:
            yield shelf


class FilesContract(CodecContract):
    @contextmanager
    def fresh(self) -> Iterator[Shelf]:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "shelf")
            shelves = self.shelves = getattr(self, "shelves", {})
            shelves[path] = hutch.open(path, **self.options())
            try:
                yield shelves[path]
            finally:
                shelves.pop(path).close()

    def reopened(self, mapping: MutableMapping[Any, Any]) -> Shelf:
        assert isinstance(mapping, Shelf)
        path = mapping.dict.path
        mapping.close()
        self.shelves[path] = hutch.open(path, "w", **self.options())
        return self.shelves[path]


def contracts() -> Iterator[type]:
    for name in CODECS:
        base = FilesContract if name in IN_FILES else CodecContract
        body: dict[str, Any] = {"__test__": True, "codec": name}
        if name not in ("Buffers", "Nested"):
            body["test_any_history_is_a_dict_s"] = None  # long, and the others differ in nothing that it tries
        yield type(f"TestContract{name}", (base,), body)
        if name in ("Json", "Encrypted", "Nested"):
            body = {**body, "writeback": True, "test_any_history_is_a_dict_s": None}
            yield type(f"TestContract{name}Writeback", (CodecContract,), body)


globals().update({contract.__name__: contract for contract in contracts()})


# -- choosing a codec ----------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path) -> str:
    return os.fspath(tmp_path / "shelf")


@pytest.mark.parametrize("make", [Shelf, hutch.BsdDbShelf])
def test_a_codec_has_no_room_beside_it(make: Any) -> None:
    with pytest.raises(ShelveError, match="give one or the others"):
        make({}, codec=Json(), serializer=pickle.dumps, deserializer=pickle.loads)
    with pytest.raises(ShelveError, match="needs a deserializer"):
        make({}, codec=Json(), serializer=pickle.dumps)
    with pytest.raises(ShelveError, match=r"Pickle\(protocol\)"):
        make({}, 2, codec=Pickle())
    for wrong in (Json, "json", 5, object()):
        with pytest.raises(TypeError, match="a codec is an object with encode"):
            make({}, codec=wrong)


def test_wrong_options_leave_the_files_alone(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["key"] = "precious"
    for options in ({"codec": Json}, {"codec": Json(), "protocol": 2}, {"codec": Json(), "serializer": repr}):
        with pytest.raises((ShelveError, TypeError)):
            hutch.open(path, "n", **options)
    with hutch.open(path, "r") as shelf:
        assert dict(shelf) == {"key": "precious"}


def test_a_shelf_says_what_its_codec_is() -> None:
    codec = Json()
    shelf = Shelf({}, codec=codec)
    assert shelf.codec is codec
    assert shelf.serializer is shelf.deserializer is None
    assert repr(Shelf({}, 2).codec) == repr(Pickle(2))
    shelf = Shelf({}, serializer=lambda value, protocol: repr((value, protocol)).encode(), deserializer=bytes)
    assert shelf.codec.encode(b"key", 1) == repr((1, pickle.DEFAULT_PROTOCOL)).encode()
    assert shelf.codec.decode(b"key", b"data") == b"data"
    with pytest.raises(AttributeError):
        shelf.codec = Json()  # type: ignore[misc]


@pytest.mark.parametrize("protocol", [None, *range(6)])
def test_a_plain_pickle_codec_is_the_default(protocol: int | None) -> None:
    below: dict[bytes, bytes] = {}
    Shelf(below, codec=Pickle(protocol))["key"] = [1]
    assert below == {b"key": pickle.dumps([1], protocol)}
    shelf = Shelf({b"key": b"no pickle"}, codec=Pickle(protocol))
    with pytest.raises(CodecError, match=r"^the value of key 'key' cannot be read by Pickle") as caught:
        shelf["key"]
    assert caught.value.key == b"key"


def test_a_codec_gets_the_key_as_it_is_stored() -> None:
    seen = []

    class Seeing(Codec):
        def encode(self, key: bytes, value: Any) -> bytes:
            seen.append(key)
            return b""

        def decode(self, key: bytes, data: Any) -> Any:
            seen.append(key)

    shelf = Shelf({}, codec=Seeing(), keyencoding="latin-1")
    shelf["é"] = 1
    shelf.update({"é": 2})
    assert shelf["é"] is shelf.get("é") is None
    assert list(shelf.items()) == [("é", None)]
    with shelf.edit("é"):
        pass
    assert set(seen) == {b"\xe9"}


# -- errors --------------------------------------------------------------------------------------------

SAID = {
    "Pickle": "Pickle",
    "Buffers": "Pickle(buffers=True)",
    "Json": "Json",
    "Plist": "Plist",
    "Compressed": "Compressed",
    "Signed": "Signed",
    "Encrypted": "Encrypted",
}


@pytest.mark.parametrize("wrote", SAID)
@pytest.mark.parametrize("reads", ["default", *SAID, "MessagePack", "Nested"])
def test_the_wrong_codec_is_told_what_the_bytes_look_like(wrote: str, reads: str) -> None:
    below: dict[bytes, bytes] = {}
    if wrote == "Buffers":
        below[b"key"] = bytes(CODECS[wrote]().encode(b"key", pickle.PickleBuffer(bytearray(100))))
    else:
        Shelf(below, codec=CODECS[wrote]())["key"] = {"a": ["some text" * 100, 5]}
    below[b"other"] = below[b"key"]
    shelf = Shelf(below) if reads == "default" else Shelf(below, codec=CODECS[reads]())
    if wrote == reads or {wrote, reads} in ({"Pickle", "default"}, {"Pickle", "Buffers"}):
        return
    if (wrote, reads) in (("Pickle", "Compressed"), ("Signed", "Nested")):
        return  # it reads what is not compressed; what is wrong is what was signed
    for read in (shelf.__getitem__, shelf.get, shelf.pop, lambda key: list(shelf.values()), lambda key: dict(shelf)):
        with pytest.raises((CodecError, UnreadableValueError), match="'key'") as caught:
            read("key")
        if not isinstance(caught.value, TamperedError):
            assert getattr(caught.value, "looks_like", None) == SAID[wrote]
            assert SAID[wrote] in str(caught.value)
    assert shelf.dict == below


def test_a_value_that_was_moved_is_not_believed() -> None:
    shelf = Shelf({}, codec=Signed(Pickle(), SECRET))
    shelf["a"], shelf["b"] = 1, 2
    shelf.dict[b"a"] = shelf.dict[b"b"]
    with pytest.raises(TamperedError, match="'a'"):
        shelf["a"]
    assert shelf["b"] == 2


def test_what_a_codec_cannot_encode_changes_nothing(path: str) -> None:
    for writeback in (False, True):
        with hutch.open(path, "n", codec=Json(), writeback=writeback) as shelf:
            shelf["key"] = [1]
            for attempt in (
                lambda: shelf.__setitem__("key", {1}),
                lambda: shelf.update(new=1, key={1}),
                lambda: shelf.modify("key", set),
            ):
                with pytest.raises((TypeError, ValueError)) as caught:
                    attempt()
                assert any("'key'" in note for note in caught.value.__notes__)
            assert dict(shelf) == {"key": [1]}


def test_an_error_of_a_codec_of_ones_own_names_the_key() -> None:
    class Wrong(Plain):
        def decode(self, key: bytes, data: Any) -> Any:
            raise KeyError("inside")

    shelf = Shelf({}, codec=Wrong())
    shelf["key"] = 1
    for read in (shelf.__getitem__, shelf.get, lambda key: shelf.setdefault(key, 1)):
        with pytest.raises(UnreadableValueError, match="'key' cannot be read: KeyError"):
            read("key")


# -- writeback and edits, where the same object never makes the same bytes twice -------------------------


@pytest.mark.parametrize("name", ["Encrypted", "Nested", "InPieces", "Json", "Compressed"])
def test_writeback_writes_what_has_changed_alone(path: str, name: str) -> None:
    with hutch.open(path, codec=CODECS[name](), writeback=True) as shelf:
        shelf.update(a=[1], b=[2])
        shelf.sync()
        before = shelf.dict.get_many([b"a", b"b"])
        assert shelf["a"] == [1]
        shelf["b"].append(3)
        shelf.sync()
        after = shelf.dict.get_many([b"a", b"b"])
        assert after[b"a"] == before[b"a"]
        assert after[b"b"] != before[b"b"]
        shelf["b"].append(4)
    with hutch.open(path, codec=CODECS[name]()) as shelf:
        assert dict(shelf) == {"a": [1], "b": [2, 3, 4]}


@pytest.mark.parametrize("writeback", [False, True])
@pytest.mark.parametrize("name", ["Encrypted", "Nested", "InPieces", "Buffers"])
def test_an_edit_stores_what_has_changed_alone(path: str, name: str, writeback: bool) -> None:
    with hutch.open(path, codec=CODECS[name](), writeback=writeback) as shelf:
        shelf["a"] = [1]
        before = shelf.dict[b"a"]
        with shelf.edit("a") as value:
            assert value == [1]
        assert shelf.dict[b"a"] == before
        with shelf.edit("a") as value:
            value.append(2)
        assert shelf.dict[b"a"] != before
        assert shelf["a"] == [1, 2]


def test_an_edit_sees_a_change_within_a_buffer(path: str) -> None:
    class Block(bytearray):
        """Pickles out of band, as arrays do: what is pickled is the very memory that changes."""

        def __reduce_ex__(self, protocol: Any) -> Any:
            return _block, (pickle.PickleBuffer(self),)

    globals()["Block"] = Block
    for writeback in (False, True):
        with hutch.open(path, "n", codec=Pickle(buffers=True), writeback=writeback) as shelf:
            shelf["block"] = Block(1000)
            with shelf.edit("block") as block:
                block[5] = 7
            with hutch.open(path, "r", codec=Pickle(buffers=True)) as other:
                assert other["block"][5] == 7
            with pytest.raises(BreakOff), shelf.transaction():
                shelf["block"][5] = 9
                shelf["block"] = Block(3)
                raise BreakOff
            assert len(shelf["block"]) == 1000
            assert shelf["block"][5] == 7


def _block(data: Any) -> Any:
    return globals()["Block"](data)


@pytest.mark.parametrize("name", ["Encrypted", "Nested", "InPieces"])
def test_a_failed_transaction_takes_the_cache_back(path: str, name: str) -> None:
    with hutch.open(path, codec=CODECS[name](), writeback=True) as shelf:
        shelf["a"] = [1]
        shelf["a"].append("changed, and not written")
        with pytest.raises(BreakOff), shelf.transaction():
            shelf["a"].append(2)
            shelf["b"] = [3]
            raise BreakOff
        assert dict(shelf) == {"a": [1, "changed, and not written"]}
    with hutch.open(path, codec=CODECS[name]()) as shelf:
        assert dict(shelf) == {"a": [1, "changed, and not written"]}


# -- a shelf that goes elsewhere -------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CODECS if name not in ("Plist", "Marshal")])
def test_a_pickled_shelf_carries_its_codec(path: str, name: str) -> None:
    with hutch.open(path, "n", codec=CODECS[name]()) as shelf:
        shelf["a"] = ["text", 1]
        with pickle.loads(pickle.dumps(shelf)) as other:
            assert type(other.codec) is type(shelf.codec)
            assert other["a"] == ["text", 1]
            other["b"] = None
        assert shelf["b"] is None
        with copy.copy(shelf) as again:
            assert again["a"] == ["text", 1]


def _read_and_write(line: Line, shelf: Shelf) -> None:
    line.say(shelf["a"])
    shelf["b"] = {"by": "child"}
    shelf.close()


@pytest.mark.parametrize("name", ["Pickle", "Buffers", "Nested"])
def test_a_forked_shelf_keeps_its_codec(path: str, name: str) -> None:
    with hutch.open(path, codec=CODECS[name]()) as shelf:
        shelf["a"] = "x" * 100_000
        with Child(_read_and_write, shelf) as child:
            assert child.hear() == "x" * 100_000
            child.finish()
        assert shelf["b"] == {"by": "child"}


def test_safe_pickles_are_read_and_what_is_forbidden_is_named(path: str) -> None:
    with hutch.open(path) as shelf:
        shelf["date"] = dt.date(2026, 1, 1)
        shelf["process"] = subprocess.Popen
    with hutch.open(path, codec=SafePickle()) as shelf:
        assert shelf["date"] == dt.date(2026, 1, 1)
        with pytest.raises(ForbiddenGlobalError, match="'process'") as caught:
            shelf["process"]
        assert (caught.value.key, caught.value.module, caught.value.name) == (b"process", "subprocess", "Popen")


def test_a_shelf_of_pickles_imports_no_other_codec() -> None:
    program = (
        "import sys, hutch, tempfile; shelf = hutch.open(tempfile.mkdtemp() + '/shelf'); shelf['a'] = [1]; shelf['a'];"
        "print(*[name for name in sys.modules if name.startswith('hutch.codecs.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert set(done.stdout.split()) == {"hutch.codecs.base", "hutch.codecs.framing"}
