"""What docs/benchmarks.md says besides the numbers."""

from __future__ import annotations

INTRO = """# Benchmarks

hutch beside what one would pick instead, all measured in one run on one machine. Every number below was written by

```sh
pip install '.[bench]'
{command}
```

and every run on another machine gives others: trust the proportions, and measure on yours.

- Each workload runs in a process of its own. Repetitions of different peers take turns, so that a machine that is busy
  for a while slows all of them; a cell is the median of its repetitions. In parentheses: p50 and p99 of single
  statements, which include the call that times them.
- A peer is used as its users would: its own loop, no common layer. What a statement that has returned survives differs
  from peer to peer and decides most of the writes. It stands in short beside the numbers ("a kill" of the process is
  less than "a power cut"; "nothing yet": it is in a buffer), and is told in full [below](#what-is-compared).
- Imports are not timed, but for the fresh process; the first statement after an open is not timed, but for "open, get
  one, close", which is about it.
- Raw: keys of 16 bytes, values of random bytes. Objects: text of 16 letters to a dict of five entries.
- "Open" and "durable" cells depend on the disk and the file system more than the others.
"""

LOSING = """## Where hutch loses, and why

A peer written in C does in one call what hutch does in some dozens of Python's instructions, so that a store which
promises less, or admits one process at a time, can be faster at nearly everything that needs no disk. Beside the
fastest peer that does not have everything in memory (100,000 entries; with figures of this run):
"""

REASONS = {
    "load": "a line of text, an index slot and 512-byte blocks for each entry, all made in Python.",
    "put": "each statement is a commit with a journal record, which survives a kill and which other processes see.",
    "durable_put": "the sync is what costs; the fastest differs from run to run.",
    "get": "the look-up is Python: a hash, a bucket, the key's comparison, a checksum, and a look at the version word.",
    "get_missing": "the same look-up; those with all keys in a dict in memory need none.",
    "overwrite_smaller": "a new value never overwrites a live one: it is a commit like a put.",
    "overwrite_larger": "the same.",
    "delete": "a commit with a journal record.",
    "iterate_keys": "the keys are parsed from the directory's text, in the order of insertion.",
    "iterate_items": "the same, and a checksum of every value.",
    "open_get_close": "four files, two of them mapped, and locks; a store in one file needs fewer calls of the system.",
    "fresh_process": "hutch's modules have to be imported; an extension module is one file.",
    "disk": "values begin at multiples of 512 bytes, as dbm.dumb's format has it, and the index lies beside them.",
    "overwritten_disk": "blocks of replaced values are used again only after the next checkpoint.",
    "memory": "mapped pages of the index and the heap count; the kernel takes them back when it wants.",
    "beside_writer": "a reader looks at what the writer has changed since its last look.",
    "two_writers": "the writers take turns at a lock, a statement at a time.",
    "writeback": "hutch compares what was read with what is there now, and writes it in one durable transaction.",
    "huge_value": "a checksum over all of it, and a sync at close().",
}

OTHERS = """## Other benchmarks

- `pytest benchmarks/layers -n 0` times index, heap, journal, store, dbm and shelf, each by itself. The test run runs
  the same once, without a clock.
- `python -m benchmarks.speed` measures what the README's table says, beside `dbm.dumb`.
- `python -m benchmarks.compare --help` says how to choose sizes, values, peers and workloads. A million values of 4,096
  bytes, and overwrites and deletes in a database of a million, take hours with all peers: `--all --minutes 300`.
"""

HOW_HAD = """## How each peer was had

Those from PyPI are in the extra `bench`. `dbm.gnu`, `dbm.ndbm` and tkrzw are extension modules that a Python built
from source often lacks: on Debian and Ubuntu `apt-get install python3-gdbm python3-tkrzw`, and the benchmark borrows
the modules of the system's Python if its minor version is the same (`benchmarks/compare/borrowed.py`). A peer that is
only to be had under another interpreter (`dbm.sqlite3` needs 3.13) is run under one that is named with
`--python`, where `pip install '.[bench]'` has been done as well, and hutch beside it once more under that one.
"""
