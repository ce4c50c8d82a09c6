"""A codec that unpickles data only: what is not allowed is refused before anything runs.

What is promised of bytes that anybody may have written:

- No class or function is called, and no module imported, but those of the allow list and what they use themselves.
- A pickle that names anything else, anywhere, is refused before its first call. So is one that calls something
  allowed in a way that data never does (a `bytearray` of a size, a `set` of a `range`), that sets attributes of a
  class or of a member of an enum or puts anything into one, or that leaves open what it names.
- It takes no more memory than a fixed multiple of its bytes (some 400, and 16 MiB; an empty set is a byte of pickle and
  216 of memory), and no more time either: what is hashed, compared, copied or shown by an error is counted as often as
  that happens, also where it is one thing in many places. It nests no deeper than `max_depth`.
- What comes out is an object or an error of the `CodecError` family (or a `MemoryError`), never a crash.

What is not promised: that values make sense (a state may be set that ``__init__`` would not have accepted), that
classes of your own which you allow are safe to call with any arguments, or quick to hash, that a dict has no colliding
keys, that it is quick to print or to compare what shares its parts, or what ``int(Decimal('1e999999999'))`` does when
you come to it. Members of an `enum.IntFlag` of yours that only some value has (``Access(1 << 20)``) stay in memory: the
enum keeps them.
"""

from __future__ import annotations

from _pickle import Unpickler, dumps, loads

from hutch.codecs import notes
from hutch.codecs.accounts import most_copied, most_work, weigh
from hutch.codecs.allowed import (
    DATA,
    GETATTR,
    RECONSTRUCTOR,
    UUID,
    ZONE,
    Entry,
    array_entry,
    successor,
    zone_entry,
)
from hutch.codecs.base import Codec, refuse, show_key, show_options
from hutch.codecs.depth import is_deep
from hutch.codecs.forms import BUILT, DICTS, FLAT, MIXED, NO_HASHING
from hutch.codecs.framing import guess
from hutch.codecs.glance import Names, is_simple, look
from hutch.codecs.granted import UserEntry
from hutch.codecs.hopeless import found_in_memory, refusal_of, refusal_of_name
from hutch.codecs.notes import HAS_STATE, RECURSES, Made
from hutch.codecs.opcodes import SETTER, UNKNOWN, Walk
from hutch.codecs.shapes import MAX_SHAPE_BYTES, Shapes
from hutch.codecs.source import Source
from hutch.codecs.templates import MAX_TEMPLATE_BYTES, Templates
from hutch.errors import CodecError, ForbiddenGlobalError, LimitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from hutch.codecs.base import Data
    from hutch.codecs.opcodes import Global

__all__ = ["SafePickle"]

MAX_BYTES = 64 << 20
MAX_DEPTH = 1000  # as many calls go into one another, unless somebody changes the limit of that
_MAX_KNOWN_BYTES = 16 << 10  # of a pickle that may look like one that is remembered as a whole
_GLANCES = 8  # as much is told at a glance before anything of it is remembered, which takes a hundred times as long
_FEW_BYTES = 300  # of a pickle that is told sooner as a whole than piece by piece
_MANY_BYTES = 4 << 10  # of one that uses things twice, where a glance takes longer
# What is known of one that does, as of one found at a glance: `hutch.codecs.templates` says why it is not deep.
_KNOWN = (True, False, True, 0)
_DECIMAL = ("decimal", "Decimal")
# Where a glance takes longer than it takes to compare a pickle with templates.
_SLOW_KINDS = (NO_HASHING, FLAT, BUILT, DICTS, MIXED)


