"""Time operations: the mean of a plain loop, and the percentiles of single operations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from statistics import median
from time import perf_counter, perf_counter_ns
from typing import Any

Result = dict[str, Any]

_CHUNK_SECONDS = 0.02


def percentile(times: Sequence[float], percent: float) -> float:
    """The value below which so many percent of the times lie (the nearest one that was measured)."""
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def time_loop(loop: Callable[[Iterator[Any]], object], inputs: Sequence[Any], limit_seconds: float) -> Result:
    """Time a loop over all inputs, or over as many as the limit allows.

    Args:
        loop: consumes the iterator it is given. It is called with larger and larger pieces, so that the clock costs
            a fast operation nothing, and a slow one is stopped in time.
        inputs: one for each operation.
        limit_seconds: no further piece is begun after that.

    Returns:
        "operations", "seconds" and "microseconds" (the mean of an operation).
    """
    rest = iter(inputs)
    done, size, seconds = 0, 1, 0.0
    while done < len(inputs) and (seconds < limit_seconds or not done):
        size = min(size, len(inputs) - done)
        piece = islice(rest, size)
        begin = perf_counter()
        loop(piece)
        took = perf_counter() - begin
        seconds += took
        done += size
        if took < _CHUNK_SECONDS:
            size *= 2
    return {"operations": done, "seconds": seconds, "microseconds": seconds / done * 1e6}


def time_each(operation: Callable[[Any], object], inputs: Sequence[Any], limit_seconds: float) -> Result:
    """Time every operation by itself.

    Returns:
        "p50" and "p99" in microseconds, and how many were timed ("timed").
    """
    times: list[int] = []
    end = perf_counter_ns() + int(limit_seconds * 1e9)
    now = 0
    for each in inputs:
        begin = perf_counter_ns()
        operation(each)
        now = perf_counter_ns()
        times.append(now - begin)
        if now > end:
            break
    return {"timed": len(times), "p50": percentile(times, 50) / 1000, "p99": percentile(times, 99) / 1000}


def merged(results: Sequence[Result]) -> Result:
    """The medians over the repetitions of one measurement."""
    numbers = [name for name, value in results[0].items() if isinstance(value, (int, float))]
    return {name: median(result[name] for result in results) for name in numbers} | {"repetitions": len(results)}
