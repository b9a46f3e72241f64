"""Penalties on a player, one value per sample, and constraints on its weights.

`weight` may be a number or a schedule over the run. A lazy penalty (`every=k`) is applied each k-th step with k times
its weight (Karras et al. 2020, section 3.1). Penalties on the gradient of a critic treat samples as independent: a
critic with batch normalisation breaks that (Gulrajani et al. 2017, section 4).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from torch import Tensor, nn

from sparring.errors import check_number
from sparring.schedules import Scheduled, check_scheduled

if TYPE_CHECKING:
    from sparring.game import Match

__all__ = ["R1", "R2", "GradientPenalty", "WeightClip"]

Side = Literal["discriminator", "generator"]


@dataclass(frozen=True)
class Penalty(ABC):
    """A term of one player, added every `every` steps."""

    weight: Scheduled = 10.0
    every: int = 1
    side: ClassVar[Side] = "discriminator"

    def __post_init__(self) -> None:
        check_scheduled(type(self).__name__, "weight", self.weight, low=0)
        check_number(type(self).__name__, "every", self.every, low=1, whole=True)

    @abstractmethod
    def __call__(self, match: Match) -> Tensor:
        """A match of n samples -> [n], before the weight."""


class Constraint(ABC):
    """A projection of one player's weights after each of its steps."""

    side: ClassVar[Side] = "discriminator"

    @abstractmethod
    def project(self, network: nn.Module) -> None: ...


def differentiable(images: Tensor) -> Tensor:
    """Images with respect to which logits can be differentiated; a graph that they carry is kept."""
    return images if images.requires_grad else images.detach().requires_grad_()


def input_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """d(sum of logits) / d(images), one row per sample: [n, features]."""
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.flatten(1)


@dataclass(frozen=True)
class R1(Penalty):
    """Half the squared norm of the critic's gradient at real samples: weight (gamma) times 1/2 |grad D(x)|^2.

    Source: Mescheder et al. 2018, equation 9.
    """

    def __call__(self, match: Match) -> Tensor:
        return input_gradient(match.real_logits, match.real).square().sum(1) / 2


@dataclass(frozen=True)
class R2(Penalty):
    """R1 at generated samples. Source: Mescheder et al. 2018, equation 10."""

    def __call__(self, match: Match) -> Tensor:
        return input_gradient(match.fake_logits, match.fake).square().sum(1) / 2


@dataclass(frozen=True)
class GradientPenalty(Penalty):
    """(|grad D(x)| - target)^2 at a random point between each real and its fake, per sample.

    Source: Gulrajani et al. 2017 (WGAN-GP), equation 3, weight 10, target 1; target 0 is Thanh-Tung et al. 2019.
    """

    target: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("GradientPenalty", "target", self.target, low=0)

    def __call__(self, match: Match) -> Tensor:
        real = match.real
        share = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
        between = differentiable(torch.lerp(real, match.fake, share))
        gradient = input_gradient(match.critic(between, match.real_condition), between)
        norm = (gradient.square().sum(1) + 1e-12).sqrt()  # the root's own gradient is infinite at 0
        return (norm - self.target).square()


@dataclass(frozen=True)
class WeightClip(Constraint):
    """Clip each weight to [-limit, limit] after each step: the first, crude Lipschitz control.

    Source: Arjovsky et al. 2017, algorithm 1 (limit 0.01).
    """

    limit: float = 0.01

    def __post_init__(self) -> None:
        check_number("WeightClip", "limit", self.limit, low=0, open_low=True)

    def project(self, network: nn.Module) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.clamp_(-self.limit, self.limit)
