"""A shelf's keys and values as bytes, and the errors that say which value it was.

A codec has its place here: `encode` and `decode` are all that the rest of a shelf knows of pickles.
"""

from __future__ import annotations

try:  # `pickle` brings `re` along; its two functions are these
    from _pickle import dumps, loads
except ImportError:
    from pickle import dumps, loads

from hutch.errors import HutchError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Serializer: TypeAlias = Callable[[Any, int], Any]
    Deserializer: TypeAlias = Callable[[bytes], Any]

__all__ = ["Pickling", "ShelveError", "UnreadableValueError"]


_DEFAULT_PROTOCOL = dumps(None)[1]  # a pickle starts with its protocol


class ShelveError(Exception):
    """A shelf is made, or its values are, in a way that cannot work."""


class UnreadableValueError(ShelveError, ValueError):
    """The bytes of a value make no object; every other entry stays usable.

    The error that the unpickling ended with is its ``__cause__``.

    Attributes:
        key: the key of the entry.
    """

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class Pickling:
    """The part of a shelf that knows what its keys and values are in bytes.

    Attributes:
        keyencoding: of the keys.
        serializer: makes bytes of an object and a protocol.
        deserializer: makes an object of bytes.
    """

    keyencoding: str
    serializer: Serializer
    deserializer: Deserializer
    _protocol: int

    def _set_pickling(
        self,
        protocol: int | None,
        keyencoding: str,
        serializer: Serializer | None,
        deserializer: Deserializer | None,
    ) -> None:
        """Take the options of a new shelf.

        Raises:
            ShelveError: of serializer and deserializer only one is given.
        """
        check_pair(serializer, deserializer)
        self._protocol = _DEFAULT_PROTOCOL if protocol is None else protocol
        self.keyencoding = keyencoding
        self.serializer = serializer or dumps
        self.deserializer = deserializer or loads

    def _encode(self, key: str, value: Any) -> Any:
        return self.serializer(value, self._protocol)

    def _decode(self, key: str, data: Any) -> Any:
        return self.deserializer(data)

    def _encode_key(self, key: str) -> bytes:
        try:
            return key.encode(self.keyencoding)
        except AttributeError:
            raise TypeError(f"shelf keys must be str, not {type(key).__name__}") from None

    def _decode_key(self, name: bytes) -> str:
        return name.decode(self.keyencoding)

    def _dump(self, key: str, value: Any) -> Any:
        """`_encode`, with an error that says what it was about."""
        try:
            return self._encode(key, value)
        except Exception as problem:
            problem.add_note(f"hutch: this was the value for key {key!r}, which has not been stored")
            raise

    def _try_dump(self, key: str, value: Any) -> Any:
        """`_encode`, or None: for a comparison, not for storing."""
        try:
            return self._encode(key, value)
        except Exception:  # noqa: BLE001  # raised again by who comes to store the value
            return None

    def _load(self, key: str, data: Any) -> Any:
        """`_decode`, with an error that says what it was about."""
        try:
            return self._decode(key, data)
        except (ShelveError, HutchError):
            raise
        except MemoryError as problem:
            problem.add_note(f"hutch: this was the value of key {key!r}")
            raise
        except Exception as problem:
            reason = f"{type(problem).__name__}: {problem}"
            raise UnreadableValueError(f"the value of key {key!r} cannot be read: {reason}", key=key) from problem


def check_pair(serializer: Serializer | None, deserializer: Deserializer | None) -> None:
    """Refuse one without the other.

    Raises:
        ShelveError: only one is given.
    """
    if (serializer is None) != (deserializer is None):
        given, missing = ("deserializer", "serializer") if serializer is None else ("serializer", "deserializer")
        raise ShelveError(f"a {given} needs a {missing} beside it")
