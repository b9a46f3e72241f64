"""Chains of degradations."""

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
    """Degradations applied in the order of `steps`. A `Mask` must be the last.

    UserError: there is no step, a step is no degradation, or a `Mask` is not the last.

    Attributes:
        steps: the degradations.
    """

    steps: tuple[Degradation, ...]

    def __post_init__(self) -> None:
        if not self.steps:
            raise UserError("an empty chain of degradations; write at least one, such as Downscale(4)")
        for step in self.steps:
            if not isinstance(step, Degradation):
                raise UserError(f"{step!r} is no degradation; write Downscale(4) or (Blur(2), Noise(25))")
        if any(isinstance(step, Mask) for step in self.steps[:-1]):
            rest = [repr(step) for step in self.steps if not isinstance(step, Mask)]
            raise UserError(f"a chain has at most one Mask, and it comes last; write ({', '.join([*rest, 'Mask()'])})")

    def __str__(self) -> str:
        return f"({', '.join(map(repr, self.steps))})"  # as in a recipe

    @property
    def scale(self) -> int:
        return math.prod(step.scale for step in self.steps)

    def shape(self, shape: Sequence[int]) -> Shape:
        check_divisible(f"{self}", shape, self.scale)  # first, so that the error names a size for the whole chain
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
    """Make one degradation of one or several. UserError: see `Chain`."""
    steps = degradations if isinstance(degradations, tuple) else (degradations,)
    chain = Chain(steps)
    return steps[0] if len(steps) == 1 else chain


def mask_of(degradation: Degradation) -> Mask | None:
    """Its final `Mask`, or None."""
    last = degradation.steps[-1] if isinstance(degradation, Chain) else degradation
    return last if isinstance(last, Mask) else None
