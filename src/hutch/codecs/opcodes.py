"""What a pickle refers to and would build, found out without building it.

`walk` goes over the opcodes as an unpickler does, with its stack, marks and memo, but puts notes on the stack in
place of objects: nothing is imported, nothing is called. What it accepts is a subset of what the C unpickler accepts;
where the two could differ (a number written in an unusual way, a string literal of Python 2) the note says "unknown".

The opcodes are those of protocols 0 to 5, as the comments of the standard library's pickletools describe them.
"""

from __future__ import annotations

import re
from _codecs import escape_decode

from hutch.codecs.accounts import WORK_BYTES, Accounts
from hutch.codecs.notes import (
    BLOB,
    BUFFER,
    BYTEARRAY,
    DICT,
    FROZENSET,
    GLOBAL,
    HAS_STATE,
    LIST,
    OPAQUE,
    PERSISTENT,
    RESULT,
    SET,
    TUPLE,
    UNLIMITED,
    Made,
    extent_of,
)
from hutch.errors import CodecError, LimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Protocol, TypeAlias

    from hutch.codecs.base import Data

    Global: TypeAlias = tuple[str, str]

    class Judge(Protocol):
        """Who is told what a pickle is about to do, and raises where it must not."""

        def named(self, walk: Walk, module: str, name: str) -> Global: ...
        def called(self, walk: Walk, function: Made, arguments: Any, result: Made, opcode: str) -> None: ...
        def built(self, walk: Walk, target: Made, state: Any) -> None: ...
        def filled(self, walk: Walk, target: Made, opcode: str, items: list[Any]) -> None: ...
        def stored(self, walk: Walk, where: Global) -> None: ...


__all__ = ["SETTER", "UNKNOWN", "Walk", "disassemble", "globals_of", "walk"]

UNKNOWN = "?"  # in place of a module or a name that only running the pickle would tell
SETTER = "__setstate__"  # BUILD calls what an object has by that name, also in its state
# As text is written that is this, behind a size of one, four or eight bytes.
_find_setter = re.compile(rb"\x0c(?:\x00{3}|\x00{7})?" + SETTER.encode()).search
_FLOAT = 0.0  # stands for any float
_BIG = 1 << 64  # stands for an int that does not fit in 8 bytes, but is not so long that anything takes time
_BIG_BYTES = 32
_MOST_ITEMS = 4096  # keys and values of a dict that is given some again and again


class _Underflow(Exception):
    """An opcode takes what is not there."""


# Opcodes that push an atom and whose argument has a fixed size; and those that begin with a size.
_NUMBERS = {0x4D: (2, False), 0x4A: (4, True)}  # BININT2, BININT
_TEXTS = {0x58: 4, 0x8D: 8, 0x55: 1, 0x54: 4}  # BINUNICODE, BINUNICODE8, SHORT_BINSTRING, BINSTRING
_BLOBS = {0x43: 1, 0x42: 4, 0x8E: 8}  # *BYTES
_CONSTANTS = {0x4E: None, 0x88: True, 0x89: False}


