"""Reading a directory: dbm.dumb's text lines, as hutch or any stdlib since 2.7 wrote them.

A strict regular expression, never eval or literal_eval: a directory can be anybody's, and a line of
20,000 parentheses kills the parser behind those. Pure functions; floor 1.
"""

from __future__ import annotations

import functools
import struct
from binascii import unhexlify

from hutch import format as fmt
from hutch.errors import CorruptDirectoryError
from hutch.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence

__all__ = [
    "Directory",
    "Header",
    "Line",
    "decode_literal",
    "iterate_lines",
    "parse_directory",
    "read_header",
    "simple_columns",
    "simple_keys",
    "starts_plain",
]

_LITERAL = rb"('[^'\\\r\n\0]*+(?:\\[^\r\n\0][^'\\\r\n\0]*+)*+'|\"[^\"\\\r\n\0]*+(?:\\[^\r\n\0][^\"\\\r\n\0]*+)*+\")"
_HEADER_COMMENT = rb"( hutch1 [0-9a-f ]{%d})?+" % (fmt.HEADER_COMMENT_BYTES - len(" hutch1 "))
_HUTCH_LINE = (
    _LITERAL
    + rb", \(([ \d]{15}), ([ \d]{13})\)  # ([0-9a-f!-]{8})"
    + _HEADER_COMMENT
    + rb"((?:#[^\r\n\0]*)?+) *+(\r?\n|\Z)"
)
# Exactly as dbm.dumb writes it: a torn hutch line, whose numbers are padded, never looks like one.
_PLAIN_LINE = _LITERAL + rb", \((\d{1,19})L?, (\d{1,19})L?\)(\r\n|\r|\n|\Z)"
# What almost all lines are: no escape that `repr` would not write, a checksum; each from its start to its newline.
_ESCAPE = rb"\\(?:x[0-9a-f]{2}|[nrt\\'\"])"
_SIMPLE_LINE = (
    rb"(?m)^('[^'\\\r\n\0]*+(?:%b[^'\\\r\n\0]*+)*+'|\"[^\"\\\r\n\0]*+(?:%b[^\"\\\r\n\0]*+)*+\")" % (_ESCAPE, _ESCAPE)
    + rb", \(([ \d]{15}), ([ \d]{13})\)  # ([0-9a-f]{8})"
    + _HEADER_COMMENT.replace(b"(", b"(?:", 1)
    + rb"(?:#[^\r\n\0]*+)?+ *+\n"
)
_SIMPLE_KEY = _SIMPLE_LINE.replace(rb"([ \d]{15})", rb"[ \d]{15}").replace(rb"([ \d]{13})", rb"[ \d]{13}")
_SIMPLE_KEY = _SIMPLE_KEY.replace(b"([0-9a-f]{8})", b"[0-9a-f]{8}")
# The same without escapes and comments, in a form that takes `re` half the time: what is in a field others check.
_BARE_LINE = rb"'([^']*+)', \((.{15}), (.{13})\)  # (.{8})\n"
_BARE_KEY = rb"'([^']*+)', \(.{15}, .{13}\)  # .{8}\n"
_BARE_BYTES = len("''") + fmt.FIELDS_BYTES + len("\n")
_ESCAPES = {
    b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"',
    **{b"x%02x" % number: bytes((number,)) for number in range(256)},
}  # fmt: skip


class Line(NamedTuple):
    """One live line: the key, where its line starts, the bytes of its literal, and its entry."""

    key: bytes
    start: int
    literal_bytes: int
    entry: fmt.Entry


class Header(NamedTuple):
    """The header comment of a directory's first line."""

    database_id: int
    generation: int
    sequence: int
    comment_offset: int


class Directory(NamedTuple):
    """A parsed directory.

    Attributes:
        header: None if a stdlib wrote the file, or it is empty.
        lines: live lines in order; a key may come more than once (the last wins).
        end: offset behind the last whole line's text (its newline not counted).
        dead_bytes: bytes of deleted lines, which live on in comments.
        plain_from: index in `lines` of the first line that a stdlib appended to a hutch directory.
        torn_from: offset of a torn tail, or None.
        has_returns: some lines end in CR LF: right for reading, but no place for in-place patches.
    """

    header: Header | None
    lines: list[Line]
    end: int
    dead_bytes: int
    plain_from: int
    torn_from: int | None
    has_returns: bool


