"""What foreign bytes look like: for an error message that says which codec would have been right.

Each test here is content with the beginning, the end and the skeleton of a value, looks at no more than some thousands
of its parts, makes no object of it, and would rather say no than be wrong.
"""

from __future__ import annotations

from struct import error, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from hutch.codecs.base import Data

__all__ = [
    "EMPTY_LIST_OF_MARSHAL",
    "goes_through",
    "is_json",
    "is_marshal",
    "is_message_pack",
    "is_pickle",
    "is_plist",
    "is_text",
    "next_marshal",
    "size_of_marshal",
]

_HEAD_BYTES = 4096
_PARSED_BYTES = 64 * 1024  # text that is no longer than this is parsed, to be sure
_MOST_PARTS = 4096
_SPACE = b" \t\r\n"


# Pickles.


def is_pickle(data: Data) -> bool:
    """A pickle of any protocol, from its first opcode and its last."""
    if data[-1] != 0x2E:  # STOP
        return False
    if data[0] == 0x80:
        return len(data) > 3 and 2 <= data[1] <= 5
    head = bytes(data[:_HEAD_BYTES])
    if head.lstrip(b"(")[:1] in (b"V", b"S") and b"\n" not in head and len(data) > len(head):
        return bytes(data[-2:]) == b"\n."  # a line of text that is so long; another one comes before the last opcode
    return _begins_as_old_pickle(head.lstrip(b"("), len(head) - len(head.lstrip(b"(")), len(data))


def _begins_as_old_pickle(head: bytes, marks: int, total: int) -> bool:
    """The first opcode behind any MARKs is whole, and one follows it, as in protocols 0 and 1."""
    opcode, rest = head[:1], head[1:]
    if opcode in (b"I", b"L", b"F"):
        line, _, follows = rest.partition(b"\n")
        return bool(follows) and len(line) < 400 and _is_number(line)
    if opcode in (b"S", b"V"):
        line, newline, follows = rest.partition(b"\n")
        return bool(newline) and follows[:1] in (b"p", b".") and (opcode == b"V" or line[:1] in (b"'", b'"'))
    if opcode in (b"c", b"i"):
        module, _, rest = rest.partition(b"\n")
        name, newline, _ = rest.partition(b"\n")
        return bool(newline) and _is_dotted(module) and _is_dotted(name)
    if opcode in (b"l", b"d", b"t"):  # what stands behind a MARK
        return marks > 0 and rest[:1] in (b"p", b"q", b".")
    if opcode in (b"N", b"]", b"}", b")"):
        return rest[:1] in (b".", b"p", b"q") if not marks or opcode != b"N" else rest[:1] != b""
    sizes = {b"K": 2, b"M": 3, b"J": 5, b"G": 9}
    if opcode in sizes:
        return total > sizes[opcode] if marks else total == sizes[opcode] + 1
    if opcode == b"U" and rest:
        return head[2 + rest[0] : 3 + rest[0]] in (b"q", b".")
    if opcode in (b"X", b"T") and len(rest) >= 4:
        end = 5 + int.from_bytes(rest[:4], "little")
        return end < total and (end >= len(head) or head[end : end + 1] in (b"q", b"r", b"."))
    return False


def _is_number(line: bytes) -> bool:
    try:
        float(line.removesuffix(b"L"))
    except ValueError:
        return False
    return True


def _is_dotted(line: bytes) -> bool:
    try:
        return all(part.isidentifier() for part in str(line, "utf-8").split("."))
    except UnicodeDecodeError:
        return False


# Text.


def is_text(data: Data) -> bool:
    """UTF-8, as far as it is looked at, with no control characters."""
    head = bytes(data[:_HEAD_BYTES])
    try:
        text = str(head, "utf-8")
    except UnicodeDecodeError as problem:
        if len(data) <= _HEAD_BYTES or problem.start < _HEAD_BYTES - 3:
            return False
        text = str(head[: problem.start], "utf-8")
    return all(character >= " " or character in "\t\r\n\f" for character in text)


def is_json(data: Data) -> bool:
    """A whole JSON text; where it is long, one that is bracketed as such."""
    if len(data) > _PARSED_BYTES:
        first, last = bytes(data[:_HEAD_BYTES]).lstrip(_SPACE)[:1], bytes(data[-_HEAD_BYTES:]).rstrip(_SPACE)[-1:]
        return first + last in (b"{}", b"[]", b'""') and is_text(data)
    if bytes(data[:_HEAD_BYTES]).lstrip(_SPACE)[:1] not in b'{["-0123456789tfn':
        return False
    import json

    try:
        json.loads(str(data, "utf-8"))
    except (ValueError, RecursionError):
        return False
    return True


def is_plist(data: Data) -> bool:
    """A property list, in XML or binary."""
    head = bytes(data[:_HEAD_BYTES])
    if head.startswith(b"bplist0"):
        return True
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip(_SPACE)
    return head.startswith((b"<?xml", b"<!DOCTYPE plist", b"<plist")) and b"<plist" in head


# MessagePack: of each first byte, the width of what follows, and what that is.

EMPTY_LIST_OF_MARSHAL = b"\xdb\0\0\0\0"  # which would be an empty text, written as nobody does

