"""Random linear maps of colours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sparring.game.augment.base import drawn, normal, per_image


def random_colors(count: int, chance: float, channels: int) -> Tensor:
    """Maps [n, C + 1, C + 1] of colours (c_1, ..., c_C, 1), each kind drawn for each image with probability `chance`.

    Brightness + N(0, 0.2^2), contrast times 2^N(0, 0.5^2), and by the number of channels: of grey and RGB images, the
    luma is mirrored at 0 (or not, with equal chances); of RGB images, the hue is turned by any angle and the saturation
    multiplied by 2^N(0, 1). Other channels have no known meaning, so they share brightness and contrast alone.
    Source: Karras et al. 2020, appendix B, "color transformations".
    """
    maps = contrast(channels, 2 ** drawn(chance, 0.5 * normal(count)))
    maps = maps @ brightness(channels, drawn(chance, 0.2 * normal(count)))
    if channels in (1, 3):
        maps = luma_flip(channels, drawn(chance, torch.randint(2, (count,)).double())) @ maps
    if channels == 3:
        maps = hue(drawn(chance, math.pi * (2 * torch.rand(count).double() - 1))) @ maps
        maps = saturation(2 ** drawn(chance, normal(count))) @ maps
    return maps


def recolor(images: Tensor, maps: Tensor) -> Tensor:
    """Apply maps [n, C + 1, C + 1] to the colours of images [n, C, H, W]."""
    channels = images.shape[1]
    maps = per_image(maps, images)[..., None, None]
    result = maps[:, :channels, channels]
    for channel in range(channels):  # not a matrix product: those are rounded (bf16, TF32) on some devices
        result = result + maps[:, :channels, channel] * images[:, channel, None]
    return result


def brightness(channels: int, added: Tensor) -> Tensor:
    """Add one number [n] to all channels."""
    maps = _neutral(channels, len(added))
    maps[:, :channels, channels] = added[:, None]
    return maps


def contrast(channels: int, factor: Tensor) -> Tensor:
    """Multiply all channels by one number [n]; 0 is mid grey and stays."""
    maps = _neutral(channels, len(factor))
    maps[:, :channels, :channels] *= factor[:, None, None]
    return maps


def luma_flip(channels: int, flipped: Tensor) -> Tensor:
    """Mirror colours at the plane across the luma axis where `flipped` [n] is 1: light gets dark, the hue stays."""
    maps = _neutral(channels, len(flipped))
    maps[:, :channels, :channels] -= 2 * flipped[:, None, None] * _luma(channels)
    return maps


def hue(angle: Tensor) -> Tensor:
    """Rotate RGB colours about the luma axis by an angle [n] in radians. Source: Rodrigues' formula."""
    maps = _neutral(3, len(angle))
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    across = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)
    maps[:, :3, :3] = cosine * maps[:, :3, :3] + sine * across + (1 - cosine) * _luma(3)
    return maps


def saturation(factor: Tensor) -> Tensor:
    """Multiply the distance of RGB colours from the luma axis by a number [n]."""
    maps = _neutral(3, len(factor))
    maps[:, :3, :3] = _luma(3) + factor[:, None, None] * (maps[:, :3, :3] - _luma(3))
    return maps


def _luma(channels: int) -> Tensor:
    """The projection [C, C] onto the axis on which all channels are equal."""
    return torch.full((channels, channels), 1 / channels, dtype=torch.float64)


def _neutral(channels: int, count: int) -> Tensor:
    return torch.eye(channels + 1, dtype=torch.float64).repeat(count, 1, 1)
