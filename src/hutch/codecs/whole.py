"""Whether bytes that ask for more memory than there is are damaged, or only large.

A single flipped bit in a size makes a reader take memory for what is not there: 2**56 bytes, say. That is the damage of
one value and no lack of memory. What is whole takes memory in proportion to its bytes, or by what it calls.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.codecs.base import Data

__all__ = ["TOO_SHORT", "is_whole_marshal", "is_whole_pickle"]

TOO_SHORT = "it is damaged, or cut off: it asks for memory that its bytes do not fill"

_CHUNK_BYTES = 4096
# Of each opcode of a pickle: the bytes of its argument; or of the size in front of it; or the lines that it takes.
_FIXED = dict.fromkeys(b"(.0120NQRabdel}]os)tu\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98", 0)
_FIXED |= dict.fromkeys(b"Kh\x80\x82", 1) | dict.fromkeys(b"M\x83", 2) | dict.fromkeys(b"Jj\x84", 4)
_FIXED |= dict.fromkeys(b"G", 8)
_SIZED = dict.fromkeys(b"U\x8cC\x8a", 1) | dict.fromkeys(b"XTB\x8b", 4) | dict.fromkeys(b"\x8d\x8e\x96", 8)
_LINES = dict.fromkeys(b"FILSVPg", 1) | dict.fromkeys(b"ci", 2)
_PUTS = {0x71: 1, 0x72: 4}  # BINPUT, LONG_BINPUT: a number of an object follows
_PUT, _FRAME, _STOP = 0x70, 0x95, 0x2E


def is_whole_pickle(data: Data) -> bool:
    """Whether all opcodes up to STOP have their arguments, and number no more objects than there can be.

    O(opcodes), and takes no memory.
    """
    size = len(data)
    at = 0
    while at < size:
        op = data[at]
        at += 1
        if op in _FIXED:
            if op == _STOP:
                return True
            at += _FIXED[op]
        elif op in _SIZED:
            begin = at + _SIZED[op]
            at = begin + int.from_bytes(data[at:begin], "little")
        elif op in _PUTS:
            begin, at = at, at + _PUTS[op]
            if int.from_bytes(data[begin:at], "little") > size:  # for the memo is as long as the number is high
                return False
        elif op in _LINES:
            for _ in range(_LINES[op]):
                at = _behind_line(data, at)
        elif op == _PUT:
            begin, at = at, _behind_line(data, at)
            digits = bytes(data[begin : min(at - 1, begin + 21)])
            if len(digits) > 20 or not digits.isdigit() or int(digits) > size:
                return False
        elif op == _FRAME:
            begin, at = at, at + 8
            if at + int.from_bytes(data[begin:at], "little") > size:
                return False
        else:
            return False
    return False


def _behind_line(data: Data, at: int) -> int:
    """Where the next line begins; behind the end of everything if none does."""
    size = len(data)
    while at < size:
        found = bytes(data[at : at + _CHUNK_BYTES]).find(b"\n")
        if found >= 0:
            return at + found + 1
        at += _CHUNK_BYTES
    return size + 1


def is_whole_marshal(data: Data) -> bool:
    """Whether all parts of a marshal are there, as far as it has no code objects: from the first one on, who knows."""
    from hutch.codecs.looks import goes_through, next_marshal

    return goes_through(data, next_marshal, len(data) + 1, unknown=True)
