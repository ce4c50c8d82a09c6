"""A drop-in for ``shelve``: a dict that lives in files, and whose values are any objects that pickle.

>>> import os, tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> with open(os.path.join(folder.name, "stock")) as shelf:
...     shelf["apples"] = {"count": 3}
...     with shelf.edit("apples") as apples:
...         apples["count"] += 1
...     shelf["apples"]
{'count': 4}
>>> folder.cleanup()

Values are plain pickles in dbm.dumb's files, so ``shelve.open`` of any Python reads and writes them too.
As with every pickle, open only what you trust: reading a value can run whatever its author wanted.
"""

from __future__ import annotations

from hutch import dbm
from hutch.pickling import ShelveError, UnreadableValueError, check_codec
from hutch.shelf import Shelf
from hutch.writeback import check_cache_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal, TypeAlias

    from hutch.codecs.base import Codec
    from hutch.encoding import FileName
    from hutch.pickling import Deserializer, Serializer

    Item: TypeAlias = tuple[str, Any]

__all__ = ["BsdDbShelf", "DbfilenameShelf", "Shelf", "ShelveError", "UnreadableValueError", "open"]


class BsdDbShelf(Shelf):
    """A shelf with a cursor, over a mapping that has one: ``BsdDbShelf(hutch.dbm.open(name))``.

    The order is that of the keys' bytes. Each method moves the cursor and returns a pair of key and value.
    """

    def set_location(self, key: str | bytes) -> Item:
        """Go to `key`, or else to the first key after it. Raises KeyError: there is none."""
        return self._at_cursor(self.dict.set_location(self._encode_key(key) if isinstance(key, str) else key))

    def next(self) -> Item:
        """Go to the next entry, at first to the first. Raises KeyError: there is none."""
        step = getattr(self.dict, "next", None)
        return self._at_cursor(step() if step is not None else next(self.dict))

    def previous(self) -> Item:
        """Go to the previous entry, at first to the last. Raises KeyError: there is none."""
        return self._at_cursor(self.dict.previous())

    def first(self) -> Item:
        """Go to the first entry. Raises KeyError: there is none."""
        return self._at_cursor(self.dict.first())

    def last(self) -> Item:
        """Go to the last entry. Raises KeyError: there is none."""
        return self._at_cursor(self.dict.last())

    def _at_cursor(self, item: tuple[bytes, Any]) -> Item:
        if self.writeback or self.cache:
            key = self._decode_key(item[0])
            return key, self[key]
        return self._read_item(item)


class DbfilenameShelf(Shelf):
    """A shelf in files: what `open` returns.

    Args:
        filename: see `open`, as for all others.
        flag: see `open`.
        protocol: see `open`.
        writeback: see `open`.
        serializer: see `open`.
        deserializer: see `open`.
        codec: see `open`.
        cache_size: see `open`.
        warn_unstored: see `open`.
        engine_options: see `open`.
    """

    def __init__(
        self,
        filename: FileName,
        flag: Literal["r", "w", "c", "n"] = "c",
        protocol: int | None = None,
        writeback: bool = False,
        *,
        serializer: Serializer | None = None,
        deserializer: Deserializer | None = None,
        codec: Codec | None = None,
        cache_size: int | None = None,
        warn_unstored: bool | None = None,
        **engine_options: Any,
    ) -> None:
        check_codec(codec, protocol, serializer, deserializer)  # before flag 'n' empties a database for nothing
        check_cache_size(cache_size)
        super().__init__(
            dbm.open(filename, flag, **engine_options),
            protocol,
            writeback,
            serializer=serializer,
            deserializer=deserializer,
            codec=codec,
            cache_size=cache_size,
            warn_unstored=warn_unstored,
        )


def open(  # noqa: A001  # its name in shelve
    filename: FileName,
    flag: Literal["r", "w", "c", "n"] = "c",
    protocol: int | None = None,
    writeback: bool = False,
    *,
    serializer: Serializer | None = None,
    deserializer: Deserializer | None = None,
    codec: Codec | None = None,
    cache_size: int | None = None,
    warn_unstored: bool | None = None,
    **engine_options: Any,
) -> DbfilenameShelf:
    """Open a shelf in files.

    Args:
        filename: its name; the files have it with ``.dat``, ``.dir`` and others added.
        flag: ``'r'`` read an existing shelf, ``'w'`` read and write one, ``'c'`` make it if there is none,
            ``'n'`` make it anew whatever there is.
        protocol: see `Shelf`.
        writeback: see `Shelf`.
        serializer: see `Shelf`.
        deserializer: see `Shelf`.
        codec: see `Shelf`.
        cache_size: see `Shelf`.
        warn_unstored: see `Shelf`.
        engine_options: `mode`, `durability`, `exclusive`, `timeout` and `verify` of `hutch.dbm.open`.

    Raises:
        ShelveError: of serializer and deserializer only one is given, or something that contradicts a codec.
        UnsupportedFileError: there is a shelf of this name that another library has made, and it cannot be read,
            or, but for flag ``'r'``, not be written to here.
        Exception: as `hutch.dbm.open` has it.
    """
    return DbfilenameShelf(
        filename,
        flag,
        protocol,
        writeback,
        serializer=serializer,
        deserializer=deserializer,
        codec=codec,
        cache_size=cache_size,
        warn_unstored=warn_unstored,
        **engine_options,
    )
