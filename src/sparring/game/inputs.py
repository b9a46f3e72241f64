"""Distributions of the generator's input: latents, and the codes of InfoGAN, which its samples shall show so that the
critic can read them off (Chen et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.fields import Limited, number

__all__ = ["Categorical", "Continuous", "Normal", "Uniform"]


class Latent(Protocol):
    """A distribution over vectors of `size` numbers."""

    @property
    def size(self) -> int: ...

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw [count, size], float32 on the CPU (the same numbers on every device)."""


@dataclass(frozen=True)
class _Latent(Limited):
    size: int = number(100, low=1)


class Normal(_Latent):
    """Independent standard normal numbers."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.size, generator=generator)


class Uniform(_Latent):
    """Independent uniform numbers in [-1, 1)."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(count, self.size, generator=generator) * 2 - 1


class Code(Protocol):
    """A distribution of codes, and how well a critic's reading of one fits it."""

    @property
    def width(self) -> int:
        """How many of the generator's inputs it takes."""

    @property
    def parameters(self) -> int:
        """How many numbers the critic says of it."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw [count, width], float32 on the CPU."""

    def surprise(self, parameters: Tensor, code: Tensor) -> Tensor:
        """-log Q(code | sample), up to a constant: parameters [n, parameters], codes [n, width] -> [n]."""


@dataclass(frozen=True)
class _Code(Limited):
    """`size` numbers for the generator, and as many that the critic says of them."""

    size: int
    weight: float = number(1.0, low=0)

    @property
    def width(self) -> int:
        return self.size

    @property
    def parameters(self) -> int:
        return self.size


@dataclass(frozen=True)
class Categorical(_Code):
    """One of `size` values, equally likely, as a one-hot vector; the critic gives a logit each."""

    size: int = number(10, low=2)

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return F.one_hot(torch.randint(self.size, (count,), generator=generator), self.size).float()

    def surprise(self, parameters: Tensor, code: Tensor) -> Tensor:
        return self.weight * F.cross_entropy(parameters, code, reduction="none")


@dataclass(frozen=True)
class Continuous(_Code):
    """`size` independent numbers, uniform in [-1, 1); the critic gives the mean of a Gaussian of variance 1 for each,
    the authors' choice for uniform codes. `weight` scales it against other codes."""

    size: int = number(2, low=1)

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(count, self.size, generator=generator) * 2 - 1

    def surprise(self, parameters: Tensor, code: Tensor) -> Tensor:
        return self.weight * (parameters - code).square().sum(1) / 2
