"""Evaluation: metrics of runs and image sets, with the protocol that makes scores comparable."""

from sparring.evaluation.evaluator import Options, evaluate, evaluate_images
from sparring.evaluation.measures import MEASURES
from sparring.evaluation.measuring import Measure
from sparring.evaluation.protocol import Protocol, Scores, differences

__all__ = ["MEASURES", "Measure", "Options", "Protocol", "Scores", "differences", "evaluate", "evaluate_images"]
