"""One entry as JSON: the line of a dump, and what ``--json`` prints.

A line has a "key" and either a "value", the object in JSON (see `hutch.cli.jsonvalues`), or "data", the stored bytes
as they are: as text if they are UTF-8, else ``{"$bytes": base64}``.
"""

from __future__ import annotations

from typing import Any

from hutch.cli.jsonvalues import NotPlainError, tagged
from hutch.cli.values import MISSING, Seen

__all__ = ["VERSION", "bytes_field", "key_field", "read_bytes", "value_fields"]

VERSION = 1  # of the lines of a dump


def bytes_field(data: bytes) -> Any:
    """Bytes as JSON: text where they are UTF-8."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return tagged(data)


key_field = bytes_field


def read_bytes(field: Any) -> bytes:
    """What `bytes_field` was made of.

    Raises:
        ValueError: it is no such thing.
    """
    from hutch.cli.jsonvalues import untagged

    data = untagged(field)
    if isinstance(data, str):
        return data.encode("utf-8")
    if not isinstance(data, bytes):
        raise ValueError("it is neither text nor {'$bytes': …}")  # a fault of the data
    return data


def value_fields(data: bytes, seen: Seen) -> dict[str, Any]:
    """The object if it is there and would come back as the same from JSON; the stored bytes else."""
    if seen.object is not MISSING and seen.kind not in ("bytes", "raw"):
        try:
            return {"value": tagged(seen.object)}
        except (NotPlainError, RecursionError):
            pass
    fields: dict[str, Any] = {"data": bytes_field(data)}
    if seen.names:
        fields["names"] = list(seen.names)
    return fields
