"""Torch's optimisers with GAN defaults, written as text: `Adam(lr=2e-4, betas=(0.5, 0.999))`.

Weight decay is `Adam(weight_decay=...)` (added to the gradient) or `AdamW(weight_decay=...)` (decoupled). Each of
`betas` may be a schedule over the run, such as R3GAN's `Adam(betas=(0.0, Cosine(0.9, 0.99, finish=0.4)))`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import ClassVar, TypeAlias

import torch
from torch.nn import Parameter

from sparring.base.compat import has_fused
from sparring.base.errors import UserError, check_number
from sparring.base.fields import Limited, checked, number
from sparring.game.schedules import Schedule, Scheduled, value_at

__all__ = ["SGD", "Adam", "AdamW", "RMSprop"]


DECORATED = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")  # methods of torch's optimisers
Betas: TypeAlias = "tuple[Scheduled, Scheduled]"


@cache
def uncompiled(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A sub-class of the same name, with the same results, that never loads torch's compiler.

    Torch decorates some methods of its optimisers for use in compiled functions. The decorators import the compiler,
    which takes longer than building a game. The sub-class calls the methods without them.
    """
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in DECORATED}
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), {**methods, "__doc__": kind.__doc__, "__module__": kind.__module__})


class _Optimizer(Limited):
    """Settings of an optimiser; call it with the parameters to build one."""

    kind: ClassVar[Callable[..., torch.optim.Optimizer]]

    def __call__(self, parameters: Iterable[Parameter]) -> torch.optim.Optimizer:
        parameters = list(parameters)
        # one fused kernel instead of a dozen passes over memory
        fused = {"fused": True} if has_fused(self.kind, parameters) else {}
        fields = dict(vars(self))
        betas = fields.get("betas", ())
        if betas:
            fields["betas"] = tuple(map(float, betas_at(betas, 0.0)))  # torch rejects a mix of int and float
        optimizer = self.kind(parameters, **fields, **fused)
        if any(isinstance(beta, Schedule) for beta in betas):
            for group in optimizer.param_groups:
                group["betas_over_run"] = betas  # not saved: a resumed run reads it from its recipe
        return optimizer


def check_betas(owner: str, name: str, betas: object) -> None:
    """Raise UserError unless `betas` are two numbers or (monotone) schedules within [0, 1)."""
    if not (isinstance(betas, tuple) and len(betas) == 2):
        raise UserError(f"{owner}: {name}={betas!r} must be two numbers or schedules, such as (0.5, 0.999)")
    for progress in (0.0, 1.0):
        for beta in betas_at(betas, progress):
            check_number(owner, name, beta, low=0)
            if beta >= 1:
                raise UserError(f"{owner}: {name}={betas!r} must be below 1, such as (0.5, 0.999)")


def betas_at(betas: Betas, progress: float) -> tuple[float, float]:
    """Both values at `progress`."""
    return value_at(betas[0], progress), value_at(betas[1], progress)


def set_betas(optimizer: torch.optim.Optimizer, progress: float) -> None:
    """Set the scheduled betas of an optimiser for `progress`; without schedules, do nothing."""
    for group in optimizer.param_groups:
        if "betas_over_run" in group:
            group["betas"] = betas_at(group["betas_over_run"], progress)


@dataclass(frozen=True)
class Adam(_Optimizer):
    """Adam, with DCGAN's learning rate and betas (Radford et al. 2016); the usual choice for GANs.

    Attributes:
        lr: learning rate; above 0.
        betas: decay rates of the two moments, in [0, 1); numbers or schedules. A first one of 0 switches momentum off.
        eps: added to the root of the second moment; from 0.
        weight_decay: L2 penalty added to the gradient; from 0.

    Source: Kingma and Ba 2015.
    """

    lr: float = number(2e-4, low=0, open_low=True)
    betas: Betas = checked((0.5, 0.999), check_betas)
    eps: float = number(1e-8, low=0)
    weight_decay: float = number(0.0, low=0)
    kind: ClassVar[Callable[..., torch.optim.Optimizer]] = uncompiled(torch.optim.Adam)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay; on the discriminator, it limits the growth of weights and logits.

    Attributes:
        lr: learning rate; above 0.
        betas: decay rates of the two moments, in [0, 1); numbers or schedules. A first one of 0 switches momentum off.
        eps: added to the root of the second moment; from 0.
        weight_decay: share of a weight subtracted per step, times `lr`; from 0.

    Source: Loshchilov and Hutter 2019.
    """

    weight_decay: float = number(1e-2, low=0)
    kind: ClassVar = uncompiled(torch.optim.AdamW)


@dataclass(frozen=True)
class SGD(_Optimizer):
    """Stochastic gradient descent.

    Attributes:
        lr: learning rate; above 0.
        momentum: decay rate of the averaged gradient; from 0 (off).
        weight_decay: L2 penalty added to the gradient; from 0.
    """

    lr: float = number(1e-2, low=0, open_low=True)
    momentum: float = number(0.0, low=0)
    weight_decay: float = number(0.0, low=0)
    kind: ClassVar = uncompiled(torch.optim.SGD)


@dataclass(frozen=True)
class RMSprop(_Optimizer):
    """RMSprop, as in the Wasserstein GAN with weight clipping (Arjovsky et al. 2017, algorithm 1).

    Attributes:
        lr: learning rate; above 0.
        alpha: decay rate of the averaged squared gradient; from 0.
        eps: added to the root of that average; from 0.
        weight_decay: L2 penalty added to the gradient; from 0.

    Source: Hinton 2012.
    """

    lr: float = number(5e-5, low=0, open_low=True)
    alpha: float = number(0.99, low=0)
    eps: float = number(1e-8, low=0)
    weight_decay: float = number(0.0, low=0)
    kind: ClassVar = uncompiled(torch.optim.RMSprop)
