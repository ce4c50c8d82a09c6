"""Files that hold a whole database as one document: lines of JSON, an XML property list, a pickle of a dict.

Each is written in one of two ways. As *bytes*, the default, it holds the stored bytes of every entry: nothing is
lost, nothing has to be understood, and whoever reads a pickle of bytes runs nothing. As *objects*, with a codec, it
holds what the codec makes of them, for other programs to use. All are read in both ways.

The lines of JSON are those of ``hutch dump``: ``{"key": ..., "data": ...}``, where bytes are text if they are UTF-8,
and ``{"$bytes": base64}`` if not; an object has "value" in the place of "data".
"""

from __future__ import annotations

import base64
import json
import os
import stat

from hutch.codecs.base import joined
from hutch.encoding import is_encodable
from hutch.errors import CorruptError, HutchError, UnsupportedFileError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, BinaryIO, TypeAlias

    from hutch.codecs.base import Codec

    Entries: TypeAlias = Iterator[tuple[bytes, bytes]]

__all__ = ["DOCUMENTS", "kind_of_document", "read_document", "write_document"]

DOCUMENTS = ("jsonl", "plist", "pickle")
_VERSION = 1  # of the lines of JSON
_PROTOCOL = 4  # of pickles: every Python that hutch supports, and others, read it


def kind_of_document(path: str) -> str:
    """Return which of `DOCUMENTS` a file looks like, or ""."""
    try:
        with _opened(path) as file:
            head = file.read(64)
    except (OSError, UnsupportedFileError):
        return ""
    if head[:1] == b"\x80" and 2 <= head[1:2][0] <= 5:
        return "pickle"
    if head.startswith((b"<?xml", b"bplist00", b"<plist", b"\xef\xbb\xbf<?xml")):
        return "plist"
    return "jsonl" if head.lstrip()[:1] == b"{" else ""


def _opened(path: str) -> BinaryIO:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise UnsupportedFileError(f"{path} is not a regular file")
    return os.fdopen(fd, "rb")


# Writing.


def write_document(kind: str, file: BinaryIO, entries: Iterable[tuple[bytes, bytes]], codec: Codec | None) -> None:
    """Write entries as a document; as objects if there is a codec.

    Raises:
        ValueError: a key or an object has no place in such a document. The message names the key.
        CodecError: the bytes of a value are none of the codec's.
    """
    if kind == "jsonl":
        _write_lines(file, entries, codec)
        return
    values: dict[Any, Any] = {}
    for key, data in entries:
        name = key if codec is None else _text_of(key)
        if name in values:
            raise ValueError(f"key {name!r} occurs twice")
        values[name] = data if codec is None else codec.decode(key, data)
    if kind == "pickle":
        from pickle import dump

        dump(values, file, _PROTOCOL)
    else:
        _write_plist(file, values)


def _text_of(key: bytes) -> str:
    try:
        return key.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"key {key!r} is no text, so it cannot be a name: leave the codec away") from None


