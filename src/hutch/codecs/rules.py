"""What the types that are data may be made of: rules for SafePickle.

Each looks at the notes of `hutch.codecs.notes` about arguments, before anything is made; it counts what a call copies,
goes over or hashes, and says whether there may be such a call.
"""

from __future__ import annotations

from hutch.codecs import notes
from hutch.codecs.notes import BLOB, OPEN, SORTS, VAST, Made, copied_by_state, extent_of, width_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    from hutch.codecs.opcodes import Walk

    Rule: TypeAlias = Callable[[Walk, list[Any]], bool]

__all__ = [
    "ADDRESS_BYTES",
    "a_dict",
    "address",
    "anything",
    "array_of",
    "atoms",
    "attributes",
    "blob",
    "byte_array",
    "copied",
    "decimal",
    "defaultdict",
    "deque",
    "elements",
    "fraction",
    "generator",
    "generator_state",
    "getattr_of_zone",
    "integers",
    "is_bytes",
    "latin1",
    "never",
    "nothing",
    "number_of_uuid",
    "one",
    "parts",
    "parts_of_tuple",
    "slots",
    "texts",
    "three",
    "zone",
]

_LITERAL = frozenset((notes.LIST, notes.TUPLE, notes.DICT, notes.SET, notes.FROZENSET))
_POINTER_BYTES = 8
_ELEMENT_BYTES = 16  # of a set or dict that is a copy: they take more, but data may have many, if each is copied once
_DIVIDED_PER_BYTE = 2048  # of the square of what is divided: that takes as long as to copy one byte or two
_MOST_NUMBERS = 625  # of the state of a generator: 624 of 32 bits, and where it is
_GENERATOR_BYTES = 4 * _MOST_NUMBERS
ADDRESS_BYTES = 128  # to make an address or a network of anything
_ZONE_BYTES, _ZONE_BYTES_ANEW = 1 << 11, 1 << 14  # what it takes to find a time zone; to make one that is not kept


def anything(walk: Walk, items: list[Any]) -> bool:
    """Any arguments."""
    return True


def copied(walk: Walk, items: list[Any]) -> bool:
    """Any arguments, of which there may be copies, part by part; but for a range, which would be many then.

    So is what Python code iterates over, which may take any time.
    """
    for item in items:
        if type(item) is Made:
            walk.has_copies = True
            walk.copy(max(_ELEMENT_BYTES * item.size, item.shown))
        else:  # text may be taken apart
            walk.parse(extent_of(item))
    return not any(type(item) is Made and item.flags & VAST for item in items)


def generator(walk: Walk, items: list[Any]) -> bool:
    """A seed, or nothing. What is made is as large in any case."""
    walk.copy(_GENERATOR_BYTES)
    return copied(walk, items)


def generator_state(walk: Walk, state: Any) -> bool:
    """What `random.Random` was asked for: the version, numbers, and None or a float.

    Of the numbers of an older version remainders are taken, which of text would be text of any length.
    """
    items = parts_of_tuple(state)
    if items is None or len(items) != 3:
        return False
    version, numbers, next_gauss = items[0], parts_of_tuple(items[1]), items[2]
    walk.copy(_GENERATOR_BYTES)
    return (
        type(version) is int
        and (next_gauss is None or type(next_gauss) in (int, float))
        and numbers is not None
        and len(numbers) <= _MOST_NUMBERS
        and all(type(number) is int for number in numbers)
    )


def never(walk: Walk, items: list[Any]) -> bool:
    """It must not be called at all."""
    return False


def nothing(walk: Walk, items: list[Any]) -> bool:
    """None at all."""
    return not items


def parts_of_tuple(item: Any) -> list[Any] | None:
    """What is in a tuple; None if it is none."""
    return item.items if type(item) is Made and item.kind == notes.TUPLE else None


def _is_literal(item: Any) -> bool:
    return type(item) is Made and item.kind in _LITERAL


