"""Metrics of colour: the luminance that super-resolution is measured on, and how alike the colours of two sets are."""

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
STUDIO = (65.481, 128.553, 24.966)  # what R, G and B of 1 add to Y


def luminance(images: Tensor) -> Tensor:
    """The luminance Y [n, 1, H, W] of RGB images, float in [16, 235], as MATLAB's rgb2ycbcr; not rounded.

    Images [n, 3 or 1, H, W] are float in [-1, 1] or uint8; UserError: they have other channels. Grey images are only
    brought to [0, 255]. So do papers on super-resolution, which measure on it by `psnr(..., span=255, border=scale)`,
    and on images in 256 levels: give uint8 to do likewise. Source: ITU-R BT.601.
    """
    shares = _shares(images)
    if images.shape[1] == 1:
        return 255 * shares
    return 16 + (shares * shares.new_tensor(STUDIO).view(3, 1, 1)).sum(1, keepdim=True)


def _shares(images: Tensor) -> Tensor:
    """Images [n, 3 or 1, H, W], float in [-1, 1] or uint8 -> float in [0, 1]."""
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise UserError(f"images of shape {list(images.shape)} are neither RGB nor grey: [n, 3 or 1, H, W]")
    return images.float() / 255 if images.dtype == torch.uint8 else (images.float() + 1) / 2


def colour_distance(x: Iterable[Tensor], y: Iterable[Tensor]) -> float:
    """How far the colours of two sets of images are apart, regardless of where they are and of how light.

    The exact Wasserstein distance of the values of all pixels, of each of the chroma channels a* and b* of CIELAB (of
    sRGB, illuminant D65), averaged over both: by how much the chroma must change on average. In units of CIELAB, of
    which about 2.3 are just noticeable (Mahy et al. 1994); 0 for equal histograms. Images [3 or 1, H, W], of any sizes,
    or [n, 3 or 1, H, W] are float in [-1, 1] or uint8; UserError: a set is empty, or has other channels.
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
        raise UserError("a set of no images has no colours; give at least one")
    return np.concatenate(parts, 1)


def lab(rgb: Array) -> Array:
    """CIELAB (illuminant D65, 2 degrees) of sRGB colours [n, 3] in [0, 1]. Source: IEC 61966-2-1; CIE 15."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    x, y, z = (linear @ XYZ.T.astype(rgb.dtype) / WHITE.astype(rgb.dtype)).T
    x, y, z = (np.where(v > 0.008856, np.cbrt(v), 7.787 * v + 16 / 116) for v in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
