"""Noise on the critic's inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.game.schedules import Linear, Scheduled, check_scheduled, value_at


@dataclass(frozen=True)
class InstanceNoise:
    """Gaussian noise on the critic's inputs, so that real and fake distributions overlap; `sigma` in input units.

    Images span [-1, 1]. Source: Sønderby et al. 2017, section 3; Arjovsky and Bottou 2017, section 3.
    """

    sigma: Scheduled = Linear(start=0.1, end=0.0)

    def __post_init__(self) -> None:
        check_scheduled("InstanceNoise", "sigma", self.sigma, low=0)

    def __call__(self, images: Tensor, progress: float) -> Tensor:
        sigma = value_at(self.sigma, progress)
        return images + sigma * torch.randn_like(images) if sigma else images
