"""What every codec is: two functions between an object and the bytes of an entry; and how each says no."""

from __future__ import annotations

from hutch.codecs.framing import guess
from hutch.errors import CodecError, LimitError, WrongCodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    Data: TypeAlias = bytes | memoryview

__all__ = ["Codec", "Pieces", "innermost", "joined", "missing_extra", "refuse", "show_key", "show_options"]


class Pieces:
    """The bytes of one value in several buffers, which the heap writes one after the other without joining them.

    Attributes:
        buffers: C-contiguous, each of itemsize 1, in order.
        size_bytes: of all of them.
    """

    __slots__ = ("buffers", "size_bytes")

    def __init__(self, buffers: Sequence[Data]) -> None:
        self.buffers = buffers
        self.size_bytes = sum(map(len, buffers))

    def __len__(self) -> int:
        return self.size_bytes

    def __bytes__(self) -> bytes:
        return b"".join(self.buffers)


def joined(data: Data | Pieces) -> bytes:
    """The bytes of a value as one object, copied only where they are not."""
    return data if type(data) is bytes else bytes(data)


class Codec:
    """Makes bytes of the objects of a shelf, and objects of its bytes.

    Subclass it, or bring any object with these attributes and methods.

    Attributes:
        name: what error messages and tools call it.
        wants_view: `decode` may be given a read-only memoryview of the mapped heap, which stays what it is
            for as long as anything refers to it. False: it is given bytes.
        reads: what else `guess` may call bytes that this codec reads, beside `name`.
        inner: the codec whose bytes this one wraps (compresses, signs, encrypts); None: it wraps none.
        makes_pickles: `encode` returns a pickle, or a frame from which `inner_bytes` takes one.
        is_inert: `decode` imports, calls and runs nothing that the bytes name.
        is_keyed: `decode` takes only what a holder of a key has made.
    """

    name = "codec"
    wants_view = False
    inner: Codec | None = None
    makes_pickles = False
    is_inert = False
    is_keyed = False
    reads: tuple[str, ...] = ()

    def encode(self, key: bytes, value: Any) -> bytes | Pieces:
        """The bytes of `value`.

        Args:
            key: of the entry, in bytes: what binds a signature or a cipher to its place.
        """
        raise NotImplementedError

    def decode(self, key: bytes, data: Data) -> Any:
        """The object that `data` stands for.

        Raises:
            CodecError: there is none, or it may not be had; nothing has been made or run.
        """
        raise NotImplementedError

    def unwrap(self, key: bytes, data: Data) -> Data:
        """The bytes that `inner` has made, out of those that `encode` has: what a codec that wraps another one has.

        Raises:
            CodecError: as `decode`.
        """
        return data

    def inner_bytes(self, key: bytes, data: Data) -> Data:
        """What the innermost codec has made of the object, with nothing decoded: a pickle, where that makes pickles.

        Raises:
            CodecError: as `decode`.
        """
        data = self.unwrap(key, data)
        return data if self.inner is None else self.inner.inner_bytes(key, data)

    def inner_encode(self, key: bytes, value: Any) -> bytes | Pieces:
        """What the innermost codec makes of `value`.

        Two of these tell whether an object has changed: two encryptions of the same object are never the same.
        """
        return self.encode(key, value) if self.inner is None else self.inner.inner_encode(key, value)


def innermost(codec: Codec) -> Codec:
    """The codec that makes bytes of objects, inside all that compress, sign or encrypt these."""
    while (inner := getattr(codec, "inner", None)) is not None:
        codec = inner
    return codec


def show_key(key: bytes) -> str:
    """A key as messages write it: as text where it is text."""
    try:
        return repr(str(key, "utf-8"))
    except UnicodeDecodeError:
        return repr(bytes(key))


def show_options(codec: Codec, options: dict[str, Any]) -> str:
    """The call that makes a codec, for its ``repr``: None and False are left out, as the defaults that they are."""
    given = (f"{name}={value!r}" for name, value in options.items() if not (value is None or value is False))
    return f"{type(codec).__name__}({', '.join(given)})"


def refuse(codec: Codec, key: bytes, data: Data, problem: Exception | str, advice: str | None = None) -> CodecError:
    """The error with which `codec` refuses `data`, for the caller to raise ``from problem``.

    Args:
        problem: what went wrong; a RecursionError becomes a `LimitError`.
        advice: what to do about it, where the codec knows better than "damaged, or of another codec".

    Returns:
        A `WrongCodecError` where the bytes look like those of another codec, else a `CodecError`.
    """
    if isinstance(problem, RecursionError):
        return LimitError(
            f"the value of key {show_key(key)} cannot be read by {codec.name}: it nests too deeply; "
            "if you trust it, raise sys.setrecursionlimit() and try again",
            key=key,
        )
    reason = problem if isinstance(problem, str) else f"{type(problem).__name__}: {problem}".removesuffix(": ")
    text = f"the value of key {show_key(key)} cannot be read by {codec.name}: {reason}"
    looks = guess(data)
    if looks is None or looks == codec.name or looks in getattr(codec, "reads", ()):
        return CodecError(f"{text}; {advice or 'it is damaged, or was written by another codec'}", key=key)
    return WrongCodecError(
        f"{text}; its bytes look like {looks}: open the shelf with the codec that wrote them", key=key, looks_like=looks
    )


def missing_extra(codec: str, package: str, extra: str) -> ImportError:
    """The error that says what to install for a codec that needs more than hutch itself does."""
    return ImportError(f"{codec} needs {package}: pip install 'hutch[{extra}]'", name=package)
