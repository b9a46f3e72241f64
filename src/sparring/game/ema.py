"""Exponential moving average (EMA) of the generator's weights, from which samples are drawn."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from sparring.base.fields import Limited, number

__all__ = ["EMA"]


@torch.no_grad()
def recompute_statistics(network: nn.Module, passes: Callable[[], object], count: int) -> None:
    """Replace running statistics of batch normalisation by their means over `count` calls of `passes`.

    Averaged weights need their own statistics: neither averaged nor latest statistics fit them (Izmailov et al. 2018,
    section 3.2). `passes` runs the network on one batch. All other modules stay in evaluation mode.
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
    """Exponential moving average of the generator's weights; pictures, samples and scores use it.

    After a step of b images: `average += (1 - 0.5^(b / h)) * (weights - average)` with
    `h = min(half_life, ramp_up * images seen)`. Counting in images makes it independent of the batch size.
    It averages out the oscillation of the players. It does not repair mode collapse.

    Running statistics of batch normalisation are averaged like weights and recomputed before samples are drawn
    (`recompute_statistics`). Other buffers (counters, power iterations) are copied.

    Attributes:
        half_life: images after which the share of old weights is halved; above 0. Longer averages are smoother and
            follow later.
        ramp_up: upper limit of the half-life relative to the images seen so far; above 0. It makes the average forget
            the random initial weights.

    Source: Yazici et al. 2019; Karras et al. 2020, section B (ramp-up).
    """

    half_life: float = number(10_000, low=0, open_low=True, whole=False)
    ramp_up: float = number(0.05, low=0, open_low=True)

    def start(self, network: nn.Module) -> nn.Module:
        """Initial average: a copy of the network in evaluation mode."""
        return copy.deepcopy(network).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, average: nn.Module, network: nn.Module, seen: int, batch_size: int) -> None:
        """Update the average in place after a step of `batch_size` images; `seen` counts the images before it."""
        half_life = min(self.half_life, max(seen, 1) * self.ramp_up)
        share = 1 - 0.5 ** (batch_size / half_life)
        means: list[Tensor] = list(average.parameters())
        weights: list[Tensor] = list(network.parameters())
        for part, module in zip(average.modules(), network.modules()):
            normalises = isinstance(module, _BatchNorm)
            for own, buffer in zip(part.buffers(recurse=False), module.buffers(recurse=False)):
                if normalises and buffer.is_floating_point():
                    means.append(own)
                    weights.append(buffer)
                else:
                    own.copy_(buffer)
        torch._foreach_lerp_(means, weights, share)  # on CUDA, one kernel for many tensors
