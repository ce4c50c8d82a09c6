"""The Unicode character database as plain objects: about 150,000 that every Python carries.

Only builtin types, so that the pickles can be read wherever there is a Python: no class of hutch is named in them.
"""

from __future__ import annotations

import sys
import unicodedata

__all__ = ["Record", "code_points", "key_of", "record_of"]

Record = dict[str, str | int | float | bool | None]

# Unassigned, private and surrogate code points: the database says nothing about them.
_WITHOUT_PROPERTIES = frozenset({"Cn", "Co", "Cs"})


def code_points(limit: int | None = None) -> list[int]:
    """List the code points that the interpreter's Unicode database describes, in order.

    Args:
        limit: stop after so many; None lists all of them.
    """
    found: list[int] = []
    for code_point in range(sys.maxunicode + 1):
        if limit is not None and len(found) >= limit:
            break
        if unicodedata.category(chr(code_point)) not in _WITHOUT_PROPERTIES:
            found.append(code_point)
    return found


def key_of(code_point: int) -> str:
    """The usual notation of a code point.

    >>> key_of(65)
    'U+0041'
    """
    return f"U+{code_point:04X}"


def record_of(code_point: int) -> Record:
    """Everything that `unicodedata` knows about a code point.

    >>> record_of(0xBD)["name"], record_of(0xBD)["numeric"]
    ('VULGAR FRACTION ONE HALF', 0.5)
    """
    character = chr(code_point)
    return {
        "character": character,
        "name": unicodedata.name(character, None),
        "category": unicodedata.category(character),
        "bidirectional": unicodedata.bidirectional(character),
        "combining": unicodedata.combining(character),
        "mirrored": bool(unicodedata.mirrored(character)),
        "east_asian_width": unicodedata.east_asian_width(character),
        "decomposition": unicodedata.decomposition(character),
        "decimal": unicodedata.decimal(character, None),
        "digit": unicodedata.digit(character, None),
        "numeric": unicodedata.numeric(character, None),
    }
