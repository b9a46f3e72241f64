"""Residual networks for images of 8x8 and larger. Source: Miyato et al. 2018 (SNGAN), tables 4 to 6."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.errors import check_choice
from sparring.networks.attention import SelfAttention, nearest_level
from sparring.networks.critic import Critic, with_label
from sparring.networks.layers import (
    Conditional,
    MinibatchDeviation,
    Shape,
    check_counts,
    check_latent,
    convolved_after_doubling,
    convolved_before_pooling,
    halvings,
    maybe_spectral,
    normalisation,
    pooled,
    run_layers,
)


class ResNetGenerator(nn.Module):
    """Latents [n, latent_size] -> images [n, *shape] in (-1, 1), by residual blocks that double the size.

    A linear layer gives the smallest map; batch normalisation, a 3x3 convolution and tanh follow the last block. Sizes
    are the image's halvings down to at least 4, so 28x28 grows from 7x7 and 50x37 from 6x4. Defaults are the paper's
    for CIFAR-10 (table 4; latents of 128); STL-10 (table 5) is `width=64, most=512`, ImageNet (table 6)
    `width=64, most=1024`.

    Args:
        latent_size: numbers of a latent, the label not included.
        shape: [C, H, W] of the images.
        width: channels of the last block; they double towards the smaller maps.
        most: largest number of channels.
        attention: smaller side of the maps that get self-attention; 0: none.
        spectral_norm: use spectral normalisation, as SAGAN does.
        condition: how the generator uses the label: "batch_norm" chooses the gains and biases of batch normalisation
            by it (Miyato and Koyama 2018); "concatenation" appends it to the latent, one-hot.
        classes: number of classes; 0: no labels.
    """

    def __init__(
        self,
        latent_size: int,
        shape: Shape,
        *,
        width: int = 256,
        most: int = 256,
        attention: int = 0,
        spectral_norm: bool = False,
        condition: str = "batch_norm",
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_latent("ResNetGenerator", latent_size)
        check_counts("ResNetGenerator", width=width, most=most)
        check_counts("ResNetGenerator", 0, attention=attention)
        check_choice("ResNetGenerator", "condition", condition, ("batch_norm", "concatenation"))
        self.concatenated = classes if condition == "concatenation" else 0
        sizes = halvings(shape)[::-1]
        channels = [min(width * 2**level, most) for level in range(len(sizes) - 1)][::-1]
        channels = [channels[0], *channels]  # the smallest map has the channels of the first block
        self.base = (channels[0], *sizes[0])
        self.project = maybe_spectral(nn.Linear(latent_size + self.concatenated, math.prod(self.base)), spectral_norm)
        layers: list[nn.Module] = []
        attention_level = nearest_level(sizes, attention)
        for level, size in enumerate(sizes):
            if level:
                pair = channels[level - 1], channels[level]
                layers.append(GeneratorBlock(*pair, size, classes - self.concatenated, spectral_norm))
            layers += [SelfAttention(channels[level], spectral_norm)] if level == attention_level else []
        last = _convolution(channels[-1], shape[0], 3, spectral_norm)
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels[-1]), nn.ReLU(), last, nn.Tanh())

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        latent = with_label(latent, label, self.concatenated) if self.concatenated else latent
        return run_layers(self.layers, self.project(latent).unflatten(1, self.base), label)


class ResNetDiscriminator(Critic):
    """Images [n, *shape] -> logits [n], by residual blocks and the sum of features over positions.

    | smaller side | layout | blocks |
    | --- | --- | --- |
    | up to 32 | CIFAR-10's (table 4) | halve at least once, while sides stay at least 6; then two keep the size |
    | above 32 | STL-10's and ImageNet's (tables 5 and 6) | halve while sides stay at least 3; then one keeps the size |

    So 32x32 gives maps of 16, 8, 8 and 8; 28x28 gives 14, 7, 7 and 7. Defaults are CIFAR-10's; STL-10's and ImageNet's
    are `width=64, most=1024`. Without batch normalisation, samples stay independent, unless `deviation` mixes them.

    Args:
        shape: [C, H, W] of the images.
        width: channels of the first block; they double with each block.
        most: largest number of channels.
        attention: smaller side of the maps that get self-attention; 0: none.
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
        width: int = 128,
        most: int = 128,
        attention: int = 0,
        spectral_norm: bool = True,
        deviation: int = 0,
        condition: str = "projection",
        classes: int = 0,
        codes: int = 0,
    ) -> None:
        super().__init__(shape, condition, classes, codes)
        check_counts("ResNetDiscriminator", width=width, most=most)
        check_counts("ResNetDiscriminator", 0, attention=attention, deviation=deviation)
        sizes = discriminator_sizes(shape)
        channels = [self.input_shape[0], *(min(width * 2**level, most) for level in range(len(sizes) - 1))]
        layers: list[nn.Module] = []
        attention_level = nearest_level(sizes[1:], attention) + 1  # level 0 is the image, which gets none
        for level in range(1, len(sizes)):
            halve = sizes[level] != sizes[level - 1]
            pair = channels[level - 1], channels[level]
            layers.append(DiscriminatorBlock(*pair, halve, level == 1, spectral_norm))
            layers += [SelfAttention(channels[level], spectral_norm)] if level == attention_level else []
        self.layers = nn.Sequential(*layers, nn.ReLU())
        # The deviation is constant over positions. Appended to the sums, it has the scale of the features.
        self.deviation = MinibatchDeviation(deviation) if deviation else nn.Identity()
        self.add_heads(channels[-1] + bool(deviation), spectral_norm)

    def features(self, samples: Tensor) -> Tensor:
        return self.deviation(self.layers(samples).sum((2, 3)))  # type: ignore[no-any-return]


