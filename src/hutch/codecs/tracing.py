"""What a walk knows between two opcodes of a pickle, in a form that says when two places in pickles are alike.

`trace` goes over a pickle that a walk has let through, and tells, for some places in it, all that decides how a walk
goes on from there: what is on the stack and what the memo has. Whatever comes next has the same verdict wherever the
same was told. (`hutch.codecs.shapes` is made of that.)

Two things make that true, and finite, of a list as long as it may be:

- What has gone into a container is forgotten, but for how deep it nests. So is an item that waits for APPENDS, ADDITEMS
  or SETITEMS, once nothing but that is done with it. (A dict of a few items is remembered: it may be a state.)
- Of the memo, only what stands before the last thing that is fetched from it is remembered. What is fetched is never
  changed any more.

Whatever is unusual, or whose cost depends on how long something is, is not told: then there is no trace.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any, TypeAlias

    Op: TypeAlias = tuple[int, int, int]  # opcode, where it is, where the next one is

__all__ = ["Unusual", "Values", "trace"]

_ATOMS = {
    **dict.fromkeys(b"\x8cX", "text"),
    **dict.fromkeys(b"CB", "bytes"),
    **dict.fromkeys(b"KMJ", "int"),
    0x8A: "long",
    0x47: "float",
    0x4E: "None",
    0x88: "True",
    0x89: "False",
}
_EMPTY = {0x5D: "list", 0x7D: "dict", 0x8F: "set"}
_TUPLES = {0x85: 1, 0x86: 2, 0x87: 3}
_FILLS = {0x65: "list", 0x90: "set", 0x75: "dict"}  # APPENDS ADDITEMS SETITEMS
_ONE = {0x61: (0x65, 1), 0x73: (0x75, 2)}  # APPEND, SETITEM: like these, of so many
_COPIED = {"text": 1, "bytes": 1, "long": 2}  # contents of 255 bytes, at most; a long int takes time, too
_WORK_PER_CONTENT = 4  # to hash it in what a call has made, at most
_WORK_PER_TEXT = 3  # to compare it with another one; as much for a long int
_MOST_WORK = 128  # of what is hashed: a walk allows as much for two bytes
_MOST_ITEMS = 16  # keys and values of a dict that are remembered
_MOST_SLOTS = 64  # on the stack, or of the memo


class Unusual(Exception):
    """Something that a trace does not tell."""


class Value:
    """All that is known of something on the stack. There is one object for the same facts.

    Attributes:
        facts: what it is, and what it is made of.
        depth: how deep it nests; 0: it holds nothing.
        work: as a walk counts it; -1: any number, as what it holds has been forgotten.
        extent: contents that a call copies of it.
        shown: contents that a repr of it shows, if what it holds has not been forgotten.
        contents: of a tuple: contents, spelled out elsewhere, that a call with it copies.
        parts: of a tuple: parts of what it holds, which such a call may copy.
        is_long: a call has made it, or something in it, of contents: to hash it takes the longer the longer these are.
    """

    __slots__ = ("contents", "depth", "extent", "facts", "is_long", "parts", "shown", "work")

    def __init__(self, facts: tuple[Any, ...], depth: int, work: int, extent: int, shown: int, is_long: bool) -> None:
        self.facts = facts
        self.depth = depth
        self.work = work
        self.extent = extent
        self.shown = shown
        self.is_long = is_long
        self.contents = self.parts = 0

    @property
    def kind(self) -> Any:
        return self.facts[0]


class Values:
    """Values by their facts, unless they nest too deep."""

    def __init__(self, most_depth: int) -> None:
        self.most_depth = most_depth
        self.known: dict[tuple[Any, ...], Value] = {}

    def __len__(self) -> int:
        return len(self.known)

    def atom(self, kind: str, content: bytes | None = None) -> Value:
        """Text, bytes, a number or a constant.

        Args:
            content: where it is part of the shape.
        """
        copied = _COPIED.get(kind, 0)
        return self._value((kind, content), 0, _WORK_PER_TEXT if copied else 0, copied, copied)

    def empty(self, kind: str) -> Value:
        """A list, dict or set that has just been made."""
        return self._value((kind, ()), 1, 1)

    def name(self, module: Value, name: Value) -> Value:
        """A class or function."""
        return self._value(("global", module.facts, name.facts), 1, 1)

    def tuple_of(self, slots: Sequence[_Slot], kind: str = "tuple") -> Value:
        """A tuple, or a frozenset."""
        made = self._value(
            (kind, _parts(slots)),
            _depth(slots),
            _work(slots),
            sum(slot.value.extent for slot in slots if slot.value.kind != "tuple"),
            _shown(slots),
            is_long=_are_long(slots),
        )
        made.contents = sum(
            max(slot.value.extent, slot.value.shown) for slot in slots if slot.value.depth or slot.is_fetched
        )
        made.parts = sum(max(slot.value.work, 0) for slot in slots if slot.value.depth)
        return made

    def result(self, opcode: int, function: Value, arguments: Value, weight: tuple[int, int]) -> Value:
        """What a call returns, which takes so much more than others to hash: in any case, and for each content."""
        work = -1
        if arguments.work >= 0:
            more, more_per_content = weight
            work = 1 + arguments.work + arguments.work // 8 + more
            work += (_WORK_PER_CONTENT + more_per_content) * arguments.extent
        facts = ("result", opcode, function, arguments)
        is_long = arguments.is_long or arguments.extent > 0
        return self._value(facts, arguments.depth, work, arguments.extent, arguments.shown, is_long=is_long)

    def filled(self, value: Value, depth: int, state: Value | None = None) -> Value:
        """A list, set or object that has been given more, or a state: what that was is forgotten."""
        depth = max(value.depth, depth)
        if value.kind not in ("result", "filled"):
            return self._value((value.kind, None, depth), depth, -1)
        known = state is not None and min(state.work, value.work) >= 0
        work = value.work + 1 + state.work if known and state is not None else -1
        shown = value.shown + state.shown if known and state is not None else 0
        made = value if value.kind == "result" else value.facts[1]
        is_long = value.is_long or (state is not None and state.is_long)
        has_state = state is not None or (value.kind == "filled" and value.facts[-1])
        facts = ("filled", made, depth, work, shown, is_long, has_state)
        return self._value(facts, depth, work, value.extent, shown, is_long=is_long)

    def dict_of(self, slots: Sequence[_Slot] | None, depth: int, *, is_plain: bool) -> Value:
        """A dict.

        Args:
            slots: its keys and values; None if these are forgotten.
            depth: how deep it nests.
            is_plain: its keys are text that may be the name of any attribute.
        """
        if slots is None:
            return self._value(("dict", None, depth, is_plain), depth, -1)
        facts = ("dict", _parts(slots))
        return self._value(facts, _depth(slots), _work(slots), 0, _shown(slots), is_long=_are_long(slots))

    def _value(
        self, facts: tuple[Any, ...], depth: int, work: int, extent: int = 0, shown: int = 0, *, is_long: bool = False
    ) -> Value:
        found = self.known.get(facts)
        if found is None:
            if depth > self.most_depth:
                raise Unusual
            found = self.known[facts] = Value(facts, depth, work, extent, shown, is_long)
        return found


class _Slot:
    """One place on the stack: a value, and what becomes of it."""

    __slots__ = ("consumed_at", "is_closed", "is_fetched", "touched_at", "value")

    def __init__(self, value: Value, is_fetched: bool, touched_at: int, consumed_at: int) -> None:
        self.value = value
        self.is_fetched = is_fetched
        self.touched_at = touched_at  # the last time before it is consumed
        self.consumed_at = consumed_at
        self.is_closed = is_fetched or value.depth == 0 or value.kind in ("tuple", "frozenset", "global")


class _Region:
    """What is above a MARK, and how much of it has been forgotten."""

    def __init__(self, consumed_by: int, consumed_at: int) -> None:
        self.consumed_by = consumed_by
        self.consumed_at = consumed_at
        self.slots: list[_Slot] = []
        self.count = self.depth = 0
        self.is_plain = True

    def forget(self, now: int) -> list[_Slot]:
        """Forget items to which nothing more happens than that they are put in.

        Returns:
            Those of them that are hashed then.
        """
        if self.consumed_by not in _FILLS:
            return []
        ready = 0
        for slot in self.slots:
            if slot.consumed_at != self.consumed_at or slot.touched_at > now:
                break
            ready += 1
        if self.consumed_by == 0x75:
            if self.count + ready <= _MOST_ITEMS:
                return []
            ready -= (self.count + ready) % 2  # a key waits for its value
            self.is_plain = self.is_plain and _are_plain(self.slots[:ready:2])
        self.depth = max(self.depth, _depth(self.slots[:ready]))
        self.count += ready
        forgotten = self.slots[:ready]
        for slot in forgotten:
            slot.is_closed = True
        del self.slots[:ready]
        return _keys(self.consumed_by, forgotten)

    def facts(self) -> tuple[Any, ...]:
        forgotten = (self.consumed_by, self.depth, self.is_plain) if self.count else None
        return (forgotten, *_parts(self.slots))


def _keys(opcode: int, slots: list[_Slot]) -> list[_Slot]:
    """Which of them APPENDS, ADDITEMS or SETITEMS would hash."""
    if opcode == 0x65:
        return []
    return slots[::2] if opcode == 0x75 else slots


def _parts(slots: Sequence[_Slot]) -> tuple[tuple[Value, bool], ...]:
    return tuple([(slot.value, slot.is_fetched) for slot in slots])


def _shown(slots: Sequence[_Slot]) -> int:
    return sum(slot.value.shown for slot in slots)


def _are_long(slots: Sequence[_Slot]) -> bool:
    return any(slot.value.is_long for slot in slots)


def _depth(slots: Sequence[_Slot]) -> int:
    return 1 + max((slot.value.depth for slot in slots), default=0)


def _work(slots: Sequence[_Slot]) -> int:
    """As a walk counts it."""
    if any(slot.value.work < 0 for slot in slots):
        return -1
    return 1 + len(slots) + sum(slot.value.work for slot in slots)


def _are_plain(slots: Sequence[_Slot]) -> bool:
    return all(slot.value.kind == "text" and not (slot.value.facts[1] or b"").startswith(b"__") for slot in slots)


def _uses(ops: Sequence[Op]) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Of each slot, in the order in which they are pushed, when it is touched last, and when it is consumed.

    And of each MARK, by which opcode it is consumed, and when.
    """
    slots: list[list[int]] = []
    stack: list[list[int]] = []
    marks: list[tuple[int, int]] = []  # its number, and how high the stack was
    consumers: list[tuple[int, int]] = []

    def push() -> None:
        slots.append([0, 0])
        stack.append(slots[-1])

    def pop(count: int, now: int) -> None:
        if count > len(stack) - (marks[-1][1] if marks else 0):
            raise Unusual
        for slot in stack[len(stack) - count :]:
            slot[1] = now
        del stack[len(stack) - count :]

    for now, (op, _, _) in enumerate(ops):
        count = _TUPLES.get(op, 2 if op in b"R\x81\x93" else 0)
        if op == 0x28:  # MARK
            marks.append((len(consumers), len(stack)))
            consumers.append((0, 0))
        elif op in _FILLS or op in b"t\x91":
            if not marks:
                raise Unusual
            number, start = marks[-1]
            consumers[number] = (op, now)
            pop(len(stack) - start, now)
            marks.pop()
            if op in b"t\x91":
                push()
        elif count:
            pop(count, now)
            push()
        elif op in _ONE:
            pop(_ONE[op][1], now)
        elif op in b"b.":
            pop(1, now)
        elif op in b"hj" or op in _ATOMS or op in _EMPTY or op == 0x29:
            push()
        elif op not in b"\x94\x80\x95":
            raise Unusual
        if op in _FILLS or op in _ONE or op in b"b\x94":
            if not stack:
                raise Unusual
            stack[-1][0] = now
    return slots, consumers


