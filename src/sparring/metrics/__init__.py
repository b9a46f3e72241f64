"""Metrics: an extractor that turns samples into features, and a pure function of two sets of features.

`sparring.metrics.frechet` and the like are found in the modules of this package, imported on first use.
"""

from sparring.base.lazy import module_names

__getattr__, __dir__ = module_names(__name__, __path__)