class GeneratorBlock(Conditional):
    """Normalisation, ReLU, upsampling, 3x3, normalisation, ReLU, 3x3; plus the upsampled input through a 1x1.

    Convolutions have no bias: the batch normalisation after each sum cancels constants.
    """

    def __init__(self, before: int, after: int, size: tuple[int, int], classes: int, spectral_norm: bool) -> None:
        super().__init__()
        self.size = size
        self.first = nn.Sequential(normalisation(before, classes), nn.ReLU())
        self.second = nn.Sequential(
            _convolution(before, after, 3, spectral_norm, bias=False),
            normalisation(after, classes),
            nn.ReLU(),
            _convolution(after, after, 3, spectral_norm, bias=False),
        )
        self.shortcut = _convolution(before, after, 1, spectral_norm, bias=False)

    def forward(self, maps: Tensor, label: Tensor | None) -> Tensor:
        """[n, before, h, w] -> [n, after, *size]."""
        inner = run_layers(self.first, maps, label)
        convolution, *rest = self.second
        if self.size == (2 * maps.shape[2], 2 * maps.shape[3]):
            inner = convolved_after_doubling(inner, convolution)
        else:
            inner = convolution(F.interpolate(inner, size=self.size, mode="nearest"))
        # a 1x1 convolution before upsampling gives the same for a quarter of the work
        shortcut = F.interpolate(self.shortcut(maps), size=self.size, mode="nearest")
        return run_layers(rest, inner, label) + shortcut


class DiscriminatorBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, pooling; plus the pooled input. The first block of a network has no first ReLU."""

    def __init__(self, before: int, after: int, halve: bool, first: bool, spectral_norm: bool) -> None:
        super().__init__()
        self.halve = halve
        inner = after if first else before
        self.residual = nn.Sequential(
            *([] if first else [nn.ReLU()]),
            _convolution(before, inner, 3, spectral_norm),
            nn.ReLU(),
            _convolution(inner, after, 3, spectral_norm),
        )
        same = before == after and not halve
        self.shortcut = nn.Identity() if same else _convolution(before, after, 1, spectral_norm)

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, H, W] -> [n, after, H, W], or half of that size."""
        if not self.halve:
            return self.residual(maps) + self.shortcut(maps)  # type: ignore[no-any-return]
        *layers, convolution = self.residual
        inner = convolved_before_pooling(run_layers(layers, maps, None), convolution)
        # a 1x1 convolution after pooling gives the same for a quarter of the work
        return inner + self.shortcut(pooled(maps))  # type: ignore[no-any-return]


def discriminator_sizes(shape: Shape) -> list[tuple[int, int]]:
    """The image's size, then the output size of each block of a discriminator."""
    side = min(halvings(shape)[0])
    smallest, resting = (min(6, side // 2), 2) if side <= 32 else (3, 1)
    sizes = halvings(shape, smallest)
    return sizes + sizes[-1:] * resting


def _convolution(before: int, after: int, kernel: int, spectral_norm: bool, bias: bool = True) -> nn.Module:
    """A convolution that keeps the size, with Glorot initialisation; the gain of 3x3 ones is sqrt(2), for the ReLU."""
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2) if kernel > 1 else 1.0)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return maybe_spectral(layer, spectral_norm)
