"""The keys of the codecs that need a secret: the first one writes, all of them read."""

from __future__ import annotations

from hutch.codecs.base import joined, show_key
from hutch.codecs.framing import guess
from hutch.codecs.wrapping import Wrapper
from hutch.errors import TamperedError, WrongCodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeAlias

    from hutch.codecs.base import Codec, Data

    Keys: TypeAlias = bytes | str | Sequence[bytes | str]

__all__ = ["ID_BYTES", "Keyed"]

ID_BYTES = 8


class Keyed(Wrapper):
    """A codec around another one that holds keys: never in its repr, and not in its pickle.

    Args:
        inner: the codec of the values.
        keys: one, or several of which the first writes and all read, or a function that returns them: it is called
            once, here. Only a codec that has such a function can be pickled, by the function's name.
    """

    is_keyed = True
    _magic: bytes  # of its frame
    _done: str  # what it does to a value, as errors say it

    def __init__(self, inner: Codec, keys: Keys | Callable[[], Keys]) -> None:
        super().__init__(inner)
        self._source = keys if callable(keys) else None
        self._keys = tuple(map(self._check_key, _several(keys() if callable(keys) else keys, type(self).__name__)))

    def _check_key(self, key: Any) -> bytes:
        """The bytes of one key that may be used.

        Raises:
            TypeError, ValueError: it may not; the message does not show it.
        """
        raise NotImplementedError

    def _arguments(self) -> tuple[Any, ...]:
        """Those of the constructor behind inner and keys."""
        return ()

    def __repr__(self) -> str:
        count = len(self._keys)
        arguments = "".join(f", {argument!r}" for argument in self._arguments())
        return f"{type(self).__name__}({self.inner!r}, <{count} key{'s' if count > 1 else ''}>{arguments})"

    def __reduce__(self) -> tuple[Any, ...]:
        if self._source is None:
            who = type(self).__name__
            raise TypeError(
                f"pickling this {who} would put its keys into the pickle: "
                f"make it as {who}(inner, get_keys), with a function of a module that returns them"
            )
        return type(self), (self.inner, self._source, *self._arguments())

    def __copy__(self) -> Keyed:
        return self

    def __deepcopy__(self, memo: object) -> Keyed:
        return self

    def _frame(self, key: bytes, data: Data, header_bytes: int) -> bytes:
        """The bytes of a frame of this codec, long enough to have a header.

        A view is copied: nobody may change between the check and the use what was checked.

        Raises:
            TamperedError: it is cut off.
            WrongCodecError: it is none.
        """
        data = joined(data)
        if not data.startswith(self._magic) and not self._magic.startswith(data):
            looks_like = guess(data)
            written = f"it looks like one of {looks_like}" if looks_like else "it may be plain, or damaged"
            raise WrongCodecError(
                f"the value of key {show_key(key)} is not {self._done}, so {self.name} does not read it: {written}",
                key=key,
                looks_like=looks_like,
            )
        if len(data) < header_bytes:
            raise self._tampered(key, "is cut off")
        return data

    def _tampered(self, key: bytes, reason: str) -> TamperedError:
        return TamperedError(f"the {self._done} value of key {show_key(key)} {reason}", key=key)

    def _stranger(self, key: bytes) -> TamperedError:
        count = len(self._keys)
        given = "the key given" if count == 1 else f"any of the {count} keys given"
        return self._tampered(key, f"was not {self._done} with {given}: another key is needed, or it was tampered with")


def _several(keys: Keys, who: str) -> Sequence[Any]:
    """The keys as a sequence of one or more."""
    if isinstance(keys, bytes | bytearray | memoryview | str):
        return [keys]
    if not isinstance(keys, list | tuple):
        raise TypeError(
            f"{who} takes a key, or a list of keys with the one that writes first, not {type(keys).__name__}"
        )
    if not keys:
        raise ValueError(f"{who} needs at least one key, and the list is empty")
    return keys
