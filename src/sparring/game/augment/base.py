"""What every augmentation is, and what those that change images share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.base.fields import Limited

SMALLEST = 8


class Augment(Protocol):
    """A differentiable change of the critic's inputs."""

    def __call__(self, images: Tensor, progress: float) -> Tensor: ...


@dataclass(frozen=True)
class Change:
    """One change of n images, with its random numbers drawn: whatever it is applied to changes alike."""

    apply: Callable[[Tensor], Tensor]  # images [n, C, H, W] of any C -> the same shape
    geometric: bool  # it moves or hides pixels, whatever they stand for; colour and noise are not geometric


class SplitAugment(Limited, ABC):
    """An augmentation that consists of changes. A spatial condition (source image, mask, label map) shares the
    geometric ones with its image; the others are the image's alone."""

    @abstractmethod
    def changes(self, images: Tensor, progress: float) -> Sequence[Change]:
        """Draw the changes of these images, in the order in which they apply."""

    def __call__(self, images: Tensor, progress: float) -> Tensor:
        return self.together(images, None, progress)[0]

    def together(self, images: Tensor, condition: Tensor | None, progress: float) -> tuple[Tensor, Tensor | None]:
        """Change images [n, C, H, W] and, where they have one, their spatial condition [n, K, H, W]."""
        for change in self.changes(images, progress):
            images = change.apply(computable(images))
            if condition is not None and change.geometric:
                condition = change.apply(computable(condition))
        return images, condition


def check_images(owner: str, images: Tensor) -> None:
    """Raise UserError unless these are images [n, C, H, W] of at least 8x8."""
    shape = list(images.shape[1:])
    if len(shape) != 3 or min(shape[1:]) < SMALLEST:
        wanted = f"images (C, H, W) of at least {SMALLEST}x{SMALLEST}, not samples of shape {shape}"
        raise UserError(f"{owner} changes {wanted}; leave augment empty, or use InstanceNoise()")


def computable(images: Tensor) -> Tensor:
    """Images in fp32 or better: under autocast, a network's output may be bf16, too coarse to be moved about."""
    return images.to(torch.promote_types(images.dtype, torch.float32))


def per_image(parameters: Tensor, images: Tensor) -> Tensor:
    """Parameters [n, ...] (drawn on the CPU, so they are the same on every device) in the images' type and place."""
    return parameters.to(images.dtype).to(images.device)  # in this order: not every device knows float64


def drawn(chance: float, values: Tensor) -> Tensor:
    """Values [..., n] for a share `chance` of the n images, and for the others 0, which stands for no change."""
    return torch.where(torch.rand(values.shape[-1]) < chance, values, 0.0)


def normal(*size: int) -> Tensor:
    """Standard normal numbers, fine enough for maps that are multiplied with one another."""
    return torch.randn(*size, dtype=torch.float64)


def pick(images: Tensor, places: Tensor) -> Tensor:
    """The pixels at places [n, H, W], counted row by row, of each image [n, C, h, w]: [n, C, H, W]. A gather, whose
    backward pass can itself be differentiated; that of `grid_sample` cannot."""
    wanted = places.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, wanted).reshape(*images.shape[:2], *places.shape[1:])
