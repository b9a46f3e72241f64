"""The base of image-to-image generators: sources of any size, and the reach of an output pixel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.networks.layers import Shape

InputRange = Callable[[int, int], tuple[int, int]]
"""First and last position of a layer's output -> first and last position of its input that they depend on."""


class ImageGenerator(nn.Module, ABC):
    """A generator that translates images of any size: sources [n, C, h, w] -> raw maps [n, C', scale * h, scale * w].

    Sides are at least 1. The output has no tanh or softmax. A sub-class implements `translate` and `reach`, and may set
    `stride`, which divides the sides of the sources that `translate` gets.

    Args:
        source_shape: [C, H, W] of the sources in training.
        target_shape: [C', scale * H, scale * W] of the targets in training; `scale` must be one of `scales`.
    """

    scales: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, source_shape: Shape, target_shape: Shape) -> None:
        super().__init__()
        owner = type(self).__name__
        if isinstance(source_shape, int):
            raise UserError(
                f"{owner} translates images, and this task generates samples from noise; use MLPGenerator(), "
                "DCGANGenerator() or ResNetGenerator()"
            )
        for shape in (source_shape, target_shape):
            if len(shape) != 3:
                raise UserError(
                    f"{owner} translates images [C, H, W], and the data has shape {list(shape)}; use images"
                )
        (_, height, width), (_, *target) = source_shape, target_shape
        fitting = [scale for scale in self.scales if target == [scale * height, scale * width]]
        if not fitting:
            times = "as large as" if self.scales == (1,) else f"{', '.join(map(str, self.scales))} times as large as"
            raise UserError(
                f"{owner} makes images {times} the source, not {target[0]}x{target[1]} from {height}x{width}; "
                + ("use EDSRGenerator() to upscale" if self.scales == (1,) else "crop the images to such sizes")
            )
        self.scale, self.stride = fitting[0], 1

    @property
    @abstractmethod
    def reach(self) -> int | None:
        """Largest distance in rows or columns between an output pixel and the source pixels that it depends on, in
        evaluation mode; None: it depends on the whole image. A crop that begins at a multiple of `stride` gives the
        same output beyond that distance from its borders."""

    @abstractmethod
    def translate(self, source: Tensor) -> Tensor:
        """Sources [n, C, h, w], h and w multiples of `stride` -> [n, C', scale * h, scale * w]."""

    def forward(self, source: Tensor) -> Tensor:
        height, width = source.shape[2:]
        output = self.translate(pad_to_multiple(source, self.stride))
        return output[..., : self.scale * height, : self.scale * width]


def pad_to_multiple(source: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Pad images at the bottom and right, by repetition, to sides of at least `least` that `multiple` divides."""
    missing = [max(-size % multiple, least - size) for size in source.shape[:1:-1]]
    if not any(missing):
        return source
    return F.pad(source, (0, missing[0], 0, missing[1]), mode="replicate")


def conv_range(radius: int) -> InputRange:
    """A convolution with this radius and padding; it keeps the size."""
    return lambda first, last: (first - radius, last + radius)


def strided_range(kernel: int) -> InputRange:
    """A convolution with stride 2 and padding 1."""
    return lambda first, last: (2 * first - 1, 2 * last - 2 + kernel)


def upsample_range(scale: int = 2, radius: int = 1) -> InputRange:
    """Nearest-neighbour upsampling, then a convolution with this radius; radius 0: a pixel shuffle."""
    return lambda first, last: ((first - radius) // scale, (last + radius) // scale)


def reach_of(input_ranges: Sequence[InputRange], scale: int, stride: int) -> int:
    """The reach of layers in sequence in source pixels (see `ImageGenerator.reach`), the largest over all positions."""
    reach = 0
    for position in range(scale * stride):
        first = last = position
        for input_range in reversed(input_ranges):
            first, last = input_range(first, last)
        reach = max(reach, position // scale - first, last - position // scale)
    return reach
