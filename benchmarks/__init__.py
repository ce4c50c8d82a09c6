"""Benchmarks of hutch beside its peers: ``python -m benchmarks.speed``.

Every workload runs in a process of its own (`worker`), on a peer of `peers`, with the input of `inputs`; repetitions of
different peers are interleaved, so that a machine that is busy for a while slows all of them.
"""
