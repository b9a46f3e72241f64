"""Degradations of images, which the task `Restore` learns to undo.

Write one, `Downscale(4)`, or a tuple applied in order, `(Blur(2), Downscale(4), Noise(25))`.
"""

from sparring.tasks.degrade.base import Degradation as Degradation
from sparring.tasks.degrade.base import Degraded as Degraded
from sparring.tasks.degrade.base import cropped as cropped
from sparring.tasks.degrade.chain import Chain as Chain
from sparring.tasks.degrade.chain import chained as chained
from sparring.tasks.degrade.chain import mask_of as mask_of
from sparring.tasks.degrade.images import Blur, Downscale, Grey, Jpeg, Noise
from sparring.tasks.degrade.mask import Mask

__all__ = ["Blur", "Downscale", "Grey", "Jpeg", "Mask", "Noise"]  # names allowed in text
