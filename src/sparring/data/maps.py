"""Maps of class ids: one number for each pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.data.layout import IGNORED


def one_hot(maps: Tensor, count: int) -> Tensor:
    """uint8 ids [n, 1, H, W] -> float32 [n, count, H, W] of 0 and 1; all 0 where an id is no class."""
    return (maps == torch.arange(count, device=maps.device).view(1, -1, 1, 1)).float()


def coloured(maps: Tensor, count: int) -> Tensor:
    """uint8 ids [n, 1, H, W] -> uint8 [n, 3, H, W] in fixed colours, the same for an id in every set; no class: black.

    Source: the colours of PASCAL VOC (Everingham et al. 2010), without its black.
    """
    colours = torch.zeros(256, 3, dtype=torch.uint8)
    colours[:count] = torch.tensor([_colour(i + 1) for i in range(count)], dtype=torch.uint8)
    return colours.to(maps.device)[maps[:, 0].long()].movedim(-1, 1)


def _colour(number: int) -> list[int]:
    """The bits of a number, dealt out to red, green and blue, the lowest of them for half of the brightness."""
    return [sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]


def count_ignored(maps: Tensor) -> int:
    """How many pixels belong to no class."""
    return int((maps == IGNORED).sum())
