"""Codecs: what a value of a shelf is in bytes. docs/values.md leads from a need to a codec."""

from __future__ import annotations

from hutch.codecs.base import Codec

__all__ = ["Codec"]
