"""Metrics: an extractor that turns samples into features, and a pure function of two sets of features."""

from sparring.metrics.distribution import frechet, precision_recall, sliced_wasserstein
from sparring.metrics.modes import ModeCount, count_modes

__all__ = ["ModeCount", "count_modes", "frechet", "precision_recall", "sliced_wasserstein"]
