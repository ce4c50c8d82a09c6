"""Codecs for a shelf that has values of two kinds: while it is recoded, and where that has left some as they were.

Whoever reads such a shelf has to know which codec an entry is under. `Mixed` tells by its bytes, `Underway` by a note
of what has been written, `Spared` by a note of what has not. Bytes that look like those of a codec prove nothing where
somebody else can have put them there. So looks decide only as long as the new codec does not accept what the old ones
were there to refuse: see `is_laxer`.
"""

from __future__ import annotations

from hutch.codecs.base import Codec, innermost, joined
from hutch.codecs.framing import BUFFERS, MAGIC_BYTES
from hutch.errors import CodecError
from hutch.pickling import Functions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from hutch.codecs.base import Data

__all__ = ["Mixed", "Spared", "Underway", "digest_of", "is_laxer", "tells_apart"]

_FRAME = BUFFERS[: MAGIC_BYTES - 1]
_LANGUAGES = {
    "Json": "json",
    "Plist": "plist",
    "Marshal": "marshal",
    "MessagePack": "msgpack",
}
_MARKED = ("pickle", "json", "plist")


def _layers(codec: Any) -> Iterator[Any]:
    while codec is not None:
        yield codec
        codec = getattr(codec, "inner", None)


def language_of(codec: Codec) -> str | None:
    """What the innermost codec writes, if that is something whose bytes are known; None: anything."""
    for layer in _layers(codec):
        if type(layer) is not Functions and not type(layer).__module__.startswith("hutch.codecs."):
            return None  # a user's own, whatever it says
    inner = innermost(codec)
    return "pickle" if inner.makes_pickles else _LANGUAGES.get(inner.name)


def _written_in(data: Data, language: str) -> bool:
    """Whether bytes are in this of several languages, for bytes that are in one of them, or a frame. O(1)."""
    if data[: len(_FRAME)] == _FRAME:
        return language == "pickle" and data[:MAGIC_BYTES] == BUFFERS
    if language not in _MARKED:
        return True  # the only one that comes into question
    if data[:1] == b"<" or data[:6] == b"bplist":
        return language == "plist"
    # No JSON ends with a full stop, or begins with a byte that is no ASCII.
    is_pickle = data[:1] == b"\x80" or data[-1:] == b"."
    return language == ("pickle" if is_pickle else "json")


def tells_apart(codecs: Iterable[Codec]) -> bool:
    """Whether the bytes of an entry say which of `codecs` may read it, so that all that may agree about its value."""
    languages = {language_of(codec) for codec in codecs}
    return None not in languages and (len(languages) == 1 or languages <= set(_MARKED))


def _is_inert(codec: Codec) -> bool:
    return bool(getattr(innermost(codec), "is_inert", False))


def _is_keyed(codec: Codec) -> bool:
    """Whether nobody can have made bytes that it reads but who holds a key."""
    return any(getattr(layer, "is_keyed", False) for layer in _layers(codec))


def is_laxer(new: Codec, old: Iterable[Codec]) -> bool:
    """Whether `new` reads, or even runs, what each of `old` refuses because of who may have written it."""
    if _is_keyed(new):
        return False
    former = list(old)
    return all(map(_is_keyed, former)) or (
        not _is_inert(new) and all(_is_keyed(codec) or _is_inert(codec) for codec in former)
    )


def digest_of(data: Data) -> bytes:
    """What stands for the bytes of an entry, so that no others can be taken for them. O(len(data))."""
    from hashlib import blake2b

    return blake2b(data, digest_size=32).digest()


class _Both(Codec):
    """Reads entries under one of two codecs, and writes the new one.

    Attributes:
        new: what entries are to be under.
        old: what they were under.
    """

    def __init__(self, new: Codec, old: Codec) -> None:
        self.new = new
        self.old = old

    @property
    def writer(self) -> Codec:
        """The one that makes the bytes of what is stored."""
        return _writer(self.new)

    def of(self, name: bytes, data: Data) -> Codec:
        """The one that an entry is under."""
        raise NotImplementedError

    def encode(self, key: bytes, value: Any) -> Any:
        return self.new.encode(key, value)

    def inner_encode(self, key: bytes, value: Any) -> Any:
        return _inner_encode(self.new, key, value)

    def decode(self, key: bytes, data: Data) -> Any:
        return self.of(key, data).decode(key, data)

    def inner_bytes(self, key: bytes, data: Data) -> Data:
        codec = self.of(key, data)
        return codec.inner_bytes(key, data) if hasattr(codec, "inner_bytes") else data

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.new!r}, {self.old!r})"


