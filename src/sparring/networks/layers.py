"""Pieces that several network families share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sparring.base.errors import UserError, check_number

Shape = Sequence[int]
NORMS = ("instance", "batch", "none")


def check_counts(owner: str, least: int = 1, **counts: object) -> None:
    """Raise UserError unless all options are whole numbers of at least `least`."""
    for name, value in counts.items():
        check_number(owner, name, value, low=least, whole=True)


def maybe_spectral(layer: nn.Module, use: bool) -> nn.Module:
    """The layer, divided by its largest singular value if `use` (Miyato et al. 2018)."""
    return spectral_norm(layer) if use else layer


def required(label: Tensor | None) -> Tensor:
    """The labels of a batch, which a network with classes cannot do without."""
    if label is None:
        raise UserError("a network with classes needs a label for each sample")
    return label


def check_latent(owner: str, size: object) -> None:
    """Raise UserError unless a generator that makes samples of noise is given how many numbers a latent has."""
    if not isinstance(size, int):
        raise UserError(
            f"{owner} makes samples of noise, and this task turns images into others; take UNetGenerator(), "
            "ResNetTranslator() or, to enlarge, EDSRGenerator()"
        )


class Conditional(nn.Module):
    """A layer that is called with maps and the samples' labels; `run_layers` gives it both."""


class ConditionalBatchNorm(Conditional):
    """Batch normalisation with a gain and a bias for each class. Source: Dumoulin et al. 2017, equation 5."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.bias = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.bias.weight)

    def forward(self, maps: Tensor, label: Tensor | None) -> Tensor:
        """Maps [n, C, H, W] and labels [n] -> [n, C, H, W]."""
        label = required(label)
        gain, bias = self.gain(label)[..., None, None], self.bias(label)[..., None, None]
        return torch.addcmul(bias, gain, self.norm(maps))


def normalisation(channels: int, classes: int) -> nn.Module:
    """Batch normalisation; of labelled samples, the conditional one."""
    return ConditionalBatchNorm(channels, classes) if classes else nn.BatchNorm2d(channels)


def image_norm(norm: str, channels: int) -> nn.Module:
    """One of `NORMS`: of each image by itself, without gains; of the batch, with them; or none."""
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels)


def run_layers(layers: Iterable[nn.Module], maps: Tensor, label: Tensor | None) -> Tensor:
    """Layer after layer; those that are conditional are given the label."""
    for layer in layers:
        maps = layer(maps, label) if isinstance(layer, Conditional) else layer(maps)
    return maps


class MinibatchDeviation(nn.Module):
    """One more channel, by which D sees a batch of copies: the deviation of features over each group of samples.

    It is averaged over features and places. The last group may be smaller; that of a group of one is 0.
    Source: Karras et al. 2018, section 3; groups as in Karras et al. 2020.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, features: Tensor) -> Tensor:
        """[n, C, ...] -> [n, C + 1, ...]."""
        parts = []
        for part in features.split(self.group):
            variance = (part - part.mean(0)).square().mean(0)
            deviation = (variance + 1e-8).sqrt().mean()  # the root's own gradient is infinite at 0
            parts.append(deviation.expand(len(part), 1, *part.shape[2:]))
        return torch.cat([features, torch.cat(parts)], 1)


class Enlarge(nn.Module):
    """Each pixel becomes 2x2 equal ones, then a 3x3 convolution: no checkerboards (Odena et al. 2016).

    Computed as the one transposed 4x4 convolution that both together are, for 4/9 of the work.
    """

    def __init__(self, before: int, after: int, bias: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, h, w] -> [n, after, 2 h, 2 w]."""
        flipped = self.convolution.weight.flip(2, 3).transpose(0, 1)
        weight = F.avg_pool2d(flipped, 2, stride=1, padding=1, divisor_override=1)  # sums of 2x2: 3x3 becomes 4x4
        return F.conv_transpose2d(maps, weight, self.convolution.bias, stride=2, padding=1)


def reflected(maps: Tensor, by: int) -> Tensor:
    """Maps with `by` more rows and columns on each side, which mirror the inner ones; they must be larger than `by`.

    Unlike torch's own, its gradient is the same each time on a GPU.
    """
    for side in (2, 3):
        first = maps.narrow(side, 1, by).flip(side)
        last = maps.narrow(side, maps.shape[side] - 1 - by, by).flip(side)
        maps = torch.cat([first, maps, last], side)
    return maps


def start_normal(network: nn.Module, norm: str) -> None:
    """Let convolutions begin as pix2pix's and CycleGAN's do: weights N(0, 0.02), biases 0.

    Where no normalisation makes up for such small weights, they are N(0, 1 / inputs), so that sums keep their size.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            if norm == "none":
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            else:
                nn.init.normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def halvings(shape: Shape, smallest: int = 4) -> list[tuple[int, int]]:
    """Sizes from (height, width) down by floor halving, while both sides stay at least `smallest`.

    (28, 28) gives 28, 14, 7; (50, 37) gives (50, 37), (25, 18), (12, 9), (6, 4).
    """
    if len(shape) != 3:
        raise UserError(f"a convolutional network needs images [C, H, W], the data has shape {list(shape)}; use an MLP")
    height, width = shape[1:]
    if min(height, width) < 8:
        raise UserError(f"images of {height}x{width} are too small for convolutions, which take 8x8 and up; use an MLP")
    sizes = [(height, width)]
    while min(sizes[-1]) // 2 >= smallest:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes
