"""What a worker process is told, and where the databases lie."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

RAW, OBJECTS = "raw", "objects"


@dataclass(frozen=True)
class Task:
    """One workload for one peer.

    Attributes:
        workload: a name in `benchmarks.compare.worker.WORKLOADS`.
        peer: the name of a peer.
        level: `RAW` (bytes to bytes) or `OBJECTS` (text to a small dict).
        value_bytes: of a raw value.
        folder: where the databases are.
        entries: the size of the database.
        operations: how many, if time allows.
        limit_seconds: no measured loop begins another piece after that.
        turn: the number of the repetition: repetitions use different keys.
    """

    workload: str
    peer: str
    level: str
    value_bytes: int
    folder: str
    entries: int
    operations: int
    limit_seconds: float
    turn: int = 0

    def home(self, name: str = "") -> str:
        """The folder that holds the prepared database and nothing else; it is made if it is missing."""
        place = os.path.join(self.folder, f"{self.peer}-{self.level}-{self.value_bytes}-{self.entries}{name}")
        os.makedirs(place, exist_ok=True)
        return place

    def path(self) -> str:
        return os.path.join(self.home(), "database")

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Task:
        return cls(**json.loads(text))