@functools.cache
def _pattern(source: bytes) -> re.Pattern[bytes]:
    import re  # costs more than the rest of hutch's import, and an indexed open needs none of it

    return re.compile(source)


def decode_literal(literal: bytes) -> bytes:
    """The key of a quoted literal.

    Raises:
        ValueError: an escape that ``repr`` does not write.
    """
    body = literal[1:-1]
    if b"\\" not in body:
        return body
    pieces = _pattern(rb"\\(x[0-9a-fA-F]{2}|.)").split(body)
    escapes = pieces[1::2]
    try:
        pieces[1::2] = map(_ESCAPES.__getitem__, escapes)
    except KeyError:
        pieces[1::2] = map(_unusual, escapes)
    return b"".join(pieces)


def _unusual(escape: bytes) -> bytes:
    """An escape that may be one of those with upper-case digits, which nobody writes, but any dbm.dumb reads."""
    found = _ESCAPES.get(escape if len(escape) == 1 else escape.lower())
    if found is None:
        raise ValueError(f"unknown escape \\{escape.decode('latin-1')}")
    return found


def _damage(path: str, data: bytes, offset: int, reason: str) -> CorruptDirectoryError:
    number = data.count(b"\n", 0, offset) + 1
    return CorruptDirectoryError(
        f"{path!r}, line {number}, byte {offset}: {reason}: {data[offset : offset + 60]!r}; nothing has been changed. "
        "Restore the file from a backup, or repair the line by hand",
        file=path,
        offset=offset,
    )


def _hutch_line(match: re.Match[bytes]) -> Line:
    literal, offset, size, checksum = match.group(1, 2, 3, 4)
    start = match.start()
    line, number = start, 0
    try:
        extent = int(offset), int(size)
    except ValueError:  # a patch that a crash has torn: if the journal does not know better, the value is lost
        line, extent = line | fmt.LOST, (0, 0)
    if checksum == b"--------":
        line |= fmt.UNVERIFIED
    else:
        try:
            number = int(checksum.replace(b"-", b"!"), 16)  # a dash is no sign here
        except ValueError:  # "!!!!!!!!", or a patch that a crash has torn
            line |= fmt.LOST
    return Line(decode_literal(literal), start, len(literal), (line, *extent, number))


def _plain_line(match: re.Match[bytes]) -> Line:
    literal, offset, size = match.group(1, 2, 3)
    start = match.start()
    return Line(decode_literal(literal), start, len(literal), (start | fmt.UNVERIFIED, int(offset), int(size), 0))


def iterate_lines(data: bytes, start: int, end: int, path: str) -> Iterator[Line]:
    """The live hutch lines in ``data[start:end]``, which must be whole lines.

    Raises:
        CorruptDirectoryError: something there is not a hutch line.
    """
    match_at = _pattern(_HUTCH_LINE).match
    while start < end:
        match = match_at(data, start, end)
        if match is None:
            raise _damage(path, data, start, "not a line of a hutch directory")
        try:
            yield _hutch_line(match)
        except ValueError as problem:
            raise _damage(path, data, start, str(problem)) from None
        start = match.end()


def simple_keys(data: bytes) -> list[bytes] | None:
    """The keys of whole hutch lines, if all of them are of the simplest form. O(lines), at the speed of `re`."""
    keys: list[bytes] = _pattern(_BARE_KEY).findall(data)
    if not _are_bare(data, keys):
        literals: list[bytes] = _pattern(_SIMPLE_KEY).findall(data)
        if len(literals) != data.count(b"\n"):
            return None
        keys = list(map(decode_literal, literals))
    return keys


