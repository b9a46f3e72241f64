"""Degradations: what a restoration task undoes. Each turns images into the source that a generator restores them from.

A text names one, `Downscale(4)`, or a tuple of them that follow one another, `(Blur(2), Downscale(4), Noise(25))`.
"""

from sparring.degrade.base import Degradation as Degradation
from sparring.degrade.base import Degraded as Degraded
from sparring.degrade.base import cropped as cropped
from sparring.degrade.chain import Chain as Chain
from sparring.degrade.chain import chained as chained
from sparring.degrade.chain import mask_of as mask_of
from sparring.degrade.images import Blur, Downscale, Grey, Jpeg, Noise
from sparring.degrade.mask import Mask

__all__ = ["Blur", "Downscale", "Grey", "Jpeg", "Mask", "Noise"]  # what a text may name
