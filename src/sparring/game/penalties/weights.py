"""Penalties and constraints on a network's weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sparring.base.fields import number
from sparring.game.penalties.base import Constraint, WeightPenalty
from sparring.game.schedules import Scheduled


@dataclass(frozen=True)
class Orthogonal(WeightPenalty):
    """Orthogonal regularisation (BigGAN): `weight * sum over W of |W W^T * (1 - I)|^2`.

    W is the weight matrix of each linear and convolutional layer, with one row for each output channel. Rows become
    orthogonal; their lengths are free. It keeps filters different. In grouped convolutions only rows of the same group
    are compared. Biases, normalisation and embeddings are not penalised.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.
        side: the player, "generator" or "discriminator".

    Source: Brock et al. 2019 (BigGAN), equation 3 (weight 1e-4, on the generator).
    """

    weight: Scheduled = 1e-4

    def __call__(self, network: nn.Module) -> Tensor:
        products = [matrix @ matrix.mT for matrix in _matrices(network)]
        return torch.stack([(p - p.diagonal(dim1=1, dim2=2).diag_embed()).square().sum() for p in products]).sum()


def _matrices(network: nn.Module) -> list[Tensor]:
    """Weight matrices [groups, outputs per group, inputs per output] of all layers."""
    matrices = []
    for layer in network.modules():
        if isinstance(layer, nn.modules.conv._ConvTransposeNd):
            matrices.append(layer.weight.unflatten(0, (layer.groups, -1)).transpose(1, 2).flatten(2))
        elif isinstance(layer, nn.modules.conv._ConvNd):
            matrices.append(layer.weight.unflatten(0, (layer.groups, -1)).flatten(2))
        elif isinstance(layer, nn.Linear):
            matrices.append(layer.weight[None])
    return matrices


@dataclass(frozen=True)
class WeightClip(Constraint):
    """Weight clipping: sets each weight of D to the range [-limit, limit] after each update of D.

    The Lipschitz constraint of the first Wasserstein GAN. It learns slowly and makes D nearly linear;
    `GradientPenalty` is usually better.

    Attributes:
        limit: largest absolute weight; above 0. Too large diverges, too small starves G of gradient.

    Source: Arjovsky et al. 2017, algorithm 1 (limit 0.01).
    """

    limit: float = number(0.01, low=0, open_low=True)

    def project(self, network: nn.Module) -> None:
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.clamp_(-self.limit, self.limit)
