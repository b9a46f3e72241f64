"""How close is an image to the one that it should be? Images are float [n, C, H, W]; one value per image."""

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
            f"images of shape {list(x.shape)} and {list(y.shape)} cannot be compared pair by pair; both must be "
            "[n, C, H, W] with the same numbers"
        )


def cut_border(images: Tensor, border: int) -> Tensor:
    """Images [..., H, W] without `border` pixels on each side; UserError: nothing would be left.

    Papers on super-resolution leave out as many as the scale, for nothing is known of what lies beyond.
    """
    check_number("cut_border", "border", border, low=0, whole=True)
    height, width = images.shape[-2:]
    if min(height, width) <= 2 * border:
        most = (min(height, width) - 1) // 2
        raise UserError(f"border={border} leaves nothing of images of {width}x{height}; take at most {most}")
    return images[..., border : height - border, border : width - border]


def l1(x: Tensor, y: Tensor) -> Tensor:
    """Mean absolute difference of each pair [n], in the images' unit."""
    _check(x, y)
    return (x.float() - y.float()).abs().flatten(1).mean(1)


def psnr(x: Tensor, y: Tensor, span: float = 2.0, border: int = 0) -> Tensor:
    """Peak signal-to-noise ratio of each pair [n], in dB: 10 log10(span^2 / mean squared error); equal ones: infinity.

    `span` is the width of the range of values: 2 for [-1, 1], 255 for bytes and `luminance`; `border` is cut off first.
    """
    _check(x, y)
    x, y = (cut_border(images, border) for images in (x, y))
    return 10 * (span**2 / (x.float() - y.float()).square().flatten(1).mean(1)).log10()


def ssim(x: Tensor, y: Tensor, span: float = 2.0, border: int = 0) -> Tensor:
    """Structural similarity of each pair [n], at most 1, averaged over channels and all places where the window fits.

    A Gaussian window of 11x11 with deviation 1.5, k1 = 0.01, k2 = 0.03, as in the source: Wang et al. 2004, section 3.
    `span` and `border` are as in `psnr`. UserError: what is left of an image is smaller than the window.
    """
    _check(x, y)
    x, y = (cut_border(images, border) for images in (x, y))
    if min(x.shape[2:]) < 11:
        raise UserError(f"images of {x.shape[2]}x{x.shape[3]} are smaller than the window of SSIM, 11x11")
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
    """How far maps of features [n, C, H, W], a list of them by layer, are from others [n], in [0, 4]; differentiable.

    Mean over layers of the mean over places of the squared distance of the channels' vectors, each scaled to length 1.
    Source: Zhang et al. 2018 (LPIPS), equation 1, without the learned weights, and with a mean over layers, not a sum.
    """
    if len(found) != len(wanted) or any(x.shape != y.shape for x, y in zip(found, wanted)):
        shapes = [[list(layer.shape) for layer in maps] for maps in (found, wanted)]
        raise UserError(f"maps of shapes {shapes[0]} and {shapes[1]} cannot be compared; take images of equal shape")
    layers = [(_unit(x) - _unit(y)).square().sum(1).flatten(1).mean(1) for x, y in zip(found, wanted)]
    return torch.stack(layers).mean(0)


def _unit(maps: Tensor) -> Tensor:
    """Channels' vectors scaled to length 1; within the root, what keeps the gradient of a vector of zeros finite."""
    maps = maps.float()
    return maps * (maps.square().sum(1, keepdim=True) + 1e-10).rsqrt()


def perceptual_maps(x: Tensor, y: Tensor, extractor: Prepared) -> Tensor:
    """`maps_distance` of each pair's maps in an extractor's network [n], at the images' own size; differentiable.

    Images are float in [-1, 1], or uint8. UserError: the extractor shows no maps, or none of images so small.
    """
    _check(x, y)
    images = (bytes_to_input(pair) if pair.dtype == torch.uint8 else pair for pair in (x, y))
    found, wanted = (extractor.maps(pair.to(extractor.device)) for pair in images)
    return maps_distance(found, wanted)


def perceptual(x: Tensor, y: Tensor, extractor: Prepared) -> Tensor:
    """Squared distance of each pair's features, each scaled to length 1: in [0, 4].

    Without the learned weights of LPIPS (Zhang et al. 2018), on the extractor's last features.
    """
    _check(x, y)
    features = [F.normalize(extractor(images).features, dim=1) for images in (x, y)]
    return (features[0] - features[1]).square().sum(1)
