"""Periodic patterns in images: the grids and checkerboards that upsampling leaves (Odena et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.base.errors import UserError

PERIODS = (2, 4)  # pixels: those of the last two upsampling steps
ACCEPTED = 0.99  # share of real images whose pattern counts as no grid
SMALLEST = 16  # pixels: fewer frequencies than these leave no neighbours to compare with
NEAR, FAR = 2, 3  # distance in frequencies of the neighbours; a window spreads a peak over 1


def grid_strength(images: Tensor) -> Tensor:
    """How much stronger an image's pattern with periods of 2 and 4 pixels is than its other fine structure.

    It is the logarithm of the largest ratio, over the frequencies of such patterns (horizontal, vertical and both), of
    the spectral power to the mean of its neighbours. The power is that of the mean channel under a Hann window. A real
    edge has broad neighbours; a grid is a peak.

    Args:
        images: [n, C, H, W], uint8 or float in any range, at least 16x16.

    Returns:
        Float64 [n].

    Raises:
        UserError: the images are smaller.

    Source of the phenomenon: Odena et al. 2016, "Deconvolution and checkerboard artifacts"; its spectral peaks:
    Zhang et al. 2019, "Detecting and simulating artifacts in GAN fake images", section 3.
    """
    height, width = images.shape[-2:]
    if min(height, width) < SMALLEST:
        raise UserError(f"grid needs images of at least {SMALLEST}x{SMALLEST}, not {width}x{height}; leave it out")
    grey = images.double().mean(1)
    window = torch.hann_window(height, False, dtype=torch.float64)[:, None] * torch.hann_window(
        width, False, dtype=torch.float64
    )
    power = torch.fft.fft2((grey - grey.mean((1, 2), keepdim=True)) * window).abs().square()
    smallest = power.mean((1, 2)) * 1e-6 + 1e-12  # so that empty images have no pattern
    ratios = []
    for row, column in _frequencies(height, width):
        near = [power[:, (row + y) % height, (column + x) % width] for y, x in _ring()]
        background = torch.stack(near).mean(0) + smallest
        ratios.append((power[:, row, column] + smallest) / background)
    return torch.stack(ratios).amax(0).log()


def grid_share(real: Tensor, fake: Tensor) -> tuple[float, float]:
    """The share of generated images with a grid that is stronger than in 99 % of real images, and that of real ones.

    Args:
        real: real images [n, C, H, W].
        fake: generated images [m, C, H, W].

    Raises:
        UserError: the images are smaller than 16x16.
    """
    strengths = grid_strength(real)
    limit = strengths.quantile(ACCEPTED)
    return (grid_strength(fake) > limit).double().mean().item(), (strengths > limit).double().mean().item()


def _frequencies(height: int, width: int) -> list[tuple[int, int]]:
    """Rows and columns of the spectrum for patterns with these periods; a spectrum is symmetric."""
    rows = {0, *(height // period for period in PERIODS)}
    columns = {0, *(width // period for period in PERIODS)}
    return [(row, column) for row in sorted(rows) for column in sorted(columns) if row or column]


def _ring() -> list[tuple[int, int]]:
    """Offsets of a frequency's neighbours."""
    around = range(-FAR, FAR + 1)
    return [(y, x) for y in around for x in around if NEAR <= max(abs(y), abs(x)) <= FAR]
