"""Self-attention over the positions of a map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparring.networks.layers import maybe_spectral


class SelfAttention(nn.Module):
    """maps + gate * attention(maps), where each position attends to all positions.

    Queries, keys and values are 1x1 convolutions to an eighth of the channels. The gate starts at 0, so the layer
    starts as the identity. Source: Zhang et al. 2019 (SAGAN), equations 1 to 3.
    """

    def __init__(self, channels: int, spectral_norm: bool = False) -> None:
        super().__init__()
        inner = max(channels // 8, 1)
        self.query, self.key, self.value = (
            maybe_spectral(nn.Conv2d(channels, inner, 1, bias=False), spectral_norm) for _ in range(3)
        )
        self.out = maybe_spectral(nn.Conv2d(inner, channels, 1, bias=False), spectral_norm)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """[n, C, H, W] -> [n, C, H, W]."""
        query, key, value = (layer(maps).flatten(2) for layer in (self.query, self.key, self.value))
        # Torch's fused attention cannot be differentiated twice.
        weights = (query.mT @ key).softmax(-1)  # [n, positions, positions]; each row sums to 1
        attended = value @ weights.mT
        output: Tensor = self.out(attended.unflatten(2, maps.shape[2:]))
        return maps + self.gate * output


def nearest_level(sizes: Sequence[tuple[int, int]], side: int) -> int:
    """Index of the first of `sizes` whose smaller side is nearest to `side`; -1 for side 0: no attention."""
    return min(range(len(sizes)), key=lambda level: abs(min(sizes[level]) - side)) if side else -1
