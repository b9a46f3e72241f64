"""Degradations that follow one another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.tasks.degrade.base import Degradation, Degraded, Shape, check_divisible, check_shape, cropped
from sparring.tasks.degrade.mask import Mask


@dataclass(frozen=True)
class Chain:
    """Degradations in the order of `steps`; each is given the source that the one before it has made. A mask is of the
    last source's size, and the pixels that it leaves are those of the steps before it. UserError: there is no step, a
    step is no degradation, or a Mask is not the last one."""

    steps: tuple[Degradation, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise UserError("a chain of no degradations; write at least one, such as Downscale(4)")
        for step in self.steps:
            if not isinstance(step, Degradation):
                raise UserError(f"{step!r} is no degradation; write such as Downscale(4) or (Blur(2), Noise(25))")
        if any(isinstance(step, Mask) for step in self.steps[:-1]):
            rest = [repr(step) for step in self.steps if not isinstance(step, Mask)]
            raise UserError(f"a chain has at most one Mask, and it comes last; write ({', '.join([*rest, 'Mask()'])})")

    def __str__(self) -> str:
        return f"({', '.join(map(repr, self.steps))})"  # as it is written in a text

    @property
    def scale(self) -> int:
        return math.prod(step.scale for step in self.steps)

    def shape(self, shape: Sequence[int]) -> Shape:
        check_divisible(f"{self}", shape, self.scale)  # before a step names a size that suits it alone
        for step in self.steps:
            shape = step.shape(shape)
        channels, height, width = shape
        return channels, height, width

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        check_shape(f"{self}", images.shape[1:], least=self.scale)
        made = Degraded(cropped(images, self.scale))
        for step in self.steps:
            made = step(made.source, generator)
        return made


def chained(degradations: Degradation | tuple[Degradation, ...]) -> Degradation:
    """One degradation: a single one as it is, a tuple of them as a chain; raises as `Chain`."""
    steps = degradations if isinstance(degradations, tuple) else (degradations,)
    chain = Chain(steps)
    return steps[0] if len(steps) == 1 else chain


def mask_of(degradation: Degradation) -> Mask | None:
    """The mask that it ends with, if it does."""
    last = degradation.steps[-1] if isinstance(degradation, Chain) else degradation
    return last if isinstance(last, Mask) else None
