"""Layers and helpers that several networks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from sparring.base.errors import UserError, check_number
from sparring.base.workers import workers

Shape = Sequence[int]
NORMS = ("instance", "batch", "none")


def check_counts(owner: str, least: int = 1, **counts: object) -> None:
    """Raise UserError unless each option is a whole number of at least `least`."""
    for name, value in counts.items():
        check_number(owner, name, value, low=least, whole=True)


def maybe_spectral(layer: nn.Module, use: bool) -> nn.Module:
    """The layer; with spectral normalisation (Miyato et al. 2018) if `use`."""
    return spectral_norm(layer) if use else layer


class Dropout(nn.Dropout):
    """Dropout whose masks, of several workers, are those of a single one that has the whole batch."""

    def forward(self, maps: Tensor) -> Tensor:
        if not (self.training and workers().several):
            return super().forward(maps)
        return maps * workers().draw_like(lambda like: F.dropout(torch.ones_like(like), self.p), maps.detach())


def required(label: Tensor | None) -> Tensor:
    """The labels of a batch. UserError: there are none."""
    if label is None:
        raise UserError("the network has classes and needs a label for each sample; pass label=...")
    return label


def check_latent(owner: str, size: object) -> None:
    """Raise UserError unless `size` is a latent size: the task must generate samples from noise."""
    if not isinstance(size, int):
        raise UserError(
            f"{owner} generates samples from noise, and this task translates images; use UNetGenerator(), "
            "ResNetTranslator() or, to upscale, EDSRGenerator()"
        )


class Conditional(nn.Module):
    """A layer that is called with maps and labels; `run_layers` passes both."""


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
    """Batch normalisation, conditional if there are classes."""
    return ConditionalBatchNorm(channels, classes) if classes else nn.BatchNorm2d(channels)


def image_norm(norm: str, channels: int) -> nn.Module:
    """A layer by its name in `NORMS`: instance normalisation without gains, batch normalisation with gains, or none."""
    if norm == "none":
        return nn.Identity()
    return nn.BatchNorm2d(channels) if norm == "batch" else nn.InstanceNorm2d(channels)


def run_layers(layers: Iterable[nn.Module], maps: Tensor, label: Tensor | None) -> Tensor:
    """Run layers in order; conditional ones also get the label."""
    for layer in layers:
        maps = layer(maps, label) if isinstance(layer, Conditional) else layer(maps)
    return maps


class MinibatchDeviation(nn.Module):
    """Minibatch standard deviation: one more channel, by which a discriminator detects mode collapse.

    The channel holds the standard deviation of features over each group of `group` samples, averaged over features and
    positions. The last group may be smaller; the deviation of a single sample is 0.
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
            deviation = (variance + 1e-8).sqrt().mean()  # the gradient of the root is infinite at 0
            parts.append(deviation.expand(len(part), 1, *part.shape[2:]))
        return torch.cat([features, torch.cat(parts)], 1)


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by 2, then a 3x3 convolution, which avoids checkerboards (Odena et al. 2016)."""

    def __init__(self, before: int, after: int, bias: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(before, after, 3, padding=1, bias=bias)

    def forward(self, maps: Tensor) -> Tensor:
        """[n, before, h, w] -> [n, after, 2 h, 2 w]."""
        return convolved_after_doubling(maps, self.convolution)


def convolved_after_doubling(maps: Tensor, convolution: nn.Module) -> Tensor:
    """Maps [n, C, h, w], upsampled by 2 (nearest neighbour), after a 3x3 `convolution`: [n, K, 2 h, 2 w].

    Both together are one transposed 4x4 convolution, which takes 4/9 of the work.
    """
    assert isinstance(convolution, nn.Conv2d)
    flipped = convolution.weight.flip(2, 3).transpose(0, 1)
    weight = F.avg_pool2d(flipped, 2, stride=1, padding=1, divisor_override=1)  # sums of 2x2: 3x3 becomes 4x4
    return F.conv_transpose2d(maps, weight, convolution.bias, stride=2, padding=1)


def convolved_before_pooling(maps: Tensor, convolution: nn.Module) -> Tensor:
    """`pooled` of a 3x3 `convolution` of maps: [n, C, H, W] -> [n, K, H // 2, W // 2].

    Both together are one 4x4 convolution with stride 2, which takes 4/9 of the work; it is 5 along an odd side.
    """
    assert isinstance(convolution, nn.Conv2d)
    height, width = pooling_windows(maps)
    padded = F.pad(convolution.weight, (width - 1, width - 1, height - 1, height - 1))
    weight = F.avg_pool2d(padded, (height, width), stride=1)  # means of 2x2: 3x3 becomes 4x4
    return F.conv2d(maps, weight, convolution.bias, stride=2, padding=1)


def pooled(maps: Tensor) -> Tensor:
    """Average pooling by 2; an odd side uses overlapping windows of 3, so that no row is left out."""
    return F.avg_pool2d(maps, pooling_windows(maps), 2)


def pooling_windows(maps: Tensor) -> tuple[int, int]:
    """Height and width of the windows that pool maps by 2."""
    height, width = maps.shape[2:]
    return 2 + height % 2, 2 + width % 2


def reflection_pad(maps: Tensor, by: int) -> Tensor:
    """Reflection padding by `by` rows and columns on each side. Maps must be larger than `by`.

    Unlike torch's own, its gradient is deterministic on a GPU.
    """
    for side in (2, 3):
        first = maps.narrow(side, 1, by).flip(side)
        last = maps.narrow(side, maps.shape[side] - 1 - by, by).flip(side)
        maps = torch.cat([first, maps, last], side)
    return maps


def init_normal(network: nn.Module, norm: str) -> None:
    """Initialise convolutions as pix2pix and CycleGAN do: weights N(0, 0.02^2), biases 0.

    With norm "none", weights are N(0, 1 / fan in), which keeps the variance of the maps.
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
    """Sizes (height, width) of an image's shape, halved (rounding down) while both sides stay at least `smallest`.

    (28, 28) gives 28, 14, 7; (50, 37) gives (50, 37), (25, 18), (12, 9), (6, 4).

    Raises:
        UserError: the shape is not [C, H, W], or a side is below 8.
    """
    if len(shape) != 3:
        raise UserError(
            f"a convolutional network needs images [C, H, W], and the data has shape {list(shape)}; use an MLP"
        )
    height, width = shape[1:]
    if min(height, width) < 8:
        raise UserError(f"images of {height}x{width} are too small for convolutions, which take 8x8 and up; use an MLP")
    sizes = [(height, width)]
    while min(sizes[-1]) // 2 >= smallest:
        sizes.append((sizes[-1][0] // 2, sizes[-1][1] // 2))
    return sizes
