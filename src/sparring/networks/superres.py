"""Networks for super-resolution and restoration: the upsampled source plus learned details."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.networks.images import ImageGenerator, InputRange, conv_range, reach_of, upsample_range
from sparring.networks.layers import Shape, Upsample, check_counts

CUBIC = 2  # reach of bicubic interpolation in source pixels


class Upscaler(ImageGenerator):
    """Sources [n, C, h, w] -> raw maps [n, C', scale * h, scale * w]: the bicubic upsampling plus `details`.

    `scale` is 1, 2, 3, 4 or 8. The source is added only if it has the target's channels, or one channel, which is added
    to each of the target's. Then the last layer starts at zero, so training starts with the interpolated image.
    """

    scales = (1, 2, 3, 4, 8)

    def __init__(self, source_shape: Shape, target_shape: Shape) -> None:
        super().__init__(source_shape, target_shape)
        self.adds_source = source_shape[0] in (1, target_shape[0])

    @abstractmethod
    def details(self, source: Tensor) -> Tensor:
        """Sources [n, C, h, w] -> [n, C', scale * h, scale * w]."""

    @property
    @abstractmethod
    def input_ranges(self) -> Sequence[InputRange]:
        """Input ranges of the layers of `details`."""

    @property
    def reach(self) -> int | None:
        return max(reach_of(self.input_ranges, self.scale, 1), CUBIC if self.scale > 1 else 0)

    def translate(self, source: Tensor) -> Tensor:
        details = self.details(source)
        if not self.adds_source:
            return details
        if self.scale > 1:
            # in fp32: bf16 would round pixels to one of 256 values
            source = F.interpolate(source.float(), scale_factor=self.scale, mode="bicubic").to(source.dtype)
        return source + details

    def zero_last_layer(self, last: nn.Conv2d) -> None:
        """Initialise the last layer to zero if the source is added to its output."""
        if self.adds_source:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]


class EDSRGenerator(Upscaler):
    """EDSR: residual blocks without normalisation, and a pixel shuffle. Source: Lim et al. 2017, section 3.

    Sources [n, C, h, w] -> raw maps [n, C', scale * h, scale * w]; see `Upscaler`. The paper upsamples by steps of two,
    with 3x3 convolutions without activations between. All of them are linear, so here one convolution gives all pixels
    at once, for a tenth of the work at scale 4.

    Args:
        source_shape: [C, H, W].
        target_shape: [C', scale * H, scale * W].
        width: channels; the paper's baseline has 64.
        blocks: number of residual blocks; the paper's baseline has 16.
        dilation: largest dilation; the first convolutions of the blocks have dilations 1, 2, 4 ... up to it, in turn
            (Zhang et al. 2017, IRCNN), which increases the reach for the same work.
    """

    def __init__(
        self, source_shape: Shape, target_shape: Shape, *, width: int = 32, blocks: int = 8, dilation: int = 1
    ) -> None:
        super().__init__(source_shape, target_shape)
        check_counts("EDSRGenerator", dilation=dilation, width=width, blocks=blocks)
        cycle = [2**i for i in range(dilation.bit_length())]
        self.dilations = [cycle[i % len(cycle)] for i in range(blocks)]
        self.first = nn.Conv2d(source_shape[0], width, 3, padding=1)
        body = [EDSRBlock(width, blocks, step) for step in self.dilations]
        self.body = nn.Sequential(*body, nn.Conv2d(width, width, 3, padding=1))
        self.last = nn.Conv2d(width, target_shape[0] * self.scale**2, 3, padding=1)
        self.zero_last_layer(self.last)

    @property
    def input_ranges(self) -> Sequence[InputRange]:
        return [conv_range(3 + sum(step + 1 for step in self.dilations)), upsample_range(self.scale, radius=0)]

    def details(self, source: Tensor) -> Tensor:
        maps = self.first(source)
        return F.pixel_shuffle(self.last(maps + self.body(maps)), self.scale)


class EDSRBlock(nn.Module):
    """maps + (3x3, ReLU, 3x3)(maps)."""

    def __init__(self, width: int, blocks: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        init_he(self.first, 1.0)
        init_he(self.second, (2 * blocks) ** -0.5)  # each block adds 1 / blocks of the variance

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(F.relu(self.first(maps)))  # type: ignore[no-any-return]


class RRDBGenerator(Upscaler):
    """ESRGAN's generator: residual-in-residual dense blocks, then upsampling. Source: Wang et al. 2018, 3.1.

    Sources [n, C, h, w] -> raw maps [n, C', scale * h, scale * w]; see `Upscaler`. Each block holds three dense blocks
    of five convolutions. Upsampling repeats pixels.

    Args:
        source_shape: [C, H, W].
        target_shape: [C', scale * H, scale * W].
        width: channels; the paper has 64.
        blocks: number of blocks; the paper has 23.
        growth: channels that each convolution of a dense block adds; the authors' code has 32.
    """

    def __init__(
        self, source_shape: Shape, target_shape: Shape, *, width: int = 32, blocks: int = 4, growth: int = 16
    ) -> None:
        super().__init__(source_shape, target_shape)
        check_counts("RRDBGenerator", width=width, blocks=blocks, growth=growth)
        self.blocks = blocks
        self.first = nn.Conv2d(source_shape[0], width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        rise = [layer for step in self._steps for layer in (*upsampling(width, step), nn.LeakyReLU(0.2))]
        self.rise = nn.Sequential(*rise, nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2))
        self.last = nn.Conv2d(width, target_shape[0], 3, padding=1)
        self.zero_last_layer(self.last)

    @property
    def input_ranges(self) -> Sequence[InputRange]:
        return [conv_range(15 * self.blocks + 2), *(upsample_range(step) for step in self._steps), conv_range(2)]

    def details(self, source: Tensor) -> Tensor:
        maps = self.first(source)
        return self.last(self.rise(maps + self.body(maps)))  # type: ignore[no-any-return]

    @property
    def _steps(self) -> list[int]:
        return {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[self.scale]


def upsampling(width: int, scale: int) -> list[nn.Module]:
    """Nearest-neighbour upsampling, then a 3x3 convolution."""
    if scale == 2:
        return [Upsample(width, width)]
    return [nn.Upsample(scale_factor=scale, mode="nearest"), nn.Conv2d(width, width, 3, padding=1)]


class RRDB(nn.Module):
    """maps + 0.2 * (three dense blocks)(maps)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + 0.2 * self.blocks(maps)  # type: ignore[no-any-return]


class DenseBlock(nn.Module):
    """maps + 0.2 * (five 3x3 convolutions, each on the outputs of all before it)(maps).

    Initial weights are a tenth of those of He et al. 2015, as in the paper's supplement.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        afters = [growth] * 4 + [width]
        self.layers = nn.ModuleList(nn.Conv2d(width + i * growth, n, 3, padding=1) for i, n in enumerate(afters))
        for layer in self.layers:
            init_he(layer, 0.1)

    def forward(self, maps: Tensor) -> Tensor:
        features = [maps]
        for layer in self.layers[:-1]:
            features.append(F.leaky_relu(layer(torch.cat(features, 1)), 0.2))
        return maps + 0.2 * self.layers[-1](torch.cat(features, 1))  # type: ignore[no-any-return]


def init_he(layer: nn.Module, factor: float) -> None:
    """Initialise as He et al. 2015 for ReLU: weights times `factor`, biases 0."""
    assert isinstance(layer, nn.Conv2d)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.weight.mul_(factor)
