"""What every degradation is, and what they share."""

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
    """What became of images."""

    source: Tensor  # [n, C', H', W'] in the range of networks, [-1, 1] (with noise, also beyond)
    mask: Tensor | None = None  # [n, 1, H', W'], 1 where pixels are missing, 0 where they are known; None: all are


@runtime_checkable
class Degradation(Protocol):
    """A component that makes images worse."""

    @property
    def scale(self) -> int:
        """How many times smaller the source's sides are; images of sides that are no multiples of it are cropped."""

    def shape(self, shape: Sequence[int]) -> Shape:
        """The source's (C', H', W') for images of this (C, H, W); UserError: they cannot be degraded in this way, or
        would have to be cropped for it."""

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        """Degrade images [n, C, H, W] in [-1, 1], each by random numbers of its own; UserError: as `shape`, but images
        are cropped where need be. A generator of the CPU (None: torch's global one) draws the numbers, so that they are
        the same on every device."""


def cropped(images: Tensor, scale: int) -> Tensor:
    """Images [..., H, W] without the last rows and columns that exceed a multiple of `scale`."""
    height, width = (side - side % scale for side in images.shape[-2:])
    return images[..., :height, :width]


def levels(images: Tensor) -> Tensor:
    """Images in [-1, 1] at the nearest of the 256 levels that a file can hold; what lies beyond is clamped. A
    degradation between the levels would tell a network more than any file does: a blur without rounding, say, can be
    undone almost exactly."""
    return images.add(1).mul(127.5).round().clamp(0, 255).div(127.5).sub(1)


def check_shape(owner: str, shape: Sequence[int], least: int = 1) -> Shape:
    """A shape (C, H, W); UserError: it is none, or its sides have fewer pixels than `least`."""
    if len(shape) != 3:
        raise UserError(f"{owner} changes images (C, H, W), not samples of shape {list(shape)}; take a set of images")
    channels, height, width = shape
    if min(height, width) < least:
        found = f"images of {width}x{height} are too small, each side must have at least {least} pixels"
        raise UserError(f"{owner}: {found}; write a larger --size")
    return channels, height, width


def check_divisible(owner: str, shape: Sequence[int], scale: int) -> None:
    """Raise UserError unless images of this shape can be made `scale` times smaller without cropping."""
    _, height, width = check_shape(owner, shape, least=scale)
    if height % scale or width % scale:
        sizes = f"{width}x{height}", f"{width - width % scale}x{height - height % scale}"
        raise UserError(f"{owner}: {sizes[0]} cannot be divided by {scale}; write --size {sizes[1]}, or another factor")
