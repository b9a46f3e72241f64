"""R3GAN, the modern baseline, for images of 8x8 and larger. Source: Huang et al. 2024, section 4, Config E.

Nothing is normalised. The initialisation keeps the variance of deep networks in bounds ("Fixup", Zhang et al. 2019):

- Weights have standard deviation gain / sqrt(fan in). The gain is 1 for a layer without an activation.
- The last layer of a block starts at 0, so a network starts as its resampling alone.
- The other two layers of a block have the gain of leaky ReLU, sqrt(2 / (1 + 0.2^2)), times L^(-1/4) in a network of L
  blocks: Fixup's L^(-1 / (2 m - 2)) for m = 3 layers. So each branch has 1 / L of the variance, and all L branches
  together that of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.device import sent
from sparring.networks.critic import Critic
from sparring.networks.layers import Shape, check_counts, check_latent, halvings, required

Size = tuple[int, int]
SLOPE = 0.2


class R3GANGenerator(nn.Module):
    """Latents [n, latent_size] -> images [n, *shape], by residual blocks and bilinear upsampling.

    A learned basis gives the smallest map; a 1x1 convolution gives the image. The output is linear, as published, and
    may leave [-1, 1] slightly. Sizes are the image's halvings down to at least 4, so 28x28 grows from 7x7 and 50x37
    from 6x4. The paper's networks, with latents of 64 numbers, are `width=768, most=768` for CIFAR-10,
    `width=384, most=768` for FFHQ at 64 and `width=96, most=768` at 256.

    Args:
        latent_size: numbers of a latent, the label not included.
        shape: [C, H, W] of the images.
        width: channels at the image's size; they double with each halving.
        most: largest number of channels.
        blocks: residual blocks at each size.
        group: channels of a group in grouped 3x3 convolutions; the paper has 16.
        classes: number of classes; an embedding of the class, as long as the latent, is appended to it; 0: no labels.
    """

    def __init__(
        self,
        latent_size: int,
        shape: Shape,
        *,
        width: int = 64,
        most: int = 512,
        blocks: int = 2,
        group: int = 16,
        classes: int = 0,
    ) -> None:
        super().__init__()
        check_latent("R3GANGenerator", latent_size)
        sizes, channels = levels("R3GANGenerator", shape, width, most, blocks, group)
        if classes:
            self.embedding = nn.Embedding(classes, latent_size)
            nn.init.normal_(self.embedding.weight, std=classes**-0.5)  # a one-hot label has `classes` inputs
        self.classes = classes
        layers: list[nn.Module] = [GenerativeBasis(latent_size * (2 if classes else 1), channels[-1], sizes[-1])]
        for level in reversed(range(len(sizes))):
            if level < len(sizes) - 1:
                layers.append(Upsample(channels[level + 1], channels[level], sizes[level]))
            layers += [ResidualBlock(channels[level], group, blocks * len(sizes)) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, pointwise(channels[0], shape[0]))

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        if self.classes:
            latent = torch.cat([latent, self.embedding(required(label))], 1)
        return self.layers(latent)  # type: ignore[no-any-return]


class R3GANDiscriminator(Critic):
    """Images [n, *shape] -> logits [n], by residual blocks and bilinear downsampling.

    The mirror image of R3GANGenerator, with the same sizes. A learned basis turns the last maps into one feature for
    each channel. The paper's logit of a labelled sample is the inner product of the class's embedding and a linear map
    of the features; with condition "projection", `Critic` adds a logit without a class to it.

    Args:
        shape: [C, H, W] of the images.
        width: channels at the image's size; they double with each halving.
        most: largest number of channels.
        blocks: residual blocks at each size.
        group: channels of a group in grouped 3x3 convolutions; the paper has 16.
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
        blocks: int = 2,
        group: int = 16,
        condition: str = "projection",
        classes: int = 0,
        codes: int = 0,
    ) -> None:
        super().__init__(shape, condition, classes, codes)
        sizes, channels = levels("R3GANDiscriminator", shape, width, most, blocks, group)
        layers: list[nn.Module] = [pointwise(self.input_shape[0], channels[0])]
        for level, size in enumerate(sizes):
            if level:
                layers.append(Downsample(channels[level - 1], channels[level], size))
            layers += [ResidualBlock(channels[level], group, blocks * len(sizes)) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, DiscriminativeBasis(channels[-1], sizes[-1]))
        self.add_heads(channels[-1], bias=False)  # a bias cancels in the relativistic loss
        init_fan_in(self.logit)
        if self.condition == "projection":
            assert isinstance(self.embedding, nn.Embedding)
            nn.init.normal_(self.embedding.weight, std=(channels[-1] * classes) ** -0.5)

    def features(self, samples: Tensor) -> Tensor:
        return self.layers(samples)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + (1x1 to twice the channels, leaky ReLU, grouped 3x3, leaky ReLU, 1x1 back)(x): the identity at the start.

    Only the layers before the two activations have a bias. `count` is the number of blocks in the network. Where
    `group` does not divide the inner channels, groups have their greatest common divisor.
    """

    def __init__(self, channels: int, group: int, count: int) -> None:
        super().__init__()
        inner = 2 * channels
        groups = inner // math.gcd(inner, group)
        gain = math.sqrt(2 / (1 + SLOPE**2)) * count**-0.25
        self.layers = nn.Sequential(
            init_fan_in(nn.Conv2d(channels, inner, 1), gain),
            nn.LeakyReLU(SLOPE),
            init_fan_in(nn.Conv2d(inner, inner, 3, padding=1, groups=groups), gain),
            nn.LeakyReLU(SLOPE),
            init_fan_in(nn.Conv2d(inner, channels, 1, bias=False), gain=0),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[n, C, H, W] -> [n, C, H, W]."""
        return maps + self.layers(maps)  # type: ignore[no-any-return]


