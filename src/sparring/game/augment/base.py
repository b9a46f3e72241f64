"""Base classes and helpers of augmentations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sparring.base.device import sent
from sparring.base.errors import UserError
from sparring.base.fields import Limited
from sparring.base.workers import workers

SMALLEST = 8


class Augment(Protocol):
    """A random, differentiable change of the critic's inputs."""

    def __call__(self, images: Tensor, progress: float) -> Tensor: ...


@dataclass(frozen=True)
class Change:
    """One change of n images. Its random parameters are drawn once, so it is the same for image and condition.

    Attributes:
        apply: images [n, C, H, W] of any C -> the same shape.
        geometric: it moves or hides pixels, so it also applies to a spatial condition; False for colour and noise.
    """

    apply: Callable[[Tensor], Tensor]
    geometric: bool


class SplitAugment(Limited, ABC):
    """An augmentation made of changes: geometric ones also apply to a spatial condition (source image, mask, map)."""

    @abstractmethod
    def changes(self, images: Tensor, progress: float) -> Sequence[Change]:
        """Draw the changes of these images, in the order of application."""

    def __call__(self, images: Tensor, progress: float) -> Tensor:
        return self.together(images, None, progress)[0]

    def together(self, images: Tensor, condition: Tensor | None, progress: float) -> tuple[Tensor, Tensor | None]:
        """Augment images [n, C, H, W] and their spatial condition [n, K, H, W], if any."""
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
        raise UserError(f"{owner} needs {wanted}; leave augment empty, or use InstanceNoise()")


def computable(images: Tensor) -> Tensor:
    """Images in fp32 or better: bf16 outputs of autocast are too coarse for resampling."""
    return images.to(torch.promote_types(images.dtype, torch.float32))


def per_image(parameters: Tensor, images: Tensor) -> Tensor:
    """Parameters [n, ...] in the images' dtype, on their device; drawn on the CPU, so equal on every device."""
    return sent(parameters.to(images.dtype), images.device)  # dtype first: not every device supports float64


def drawn(chance: float | Tensor, values: Tensor) -> Tensor:
    """Values [..., n], each replaced by 0 (no change) with probability 1 - `chance`; one draw per image.

    The values are on the CPU. A `chance` on another device is not read: the result is there, in its dtype.
    """
    shares = uniform(values.shape[-1])
    if isinstance(chance, Tensor):
        both = torch.cat([shares.to(values)[None], values.reshape(-1, len(shares))])  # for one transfer
        both = sent(both.to(chance.dtype), chance.device)
        shares, values, chance = both[0].float(), both[1:].view(values.shape), chance.float()
    return torch.where(shares < chance, values, 0.0)


def normal(count: int, *size: int) -> Tensor:
    """Standard normal numbers [*size, count] in float64, because maps are multiplied with one another."""
    return workers().draw(lambda n: torch.randn(*size, n, dtype=torch.float64), count, dim=-1)


def uniform(count: int, *size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform numbers in [0, 1), [*size, count]."""
    return workers().draw(lambda n: torch.rand(*size, n, dtype=dtype), count, dim=-1)


def integers(low: int, high: int, count: int) -> Tensor:
    """Uniform whole numbers from `low` to below `high`, [count]."""
    return workers().draw(lambda n: torch.randint(low, high, (n,)), count)


def noise_like(samples: Tensor) -> Tensor:
    """Standard normal numbers for samples [n, ...], in their dtype and memory format, on their device."""
    return workers().draw_like(torch.randn_like, samples)


def pick(images: Tensor, places: Tensor) -> Tensor:
    """Pixels of images [n, C, h, w] at flat row-major indices [n, H, W]: [n, C, H, W].

    A gather is differentiable twice; `grid_sample` is not.
    """
    wanted = places.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    return images.flatten(2).gather(2, wanted).reshape(*images.shape[:2], *places.shape[1:])
