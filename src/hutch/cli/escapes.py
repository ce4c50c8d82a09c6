r"""Keys, which are bytes, as text that a terminal can show and a command line can hold.

UTF-8 stands for itself. A backslash is ``\\``, and ``\n``, ``\r``, ``\t`` are what they are elsewhere; any other byte
that does not print, or is no UTF-8, is ``\xHH``.

>>> escaped("naïve\n".encode() + b"\xff")
'naïve\\n\\xff'
>>> unescaped(r"naïve\n\xff") == "naïve\n".encode() + b"\xff"
True
"""

from __future__ import annotations

import os
import re

__all__ = ["escaped", "printable", "unescaped"]

_NAMED = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_LETTERS = {"\\": b"\\", "n": b"\n", "r": b"\r", "t": b"\t"}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.?))", re.DOTALL)


def escaped(data: bytes) -> str:
    """The text for `data`: one line, printable, and a different one for every other bytes."""
    text = data.decode("utf-8", "surrogateescape")
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped_character(character) for character in text)


def printable(text: str) -> str:
    """A message or a name that a stranger may have chosen parts of, without what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped_stranger(character) for character in text)


def _escaped_stranger(character: str) -> str:
    named = _NAMED.get(character)
    if named is not None:
        return named
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogatepass"))


def _escaped_character(character: str) -> str:
    named = _NAMED.get(character)
    if named is not None:
        return named
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def unescaped(text: str) -> bytes:
    """The bytes that `escaped` made `text` of. Bytes that the shell passed on as they are stay so.

    Raises:
        ValueError: a backslash with something else behind it.
    """
    if "\\" not in text:
        return os.fsencode(text)
    parts: list[bytes] = []
    position = 0
    for match in _ESCAPE.finditer(text):
        parts.append(os.fsencode(text[position : match.start()]))
        position = match.end()
        if match[1] is not None:
            parts.append(bytes.fromhex(match[1]))
        elif match[2] in _LETTERS:
            parts.append(_LETTERS[match[2]])
        else:
            raise ValueError(
                f"{match[0]!r} is no escape: a backslash is \\\\, a byte is \\xHH, and there are \\n, \\r, \\t; "
                "or say --key-format raw"
            )
    parts.append(os.fsencode(text[position:]))
    return b"".join(parts)