def _write_lines(file: BinaryIO, entries: Iterable[tuple[bytes, bytes]], codec: Codec | None) -> None:
    def write(fields: dict[str, Any]) -> None:
        file.write(json.dumps(fields, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")

    count = 0
    write({"hutch": "dump", "version": _VERSION})
    for key, data in entries:
        fields: dict[str, Any] = {"key": _field(key)}
        if codec is None:
            fields["data"] = _field(data)
        else:
            fields["value"] = codec.decode(key, data)
            problem = _not_json(fields["value"])
            if problem:
                raise ValueError(f"the value of key {key!r} has {problem}, which JSON has not: leave the codec away")
        write(fields)
        count += 1
    write({"hutch": "end", "entries": count})


def _field(data: bytes) -> Any:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return {"$bytes": base64.b64encode(data).decode("ascii")}


def _not_json(value: Any) -> str:
    """Return what in `value` would not come back from JSON as the same, or ""."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if item is None or kind in (bool, int):
            continue
        if kind is str:
            if not is_encodable(item):
                return "half a character"
        elif kind is float:
            if item != item or item in (float("inf"), float("-inf")):
                return f"the number {item}"
        elif kind is list:
            waiting += item
        elif kind is dict:
            if not all(type(name) is str and not name.startswith("$") and is_encodable(name) for name in item):
                return "a dict with other names than text, or with ones that begin with $"
            waiting += item.values()
        else:
            return f"an object of type {kind.__name__}"
    return ""


def _write_plist(file: BinaryIO, values: dict[Any, Any]) -> None:
    import plistlib

    document: Any = values
    if all(type(name) is bytes for name in values):
        # A name in a dict of a property list is text, and XML makes other text of some characters.
        names = {name: name.decode("utf-8", "replace") for name in values}
        if all(text.isprintable() and text.encode("utf-8") == name for name, text in names.items()):
            document = {names[name]: value for name, value in values.items()}
        else:
            document = [{"key": name, "data": value} for name, value in values.items()]
    for name, value in values.items():
        try:
            is_same = plistlib.loads(plistlib.dumps(value)) == value
        except (TypeError, ValueError, OverflowError, AttributeError) as problem:
            raise ValueError(f"the value of key {name!r} cannot stand in a property list: {problem}") from problem
        if not is_same:
            raise ValueError(f"the value of key {name!r} would come back from a property list as another")
    plistlib.dump(document, file, sort_keys=False)


# Reading.


def read_document(kind: str, path: str, codec: Codec | None, *, unpickle: bool = False) -> Entries:
    """Read the entries of a document, as bytes to be stored.

    Args:
        codec: makes bytes of what the document has as objects; None: a plain pickle, as a shelf has it.
        unpickle: read a pickle whatever it names, which runs what its author wanted.

    Raises:
        CorruptError: it is no such document, or ends in the middle.
        ForbiddenGlobalError: a pickle names more than data, and `unpickle` is not given.
    """
    if kind == "jsonl":
        yield from _read_lines(path, codec)
        return
    with _opened(path) as file:
        document = _read_plist(file, path) if kind == "plist" else _read_pickle(file, unpickle)
    if isinstance(document, list) and all(type(item) is dict and item.keys() == {"key", "data"} for item in document):
        for item in document:
            yield item["key"], item["data"]
        return
    try:
        items = list(document.items())
    except (AttributeError, TypeError) as problem:
        raise CorruptError(f"{path} holds no dict but {type(document).__name__}", file=path) from problem
    are_bytes = codec is None and all(type(value) is bytes for _, value in items)
    is_raw = are_bytes and (kind == "plist" or all(type(key) is bytes for key, _ in items))
    for key, value in items:
        name = _name_of(key, path)
        yield name, value if is_raw else _encoded(name, value, codec)


def _name_of(key: object, path: str) -> bytes:
    if isinstance(key, str):
        return key.encode("utf-8")
    if isinstance(key, bytes):
        return key
    raise UnsupportedFileError(f"{path} has the key {key!r}; only text and bytes can be keys")


def _encoded(key: bytes, value: Any, codec: Codec | None) -> bytes:
    if codec is None:
        from pickle import dumps

        return dumps(value, _PROTOCOL)
    try:
        return joined(codec.encode(key, value))
    except HutchError:
        raise
    except (TypeError, ValueError, OverflowError, RecursionError) as problem:
        raise ValueError(f"the value of key {key!r} cannot be stored under {codec!r}: {problem}") from problem


def _read_pickle(file: BinaryIO, unpickle: bool) -> Any:
    data = file.read()
    if unpickle:
        from pickle import loads

        return loads(data)  # noqa: S301  # asked for by name
    from hutch.codecs.safe import SafePickle

    return SafePickle(max_bytes=max(len(data), 1)).decode(b"the whole pickle", data)


def _read_plist(file: BinaryIO, path: str) -> Any:
    import plistlib
    from xml.parsers.expat import ExpatError

    data = file.read()  # not from the file: of a binary one plistlib would ask for as much as that says there is
    try:
        return plistlib.loads(data)
    except (ExpatError, ValueError, TypeError, LookupError, OverflowError, RecursionError) as problem:
        raise CorruptError(f"{path} is no property list: {problem}", file=path) from problem


def _read_lines(path: str, codec: Codec | None) -> Entries:
    expected: int | None = None
    has_end = True
    count = 0
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            fields = _parse_line(line, number, path)
            if "hutch" in fields and "key" not in fields:
                has_end = fields["hutch"] == "end"
                if has_end:
                    expected = fields.get("entries")
                elif fields.get("version") != _VERSION:
                    raise UnsupportedFileError(f"{path}: a dump of version {fields.get('version')!r} is not read here")
                continue
            yield _entry(fields, number, path, codec)
            count += 1
    if not has_end or (expected is not None and expected != count):
        raise CorruptError(f"{path} has been cut off: it ends with entry {count}", file=path)


def _parse_line(line: bytes, number: int, path: str) -> dict[str, Any]:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise CorruptError(f"{path}: line {number} is no JSON: {problem}", file=path) from problem
    if type(fields) is not dict:
        raise CorruptError(f"{path}: line {number} is no entry", file=path)
    return fields


def _entry(fields: dict[str, Any], number: int, path: str, codec: Codec | None) -> tuple[bytes, bytes]:
    try:
        key = _unfield(fields["key"])
        if "data" in fields:
            return key, _unfield(fields["data"])
        value = fields["value"]
    except (KeyError, ValueError, TypeError) as problem:
        raise CorruptError(f"{path}: line {number} is no entry: {problem!r}", file=path) from problem
    if _not_json(value):
        raise UnsupportedFileError(f"{path}: line {number} has a value that JSON itself lacks: use `hutch load`")
    return key, _encoded(key, value, codec)


def _unfield(field: Any) -> bytes:
    if isinstance(field, str):
        return field.encode("utf-8")
    if type(field) is dict and field.keys() == {"$bytes"}:
        return base64.b64decode(field["$bytes"], validate=True)
    raise ValueError("it is neither text nor {'$bytes': ...}")
