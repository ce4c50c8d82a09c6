"""One small benchmark for each layer, under pytest-benchmark.

``pytest benchmarks/layers -n 0`` times them. In the test run, on several workers, each runs once and nothing is timed:
so what they do stays true, and no clock decides whether a change is good.
"""
