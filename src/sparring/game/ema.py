"""An average of the generator's weights over its recent steps, from which samples are taken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparring.base.fields import Limited, number

__all__ = ["EMA"]


@torch.no_grad()
def recompute_statistics(network: nn.Module, passes: Callable[[], object], count: int) -> None:
    """Replace the running statistics of batch normalisation by their means over `count` forward passes.

    Those of an average of weights are not the average of those of the weights, nor the last ones (Izmailov et al. 2018,
    section 3.2). `passes` runs the network on one batch. Other modules stay in evaluation mode.
    """
    norms = [part for part in network.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
        norm.train()
    try:
        for _ in range(count if norms else 0):
            passes()
    finally:
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
            norm.eval()


@dataclass(frozen=True)
class EMA(Limited):
    """Exponential moving average, with its memory counted in images, so that it means the same at any batch size.

    `half_life` images halve a weight's share; at first the half-life is `ramp_up` times the images seen, so that the
    random start is soon forgotten. The running mean and variance of batch normalisation are averaged like the weights,
    and recomputed before samples are taken (`recompute_statistics`); other buffers (counters, power iterations) are
    copied.

    Source: Yazici et al. 2019; Karras et al. 2020 (ramp-up), section B.
    """

    half_life: float = number(10_000, low=0, open_low=True, whole=False)
    ramp_up: float = number(0.05, low=0, open_low=True)

    def start(self, network: nn.Module) -> nn.Module:
        """A copy of the network for `update` to move; in evaluation mode."""
        return copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, average: nn.Module, network: nn.Module, seen: int, batch_size: int) -> None:
        """Move the average towards the network after a step of `batch_size` images; `seen` images came before."""
        half_life = min(self.half_life, max(seen, 1) * self.ramp_up)
        share = 1 - 0.5 ** (batch_size / half_life)
        for mean, weight in zip(average.parameters(), network.parameters()):
            mean.lerp_(weight, share)
        for part, module in zip(average.modules(), network.modules()):
            normalises = isinstance(module, _BatchNorm)
            for own, buffer in zip(part.buffers(recurse=False), module.buffers(recurse=False)):
                if normalises and buffer.is_floating_point():
                    own.lerp_(buffer, share)
                else:
                    own.copy_(buffer)
