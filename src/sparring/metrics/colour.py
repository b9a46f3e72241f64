"""Metrics of colour: the luminance that super-resolution is scored on, and a distance between colour distributions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.base.errors import UserError

Array = NDArray[np.float32]
XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.95047, 1.0, 1.08883])  # X, Y and Z of sRGB's white
STUDIO = (65.481, 128.553, 24.966)  # weights of R, G and B in Y


def luminance(images: Tensor) -> Tensor:
    """Luminance Y of RGB images, as MATLAB's rgb2ycbcr computes it, not rounded. Source: ITU-R BT.601.

    Papers on super-resolution report `psnr(luminance(x), luminance(y), span=255, border=scale)` on uint8 images.

    Args:
        images: [n, 3 or 1, H, W], float in [-1, 1] or uint8.

    Returns:
        Float [n, 1, H, W]: in [16, 235] for RGB images; grey images are only scaled to [0, 255].

    Raises:
        UserError: the images have another number of channels.
    """
    shares = _shares(images)
    if images.shape[1] == 1:
        return 255 * shares
    return 16 + (shares * shares.new_tensor(STUDIO).view(3, 1, 1)).sum(1, keepdim=True)


def _shares(images: Tensor) -> Tensor:
    """Images [n, 3 or 1, H, W], float in [-1, 1] or uint8 -> float in [0, 1]."""
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise UserError(
            f"images of shape {list(images.shape)} are neither RGB nor grey; give [n, 3, H, W] or [n, 1, H, W]"
        )
    return images.float() / 255 if images.dtype == torch.uint8 else (images.float() + 1) / 2


def colour_distance(x: Iterable[Tensor], y: Iterable[Tensor]) -> float:
    """Distance between the chroma distributions of two sets of images, ignoring position and lightness.

    The 1-Wasserstein distance between all pixels' values of a*, and the same of b* (CIELAB of sRGB, illuminant D65),
    averaged over both channels. A difference of about 2.3 is just noticeable (Mahy et al. 1994).

    Args:
        x: images [3 or 1, H, W] of any sizes, or [n, 3 or 1, H, W]; float in [-1, 1] or uint8.
        y: the other set, in the same form.

    Returns:
        The distance in units of CIELAB, at least 0; lower is more alike, 0 for equal histograms.

    Raises:
        UserError: a set is empty, or its images have another number of channels.
    """
    from scipy import stats

    first, second = _chroma(x), _chroma(y)
    return float(np.mean([stats.wasserstein_distance(u, v) for u, v in zip(first, second)]))


def _chroma(images: Iterable[Tensor]) -> Array:
    """a* and b* of all pixels [2, pixels]."""
    parts = []
    for image in images:
        shares = _shares(image[None])[0].clamp(0, 1).expand(3, -1, -1)
        parts.append(lab(shares.detach().cpu().numpy().reshape(3, -1).T)[:, 1:].T)
    if not parts:
        raise UserError("a set of images is empty; give at least one image")
    return np.concatenate(parts, 1)


def lab(rgb: Array) -> Array:
    """CIELAB (illuminant D65, 2 degrees) of sRGB colours [n, 3] in [0, 1]. Source: IEC 61966-2-1; CIE 15."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = (linear @ XYZ.T.astype(rgb.dtype) / WHITE.astype(rgb.dtype)).T
    x, y, z = (np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
