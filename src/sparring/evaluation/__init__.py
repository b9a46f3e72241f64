"""Scores that can be trusted, and runs that can be compared."""

from sparring.evaluation.evaluator import Options, evaluate
from sparring.evaluation.measures import MEASURES
from sparring.evaluation.measuring import Measure
from sparring.evaluation.protocol import Protocol, Scores, differences
from sparring.evaluation.samples import evaluate_images

__all__ = ["MEASURES", "Measure", "Options", "Protocol", "Scores", "differences", "evaluate", "evaluate_images"]
