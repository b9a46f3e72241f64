"""Torch's optimisers under their own names, with GAN defaults; `Adam(lr=2e-4, betas=(0.5, 0.999))` as text.

Weight decay on the discriminator is `Adam(weight_decay=...)` (in the gradient) or `AdamW(weight_decay=...)`
(decoupled). Either of `betas` may be a schedule over the run, as R3GAN's second one:
`Adam(betas=(0.0, Cosine(0.9, 0.99, finish=0.4)))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import torch
from torch.nn import Parameter

from sparring.base.compat import has_fused
from sparring.base.errors import UserError, check_number
from sparring.base.fields import Limited, checked, number
from sparring.game.schedules import Schedule, Scheduled, value_at

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


Betas: TypeAlias = "tuple[Scheduled, Scheduled]"


class _Optimizer(Limited):
    """A recipe for an optimiser: call it with the parameters."""

    kind: ClassVar[Callable[..., torch.optim.Optimizer]]

    def __call__(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        # one fused kernel instead of a dozen passes over the memory
        fused = {"fused": True} if has_fused(self.kind, parameters) else {}
        fields = dict(vars(self))
        betas = fields.get("betas", ())
        if betas:
            fields["betas"] = tuple(map(float, betas_at(betas, 0.0)))  # torch does not mix whole numbers with others
        optimizer = self.kind(parameters, **fields, **fused)
        if any(isinstance(beta, Schedule) for beta in betas):
            for group in optimizer.param_groups:
                group["betas_over_run"] = betas  # checkpoints leave it out; a resumed run has it from its recipe
        return optimizer


def check_betas(owner: str, name: str, betas: object) -> None:
    """Raise UserError unless `betas` are two numbers or schedules that stay in [0, 1) (schedules are monotone)."""
    if not (isinstance(betas, tuple) and len(betas) == 2):
        raise UserError(f"{owner}: {name}={betas!r} must be two numbers or schedules, such as (0.5, 0.999)")
    for progress in (0.0, 1.0):
        for beta in betas_at(betas, progress):
            check_number(owner, name, beta, low=0)
            if beta >= 1:
                raise UserError(f"{owner}: {name}={betas!r} must be below 1, such as (0.5, 0.999)")


def betas_at(betas: Betas, progress: float) -> tuple[float, float]:
    """The two numbers that hold at `progress`."""
    return value_at(betas[0], progress), value_at(betas[1], progress)


def set_betas(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Give an optimiser the betas that hold at `progress`; one without scheduled betas stays as it is."""
    for group in optimizer.param_groups:
        if "betas_over_run" in group:
            group["betas"] = betas_at(group["betas_over_run"], progress)


@dataclass(frozen=True)
class Adam(_Optimizer):
    """Kingma and Ba 2015. `betas` (0.5, 0.999) are DCGAN's (Radford et al. 2016)."""

    lr: float = number(2e-4, low=0, open_low=True)
    betas: Betas = checked((0.5, 0.999), check_betas)
    eps: float = number(1e-8, low=0)
    weight_decay: float = number(0.0, low=0)
    kind: ClassVar[Callable[..., torch.optim.Optimizer]] = torch.optim.Adam


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter 2019."""

    weight_decay: float = number(1e-2, low=0)
    kind: ClassVar = torch.optim.AdamW


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent."""

    lr: float = number(1e-2, low=0, open_low=True)
    momentum: float = number(0.0, low=0)
    weight_decay: float = number(0.0, low=0)
    kind: ClassVar = torch.optim.SGD


@dataclass(frozen=True)
class RMSprop(_Optimizer):
    """Hinton 2012; the choice of the Wasserstein GAN paper (Arjovsky et al. 2017, algorithm 1)."""

    lr: float = number(5e-5, low=0, open_low=True)
    alpha: float = number(0.99, low=0)
    eps: float = number(1e-8, low=0)
    weight_decay: float = number(0.0, low=0)
    kind: ClassVar = torch.optim.RMSprop
