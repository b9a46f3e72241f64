"""Random affine maps of colours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparring.base.device import sent, widest_float
from sparring.game.augment.base import drawn, integers, normal, per_image, uniform


def random_colors(count: int, chance: float | Tensor, channels: int) -> Tensor:
    """Random maps [n, C + 1, C + 1] of homogeneous colours (c_1, ..., c_C, 1).

    Each kind applies to each image with probability `chance`.

    | kind | channels | change |
    | --- | --- | --- |
    | brightness | any | `+ N(0, 0.2^2)` |
    | contrast | any | `* 2^N(0, 0.5^2)` |
    | luma inversion | 1 or 3 | mirrored at 0 with probability 1/2 |
    | hue | 3 | rotated by any angle |
    | saturation | 3 | `* 2^N(0, 1)` |

    Source: Karras et al. 2020, appendix B, "color transformations".
    """
    maps = contrast(channels, 2 ** drawn(chance, 0.5 * normal(count)))
    maps = maps @ brightness(channels, drawn(chance, 0.2 * normal(count)))
    if channels in (1, 3):
        maps = luma_flip(channels, drawn(chance, integers(0, 2, count).double())) @ maps
    if channels == 3:
        maps = hue(drawn(chance, math.pi * (2 * uniform(count).double() - 1))) @ maps
        maps = saturation(2 ** drawn(chance, normal(count))) @ maps
    return maps


def recolor(images: Tensor, maps: Tensor) -> Tensor:
    """Apply maps [n, C + 1, C + 1] to the colours of images [n, C, H, W]."""
    channels = images.shape[1]
    maps = per_image(maps, images)[..., None, None]
    result = maps[:, :channels, channels]
    for channel in range(channels):  # no matrix product: some devices round it (bf16, TF32)
        result = result + maps[:, :channels, channel] * images[:, channel, None]
    return result


def brightness(channels: int, added: Tensor) -> Tensor:
    """Maps that add `added` [n] to all channels."""
    maps = _identity(channels, added)
    maps[:, :channels, channels] = added[:, None]
    return maps


def contrast(channels: int, factor: Tensor) -> Tensor:
    """Maps that multiply all channels by `factor` [n]; mid grey (0) stays."""
    maps = _identity(channels, factor)
    maps[:, :channels, :channels] *= factor[:, None, None]
    return maps


def luma_flip(channels: int, flipped: Tensor) -> Tensor:
    """Maps that invert the luma where `flipped` [n] is 1: light becomes dark, the hue stays."""
    maps = _identity(channels, flipped)
    maps[:, :channels, :channels] -= 2 * flipped[:, None, None] * _luma(channels, flipped)
    return maps


def hue(angle: Tensor) -> Tensor:
    """Maps that rotate RGB colours about the luma axis by `angle` [n] in radians (Rodrigues' formula)."""
    maps = _identity(3, angle)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = sent(torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=maps.dtype) / math.sqrt(3), maps.device)
    maps[:, :3, :3] = cosine * maps[:, :3, :3] + sine * across + (1 - cosine) * _luma(3, angle)
    return maps


def saturation(factor: Tensor) -> Tensor:
    """Maps that multiply the distance of RGB colours from the luma axis by `factor` [n]."""
    maps = _identity(3, factor)
    grey = _luma(3, factor)
    maps[:, :3, :3] = grey + factor[:, None, None] * (maps[:, :3, :3] - grey)
    return maps


def _luma(channels: int, like: Tensor) -> Tensor:
    """Projection [C, C] onto the grey axis, where all channels are equal, on a tensor's device."""
    return torch.full((channels, channels), 1 / channels, dtype=widest_float(like.device), device=like.device)


def _identity(channels: int, like: Tensor) -> Tensor:
    """Maps [n, C + 1, C + 1] that change nothing, for n values on the same device."""
    return torch.eye(channels + 1, dtype=widest_float(like.device), device=like.device).repeat(len(like), 1, 1)
