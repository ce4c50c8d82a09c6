"""A plain dict, which is the limit, and a dict that is pickled whole."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterable
from typing import Any

from benchmarks.compare.peers.base import Handle, Peer


class _DictHandle(Handle):
    def close(self) -> None:
        pass


class _PickleHandle(Handle):
    def __init__(self, path: str, flag: str) -> None:
        self.path = path
        self.flag = flag
        content: dict[Any, Any] = {}
        if flag != "n":
            with open(path, "rb") as file:
                content = pickle.load(file)
        super().__init__(content)

    def save(self) -> None:
        """Write everything beside the old file, sync it, and put it in its place."""
        with open(self.path + ".new", "wb") as file:
            pickle.dump(self.mapping, file, pickle.HIGHEST_PROTOCOL)
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.path + ".new", self.path)
        folder = os.open(os.path.dirname(self.path), os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def durable_each(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        for key, value in pairs:
            self.mapping[key] = value
            self.save()

    def close(self) -> None:
        if self.flag != "r":
            self.save()


class _Dict(Peer):
    name = "dict (the limit)"
    module = "builtins"
    survives = "nothing"
    durability = "nothing: it is in memory"
    not_durable = "it is in memory"
    in_memory = True
    setup = "db = {}; get = db.get; close = db.clear"

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        return _DictHandle({})


class _PickledDict(Peer):
    name = "pickled dict"
    module = "pickle"
    survives = "nothing yet"
    durability = "nothing before it is saved whole"
    durable = "saved whole after each: fsync and rename"
    whole = True
    setup = "import pickle; db = pickle.load(open(path, 'rb')); get = db.__getitem__; close = db.clear"

    def open(self, path: str, flag: str, durable: bool = False) -> Handle:
        return _PickleHandle(path, flag)


DICTS: list[Peer] = [_PickledDict(), _Dict()]
