"""A shelf's keys and values as bytes, and the errors that say which value it was.

What makes bytes of objects is a codec (`hutch.codecs`). The two functions of ``pickle`` are one as well, but a shelf
calls these directly: `_dumps` and `_loads` are set where two functions are all that there is, None elsewhere.
"""

from __future__ import annotations

import sys

try:  # `pickle` brings `re` along; its two functions are these
    from _pickle import dumps, loads
except ImportError:
    from pickle import dumps, loads

from hutch.codecs.base import Codec, Pieces, innermost, joined
from hutch.errors import HutchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from hutch.codecs.base import Data
    from hutch.unstored import Unstored

    Serializer: TypeAlias = Callable[[Any, int], Any]
    Deserializer: TypeAlias = Callable[[bytes], Any]

__all__ = [
    "Functions",
    "Pickling",
    "ShelveError",
    "UnreadableValueError",
    "check_codec",
    "loads",
    "no_text",
    "note_unstored",
    "storable",
]


_DEFAULT_PROTOCOL = dumps(None)[1]  # a pickle starts with its protocol


class ShelveError(Exception):
    """A shelf is made, or its values are, in a way that cannot work."""


class UnreadableValueError(ShelveError, ValueError):
    """The bytes of a value make no object; every other entry stays usable.

    The error that the unpickling ended with is its ``__cause__``.

    Attributes:
        key: the key of the entry.
        looks_like: name of the codec that the bytes look like, if that is another one; or None.
    """

    def __init__(self, message: str, *, key: str | None = None, looks_like: str | None = None) -> None:
        super().__init__(message)
        self.key = key
        self.looks_like = looks_like


class Functions(Codec):
    """A pair of functions as a codec: ``pickle.dumps`` and ``pickle.loads``, or a shelf's own.

    Attributes:
        serializer: makes bytes of an object and a protocol.
        deserializer: makes an object of bytes.
        protocol: what the serializer is given.
    """

    def __init__(self, serializer: Serializer, deserializer: Deserializer, protocol: int) -> None:
        self.serializer = serializer
        self.deserializer = deserializer
        self.protocol = protocol
        self.makes_pickles = deserializer is loads
        self.name = "Pickle" if self.makes_pickles else "deserializer"

    def encode(self, key: bytes, value: Any) -> Any:
        return self.serializer(value, self.protocol)

    def decode(self, key: bytes, data: Any) -> Any:
        return self.deserializer(data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.serializer!r}, {self.deserializer!r}, {self.protocol!r})"


