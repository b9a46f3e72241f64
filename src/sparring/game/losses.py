"""Adversarial losses: pure functions of logits, one value per logit, any logit shape.

r and f are the critic's logits of real and generated samples, before any sigmoid; s is the sigmoid, and
`softplus(x) = log(1 + exp x)`. D minimises `discriminator`, G minimises `generator`, averaged over the batch.
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
from sparring.base.workers import workers
from sparring.game.schedules import Linear, Scheduled, at, scheduled

__all__ = ["Hinge", "LeastSquares", "Minimax", "NonSaturating", "RelativisticAverage", "RelativisticPairing"]
__all__ += ["TopK", "Wasserstein"]


class Loss(Protocol):
    """The loss functions of both players."""

    @property
    def relative(self) -> bool:
        """The generator's loss needs the real logits."""

    @property
    def undecided(self) -> float | None:
        """Logit of a critic that cannot distinguish real from fake; None if only differences of logits count."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Logits of equal shape -> one value per logit."""

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Logits of any shape -> one value per logit; `real` is needed only if `relative`."""


def equilibrium(loss: Loss) -> tuple[float, float]:
    """Discriminator's and generator's loss when the critic cannot distinguish real from fake."""
    loss = at(loss, 0.0)
    logit = torch.full((2,), loss.undecided or 0.0)
    return loss.discriminator(logit, logit).mean().item(), loss.generator(logit, logit).mean().item()


@dataclass(frozen=True)
class _CrossEntropy(Limited):
    """Binary cross-entropy on logits with one-sided label smoothing."""

    smoothing: float = number(0.0, low=0, high=1)
    relative: ClassVar[bool] = False

    @property
    def undecided(self) -> float:
        target = 1 - self.smoothing / 2  # the optimal D is target * p / (p + q), so target / 2 for p = q
        return math.log(target / (2 - target))

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        # -t log s(x) - (1 - t) log(1 - s(x)) = softplus(-x) + (1 - t) x
        return F.softplus(-real) + self.smoothing / 2 * real + F.softplus(fake)


class Minimax(_CrossEntropy):
    """Minimax loss of the original GAN: `min_G max_D E log D(x) + E log(1 - D(G(z)))`.

    D minimises `softplus(-r) + softplus(f)`, G minimises `-softplus(f) = log(1 - s(f))`.
    The generator's gradient `-s(f)` vanishes when D recognises fakes. Use it to study that; train with `NonSaturating`.

    Attributes:
        smoothing: one-sided label smoothing, in [0, 1]: D's target for reals is `1 - smoothing / 2` (0.25: 0.875).
            It adds `smoothing / 2 * r` to D's loss.

    Source: Goodfellow et al. 2014, equation 1; smoothing: Salimans et al. 2016, section 3.4, with TF-GAN's scale.
    """

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -F.softplus(fake)  # log(1 - sigmoid(fake))


class NonSaturating(_CrossEntropy):
    """Non-saturating loss: G maximises `log D(G(z))`; the default.

    D minimises `softplus(-r) + softplus(f)`, G minimises `softplus(-f) = -log s(f)`.
    The fixed point is that of `Minimax`, but the generator's gradient `-s(-f)` is largest when D recognises fakes.
    Combine it with a penalty such as `R1`: without one, a strong D still leads to mode collapse.

    Attributes:
        smoothing: one-sided label smoothing, in [0, 1]: D's target for reals is `1 - smoothing / 2` (0.25: 0.875).
            It adds `smoothing / 2 * r` to D's loss.

    Source: Goodfellow et al. 2014, section 3 (end); smoothing: Salimans et al. 2016, section 3.4, with TF-GAN's scale.
    """

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return F.softplus(-fake)


@dataclass(frozen=True)
class Wasserstein:
    """Wasserstein loss: the difference of the critic's means on real and generated samples.

    D minimises `f - r`, G minimises `-f`. For a 1-Lipschitz critic this is the dual of the earth mover's distance.
    Use it with `GradientPenalty` or `WeightClip`, which bound the critic's slope, and several turns of D
    (`Alternating(n_critic=5)`). Without them it diverges.

    Source: Arjovsky et al. 2017, equation 2.
    """

    relative: ClassVar[bool] = False
    undecided: ClassVar[None] = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake


@dataclass(frozen=True)
class LeastSquares(Limited):
    """Least-squares loss: squared distance of the logits from targets.

    D minimises `((r - real_target)^2 + (f - fake_target)^2) / 2`, G minimises `(f - real_target)^2 / 2`.
    Gradients grow with the distance from the target. Usual for image translation; may overshoot at high learning rates.
    CycleGAN and CUT have no factor 1/2: halve the weights of their other terms.

    Attributes:
        real_target: target logit of real samples for D, of generated samples for G.
        fake_target: target logit of generated samples for D.

    Source: Mao et al. 2017, equation 2.
    """

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
    """Hinge loss: D stops at a margin of 1 on each side.

    D minimises `relu(1 - r) + relu(1 + f)`, G minimises `-f`. Usual with spectral normalisation.

    Source: Lim and Ye 2017; Miyato et al. 2018, equation 17.
    """

    relative: ClassVar[bool] = False
    undecided: ClassVar[float] = 0.0

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return -fake


@dataclass(frozen=True)
class RelativisticPairing:
    """Relativistic pairing loss (R3GAN): compares each real sample with the fake at its index in the batch.

    D minimises `softplus(f - r)`, G minimises `softplus(r - f)`.
    Use it with `R1` and `R2`: then training converges locally, and one mode of fakes cannot satisfy D. Without them it
    does not converge.

    Source: Jolicoeur-Martineau 2018; Huang et al. 2024 (R3GAN), equation 2.
    """

    relative: ClassVar[bool] = True
    undecided: ClassVar[None] = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        return F.softplus(_required(real) - fake)


@dataclass(frozen=True)
class RelativisticAverage:
    """Relativistic average loss: compares each logit with the mean logit of the other side over the batch.

    D minimises `softplus(mean(f) - r) + softplus(f - mean(r))`,
    G minimises `softplus(r - mean(f)) + softplus(mean(r) - f)`.
    The means need the whole batch: micro-batches give a slightly different gradient. Means are taken for each patch
    separately.

    Source: Jolicoeur-Martineau 2018, section 4.2, as the sum of both sides instead of half of it.
    """

    relative: ClassVar[bool] = True
    undecided: ClassVar[None] = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-(real - _batch_mean(fake))) + F.softplus(fake - _batch_mean(real))

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        real = _required(real)
        return F.softplus(real - _batch_mean(fake)) + F.softplus(-(fake - _batch_mean(real)))


@dataclass(frozen=True)
class TopK(Limited):
    """Top-k training: the generator learns only from its samples with the highest logits.

    D minimises `loss`. G minimises the mean of `loss` over the `k = round(share * n)` samples with the highest logits;
    for patch critics, the highest mean logits. Other samples have the value 0. Bad samples then no longer pull on G.
    Begin with a share of 1, or G learns from noise. Each micro-batch selects its own samples.

    Attributes:
        loss: the loss of both players; any except `TopK`.
        share: share of samples used, in [0.01, 1], a number or a schedule. The paper lowers it from 1 to 0.5 to 0.75.

    Source: Sinha et al. 2020, equation 3.
    """

    loss: Loss = NonSaturating()
    share: Scheduled = scheduled(Linear(start=1.0, end=0.5), low=0.01, high=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.loss, TopK) or not callable(getattr(self.loss, "generator", None)):
            raise UserError(f"TopK: loss={self.loss!r} must be a loss other than TopK; write TopK(loss=Hinge())")

    @property
    def relative(self) -> bool:
        return self.loss.relative

    @property
    def undecided(self) -> float | None:
        return self.loss.undecided

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return self.loss.discriminator(real, fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        assert not callable(self.share), "schedules.at replaces the schedule by its current value"
        scores = fake.detach().reshape(len(fake), -1).mean(1)
        kept = max(1, round(self.share * len(fake)))
        factors = torch.zeros_like(scores).index_fill(0, scores.topk(kept).indices, len(fake) / kept)
        return self.loss.generator(real, fake) * factors.view(-1, *[1] * (fake.dim() - 1))


def _batch_mean(logits: Tensor) -> Tensor:
    return workers().mean(logits.mean(dim=0, keepdim=True) if logits.dim() else logits)


def _required(real: Tensor | None) -> Tensor:
    if real is None:
        raise ValueError("a relativistic loss needs the real logits: call generator(real, fake)")
    return real
