"""Adversarial losses: pure functions of logits, one value per logit, any logit shape.

`real` and `fake` are what the critic says of real and generated images, before any sigmoid. `discriminator` is what
the discriminator minimises, `generator` what the generator minimises.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.errors import UserError
from sparring.base.fields import Limited, number
from sparring.game.schedules import Linear, Scheduled, at, scheduled

__all__ = ["Hinge", "LeastSquares", "Minimax", "NonSaturating", "RelativisticAverage", "RelativisticPairing"]
__all__ += ["TopK", "Wasserstein"]


class Loss(Protocol):
    """What both players minimise."""

    @property
    def relative(self) -> bool:
        """Does the generator's side compare with the real logits?"""

    @property
    def undecided(self) -> float | None:
        """The logit of a critic that cannot tell real from fake; None where only differences of logits count."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Logits of any (equal) shape -> one value per logit."""

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Logits of any shape -> one value per logit; `real` is read only where `relative`."""


def equilibrium(loss: Loss) -> tuple[float, float]:
    """(discriminator's, generator's) loss when the critic cannot tell real from fake: the line to compare with."""
    loss = at(loss, 0.0)
    logit = torch.full((2,), loss.undecided or 0.0)
    return loss.discriminator(logit, logit).mean().item(), loss.generator(logit, logit).mean().item()


@dataclass(frozen=True)
class _CrossEntropy(Limited):
    """Binary cross-entropy on logits, with one-sided label smoothing: reals are aimed at 1 - smoothing / 2 (Salimans et
    al. 2016, section 3.4, with the scale of TF-GAN: 0.25 aims at 0.875)."""

    smoothing: float = number(0.0, low=0, high=1)
    relative: ClassVar[bool] = False

    @property
    def undecided(self) -> float:
        target = 1 - self.smoothing / 2  # the best D says target * p / (p + q), so target / 2 where p = q
        return math.log(target / (2 - target))

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        # -t log s(x) - (1 - t) log(1 - s(x)) = softplus(-x) + (1 - t) x
        return F.softplus(-real) + self.smoothing / 2 * real + F.softplus(fake)


class Minimax(_CrossEntropy):
    """The original game, E log D(x) + E log(1 - D(G(z))); the generator's side saturates when D is sure. Source:
    Goodfellow et al. 2014, equation 1."""

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -F.softplus(fake)  # log(1 - sigmoid(fake))


class NonSaturating(_CrossEntropy):
    """The modified minimax loss: the generator minimises -log D(G(z)), whose gradient lives while D is sure. Source:
    Goodfellow et al. 2014, section 3 (end)."""

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return F.softplus(-fake)


@dataclass(frozen=True)
class Wasserstein:
    """Difference of critic means: the dual of the earth mover's distance if the critic is 1-Lipschitz, for which
    GradientPenalty or WeightClip bound its slope. Source: Arjovsky et al. 2017, equation 2."""

    relative: ClassVar[bool] = False
    undecided: ClassVar[None] = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake


@dataclass(frozen=True)
class LeastSquares(Limited):
    """Squared distance of the logits to targets, with the factor 1/2. Source: Mao et al. 2017, equation 2."""

    real_target: float = number(1.0)
    fake_target: float = number(0.0)
    relative: ClassVar[bool] = False

    @property
    def undecided(self) -> float:
        return (self.real_target + self.fake_target) / 2

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return ((real - self.real_target).square() + (fake - self.fake_target).square()) / 2

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return (fake - self.real_target).square() / 2


@dataclass(frozen=True)
class Hinge:
    """Margins of 1 on either side for D, the plain critic for G. Source: Lim and Ye 2017; Miyato et al. 2018, (17)."""

    relative: ClassVar[bool] = False
    undecided: ClassVar[float] = 0.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake


@dataclass(frozen=True)
class RelativisticPairing:
    """Each real is compared with the fake at its place in the batch: softplus(-(real - fake)) for D, reversed for G.
    With R1 and R2 it converges locally and was not seen to drop modes. Source: Jolicoeur-Martineau 2018; Huang et al.
    2024 (R3GAN), equation 2."""

    relative: ClassVar[bool] = True
    undecided: ClassVar[None] = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return F.softplus(_needed(real) - fake)


@dataclass(frozen=True)
class RelativisticAverage:
    """Each logit is compared with the other side's mean over the batch. The value at each place is the sum of the
    real's and the fake's cross-entropy, like the other losses here. Source: Jolicoeur-Martineau 2018, section 4.2."""

    relative: ClassVar[bool] = True
    undecided: ClassVar[None] = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-(real - _batch_mean(fake))) + F.softplus(fake - _batch_mean(real))

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        real = _needed(real)
        return F.softplus(real - _batch_mean(fake)) + F.softplus(-(fake - _batch_mean(real)))


@dataclass(frozen=True)
class TopK(Limited):
    """Another loss, with which the generator learns only of the share of its samples that the critic likes most. The
    value of the others is 0, and that of the best is scaled so that the mean over the batch is the mean over the best.
    A sample of a patch critic is liked by the mean of its logits. Micro-batches choose each for themselves. Source:
    Sinha et al. 2020, equation 3; they let the share fall from 1 to between 0.5 and 0.75."""

    loss: Loss = NonSaturating()
    share: Scheduled = scheduled(Linear(start=1.0, end=0.5), low=0.01, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.loss, TopK) or not callable(getattr(self.loss, "generator", None)):
            raise UserError(f"TopK: loss={self.loss!r} is not a loss; write TopK(loss=Hinge())")

    @property
    def relative(self) -> bool:
        return self.loss.relative

    @property
    def undecided(self) -> float | None:
        return self.loss.undecided

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.loss.discriminator(real, fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        assert not callable(self.share), "schedules.at tells the share that holds now"
        liked = fake.detach().reshape(len(fake), -1).mean(1)
        kept = max(1, round(self.share * len(fake)))
        chosen = torch.zeros_like(liked).index_fill(0, liked.topk(kept).indices, len(fake) / kept)
        return self.loss.generator(real, fake) * chosen.view(-1, *[1] * (fake.dim() - 1))


def _batch_mean(logits: Tensor) -> Tensor:
    return logits.mean(dim=0, keepdim=True) if logits.dim() else logits


def _needed(real: Tensor | None) -> Tensor:
    if real is None:
        raise ValueError("a relativistic loss compares with the real logits: call generator(real, fake)")
    return real
