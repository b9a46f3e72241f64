"""Gradient penalties, on the critic's gradient with respect to its input.

They treat samples as independent, which batch normalisation in the critic violates (Gulrajani et al. 2017, section 4).
For patch critics, see `input_gradient`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.base.fields import number
from sparring.base.workers import workers
from sparring.game.augment.base import noise_like
from sparring.game.match import Match, Side
from sparring.game.penalties.base import Penalty


def differentiable(images: Tensor) -> Tensor:
    """Images that require a gradient; their graph, if any, is kept."""
    return images if images.requires_grad else images.detach().requires_grad_()


def input_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """Gradient of the logits with respect to the images, flattened: [n, features].

    For a critic with P patch logits per sample: the gradient of `sum(logits) / sqrt(P)`. If patches do not overlap, its
    squared norm is the mean of the patches' squared norms; overlapping patches add up. A penalty's weight then hardly
    depends on the size of images much larger than a patch.
    """
    patches = logits[:1].numel()
    (gradient,) = torch.autograd.grad(logits.sum() / math.sqrt(patches), images, create_graph=True)
    return gradient.flatten(1)


@dataclass(frozen=True)
class R1(Penalty):
    """R1, the zero-centred gradient penalty at real samples: `weight / 2 * |grad D(x)|^2`.

    It flattens D at the data, which damps the oscillation of the players. Use it with any loss. With too large a
    weight D cannot distinguish samples: accuracy near 50 %, blurred samples. For a critic with P patch logits per
    sample, `D(x) = sum(logits) / sqrt(P)`.

    Attributes:
        weight: gamma; from 0, a number or a schedule. A start is `0.0002 * height * width / batch` (`sparring data`
            computes it), or 1 for patch critics.
        every: steps between two applications, from 1; the weight is multiplied by it. Larger values save
            time at nearly the same effect.

    Source: Mescheder et al. 2018, equation 9.
    """

    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        return input_gradient(match.real_logits, match.real).square().sum(1) / 2


@dataclass(frozen=True)
class R2(Penalty):
    """R2, the zero-centred gradient penalty at generated samples: `weight / 2 * |grad D(G(z))|^2`.

    Use it together with `R1` if generated samples are far from the data, as R3GAN does. For a critic with P patch
    logits per sample, `D(x) = sum(logits) / sqrt(P)`.

    Attributes:
        weight: gamma; from 0, a number or a schedule. Usually the same as that of `R1`.
        every: steps between two applications, from 1; the weight is multiplied by it.

    Source: Mescheder et al. 2018, equation 10.
    """

    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        return input_gradient(match.fake_logits, match.fake).square().sum(1) / 2


def slope_penalty(match: Match, samples: Tensor, target: float) -> Tensor:
    """`(|grad D(x)| - target)^2` at samples that are not the match's own, with the real condition: [n]."""
    samples = differentiable(samples)
    gradient = input_gradient(match.judge(samples, match.real_condition).logits, samples)
    norm = (gradient.square().sum(1) + 1e-12).sqrt()  # the root's derivative is infinite at 0
    return (norm - target).square()


@dataclass(frozen=True)
class GradientPenalty(Penalty):
    """WGAN-GP: `weight * (|grad D(x)| - target)^2` at a random point x between each real sample and a fake.

    It makes the critic of the `Wasserstein` loss 1-Lipschitz. It costs a second backward pass at each step, and is
    meaningless with batch normalisation in D. For a critic with P patch logits per sample,
    `D(x) = sum(logits) / sqrt(P)`.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.
        target: norm of the gradient that is aimed at; from 0. 0 is the zero-centred form of Thanh-Tung et al. 2019.

    Source: Gulrajani et al. 2017 (WGAN-GP), equation 3 (weight 10, target 1).
    """

    target: float = number(1.0, low=0)
    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        real = match.real
        ones, dtype, device = [1] * (real.dim() - 1), real.dtype, real.device
        share = workers().draw(lambda count: torch.rand(count, *ones, dtype=dtype, device=device), len(real))
        return slope_penalty(match, torch.lerp(real, match.fake, share), self.target)


@dataclass(frozen=True)
class Dragan(Penalty):
    """DRAGAN: `weight * (|grad D(x + sigma * N(0, 1))| - target)^2` near each real sample x.

    It constrains D around the data only and needs no generated samples. For a critic with P patch logits per sample,
    `D(x) = sum(logits) / sqrt(P)`.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.
        target: norm of the gradient that is aimed at; from 0.
        sigma: standard deviation of the noise in input units (images span [-1, 1]); from 0.

    Source: Kodali et al. 2017, equation 2 (weight 10, target 1).
    """

    target: float = number(1.0, low=0)
    sigma: float = number(0.1, low=0)
    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        real = match.real.detach()
        return slope_penalty(match, real + self.sigma * noise_like(real), self.target)


def suggested_gamma(height: int, width: int, batch: int) -> float:
    """Initial weight of R1: `0.0002 * height * width / batch`. Source: StyleGAN2-ADA's automatic setting."""
    return 0.0002 * height * width / batch