def simple_columns(data: bytes) -> tuple[Sequence[bytes], list[int], list[int], Sequence[int]] | None:
    """Keys, offsets, sizes and checksums, likewise."""
    rows: list[tuple[bytes, bytes, bytes, bytes]] = _pattern(_BARE_LINE).findall(data)
    is_bare = _are_bare(data, [row[0] for row in rows])
    if not is_bare:
        rows = _pattern(_SIMPLE_LINE).findall(data)
        if len(rows) != data.count(b"\n"):
            return None
    if not rows:
        return (), [], [], ()
    keys, offsets, sizes, checksums = zip(*rows, strict=True)
    if not is_bare:
        keys = tuple(map(decode_literal, keys))
    digits = b"".join(offsets + sizes)
    if b"-" in digits or b"+" in digits or b"_" in digits:  # int() would take them
        return None
    try:
        numbers = struct.unpack(f">{len(rows)}I", unhexlify(b"".join(checksums)))
        return keys, list(map(int, offsets)), list(map(int, sizes)), numbers
    except ValueError:
        return None


def _are_bare(data: bytes, keys: list[bytes]) -> bool:
    """Whether lines with these keys, and nothing between them, are all that there is; and no key needs an escape."""
    text = b"".join(keys)
    return len(data) == len(text) + len(keys) * _BARE_BYTES and not (
        b"\\" in text or b"\n" in text or b"\r" in text or b"\0" in text
    )


def starts_plain(data: bytes) -> bool:
    """Whether a stdlib wrote the first line."""
    return _pattern(_PLAIN_LINE).match(data) is not None


def read_header(data: bytes) -> Header | None:
    """The header comment in the first line, or None if there is no whole one."""
    match = _pattern(_LITERAL + rb", \([ \d]{15}, [ \d]{13}\)  # .{8}( hutch1 [0-9a-f ]+)").match(data)
    if match is None:
        return None
    fields = fmt.unpack_header_comment(match.group(2)[: fmt.HEADER_COMMENT_BYTES])
    return None if fields is None else Header(*fields, match.start(2))


def parse_directory(data: bytes, path: str, *, trusted_bytes: int | None = None) -> Directory:
    """Parse a whole directory of either form. O(lines).

    Args:
        data: the bytes of NAME.dir.
        path: its name, for messages.
        trusted_bytes: what the journal's header says was synced. Behind it a crash may have left anything:
            hutch's own lines are left out there (the journal has them), plain ones of a stdlib are kept.
            None: the directory is complete as it stands.

    Raises:
        CorruptDirectoryError: a line that neither form allows. Nothing is evaluated.
    """
    hutch_at, plain_at = _pattern(_HUTCH_LINE).match, _pattern(_PLAIN_LINE).match
    lines: list[Line] = []
    header: Header | None = None
    position = end = dead_bytes = 0
    trusted = len(data) if trusted_bytes is None else min(trusted_bytes, len(data))
    torn_from: int | None = None
    has_returns = False
    while position < trusted:
        match = hutch_at(data, position, trusted)  # not a byte behind, where anything may be
        is_hutch = match is not None and (header is not None or (not lines and match.group(5) is not None))
        if not is_hutch:
            match = plain_at(data, position, trusted)
        if match is None:
            raise _damage(path, data, position, "malformed directory line")
        if not is_hutch and header is not None:
            break
        try:
            line = _hutch_line(match) if is_hutch else _plain_line(match)
        except ValueError as problem:
            raise _damage(path, data, position, str(problem)) from None
        if is_hutch:
            comment = match.group(5)
            if comment is not None:
                fields = fmt.unpack_header_comment(comment)
                if fields is None or lines:
                    raise _damage(path, data, position, "damaged directory header")
                header = Header(*fields, match.start(5))
            dead_bytes += len(match.group(6))
        lines.append(line)
        has_returns = has_returns or data[match.end() - 2 : match.end()] == b"\r\n"
        end = match.end() - len(match.group(7 if is_hutch else 4))
        position = match.end()
    if header is not None:
        end = len(data[:end].rstrip(b" "))  # padding belongs to no line
    plain_from = len(lines)
    while position < len(data):
        if (match := plain_at(data, position)) is not None:
            try:
                lines.append(_plain_line(match))
            except ValueError as problem:
                raise _damage(path, data, position, str(problem)) from None
            position = match.end()
        elif trusted_bytes is None:
            raise _damage(path, data, position, "not a line of a stdlib, behind one, in a hutch directory")
        else:
            newline = data.find(b"\n", position)
            after = len(data) if newline < 0 else newline + 1
            if torn_from is None and data[position:after].strip(b" \n"):
                torn_from = position
            position = after
    return Directory(header, lines, end, dead_bytes, plain_from, torn_from, has_returns)
