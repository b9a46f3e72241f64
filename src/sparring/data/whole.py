"""Images at their own sizes, of which patches are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from sparring.data.mapped import CHUNK, is_mapped, release


@dataclass(frozen=True)
class Whole:
    """Images of any size, one after another in one tensor. "Places" are in steps of `unit` pixels from the upper left.

    Attributes:
        pixels: uint8 [bytes]: each image's [C, H, W], in memory or mapped.
        channels: C.
        starts: int64 [N], where in `pixels` each image begins.
        sizes: int64 [N, 2], the height and width of each.
        unit: patches begin at multiples of it: 1; more for the larger side of pairs whose sizes differ.
    """

    pixels: Tensor
    channels: int
    starts: Tensor
    sizes: Tensor
    unit: int = 1

    def __len__(self) -> int:
        return len(self.sizes)

    @cached_property
    def _table(self) -> list[list[int]]:
        """[start, height, width] of each image, as plain numbers, which are faster to get at."""
        return torch.cat([self.starts[:, None], self.sizes], 1).tolist()

    def image(self, index: int) -> Tensor:
        """One image, uint8 [C, H, W]: a view."""
        start, height, width = self._table[index]
        return self.pixels[start : start + self.channels * height * width].view(self.channels, height, width)

    def images(self) -> Iterator[Tensor]:
        """All of them, in order; what was mapped for them is given back from time to time."""
        held = 0
        for index in range(len(self)):
            image = self.image(index)
            yield image
            held += image.nbytes
            if held > CHUNK:
                release(self.pixels)
                held = 0
        release(self.pixels)

    def rooms(self, indices: Tensor, patch: tuple[int, int]) -> Tensor:
        """How many places there are for a patch (height, width) in some images, down and across: int64 [n, 2]."""
        return (self.sizes[indices] - torch.tensor(patch)) // self.unit + 1

    def cut(self, indices: Tensor, places: Tensor, patch: tuple[int, int]) -> Tensor:
        """The patches (height, width) at places [n, 2] of some images: uint8 [n, C, height, width], a copy."""
        (height, width), release_each = patch, is_mapped(self.pixels)
        found = self.pixels.new_empty((len(indices), self.channels, height, width))
        corners = (places * self.unit).tolist()
        for row, (index, (top, left)) in enumerate(zip(indices.tolist(), corners)):
            found[row] = self.image(index)[:, top : top + height, left : left + width]
            if release_each:
                release(self.pixels)
        return found

    def part(self, indices: Tensor) -> Whole:
        """The images at `indices`; the pixels are shared."""
        return replace(self, starts=self.starts[indices], sizes=self.sizes[indices])


def middle(rooms: Tensor) -> Tensor:
    """The places in the middle."""
    return (rooms - 1) // 2


def at_random(rooms: Tensor) -> Tensor:
    """Places by torch's global random numbers, each equally likely."""
    return (torch.rand(rooms.shape).double() * rooms).long()
