"""Numbers as people read them."""

from __future__ import annotations

__all__ = ["count_text", "size_text"]

_UNITS = ("KiB", "MiB", "GiB", "TiB")


def size_text(size_bytes: float) -> str:
    """A number of bytes in three digits or so.

    >>> size_text(37), size_text(1536), size_text(5 * 2**30)
    ('37 B', '1.5 KiB', '5.0 GiB')
    """
    if size_bytes < 1024:
        return f"{size_bytes:.0f} B"
    size = size_bytes
    for unit in _UNITS:
        size /= 1024
        if size < 1024 or unit == _UNITS[-1]:
            break
    return f"{size:.1f} {unit}" if size < 100 else f"{size:,.0f} {unit}"


def count_text(count: int, one: str, many: str = "") -> str:
    """How many there are of something.

    >>> count_text(1, "entry", "entries"), count_text(5000, "key")
    ('1 entry', '5,000 keys')
    """
    return f"{count:,} {one if count == 1 else many or one + 's'}"
