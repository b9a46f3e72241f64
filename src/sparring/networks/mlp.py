"""Multilayer perceptrons for small images and for points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from sparring.base.errors import UserError, check_number
from sparring.networks.critic import Critic, with_label
from sparring.networks.layers import MinibatchDeviation, check_latent, maybe_spectral

Shape = Sequence[int]


class MLPGenerator(nn.Module):
    """Latents -> hidden layers of ReLU -> samples; tanh at the end for images, nothing for points.

    The defaults are the lecture's: latent 100 -> 256 -> 512 -> 1024 -> 784 for MNIST. Of labelled data, the label
    stands beside the latents.
    """

    def __init__(
        self, latent_size: int, shape: Shape, *, hidden: Sequence[int] = (256, 512, 1024), classes: int = 0
    ) -> None:
        super().__init__()
        check_latent("MLPGenerator", latent_size)
        check_hidden("MLPGenerator", hidden)
        self.shape = tuple(shape)
        self.classes = classes
        sizes = [latent_size + classes, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        layers.append(nn.Linear(sizes[-1], math.prod(shape)))
        if len(self.shape) == 3:
            layers.append(nn.Tanh())
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        latent = with_label(latent, label, self.classes) if self.classes else latent
        return self.layers(latent).unflatten(1, self.shape)  # type: ignore[no-any-return]


class MLPDiscriminator(Critic):
    """Samples -> hidden layers of LeakyReLU -> one logit each.

    The defaults are the lecture's: 784 -> 1024 -> 512 -> 256 -> 1 for MNIST. `spectral_norm` divides each weight
    matrix by its largest singular value (Miyato et al. 2018). `deviation` shows the last layer how much each group of
    that many samples differs; 0: not.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        hidden: Sequence[int] = (1024, 512, 256),
        slope: float = 0.2,
        spectral_norm: bool = False,
        deviation: int = 0,
        condition: str = "projection",
        classes: int = 0,
        codes: int = 0,
    ) -> None:
        super().__init__(shape, condition, classes, codes)
        check_hidden("MLPDiscriminator", hidden)
        check_number("MLPDiscriminator", "slope", slope, low=0, high=1)
        check_number("MLPDiscriminator", "deviation", deviation, low=0, whole=True)
        sizes = [math.prod(self.seen), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip(sizes, sizes[1:]):
            layers += [maybe_spectral(nn.Linear(before, after), spectral_norm), nn.LeakyReLU(slope)]
        layers += [MinibatchDeviation(deviation)] if deviation else []
        self.layers = nn.Sequential(*layers)
        self.add_heads(sizes[-1] + bool(deviation), spectral_norm)

    def features(self, samples: Tensor) -> Tensor:
        return self.layers(samples)  # type: ignore[no-any-return]


def check_hidden(owner: str, hidden: object) -> None:
    """Raise UserError unless `hidden` is a tuple of layer widths."""
    if not isinstance(hidden, (tuple, list)) or not hidden:
        raise UserError(f"{owner}: hidden={hidden!r} must be the layers' widths, such as (256, 256)")
    for width in hidden:
        check_number(owner, "hidden", width, low=1, whole=True)
