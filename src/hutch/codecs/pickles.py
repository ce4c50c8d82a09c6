"""Pickles, and all that the standard library lets one say about how they are made and read."""

from __future__ import annotations

from hutch.codecs.base import Codec, Pieces, refuse, show_options
from hutch.codecs.framing import BUFFERS, MAGIC_BYTES
from hutch.codecs.whole import TOO_SHORT, is_whole_pickle
from hutch.errors import CodecError

try:  # `pickle` brings `re` along; these are what it uses
    from _pickle import dumps, loads
except ImportError:
    from pickle import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from hutch.codecs.base import Data

    Reducer: TypeAlias = Callable[[Any], Any]
    Renames: TypeAlias = Mapping[str, Any]

__all__ = ["Pickle"]

_HIGHEST = 5
_DEFAULT = dumps(None)[1]  # a pickle starts with its protocol
_MISSING_CLASS = "if the class has moved or is called something else now, name the new place in Pickle(renames=...)"
_MISSING_PERSISTENT = "it refers to an object that lives elsewhere: give Pickle a persistent_load that finds it"


class Pickle(Codec):
    """Any object that pickles. Without options these are the pickles of ``pickle.dumps``, which ``shelve`` reads too.

    Only read values of people that you trust: a pickle may call anything. `SafePickle` reads those of others.

    Args:
        protocol: 0 to 5; None: this Python's default, with `buffers` 5. Whatever it is, all of them are read.
        dispatch_table: functions that reduce an object, by its class, for this codec alone. What is not in it is
            looked up in ``copyreg``.
        reducer_override: called with each object that is not of a built-in type; returns what ``__reduce__`` would,
            or NotImplemented to leave it as it is. Comes before `dispatch_table`.
        persistent_id: called with every object; returns an id (text, or any object above protocol 0) under which the
            object is to be found outside of the pickle, or None for an object that belongs into it.
        persistent_load: called with such an id; returns the object.
        renames: where classes, functions or whole modules are now, by where they were:
            ``{"old.mod.Cls": "new.mod.Cls", "old.pkg": "new.pkg"}``. The longest name that matches counts, and is
            followed once. The new place may be the object itself. A colon makes clear where the module ends:
            ``"pkg.mod:Outer.Inner"``.
        buffers: store the memory of NumPy arrays and whatever else offers protocol-5 buffers behind the pickle,
            aligned to 64 bytes, without a copy (see `hutch.codecs.buffers`). They come back read-only: where the
            shelf has the value mapped, as views of the file, else as views of the bytes that were read. A value that
            has none is stored as a plain pickle; so are the parts of one for which NumPy offers no buffers: objects,
            datetimes, and arrays of a subclass (``np.asarray`` makes plain ones).

    Raises:
        ValueError: there is no such protocol, or it has no buffers.
        TypeError: an option is not of the kind it should be.
    """

    name = "Pickle"
    makes_pickles = True

    def __init__(
        self,
        protocol: int | None = None,
        *,
        dispatch_table: Mapping[type, Reducer] | None = None,
        reducer_override: Reducer | None = None,
        persistent_id: Callable[[Any], Any] | None = None,
        persistent_load: Callable[[Any], Any] | None = None,
        renames: Renames | None = None,
        buffers: bool = False,
    ) -> None:
        _check_protocol(protocol, buffers)
        for option, function in (
            ("reducer_override", reducer_override),
            ("persistent_id", persistent_id),
            ("persistent_load", persistent_load),
        ):
            if function is not None and not callable(function):
                raise TypeError(f"{option} is a function, not {type(function).__name__}")
        self.protocol = protocol
        self.dispatch_table = None if dispatch_table is None else dict(dispatch_table)
        self.reducer_override = reducer_override
        self.persistent_id = persistent_id
        self.persistent_load = persistent_load
        self.renames = None if renames is None else dict(renames)
        self.buffers = buffers
        self._start()

    def _start(self) -> None:
        """Make of the options what reads and writes: at first, and after unpickling the codec."""
        self._protocol = self.protocol if self.protocol is not None else _HIGHEST if self.buffers else _DEFAULT
        self._pickler = self._unpickler = None
        if not (self.dispatch_table is None and self.reducer_override is None and self.persistent_id is None):
            from hutch.codecs.custom import make_pickler

            self._pickler = make_pickler(self.dispatch_table, self.reducer_override, self.persistent_id)
        if not (self.renames is None and self.persistent_load is None):
            from hutch.codecs.custom import make_unpickler

            self._unpickler = make_unpickler(self.renames, self.persistent_load)
        self._is_plain_out = self._pickler is None and not self.buffers
        self._is_plain_in = self._unpickler is None and not self.buffers
        self.wants_view = self.buffers
        if self.buffers:
            self.name, self.reads = "Pickle(buffers=True)", ("Pickle",)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (type(self), self._options())

    def __repr__(self) -> str:
        return show_options(self, self._options())

    def _options(self) -> dict[str, Any]:
        return {
            "protocol": self.protocol,
            "dispatch_table": self.dispatch_table,
            "reducer_override": self.reducer_override,
            "persistent_id": self.persistent_id,
            "persistent_load": self.persistent_load,
            "renames": self.renames,
            "buffers": self.buffers,
        }

    def encode(self, key: bytes, value: Any) -> bytes | Pieces:
        """The pickle; with its buffers in `Pieces`, if the codec was made for them and there are some.

        Raises:
            PicklingError, TypeError, AttributeError...: as ``pickle.dumps``.
        """
        if self._is_plain_out:
            return dumps(value, self._protocol)
        if not self.buffers:
            return self._dump(value, None)
        views: list[memoryview] = []

        def keep(buffer: Any) -> bool:
            try:
                views.append(buffer.raw())
            except BufferError:  # not contiguous: the pickler says so, in its own words
                return True
            return False

        pickle = self._dump(value, keep)
        if not views:
            return pickle
        from hutch.codecs.buffers import frame

        return frame(pickle, views)

    def _dump(self, value: Any, keep: Callable[[Any], bool] | None) -> bytes:
        if self._pickler is None:
            return dumps(value, self._protocol, buffer_callback=keep)
        from io import BytesIO

        file = BytesIO()
        self._pickler(file, self._protocol, buffer_callback=keep).dump(value)
        return file.getvalue()

    def decode(self, key: bytes, data: Data) -> Any:
        """The object. What stands behind the pickle is ignored, as ``pickle.loads`` does.

        Raises:
            CodecError: any error of the unpickling, which is its ``__cause__``.
            MemoryError: the pickle is whole, and there is not enough memory for its object.
        """
        try:
            if self._is_plain_in:
                return loads(data)  # noqa: S301  # what this codec is for, and what its docstring warns of
            buffers = None
            if data[:MAGIC_BYTES] == BUFFERS and self.buffers:
                from hutch.codecs.buffers import unframe

                data, buffers = unframe(data)
            if self._unpickler is None:
                return loads(data, buffers=buffers)  # noqa: S301  # likewise
            return self._unpickler(data, buffers)
        except MemoryError as problem:
            if is_whole_pickle(data):
                raise
            raise refuse(self, key, data, TOO_SHORT) from problem
        except Exception as problem:
            raise _refusal(self, key, data, problem) from problem

    def unwrap(self, key: bytes, data: Data) -> Data:
        """The pickle alone, without its buffers."""
        if data[:MAGIC_BYTES] != BUFFERS:
            return data
        from hutch.codecs.buffers import unframe

        try:
            return unframe(data)[0]
        except ValueError as problem:
            raise refuse(self, key, data, str(problem)) from problem


