"""Metrics of colour: the luminance that super-resolution is measured on, and how alike the colours of two sets are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.base.errors import UserError

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


def _chroma(images: Iterable[Tensor]) -> NDArray[np.float32]:
    """a* and b* of all pixels [2, pixels]."""
    from skimage.color import rgb2lab

    parts = []
    for image in images:
        shares = _shares(image[None])[0].clamp(0, 1).expand(3, -1, -1)
        lab: NDArray[Any] = rgb2lab(shares.detach().cpu().numpy(), channel_axis=0)
        parts.append(lab[1:].reshape(2, -1).astype(np.float32))
    if not parts:
        raise UserError("a set of no images has no colours; give at least one")
    return np.concatenate(parts, 1)