class Pickling:
    """The part of a shelf that knows what its keys and values are in bytes.

    Attributes:
        keyencoding: of the keys.
    """

    keyencoding: str
    _codec: Codec
    _protocol: int | None
    _dumps: Serializer | None
    _loads: Deserializer | None
    _unstored: Unstored | None = None  # what has been given out, if that is to be watched

    def _set_pickling(
        self,
        protocol: int | None,
        keyencoding: str,
        serializer: Serializer | None,
        deserializer: Deserializer | None,
        codec: Codec | None,
    ) -> None:
        """Take the options of a new shelf.

        Raises:
            ShelveError, TypeError: see `check_codec`.
        """
        check_codec(codec, protocol, serializer, deserializer)
        self.keyencoding = keyencoding
        if codec is None:
            codec = self._default_codec(protocol, serializer, deserializer)
        self._use(codec)

    def _default_codec(
        self,
        protocol: int | None = None,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
    ) -> Codec:
        if protocol is None:
            protocol = _DEFAULT_PROTOCOL
        return Functions(serializer or dumps, deserializer or loads, protocol)

    def _use(self, codec: Codec) -> None:
        """Go over to a codec, and to what is quick about it."""
        self._codec = codec
        self._protocol, self._dumps, self._loads = None, None, None
        if type(codec) is Functions:
            self._protocol, self._dumps, self._loads = codec.protocol, codec.serializer, codec.deserializer
        elif _is_plain(codec):
            protocol: int | None = codec.protocol  # type: ignore[attr-defined]
            self._protocol = _DEFAULT_PROTOCOL if protocol is None else protocol
            self._dumps, self._loads = dumps, loads
        if self._unstored is not None:  # what is quick looks neither right nor left
            self._dumps = self._loads = None

    @property
    def codec(self) -> Codec:
        """What makes bytes of the objects, and objects of the bytes."""
        codec = self._codec
        if type(codec) is Functions and codec.serializer is dumps and codec.makes_pickles:
            from hutch.codecs.pickles import Pickle

            return Pickle(codec.protocol)
        return codec

    @property
    def serializer(self) -> Serializer | None:
        """What makes bytes of an object and the protocol; None where a codec does."""
        return getattr(self._codec, "serializer", None)

    @property
    def deserializer(self) -> Deserializer | None:
        """What makes an object of bytes; None where a codec does."""
        return getattr(self._codec, "deserializer", None)

    def _encode_key(self, key: str) -> bytes:
        try:
            return key.encode(self.keyencoding)
        except AttributeError:
            raise no_text(key) from None

    def _decode_key(self, name: bytes) -> str:
        return name.decode(self.keyencoding)

    def _dump(self, key: str, value: Any) -> Any:
        """What `value` is in the mapping below, or an error that says what it was about."""
        try:
            return self._codec.encode(self._encode_key(key), value)
        except Exception as problem:
            note_unstored(key, problem)
            raise

    def _dump_inner(self, key: str, value: Any) -> Any:
        """What the innermost codec makes of `value`: for comparisons.

        Bytes of its own: buffers that belong to the object would change with it.
        """
        try:
            data = self._inner_encode(self._encode_key(key), value)
        except Exception as problem:
            note_unstored(key, problem)
            raise
        return joined(data) if type(data) is Pieces else data

    def _try_dump(self, key: str, value: Any) -> Any:
        """`_dump_inner`, or None if that cannot be had: who comes to store the value raises it again."""
        try:
            return self._dump_inner(key, value)
        except Exception:  # noqa: BLE001  # see above
            return None

    def _load(self, key: str, data: Any, name: bytes | None = None, codec: Codec | None = None) -> Any:
        """The object that `data` makes, or an error that says what it was about.

        Args:
            codec: the one that was the shelf's when `data` was read; None: it is so still.
        """
        try:
            return (codec or self._codec).decode(self._encode_key(key) if name is None else name, data)
        except Exception as problem:
            self._explain(key, data, problem)
            raise

    def _load_inner(self, key: str, data: Any) -> Any:
        """The object of which `_dump_inner` has made `data`."""
        return innermost(self._writer()).decode(self._encode_key(key), data)

    def _wraps(self) -> bool:
        """Return whether the bytes below are others than `_dump_inner` gives."""
        return getattr(self._writer(), "inner", None) is not None

    def _writer(self) -> Codec:
        """The codec that makes bytes of objects: the new one, while a shelf is recoded."""
        writer: Codec = getattr(self._codec, "writer", self._codec)
        return writer

    def _inner_encode(self, name: bytes, value: Any) -> Any:
        codec = self._codec
        return codec.inner_encode(name, value) if hasattr(codec, "inner_encode") else codec.encode(name, value)

    def _explain(self, key: str, data: Data, problem: Exception) -> None:
        """Say of an error which value it was, unless it does.

        Raises:
            UnreadableValueError: in the place of an error of the unpickling.
        """
        if isinstance(problem, (ShelveError, HutchError)):
            return
        if isinstance(problem, MemoryError) and not self._is_cut_off(data):
            problem.add_note(f"hutch: this was the value of key {key!r}")
            return
        if self._loads is not None and type(self._codec) is not Functions:
            self._codec.decode(self._encode_key(key), data)  # it knows better what to say
        from hutch.codecs.framing import guess

        looks_like = guess(data) if type(data) in (bytes, memoryview) else None
        if looks_like in (getattr(self._codec, "name", None), *getattr(self._codec, "reads", ())):
            looks_like = None
        hint = "; its bytes look like {}: open the shelf with the codec that wrote them" if looks_like else ""
        raise UnreadableValueError(
            f"the value of key {key!r} cannot be read: {type(problem).__name__}: {problem}{hint.format(looks_like)}",
            key=key,
            looks_like=looks_like,
        ) from problem

    def _is_cut_off(self, data: Data) -> bool:
        """Return whether it was a damaged pickle for which there was not enough memory."""
        if self._loads is None and type(self._codec) is not Functions:
            return False  # the codec has had its say
        if not self._codec.makes_pickles:
            return False
        from hutch.codecs.whole import is_whole_pickle

        return not is_whole_pickle(data)


def _is_plain(codec: Any) -> bool:
    """Whether a codec is `hutch.codecs.Pickle` without any option but a protocol."""
    pickles = sys.modules.get("hutch.codecs.pickles")
    if pickles is None or type(codec) is not pickles.Pickle or codec.buffers:
        return False
    options = (codec.dispatch_table, codec.reducer_override, codec.persistent_id, codec.persistent_load, codec.renames)
    return options == (None,) * len(options)


def storable(mapping: Any, data: Any) -> Any:
    """What a codec has made, as `mapping` takes it: several buffers are for hutch's own alone."""
    return data.__bytes__() if type(data) is Pieces and not hasattr(mapping, "view") else data


def no_text(key: object) -> TypeError:
    """The error that says that a key is not text."""
    return TypeError(f"shelf keys must be str, not {type(key).__name__}")


def note_unstored(key: str, problem: Exception) -> None:
    """Say of an error of the pickling which value it was."""
    problem.add_note(f"hutch: this was the value for key {key!r}, which has not been stored")


def check_codec(
    codec: object,
    protocol: int | None,
    serializer: Serializer | None,
    deserializer: Deserializer | None,
) -> None:
    """Refuse options that contradict one another.

    Raises:
        ShelveError: serializer or deserializer without the other, or any of them or a protocol beside a codec.
        TypeError: something that is no codec.
    """
    if (serializer is None) != (deserializer is None):
        given, missing = ("deserializer", "serializer") if serializer is None else ("serializer", "deserializer")
        raise ShelveError(f"a {given} needs a {missing} beside it")
    if codec is None:
        return
    if isinstance(codec, type) or not (hasattr(codec, "encode") and hasattr(codec, "decode")):
        raise TypeError(f"a codec is an object with encode() and decode(), such as hutch.codecs.Json(); not {codec!r}")
    if serializer is not None:
        raise ShelveError("a codec takes the place of serializer and deserializer: give one or the others")
    if protocol is not None:
        raise ShelveError("the protocol is the codec's own: Pickle(protocol), not protocol= beside a codec")
