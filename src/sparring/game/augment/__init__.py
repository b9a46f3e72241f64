"""Augmentations of the critic's inputs, applied to real and generated images in both players' turns.

An augmentation is called with images and progress. It is differentiable twice, because gradient penalties are computed
through it. To work with a spatial condition (source image, mask, label map), derive it from `SplitAugment`: geometric
changes then apply to image and condition, colour and noise to the image alone.
"""

from sparring.game.augment.adaptive import ADA
from sparring.game.augment.adaptive import chosen_augment as chosen_augment
from sparring.game.augment.base import Augment as Augment
from sparring.game.augment.base import Change as Change
from sparring.game.augment.base import SplitAugment as SplitAugment
from sparring.game.augment.differentiable import DiffAugment
from sparring.game.augment.noise import InstanceNoise

__all__ = ["ADA", "DiffAugment", "InstanceNoise"]
