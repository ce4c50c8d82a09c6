"""The flags that a database is opened with, as types."""

from __future__ import annotations

from typing import Literal

__all__ = ["ALL_FLAGS", "READ_AND_WRITE", "Flag"]

Flag = Literal["r", "w", "c", "n"]
READ_AND_WRITE: tuple[Flag, ...] = ("r", "w")
ALL_FLAGS: tuple[Flag, ...] = ("r", "w", "c", "n")
