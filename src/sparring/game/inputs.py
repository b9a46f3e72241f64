"""Distributions of the generator's input: latents, and the codes of InfoGAN (Chen et al. 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.fields import Limited, number

__all__ = ["Categorical", "Continuous", "Normal", "Uniform"]


class Latent(Protocol):
    """A distribution of latent vectors with `size` numbers."""

    @property
    def size(self) -> int: ...

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw [count, size], float32 on the CPU, so equal for every device."""


@dataclass(frozen=True)
class _Latent(Limited):
    size: int = number(100, low=1)


class Normal(_Latent):
    """Latent vectors of independent standard normal numbers, `z ~ N(0, I)`.

    Attributes:
        size: numbers of a latent vector; from 1.
    """

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.size, generator=generator)


class Uniform(_Latent):
    """Latent vectors of independent numbers, uniform in [-1, 1).

    Attributes:
        size: numbers of a latent vector; from 1.
    """

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(count, self.size, generator=generator) * 2 - 1


class Code(Protocol):
    """A distribution of codes, and the likelihood of a code under the critic's prediction Q."""

    @property
    def width(self) -> int:
        """Number of generator inputs."""

    @property
    def parameters(self) -> int:
        """Number of critic outputs that predict it."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw [count, width], float32 on the CPU."""

    def surprise(self, parameters: Tensor, code: Tensor) -> Tensor:
        """`-log Q(code | sample)`, up to a constant: parameters [n, parameters], codes [n, width] -> [n]."""


@dataclass(frozen=True)
class _Code(Limited):
    """A code with `size` generator inputs and `size` critic outputs."""

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
    """A categorical code (InfoGAN): one of `size` equally likely values, one-hot. The critic predicts `size` logits.

    Attributes:
        size: number of values; from 2.
        weight: factor of this code's `-log Q`; from 0.

    Source: Chen et al. 2016.
    """

    size: int = number(10, low=2)

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return F.one_hot(torch.randint(self.size, (count,), generator=generator), self.size).float()

    def surprise(self, parameters: Tensor, code: Tensor) -> Tensor:
        return self.weight * F.cross_entropy(parameters, code, reduction="none")


@dataclass(frozen=True)
class Continuous(_Code):
    """A continuous code (InfoGAN): `size` independent numbers, uniform in [-1, 1).

    The critic predicts the mean of a Gaussian of variance 1: `-log Q = |prediction - code|^2 / 2`, up to a constant.

    Attributes:
        size: number of values; from 1.
        weight: factor of this code's `-log Q`; from 0. Below 1 weakens it relative to categorical codes.

    Source: Chen et al. 2016.
    """

    size: int = number(2, low=1)

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(count, self.size, generator=generator) * 2 - 1

    def surprise(self, parameters: Tensor, code: Tensor) -> Tensor:
        return self.weight * (parameters - code).square().sum(1) / 2
