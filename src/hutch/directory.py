"""The directory: NAME.dir, one text line a key, in the order of insertion.

While the file is open for writing it is padded with spaces behind its last line, which stay in that line's
comment and end in a newline: dbm.dumb reads such a file, and may append to it, at any moment.
A position called `end` is behind the last line's text and in front of its newline or padding.
"""

from __future__ import annotations

from hutch import format as fmt
from hutch.errors import CorruptDirectoryError
from hutch.files import FileSystem, MappedFile
from hutch.lines import decode_literal

__all__ = ["DirectoryFile", "write_directory"]

_GROWTH_BYTES = 4 * 1024
_MAX_GROWTH_BYTES = 1024 * 1024
_LITERAL_STEP_BYTES = 256


class DirectoryFile:
    """NAME.dir, open."""

    __slots__ = ("database_id", "file", "generation", "header_offset")

    def __init__(self, file: MappedFile) -> None:
        self.file = file
        self.database_id = 0
        self.generation = 0
        self.header_offset = 0

    # --- reading ---

    def read_span(self, start: int, end: int) -> bytes:
        """The bytes between two offsets."""
        view = self.file.view
        if end > len(view):
            self.file.refresh()
            view = self.file.view
        return view[start:end]

    def has_literal(self, start: int, literal: bytes) -> bool:
        """Whether the line at `start` begins with this key literal."""
        end = start + len(literal)
        return self.read_span(start, end) == literal

    def key_at(self, start: int) -> bytes:
        """The key of the line at `start`. Slow: only for literals that a stdlib wrote in another form.

        Raises:
            CorruptDirectoryError: there is no literal.
        """
        size = self.file.file.size()
        length = _LITERAL_STEP_BYTES
        while True:
            span = self.read_span(start, min(start + length, size))
            quote = span[:1]
            if quote not in (b"'", b'"') or b"\n" in span[: span.find(quote, 1) + 1 or None]:
                break
            position = 1
            while position < len(span):
                if span[position : position + 1] == b"\\":
                    position += 2
                elif span[position : position + 1] == quote:
                    try:
                        return decode_literal(span[: position + 1])
                    except ValueError:
                        break
                else:
                    position += 1
            else:
                if start + length < size:
                    length *= 4
                    continue
            break
        raise CorruptDirectoryError(
            f"{self.file.file.path!r}, byte {start}: no key where the index points to one",
            file=self.file.file.path,
            offset=start,
        )

    def header(self) -> tuple[int, int, int] | None:
        """(database id, generation, sequence) of the header comment, read afresh."""
        at = self.header_offset
        return fmt.unpack_header_comment(self.read_span(at, at + fmt.HEADER_COMMENT_BYTES))

    # --- writing ---

    def reserve(self, size_bytes: int) -> bool:
        """Pad the file to at least `size_bytes`; True if it has grown.

        Raises:
            OSError: no space; the directory still ends as it did.
        """
        if len(self.file.view) >= size_bytes:
            return False
        raw = self.file.file
        have = raw.size()
        if have != len(self.file.view):
            self.file.refresh()  # another process has padded it already
        if have >= size_bytes:
            return False
        target = size_bytes + min(max(size_bytes >> 1, _GROWTH_BYTES), _MAX_GROWTH_BYTES)
        # First the new spaces, then the old newline: between the two a stdlib would find a line of spaces only.
        # So the old newline goes first, which leaves a last line without one: legal.
        if have:
            raw.write_at(have - 1, b" ")
        try:
            raw.write_at(have, b"\n".rjust(target - have))
        except OSError:
            raw.truncate(have)
            if have:
                raw.write_at(have - 1, b"\n")
            raise
        self.file.warm()
        self.file.refresh()
        return True

    def write_lines(self, end: int, text: bytes) -> None:
        """Put `text` (lines joined by newlines) behind `end`, into padding that is there."""
        self.file.write(end, b"\n" + text if end else text)

    def write_first(self, text: bytes) -> None:
        """Put the first lines into an empty file, with their padding, in one write.

        Raises:
            OSError: no space; the file is empty again.
        """
        raw = self.file.file
        try:
            raw.write_at(0, text + b" " * _GROWTH_BYTES + b"\n")
        except OSError:
            raw.truncate(0)
            raise
        self.file.warm()
        self.file.refresh()

    def blank(self, start: int) -> None:
        """Turn everything behind `start` back into padding."""
        size = len(self.file.view)
        if size > start:
            self.file.write(start, b" " * (size - start - 1) + b"\n")

    def patch_fields(self, start: int, literal_bytes: int, entry: fmt.Entry) -> None:
        """Rewrite the numbers and the checksum of a line in place."""
        at = start + literal_bytes
        self.file.write(at, fmt.pack_fields(*entry))

    def kill(self, start: int) -> None:
        """Turn a line into a part of the previous line's comment: its newline becomes ``#``."""
        self.file.write(start - 1, b"#")

    def patch_header(self, sequence: int) -> None:
        """Say how far the directory reaches, in the older of the two slots."""
        at = self.header_offset
        first, second = fmt.header_slots(self.read_span(at, at + fmt.HEADER_COMMENT_BYTES))
        at += fmt.SEQUENCE_SLOTS_AT
        if first > second:
            at += fmt.SEQUENCE_SLOT_BYTES + 1
        self.file.write(at, fmt.pack_sequence(sequence))

    def trim(self, end: int) -> None:
        """Cut the padding off. Only the last handle may: others would have mapped it."""
        raw = self.file.file
        if end:
            raw.write_at(end, b"\n")
            end += 1
        if raw.size() > end:
            self.file.view = b""  # type: ignore[assignment]
            raw.truncate(end)
        self.file.refresh()


def write_directory(
    file_system: FileSystem, path: str, model_path: str, header: bytes, entries: list[tuple[bytes, fmt.Entry]]
) -> list[int]:
    """Write a whole directory to a new file `path`, synced, with the mode and owner of `model_path`.

    Returns:
        The offset of each line, in the order of `entries`; the line's own flags stay in the entry.
    """
    starts: list[int] = []
    pieces: list[bytes] = []
    offset = written = 0
    file = file_system.open(path, writable=True, new=True, mode=0o600)
    try:
        file_system.take_attributes(file, file_system.status(model_path))
        for key, entry in entries:
            text = fmt.format_line(fmt.key_literal(key), entry, b"" if starts else header)
            starts.append(offset)
            pieces.append(text)
            offset += len(text) + 1
            if len(pieces) == 10_000:
                written += _flush(file, written, pieces)
        _flush(file, written, pieces)
        file.sync()
    except BaseException:
        file.close()
        try:
            file_system.unlink(path)
        except OSError:
            pass  # the first error is the one to report
        raise
    file.close()
    return starts


def _flush(file: object, written: int, pieces: list[bytes]) -> int:
    if not pieces:
        return 0
    text = b"\n".join(pieces) + b"\n"
    file.write_at(written, text)  # type: ignore[attr-defined]
    pieces.clear()
    return len(text)
