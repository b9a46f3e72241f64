"""Base class of extractors with published weights, and the preprocessing of their images."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.samples import Data
from sparring.metrics.extractors.base import Extractor, refuse_points

PART = 50  # images per batch of a large network; the activations of a whole chunk would take gigabytes


@dataclass(frozen=True)
class Pretrained(Extractor):
    """Base class of extractors with published weights.

    Attributes:
        weights: where the weights are; see each extractor.
        download: fetch missing weights. It is left out of the component's text, because no score depends on it.
    """

    weights: str = ""
    download: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        owner = type(self).__name__
        if not isinstance(self.weights, str):
            raise UserError(f'{owner}: weights={self.weights!r} must be text; write {owner}(weights="...")')
        if not isinstance(self.download, bool):
            raise UserError(f"{owner}: download={self.download!r} must be True or False; write {owner}(download=True)")


def check_images(owner: str, data: Data) -> None:
    """Raise UserError unless the data are images with one or three channels."""
    refuse_points(owner, data)
    if data.form.shape[0] not in (1, 3):
        found = f"{data.name!r} has {data.form.shape[0]}"
        raise UserError(f"{owner}() needs images with 1 channel (grey) or 3 (RGB), and {found}; take Random()")


def to_levels(images: Tensor) -> Tensor:
    """Round images [n, 1 or 3, H, W] in [-1, 1] to RGB levels 0 to 255, float [n, 3, H, W].

    Published scores are those of image files, which only hold whole levels.
    """
    return images.float().add(1).mul(127.5).round().clamp(0, 255).expand(-1, 3, -1, -1)


def resize_tensorflow(images: Tensor, size: int) -> Tensor:
    """Bilinear resize of images [n, C, H, W] to [n, C, size, size], as TensorFlow 1 does by default.

    Torch has no such mode: output pixel i samples the input at i * in / out (no half-pixel offset), clamped at the far
    edge, without antialiasing. Source: TensorFlow 1, core/kernels/resize_bilinear_op.cc, `align_corners=False`.
    """
    for axis in (3, 2):  # columns first, so that float32 rounds as in TensorFlow
        length = images.shape[axis]
        position = torch.arange(size, dtype=torch.float32, device=images.device) * (length / size)
        low = position.long()
        share = (position - low).view(-1, *[1] * (3 - axis))
        left = images.index_select(axis, low)
        right = images.index_select(axis, (low + 1).clamp(max=length - 1))
        images = left + (right - left) * share
    return images


def resize_bicubic(levels: Tensor, size: int) -> Tensor:
    """Antialiased bicubic resize of levels 0 to 255, [n, C, H, W], to [n, C, size, size], as Pillow does.

    Published scores use Pillow, which rounds and clamps after the columns and again after the rows. (Pillow 13 resizes
    the rows first if that is cheaper, which can change images that are not square.)
    """
    for shape in ((levels.shape[2], size), (size, size)):
        levels = F.interpolate(levels, shape, mode="bicubic", antialias=True, align_corners=False)
        levels = levels.round().clamp(0, 255)
    return levels
