"""DCGAN: deep convolutional networks for images of 8x8 and larger. Source: Radford et al. 2016."""

from __future__ import annotations

import math

from torch import Tensor, nn

from sparring.base.errors import UserError, check_choice, check_number
from sparring.networks.critic import Critic, with_label
from sparring.networks.layers import (
    MinibatchDeviation,
    Shape,
    check_counts,
    check_latent,
    halvings,
    maybe_spectral,
    normalisation,
    run_layers,
)


class DCGANGenerator(nn.Module):
    """Latents [n, latent_size] -> images [n, *shape] in (-1, 1), by transposed convolutions that double the size.

    A linear layer gives the smallest map; tanh follows the last layer. Sizes are the image's halvings down to at least
    4, so 28x28 grows from 7x7 and 50x37 from 6x4.

    Args:
        latent_size: numbers of a latent, the label not included.
        shape: [C, H, W] of the images.
        width: channels before the last layer; they double towards the smaller maps.
        most: largest number of channels.
        refine: number of the smallest maps with one more 3x3 convolution each, which costs little and sharpens.
        batch_norm: use batch normalisation.
        condition: how the generator uses the label: "concatenation" appends it to the latent, one-hot; "batch_norm"
            chooses the gains and biases of batch normalisation by it.
        classes: number of classes; 0: no labels.
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
        check_counts("DCGANGenerator", width=width, most=most)
        sizes = halvings(shape)[::-1]
        check_number("DCGANGenerator", "refine", refine, low=0, high=len(sizes) - 1, whole=True)
        channels = [min(width * 2**level, most) for level in range(len(sizes) - 1)][::-1]
        check_choice("DCGANGenerator", "condition", condition, ("concatenation", "batch_norm"))
        if classes and condition == "batch_norm" and not batch_norm:
            raise UserError('DCGANGenerator: condition="batch_norm" needs batch_norm=True')
        self.concatenated = classes if condition == "concatenation" else 0
        norms = classes - self.concatenated
        self.base = (channels[0], *sizes[0])
        self.project = nn.Linear(latent_size + self.concatenated, math.prod(self.base), bias=not batch_norm)

        def activated(channels: int) -> list[nn.Module]:
            return [normalisation(channels, norms), nn.ReLU()] if batch_norm else [nn.ReLU()]

        layers = activated(channels[0])
        for level, (before, after) in enumerate(zip(channels, [*channels[1:], shape[0]])):
            last = level == len(channels) - 1
            if level < refine:
                layers += [nn.Conv2d(before, before, 3, 1, 1, bias=not batch_norm), *activated(before)]
            small, large = sizes[level : level + 2]
            extra = (large[0] - 2 * small[0], large[1] - 2 * small[1])
            layers.append(nn.ConvTranspose2d(before, after, 4, 2, 1, extra, bias=last or not batch_norm))
            layers += [] if last else activated(after)
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        latent = with_label(latent, label, self.concatenated) if self.concatenated else latent
        return run_layers(self.layers, self.project(latent).unflatten(1, self.base), label)


class DCGANDiscriminator(Critic):
    """Images [n, *shape] -> logits [n], by strided 4x4 convolutions with leaky ReLU down to 2x2 or 3x3.

    It has no batch normalisation, so samples stay independent and gradient penalties are exact, unless `deviation`
    mixes samples.

    Args:
        shape: [C, H, W] of the images.
        width: channels after the first layer; they double with each layer.
        most: largest number of channels.
        slope: slope of leaky ReLU for negative inputs, 0 to 1.
        spectral_norm: use spectral normalisation.
        deviation: group size of the minibatch standard deviation; 0: none.
        condition: see `Critic`.
        classes: number of classes; 0: no labels.
        codes: number of code parameters to predict (InfoGAN); 0: none.
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
        check_counts("DCGANDiscriminator", width=width, most=most)
        check_number("DCGANDiscriminator", "slope", slope, low=0, high=1)
        check_counts("DCGANDiscriminator", 0, deviation=deviation)
        sizes = halvings(shape, smallest=2)
        channels = [self.input_shape[0], *(min(width * 2**level, most) for level in range(len(sizes) - 1))]
        layers: list[nn.Module] = []
        for before, after in zip(channels, channels[1:]):
            layers += [maybe_spectral(nn.Conv2d(before, after, 4, 2, 1), spectral_norm), nn.LeakyReLU(slope)]
        layers += [MinibatchDeviation(deviation)] if deviation else []
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.add_heads((channels[-1] + bool(deviation)) * math.prod(sizes[-1]), spectral_norm)

    def features(self, samples: Tensor) -> Tensor:
        return self.layers(samples)  # type: ignore[no-any-return]
