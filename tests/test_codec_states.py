"""States whose names mean more than attributes: what would be called in place of a method is refused."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from attacks import global_, text
from hutch.codecs import SafePickle
from hutch.errors import ForbiddenGlobalError
from test_codec_glance import named

HERE = __name__
KEY = b"k"
SETTER = "has the text '__setstate__'"


class Plain:
    """A class that has a dict of attributes, and no method."""


class Failure(Exception):
    pass


class OtherFailure(Exception):
    pass


PLAIN = b"\x80\x03" + global_(HERE, "Plain") + b")\x81"
CALLED = global_("builtins", "bytearray")
RANGE = global_("builtins", "range") + b"J\x40\x42\x0f\x00\x85R"
ORDERED = b"\x80\x03" + global_("collections", "OrderedDict") + b")R"
FAILURE = b"\x80\x03" + global_(HERE, "Failure") + b")R"
ATTACKS = {
    "a setter": PLAIN + b"}" + text("__setstate__") + CALLED + b"sbK\x07b.",
    "a setter of an OrderedDict": ORDERED + b"}" + text("__setstate__") + CALLED + b"sb}b.",
    "a setter in a line": PLAIN + b"}V\\u005f_setstate__\n" + CALLED + b"sbK\x07b.",
    "a setter in a string": PLAIN + b"}S'\\x5f_setstate__'\n" + CALLED + b"sbK\x07b.",
    "append": PLAIN + b"}" + text("append") + CALLED + b"sbK\x07a.",
    "extend": PLAIN + b"}" + text("extend") + CALLED + b"sb(K\x07K\x08e.",
    "add": PLAIN + b"}" + text("add") + CALLED + b"sb(K\x07\x90.",
    "append, at a glance": b"\x80\x04]\x94("
    + named(HERE, "Plain")
    + b")\x81\x94}\x94(\x8c\x06append\x94"
    + named(HERE, "OtherFailure")
    + b"ubK\x07ae.",
    "arguments of an exception": FAILURE + b"}" + text("args") + RANGE + b"sb.",
    "the class of an exception": FAILURE + b"}" + text("__class__") + global_(HERE, "OtherFailure") + b"sb.",
    "a copy of a range": b"\x80\x03" + global_("collections", "UserList") + RANGE + b"\x85R.",
}


def new_codec() -> SafePickle:
    return SafePickle(allow=[Plain, Failure, OtherFailure, "collections.UserList"])


@pytest.mark.parametrize("data", ATTACKS.values(), ids=ATTACKS)
def test_what_would_be_called_in_place_of_a_method_is_refused(data: bytes) -> None:
    codec = new_codec()
    for _ in range(3):  # whatever it looked like before
        with pytest.raises(ForbiddenGlobalError, match=f"as no pickle of data does|{SETTER}"):
            codec.decode(KEY, data)


@pytest.mark.parametrize("protocol", range(6))
def test_attributes_may_have_the_names_of_methods(protocol: int) -> None:
    value: Any = Plain()
    value.append, value.extend, value.add, value.args = 1, [2], "three", (4,)
    codec = new_codec()
    for _ in range(3):
        again = codec.decode(KEY, pickle.dumps([value, value], protocol))
        assert vars(again[0]) == vars(value)
        assert again[0] is again[1]


def test_exceptions_keep_their_notes_and_attributes() -> None:
    error = Failure("what", 1)
    error.add_note("where")
    error.code = 3  # type: ignore[attr-defined]
    codec = new_codec()
    for _ in range(3):
        again = codec.decode(KEY, pickle.dumps([error]))[0]
        assert (again.args, again.__notes__, again.code) == (("what", 1), ["where"], 3)


def test_a_text_that_only_mentions_the_method_is_data() -> None:
    value = [Plain(), "how to write __setstate__, and when", {"__setstate__()": 1}]
    codec = new_codec()
    for protocol in range(6):
        assert codec.decode(KEY, pickle.dumps(value, protocol))[1:] == value[1:]
    with pytest.raises(ForbiddenGlobalError, match=r"sets the state of .*Plain, and has the text '__setstate__'"):
        codec.decode(KEY, pickle.dumps([value[0], vars(value[0]), "__setstate__"]).replace(b")\x81", b")\x81}b"))
