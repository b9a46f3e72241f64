"""Multilayer perceptrons for small images and points."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from sparring.base.errors import UserError, check_number
from sparring.networks.critic import Critic, with_label
from sparring.networks.layers import MinibatchDeviation, Shape, check_counts, check_latent, maybe_spectral


class MLPGenerator(nn.Module):
    """Latents [n, latent_size] -> samples [n, *shape], by hidden layers with ReLU; images end with tanh.

    The default widths are those of a lecture notebook on MNIST: 100 -> 256 -> 512 -> 1024 -> 784.

    Args:
        latent_size: numbers of a latent, the label not included.
        shape: [C, H, W] of images, or (dimensions,) of points.
        hidden: widths of the hidden layers.
        classes: number of classes; the label is appended to the latent, one-hot; 0: no labels.
    """

    def __init__(
        self, latent_size: int, shape: Shape, *, hidden: Sequence[int] = (256, 512, 1024), classes: int = 0
    ) -> None:
        super().__init__()
        check_latent("MLPGenerator", latent_size)
        check_hidden("MLPGenerator", hidden)
        self.shape, self.classes = tuple(shape), classes
        sizes = [latent_size + classes, *hidden]
        layers: list[nn.Module] = []
        for before, after in zip(sizes, sizes[1:]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        layers.append(nn.Linear(sizes[-1], math.prod(shape)))
        layers += [nn.Tanh()] if len(shape) == 3 else []
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        latent = with_label(latent, label, self.classes) if self.classes else latent
        return self.layers(latent).unflatten(1, self.shape)  # type: ignore[no-any-return]


class MLPDiscriminator(Critic):
    """Samples [n, *shape] -> logits [n], by hidden layers with leaky ReLU.

    The default widths are those of a lecture notebook on MNIST: 784 -> 1024 -> 512 -> 256 -> 1.

    Args:
        shape: [C, H, W] of images, or (dimensions,) of points.
        hidden: widths of the hidden layers.
        slope: slope of leaky ReLU for negative inputs, 0 to 1.
        spectral_norm: use spectral normalisation.
        deviation: group size of the minibatch standard deviation, a feature of the last layer; 0: none.
        condition: see `Critic`.
        classes: number of classes; 0: no labels.
        codes: number of code parameters to predict (InfoGAN); 0: none.
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
        check_counts("MLPDiscriminator", 0, deviation=deviation)
        sizes = [math.prod(self.input_shape), *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip(sizes, sizes[1:]):
            layers += [maybe_spectral(nn.Linear(before, after), spectral_norm), nn.LeakyReLU(slope)]
        layers += [MinibatchDeviation(deviation)] if deviation else []
        self.layers = nn.Sequential(*layers)
        self.add_heads(sizes[-1] + bool(deviation), spectral_norm)

    def features(self, samples: Tensor) -> Tensor:
        return self.layers(samples)  # type: ignore[no-any-return]


def check_hidden(owner: str, hidden: object) -> None:
    """Raise UserError unless `hidden` is a non-empty tuple of layer widths."""
    if not isinstance(hidden, (tuple, list)) or not hidden:
        raise UserError(f"{owner}: hidden={hidden!r} must be the layers' widths, such as (256, 256)")
    for width in hidden:
        check_counts(owner, hidden=width)