class SafePickle(Codec):
    r"""Plain pickles of data; reading them imports and calls nothing that is not allowed.

    Args:
        allow: classes that may be read beside the types of data: themselves, or ``'module:Qual.Name'`` or
            ``'module.Name'``, which is imported when a value names it first. Exactly these: no other name of their
            modules, no attribute of theirs, no subclass.
        protocol: of the pickles that are written, 0 to 5; None for Python's default. Every protocol is read.
        max_bytes: the longest pickle that is read or written.
        max_depth: how deep a value may nest.
        numpy: NumPy's arrays and scalars of numbers, text, bytes and times too. (Not arrays of objects, nor records.)

    Raises:
        ValueError: `allow` has what is no class, or would make it unsafe, such as `eval` or `subprocess.Popen`. Of the
            standard library it takes what is known to be data. (What a name means is seen when it is imported.)
        TypeError: `allow` has what is neither a class nor a name.

    >>> codec = SafePickle()
    >>> codec.decode(b"k", codec.encode(b"k", {"when": [1, 2.5, {"a"}]}))
    {'when': [1, 2.5, {'a'}]}
    >>> codec.decode(b"k", b"cos\nsystem\n(S'true'\ntR.")
    Traceback (most recent call last):
    hutch.errors.ForbiddenGlobalError: the value of key 'k' refers to os.system, which SafePickle does not allow
    """

    name = "SafePickle"
    makes_pickles = True
    is_inert = True
    reads = ("Pickle",)

    def __init__(
        self,
        allow: Iterable[type | str] = (),
        *,
        protocol: int | None = None,
        max_bytes: int = MAX_BYTES,
        max_depth: int = MAX_DEPTH,
        numpy: bool = False,
    ) -> None:
        self._arguments = {"protocol": protocol, "max_bytes": max_bytes, "max_depth": max_depth, "numpy": numpy}
        self._allow = tuple((allow,) if isinstance(allow, (type, str)) else allow)
        self._protocol = protocol
        self._max_bytes = max_bytes
        self._max_depth = max_depth
        self._small = min(max_bytes, max_depth)  # no more bytes can nest no deeper
        # As `look` found of the last pickle that was told at a glance: the next one is likely to be like it.
        self._kind = 0
        self._names_classes = False
        self._templates = Templates(max_depth)
        self._shapes = Shapes(max_depth, self._is_calm, self._weigh)
        self._max_template = min(max_bytes, _MAX_KNOWN_BYTES)
        self._glanced_bytes = self._walked_bytes = 0  # since anything was remembered
        self._known_by: Templates | Shapes | None = None  # the last one was told by these
        self._entries = dict(DATA)
        if numpy:
            from hutch.codecs.arrays import ENTRIES

            self._entries.update(ENTRIES)
        for item in self._allow:
            entry = _entry(item, self._entries)
            self._entries.setdefault(entry.where, entry)
            if entry.where == ("array", "array"):
                self._entries.setdefault(array_entry.where, array_entry)
        self._things: dict[Global, Any] = {}  # that have been found; a property of an entry takes longer
        find = self._find

        class Restricted(Unpickler):
            """The last word: whatever has been found out before, no other global is ever handed out."""

            find_class = staticmethod(find)

        self._unpickler = Restricted
        flat = self._names_of(lambda entry: entry.is_free or entry.has_members or entry.is_row)
        self._names = (
            self._names_of(lambda entry: entry.takes_state or entry.begins_empty),
            self._names_of(lambda entry: entry.is_callable or entry.where == _DECIMAL),
            flat,
            Names(()),
            self._names_of(lambda entry: entry.has_no_state or entry.where == UUID),
            self._names_of(lambda entry: entry.is_dict),
            self._names_of(lambda entry: (entry.is_free or entry.has_members or entry.is_row) and entry.is_quick),
        )

    def __repr__(self) -> str:
        return show_options(self, {"allow": list(self._allow) or None, **self._arguments})

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._allow, self._arguments)

    def encode(self, key: bytes, value: Any) -> bytes:
        """The pickle of `value`.

        Raises:
            ForbiddenGlobalError: it is of a class that `decode` would refuse, or has something of one inside.
            LimitError: it is longer, or nests deeper, than is allowed.
        """
        data = dumps(value, self._protocol)
        self._check_depth(key, data, value, self._look(key, data))
        return data

    def decode(self, key: bytes, data: Data) -> Any:
        """The object that a pickle stands for.

        Raises:
            ForbiddenGlobalError: it refers to what is not allowed; nothing of it has been made or run.
            LimitError: it is longer, or nests deeper, than is allowed.
            CodecError: it is damaged, or no pickle.
        """
        if type(data) is not bytes:
            data = bytes(data)
        if not self._names_classes and len(data) <= self._small and is_simple(data):
            try:
                return loads(data)
            except MemoryError:
                raise
            except Exception as problem:
                raise refuse(self, key, data, problem) from problem
        if self._known_by is not None and self._is_known(data, self._known_by):
            found: tuple[bool, bool, bool, int] | None = _KNOWN
        else:
            found = self._look(key, data)
            if found is not None and (
                (found[0] and found[3] >> 1 in _SLOW_KINDS) or (found[2] and len(data) > _MANY_BYTES)
            ):
                self._glanced_bytes += len(data)
                if len(data) <= _FEW_BYTES or self._glanced_bytes >= _GLANCES * len(data):
                    self._glanced_bytes = 0
                    self._learn(data)
        try:
            # Without a global there is nothing that could be called.
            value = loads(data) if found is not None and not found[0] else self._unpickler(Source(data)).load()
        except CodecError as problem:
            raise self._about(key, data, problem) from None
        except MemoryError:
            raise
        except Exception as problem:
            raise refuse(self, key, data, problem) from problem
        if found is not _KNOWN:
            self._check_depth(key, data, value, found)
        return value

    def _check_depth(self, key: bytes, data: bytes, value: Any, found: tuple[bool, bool, bool, int] | None) -> None:
        """Refuse a value that nests too deep, where what was found does not say that it does not."""
        # A walk sees how deep an object is when it is made, but not what a list is given later.
        named, may_be_deep, shares, _ = found or (True, len(data) > self._max_depth, True, 0)
        if may_be_deep and is_deep(value, self._max_depth, len(data), is_tree=not named and not shares):
            raise LimitError(
                f"the value of key {show_key(key)} nests deeper than max_depth ({self._max_depth}) allows", key=key
            )

    def _look(self, key: bytes, data: bytes) -> tuple[bool, bool, bool, int] | None:
        """Refuse what must not be unpickled. Most data is told at a glance, the rest by a walk over its opcodes.

        Returns:
            What the glance has found, None after a walk.
        """
        size = len(data)
        if size > self._max_bytes:
            raise LimitError(
                f"the value of key {show_key(key)} is a pickle of {size} bytes; max_bytes is {self._max_bytes}", key=key
            )
        found = look(data, self._names, self._max_depth, self._kind)
        self._known_by = None
        if found is not None:
            self._names_classes, self._kind = found[0], found[3]
            return found
        self._names_classes = True
        for known_by in (self._templates, self._shapes):
            if self._is_known(data, known_by):
                self._known_by = known_by
                return _KNOWN
        walk = Walk(
            data,
            self,
            max_depth=self._max_depth,
            max_work=most_work(size),
            max_copied=most_copied(size),
        )
        try:
            walk.run()
            if walk.persistent:
                raise CodecError("refers to an object that is kept elsewhere (a persistent id)")
            if walk.end != size:
                raise CodecError(f"has {size - walk.end} bytes behind its end")
        except CodecError as problem:
            raise self._about(key, data, problem) from None
        except MemoryError:
            raise
        except Exception as problem:  # a module that was allowed by name cannot be imported, or has no such class
            raise refuse(self, key, data, problem) from problem
        self._walked_bytes += size
        is_first = self._walked_bytes < 2 * size  # whoever reads one value only need not wait
        if not is_first:
            self._walked_bytes = 0
        self._remember(walk, (self._templates,) if is_first else self._known_by_size(size))
        return None

    def _is_known(self, data: bytes, known_by: Templates | Shapes) -> bool:
        """Whether a pickle looks like one that a walk has let through."""
        return (
            len(data) <= (self._max_template if known_by is self._templates else self._max_bytes) and data in known_by
        )

    def _learn(self, data: bytes) -> None:
        """Go over a pickle that was told at a glance, once, if the next one of its shape is told sooner then."""
        if len(data) > MAX_SHAPE_BYTES:
            return
        for known_by in self._known_by_size(len(data)):
            if self._is_known(data, known_by):
                self._known_by = known_by
                return
        if not any(known_by.are_of_use() for known_by in self._known_by_size(len(data))):
            return
        walk = Walk(data, self, max_depth=self._max_depth, max_copied=most_copied(len(data)))
        try:
            walk.run()
        except CodecError:
            return  # a glance need not see the same limits as a walk
        self._remember(walk, self._known_by_size(len(data)))

    def _known_by_size(self, size: int) -> tuple[Templates | Shapes, ...]:
        """What tells pickles of that size soonest, and what else may."""
        if size <= _FEW_BYTES:
            return self._templates, self._shapes
        return (self._shapes, self._templates) if size <= MAX_TEMPLATE_BYTES else (self._shapes,)

    def _remember(self, walk: Walk, ways: tuple[Templates | Shapes, ...]) -> None:
        """Remember what a walk has let through, in the first of some ways that takes it."""
        # What NumPy's arrays may be made of depends on numbers and sizes.
        if any(module.partition(".")[0] == "numpy" for module, _ in walk.globals):
            return
        for known_by in ways:
            if known_by.learn(walk.data, walk, self):
                self._known_by = known_by
                return

    def _about(self, key: bytes, data: bytes, problem: CodecError) -> CodecError:
        """The same problem, with the key in it; or, of bytes that look like no pickle, what they look like."""
        if type(problem) is CodecError or guess(data) not in (None, "text", *self.reads):
            return refuse(self, key, data, str(problem))
        problem.args = (f"the value of key {show_key(key)} {problem}",)
        problem.key = key
        return problem

    def _where(self, module: str, name: str) -> Global:
        """The name of an entry. Any other name is refused."""
        where = (module, name)
        if where in self._entries:
            return where
        where = successor(module, name)
        if where in self._entries:
            return where
        raise _forbidden(module, name)

    def _names_of(self, are: Callable[[Entry], bool]) -> Names:
        """The names of some entries."""
        some = {where: entry for where, entry in self._entries.items() if are(entry)}
        return Names(some, [where[1] for where, entry in some.items() if entry.marks[0] & RECURSES])

    def _is_calm(self, module: str, name: str) -> bool:
        """Whether a class may be called with anything."""
        entry = self._entries.get((module, name))
        return entry is not None and (entry.is_callable or entry.is_row)

    def _weigh(self, module: str, name: str) -> tuple[int, int]:
        """What it takes more than others do to hash what a class makes: in any case, and for each content."""
        entry = self._entries.get((module, name)) or self._entries.get(successor(module, name))
        if entry is None:
            return 0, 0
        own, _, weight = entry.marks
        least = weigh(own, weight, 0)
        return least, weigh(own, weight, 255) - least + 1

    def _find(self, module: str, name: str) -> Any:
        where = (module, name)
        thing = self._things.get(where)
        if thing is None:
            entry = self._entries.get(where) or self._entries[self._where(module, name)]
            thing = self._things[where] = entry.thing
        return thing

    # What a walk tells on its way.

    def named(self, walk: Walk, module: str, name: str) -> Global:
        """A global is named."""
        if UNKNOWN in (module, name):
            raise _forbidden(module, name)
        if walk.extensions:
            raise _forbidden(module, f"{name} (by a code of copyreg's extension registry)")
        return self._where(module, name)

    def stored(self, walk: Walk, where: Global) -> None:
        """A global is a value, or an argument: a class may be, a function may not."""
        if where == ZONE or not self._entries[where].bare:
            raise _forbidden(*where)

    def called(self, walk: Walk, function: Made, arguments: Any, result: Made, opcode: str) -> None:
        """A call is about to be made."""
        where: Global = function.items
        if function.kind != notes.GLOBAL:
            raise ForbiddenGlobalError("calls what a call has returned", module=UNKNOWN, name=UNKNOWN)
        entry = zone_entry if where == ZONE else self._entries[where]
        if opcode == "NEWOBJ_EX":
            arguments, named = arguments.items
            if not isinstance(entry, UserEntry) or type(named) is not Made or named.kind != notes.DICT:
                raise _misused(where)
            if named.size and not entry.takes_names():
                raise _misused(where)
        elif opcode == "NEWOBJ" and not entry.newobj:
            raise _misused(where)
        if type(arguments) is not Made or arguments.kind != notes.TUPLE or not entry.rule(walk, arguments.items):
            raise _misused(where)
        result.items = entry.makes
        if where == GETATTR:
            result.kind, result.items = notes.GLOBAL, ZONE
        elif where == RECONSTRUCTOR:
            cls = arguments.items[0]
            if type(cls) is not Made or cls.kind != notes.GLOBAL or not self._entries[cls.items].newobj:
                raise _misused(where)
            entry = self._entries[cls.items]
            result.items = cls.items
        result.own, result.flags, result.weight = self._entries.get(result.items, entry).marks

    def built(self, walk: Walk, target: Made, state: Any) -> None:
        """The state of an object is about to be set."""
        if target.kind != notes.RESULT:
            where: Global = target.items if target.kind == notes.GLOBAL else (UNKNOWN, UNKNOWN)
            raise ForbiddenGlobalError(
                f"sets attributes of {'.'.join(where)}, which is no object of data", module=where[0], name=where[1]
            )
        entry = self._entries.get(target.items)
        if walk.names_setter:  # a state that was set before may have it, or anything that acts as a dict
            module, name = target.items
            raise ForbiddenGlobalError(
                f"sets the state of {module}.{name}, and has the text {SETTER!r}, by which something else could be "
                "called with it, which SafePickle does not allow",
                module=module,
                name=name,
            )
        if entry is None or not entry.builds(walk, [target, state]):
            raise _misused(target.items)
        if type(state) is Made and state.kind == notes.RESULT and not entry.sets_state:
            known = self._entries.get(state.items)
            if known is not None and known.is_tuple:  # with one, BUILD sets attributes, too
                raise _misused(target.items)

    def filled(self, walk: Walk, target: Made, opcode: str, items: list[Any]) -> None:
        """Something else than a list, dict or set is about to be given more."""
        entry = self._entries.get(target.items) if target.kind == notes.RESULT else None
        if entry is None:
            raise CodecError(f"has {opcode} for what is no container, or not one of that kind")
        # What a state has by the name of a method would be called in its place, or be filled; picklers set states last.
        if target.own & HAS_STATE or not entry.may_fill(opcode, items):
            raise _misused(target.items)


