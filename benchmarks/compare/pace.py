"""How long the next cell may take, so that a group comes out even on a machine of whatever speed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic

_LEAST_SECONDS = 0.05
_WORTH_WHILE_SECONDS = 0.12
_FIRST_OVERHEAD_SECONDS = 0.6
_LOOPS = 1.5  # a worker's second loop, of single statements, takes half of the first


@dataclass(frozen=True)
class Planned:
    """One cell of a turn.

    Attributes:
        workload: its name.
        label: of the entrant.
        weight: its loop may be so many times as long as others.
    """

    workload: str
    label: str
    weight: float


class Pace:
    """Shares out the time of a group among the cells that are still to come.

    Args:
        turns: the cells of each turn. As many turns are hoped for as leave a loop a length that is worth while.
        seconds: for all of them.
        longest: of a loop, in seconds.
        clock: for tests.
    """

    def __init__(
        self,
        turns: Sequence[Sequence[Planned]],
        seconds: float,
        longest: float = 2.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.clock = clock
        self.longest = longest
        self.deadline = clock() + seconds
        self._left = [[cell.weight for cell in turn] for turn in turns]
        self._overhead = _FIRST_OVERHEAD_SECONDS
        self._measured = 0

    @property
    def is_over(self) -> bool:
        return self.clock() >= self.deadline

    def limit(self, cell: Planned) -> float:
        """Seconds of a loop of the next cell."""
        left = self.deadline - self.clock()
        limit = _LEAST_SECONDS
        for turns in range(len(self._left), 0, -1):
            weights = [weight for turn in self._left[:turns] for weight in turn]
            if weights:
                limit = (left - len(weights) * self._overhead) / (_LOOPS * sum(weights))
            if limit >= _WORTH_WHILE_SECONDS:
                break
        return min(self.longest, max(_LEAST_SECONDS, limit)) * cell.weight

    def done(self, cell: Planned, turn: int, limit: float, took: float) -> None:
        """A cell of that turn has run, or has been left out."""
        self._left[turn].remove(cell.weight)
        self._measured += 1
        # What a worker needs besides its loops: starting, keys, copies. The mean so far, and not less than nothing.
        self._overhead += (max(0.0, took - _LOOPS * limit) - self._overhead) / min(self._measured, 50)
