"""Images at their original sizes, from which patches are cut."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from sparring.base.workers import workers
from sparring.data.store.mapped import CHUNK, is_large, release


@dataclass(frozen=True)
class Whole:
    """Images of any size.

    Attributes:
        images: uint8 [C, H, W] each, with the same C; in memory, or views of one mapped file.
        unit: positions of patches are counted in steps of this many pixels from the upper left corner; for the larger
            side of pairs of different sizes it is the ratio of the sizes, otherwise 1.
    """

    images: tuple[Tensor, ...]
    unit: int = 1

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def sizes(self) -> Tensor:
        """int64 [N, 2]: heights and widths."""
        return torch.tensor([image.shape[1:] for image in self.images]).view(-1, 2)

    def in_order(self) -> Iterator[Tensor]:
        """Yield all images; pages of large mapped files are released about every 16 MiB."""
        held = 0
        for image in self.images:
            yield image
            held += image.nbytes
            if held > CHUNK or image is self.images[-1]:
                release(image)
                held = 0

    def rooms(self, indices: Tensor, patch: tuple[int, ...]) -> Tensor:
        """Numbers of positions (down, across) of a patch (height, width) in the images at `indices`: int64 [n, 2]."""
        return (self.sizes[indices] - torch.tensor(patch)) // self.unit + 1

    def cut(self, indices: Tensor, places: Tensor, patch: tuple[int, ...]) -> Tensor:
        """Copy the patches (height, width) at `places`, int64 [n, 2], of the images at `indices`.

        Returns:
            uint8 [n, C, height, width].
        """
        height, width = patch
        found = self.images[0].new_empty((len(indices), len(self.images[0]), height, width))
        large = is_large(self.images[0])
        for row, (index, (top, left)) in enumerate(zip(indices.tolist(), (places * self.unit).tolist())):
            image = self.images[index]
            found[row] = image[:, top : top + height, left : left + width]
            if large:
                release(image)
        return found

    def part(self, indices: Tensor) -> Whole:
        """The images at `indices`, without copying their pixels."""
        return replace(self, images=tuple(self.images[i] for i in indices.tolist()))


def middle(rooms: Tensor) -> Tensor:
    """The middle positions, given the numbers of positions."""
    return (rooms - 1) // 2


def at_random(rooms: Tensor) -> Tensor:
    """Uniformly random positions, given the numbers of positions; uses torch's global generator."""
    return (workers().draw(lambda count: torch.rand(count, *rooms.shape[1:]), len(rooms)).double() * rooms).long()