def trace(
    data: bytes,
    ops: Sequence[Op],
    places: set[int],
    contents: set[int],
    values: Values,
    is_calm: Callable[[str, str], bool],
    weigh: Callable[[str, str], tuple[int, int]],
) -> Iterator[Any]:
    """All that decides how a walk goes on, before the opcode at each of some places; and what it took to get there.

    Args:
        data: a pickle that a walk has let through, in which nothing was filled late.
        ops: its opcodes.
        places: of those opcodes.
        contents: where the contents are that are not part of the shape.
        values: what is known already.
        is_calm: whether a class may be called with anything, and a walk does not look at how much that is.
        weigh: what it takes more than others do to hash what a class makes: in any case, and for each content.

    Yields:
        How many things of the memo are remembered. Then, for each place, facts, and of the calls on the way: how many
        contents one copies, and how many parts, at most, of what is spelled out elsewhere; how many are calls of what
        a call has returned; whether anything is hashed that holds something or is a long int: 1, or 2 where that takes
        the longer the longer it is; and how many texts are compared with others, at most, where something that is
        spelled out elsewhere is hashed. At last, None, and these.

    Raises:
        Unusual: there is no trace.
    """
    indices = [int.from_bytes(data[at + 1 : behind], "little") for op, at, behind in ops if op in b"hj"]
    remembered = 1 + max(indices, default=-1)
    if remembered > _MOST_SLOTS:
        raise Unusual
    uses, consumers = _uses(ops)
    yield remembered
    next_slot, next_mark = iter(uses), iter(consumers)
    regions = [_Region(0, 0)]
    memo: list[_Slot] = []
    copied = parts = methods = hashes = compared = 0

    def push(value: Value, is_fetched: bool = False) -> None:
        touched_at, consumed_at = next(next_slot)
        regions[-1].slots.append(_Slot(value, is_fetched, touched_at, consumed_at))

    def pop(count: int) -> list[_Slot]:
        slots = regions[-1].slots
        taken = slots[len(slots) - count :]
        del slots[len(slots) - count :]
        for slot in taken:
            slot.is_closed = True
        return taken

    def check_hash(slots: Sequence[_Slot]) -> None:
        nonlocal hashes, compared
        for slot in slots:
            if not 0 <= slot.value.work <= _MOST_WORK:
                raise Unusual
            if slot.value.depth or slot.value.kind == "long":
                hashes = max(hashes, 1 + slot.value.is_long)
            if slot.value.depth or slot.is_fetched:
                compared = max(compared, slot.value.work // _WORK_PER_TEXT)

    def fill(how: int, region: _Region) -> None:
        """Put what is in a region into what is on top below it."""
        if not regions[-1].slots:
            raise Unusual
        target = regions[-1].slots[-1]
        value = target.value
        if target.is_fetched or value.kind not in (_FILLS[how], "result", "filled"):
            raise Unusual
        slots = region.slots
        check_hash(_keys(how, slots))
        depth = max(region.depth, _depth(slots)) if slots or region.count else 1
        if how == 0x75 and value.kind == "dict":
            held = value.facts[1]
            if region.count or held is None or len(held) + len(slots) > _MOST_ITEMS:
                was_plain = value.facts[3] if held is None else _are_plain_facts(held)
                is_plain = was_plain and region.is_plain and _are_plain(slots[::2])
                target.value = values.dict_of(None, max(depth, value.depth), is_plain=is_plain)
            else:
                before = [_Slot(part, is_fetched, 0, 0) for part, is_fetched in held]
                target.value = values.dict_of([*before, *slots], max(depth, value.depth), is_plain=True)
        elif slots or region.count:
            target.value = values.filled(value, depth)

    for now, (op, at, behind) in enumerate(ops):
        if at in places:
            if sum(len(region.slots) for region in regions) > 4 * _MOST_SLOTS:
                raise Unusual
            for region in regions:
                check_hash(region.forget(now - 1))
            known = tuple([slot.value if slot.is_closed else None for slot in memo[:remembered]])
            yield (op, known, *[region.facts() for region in regions]), (copied, parts, methods, hashes, compared)
            copied = parts = methods = hashes = compared = 0
        if op in _ATOMS:
            push(
                values.atom(_ATOMS[op], None if at + 1 in contents or behind == at + 1 else _content(data, at, behind))
            )
        elif op == 0x94:  # MEMOIZE
            memo.append(regions[-1].slots[-1])
        elif op in b"hj":
            index = int.from_bytes(data[at + 1 : behind], "little")
            if index >= len(memo) or not memo[index].is_closed:
                raise Unusual
            push(memo[index].value, is_fetched=True)
        elif op in _EMPTY:
            push(values.empty(_EMPTY[op]))
        elif op == 0x29:  # EMPTY_TUPLE
            push(values.tuple_of(()))
        elif op in _TUPLES:
            push(values.tuple_of(pop(_TUPLES[op])))
        elif op == 0x28:  # MARK
            regions.append(_Region(*next(next_mark)))
        elif op in b"t\x91":
            region = regions.pop()
            for slot in region.slots:
                slot.is_closed = True
            if op == 0x91:
                check_hash(region.slots)
            push(values.tuple_of(region.slots, "tuple" if op == 0x74 else "frozenset"))
        elif op in _FILLS or op in _ONE:
            if op in _FILLS:
                how, region = op, regions.pop()
            else:
                how, count = _ONE[op]
                region = _Region(op, now)
                region.slots = pop(count)
            for slot in region.slots:
                slot.is_closed = True
            fill(how, region)
        elif op in b"R\x81":
            function, arguments = pop(2)
            called = _name_of(function.value)
            if not _check_call(arguments, is_calm=called is not None and is_calm(*called)):
                held = [part for part, _ in arguments.value.facts[1] if part.depth and part.kind != "global"]
                hashes = max(hashes, *[1 + part.is_long for part in held], 0)
                compared = max(compared, arguments.value.work // _WORK_PER_TEXT)
            copied, parts = max(copied, arguments.value.contents), max(parts, arguments.value.parts)
            methods += function.value.kind != "global"
            push(values.result(op, function.value, arguments.value, weigh(*called) if called else (0, 0)))
        elif op == 0x62:  # BUILD
            (state,) = pop(1)
            target = regions[-1].slots[-1]
            if target.is_fetched or target.value.kind not in ("result", "filled"):
                raise Unusual
            if state.is_fetched and (state.value.kind == "dict" or state.value.depth > 1):
                raise Unusual  # it is copied each time, and what may be in a dict depends on when it was filled
            held = state.value.facts[1] if state.value.kind == "tuple" else []
            if any(is_fetched and part.kind == "dict" for part, is_fetched in held):
                raise Unusual
            target.value = values.filled(target.value, 1 + state.value.depth, state.value)
        elif op == 0x93:  # STACK_GLOBAL
            module, name = pop(2)
            push(values.name(module.value, name.value))
    yield None, (copied, parts, methods, hashes, compared)


def _content(data: bytes, at: int, behind: int) -> bytes:
    """A content that is part of the shape: text that says what is to be done."""
    if data[at] not in b"\x8cX":
        raise Unusual
    return data[at + (2 if data[at] == 0x8C else 5) : behind]


def _are_plain_facts(held: Sequence[tuple[Value, bool]]) -> bool:
    return _are_plain([_Slot(value, is_fetched, 0, 0) for value, is_fetched in held[::2]])


def _name_of(function: Value) -> tuple[str, str] | None:
    """Module and name of what is called; None of what a call has returned."""
    if function.kind != "global":
        return None
    module, name = (str(content or b"", "utf-8", "replace") for _, content in function.facts[1:])
    return module, name


def _check_call(arguments: _Slot, *, is_calm: bool) -> bool:
    """Whether a call is one of those that may be made with anything. Others must be small."""
    value = arguments.value
    if value.kind != "tuple" or (arguments.is_fetched and value.facts[1]):
        raise Unusual
    if is_calm:
        return True
    if not 0 <= value.work <= _MOST_WORK:
        raise Unusual
    return False