def is_bytes(item: Any) -> bool:
    """Bytes or a bytearray: as themselves, or as protocols 0 to 2 write them."""
    if type(item) is Made:
        return item.kind == notes.BYTEARRAY or (
            item.kind == notes.RESULT and item.items in (("_codecs", "encode"), ("builtins", "bytes"))
        )
    return type(item) is BLOB


def elements(walk: Walk, items: list[Any]) -> bool:
    """Nothing, or one container that the pickle spells out: its elements are no more than its bytes."""
    walk.hash(items)
    return parts(walk, items)


def parts(walk: Walk, items: list[Any]) -> bool:
    """As `elements`, of what does not hash them."""
    _count_copies(walk, items, _ELEMENT_BYTES)
    return not items or (len(items) == 1 and _is_literal(items[0]))


def _count_copies(walk: Walk, items: list[Any], size: int) -> None:
    for item in items:
        if type(item) is Made:
            walk.copy(size * item.size)


def deque(walk: Walk, items: list[Any]) -> bool:
    """Nothing, or one container that the pickle spells out, and perhaps a size."""
    _count_copies(walk, items, _POINTER_BYTES)
    return not items or (_is_literal(items[0]) and (len(items) == 1 or (len(items) == 2 and _is_size(items[1]))))


def _is_size(item: Any) -> bool:
    return item is None or type(item) is int


def defaultdict(walk: Walk, items: list[Any]) -> bool:
    """A factory that is a class which may be called: it will be, by a key that is missing."""
    if not items or (len(items) == 1 and items[0] is None):
        return True
    factory = items[0]
    return type(factory) is Made and factory.kind == notes.GLOBAL and elements(walk, items[1:])


def byte_array(walk: Walk, items: list[Any]) -> bool:
    """Bytes, or text and its encoding, as protocols 0 to 2 write them."""
    if len(items) == 2:
        return walk.is_text(items[0]) and walk.text(items[1]) in ("latin-1", "latin1")
    return blob(walk, items)


def blob(walk: Walk, items: list[Any]) -> bool:
    """Nothing, or bytes."""
    return not items or (len(items) == 1 and is_bytes(items[0]))


def latin1(walk: Walk, items: list[Any]) -> bool:
    """Text, and its encoding."""
    return len(items) == 2 and walk.is_text(items[0]) and walk.text(items[1]) == "latin1"


def texts(walk: Walk, items: list[Any]) -> bool:
    """Text, any number of them."""
    return all(walk.is_text(item) for item in items)


def fraction(walk: Walk, items: list[Any]) -> bool:
    """Two ints, or text without an exponent, whose number could have a billion digits."""
    if len(items) == 2:
        return integers(walk, items)
    text = walk.text(items[0]) if len(items) == 1 else None
    return text is not None and text.isascii() and text.removeprefix("-").replace("/", "", 1).isdigit()