class GenerativeBasis(nn.Module):
    """Latents -> maps: a learned map for each channel, scaled by a linear function of the latent."""

    def __init__(self, latent_size: int, channels: int, size: Size) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, *size))
        self.scale = init_fan_in(nn.Linear(latent_size, channels, bias=False))

    def forward(self, latent: Tensor) -> Tensor:
        """[n, latent] -> [n, C, *size]."""
        return self.scale(latent)[..., None, None] * self.basis  # type: ignore[no-any-return]


class DiscriminativeBasis(nn.Module):
    """Maps -> features: the inner product of each channel's map and a learned one."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, *size) / math.sqrt(math.prod(size)))

    def forward(self, maps: Tensor) -> Tensor:
        """[n, C, *size] -> [n, C]."""
        return (maps * self.basis).sum((2, 3))


class Resample(nn.Module):
    """Bilinear resampling to a size, and a 1x1 convolution where the number of channels changes."""

    def __init__(self, before: int, after: int, size: Size) -> None:
        super().__init__()
        self.size = size
        self.change = pointwise(before, after) if before != after else nn.Identity()


class Upsample(Resample):
    """The 1x1 convolution, then bilinear upsampling."""

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, h, w] -> [n, after, *size]."""
        return upsampled(self.change(maps), self.size)


class Downsample(Resample):
    """Bilinear downsampling, then the 1x1 convolution."""

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, H, W] -> [n, after, *size]."""
        return self.change(downsampled(maps, self.size))  # type: ignore[no-any-return]


def upsampled(maps: Tensor, size: Size) -> Tensor:
    """Maps [n, C, h, w] -> [n, C, *size], upsampled bilinearly with zeros beyond the borders.

    Doubling is the published filter (1, 3, 3, 1) / 4 along each side, after zeros are inserted between the values.
    """
    large = F.interpolate(maps, size=size, mode="bilinear")  # it repeats the edges
    return large * _border_factors(maps.shape[2:], size, large)


def downsampled(maps: Tensor, size: Size) -> Tensor:
    """Maps [n, C, H, W] -> [n, C, *size]: the transpose of `upsampled`, scaled to preserve means in the interior.

    Halving is the published filter (1, 3, 3, 1) / 8 along each side, with zeros beyond the borders.
    """
    if maps.device.type != "cpu":
        return _downsampled_by_matrices(maps, size)
    whole = list(maps.shape)
    # The transpose is torch's kernel for the gradient of upsampling. On a CPU it is many times faster than a depthwise
    # convolution or antialiased interpolation, above all when it is differentiated twice.
    maps = maps * _border_factors(size, whole[2:], maps)  # the kernel assumes repeated edges
    transposed = torch.ops.aten.upsample_bilinear2d_backward(maps, whole[2:], [*whole[:2], *size], False)
    return transposed * (math.prod(size) / math.prod(whole[2:]))  # type: ignore[no-any-return]


def _downsampled_by_matrices(maps: Tensor, size: Size) -> Tensor:
    """`downsampled` as two matrix products: on a GPU torch's kernel adds in any order, which is not deterministic."""
    matrices = (_upsampling_matrix(small, large) for small, large in zip(size, maps.shape[2:]))
    rows, columns = (sent(matrix.to(maps.dtype), maps.device) for matrix in matrices)
    return rows.T @ maps @ columns


def _border_factors(small: Sequence[int], large: Sequence[int], like: Tensor) -> Tensor:
    """Factors [1, C, H, W] that turn bilinear upsampling with repeated edges into that with zeros beyond the borders.

    They are below 1 only outside the outermost centres of the small maps: 3/4 along the sides for doubling.
    """
    factors = (_border_factor(*sizes).to(like.dtype) for sizes in zip(small, large))
    rows, columns = (sent(factor, like.device) for factor in factors)
    # the channels of maps are adjacent in memory; a CPU multiplies several times as fast by factors that are, too
    both = (rows[:, None] * columns).expand(1, like.shape[1], -1, -1)
    return both.contiguous(memory_format=torch.channels_last)


def _border_factor(small: int, large: int) -> Tensor:
    centres = (torch.arange(large, dtype=torch.float64) + 0.5) * (small / large) - 0.5
    return 1 - (-centres).clamp(min=0) - (centres - (small - 1)).clamp(min=0)


def _upsampling_matrix(small: int, large: int) -> Tensor:
    """The matrix [large, small] of bilinear upsampling along one side, scaled for its use as a transpose."""
    basis = F.interpolate(torch.eye(small)[None], size=large, mode="linear")[0].T
    return basis * _border_factor(small, large)[:, None] * (small / large)


def pointwise(before: int, after: int) -> nn.Module:
    """A 1x1 convolution without an activation or a bias."""
    return init_fan_in(nn.Conv2d(before, after, 1, bias=False))


def init_fan_in(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """Initialise a layer: weights with standard deviation gain / sqrt(fan in), bias 0."""
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def levels(owner: str, shape: Shape, width: int, most: int, blocks: int, group: int) -> tuple[list[Size], list[int]]:
    """Sizes of the maps, from the image's down, and their channels. UserError: an option is out of range."""
    check_counts(owner, width=width, most=most, blocks=blocks, group=group)
    sizes = halvings(shape)
    return sizes, [min(width * 2**level, most) for level in range(len(sizes))]
