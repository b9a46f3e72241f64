"""Measurements. Each module runs by itself: python -m benchmarks.speed, .quality, .startup."""

import os

DATA = os.environ.setdefault("SPARRING_DATA", "../shared/data")  # as results name it; where real sets are found
