"""Benchmarks. Each module is a command: python -m benchmarks.busy, .equal_time, .results, .roof, .scoring, .speed,
.startup, .statistics."""

import os

DATA = os.environ.setdefault("SPARRING_DATA", "../shared/data")  # folder of the real datasets, as the results name it
