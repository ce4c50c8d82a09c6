"""Codecs: what a value of a shelf is in bytes. docs/values.md leads from a need to a codec.

>>> from hutch.codecs import Json
>>> Json().encode(b"apples", {"count": 3})
b'{"count":3}'
>>> Json().decode(b"apples", b'{"count":3}')
{'count': 3}
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hutch.codecs.base import Codec, Pieces
    from hutch.codecs.compressed import Compressed
    from hutch.codecs.encrypted import Encrypted
    from hutch.codecs.jsons import Json
    from hutch.codecs.marshals import Marshal
    from hutch.codecs.messages import MessagePack
    from hutch.codecs.pickles import Pickle
    from hutch.codecs.plists import Plist
    from hutch.codecs.safe import SafePickle
    from hutch.codecs.signed import Signed

__all__ = [
    "Codec",
    "Compressed",
    "Encrypted",
    "Json",
    "Marshal",
    "MessagePack",
    "Pickle",
    "Pieces",
    "Plist",
    "SafePickle",
    "Signed",
]

_HOMES = {
    "Codec": "base",
    "Compressed": "compressed",
    "Encrypted": "encrypted",
    "Json": "jsons",
    "Marshal": "marshals",
    "MessagePack": "messages",
    "Pickle": "pickles",
    "Pieces": "base",
    "Plist": "plists",
    "SafePickle": "safe",
    "Signed": "signed",
}

if not TYPE_CHECKING:  # a type checker would take it as leave to ask for any name

    def __getattr__(name: str) -> object:
        """Import a codec when it is first asked for: none of them needs the others, or what these need."""
        if name not in _HOMES:
            raise AttributeError(f"module 'hutch.codecs' has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"hutch.codecs.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
