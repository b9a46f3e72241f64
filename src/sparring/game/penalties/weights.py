"""Penalties and constraints on a player's weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparring.base.fields import number
from sparring.game.penalties.base import Constraint, WeightPenalty
from sparring.game.schedules import Scheduled


@dataclass(frozen=True)
class Orthogonal(WeightPenalty):
    """|W W^T with its diagonal set to 0|^2 summed over the weight matrices W of a player, one row an output channel.
    Rows stay orthogonal while their lengths are free. Biases, normalisation and embeddings are left alone. Of a
    convolution in groups, rows of the same group are compared: others see other channels. Source: Brock et al. 2019
    (BigGAN), equation 3 (weight 1e-4, on the generator)."""

    weight: Scheduled = 1e-4

    def __call__(self, network: nn.Module) -> Tensor:
        products = [matrix @ matrix.mT for matrix in _matrices(network)]
        return torch.stack([(p - p.diagonal(dim1=1, dim2=2).diag_embed()).square().sum() for p in products]).sum()


def _matrices(network: nn.Module) -> list[Tensor]:
    """Of each layer [groups, outputs of a group, what each sees]."""
    found = []
    for layer in network.modules():
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            found.append(layer.weight.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(2))
        elif isinstance(layer, nn.modules.conv._ConvNd):
            found.append(layer.weight.unflatten(0, (layer.groups, -1)).flatten(2))
        elif isinstance(layer, nn.Linear):
            found.append(layer.weight[None])
    return found


@dataclass(frozen=True)
class WeightClip(Constraint):
    """Clip each weight to [-limit, limit] after each step: the first, crude Lipschitz control. Source: Arjovsky et al.
    2017, algorithm 1 (limit 0.01)."""

    limit: float = number(0.01, low=0, open_low=True)

    def project(self, network: nn.Module) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.clamp_(-self.limit, self.limit)
