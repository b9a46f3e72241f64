"""Torch's optimisers under their own names, with GAN defaults; `Adam(lr=2e-4, betas=(0.5, 0.999))` as text.

Weight decay on the discriminator is `Adam(weight_decay=...)` (in the gradient) or `AdamW(weight_decay=...)`
(decoupled).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import Parameter

from sparring.errors import UserError, check_number

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


class _Optimizer:
    """A recipe for an optimiser: call it with the parameters."""

    kind: ClassVar[Callable[..., torch.optim.Optimizer]]

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field, value in vars(self).items():
            if field == "betas" and not (isinstance(value, tuple) and len(value) == 2):
                raise UserError(f"{name}: betas={value!r} must be two numbers, such as (0.5, 0.999)")
            for number in value if field == "betas" else (value,):
                check_number(name, field, number, low=0, open_low=field == "lr")
                if field == "betas" and number >= 1:
                    raise UserError(f"{name}: betas={value!r} must be below 1")

    def __call__(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        # One fused kernel instead of a dozen passes over the memory; torch has it for CPU, CUDA and MPS.
        fused = {"fused": True} if "fused" in inspect.signature(self.kind).parameters else {}
        return self.kind(list(parameters), **vars(self), **fused)


@dataclass(frozen=True)
class Adam(_Optimizer):
    """Kingma and Ba 2015. `betas` (0.5, 0.999) are DCGAN's (Radford et al. 2016)."""

    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0
    kind: ClassVar = torch.optim.Adam


@dataclass(frozen=True)
class AdamW(_Optimizer):
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter 2019."""

    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.999)
    eps: float = 1e-8
    weight_decay: float = 1e-2
    kind: ClassVar = torch.optim.AdamW


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent."""

    lr: float = 1e-2
    momentum: float = 0.0
    weight_decay: float = 0.0
    kind: ClassVar = torch.optim.SGD


@dataclass(frozen=True)
class RMSprop(_Optimizer):
    """Hinton 2012; the choice of the Wasserstein GAN paper (Arjovsky et al. 2017, algorithm 1)."""

    lr: float = 5e-5
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    kind: ClassVar = torch.optim.RMSprop