def _restore(allow: tuple[type | str, ...], arguments: dict[str, Any]) -> SafePickle:
    return SafePickle(allow, **arguments)


def _entry(item: type | str, entries: dict[Global, Entry]) -> Entry:
    """What the user allows; one of `entries`, if it is there already."""
    if isinstance(item, type):
        module, name = item.__module__, item.__qualname__
    elif isinstance(item, str):
        module, colon, name = item.partition(":")
        if not colon:
            module, _, name = item.rpartition(".")
        if not module or not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"allow takes 'module:Qual.Name' or 'module.Name', not {item!r}")
    else:
        raise TypeError(f"allow takes classes and their names, not {item!r}")
    if module == "pathlib._local":
        module = "pathlib"
    known = entries.get((module, name)) or entries.get(successor(module, name))
    if known is not None and known.bare:
        return known
    thing = item if isinstance(item, type) else found_in_memory(module, name)
    reason = refusal_of_name(module, name)
    if reason is None or isinstance(item, type):
        reason = refusal_of(thing) if thing is not None else None
    if reason is not None:
        raise ValueError(f"SafePickle does not allow {module}.{name}: {reason}")
    return UserEntry((module, name), thing)


def _forbidden(module: str, name: str) -> ForbiddenGlobalError:
    return ForbiddenGlobalError(f"refers to {module}.{name}, which SafePickle does not allow", module=module, name=name)


def _misused(where: Global) -> ForbiddenGlobalError:
    module, name = where
    return ForbiddenGlobalError(
        f"uses {module}.{name} as no pickle of data does, which SafePickle does not allow", module=module, name=name
    )
