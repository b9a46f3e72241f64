"""Scores of images against their targets, one value per pair. Images are float [n, C, H, W]."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.errors import UserError, check_number
from sparring.data.form import bytes_to_input
from sparring.metrics.extractors.base import Prepared


def _check(x: Tensor, y: Tensor) -> None:
    if x.shape != y.shape or x.dim() != 4:
        raise UserError(
            f"images of shape {list(x.shape)} and {list(y.shape)} cannot be compared pair by pair; give both the same "
            "shape [n, C, H, W]"
        )


def cut_border(images: Tensor, border: int) -> Tensor:
    """Cut `border` pixels off each side of images [..., H, W].

    Papers on super-resolution cut as many pixels as the scale, because pixels at the border lack neighbours.

    Raises:
        UserError: nothing would be left.
    """
    check_number("cut_border", "border", border, low=0, whole=True)
    height, width = images.shape[-2:]
    if min(height, width) <= 2 * border:
        most = (min(height, width) - 1) // 2
        raise UserError(f"border={border} leaves nothing of images of {width}x{height}; take at most {most}")
    return images[..., border : height - border, border : width - border]


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of each pair [n], in the images' unit; at least 0, lower is better."""
    _check(x, y)
    return (x.float() - y.float()).abs().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor, span: float = 2.0, border: int = 0) -> Tensor:
    """Peak signal-to-noise ratio 10 log10(span^2 / mean squared error).

    Args:
        x: images [n, C, H, W].
        y: their targets, of the same shape.
        span: width of the range of values: 2 for [-1, 1], 255 for uint8 and `luminance`.
        border: pixels cut off each side first.

    Returns:
        PSNR of each pair [n], in dB; higher is better, infinity for equal images.

    Raises:
        UserError: shapes differ, or the border leaves nothing.
    """
    _check(x, y)
    x, y = (cut_border(images, border) for images in (x, y))
    return 10 * (span**2 / (x.float() - y.float()).square().flatten(1).mean(1)).log10()


def ssim(x: Tensor, y: Tensor, span: float = 2.0, border: int = 0) -> Tensor:
    """Structural similarity (SSIM). Source: Wang et al. 2004, section 3.

    Uses a Gaussian window of 11x11 with deviation 1.5, k1 = 0.01 and k2 = 0.03. Averages over channels and all
    positions where the window lies within the image. The arguments are those of `psnr`.

    Returns:
        SSIM of each pair [n], at most 1; higher is better.

    Raises:
        UserError: shapes differ, or an image without its border is smaller than the window.
    """
    _check(x, y)
    x, y = (cut_border(images, border) for images in (x, y))
    if min(x.shape[2:]) < 11:
        raise UserError(f"images of {x.shape[2]}x{x.shape[3]} are smaller than SSIM's window; give at least 11x11")
    axis = torch.exp(-torch.arange(-5, 6, dtype=torch.float64).square() / (2 * 1.5**2))
    axis = (axis / axis.sum()).to(x.device)

    def blur(images: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(images.flatten(0, 1)[:, None], axis.view(1, 1, -1, 1)), axis.view(1, 1, 1, -1))

    x, y = x.double(), y.double()
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    covariance = blur(x * y) - mean_x * mean_y
    values = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    values = values / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    return values.view(len(x), -1).mean(1).float()


def maps_distance(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Distance of two lists of feature maps, one [n, C, H, W] per layer; differentiable.

    Each position's channel vector is scaled to length 1. The squared distance of two vectors is averaged over positions
    and then over layers. Source: Zhang et al. 2018 (LPIPS), equation 1, without the learned weights, and with the mean
    over layers instead of the sum.

    Returns:
        One distance per sample [n], in [0, 4]; lower is better.

    Raises:
        UserError: the maps' shapes differ.
    """
    if len(found) != len(wanted) or any(x.shape != y.shape for x, y in zip(found, wanted)):
        shapes = [[list(layer.shape) for layer in maps] for maps in (found, wanted)]
        raise UserError(f"maps of shapes {shapes[0]} and {shapes[1]} cannot be compared; give images of equal shape")
    layers = [(_unit(x) - _unit(y)).square().sum(1).flatten(1).mean(1) for x, y in zip(found, wanted)]
    return torch.stack(layers).mean(0)


def _unit(maps: Tensor) -> Tensor:
    """Scale channel vectors to length 1. The epsilon keeps the gradient at a zero vector finite."""
    maps = maps.float()
    return maps * (maps.square().sum(1, keepdim=True) + 1e-10).rsqrt()


def perceptual_maps(x: Tensor, y: Tensor, extractor: Prepared) -> Tensor:
    """`maps_distance` of an extractor's feature maps of each pair, at the images' own size; differentiable.

    Args:
        x: images [n, C, H, W], float in [-1, 1] or uint8.
        y: their targets, of the same shape.
        extractor: an extractor with feature maps, such as `Random()` or `Inception()`.

    Returns:
        One distance per pair [n], in [0, 4]; lower is better.

    Raises:
        UserError: the extractor has no feature maps, or the images are too small for it.
    """
    _check(x, y)
    images = (bytes_to_input(pair) if pair.dtype == torch.uint8 else pair for pair in (x, y))
    found, wanted = (extractor.maps(pair.to(extractor.device)) for pair in images)
    return maps_distance(found, wanted)


def perceptual(x: Tensor, y: Tensor, extractor: Prepared) -> Tensor:
    """Squared distance of each pair's features [n], each scaled to length 1: in [0, 4], lower is better.

    Unlike LPIPS (Zhang et al. 2018) it uses only the extractor's last features, and no learned weights.
    """
    _check(x, y)
    features = [F.normalize(extractor(images).features, dim=1) for images in (x, y)]
    return (features[0] - features[1]).square().sum(1)