def integers(walk: Walk, items: list[Any]) -> bool:
    """Ints only. What divides them by one another takes the square of their bytes."""
    for item in items:
        width = width_of(item)
        walk.parse(width)
        walk.copy(width * width // _DIVIDED_PER_BYTE)
    return all(type(item) is int for item in items)


def array_of(walk: Walk, items: list[Any]) -> bool:
    """`array.array`, the codes of a type and of a format, and bytes."""
    if len(items) != 4 or type(items[0]) is not Made or items[0].items != ("array", "array"):
        return False
    walk.parse(extent_of(items[3]))
    return walk.is_text(items[1]) and type(items[2]) is int and is_bytes(items[3])


def atoms(walk: Walk, items: list[Any]) -> bool:
    """Numbers and text. What else an int can be made of may be one with a billion digits."""
    return not any(type(item) is Made for item in items)


def decimal(walk: Walk, items: list[Any]) -> bool:
    """One text."""
    return len(items) == 1 and walk.is_text(items[0])


def one(walk: Walk, items: list[Any]) -> bool:
    """The value of a member of an enum: with more, a call may make another enum.

    If no member has it, the error shows it.
    """
    walk.hash(items)
    if len(items) != 1:
        return False
    item = items[0]
    if type(item) is Made:
        walk.show(item.shown)
        if item.flags & SORTS:
            return False
        return not (walk.is_late and item.flags & OPEN and walk.reaches_late(item))
    return True


def a_dict(walk: Walk, items: list[Any]) -> bool:
    """A dict, of attributes."""
    state = items[1]
    walk.copy(copied_by_state(state))
    return type(state) is Made and state.kind == notes.DICT


_MAX_NUMBER = 1 << 2048  # hashed as quickly as any other


def number_of_uuid(walk: Walk, items: list[Any]) -> bool:
    """The state of a UUID: an int, and perhaps another one. Anything else would be hashed, or shown by an error."""
    pairs = walk.items_of(items[1])
    if not pairs or len(pairs) > 4:
        return False
    state = dict(zip(map(walk.text, pairs[::2]), pairs[1::2], strict=True))
    number, is_safe = state.get("int"), state.get("is_safe")
    return (
        state.keys() <= {"int", "is_safe"}
        and type(number) is int
        and abs(number) < _MAX_NUMBER
        and (is_safe is None or type(is_safe) is int)
    )


def address(walk: Walk, items: list[Any]) -> bool:
    """One int, or text."""
    walk.copy(ADDRESS_BYTES)
    walk.parse(sum(map(extent_of, items)))
    return len(items) == 1 and (type(items[0]) is int or walk.is_text(items[0]))


def getattr_of_zone(walk: Walk, items: list[Any]) -> bool:
    """The one method that the pickle of a time zone is made with."""
    zone = items[0] if len(items) == 2 else None
    named = type(zone) is Made and zone.kind == notes.GLOBAL and zone.items == ("zoneinfo", "ZoneInfo")
    return named and walk.text(items[1]) == "_unpickle"


def zone(walk: Walk, items: list[Any]) -> bool:
    """The name of a time zone, and whether it is kept."""
    walk.copy(_ZONE_BYTES if len(items) == 2 and items[1] else _ZONE_BYTES_ANEW)
    return len(items) == 2 and walk.is_text(items[0]) and type(items[1]) in (int, bool)


def three(walk: Walk, items: list[Any]) -> bool:
    """A class, its base, and what that makes of."""
    if len(items) != 3:
        return False
    state = items[2]
    walk.copy(_ELEMENT_BYTES * state.size if type(state) is Made else extent_of(state))
    return True


def _attributes_of(walk: Walk, state: Any) -> list[tuple[Any, Any]] | None:
    """Keys and values of a dict; None if they are not known, or not all keys are text."""
    items = walk.items_of(state)
    if items is None or not all(map(walk.is_text, items[::2])):
        return None
    return list(zip(items[::2], items[1::2], strict=True))


def slots(walk: Walk, state: Any) -> bool:
    """Where the state is that of slots, too: it sets attributes, and ``__class__`` must not be among them."""
    walk.copy(copied_by_state(state))
    items = parts_of_tuple(state)
    if items is None or len(items) != 2 or items[1] is None:
        return True
    found = _attributes_of(walk, items[1])
    return found is not None and not any(walk.is_private(name) for name, _ in found)


def attributes(walk: Walk, state: Any) -> bool:
    """A dict of attributes that are set one by one, as those of exceptions are: none may be more than data.

    ``args`` would be made into a tuple, whatever it is: so it must be one.
    """
    if state is None:
        return True
    found = _attributes_of(walk, state)
    return found is not None and all(
        parts_of_tuple(value) is not None
        if walk.spells(name, "args")
        else not walk.is_private(name) or walk.spells(name, "__notes__")
        for name, value in found
    )
