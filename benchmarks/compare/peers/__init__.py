"""Every peer behind the same few statements: see `benchmarks.compare.peers.base`."""

from __future__ import annotations

from benchmarks.compare.peers.base import Handle, Peer
from benchmarks.compare.peers.dbms import DBMS
from benchmarks.compare.peers.dicts import DICTS
from benchmarks.compare.peers.engines import ENGINES
from benchmarks.compare.peers.objects import OBJECT_STORES
from benchmarks.compare.peers.shelves import SHELVES
from benchmarks.compare.task import OBJECTS, RAW

__all__ = ["ALL", "BY_LEVEL", "Handle", "Peer"]

BY_LEVEL: dict[str, dict[str, Peer]] = {
    RAW: {peer.name: peer for peer in [*DBMS, *ENGINES, *DICTS]},
    OBJECTS: {peer.name: peer for peer in [*SHELVES, *OBJECT_STORES, *DICTS]},
}
ALL = [peer for level in BY_LEVEL.values() for peer in level.values()]