class Walk(Accounts):
    """One pass over one pickle.

    Attributes:
        data: the pickle.
        globals: what it names, in order, as often as it does.
        persistent: how many persistent ids it has.
        extensions: codes of copyreg's extension registry that it uses.
        end: where it stops; what is behind belongs to something else.
        looked_into: where the text is that somebody has asked for.
        names_setter: some text is `SETTER`.
    """

    def __init__(
        self,
        data: Data,
        judge: Judge | None = None,
        *,
        max_depth: int = UNLIMITED,
        max_work: int = UNLIMITED,
        max_copied: int = UNLIMITED,
    ) -> None:
        super().__init__(max_depth, max_work, max_copied)
        self.data = bytes(data)
        self.globals: list[Global] = []
        self.persistent = 0
        self.extensions: list[int] = []
        self.end = 0
        self.looked_into: list[tuple[int, int]] = []
        self.names_setter = _find_setter(self.data) is not None
        self.judge = judge

    def text(self, item: Any) -> str | None:
        """The str that an atom on the stack stands for, or None if it is none."""
        if type(item) is tuple:
            self.looked_into.append(item)
            return self._text(item)
        return item if type(item) is str else None

    def is_text(self, item: Any) -> bool:
        """Whether an atom on the stack stands for a str."""
        return self._text(item) is not None

    def _text(self, item: Any) -> str | None:
        if type(item) is tuple:
            try:
                return str(self.data[item[0] : item[1]], "utf-8", "surrogatepass")
            except UnicodeDecodeError:
                return None
        return item if type(item) is str else None

    def is_private(self, item: Any) -> bool:
        """Whether an atom on the stack stands for a str that begins with two underscores."""
        return (self._text(item) or "").startswith("__")

    def spells(self, item: Any, text: str) -> bool:
        """Whether an atom on the stack stands for a text that a template keeps."""
        return self._text(item) == text

    def stored(self, where: Global) -> None:
        """A global is put into something."""
        if self.judge is not None:
            self.judge.stored(self, where)

    def items_of(self, item: Any) -> list[Any] | None:
        """Keys and values of a dict, in turn; None if it is none, or has too many."""
        if type(item) is not Made or item.kind != DICT:
            return None
        return item.items if item.size else []

    def name(self, module: str | None, name: str | None) -> Made:
        """Push a global."""
        found = (UNKNOWN if module is None else module, UNKNOWN if name is None else name)
        self.globals.append(found)
        if self.judge is not None:
            found = self.judge.named(self, *found)
        return Made(GLOBAL, found)

    def call(self, function: Any, arguments: Any, opcode: str) -> Made:
        """Push what a call returns."""
        if type(function) is not Made:
            raise CodecError(f"{opcode} calls something that is neither class nor function")
        result = Made(RESULT, function.items if function.kind == GLOBAL else None)
        if self.judge is not None:
            self.judge.called(self, function, arguments, result, opcode)
        if type(arguments) is Made:
            result.arguments = arguments.items
            self.pass_on(arguments, result)
        return result

    def run(self) -> None:
        """Go over all opcodes up to STOP.

        Raises:
            CodecError: the pickle is damaged, or ends too early.
            LimitError: it nests too deep, or hashing its keys would take too long.
        """
        try:
            self._run()
        except (LookupError, _Underflow):
            raise CodecError("the pickle is damaged or cut off") from None
        except CodecError:
            raise
        except (ValueError, TypeError, AttributeError, OverflowError) as problem:
            raise CodecError(f"the pickle is damaged: {problem}") from None

    def _run(self) -> None:
        data = self.data
        size = len(data)
        stack: list[Any] = []
        marks: list[int] = []
        fence = 0  # nothing below the last mark can be reached
        memo: dict[int, Any] = {}
        push = stack.append
        hold = self.hold
        at = 0
        frame_end = 0

        def pop(count: int) -> list[Any]:
            if len(stack) - count < fence:
                raise _Underflow
            taken = stack[-count:]
            del stack[-count:]
            return taken

        def pop_mark() -> list[Any]:
            nonlocal fence
            start = marks.pop()
            fence = marks[-1] if marks else 0
            taken = stack[start:]
            del stack[start:]
            return taken

        def top() -> Any:
            if len(stack) <= fence:
                raise _Underflow
            return stack[-1]

        def line() -> bytes:
            nonlocal at
            end = data.index(b"\n", at)
            found = data[at:end]
            at = end + 1
            return found

        while True:
            op = data[at]
            at += 1
            # The commonest first: this is a chain, and most of what a walk costs.
            if op == 0x8C:  # SHORT_BINUNICODE
                begin = at + 1
                at = begin + data[at]
                push((begin, at))
            elif op == 0x94:  # MEMOIZE
                if len(stack) <= fence:
                    raise _Underflow
                memo[len(memo)] = stack[-1]
            elif op == 0x68:  # BINGET
                push(memo[data[at]])
                at += 1
            elif op == 0x4B:  # BININT1
                push(data[at])
                at += 1
            elif 0x85 <= op <= 0x87:  # TUPLE1, TUPLE2, TUPLE3
                start = len(stack) + 0x84 - op
                if start < fence:
                    raise _Underflow
                made = Made(TUPLE, stack[start:])
                hold(made, made.items)
                stack[start:] = (made,)
            elif op == 0x52:  # REDUCE
                function, arguments = pop(2)
                push(self.call(function, arguments, "REDUCE"))
            elif op == 0x81:  # NEWOBJ
                function, arguments = pop(2)
                push(self.call(function, arguments, "NEWOBJ"))
            elif op == 0x28:  # MARK
                fence = len(stack)
                marks.append(fence)
            elif op in _TEXTS:
                width = _TEXTS[op]
                begin = at + width
                at = begin + int.from_bytes(data[at:begin], "little")
                push((begin, at))
            elif op in _NUMBERS:
                width, signed = _NUMBERS[op]
                push(int.from_bytes(data[at : at + width], "little", signed=signed))
                at += width
            elif op in _CONSTANTS:
                push(_CONSTANTS[op])
            elif op == 0x47:  # BINFLOAT
                push(_FLOAT)
                at += 8
            elif op == 0x7D:  # EMPTY_DICT
                push(Made(DICT))
            elif op == 0x5D:  # EMPTY_LIST
                push(Made(LIST))
            elif op == 0x29:  # EMPTY_TUPLE
                push(Made(TUPLE, []))
            elif op == 0x75:  # SETITEMS
                items = pop_mark()
                self._set(top(), items)
            elif op == 0x65 or op == 0x90:  # APPENDS, ADDITEMS
                items = pop_mark()
                self._add(top(), items, op == 0x90)
            elif op == 0x73:  # SETITEM
                items = pop(2)
                self._set(top(), items)
            elif op == 0x61:  # APPEND
                items = pop(1)
                self._add(top(), items, False)
            elif op in _BLOBS:
                width = _BLOBS[op]
                begin = at + width
                at = begin + int.from_bytes(data[at:begin], "little")
                push(BLOB(begin, at))
            elif op == 0x71:  # BINPUT
                memo[data[at]] = top()
                at += 1
            elif op == 0x6A:  # LONG_BINGET
                push(memo[int.from_bytes(data[at : at + 4], "little")])
                at += 4
            elif op == 0x72 or op == 0x70:  # LONG_BINPUT, PUT
                if op == 0x72:
                    index = int.from_bytes(data[at : at + 4], "little")
                    at += 4
                else:
                    index = _digits(line())
                if index > size:
                    raise LimitError(f"numbers an object {index} in a pickle of {size} bytes")
                memo[index] = top()
            elif op == 0x67:  # GET
                push(memo[_digits(line())])
            elif op == 0x93:  # STACK_GLOBAL
                module, name = pop(2)
                push(self.name(self.text(module), self.text(name)))
            elif op == 0x62:  # BUILD
                (state,) = pop(1)
                target = top()
                self._build(target, state)
            elif op == 0x92:  # NEWOBJ_EX
                function, arguments, named = pop(3)
                made = Made(TUPLE, [arguments, named])
                self.hold(made, made.items)
                made.extent = extent_of(arguments) + extent_of(named)
                push(self.call(function, made, "NEWOBJ_EX"))
            elif op == 0x95:  # FRAME
                at += 8
                frame_end = max(frame_end, at + int.from_bytes(data[at - 8 : at], "little"))
            elif op == 0x80:  # PROTO
                if data[at] > 5:
                    raise CodecError(f"it says protocol {data[at]}, which this Python does not know")
                at += 1
            elif op == 0x2E:  # STOP
                (last,) = pop(1)
                if self.judge is not None and type(last) is Made and last.kind == GLOBAL:
                    self.judge.stored(self, last.items)
                self.end = at
                if frame_end > size:  # an unpickler would have noticed at once; here, what there is has been told
                    raise _Underflow
                return
            elif op == 0x8A or op == 0x8B:  # LONG1, LONG4
                begin = at + (1 if op == 0x8A else 4)
                width = int.from_bytes(data[at:begin], "little", signed=op == 0x8B)
                if width < 0:
                    raise _Underflow
                at = begin + width
                if at > size:
                    raise _Underflow
                push(int.from_bytes(data[begin:at], "little", signed=True) if width <= 8 else self._big(width))
            elif op == 0x74:  # TUPLE
                made = Made(TUPLE, pop_mark())
                self.hold(made, made.items)
                push(made)
            elif op == 0x8F:  # EMPTY_SET
                push(Made(SET))
            elif op == 0x91:  # FROZENSET
                items = pop_mark()
                self.hash(items)
                made = Made(FROZENSET)
                self.hold(made, items)
                push(made)
            elif op == 0x6C:  # LIST
                made = Made(LIST)
                self.hold(made, pop_mark())
                push(made)
            elif op == 0x64:  # DICT
                made = Made(DICT)
                self._set(made, pop_mark())
                push(made)
            elif op == 0x30:  # POP
                if marks and len(stack) == fence:
                    pop_mark()
                else:
                    pop(1)
            elif op == 0x31:  # POP_MARK
                pop_mark()
            elif op == 0x32:  # DUP
                push(top())
            elif op == 0x63:  # GLOBAL
                module, name = line(), line()
                push(self.name(str(module, "utf-8"), str(name, "utf-8")))
            elif op == 0x69:  # INST
                module, name = line(), line()
                made = Made(TUPLE, pop_mark())
                self.hold(made, made.items)
                push(self.call(self.name(str(module, "ascii"), str(name, "ascii")), made, "INST"))
            elif op == 0x6F:  # OBJ
                function, *arguments = pop_mark()
                made = Made(TUPLE, arguments)
                self.hold(made, arguments)
                push(self.call(function, made, "OBJ"))
            elif op == 0x49:  # INT
                found = line()
                push(found == b"01" if found in (b"00", b"01") else self._number(found))
            elif op == 0x4C:  # LONG
                push(self._number(line().removesuffix(b"L")))
            elif op == 0x46:  # FLOAT
                line()
                push(_FLOAT)
            elif op == 0x56:  # UNICODE
                text = str(line(), "raw-unicode-escape")
                self.names_setter = self.names_setter or text == SETTER
                push(text)
            elif op == 0x53:  # STRING
                found = escape_decode(line())[0]
                self.names_setter = self.names_setter or SETTER.encode() in found
                made = Made(OPAQUE)
                made.extent = made.shown = len(found)
                made.work += len(found) // WORK_BYTES
                push(made)
            elif op == 0x96:  # BYTEARRAY8
                length = int.from_bytes(data[at : at + 8], "little")
                at += 8 + length
                made = Made(BYTEARRAY)
                made.extent = made.shown = length
                push(made)
            elif op == 0x97:  # NEXT_BUFFER
                push(Made(BUFFER))
            elif op == 0x98:  # READONLY_BUFFER
                made = top()
                if self.judge is not None and not (type(made) is Made and made.kind == BUFFER):
                    raise CodecError("makes a memoryview of what is no buffer from elsewhere")
            elif op == 0x50 or op == 0x51:  # PERSID, BINPERSID
                if op == 0x50:
                    line()
                else:
                    pop(1)
                self.persistent += 1
                push(Made(PERSISTENT))
            elif 0x82 <= op <= 0x84:  # EXT1, EXT2, EXT4
                width = 1 << (op - 0x82)
                code = int.from_bytes(data[at : at + width], "little", signed=op == 0x84)
                at += width
                push(self._extension(code))
            else:
                raise CodecError(f"byte {op:#04x} at offset {at - 1} is no opcode of a pickle")

    def _set(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise _Underflow
        if target.kind != DICT and self.judge is not None:
            self.judge.filled(self, target, "SETITEMS", items)
        self.hash(items[::2])
        if target.kind == DICT:
            if not target.size:
                target.items = items
            elif target.items is not None:
                target.items += items
                if len(target.items) > _MOST_ITEMS:
                    target.items = None
        self.hold(target, items)

    def _add(self, target: Any, items: list[Any], hashed: bool) -> None:
        if target.kind != (SET if hashed else LIST) and self.judge is not None:
            self.judge.filled(self, target, "ADDITEMS" if hashed else "APPENDS", items)
        if hashed:
            self.hash(items)
        self.hold(target, items)

    def _build(self, target: Any, state: Any) -> None:
        if type(target) is not Made:
            raise CodecError("BUILD sets the state of something that has none")
        if self.judge is not None:
            self.judge.built(self, target, state)
        self.hold(target, (state,))
        target.own |= HAS_STATE

    def _big(self, width: int) -> int:
        """What stands for an int of so many bytes."""
        if width <= _BIG_BYTES:
            return _BIG
        self.widen(width)
        return 1 << 8 * width

    def _number(self, line: bytes) -> Any:
        """The int of a text opcode; "unknown" where it is not written as Python writes it."""
        if len(line) > 20:
            return self._big(len(line))
        digits = line.removeprefix(b"-")
        if digits.isdigit() and (digits[:1] != b"0" or line == b"0"):
            return int(line)
        return Made(OPAQUE)

    def _extension(self, code: int) -> Made:
        import copyreg

        self.extensions.append(code)
        registry: dict[int, Global] = copyreg._inverted_registry  # type: ignore[attr-defined]
        module, name = registry.get(code, ("copyreg", f"extension {code}"))
        return self.name(module, name)


def _digits(line: bytes) -> int:
    if not line.isdigit() or len(line) > 20:
        raise CodecError(f"{line[:20]!r} is no number of an object")
    return int(line)


def walk(data: Data) -> Walk:
    """What a pickle refers to, once all of it has been gone over. O(len(data)).

    Raises:
        CodecError: the pickle is damaged.
    """
    found = Walk(data)
    found.run()
    return found


def globals_of(data: Data) -> Iterator[Global]:
    """Every (module, qualified name) that a pickle refers to, in order and as often as it does. Runs nothing.

    A module or a name that only running the pickle would tell is `UNKNOWN`. A code of copyreg's extension registry
    gives what is registered for it here, or ``('copyreg', 'extension 7')``.

    Raises:
        CodecError: the pickle is damaged; what it refers to before the damage has been yielded.
    """
    found = Walk(data)
    try:
        found.run()
    except CodecError:
        yield from found.globals
        raise
    yield from found.globals


def disassemble(data: Data) -> str:
    """The opcodes of a pickle as text, one a line; where it is damaged, the last line says so. Runs nothing."""
    import io
    import pickletools

    text = io.StringIO()
    try:
        pickletools.dis(bytes(data), text)
    except Exception as problem:  # noqa: BLE001  # it raises whatever damaged bytes lead to
        text.write(f"the pickle is damaged here: {problem}\n")
    return text.getvalue()
