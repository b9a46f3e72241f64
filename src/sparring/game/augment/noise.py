"""Noise on the critic's inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sparring.game.augment.base import Change, SplitAugment
from sparring.game.schedules import Linear, Scheduled, scheduled, value_at


@dataclass(frozen=True)
class InstanceNoise(SplitAugment):
    """Gaussian noise on the critic's inputs, so that real and fake distributions overlap; `sigma` in input units.
    Images span [-1, 1]. What stands beside an image (a source, a mask) gets no noise. Source: Sønderby et al. 2017,
    section 3; Arjovsky and Bottou 2017, section 3."""

    sigma: Scheduled = scheduled(Linear(start=0.1, end=0.0), low=0)

    def changes(self, images: Tensor, progress: float) -> Sequence[Change]:
        sigma = value_at(self.sigma, progress)
        return [Change(lambda x: x + sigma * torch.randn_like(x), geometric=False)] if sigma else []