class Underway(_Both):
    """While all entries are rewritten in one transaction: what this has written is known by its digest.

    Attributes:
        written: the digest of each value under the new codec.
    """

    name = "Underway"

    def __init__(self, new: Codec, old: Codec) -> None:
        super().__init__(new, old)
        self.written: dict[bytes, bytes] = {}

    def of(self, name: bytes, data: Data) -> Codec:
        known = self.written.get(name)
        return self.new if known is not None and known == digest_of(data) else self.old


class Spared(_Both):
    """Where entries could not be rewritten: each of these is under the old codec, until it is replaced.

    Attributes:
        left: the digest of each such value; None where it could not be read.
    """

    name = "Spared"

    def __init__(self, new: Codec, old: Codec, left: dict[bytes, bytes | None]) -> None:
        super().__init__(new, old)
        self.left = left

    def of(self, name: bytes, data: Data) -> Codec:
        known = self.left.get(name, b"")
        return self.old if known is None or known == digest_of(data) else self.new

    def encode(self, key: bytes, value: Any) -> Any:
        data = self.new.encode(key, value)
        if self.left.get(key, b"") is None:
            del self.left[key]  # the value that takes its place can be read
        return data


class Mixed(Codec):
    """Reads entries under any of several codecs, and writes the first: what a shelf has while it is recoded.

    Attributes:
        codecs: the new one, then those that entries may still be under.
    """

    name = "Mixed"

    def __init__(self, codecs: tuple[Codec, ...]) -> None:
        self.codecs = codecs

    @property
    def writer(self) -> Codec:
        """The one that makes the bytes of what is stored."""
        return _writer(self.codecs[0])

    def encode(self, key: bytes, value: Any) -> Any:
        return self.codecs[0].encode(key, value)

    def inner_encode(self, key: bytes, value: Any) -> Any:
        return self.codecs[0].inner_encode(key, value)

    def fitting(self, key: bytes, data: Data) -> list[Codec]:
        """Those that the bytes of an entry fit, in order."""
        return [codec for codec in self.codecs if _fits(codec, key, data)]

    def decode(self, key: bytes, data: Data) -> Any:
        problem = None
        for codec in self._trusted(self.fitting(key, data)):
            try:
                return codec.decode(key, joined(data))
            except Exception as reason:  # noqa: BLE001  # raised if no other fits
                problem = problem or reason
        if problem is not None:
            raise problem
        return self.codecs[-1].decode(key, joined(data))  # it fits none: an error that says so

    def _trusted(self, fitting: list[Codec]) -> list[Codec]:
        """Those that may read an entry: what an old codec refuses to run, no new one is to run in its place."""
        if any(_is_inert(codec) for codec in fitting if codec is not self.codecs[0]):
            return [codec for codec in fitting if _is_inert(codec)]
        return fitting

    def inner_bytes(self, key: bytes, data: Data) -> Data:
        for codec in self.fitting(key, data):
            return codec.inner_bytes(key, data)
        return self.codecs[-1].inner_bytes(key, data)

    def __repr__(self) -> str:
        return f"Mixed({self.codecs!r})"


def _fits(codec: Codec, key: bytes, data: Data) -> bool:
    language = language_of(codec)
    assert language is not None
    try:
        return _written_in(codec.inner_bytes(key, data), language)
    except CodecError:
        return False


def _writer(codec: Codec) -> Codec:
    writer: Codec = getattr(codec, "writer", codec)
    return writer


def _inner_encode(codec: Any, key: bytes, value: Any) -> Any:
    return codec.inner_encode(key, value) if hasattr(codec, "inner_encode") else codec.encode(key, value)
