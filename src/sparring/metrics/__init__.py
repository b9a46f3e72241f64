"""Metrics: an extractor that turns samples into features, and a pure function of two sets of features.

Names such as `sparring.metrics.frechet` resolve to the modules of this package, which are imported on first use.
"""

from sparring.base.lazy import module_names

__getattr__, __dir__ = module_names(__name__, __path__)
