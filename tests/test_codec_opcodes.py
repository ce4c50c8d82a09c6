"""What a pickle refers to is told without running it, and is what an unpickler would ask for."""

from __future__ import annotations

import _pickle
import copyreg
import io
import pickle
import pickletools
import random
import struct
from pathlib import Path
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import attacks
from hutch.codecs.opcodes import UNKNOWN, disassemble, globals_of, walk
from hutch.errors import CodecError, LimitError
from test_codec_safe import MY_VALUES, SEEDS, VALUES, mutated, values

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


class Recorder(_pickle.Unpickler):
    """Notes what it is asked for, and makes it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.asked: list[tuple[str, str]] = []

    def find_class(self, module: str, name: str) -> Any:
        self.asked.append((module, name))
        return super().find_class(module, name)


class Inert:
    """What any call makes, whatever it is called with."""

    def __new__(cls, *arguments: object, **named: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None: ...
    def __setitem__(self, key: object, value: object) -> None: ...
    def append(self, item: object) -> None: ...
    def extend(self, items: object) -> None: ...
    def add(self, item: object) -> None: ...


class Dry(_pickle.Unpickler):
    """Runs nothing: every global is `Inert`."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.asked: list[tuple[str, str]] = []

    def find_class(self, module: str, name: str) -> Any:
        self.asked.append((module, name))
        return Inert

    def persistent_load(self, name: object) -> object:
        return Inert()


@given(values, st.sampled_from(PROTOCOLS))
@settings(max_examples=200, deadline=None)
def test_globals_are_what_an_unpickler_asks_for(value: Any, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    recorder = Recorder(data)
    recorder.load()
    assert list(globals_of(data)) == recorder.asked
    assert list(globals_of(memoryview(data))) == recorder.asked
    assert walk(data).end == len(data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_globals_of_known_values(protocol: int) -> None:
    for value in [*VALUES, *MY_VALUES]:
        for data in (pickle.dumps(value, protocol), pickletools.optimize(pickle.dumps(value, protocol))):
            recorder = Recorder(data)
            recorder.load()
            assert list(globals_of(data)) == recorder.asked


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_globals_of_several_frames(protocol: int) -> None:
    value = [[n, "x" * 70_000, n / 2, Path] for n in range(4)]
    data = pickle.dumps(value, protocol)
    if protocol >= 4:
        assert data.count(b"\x95") > 1
    assert [name for _, name in globals_of(data)] == ["Path"]


def test_the_python_pickler_is_read_too() -> None:
    for protocol in PROTOCOLS:
        for value in [*VALUES, *MY_VALUES]:
            if len(repr(value)) > 1000:
                continue
            data = pickle._dumps(value, protocol)  # type: ignore[attr-defined]
            recorder = Recorder(data)
            recorder.load()
            assert list(globals_of(data)) == recorder.asked


@pytest.mark.parametrize("seed", range(3))
def test_mutants_ask_for_nothing_that_is_not_told(seed: int) -> None:
    """Where an unpickler gets through, or half-way, it has asked for what the walk saw, in that order."""
    generator = random.Random(seed)
    through = 0
    for _ in range(6000):
        data = mutated(generator)
        told: list[tuple[str, str]] = []
        whole = True
        try:
            told.extend(globals_of(data))
        except LimitError:
            continue
        except CodecError:
            whole = False
        if not whole and (b"r" in data or b"p" in data):
            continue  # a memo as large as memory would be the unpickler's own fault
        dry = Dry(data)
        try:
            dry.load()
        except Exception:  # noqa: BLE001  # whatever damage leads to
            assert dry.asked == told[: len(dry.asked)] or UNKNOWN in str(told)
            continue
        assert whole, data
        through += 1
        assert dry.asked == told
    assert through > 100


def test_every_attack_is_seen() -> None:
    for module, name, arguments in attacks.GADGETS:
        for how, data in attacks.calls_of(module, name, arguments):
            assert (module, name) in list(globals_of(data)), how


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"cos\nsystem\n.", ("os", "system")),
        (b"(ios\nsystem\n.", ("os", "system")),
        (b"Vos\nVsystem\n\x93.", ("os", "system")),
        (b"V\\u006fs\nVsystem\n\x93.", ("os", "system")),
        (b"U\x02osU\x06system\x93.", ("os", "system")),
        (b"T\x02\0\0\0osT\x06\0\0\0system\x93.", ("os", "system")),
        (b"\x8d\x02\0\0\0\0\0\0\0os\x8c\x06system\x93.", ("os", "system")),
        (b"\x8c\x02os\x940\x8c\x06system\x94h\x00h\x01\x931h\x00."[:-4] + b".", None),
        (b"\x8c\x06system\x8c\x02os2\x8c\x06system\x93.", ("os", "system")),
        (b"\x8c\x01a\x8c\x02os2\x8c\x01b0\x8c\x06system\x93.", ("os", "system")),
        (b"\x8c\x02osp7\n\x8c\x06systemq\x030g7\nh\x03\x93.", ("os", "system")),
        (b"\x8c\x02os\x8c\x06systemr\x00\x00\x00\x000j\x00\x00\x00\x00\x93.", ("os", "system")),
        (b"c\xc3\xa9\n\xc3\xa9.x\n.", ("\xe9", "\xe9.x")),
        (b"c\n\n.", ("", "")),
        (b"S'os'\nS'system'\n\x93.", (UNKNOWN, UNKNOWN)),
        (b"K\x01K\x02\x93.", (UNKNOWN, UNKNOWN)),
        (b"\x8c\x02osc_codecs\nencode\n)R\x93.", ("os", UNKNOWN)),
    ],
)
def test_names_are_followed(data: bytes, expected: tuple[str, str] | None) -> None:
    if expected is None:
        expected = ("os", "system")
        data = b"\x8c\x02os\x940\x8c\x06system\x940h\x00h\x01\x93."
    assert list(globals_of(data))[-1] == expected


def test_extensions_and_persistent_ids_are_noted() -> None:
    copyreg.add_extension("attacks", "fire", 0xF0)
    try:
        found = walk(b"\x80\x02\x82\xf0\x82\xf1\x86.")
    finally:
        copyreg.remove_extension("attacks", "fire", 0xF0)
    assert found.globals == [("attacks", "fire"), ("copyreg", "extension 241")]
    assert found.extensions == [0xF0, 0xF1]
    assert walk(b"(Pone\nVtwo\nQt.").persistent == 2


def test_damage_is_told_after_what_came_before() -> None:
    data = pickle.dumps([Path("a"), VALUES[3]], 4)
    for cut in range(len(data)):
        seen: list[tuple[str, str]] = []
        with pytest.raises(CodecError):
            seen.extend(globals_of(data[:cut]))
        assert seen in ([], list(globals_of(data)))
    assert seen


def test_nothing_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> None:
        raise AssertionError("an import")

    data = b"cantigravity\nfly\n."
    list(globals_of(b"N."))
    monkeypatch.setattr("builtins.__import__", refuse)
    assert list(globals_of(data)) == [("antigravity", "fly")]


def test_disassembly_is_text_whatever_the_bytes() -> None:
    assert "STACK_GLOBAL" in disassemble(pickle.dumps(Path("a"), 4))
    assert disassemble(b"cos\nsystem\n.").splitlines()[-1] == "highest protocol among opcodes = 0"
    generator = random.Random(5)
    for data in (*attacks.special().values(), *SEEDS[:200], *(mutated(generator) for _ in range(500))):
        if len(data) > 50_000:
            continue
        text = disassemble(data)
        assert text.endswith("\n")
    assert "damaged" in disassemble(b"")
    assert "damaged" in disassemble(b"cos\nsystem\n")
    assert "damaged" in disassemble(pickle.dumps([1, 2])[:-3])


def test_a_walk_takes_no_more_memory_than_the_pickle_has_bytes() -> None:
    for data in (b"Nr" + struct.pack("<I", 1 << 30) + b".", b"Np99999999999\n."):
        with pytest.raises(LimitError):
            walk(data)
    for data in (
        b"\x8e" + b"\xff" * 8 + b".",
        b"\x96" + b"\xff" * 7 + b"\x00.",
        b"B\xff\xff\xff\xff.",
        b"I" + b"9" * 10_000 + b"\n",
    ):
        with pytest.raises(CodecError):
            walk(data)
