"""How close is an image to the one that it should be? Images are float [n, C, H, W]; one value per image."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.errors import UserError
from sparring.extractors.base import Prepared


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.dim() != 4:
        raise UserError(
            f"images of shape {list(x.shape)} and {list(y.shape)} cannot be compared pair by pair; both must be "
            "[n, C, H, W] with the same numbers"
        )


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of each pair [n], in the images' unit."""
    _check(x, y)
    return (x.float() - y.float()).abs().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor, span: float = 2.0) -> Tensor:
    """Peak signal-to-noise ratio of each pair [n], in dB: 10 log10(span^2 / mean squared error); equal ones: infinity.

    Args:
        x, y: images.
        span: the width of the range of values: 2 for [-1, 1], 255 for bytes.
    """
    _check(x, y)
    return 10 * (span**2 / (x.float() - y.float()).square().flatten(1).mean(1)).log10()


def ssim(x: Tensor, y: Tensor, span: float = 2.0) -> Tensor:
    """Structural similarity of each pair [n], at most 1, averaged over channels and all places where the window fits.

    A Gaussian window of 11x11 with deviation 1.5, k1 = 0.01, k2 = 0.03, as in the source: Wang et al. 2004, section 3.

    Raises:
        UserError: an image is smaller than the window.
    """
    _check(x, y)
    if min(x.shape[2:]) < 11:
        raise UserError(f"images of {x.shape[2]}x{x.shape[3]} are smaller than the window of SSIM, 11x11")
    axis = torch.exp(-torch.arange(-5, 6, dtype=torch.float64).square() / (2 * 1.5**2))
    axis = (axis / axis.sum()).to(x.device)
    window = (axis[:, None] * axis[None, :])[None, None]

    def blur(images: Tensor) -> Tensor:
        return F.conv2d(images.flatten(0, 1)[:, None], window)

    x, y = x.double(), y.double()
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    values = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    values = values / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return values.view(len(x), -1).mean(1).float()


def mean_iou(found: Tensor, wanted: Tensor, classes: int, ignore: int | None = None) -> float:
    """Mean over the classes that occur of intersection over union, counted over all pixels together, in [0, 1].

    Args:
        found, wanted: int64 of equal shape, classes of pixels.
        classes: how many there are.
        ignore: pixels of this wanted class are left out.

    Source: Everingham et al. 2010, section 4.2.
    """
    if found.shape != wanted.shape:
        raise UserError(f"segmentations of shape {list(found.shape)} and {list(wanted.shape)} cannot be compared")
    kept = torch.ones_like(wanted, dtype=torch.bool) if ignore is None else wanted != ignore
    if not kept.any():
        raise UserError("no pixel is left to compare; all are of the class to ignore")
    for pixels in (found[kept], wanted[kept]):
        if not 0 <= int(pixels.min()) <= int(pixels.max()) < classes:
            raise UserError(f"a segmentation holds classes {int(pixels.min())} to {int(pixels.max())}, of {classes}")
    pairs = torch.bincount(wanted[kept] * classes + found[kept], minlength=classes**2).view(classes, classes).double()
    both = pairs.diagonal()
    either = pairs.sum(0) + pairs.sum(1) - both
    there = either > 0
    return (both[there] / either[there]).mean().item()


def perceptual(x: Tensor, y: Tensor, extractor: Prepared) -> Tensor:
    """Squared distance of each pair's features, each scaled to length 1: in [0, 4].

    Without the learned weights of LPIPS (Zhang et al. 2018), on the extractor's last features.
    """
    _check(x, y)
    features = [F.normalize(extractor(images).features, dim=1) for images in (x, y)]
    return (features[0] - features[1]).square().sum(1)
