"""What a pickle is and names, without running it; and the object where it names only data."""

from __future__ import annotations

from hutch.errors import CodecError

__all__ = [
    "disassembly",
    "is_allowed",
    "names_of",
    "protocol_of",
]

_PROTO = 0x80


def protocol_of(data: bytes) -> int | None:
    """The protocol of a pickle; None for bytes that are none.

    From protocol 2 on a pickle says so. One of the protocols before is text, and so is much else: it counts if it
    can be gone over from its first opcode to its last byte.
    """
    from hutch.codecs.looks import is_pickle

    if not data or not is_pickle(data):
        return None
    if data[0] == _PROTO:
        return data[1]
    from hutch.codecs.opcodes import walk

    try:
        if walk(data).end != len(data):
            return None
    except CodecError:
        return None
    from pickletools import genops

    protocol = 0
    try:
        for opcode, _, _ in genops(data):
            protocol = max(protocol, opcode.proto)
    except Exception:  # noqa: BLE001  # an argument that is none: it is a damaged pickle, but a pickle
        pass
    return protocol


def names_of(data: bytes, *, as_far_as_it_goes: bool = False) -> list[tuple[str, str]]:
    """(module, name) of all that a pickle names, each once, in its order.

    Args:
        as_far_as_it_goes: of a damaged pickle, those before the damage.

    Raises:
        CodecError: it is no whole pickle.
    """
    from hutch.codecs.opcodes import globals_of

    found: dict[tuple[str, str], None] = {}
    try:
        for each in globals_of(data):
            found[each] = None
    except CodecError:
        if not as_far_as_it_goes:
            raise
    return list(found)


def disassembly(data: bytes) -> list[str]:
    """The opcodes, one a line; where the pickle is damaged, the last line says so."""
    from hutch.codecs.opcodes import disassemble

    return disassemble(data).splitlines()


def is_allowed(module: str, name: str) -> bool:
    """Whether SafePickle takes it as it comes."""
    from hutch.codecs.allowed import DATA, successor

    return (module, name) in DATA or successor(module, name) in DATA