def _check_protocol(protocol: int | None, buffers: bool) -> None:
    if protocol is None:
        return
    if type(protocol) is not int:
        raise TypeError(f"protocol is a number, not {type(protocol).__name__}")
    if not 0 <= protocol <= _HIGHEST:
        raise ValueError(f"the protocols of pickle are 0 to {_HIGHEST}, not {protocol}")
    if buffers and protocol < _HIGHEST:
        raise ValueError(f"protocol {protocol} has no buffers: leave it out, or say protocol={_HIGHEST}")


def _refusal(codec: Pickle, key: bytes, data: Data, problem: Exception) -> CodecError:
    text = str(problem)
    advice = None
    if isinstance(problem, ImportError) or (isinstance(problem, AttributeError) and "Can't get attribute" in text):
        wanted = _wanted(data, problem.name) if isinstance(problem, ImportError) and problem.name else ""
        advice = f"{wanted}{_MISSING_CLASS}"
    elif "persistent" in text and codec.persistent_load is None:
        advice = _MISSING_PERSISTENT
    return refuse(codec, key, data, problem, advice)


def _wanted(data: Data, missing: str) -> str:
    """What a pickle looks for in a module that is missing, which the error of the import does not say."""
    from hutch.codecs.opcodes import globals_of

    start = missing + "."
    try:
        names = sorted({f"{module}.{name}" for module, name in globals_of(data) if f"{module}.".startswith(start)})
    except CodecError:
        return ""
    return f"it was looking for {', '.join(names)}; " if names else ""


def _remake(kind: type[Pickle], options: dict[str, Any]) -> Pickle:
    return kind(**options)
