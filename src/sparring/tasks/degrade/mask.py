"""Masks of missing pixels, for inpainting."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from sparring.base.errors import UserError
from sparring.base.fields import Limited, choice, number
from sparring.tasks.degrade.base import Degraded, Shape, check_shape

KINDS = ("free-form", "centre", "random")
LEAST = 8  # pixels per side
MOST_LINES, MOST_ANGLE = 5, 4.0  # of a stroke; the angle in radians
DRAWN = 16  # strokes per draw of random numbers


@dataclass(frozen=True)
class Mask(Limited):
    """Missing pixels, for inpainting: they are 0 (mid grey) in the source; all others keep every bit.

    | kind | missing pixels |
    | --- | --- |
    | "free-form" | brush strokes, until `share` of the area is covered (Yu et al. 2019, algorithm 1) |
    | "centre" | a square in the middle (Pathak et al. 2016) |
    | "random" | a rectangle anywhere, at most twice as high or wide as the image, relative to its proportions |

    Lines of a stroke are at most half as long as the image's shorter side; its brush is 1/16 to 1/8 of that side wide.
    UserError: an image is smaller than 8x8, or `size` too large for it.

    Attributes:
        kind: "free-form", "centre" or "random".
        share: share of the area that is missing, above 0, at most 0.9; strokes exceed it by part of a line.
        size: side of the square or rectangle, or largest width of the brush, in pixels; 0 derives it from `share` or
            from the image's size.
    """

    kind: str = choice("free-form", KINDS)
    share: float = number(0.25, low=0, high=0.9, open_low=True)
    size: int = number(0, low=0)
    scale: ClassVar[int] = 1

    def shape(self, shape: Sequence[int]) -> Shape:
        channels, height, width = check_shape("Mask()", shape, least=LEAST)
        shorter = min(height, width)
        most = shorter // 2 if self.kind == "free-form" else shorter - (height == width)  # some pixel stays known
        if self._side(height, width) > most:
            what = f"a {'brush' if self.kind == 'free-form' else 'hole'} of {self._side(height, width)} pixels"
            fix = f"write Mask(kind={self.kind!r}, size={most}) or less"
            raise UserError(f"{self}: {what} is too large for images of {width}x{height}; {fix}")
        return channels, height, width

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        self.shape(images.shape[1:])
        mask = self.draw(len(images), images.shape[2], images.shape[3], generator).to(images.device, images.dtype)
        return Degraded(images.masked_fill(mask.bool(), 0.0), mask)

    def draw(self, count: int, height: int, width: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw masks [count, 1, height, width], float32 on the CPU, 1 at missing pixels."""
        if self.kind == "centre":
            side = torch.tensor([self._side(height, width)])
            mask = _rectangle(height, width, (height - side) // 2, (width - side) // 2, side, side)
            return mask.repeat(count, 1, 1, 1)
        if self.kind == "random":
            return self._rectangles(count, height, width, generator)
        return torch.stack([self._strokes(height, width, generator) for _ in range(count)])[:, None]

    def fill(self, made: Tensor, images: Tensor, mask: Tensor) -> Tensor:
        """Take `made` where the mask is not 0, and `images` bit by bit elsewhere; [n, C, H, W]."""
        return torch.where(mask.bool(), made.to(images.dtype), images)

    def _side(self, height: int, width: int) -> int:
        """Side of the square, rectangle or brush in pixels; 0 if not fixed."""
        if self.size or self.kind != "centre":
            return self.size
        return max(1, round(math.sqrt(self.share * height * width)))

    def _rectangles(self, count: int, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        ratio, top, left = torch.rand(3, count, dtype=torch.float64, generator=generator)
        if self.size:
            high = wide = torch.full((count,), self.size)
        else:
            low, most = max(0.5, self.share), min(2.0, 1 / self.share)  # range in which neither side is too long
            ratio = low * (most / low) ** ratio
            sides = ((height, ratio), (width, 1 / ratio))
            high, wide = ((side * (self.share * r).sqrt()).round().long().clamp(1, side) for side, r in sides)
            wide = torch.where(
                (high == height) & (wide == width), width - 1, wide
            )  # rounding up covered the whole image
        top, left = ((u * (side - long + 1)).long() for u, side, long in ((top, height, high), (left, width, wide)))
        return _rectangle(height, width, top, left, high, wide)

    def _strokes(self, height: int, width: int, generator: torch.Generator | None) -> Tensor:
        """One mask [height, width]."""
        area = height * width
        while True:
            canvas = Image.new("L", (width, height))
            pen = ImageDraw.Draw(canvas)
            for (x, y), (to_x, to_y), brush in self._lines(height, width, generator):
                pen.line((x, y, to_x, to_y), fill=1, width=round(brush))
                if brush >= 3:  # a brush is round
                    for end_x, end_y in ((x, y), (to_x, to_y)):
                        box = [end_x - brush / 2, end_y - brush / 2, end_x + brush / 2, end_y + brush / 2]
                        pen.ellipse(box, fill=1)
                covered = area - canvas.histogram()[0]
                if covered >= self.share * area:
                    break
            if covered < area:  # in a tiny image, one line may cover all pixels: draw again
                return torch.from_numpy(np.array(canvas)).float()

    def _lines(
        self, height: int, width: int, generator: torch.Generator | None
    ) -> Iterator[tuple[tuple[float, float], tuple[float, float], float]]:
        """An infinite sequence of stroke lines: (x, y) of both ends, and the brush's width, in pixels."""
        shorter = min(height, width)
        widest = self.size or max(1.0, shorter / 8)
        while True:
            for numbers in torch.rand(DRAWN, 6 + 2 * MOST_LINES, generator=generator).tolist():
                x, y, brush = numbers[0] * width, numbers[1] * height, max(1.0, widest * (1 + numbers[2]) / 2)
                across, down = (1 if number < 0.5 else -1 for number in numbers[3:5])  # the algorithm's flips
                for i in range(1 + int(numbers[5] * MOST_LINES)):
                    angle, length = numbers[6 + 2 * i] * MOST_ANGLE, numbers[7 + 2 * i] * shorter / 2
                    angle = angle if i % 2 else 2 * math.pi - angle
                    end = (x + across * length * math.sin(angle), y + down * length * math.cos(angle))
                    yield (x, y), end, brush
                    x, y = end


def _rectangle(height: int, width: int, top: Tensor, left: Tensor, high: Tensor, wide: Tensor) -> Tensor:
    """Masks [n, 1, height, width] that are 1 within one rectangle each; corners and sides are int64 [n]."""

    def within(length: int, start: Tensor, long: Tensor) -> Tensor:
        places = torch.arange(length)[None]
        return (places >= start[:, None]) & (places < (start + long)[:, None])

    return (within(height, top, high)[:, None, :, None] & within(width, left, wide)[:, None, None]).float()
