"""Random affine maps of images, and the resampling that applies them.

Points are (x, y, 1) in pixels from the image's centre, x to the right and y down. A map takes a point of the result to
a point of the input image, so the last change is the leftmost factor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparring.base.device import widest_float
from sparring.game.augment.base import drawn, integers, normal, per_image, pick, uniform


def random_blits(
    count: int, chance: float | Tensor, height: int, width: int, flip: bool, turn: bool, shift: bool
) -> Tensor:
    """Random maps [n, 3, 3] that move whole pixels: mirror x, rotate by 90 degrees, shift by up to 1/8 of the size.

    Each kind is drawn for each image with probability `chance`, uniformly over its values including no change.
    Source: Karras et al. 2020, appendix B, "pixel blitting".
    """
    device = chance.device if isinstance(chance, Tensor) else torch.device("cpu")
    maps = _identity(torch.empty(count, device=device))
    if flip:
        mirrored = drawn(chance, integers(0, 2, count).double())
        maps = maps @ scaling(1 - 2 * mirrored, torch.ones_like(mirrored))
    if turn:
        quarters = drawn(chance, integers(0, 4, count).double())
        maps = maps @ turning((quarters - 2).abs() - 1, 1 - (quarters - 1).abs())
    if shift:
        share = drawn(chance, uniform(count, 2, dtype=torch.float64) / 4 - 0.125)
        maps = maps @ shifting(-(share[0] * width).round(), -(share[1] * height).round())
    return maps


def random_affine(count: int, chance: float | Tensor, height: int, width: int) -> Tensor:
    """Random maps [n, 3, 3]: scaling, rotation, stretching, rotation, shift.

    Scaling and stretching are by `2^N(0, 0.2^2)`, angles are uniform, shifts are `N(0, (1/8)^2)` of the size. Each is
    drawn for each image with probability `chance`. The two rotations, before and after stretching, are drawn with
    `1 - sqrt(1 - chance)` each, so that an image is rotated with probability `chance`.
    Source: Karras et al. 2020, appendix B, "general geometric transformations".
    """
    size = 2 ** drawn(chance, 0.2 * normal(count))
    stretch = 2 ** drawn(chance, 0.2 * normal(count))
    turned = 1 - ((1 - chance).sqrt() if isinstance(chance, Tensor) else math.sqrt(1 - chance))
    first, second = (drawn(turned, math.pi * (2 * uniform(count).double() - 1)) for _ in range(2))
    shift = drawn(chance, 0.125 * normal(count, 2))
    maps = scaling(1 / size, 1 / size) @ turning(first.cos(), -first.sin())
    maps = maps @ scaling(1 / stretch, stretch) @ turning(second.cos(), -second.sin())
    return maps @ shifting(-shift[0] * width, -shift[1] * height)


def resample(images: Tensor, maps: Tensor) -> Tensor:
    """Resample images [n, C, H, W] through maps [n, 3, 3], bilinearly; images continue mirrored beyond their edges.

    Maps that move whole pixels keep every value. There is no antialiasing: rotated or enlarged images are smoother,
    shrunk ones rougher. Upsampling first would keep the sharpness at five times the cost.
    """
    height, width = images.shape[2:]
    (xx, xy, x1), (yx, yy, y1) = per_image(maps, images)[:, :2].permute(1, 2, 0)[..., None, None]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    # no matrix product: some devices round it (bf16, TF32)
    columns = xx * x + xy * y + x1 + (width - 1) / 2
    rows = yx * x + yy * y + y1 + (height - 1) / 2
    left, above = columns.floor(), rows.floor()
    right_share, lower_share = (columns - left)[:, None], (rows - above)[:, None]
    upper, lower = _mirrored(above, height) * width, _mirrored(above + 1, height) * width
    left, right = _mirrored(left, width), _mirrored(left + 1, width)
    upper_pixels = torch.lerp(pick(images, upper + left), pick(images, upper + right), right_share)
    lower_pixels = torch.lerp(pick(images, lower + left), pick(images, lower + right), right_share)
    return torch.lerp(upper_pixels, lower_pixels, lower_share)


def scaling(x: Tensor, y: Tensor) -> Tensor:
    """Maps [n, 3, 3] that multiply coordinates by x [n] and y [n]."""
    return torch.diag_embed(torch.stack([x, y, torch.ones_like(x)], 1).to(widest_float(x.device)))


def turning(cosine: Tensor, sine: Tensor) -> Tensor:
    """Maps [n, 3, 3] that rotate points by the angle with this cosine [n] and sine [n]."""
    maps = scaling(cosine, cosine)
    maps[:, 0, 1], maps[:, 1, 0] = -sine, sine
    return maps


def shifting(x: Tensor, y: Tensor) -> Tensor:
    """Maps [n, 3, 3] that add x [n] and y [n] to coordinates."""
    maps = _identity(x)
    maps[:, 0, 2], maps[:, 1, 2] = x, y
    return maps


def _identity(like: Tensor) -> Tensor:
    """Maps [n, 3, 3] that change nothing, for n values on the same device."""
    return torch.eye(3, dtype=widest_float(like.device), device=like.device).repeat(len(like), 1, 1)


def _mirrored(index: Tensor, size: int) -> Tensor:
    """Index within the image for a whole (floating point) index beyond its edge: ... 2 1 [0 1 2 3] 2 1 0 1 ..."""
    period = 2 * (size - 1)
    return (index - period * ((index + (size - 1)) / period).floor()).abs().long()
