"""Base class and helpers of degradations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

import torch
from torch import Tensor

from sparring.base.errors import UserError

Shape: TypeAlias = "tuple[int, int, int]"


@dataclass(frozen=True)
class Degraded:
    """Degraded images.

    Attributes:
        source: [n, C', H', W'] in [-1, 1]; noise may exceed this range.
        mask: [n, 1, H', W'], 1 at missing pixels, 0 at known ones; None: all pixels are known.
    """

    source: Tensor
    mask: Tensor | None = None


@runtime_checkable
class Degradation(Protocol):
    """A degradation of images."""

    @property
    def scale(self) -> int:
        """Factor by which sides shrink; images are cropped to multiples of it."""

    def shape(self, shape: Sequence[int]) -> Shape:
        """The source's (C', H', W') for images (C, H, W). UserError: they do not fit, or would need cropping."""

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        """Degrade images [n, C, H, W] in [-1, 1], each with its own random numbers; crop them if needed.

        A CPU generator (None: torch's global one) draws the numbers, so they are equal on every device.
        UserError: the images do not fit.
        """


def cropped(images: Tensor, scale: int) -> Tensor:
    """Crop images [..., H, W] at the bottom and right to multiples of `scale`."""
    height, width = (side - side % scale for side in images.shape[-2:])
    return images[..., :height, :width]


def levels(images: Tensor) -> Tensor:
    """Round images in [-1, 1] to 256 levels, and clamp them.

    Without rounding, sources would contain more information than an image file; a blur could be undone almost exactly.
    """
    return images.add(1).mul(127.5).round().clamp(0, 255).div(127.5).sub(1)


def check_shape(owner: str, shape: Sequence[int], least: int = 1) -> Shape:
    """Return a shape (C, H, W). UserError: it has other dimensions, or a side below `least` pixels."""
    if len(shape) != 3:
        raise UserError(f"{owner} needs images (C, H, W), not samples of shape {list(shape)}; use a set of images")
    channels, height, width = shape
    if min(height, width) < least:
        given = f"images of {width}x{height} are too small, each side must have at least {least} pixels"
        raise UserError(f"{owner}: {given}; write a larger --size")
    return channels, height, width


def check_divisible(owner: str, shape: Sequence[int], scale: int) -> None:
    """Raise UserError unless the sides are multiples of `scale`."""
    _, height, width = check_shape(owner, shape, least=scale)
    if height % scale or width % scale:
        sizes = f"{width}x{height}", f"{width - width % scale}x{height - height % scale}"
        raise UserError(f"{owner}: {sizes[0]} cannot be divided by {scale}; write --size {sizes[1]}, or another factor")
