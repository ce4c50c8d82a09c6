"""One contract for everything of hutch that is a mapping: it does what a dict does.

A test module inherits `MappingContract`, says how to make an empty mapping and what keys and values look
like there, and so runs every test below. Whatever is not said is what `hutch.dbm` does.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

__all__ = ["AWKWARD_BYTES", "AWKWARD_TEXTS", "SIZES", "BreakOff", "MappingContract", "broken_off"]

AWKWARD_TEXTS = [
    "",
    " ",
    "a b",
    "  both ends  ",
    "'",
    '"',
    "''",
    "\"'",
    'it\'s "quoted"',
    "\\",
    "\\\\",
    "\\'",
    "\\n",
    "\n",
    "\r",
    "\r\n",
    "\n\n# not a comment\n",
    "\t\v\f",
    "\0",
    "\0\0",
    "a\0b",
    "\x1a",
    "\x1c\x1d\x1e\x85\u2028\u2029",  # what splits lines in one place or another
    "#",
    "'k', (0, 0)",
    "', (           512,           37)  # 1a2b3c4d",
    "(" * 200,
    "%s %d {0} {name}",
    "é",
    "e\u0301",  # looks like the former, and is another key
    "ÿ\u0100",
    "日本語",
    "🐇\U0010ffff",
    "\ufeff",
    "None",
    "0",
    "x" * 255,
    "y" * 512,
    "z" * 5000,
]
AWKWARD_BYTES = [
    *(bytes([byte]) for byte in range(256)),
    bytes(range(256)),
    bytes(reversed(range(256))),
    b"\xff\xfe\0",
    b"\xc3\xa9",
    b"\xe9",
    "é".encode("utf-16"),
]
# Around everything that has a limit: blocks, pages, buffers, values kept in a journal.
SIZES = [0, 1, 2, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 8192, 16384, 16385, 65535, 65536, 1_000_003]


class BreakOff(Exception):
    """What a block raises to be left by an exception."""


@contextmanager
def broken_off(problem: type[BaseException] = BreakOff) -> Iterator[None]:
    """The block raises `problem`; a transaction or an edit inside is undone."""
    with pytest.raises(problem):
        yield


class MappingContract(ABC):
    """What a mapping must do; see `fresh`, `key`, `value` and the switches."""

    ordered: ClassVar[bool] = True
    """Iteration is in the order of insertion."""
    lists: ClassVar[bool] = True
    """keys() and items() are lists, as with dbm; otherwise they are views."""
    binary_keys: ClassVar[bool] = True
    """Keys may be any bytes, and text stands for its UTF-8."""
    text_values: ClassVar[bool] = True
    """Values may be given as text, which stands for its UTF-8."""

    steady: ClassVar[bool] = True
    """Iteration survives updates."""

    @abstractmethod
    def fresh(self) -> AbstractContextManager[MutableMapping[Any, Any]]:
        """A new, empty mapping, and whatever has to be cleaned up after it."""

    def reopened(self, mapping: MutableMapping[Any, Any]) -> MutableMapping[Any, Any]:
        """The same mapping closed and opened again, where there is such a thing."""
        return mapping

    def key(self, text: str) -> Any:
        """The key for `text`, as iteration gives it back."""
        return text.encode()

    def value(self, data: bytes) -> Any:
        """The value for `data`, as [] gives it back."""
        return data

    @pytest.fixture
    def mapping(self) -> Iterator[MutableMapping[Any, Any]]:
        with self.fresh() as mapping:
            yield mapping

    def fill(self, mapping: MutableMapping[Any, Any], count: int = 10) -> dict[Any, Any]:
        """Store some entries, and return a dict of them."""
        model = {self.key(f"key {number}"): self.value(b"value %d" % number) for number in range(count)}
        for key, value in model.items():
            mapping[key] = value
        return model

    def agree(self, mapping: MutableMapping[Any, Any], model: dict[Any, Any]) -> None:
        """Everything that can be read of `mapping` is what it is in `model`."""
        keys, values, items = list(mapping.keys()), list(mapping.values()), list(mapping.items())
        assert len(mapping) == len(model)
        assert bool(mapping) == bool(model)
        assert len(keys) == len(values) == len(items) == len(model)
        if self.ordered:
            assert keys == list(model)
        assert list(mapping) == keys
        assert list(zip(keys, values, strict=True)) == items
        assert dict(items) == model
        for key, value in model.items():
            assert mapping[key] == value
            assert mapping.get(key) == value
            assert key in mapping

    # -- one entry -------------------------------------------------------------------------------------

    def test_is_a_mutable_mapping(self, mapping: MutableMapping[Any, Any]) -> None:
        assert isinstance(mapping, MutableMapping)

    def test_starts_empty(self, mapping: MutableMapping[Any, Any]) -> None:
        self.agree(mapping, {})
        self.agree(self.reopened(mapping), {})

    def test_stores_and_returns(self, mapping: MutableMapping[Any, Any]) -> None:
        self.agree(mapping, self.fill(mapping))

    def test_gives_back_the_types_it_was_given(self, mapping: MutableMapping[Any, Any]) -> None:
        key, value = self.key("k"), self.value(b"v")
        mapping[key] = value
        assert [(type(k), type(v)) for k, v in mapping.items()] == [(type(key), type(value))]
        assert type(mapping[key]) is type(value)

    def test_replaces(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        for size in (3, 0, 600, 5, 5000, 600):
            for key in list(model)[2:6]:
                mapping[key] = model[key] = self.value(bytes([65 + size % 26]) * size)
            self.agree(mapping, model)
        self.agree(self.reopened(mapping), model)

    def test_replacing_keeps_the_place(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        first = next(iter(model))
        mapping[first] = model[first] = self.value(b"new" * 1000)
        self.agree(mapping, model)

    def test_deletes(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping, 20)
        for key in random.Random(1).sample(list(model), 20):
            del mapping[key], model[key]
            assert key not in mapping
            self.agree(mapping, model)
        self.agree(self.reopened(mapping), {})

    def test_what_was_deleted_comes_back_at_the_end(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        for key in list(model)[:4]:
            del mapping[key], model[key]
            mapping[key] = model[key] = self.value(b"again")
            self.agree(mapping, model)
        self.agree(self.reopened(mapping), model)

    def test_a_missing_key_is_a_key_error_that_names_it(self, mapping: MutableMapping[Any, Any]) -> None:
        missing = self.key("missing")
        for fill in (0, 5):
            model = self.fill(mapping, fill)
            for attempt in (mapping.__getitem__, mapping.__delitem__, mapping.pop):
                with pytest.raises(KeyError) as caught:
                    attempt(missing)
                assert caught.value.args == (missing,)
            assert missing not in mapping
            assert mapping.get(missing) is None
            assert mapping.get(missing, "other") == "other"
            assert mapping.pop(missing, None) is None
            assert mapping.pop(missing, "other") == "other"
            self.agree(mapping, model)

    def test_awkward_keys(self, mapping: MutableMapping[Any, Any]) -> None:
        model = {}
        for number, text in enumerate(AWKWARD_TEXTS):
            key = self.key(text)
            assert key not in mapping
            mapping[key] = model[key] = self.value(b"%d" % number)
            assert mapping[key] == model[key]
        assert len(model) == len(AWKWARD_TEXTS)
        self.agree(mapping, model)
        mapping = self.reopened(mapping)
        self.agree(mapping, model)
        for text in AWKWARD_TEXTS[::2]:
            del mapping[self.key(text)], model[self.key(text)]
        self.agree(mapping, model)
        self.agree(self.reopened(mapping), model)

    def test_binary_keys(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.binary_keys:
            for key in (b"bytes", 5, None):
                with pytest.raises((TypeError, AttributeError)):
                    mapping[key] = self.value(b"value")
            self.agree(mapping, {})
            return
        model = {}
        for number, key in enumerate(AWKWARD_BYTES):
            mapping[key] = model[key] = self.value(b"%d" % number)
        self.agree(mapping, model)
        self.agree(self.reopened(mapping), model)

    def test_text_keys_stand_for_their_utf8(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.binary_keys:
            return
        for text in AWKWARD_TEXTS:
            mapping[text] = self.value(text.encode())
            assert text in mapping
            assert text.encode() in mapping
            assert mapping[text] == mapping[text.encode()] == mapping.get(text) == self.value(text.encode())
        assert set(mapping) == {text.encode() for text in AWKWARD_TEXTS}
        for text in AWKWARD_TEXTS:
            assert mapping.setdefault(text, self.value(b"?")) == self.value(text.encode())
            assert mapping.pop(text) == self.value(text.encode())
        self.agree(mapping, {})

    def test_awkward_values(self, mapping: MutableMapping[Any, Any]) -> None:
        datas = [text.encode() for text in AWKWARD_TEXTS] + AWKWARD_BYTES
        model = {self.key(str(number)): self.value(data) for number, data in enumerate(datas)}
        mapping.update(model)
        self.agree(mapping, model)
        self.agree(self.reopened(mapping), model)

    def test_text_values_stand_for_their_utf8(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.text_values:
            return
        for text in AWKWARD_TEXTS:
            mapping[self.key("k")] = text
            assert mapping[self.key("k")] == self.value(text.encode())

    def test_sizes(self, mapping: MutableMapping[Any, Any]) -> None:
        chaos = random.Random(2)
        model = {}
        for size in SIZES:
            key = self.key(f"size {size}")
            mapping[key] = model[key] = self.value(chaos.randbytes(size))
        self.agree(mapping, model)
        mapping = self.reopened(mapping)
        self.agree(mapping, model)
        keys = list(model)
        for key, other in zip(keys, reversed(keys), strict=True):
            model[key] = model[other]
            mapping[key] = mapping[other]
        self.agree(mapping, model)
        self.agree(self.reopened(mapping), model)

    def test_long_keys(self, mapping: MutableMapping[Any, Any]) -> None:
        model = {self.key("é" * length): self.value(b"%d" % length) for length in (1, 127, 128, 4096, 70_000)}
        for key, value in model.items():
            mapping[key] = value
        self.agree(mapping, model)
        self.agree(self.reopened(mapping), model)

    # -- the methods of a mapping ----------------------------------------------------------------------

    def test_pop(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        for key in list(model)[::3]:
            assert mapping.pop(key) == model.pop(key)
            self.agree(mapping, model)
        for key in list(model)[::2]:
            assert mapping.pop(key, None) == model.pop(key)
        self.agree(mapping, model)

    def test_popitem_empties_it(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        while model:
            key, value = mapping.popitem()
            assert model.pop(key) == value
            self.agree(mapping, model)
        with pytest.raises(KeyError):
            mapping.popitem()

    def test_setdefault(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping, 3)
        known, unknown = self.key("key 1"), self.key("unknown")
        assert mapping.setdefault(known, self.value(b"other")) == model[known]
        self.agree(mapping, model)
        assert mapping.setdefault(unknown, self.value(b"")) == self.value(b"")
        model[unknown] = self.value(b"")
        self.agree(mapping, model)
        assert mapping.setdefault(unknown, self.value(b"other")) == self.value(b"")
        self.agree(mapping, model)

    def update_sources(self) -> list[tuple[Any, dict[Any, Any]]]:
        """Everything that update() may be called with, beside the dict that it amounts to."""
        a, b = self.key("a"), self.key("b")
        one, two = self.value(b"1"), self.value(b"2")

        class HasKeys:
            def keys(self) -> Iterator[Any]:
                return iter([a, b])

            def __getitem__(self, key: Any) -> Any:
                return {a: one, b: two}[key]

        return [
            ({a: one, b: two}, {a: one, b: two}),
            ([(a, one), (b, two)], {a: one, b: two}),
            (((key, value) for key, value in [(a, one), (b, two)]), {a: one, b: two}),
            ([(a, one), (b, one), (a, two)], {a: two, b: one}),
            ([[a, one]], {a: one}),
            (HasKeys(), {a: one, b: two}),
            ({}, {}),
            ([], {}),
            (iter(()), {}),
        ]

    def test_update(self) -> None:
        for source, expected in self.update_sources():
            with self.fresh() as mapping:
                mapping.update(source)
                self.agree(mapping, expected)
        for source, expected in self.update_sources():
            with self.fresh() as mapping:
                model = self.fill(mapping, 3)
                mapping[self.key("b")] = model[self.key("b")] = self.value(b"old")
                mapping.update(source)
                self.agree(mapping, model | expected)
                self.agree(self.reopened(mapping), model | expected)

    def test_update_with_names(self, mapping: MutableMapping[Any, Any]) -> None:
        value = self.value(b"value")
        mapping.update(name=value, other=value, self=value)
        mapping.update({self.key("name"): self.value(b"first")}, name=self.value(b"second"))
        mapping.update()
        expected = {"name": self.value(b"second"), "other": value, "self": value}
        self.agree(mapping, {self.key(name): value for name, value in expected.items()})

    def test_update_with_a_mapping_of_its_kind(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        with self.fresh() as other:
            other.update(mapping)
            self.agree(other, model)
        mapping.update(mapping)
        self.agree(mapping, model)

    def test_update_with_what_is_neither(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping, 2)
        for wrong, problem in ((5, TypeError), ([5], TypeError), ([(1, 2, 3)], ValueError)):
            with pytest.raises(problem):
                mapping.update(wrong)
        with pytest.raises(TypeError):
            mapping.update({}, {})  # type: ignore[call-overload]
        self.agree(mapping, model)

    def test_clear(self, mapping: MutableMapping[Any, Any]) -> None:
        mapping.clear()
        self.agree(mapping, {})
        for _ in range(2):
            model = self.fill(mapping)
            self.agree(mapping, model)
            mapping.clear()
            self.agree(mapping, {})
            assert next(iter(model)) not in mapping
        model = self.fill(mapping, 3)
        self.agree(self.reopened(mapping), model)

    def test_views(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        key, value = self.key("key 3"), self.value(b"value 3")
        assert isinstance(mapping.keys(), list) == isinstance(mapping.items(), list) == self.lists
        assert key in mapping.keys()  # noqa: SIM118  # the method is what is tested
        assert (key, value) in mapping.items()
        assert (key, self.value(b"other")) not in mapping.items()
        assert value in mapping.values()
        assert self.value(b"other") not in mapping.values()
        assert len(mapping.keys()) == len(mapping.items()) == len(mapping.values()) == len(model)
        values = mapping.values()
        assert sorted(map(repr, values)) == sorted(map(repr, values)) == sorted(map(repr, model.values()))

    def test_lists_are_copies(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.lists:
            return
        model = self.fill(mapping)
        keys, items = mapping.keys(), mapping.items()
        mapping.clear()
        assert keys == list(model)
        assert items == list(model.items())

    def test_equals_a_dict(self, mapping: MutableMapping[Any, Any]) -> None:
        assert mapping == {}
        model = self.fill(mapping)
        assert mapping == model
        assert model == mapping
        assert dict(mapping) == model
        assert mapping != {**model, self.key("more"): self.value(b"")}
        del mapping[self.key("key 3")]
        assert mapping != model
        with pytest.raises(TypeError):
            hash(mapping)

    # -- iteration and updates -------------------------------------------------------------------------

    def iterators(self) -> list[Callable[[MutableMapping[Any, Any]], Iterator[Any]]]:
        """Every way of iterating over keys while the mapping changes."""
        return [iter, lambda mapping: (key for key in mapping)]

    def test_iteration_survives_replacing(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.steady:
            return
        model = self.fill(mapping, 50)
        for iterate in self.iterators():
            seen = []
            for number, key in enumerate(iterate(mapping)):
                seen.append(key)
                mapping[key] = model[key] = self.value(b"x" * (number * 40))
            assert sorted(seen) == sorted(model)
        self.agree(mapping, model)

    def test_iteration_survives_insertion(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.steady:
            return
        for iterate in self.iterators():
            mapping.clear()
            model = self.fill(mapping, 50)
            old = set(model)
            seen = []
            for key in iterate(mapping):
                seen.append(key)
                if len(model) < 120:
                    new = self.key(f"new {len(model)}")
                    mapping[new] = model[new] = self.value(b"new")
            assert len(seen) == len(set(seen)), "a key came twice"
            assert old <= set(seen) <= set(model)
            self.agree(mapping, model)

    def test_iteration_survives_deletion(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.steady:
            return
        for iterate in self.iterators():
            mapping.clear()
            model = self.fill(mapping, 60)
            keys = list(model)
            doomed = set(keys[10:50:3])
            seen = []
            for key in iterate(mapping):
                seen.append(key)
                for other in sorted(doomed & set(model))[:2]:
                    del mapping[other], model[other]
                if key in model and len(seen) % 7 == 0 and key not in doomed:
                    mapping[key] = model[key] = self.value(b"replaced")
            assert len(seen) == len(set(seen)), "a key came twice"
            assert set(model) <= set(seen) <= set(keys)
            self.agree(mapping, model)

    def test_iteration_survives_deleting_all(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.steady:
            return
        model = self.fill(mapping, 30)
        iterator = iter(mapping)
        assert next(iterator) in model
        mapping.clear()
        assert set(iterator) <= set(model)
        self.agree(mapping, {})

    def test_deleting_what_iteration_gives(self, mapping: MutableMapping[Any, Any]) -> None:
        if not self.steady:
            return
        model = self.fill(mapping, 30)
        seen = []
        for key in mapping:
            seen.append(key)
            del mapping[key]
        assert sorted(seen) == sorted(model)
        self.agree(mapping, {})

    def test_two_iterators_do_not_meet(self, mapping: MutableMapping[Any, Any]) -> None:
        model = self.fill(mapping)
        pairs = [(first, second) for first in mapping for second in mapping]
        assert len(set(pairs)) == len(pairs) == len(model) ** 2

    # -- a whole history -------------------------------------------------------------------------------

    @settings(
        max_examples=40,
        deadline=None,
        suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow],
    )
    @given(data=st.data())
    def test_any_history_is_a_dict_s(self, data: st.DataObject) -> None:
        texts = st.sampled_from(["a", "b", "c", "d", "", "'", "\n", "\0", "é", "x" * 600])
        keys = texts.map(self.key)
        values = st.one_of(
            st.binary(max_size=20), st.sampled_from([0, 511, 512, 513, 4097]).map(lambda size: b"v" * size)
        ).map(self.value)
        steps = st.sampled_from(
            ["set", "set", "set", "delete", "pop", "setdefault", "update", "popitem", "get", "clear", "reopen"]
        )
        with self.fresh() as first:
            mapping = first
            model: dict[Any, Any] = {}
            for step in data.draw(st.lists(steps, max_size=25)):
                if step == "set":
                    key = data.draw(keys)
                    mapping[key] = model[key] = data.draw(values)
                elif step == "delete":
                    key = data.draw(keys)
                    if key in model:
                        del mapping[key], model[key]
                    else:
                        with pytest.raises(KeyError):
                            del mapping[key]
                elif step == "pop":
                    key = data.draw(keys)
                    assert mapping.pop(key, None) == model.pop(key, None)
                elif step == "setdefault":
                    key, value = data.draw(keys), data.draw(values)
                    assert mapping.setdefault(key, value) == model.setdefault(key, value)
                elif step == "update":
                    changes = data.draw(st.dictionaries(keys, values, max_size=5))
                    mapping.update(changes)
                    model.update(changes)
                elif step == "popitem" and model:
                    key, value = mapping.popitem()
                    assert model.pop(key) == value
                elif step == "get":
                    key = data.draw(keys)
                    assert mapping.get(key) == model.get(key)
                elif step == "clear":
                    mapping.clear()
                    model.clear()
                elif step == "reopen":
                    mapping = self.reopened(mapping)
            self.agree(mapping, model)
            self.agree(self.reopened(mapping), model)
