"""Images at their own sizes, of which patches are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from sparring.data.store.mapped import CHUNK, is_mapped, release


@dataclass(frozen=True)
class Whole:
    """Images of any size. Places of patches are counted in steps of `unit` pixels from the upper left corner."""

    images: tuple[Tensor, ...]  # uint8 [C, H, W] each, of the same C; in memory, or views of one mapped file
    unit: int = 1  # of the larger side of pairs whose sizes differ: how many times larger it is

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sizes(self) -> Tensor:
        """int64 [N, 2]: heights and widths."""
        return torch.tensor([image.shape[1:] for image in self.images]).view(-1, 2)

    def in_order(self) -> Iterator[Tensor]:
        """All images; what was mapped for them is given back from time to time."""
        held = 0
        for image in self.images:
            yield image
            held += image.nbytes
            if held > CHUNK or image is self.images[-1]:
                release(image)
                held = 0

    def rooms(self, indices: Tensor, patch: tuple[int, ...]) -> Tensor:
        """How many places there are for a patch (height, width) in some images, down and across: int64 [n, 2]."""
        return (self.sizes[indices] - torch.tensor(patch)) // self.unit + 1

    def cut(self, indices: Tensor, places: Tensor, patch: tuple[int, ...]) -> Tensor:
        """The patches (height, width) at places, int64 [n, 2], of some images: uint8 [n, C, height, width], a copy."""
        height, width = patch
        found = self.images[0].new_empty((len(indices), len(self.images[0]), height, width))
        mapped = is_mapped(self.images[0])
        for row, (index, (top, left)) in enumerate(zip(indices.tolist(), (places * self.unit).tolist())):
            image = self.images[index]
            found[row] = image[:, top : top + height, left : left + width]
            if mapped:
                release(image)
        return found

    def part(self, indices: Tensor) -> Whole:
        """The images at `indices`; their pixels are shared."""
        return replace(self, images=tuple(self.images[i] for i in indices.tolist()))


def middle(rooms: Tensor) -> Tensor:
    """The places in the middle."""
    return (rooms - 1) // 2


def at_random(rooms: Tensor) -> Tensor:
    """Places by torch's global random numbers, each equally likely."""
    return (torch.rand(rooms.shape).double() * rooms).long()
