"""Residual networks for images of any size from 8x8 up. Source: Miyato et al. 2018 (SNGAN), tables 4 to 6."""

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
    halvings,
    maybe_spectral,
    normalisation,
    run_layers,
)


class ResNetGenerator(nn.Module):
    """Latents -> a small map -> residual blocks that double it -> batch normalisation, 3x3 convolution, tanh.

    Sizes are the image's floor halvings down to 4 at least, so 28x28 grows from 7x7 and 50x37 from 6x4; `width` is the
    channels of the last block. The defaults are the paper's for CIFAR-10 (table 4; latents of 128 numbers); its network
    for STL-10 (table 5) is `width=64, most=512`, the one for ImageNet (table 6) `width=64, most=1024`. The label
    chooses the gains and biases of the blocks' batch normalisation (condition "batch_norm"; Miyato and Koyama 2018) or
    stands beside the latents ("concatenation"). `spectral_norm` in the generator, too, is SAGAN's.
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
        self.beside = classes if condition == "concatenation" else 0
        sizes = halvings(shape)[::-1]
        channels = [min(width * 2**level, most) for level in range(len(sizes) - 1)][::-1]
        channels = [channels[0], *channels]  # the smallest map has as many as the first block gives
        self.base = (channels[0], *sizes[0])
        self.project = maybe_spectral(nn.Linear(latent_size + self.beside, math.prod(self.base)), spectral_norm)
        layers: list[nn.Module] = []
        looking = nearest_level(sizes, attention)
        for level, size in enumerate(sizes):
            if level:
                pair = channels[level - 1], channels[level]
                layers.append(GeneratorBlock(*pair, size, classes - self.beside, spectral_norm))
            layers += [SelfAttention(channels[level], spectral_norm)] if level == looking else []
        last = _convolution(channels[-1], shape[0], 3, spectral_norm)
        self.layers = nn.Sequential(*layers, nn.BatchNorm2d(channels[-1]), nn.ReLU(), last, nn.Tanh())

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        latent = with_label(latent, label, self.beside) if self.beside else latent
        return run_layers(self.layers, self.project(latent).unflatten(1, self.base), label)


class ResNetDiscriminator(Critic):
    """Residual blocks that halve the image, and some that do not -> features summed over places -> one logit each.

    For images up to 32 (the smaller side) the layout is the paper's for CIFAR-10 (table 4): blocks halve while the side
    stays at least 6, and once at least, then two more keep it: 32x32 is seen at 16, 8, 8 and 8, 28x28 at 14, 7, 7 and
    7. For larger ones it is that of STL-10 and ImageNet (tables 5 and 6): blocks halve while the side stays at least 3,
    then one keeps it. `width` is the channels of the first block, and doubles with each, up to `most`. The defaults are
    CIFAR-10's; STL-10's and ImageNet's are `width=64, most=1024`. There is no batch normalisation, so samples stay
    independent, unless `deviation` mixes them.
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
        sizes = judged_sizes(shape)
        channels = [self.seen[0], *(min(width * 2**level, most) for level in range(len(sizes) - 1))]
        layers: list[nn.Module] = []
        looking = nearest_level(sizes[1:], attention) + 1  # 0 is the image, where none stands
        for level in range(1, len(sizes)):
            halve = sizes[level] != sizes[level - 1]
            pair = channels[level - 1], channels[level]
            layers.append(DiscriminatorBlock(*pair, halve, level == 1, spectral_norm))
            layers += [SelfAttention(channels[level], spectral_norm)] if level == looking else []
        self.layers = nn.Sequential(*layers, nn.ReLU())
        # The deviation is the same at all places: beside the sums it has the features' scale, in the maps it would not.
        self.deviation = MinibatchDeviation(deviation) if deviation else nn.Identity()
        self.add_heads(channels[-1] + bool(deviation), spectral_norm)

    def features(self, samples: Tensor) -> Tensor:
        return self.deviation(self.layers(samples).sum((2, 3)))  # type: ignore[no-any-return]


class GeneratorBlock(Conditional):
    """Normalise, ReLU, enlarge, 3x3; normalise, ReLU, 3x3; plus the enlarged input through a 1x1 convolution.

    Convolutions have no bias: the batch normalisation behind each sum takes constants away.
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
        inner = F.interpolate(run_layers(self.first, maps, label), size=self.size, mode="nearest")
        # a 1x1 convolution gives the same before copies are made as after, for a quarter of the work
        shortcut = F.interpolate(self.shortcut(maps), size=self.size, mode="nearest")
        return run_layers(self.second, inner, label) + shortcut


class DiscriminatorBlock(nn.Module):
    """ReLU, 3x3, ReLU, 3x3, pool; plus the pooled input. The first block of a network has no first ReLU."""

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
        # a 1x1 convolution gives the same after pooling as before, for a quarter of the work
        return pooled(self.residual(maps)) + self.shortcut(pooled(maps))  # type: ignore[no-any-return]


def pooled(maps: Tensor) -> Tensor:
    """Averages of two by two places; where a side is odd, of three that overlap, so that no row is left out."""
    height, width = maps.shape[2:]
    return F.avg_pool2d(maps, (2 + height % 2, 2 + width % 2), 2)


def judged_sizes(shape: Shape) -> list[tuple[int, int]]:
    """The image's size and those that a discriminator's blocks give, one for each block."""
    side = min(halvings(shape)[0])
    smallest, resting = (min(6, side // 2), 2) if side <= 32 else (3, 1)
    sizes = halvings(shape, smallest)
    return sizes + sizes[-1:] * resting


def _convolution(before: int, after: int, kernel: int, spectral_norm: bool, bias: bool = True) -> nn.Module:
    """A convolution that keeps the size; Glorot's start, 3x3 ones times the root of 2 for the ReLU before them."""
    layer = nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight, gain=math.sqrt(2) if kernel > 1 else 1.0)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return maybe_spectral(layer, spectral_norm)
