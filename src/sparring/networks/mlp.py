"""Multilayer perceptrons for small images and for points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from sparring.errors import UserError, check_number
from sparring.networks.layers import maybe_spectral

Shape = Sequence[int]


class MLPGenerator(nn.Module):
    """Latents -> hidden layers of ReLU -> samples; tanh at the end for images, nothing for points.

    The defaults are the lecture's: latent 100 -> 256 -> 512 -> 1024 -> 784 for MNIST.
    """

    def __init__(self, latent_size: int, shape: Shape, *, hidden: Sequence[int] = (256, 512, 1024)) -> None:
        super().__init__()
        check_hidden("MLPGenerator", hidden)
        self.shape = tuple(shape)
        sizes = [latent_size, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        layers.append(nn.Linear(sizes[-1], math.prod(shape)))
        if len(self.shape) == 3:
            layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent).unflatten(1, self.shape)  # type: ignore[no-any-return]


class MLPDiscriminator(nn.Module):
    """Samples -> hidden layers of LeakyReLU -> one logit each.

    The defaults are the lecture's: 784 -> 1024 -> 512 -> 256 -> 1 for MNIST. `spectral_norm` divides each weight
    matrix by its largest singular value (Miyato et al. 2018).
    """

    def __init__(
        self,
        shape: Shape,
        *,
        hidden: Sequence[int] = (1024, 512, 256),
        slope: float = 0.2,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        check_hidden("MLPDiscriminator", hidden)
        check_number("MLPDiscriminator", "slope", slope, low=0, high=1)
        sizes = [math.prod(shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip(sizes, sizes[1:]):
            layers += [maybe_spectral(nn.Linear(before, after), spectral_norm), nn.LeakyReLU(slope)]
        layers.append(maybe_spectral(nn.Linear(sizes[-1], 1), spectral_norm))
        self.layers = nn.Sequential(*layers)

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.layers(samples).flatten()  # type: ignore[no-any-return]


def check_hidden(owner: str, hidden: object) -> None:
    """Raise UserError unless `hidden` is a tuple of layer widths."""
    if not isinstance(hidden, (tuple, list)) or not hidden:
        raise UserError(f"{owner}: hidden={hidden!r} must be the layers' widths, such as (256, 256)")
    for width in hidden:
        check_number(owner, "hidden", width, low=1, whole=True)
