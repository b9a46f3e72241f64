"""Pieces that several network families share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from sparring.errors import UserError


def maybe_spectral(layer: nn.Module, use: bool) -> nn.Module:
    """The layer, divided by its largest singular value if `use` (Miyato et al. 2018)."""
    return spectral_norm(layer) if use else layer


def halvings(shape: Sequence[int], smallest: int = 4) -> list[tuple[int, int]]:
    """Sizes from (height, width) down by floor halving, while both sides stay at least `smallest`.

    (28, 28) gives 28, 14, 7; (50, 37) gives (50, 37), (25, 18), (12, 9), (6, 4).
    """
    if len(shape) != 3:
        raise UserError(f"a convolutional network needs images [C, H, W], the data has shape {list(shape)}; use an MLP")
    height, width = shape[1:]
    if min(height, width) < 8:
        raise UserError(f"images of {height}x{width} are too small for a DCGAN, which takes 8x8 and up; use an MLP")
    sizes = [(height, width)]
    while min(sizes[-1]) // 2 >= smallest:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes
