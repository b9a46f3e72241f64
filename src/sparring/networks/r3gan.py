"""The modern baseline for images of any size from 8x8 up. Source: Huang et al. 2024 (R3GAN), section 4, Config E.

Nothing is normalised; what keeps the variance of deep networks in bounds is the start ("Fixup", Zhang et al. 2019).
Weights are drawn with deviation gain / sqrt(fan in), where the gain is 1 for a layer that no activation follows. A
block's last layer starts at 0, so a network starts as its resampling alone. Its other two layers have the leaky ReLU's
gain, sqrt(2 / (1 + 0.2^2)), times L^(-1/4) in a network of L blocks: Fixup's L^(-1 / (2 m - 2)) for m = 3 layers. The
two factors make a branch's variance 1 / L of what it would be, so that L branches together weigh as much as one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.networks.critic import Critic
from sparring.networks.layers import Shape, check_counts, check_latent, halvings, required

Size = tuple[int, int]
SLOPE = 0.2


class R3GANGenerator(nn.Module):
    """Latents -> a learned basis -> residual blocks and bilinear enlargement in turn -> 1x1 convolution.

    The last layer is linear, as published: samples may leave [-1, 1] a little. Sizes are the image's floor halvings
    down to 4 at least, so 28x28 grows from 7x7 and 50x37 from 6x4; each has `blocks` residual blocks. `group` channels
    see each other in a 3x3 convolution (the paper: 16). The paper's networks are `width=768, most=768` for CIFAR-10,
    `width=384, most=768` for FFHQ at 64 and `width=96, most=768` at 256, all with latents of 64 numbers. Of labelled
    data, an embedding of the class, as long as the latent, stands beside it.
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
            nn.init.normal_(self.embedding.weight, std=classes**-0.5)  # the label counts as `classes` inputs
        self.classes = classes
        layers: list[nn.Module] = [GenerativeBasis(latent_size * (2 if classes else 1), channels[-1], sizes[-1])]
        for level in reversed(range(len(sizes))):
            if level < len(sizes) - 1:
                layers.append(Enlarge(channels[level + 1], channels[level], sizes[level]))
            layers += [ResidualBlock(channels[level], group, blocks * len(sizes)) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, pointwise(channels[0], shape[0]))

    def forward(self, latent: Tensor, label: Tensor | None = None) -> Tensor:
        if self.classes:
            latent = torch.cat([latent, self.embedding(required(label))], 1)
        return self.layers(latent)  # type: ignore[no-any-return]


class R3GANDiscriminator(Critic):
    """1x1 convolution -> residual blocks and bilinear reduction in turn -> a learned basis -> one logit each.

    The mirror of R3GANGenerator, with the same sizes and options. What sees the last map is its basis: one weight for
    each place of each channel. The paper's logit of a labelled sample is the inner product of the class's embedding
    with a linear map of these features; with condition "projection", the `Critic` adds one without a class to it.
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
        layers: list[nn.Module] = [pointwise(self.seen[0], channels[0])]
        for level, size in enumerate(sizes):
            if level:
                layers.append(Reduce(channels[level - 1], channels[level], size))
            layers += [ResidualBlock(channels[level], group, blocks * len(sizes)) for _ in range(blocks)]
        self.layers = nn.Sequential(*layers, DiscriminativeBasis(channels[-1], sizes[-1]))
        self.add_heads(channels[-1], bias=False)  # a pair's difference, which the relativistic loss sees, has no bias
        start(self.logit)
        if self.condition == "projection":
            assert isinstance(self.embedding, nn.Embedding)
            nn.init.normal_(self.embedding.weight, std=(channels[-1] * classes) ** -0.5)

    def features(self, samples: Tensor) -> Tensor:
        return self.layers(samples)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + (1x1 to twice the channels, leaky ReLU, 3x3 in groups, leaky ReLU, 1x1 back): the identity at the start.

    Biases stand before the two activations only. `count` is the number of blocks in the whole network. Where `group`
    does not divide the inner channels, groups are the largest common divisor.
    """

    def __init__(self, channels: int, group: int, count: int) -> None:
        super().__init__()
        inner = 2 * channels
        groups = inner // math.gcd(inner, group)
        gain = math.sqrt(2 / (1 + SLOPE**2)) * count**-0.25
        self.layers = nn.Sequential(
            start(nn.Conv2d(channels, inner, 1), gain),
            nn.LeakyReLU(SLOPE),
            start(nn.Conv2d(inner, inner, 3, padding=1, groups=groups), gain),
            nn.LeakyReLU(SLOPE),
            start(nn.Conv2d(inner, channels, 1, bias=False), gain=0),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """[n, C, H, W] -> [n, C, H, W]."""
        return maps + self.layers(maps)  # type: ignore[no-any-return]


class GenerativeBasis(nn.Module):
    """Latents -> a learned map for each channel, scaled by a linear function of the latent."""

    def __init__(self, latent_size: int, channels: int, size: Size) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, *size))
        self.scale = start(nn.Linear(latent_size, channels, bias=False))

    def forward(self, latent: Tensor) -> Tensor:
        """[n, latent] -> [n, C, *size]."""
        return self.scale(latent)[..., None, None] * self.basis  # type: ignore[no-any-return]


