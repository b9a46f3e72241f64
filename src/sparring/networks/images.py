"""What generators that turn one image into another share: any size, and how far an output pixel sees."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.networks.layers import Shape

# The first and last place of a map that a layer's output depends on -> those of the layer's input.
Look = Callable[[int, int], tuple[int, int]]


class ImageGenerator(nn.Module, ABC):
    """A generator that is built with the shapes of its source and its target, (C, H, W), and that works on any size.

    It maps sources [n, C, h, w], h and w at least 1, to raw maps [n, C', scale * h, scale * w]: no tanh, no softmax.
    A sub-class says in `translate` what it makes of sources whose sides are multiples of its `stride`, and in `scales`
    how many times as large as its source a target may be.
    """

    scales: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, source_shape: Shape, target_shape: Shape) -> None:
        super().__init__()
        owner = type(self).__name__
        if isinstance(source_shape, int):
            raise UserError(
                f"{owner} turns images into others, and this task makes samples of noise; take MLPGenerator(), "
                "DCGANGenerator() or ResNetGenerator()"
            )
        for shape in (source_shape, target_shape):
            if len(shape) != 3:
                raise UserError(f"{owner} turns images [C, H, W] into images, the data has shape {list(shape)}")
        (_, height, width), (_, *target) = source_shape, target_shape
        fitting = [scale for scale in self.scales if target == [scale * height, scale * width]]
        if not fitting:
            times = "as large as" if self.scales == (1,) else f"{', '.join(map(str, self.scales))} times as large as"
            raise UserError(
                f"{owner} makes images {times} the source, here are {height}x{width} and {target[0]}x{target[1]}; "
                + ("take EDSRGenerator() to enlarge" if self.scales == (1,) else "cut the images to such sizes")
            )
        self.scale, self.stride = fitting[0], 1

    @property
    @abstractmethod
    def reach(self) -> int | None:
        """An output pixel depends on source pixels at most so many rows and columns away (batch normalisation at
        rest); None: on the whole image. A part of an image that begins at a multiple of `stride` gives the same."""

    @abstractmethod
    def translate(self, source: Tensor) -> Tensor:
        """Sources [n, C, h, w], h and w multiples of `stride` -> [n, C', scale * h, scale * w]."""

    def forward(self, source: Tensor) -> Tensor:
        height, width = source.shape[2:]
        made = self.translate(filled_up(source, self.stride))
        return made[..., : self.scale * height, : self.scale * width]


def filled_up(source: Tensor, multiple: int, least: int = 1) -> Tensor:
    """Images whose last row and column are repeated up to a multiple of `multiple` that is at least `least`."""
    missing = [max(-size % multiple, least - size) for size in source.shape[:1:-1]]
    if not any(missing):
        return source
    return F.pad(source, (0, missing[0], 0, missing[1]), mode="replicate")


def around(radius: int) -> Look:
    """A convolution of that radius, which keeps the size."""
    return lambda first, last: (first - radius, last + radius)


def halved(kernel: int) -> Look:
    """A convolution of stride 2 and padding 1."""
    return lambda first, last: (2 * first - 1, 2 * last - 2 + kernel)


def enlarged(scale: int = 2, radius: int = 1) -> Look:
    """Copies of each pixel, then a convolution of that radius; radius 0: a shuffle of channels."""
    return lambda first, last: ((first - radius) // scale, (last + radius) // scale)


def reach_of(looks: Sequence[Look], scale: int, stride: int) -> int:
    """How far an output pixel of layers one after another sees, at the worst of all positions, in source pixels."""
    reach = 0
    for place in range(scale * stride):
        first = last = place
        for look in reversed(looks):
            first, last = look(first, last)
        reach = max(reach, place // scale - first, last - place // scale)
    return reach
