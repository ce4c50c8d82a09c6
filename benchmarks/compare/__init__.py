"""``python -m benchmarks.compare``: hutch beside what a user would pick instead, in one run.

| module | one idea |
|---|---|
| `catalog` | the names of the workloads |
| `task` | what a worker process is told, and where the databases lie |
| `data` | keys and values, raw or objects, the same in every process |
| `peers` | every peer behind the same few statements |
| `borrowed` | extension modules that another build of the same Python has |
| `loops`, `opening`, `sharing`, `special` | the workloads |
| `worker` | one workload in a process of its own |
| `entrants` | which peer runs under which interpreter, or why it cannot |
| `pace` | how long the next cell may take |
| `plan` | the groups of cells and their share of the time |
| `runner` | repetitions in turns, every cell bounded |
| `reach` | the speeds that hutch is to reach |
| `tables`, `charts`, `texts`, `page` | what comes out |
"""
