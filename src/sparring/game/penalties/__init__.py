"""Penalties, which add a term to a player's loss, and constraints on its weights.

`weight` is a number or a schedule over the run. `every=k` applies a penalty at each k-th step with k times its weight:
lazy regularisation (Karras et al. 2020, section 3.1).
"""

from sparring.game.penalties.classes import AuxiliaryClassifier, MutualInformation
from sparring.game.penalties.logits import Consistency, FeatureMatching, LeCam
from sparring.game.penalties.paired import PairedFeatureMatching, Perceptual
from sparring.game.penalties.slopes import R1, R2, Dragan, GradientPenalty
from sparring.game.penalties.weights import Orthogonal, WeightClip

__all__ = ["R1", "R2", "AuxiliaryClassifier", "Consistency", "Dragan", "FeatureMatching", "GradientPenalty", "LeCam"]
__all__ += ["MutualInformation", "Orthogonal", "PairedFeatureMatching", "Perceptual", "WeightClip"]
