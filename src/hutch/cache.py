"""The cache of a shelf with ``writeback=True``, which knows which of its objects have been changed.

A shelf cannot see that ``shelf["a"].append(1)`` happens. So for each cached object this remembers a digest
of its pickle, taken when the object was loaded or stored; when the time comes to write back, the object
is pickled again, and written only if its digest has moved.

The digest is that of a pickle made here and now, not that of the bytes in the file: another protocol,
another order of a set or another sharing of equal strings makes other bytes for the same object. Objects
are never unpickled for the comparison, for that runs their code, and may give back the very object that
is compared.
"""

from __future__ import annotations

from itertools import islice

from xxhash import xxh3_128_intdigest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Encode: TypeAlias = Callable[[str, Any], Any]
    Objects: TypeAlias = dict[str, Any]
    Digest: TypeAlias = int | None
    Known: TypeAlias = tuple[Digest, Digest]
else:
    Objects = dict

__all__ = ["MISSING", "Kept", "WritebackCache"]

MISSING: Any = object()

_UNKNOWN: Known = (None, None)

# Of a full cache, this share is dropped at once, so that many are written as one batch.
_DROPPED_SHARE = 32


def digest(data: Any) -> Digest:
    """Return a number for what a serializer has returned, or None if there is none: equal to no other."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogatepass")
    try:
        return xxh3_128_intdigest(data)
    except (TypeError, ValueError, BufferError):
        return None


class Kept:
    """What a snapshot has of one cached object.

    Attributes:
        value: the object itself.
        digest: of what it pickled to; None if it did not.
        changed: that pickle, if it had not been written; else the file has it.
        known: what the cache knew of it.
    """

    __slots__ = ("changed", "digest", "known", "value")

    def __init__(self, value: Any, pickled: Any, known: Known) -> None:
        self.value = value
        self.digest = digest(pickled)
        self.changed = pickled if self.digest is None or self.digest != known[1] else None
        self.known = known


class WritebackCache(Objects):
    """The objects by key, as a dict that users may look into, and beside it what is known of each.

    The order is that of use, if the shelf bounds its cache, else of loading.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        super().__init__()
        # Digests by key: of the bytes in the file, and of the object as it was pickled at that moment.
        # What is not here, because somebody has put it into the dict himself, counts as changed.
        self._known: dict[str, Known] = {}

    def hold(self, key: str, value: Any, stored: Any, pickled: Any) -> None:
        """Cache an object as the one last used.

        Args:
            stored: the bytes that the file holds for it.
            pickled: the bytes that it pickles to now; None if it does not.
        """
        self.pop(key, None)
        self[key] = value
        self.mark(key, stored, pickled)

    def mark(self, key: str, stored: Any, pickled: Any) -> None:
        """Note that an object, as it is now, is what the file holds."""
        in_file = digest(stored)
        self._known[key] = (in_file, in_file if pickled is stored else digest(pickled))

    def touch(self, key: str, value: Any) -> None:
        """Make an object the one last used."""
        self[key] = self.pop(key, value)

    def drop(self, key: str) -> None:
        """Forget an object and whatever has been done to it."""
        self.pop(key, None)
        self._known.pop(key, None)

    def forget(self) -> None:
        """Forget all objects."""
        self.clear()
        self._known.clear()

    def is_changed(self, key: str, pickled: Any) -> bool:
        """Return whether an object that pickles to `pickled` is another than the one that was loaded."""
        before = self._known.get(key, _UNKNOWN)[1]
        return before is None or before != digest(pickled)

    def is_in_step(self, key: str, stored: Any) -> bool:
        """Return whether the file still holds what it held when the object was loaded or stored."""
        before = self._known.get(key, _UNKNOWN)[0]
        return before is not None and before == digest(stored)

    def oldest(self, limit: int) -> list[str]:
        """Return the keys to drop, oldest first, so that no more than `limit` objects remain."""
        excess = len(self) - limit
        if excess <= 0:
            return []
        return list(islice(self, min(excess + limit // _DROPPED_SHARE, len(self) - 1)))

    def snapshot(self, try_encode: Encode) -> dict[str, Kept]:
        """Remember the objects and their states. O(size of the cached objects).

        Args:
            try_encode: pickles a value for a key, or returns None.
        """
        return {
            key: Kept(value, try_encode(key, value), self._known.get(key, _UNKNOWN))
            for key, value in list(self.items())
        }

    def restore(self, snapshot: dict[str, Kept], try_encode: Encode, decode: Encode) -> None:
        """Go back to a snapshot. O(size of the cached objects).

        An object that is still in its state remains the cached one, so that who holds it can go on changing
        it. In the place of one that is not comes, if its changes had not been written, another object in the
        former state; else it will be loaded again when it is asked for.
        """
        self.forget()
        for key, kept in snapshot.items():
            value = kept.value
            if kept.digest is not None and kept.digest != digest(try_encode(key, value)):
                if kept.changed is None:
                    continue
                try:
                    value = decode(key, kept.changed)
                except Exception:  # noqa: BLE001  # then its present state is better than none
                    pass
            self[key] = value
            self._known[key] = kept.known