class DiscriminativeBasis(nn.Module):
    """Each channel's map -> its inner product with a learned one: a depthwise convolution as large as the map."""

    def __init__(self, channels: int, size: Size) -> None:
        super().__init__()
        self.basis = nn.Parameter(torch.randn(channels, *size) / math.sqrt(math.prod(size)))

    def forward(self, maps: Tensor) -> Tensor:
        """[n, C, *size] -> [n, C]."""
        return (maps * self.basis).sum((2, 3))


class Resample(nn.Module):
    """To another size, bilinearly, and to other channels by a 1x1 convolution, where they change."""

    def __init__(self, before: int, after: int, size: Size) -> None:
        super().__init__()
        self.size = size
        self.change = pointwise(before, after) if before != after else nn.Identity()


class Enlarge(Resample):
    """Channels first; then to a larger size."""

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, h, w] -> [n, after, *size]."""
        return enlarged(self.change(maps), self.size)


class Reduce(Resample):
    """To a smaller size; then channels."""

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, H, W] -> [n, after, *size]."""
        return self.change(reduced(maps, self.size))  # type: ignore[no-any-return]


def enlarged(maps: Tensor, size: Size) -> Tensor:
    """Maps [n, C, h, w] at a larger size, bilinearly, with zeros around them.

    For doubles that is the published filter (1, 3, 3, 1) / 4 along each side, over maps with zeros inserted and around.
    """
    large = F.interpolate(maps, size=size, mode="bilinear")  # which repeats the edges
    return large * _shares(maps.shape[2:], size, large)


def reduced(maps: Tensor, size: Size) -> Tensor:
    """Maps [n, C, H, W] at a smaller size: the transpose of `enlarged`, scaled so that averages stay but at the edges.

    For halves that is the published filter (1, 3, 3, 1) / 8 along each side, with zeros around; no place aliases.
    """
    if maps.device.type != "cpu":
        return _reduced_by_matrices(maps, size)
    whole = list(maps.shape)
    # torch's kernel of the enlargement's gradient is that transpose; it is many times faster on a CPU than smoothing by
    # a depthwise convolution, or than antialiased interpolation, above all where it is differentiated twice.
    maps = maps * _shares(size, whole[2:], maps)  # that kernel is for repeated edges
    transposed = torch.ops.aten.upsample_bilinear2d_backward(maps, whole[2:], [*whole[:2], *size], False)
    return transposed * (math.prod(size) / math.prod(whole[2:]))  # type: ignore[no-any-return]


def _reduced_by_matrices(maps: Tensor, size: Size) -> Tensor:
    """The same as two matrix products: on a GPU torch's kernel adds in any order, so its bits cannot be repeated."""
    rows, columns = (_enlarging(small, large).to(maps) for small, large in zip(size, maps.shape[2:]))
    return rows.T @ maps @ columns


def _shares(small: Sequence[int], large: Sequence[int], like: Tensor) -> Tensor:
    """Enlarging with zeros around gives these shares [H, W] of what enlarging with repeated edges gives.

    Outside the outermost centres of the small maps the latter gives the value at the edge, the former less of it: for
    doubles 3/4 along the sides, and 1 within.
    """
    rows, columns = (_share(*sizes).to(like) for sizes in zip(small, large))
    return rows[:, None] * columns


def _share(small: int, large: int) -> Tensor:
    places = (torch.arange(large, dtype=torch.float64) + 0.5) * (small / large) - 0.5
    return 1 - (-places).clamp(min=0) - (places - (small - 1)).clamp(min=0)


def _enlarging(small: int, large: int) -> Tensor:
    """The matrix [large, small] of bilinear enlargement along one side, scaled as its transpose is used."""
    basis = F.interpolate(torch.eye(small)[None], size=large, mode="linear")[0].T
    return basis * _share(small, large)[:, None] * (small / large)


def pointwise(before: int, after: int) -> nn.Module:
    """A 1x1 convolution that no activation follows; without a bias."""
    return start(nn.Conv2d(before, after, 1, bias=False))


def start(layer: nn.Module, gain: float = 1.0) -> nn.Module:
    """Draw a linear layer's weights with deviation gain / sqrt(fan in); its bias is 0."""
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    nn.init.normal_(layer.weight, std=gain / math.sqrt(layer.weight[0].numel()))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def levels(owner: str, shape: Shape, width: int, most: int, blocks: int, group: int) -> tuple[list[Size], list[int]]:
    """The sizes of maps, from the image's down, and their channels, once the options are found to be in range."""
    check_counts(owner, width=width, most=most, blocks=blocks, group=group)
    sizes = halvings(shape)
    return sizes, [min(width * 2**level, most) for level in range(len(sizes))]
