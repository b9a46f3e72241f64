"""Penalties on the slope of a critic. They treat samples as independent: a critic with batch normalisation breaks that
(Gulrajani et al. 2017, section 4). Of a critic of patches, the slope is as `input_gradient` says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparring.base.fields import number
from sparring.game.match import Match, Side
from sparring.game.penalties.base import Penalty


def differentiable(images: Tensor) -> Tensor:
    """Images with respect to which logits can be differentiated; a graph that they carry is kept."""
    return images if images.requires_grad else images.detach().requires_grad_()


def input_gradient(logits: Tensor, images: Tensor) -> Tensor:
    """d(logit) / d(image), one row per sample: [n, features]. Of P logits a sample, which judge its patches, that of
    their sum over the root of P. Where patches do not overlap, its square is the mean of their own; where they do, they
    add up. So a weight hardly depends on the size of images that are much larger than a patch."""
    patches = logits[:1].numel()
    (gradient,) = torch.autograd.grad(logits.sum() / math.sqrt(patches), images, create_graph=True)
    return gradient.flatten(1)


@dataclass(frozen=True)
class R1(Penalty):
    """Half the squared norm of the critic's gradient at real samples: weight (gamma) times 1/2 |grad D(x)|^2. Of a
    critic of P patches, D(x) is the sum of their logits over the root of P. Source: Mescheder et al. 2018, equation 9.
    """

    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        return input_gradient(match.real_logits, match.real).square().sum(1) / 2


@dataclass(frozen=True)
class R2(Penalty):
    """R1 at generated samples. Source: Mescheder et al. 2018, equation 10."""

    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        return input_gradient(match.fake_logits, match.fake).square().sum(1) / 2


def slope_penalty(match: Match, samples: Tensor, target: float) -> Tensor:
    """(|grad D(x)| - target)^2 at other samples than the match's, one value each: [n]."""
    samples = differentiable(samples)
    gradient = input_gradient(match.judge(samples, match.real_condition).logits, samples)
    norm = (gradient.square().sum(1) + 1e-12).sqrt()  # the root's own gradient is infinite at 0
    return (norm - target).square()


@dataclass(frozen=True)
class GradientPenalty(Penalty):
    """(|grad D(x)| - target)^2 at a random point between each real and its fake, per sample. Source: Gulrajani et al.
    2017 (WGAN-GP), equation 3, weight 10, target 1; target 0 is Thanh-Tung et al. 2019."""

    target: float = number(1.0, low=0)
    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        real = match.real
        share = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
        return slope_penalty(match, torch.lerp(real, match.fake, share), self.target)


@dataclass(frozen=True)
class Dragan(Penalty):
    """(|grad D(x + noise)| - target)^2 near each real sample, with Gaussian noise of standard deviation `sigma` in
    input units (images span [-1, 1]). Source: Kodali et al. 2017, equation 2 (weight 10, target 1)."""

    target: float = number(1.0, low=0)
    sigma: float = number(0.1, low=0)
    differentiates: ClassVar[bool] = True

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        real = match.real.detach()
        return slope_penalty(match, real + self.sigma * torch.randn_like(real), self.target)


def suggested_gamma(height: int, width: int, batch: int) -> float:
    """R1's weight: 0.0002 * resolution^2 / batch. Source: StyleGAN2-ADA's automatic setting."""
    return 0.0002 * height * width / batch
