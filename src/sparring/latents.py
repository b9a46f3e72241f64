"""Distributions of the generator's input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from sparring.errors import check_number

__all__ = ["Normal", "Uniform"]


class Latent(Protocol):
    """A distribution over vectors of `size` numbers."""

    @property
    def size(self) -> int: ...

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw [count, size], float32 on the CPU (the same numbers on every device)."""


@dataclass(frozen=True)
class _Latent:
    size: int = 100

    def __post_init__(self) -> None:
        check_number(type(self).__name__, "size", self.size, low=1, whole=True)


class Normal(_Latent):
    """Independent standard normal numbers."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, self.size, generator=generator)


class Uniform(_Latent):
    """Independent uniform numbers in [-1, 1)."""

    def __call__(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(count, self.size, generator=generator) * 2 - 1
