"""What stands between images and the critic: applied to real and generated images alike, in both players' turns.

An augmentation is called with images and progress, and is differentiable twice, for gradient penalties see through it.
"""

from sparring.game.augment.adaptive import ADA
from sparring.game.augment.adaptive import chosen_augment as chosen_augment
from sparring.game.augment.base import Augment as Augment
from sparring.game.augment.differentiable import DiffAugment
from sparring.game.augment.noise import InstanceNoise

__all__ = ["ADA", "DiffAugment", "InstanceNoise"]
