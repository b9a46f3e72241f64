"""DiffAugment: a fixed augmentation of real and generated images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.base.device import sent
from sparring.base.fields import flag, number
from sparring.game.augment.base import Change, SplitAugment, check_images, integers, per_image, pick, uniform


@dataclass(frozen=True)
class DiffAugment(SplitAugment):
    """Random colour, translation and cutout of every image, which keeps D from memorising a small data set.

    Use it for few images. It is simpler than `ADA` and does not adapt: it has the same strength during the whole run.

    Images are [n, C, H, W] of at least 8x8, about in [-1, 1]. Translation and cutout fill with 0 (mid grey), as in the
    authors' code. A spatial condition is translated and cut with its image and keeps its colours. UserError: samples
    are points, or too small.

    Attributes:
        color: brightness `+ U(-0.5, 0.5)`, then saturation (distance from the mean over channels) `* U(0, 2)`, then
            contrast `* U(0.5, 1.5)`.
        translation: largest shift in each direction, as a share of the size, in [0, 1]; 0 switches it off.
        cutout: side of the square that is set to 0, as a share of the size, in [0, 1]; 0 switches it off. Its centre
            is uniform over the image, so part of it may lie outside.

    Source: Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN Training", section 3.
    """

    color: bool = flag(True)
    translation: float = number(0.125, low=0, high=1)
    cutout: float = number(0.5, low=0, high=1)

    def changes(self, images: Tensor, progress: float) -> Sequence[Change]:
        check_images("DiffAugment", images)
        count, _, *sizes = images.shape
        found = []
        if self.color:
            numbers = uniform(count, 3)
            found.append(Change(lambda x: change_colors(x, *numbers), geometric=False))
        if self.translation:
            most = [_rounded(size * self.translation) for size in sizes]
            shifts = [integers(-by, by + 1, count) for by in most]
            found.append(Change(lambda x: translate(x, *shifts), geometric=True))
        if self.cutout:
            sides = [_rounded(size * self.cutout) for size in sizes]
            # the square's centre is uniform over the image
            starts = [integers(0, size + (side + 1) % 2, count) for size, side in zip(sizes, sides)]
            corners = [start - side // 2 for start, side in zip(starts, sides)]
            found.append(Change(lambda x: cut_out(x, sides, *corners), geometric=True))
        return found


def change_colors(images: Tensor, brightness: Tensor, saturation: Tensor, contrast: Tensor) -> Tensor:
    """Change brightness, saturation, contrast, in this order; strengths [n] in [0, 1], 0.5 is no change."""
    brightness, saturation, contrast = (
        per_image(share, images)[:, None, None, None] for share in (brightness, saturation, contrast)
    )
    images = images + (brightness - 0.5)
    grey = images.mean(1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    level = images.mean((1, 2, 3), keepdim=True)
    return level + (images - level) * (contrast + 0.5)


def translate(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Shift each image by whole pixels [n]; the edge is filled with 0."""
    rows, columns = _grid(images)
    down, right = (sent(by, images.device)[:, None, None] for by in (down, right))
    rows, columns = rows - down, columns - right
    height, width = images.shape[2:]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    return pick(images, rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)) * inside[:, None]


def cut_out(images: Tensor, sizes: Sequence[int], top: Tensor, left: Tensor) -> Tensor:
    """Set a rectangle of `sizes` (height, width) to 0; its upper left corner [n] may lie outside the image."""
    rows, columns = _grid(images)
    top, left = (sent(corner, images.device)[:, None, None] for corner in (top, left))
    outside = (rows < top) | (rows >= top + sizes[0]) | (columns < left) | (columns >= left + sizes[1])
    return images * outside[:, None]


def _grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """Row indices [1, H, 1] and column indices [1, 1, W]."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[None, :, None]
    return rows, torch.arange(width, device=images.device)[None, None, :]


def _rounded(number: float) -> int:
    return int(number + 0.5)
