"""A pickle for an `Unpickler`, which takes a file only, so that it is read just as ``pickle.loads`` reads it.

From a file an unpickler reads piece by piece, and a FRAME that ends inside an opcode's argument makes it lose what is
left of the frame: it goes on at another place than ``loads`` and pickletools do, so that nothing that was found out
about the opcodes holds. Whoever wrote the bytes could choose that. A file that can peek may give more than it is asked
for; this one gives everything at once, and nothing is left to be read.
"""

from __future__ import annotations

__all__ = ["Source"]


class Source:
    """A file for one unpickler. Everything is peeked at; then it is at its end."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def peek(self, size: int) -> bytes:
        """The whole pickle, the first time."""
        data, self._data = self._data, b""
        return data

    def read(self, size: int) -> bytes:
        """Nothing: an unpickler asks when the pickle ends too early, and to skip what it has used."""
        return b""

    def readline(self) -> bytes:
        """Nothing, as above."""
        return b""
