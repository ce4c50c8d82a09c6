"""What a shelf has that one of ``shelve`` has not: blocks that are one step, and a look at what its values are."""

from __future__ import annotations

from hutch.cache import MISSING
from hutch.edit import Edit, ShelfTransaction
from hutch.writeback import Writeback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Literal

    from hutch.codecs.base import Codec
    from hutch.recode import RecodeReport
    from hutch.reports import CheckReport, Progress
    from hutch.survey import ClassReport

__all__ = ["Beyond"]


class Beyond(Writeback):
    """The part of a shelf that goes beyond the standard library's."""

    # Read, change and write, with nobody writing in between.

    def transaction(self) -> ShelfTransaction:
        """Make a ``with`` block all or nothing, in memory, for other processes, and after a crash.

        The block sees its own writes; others see them when it ends. An exception undoes them and goes
        on. A transaction inside another joins it. Others who want to write wait, so keep it short.

        With `writeback`, objects that the block changes are written when it ends; if it fails, the cache has
        others in their place, in the former state. This pickles all that the cache holds, twice.

        Over a mapping that has no transactions (a dict) it undoes what this process has stored.
        """
        return ShelfTransaction(self)  # type: ignore[arg-type]  # a part of `Shelf`, and of nothing else

    def edit(self, key: str, default: Any = MISSING) -> Edit:
        """Work on one value in a ``with`` block, and store it if it has changed, while nobody else can write.

        An exception in the block undoes whatever the block has stored in the shelf. To put another object
        in its place (numbers and text cannot be changed) use `modify`.

        Args:
            key: the key; the block gets its object.
            default: what to start with, and to store, where there is no such key.

        Raises:
            KeyError: no such key, and no default.
        """
        return Edit(self, key, default)  # type: ignore[arg-type]

    def modify(self, key: str, function: Callable[[Any], Any], default: Any = MISSING) -> Any:
        """Replace a value by what `function` makes of it, with nobody writing in between, and return that.

        >>> from hutch import Shelf
        >>> shelf = Shelf({})
        >>> shelf.modify("visits", lambda visits: visits + 1, 0)
        1

        Args:
            key: the key.
            function: takes the value and returns the new one. What it stores in the shelf is part of the whole.
            default: what `function` gets where there is no such key.

        Raises:
            KeyError: no such key, and no default.
        """
        with ShelfTransaction(self, write_back=False):  # type: ignore[arg-type]
            try:
                value = self._fetch_for_edit(key, default)[0]
            except Exception as problem:  # noqa: BLE001  # raised below: nothing has been done that it need undo
                reason = problem
            else:
                self[key] = value = function(value)  # type: ignore[index]
                return value
        raise reason

    # The values as such.

    def recode(
        self,
        codec: Codec | None = None,
        *,
        progress: Callable[[int, int], object] | None = None,
        errors: Literal["raise", "skip"] = "raise",
    ) -> RecodeReport:
        """Rewrite all values under another codec, which is the shelf's own when that is done.

        An interruption at any moment, be it Ctrl-C or a kill, leaves every entry readable: some under the
        old codec, the others under the new one. The shelf reads both until a second call has finished, and
        that call may come from another process that has opened the shelf with the old one. Other processes
        may write meanwhile; what they store under the old codec is rewritten too.

        That holds where an entry's bytes say which of the codecs has made them: for those of `hutch.codecs`
        that write pickles, JSON or property lists, whatever wraps them, and for different wrappers of the
        same codec. For all others (a codec of your own, a serializer, a change between MessagePack or marshal
        and something else) it is one transaction: others wait, the new values are kept in memory, and an
        interruption leaves all as it was, in a mapping that has such transactions. So it is where the new codec
        reads what the old one is there to refuse: from one that runs nothing to pickles, or from one with a key to
        one without. There every entry has to pass the old codec; none counts as rewritten by its looks. O(bytes).

        Args:
            codec: the new one; None: pickles, as without any codec.
            progress: is called with how many entries are done, and how many there are. It begins anew if
                others have stored something meanwhile.
            errors: what to do about an entry that the old codec cannot read or the new one not write:
                ``'raise'`` the error (what has been rewritten stays so; call this again when the entry is
                mended or deleted, or go back with the old codec); or ``'skip'`` it and leave it as it is, in
                which case this shelf goes on reading both. Delete what the old codec has refused to run before
                you open the shelf with one that runs it.

        Returns:
            A report: `entry_count`, `recoded_count`, and `skipped`, a tuple of keys and errors.

        Raises:
            TransactionError: inside a transaction.
            Exception: of an entry, as the codec has it; a note says its key.
        """
        from hutch.recode import recode

        return recode(self, codec, progress, errors)  # type: ignore[arg-type]

    def check(self, fix: bool = False, *, decode: bool = False, progress: Progress | None = None) -> CheckReport:
        """Look for what is damaged, and for values that could not be read. O(bytes).

        Nothing is unpickled for it, for that runs what a pickle says: of pickles it looks at their opcodes, and
        whether the classes that they name are there, as far as that can be told without importing anything.
        Signatures and ciphers are verified. Values of a codec that runs nothing (`is_inert`) are read.

        Args:
            fix: repair what the mapping below can repair (see `hutch.dbm.Database.check`); a value that is whole
                and cannot be read stays.
            decode: read every value. Only for what you trust.
            progress: is called with how many entries are done, and how many there are; for the mapping below first,
                and then from 0 again for the values.

        Returns:
            A report: ``ok``, ``entry_count`` and ``problems``, each with key and message.
        """
        from hutch.survey import check

        return check(self, fix=fix, decode=decode, progress=progress)  # type: ignore[arg-type]

    def classes(self) -> ClassReport:
        """List the classes and functions that the values' pickles refer to, without running any of it. O(bytes).

        Compressed, signed and encrypted values are unwrapped by the shelf's codec.

        Returns:
            A report: `classes`, each with `module`, `name`, `entry_count`, some `keys` and whether it is `found`;
            and `skipped`, the entries that are no whole pickles.
        """
        from hutch.survey import classes

        return classes(self)  # type: ignore[arg-type]
