"""``python -m benchmarks.worker TASK``: run one workload, print its result. TASK and result are JSON objects."""

from __future__ import annotations

import json
import sys
from typing import Any

from benchmarks.workloads import WORKLOADS, Task


def run(task: Task) -> dict[str, Any]:
    if task.workload == "durable_put":
        from benchmarks.syncs import durable_put  # imports hutch, which the peers' processes do without

        return durable_put(task)
    return WORKLOADS[task.workload](task)


if __name__ == "__main__":
    print(json.dumps(run(Task(**json.loads(sys.argv[1])))))
