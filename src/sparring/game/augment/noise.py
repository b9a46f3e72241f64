"""Instance noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sparring.game.augment.base import Change, SplitAugment, noise_like
from sparring.game.schedules import Linear, Scheduled, scheduled, value_at


@dataclass(frozen=True)
class InstanceNoise(SplitAugment):
    """Gaussian noise on the critic's inputs: `x + sigma * N(0, 1)`, for real and generated samples.

    It makes the two distributions overlap, so that D's gradient stays informative. Use it against a D that separates
    them perfectly at the start. Let it end at 0, or generated samples stay noisy. A spatial condition gets no noise.

    Attributes:
        sigma: standard deviation in input units (images span [-1, 1]); from 0, a number or a schedule.

    Source: Sønderby et al. 2017, section 3; Arjovsky and Bottou 2017, section 3.
    """

    sigma: Scheduled = scheduled(Linear(start=0.1, end=0.0), low=0)

    def changes(self, images: Tensor, progress: float) -> Sequence[Change]:
        sigma = value_at(self.sigma, progress)
        return [Change(lambda x: x + sigma * noise_like(x), geometric=False)] if sigma else []
