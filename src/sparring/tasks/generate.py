"""From noise to samples: the task of the first GAN."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sparring.errors import UserError
from sparring.game import Batch, Images, Match, Terms
from sparring.latents import Latent, Normal


@dataclass(frozen=True)
class Generate:
    """The generator turns latent vectors into samples like the data's. Source: Goodfellow et al. 2014.

    Batches hold `real` [n, C, H, W] in [-1, 1] (or points [n, D]) and `latent` [n, latent.size].
    """

    latent: Latent = Normal(100)

    def __post_init__(self) -> None:
        if not callable(self.latent) or not isinstance(getattr(self.latent, "size", None), int):
            raise UserError(f"Generate: latent={self.latent!r}; write Normal(100) or Uniform(100)")

    def generator_context(self, shape: Sequence[int]) -> tuple[object, ...]:
        return (self.latent.size, shape)

    def discriminator_context(self, shape: Sequence[int]) -> tuple[object, ...]:
        return (shape,)

    def draw(self, count: int, generator: torch.Generator | None = None) -> Batch:
        return {"latent": self.latent(count, generator)}

    def generate(self, network: nn.Module, batch: Batch) -> Images:
        return {"fake": network(batch["latent"]).float()}

    def matches(self, network: nn.Module, batch: Batch, made: Images) -> dict[str, Match]:
        return {"adversarial": Match(network, batch["real"], made["fake"])}

    def extra_terms(self, batch: Batch, made: Images) -> Terms:
        return {}
