"""What extractors with published weights share: how images become what their networks were trained on."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.samples import Data
from sparring.metrics.extractors.base import Extractor, refuse_points

PART = 50  # images that a large network sees at once; a whole chunk's activations would take gigabytes


@dataclass(frozen=True)
class Pretrained(Extractor):
    """An extractor with published weights: where they are, and whether to fetch them if they are not there."""

    weights: str = ""
    download: bool = field(default=False, repr=False)  # no score depends on it

    def __post_init__(self) -> None:
        owner = type(self).__name__
        if not isinstance(self.weights, str):
            raise UserError(f'{owner}: weights={self.weights!r} must be text; write {owner}(weights="...")')
        if not isinstance(self.download, bool):
            raise UserError(f"{owner}: download={self.download!r} must be True or False; write {owner}(download=True)")


def check_images(owner: str, data: Data) -> None:
    """Raise UserError unless the data are images of one or three channels."""
    refuse_points(owner, data)
    if data.form.shape[0] not in (1, 3):
        found = f"{data.name!r} has {data.form.shape[0]}"
        raise UserError(f"{owner}() looks at images of 1 channel (grey) or 3 (RGB); {found}, take Random()")


def to_levels(images: Tensor) -> Tensor:
    """Images [n, 1 or 3, H, W] in [-1, 1] -> RGB [n, 3, H, W] in whole levels 0 to 255, as floats. Published scores are
    those of image files, so what lies between two levels or beyond them must not count."""
    return images.float().add(1).mul(127.5).round().clamp(0, 255).expand(-1, 3, -1, -1)


def resize_tensorflow(images: Tensor, size: int) -> Tensor:
    """Bilinear resize [n, C, H, W] -> [n, C, size, size], as TensorFlow 1 does it by default; torch has no such mode.
    Output pixel i takes the input at i * in / out (no half pixels, corners not aligned), between the two pixels there
    and clamped at the far edge; nothing is smoothed where images shrink. Source: TensorFlow 1,
    core/kernels/resize_bilinear_op.cc, `align_corners=False`."""
    for axis in (3, 2):  # columns first, so that float32 rounds as it does there
        length = images.shape[axis]
        position = torch.arange(size, dtype=torch.float32, device=images.device) * (length / size)
        low = position.long()
        share = (position - low).view(-1, *[1] * (3 - axis))
        left = images.index_select(axis, low)
        right = images.index_select(axis, (low + 1).clamp(max=length - 1))
        images = left + (right - left) * share
    return images


def resize_bicubic(levels: Tensor, size: int) -> Tensor:
    """Antialiased bicubic resize of whole levels [n, C, H, W] -> whole levels [n, C, size, size], as Pillow does it.
    Pillow, with which the published scores were made, rounds and clamps after the columns and again after the rows.
    (Version 13 takes the rows first where that is cheaper, which can matter for images that are not square.)"""
    for shape in ((levels.shape[2], size), (size, size)):
        levels = F.interpolate(levels, shape, mode="bicubic", antialias=True, align_corners=False)
        levels = levels.round().clamp(0, 255)
    return levels