_CONTAINER, _STRING, _FIXED = range(3)
_MESSAGE_PACK: dict[int, tuple[int, int, int]] = {}  # byte: kind, width of the count or payload, factor or extra bytes
for _byte in range(256):
    if _byte < 0x80 or _byte >= 0xE0 or _byte in (0xC0, 0xC2, 0xC3):
        _MESSAGE_PACK[_byte] = (_FIXED, 0, 0)
for _byte, _width in {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}.items():
    _MESSAGE_PACK[_byte] = (_FIXED, _width, 0)
for _byte in range(5):
    _MESSAGE_PACK[0xD4 + _byte] = (_FIXED, 1 + (1 << _byte), 0)
for _byte in range(3):
    _MESSAGE_PACK[0xC4 + _byte] = (_STRING, 1 << _byte, 0)
    _MESSAGE_PACK[0xC7 + _byte] = (_STRING, 1 << _byte, 1)  # and the type of the extension
    _MESSAGE_PACK[0xD9 + _byte] = (_STRING, 1 << _byte, 0)
for _byte in range(2):
    _MESSAGE_PACK[0xDC + _byte] = (_CONTAINER, 2 << _byte, 1)
    _MESSAGE_PACK[0xDE + _byte] = (_CONTAINER, 2 << _byte, 2)


def is_message_pack(data: Data) -> bool:
    """One MessagePack object, from the first byte to the last. A single byte is none where it could be a character."""
    if len(data) == 1 and 0x20 <= data[0] < 0x7F:
        return False
    return data != EMPTY_LIST_OF_MARSHAL and goes_through(data, _next_message)


def _next_message(data: Data, at: int) -> tuple[int, int]:
    first = data[at]
    if 0x80 <= first < 0xA0:
        return at + 1, (first & 0x0F) << (first < 0x90)
    if 0xA0 <= first < 0xC0:
        return at + 1 + (first & 0x1F), 0
    kind, width, extra = _MESSAGE_PACK[first]
    if kind == _FIXED:
        return at + 1 + width, 0
    count = int.from_bytes(data[at + 1 : at + 1 + width], "big")
    if kind == _STRING:
        return at + 1 + width + extra + count, 0
    return at + 1 + width, count * extra


# Marshal: of each type, its fixed size behind the type, or how its count is written.

_MARSHAL_FIXED = {"N": 0, "F": 0, "T": 0, "S": 0, ".": 0, "i": 4, "I": 8, "g": 8, "y": 16, "r": 4}
_MARSHAL_SIZED = {"s": "<I", "t": "<I", "u": "<I", "a": "<I", "A": "<I", "z": "<B", "Z": "<B"}
_MARSHAL_COUNTED = {"(": "<I", "[": "<I", "<": "<I", ">": "<I", ")": "<B"}


def is_marshal(data: Data) -> bool:
    """One marshalled object, from the first byte to the last."""
    return goes_through(data, next_marshal)


def size_of_marshal(data: Data) -> int | None:
    """How long a marshalled object is that has no parts; None where only reading it would tell. O(1)."""
    try:
        at, count = next_marshal(data, 0)
    except (KeyError, IndexError, error):
        return None
    return None if count else at


def next_marshal(data: Data, at: int) -> tuple[int, int]:
    """Where the part of a marshal ends that begins at `at`, and how many parts belong to it; see `goes_through`."""
    kind = chr(data[at] & 0x7F)
    if kind in _MARSHAL_FIXED:
        return at + 1 + _MARSHAL_FIXED[kind], 0
    if kind in _MARSHAL_SIZED:
        code = _MARSHAL_SIZED[kind]
        (size,) = unpack_from(code, data, at + 1)
        return at + (5 if code == "<I" else 2) + size, 0
    if kind in _MARSHAL_COUNTED:
        code = _MARSHAL_COUNTED[kind]
        (count,) = unpack_from(code, data, at + 1)
        return at + (5 if code == "<I" else 2), count
    if kind == "l":
        (digits,) = unpack_from("<i", data, at + 1)
        return at + 5 + 2 * abs(digits), 0
    if kind == "{":
        return at + 1, -2  # pairs until a key is NULL
    if kind == "0":
        return at + 1, -1
    raise KeyError(kind)


def goes_through(
    data: Data,
    step: Callable[[Data, int], tuple[int, int]],
    most_parts: int = _MOST_PARTS,
    *,
    unknown: bool = False,
) -> bool:
    """Whether `step` leads from part to part to the very end.

    Args:
        step: of a place, where the next part is and how many parts belong to this one; -2: pairs until -1.
        most_parts: after so many it is believed.
        unknown: the answer where there is a part that `step` does not know.
    """
    at, total = 0, len(data)
    left = [1]  # of each container that is open: parts to come; negative: a dictionary that awaits a key or its value
    try:
        for _ in range(most_parts):
            while left and not left[-1]:
                left.pop()
            if not left:
                return at == total
            if at >= total:
                return False
            at, count = step(data, at)
            if count == -1:
                if left.pop() != -2:
                    return False
                continue
            if left[-1] > 0:
                left[-1] -= 1
            else:
                left[-1] = -3 - left[-1]  # -2, a key, and -1, a value, take turns
            if count:
                left.append(count)
    except KeyError:
        return unknown
    except (IndexError, error):
        return False
    return at <= total
