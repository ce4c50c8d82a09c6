"""``python -m benchmarks.compare.worker TASK``: run one workload, print its result. TASK and result are JSON objects.

A peer that cannot do what is asked is no failure: the result then has a "skipped" that says why.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from benchmarks.compare import loops, opening, sharing, special
from benchmarks.compare.sharing import Unfit
from benchmarks.compare.task import Task
from benchmarks.timing import Result

WORKLOADS: dict[str, Callable[[Task], Result]] = {
    function.__name__: function
    for function in (
        loops.load,
        loops.put,
        loops.put_more,
        loops.durable_put,
        loops.get,
        loops.get_missing,
        loops.overwrite_smaller,
        loops.overwrite_larger,
        loops.delete,
        loops.iterate_keys,
        loops.iterate_items,
        opening.open_get_close,
        opening.fresh_process,
        opening.disk,
        opening.overwritten_disk,
        opening.memory,
        sharing.side_read,
        sharing.side_overwrite,
        sharing.side_put,
        sharing.beside_writer,
        sharing.two_writers,
        special.huge_value,
        special.writeback,
    )
}

_IN_MEMORY_WITHOUT = {"durable_put", "open_get_close", "disk", "overwritten_disk", "put_more"}

_BUILT_AT_MOST = 100_000  # entries of a dict that each workload makes anew


def run(task: Task) -> Result:
    """Run a workload, or say why the peer cannot have it."""
    peer = loops.peer_of(task)
    if task.workload == "durable_put" and peer.durable is None:
        return {"skipped": peer.not_durable}
    if task.workload in _IN_MEMORY_WITHOUT and peer.in_memory:
        return {"skipped": "it is in memory"}
    if task.workload == "open_get_close" and "exclusive" in peer.name:
        return {"skipped": "an exclusive handle is one that writes"}
    if peer.in_memory and task.entries > _BUILT_AT_MOST and task.workload not in {"load", "memory"}:
        return {"skipped": "making it takes longer than measuring; as with fewer entries"}
    try:
        return WORKLOADS[task.workload](task)
    except Unfit as reason:
        return {"skipped": str(reason)}


if __name__ == "__main__":
    print(json.dumps(run(Task.from_json(sys.argv[1]))))
