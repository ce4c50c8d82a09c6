"""hutch's own frame around a value that no other reader is meant to understand.

A frame begins with ``C1 48 54`` and a kind, an ASCII letter with its top bit set. No pickle can: C1 is no opcode. No
JSON and no XML can: C1 occurs in no UTF-8. No MessagePack can: C1 is the one byte that this format never uses. And in
a marshal those four bytes would be a string of negative length.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.codecs.base import Data

__all__ = ["BUFFERS", "COMPRESSED", "ENCRYPTED", "MAGIC_BYTES", "SIGNED", "guess"]

_MAGIC = b"\xc1HT"
MAGIC_BYTES = 4


def _kind(letter: str) -> bytes:
    return _MAGIC + bytes((ord(letter) | 0x80,))


BUFFERS = _kind("B")  # a pickle and its out-of-band buffers
COMPRESSED = _kind("Z")
SIGNED = _kind("S")
ENCRYPTED = _kind("E")

_FRAMES = {BUFFERS: "Pickle(buffers=True)", COMPRESSED: "Compressed", SIGNED: "Signed", ENCRYPTED: "Encrypted"}


def guess(data: Data) -> str | None:
    """Name of the codec that wrote `data`, by its looks; None where they are not clear.

    Of a frame it is the codec of the outermost; "text" is any text that is neither JSON nor a property list. Nothing
    is unpickled, and no more than some thousand parts of the value are looked at.
    """
    if not len(data):
        return None
    if name := _FRAMES.get(bytes(data[:MAGIC_BYTES])):
        return name
    from hutch.codecs import looks

    if looks.is_pickle(data):
        return "Pickle"
    if looks.is_plist(data):
        return "Plist"
    if looks.is_json(data):
        return "Json"
    if looks.is_message_pack(data):
        return "MessagePack"
    if len(data) == 1 and looks.is_marshal(data):  # a letter, but text is seldom so short
        return "Marshal"
    if looks.is_text(data):
        return "text"
    if looks.is_marshal(data):
        return "Marshal"
    return None
