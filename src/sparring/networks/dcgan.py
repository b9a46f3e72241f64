"""Deep convolutional networks for images of any size from 8x8 up. Source: Radford et al. 2016 (DCGAN)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from sparring.base.errors import UserError, check_choice, check_number
from sparring.networks.critic import Critic, with_label
from sparring.networks.layers import (
    MinibatchDeviation,
    check_latent,
    halvings,
    maybe_spectral,
    normalisation,
    run_layers,
)

Shape = Sequence[int]


class DCGANGenerator(nn.Module):
    """Latents -> a small map -> transposed convolutions that double it -> tanh.

    Sizes are the image's floor halvings, so 28x28 grows from 7x7 and 50x37 from 6x4. `width` is the number of channels
    before the last layer; it doubles with each halving, up to `most`. The `refine` smallest maps get one more 3x3
    convolution each, which costs little and sharpens the picture. Of labelled data, the label stands beside the latents
    (condition "concatenation") or chooses the gains and biases of the batch normalisation (condition "batch_norm").
    """

    def __init__(
        self,
        latent_size: int,
        shape: Shape,
        *,
        width: int = 64,
        most: int = 512,
        refine: int = 0,
        batch_norm: bool = True,
        condition: str = "concatenation",
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_latent("DCGANGenerator", latent_size)
        check_number("DCGANGenerator", "width", width, low=1, whole=True)
        check_number("DCGANGenerator", "most", most, low=1, whole=True)
        sizes = halvings(shape)[::-1]
        check_number("DCGANGenerator", "refine", refine, low=0, high=len(sizes) - 1, whole=True)
        channels = [min(width * 2**level, most) for level in range(len(sizes) - 1)][::-1]
        check_choice("DCGANGenerator", "condition", condition, ("concatenation", "batch_norm"))
        if classes and condition == "batch_norm" and not batch_norm:
            raise UserError('DCGANGenerator: condition="batch_norm" needs batch_norm=True')
        self.beside = classes if condition == "concatenation" else 0
        norms = classes - self.beside
        self.base = (channels[0], *sizes[0])
        self.project = nn.Linear(latent_size + self.beside, math.prod(self.base), bias=not batch_norm)
        layers: list[nn.Module] = [*_after(channels[0], batch_norm, norms)]
        for level, (small, large) in enumerate(zip(sizes, sizes[1:])):
            last = level == len(channels) - 1
            if level < refine:
                same = nn.Conv2d(channels[level], channels[level], 3, 1, 1, bias=not batch_norm)
                layers += [same, *_after(channels[level], batch_norm, norms)]
            extra = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            out = shape[0] if last else channels[level + 1]
            layers.append(_up(channels[level], out, extra, bias=last or not batch_norm))
            layers += [nn.Tanh()] if last else _after(out, batch_norm, norms)
        self.layers = nn.Sequential(*layers)

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        latent = with_label(latent, label, self.beside) if self.beside else latent
        return run_layers(self.layers, self.project(latent).unflatten(1, self.base), label)


class DCGANDiscriminator(Critic):
    """Strided convolutions with LeakyReLU that halve the image down to 2x2 or 3x3 -> one logit each.

    No batch normalisation, so samples stay independent and gradient penalties are what they say, unless `deviation`
    shows it how much each group of that many samples differs.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        width: int = 64,
        most: int = 512,
        slope: float = 0.2,
        spectral_norm: bool = False,
        deviation: int = 0,
        condition: str = "projection",
        classes: int = 0,
        codes: int = 0,
    ) -> None:
        super().__init__(shape, condition, classes, codes)
        check_number("DCGANDiscriminator", "width", width, low=1, whole=True)
        check_number("DCGANDiscriminator", "most", most, low=1, whole=True)
        check_number("DCGANDiscriminator", "slope", slope, low=0, high=1)
        check_number("DCGANDiscriminator", "deviation", deviation, low=0, whole=True)
        sizes = halvings(shape, smallest=2)
        channels = [self.seen[0], *(min(width * 2**level, most) for level in range(len(sizes) - 1))]
        layers: list[nn.Module] = []
        for before, after in zip(channels, channels[1:]):
            layers += [maybe_spectral(nn.Conv2d(before, after, 4, 2, 1), spectral_norm), nn.LeakyReLU(slope)]
        layers += [MinibatchDeviation(deviation)] if deviation else []
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.add_heads((channels[-1] + bool(deviation)) * math.prod(sizes[-1]), spectral_norm)

    def features(self, samples: Tensor) -> Tensor:
        return self.layers(samples)  # type: ignore[no-any-return]


def _up(before: int, after: int, extra: tuple[int, int], bias: bool) -> nn.Module:
    return nn.ConvTranspose2d(before, after, 4, 2, 1, output_padding=extra, bias=bias)


def _after(channels: int, batch_norm: bool, classes: int) -> list[nn.Module]:
    if not batch_norm:
        return [nn.ReLU()]
    return [normalisation(channels, classes), nn.ReLU()]
