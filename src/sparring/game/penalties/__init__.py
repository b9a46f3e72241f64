"""Penalties on a player, one value per sample, and constraints on its weights.

`weight` may be a number or a schedule over the run. A lazy penalty (`every=k`) is applied each k-th step with k times
its weight (Karras et al. 2020, section 3.1).
"""

from sparring.game.penalties.classes import AuxiliaryClassifier, MutualInformation
from sparring.game.penalties.logits import Consistency, FeatureMatching, LeCam
from sparring.game.penalties.paired import PairedFeatureMatching, Perceptual
from sparring.game.penalties.slopes import R1, R2, Dragan, GradientPenalty
from sparring.game.penalties.weights import Orthogonal, WeightClip

__all__ = ["R1", "R2", "AuxiliaryClassifier", "Consistency", "Dragan", "FeatureMatching", "GradientPenalty", "LeCam"]
__all__ += ["MutualInformation", "Orthogonal", "PairedFeatureMatching", "Perceptual", "WeightClip"]
