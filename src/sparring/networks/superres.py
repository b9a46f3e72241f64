"""Networks that enlarge images, or restore them at their size: the source enlarged, plus what is learnt."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.networks.images import ImageGenerator, Look, around, enlarged, reach_of
from sparring.networks.layers import Enlarge, Shape, check_counts

CUBIC = 2  # rows and columns on each side that bicubic interpolation looks at


class Enlarger(ImageGenerator):
    """The source, enlarged by bicubic interpolation, plus `details` of it.

    The target is 1, 2, 3, 4 or 8 times as large. The source is added where it has the target's channels, or one (which
    then stands for each of them). There, the last layer begins at zero, so that training begins with the interpolated
    image.
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
    def looks(self) -> Sequence[Look]:
        """What the layers of `details` look at."""

    @property
    def reach(self) -> int | None:
        return max(reach_of(self.looks, self.scale, 1), CUBIC if self.scale > 1 else 0)

    def translate(self, source: Tensor) -> Tensor:
        details = self.details(source)
        if not self.adds_source:
            return details
        if self.scale > 1:
            # in fp32, as interpolating in bf16 would round pixels to one of 256 values
            source = F.interpolate(source.float(), scale_factor=self.scale, mode="bicubic").to(source.dtype)
        return source + details

    def begin_at_the_source(self, last: nn.Conv2d) -> None:
        """Let the last layer begin at zero, if the source is added to what it gives."""
        if self.adds_source:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)  # type: ignore[arg-type]


class EDSRGenerator(Enlarger):
    """Residual blocks without normalisation, and a shuffle of channels into pixels. Source: Lim et al. 2017, section 3.

    The paper enlarges by two at a time, with 3x3 convolutions and no activation in between, and ends with another one.
    All that is linear, so here one convolution gives all pixels at once, for a tenth of the work at scale 4.

    The paper's baseline has `width=64, blocks=16`. From block to block, the first convolution is dilated by 1, 2, 4 ...
    up to `dilation`, and by 1 again (Zhang et al. 2017, IRCNN); so they see further for the same work.
    """

    def __init__(
        self, source_shape: Shape, target_shape: Shape, *, width: int = 32, blocks: int = 8, dilation: int = 1
    ) -> None:
        super().__init__(source_shape, target_shape)
        check_counts("EDSRGenerator", dilation=dilation, width=width, blocks=blocks)
        rounds = [2**i for i in range(dilation.bit_length())]
        self.dilations = [rounds[i % len(rounds)] for i in range(blocks)]
        self.first = nn.Conv2d(source_shape[0], width, 3, padding=1)
        body = [EDSRBlock(width, blocks, step) for step in self.dilations]
        self.body = nn.Sequential(*body, nn.Conv2d(width, width, 3, padding=1))
        self.last = nn.Conv2d(width, target_shape[0] * self.scale**2, 3, padding=1)
        self.begin_at_the_source(self.last)

    @property
    def looks(self) -> Sequence[Look]:
        return [around(3 + sum(step + 1 for step in self.dilations)), enlarged(self.scale, radius=0)]

    def details(self, source: Tensor) -> Tensor:
        maps = self.first(source)
        return F.pixel_shuffle(self.last(maps + self.body(maps)), self.scale)


class EDSRBlock(nn.Module):
    """maps + (3x3, ReLU, 3x3)(maps)."""

    def __init__(self, width: int, blocks: int, dilation: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        start_he(self.first, 1.0)
        start_he(self.second, (2 * blocks) ** -0.5)  # the sum over all blocks is as large as what they start from

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.second(F.relu(self.first(maps)))  # type: ignore[no-any-return]


class RRDBGenerator(Enlarger):
    """Residual-in-residual dense blocks, then enlargement by copying pixels. Source: Wang et al. 2018 (ESRGAN), 3.1.

    Each of the `blocks` (the paper: 23, of `width` 64) holds three dense blocks of five convolutions, which add
    `growth` channels each (the authors' code: 32).
    """

    def __init__(
        self, source_shape: Shape, target_shape: Shape, *, width: int = 32, blocks: int = 4, growth: int = 16
    ) -> None:
        super().__init__(source_shape, target_shape)
        check_counts("RRDBGenerator", width=width, blocks=blocks, growth=growth)
        self.blocks = blocks
        self.first = nn.Conv2d(source_shape[0], width, 3, padding=1)
        self.body = nn.Sequential(*(RRDB(width, growth) for _ in range(blocks)), nn.Conv2d(width, width, 3, padding=1))
        rise = [layer for step in self._steps for layer in (*enlarging(width, step), nn.LeakyReLU(0.2))]
        self.rise = nn.Sequential(*rise, nn.Conv2d(width, width, 3, padding=1), nn.LeakyReLU(0.2))
        self.last = nn.Conv2d(width, target_shape[0], 3, padding=1)
        self.begin_at_the_source(self.last)

    @property
    def looks(self) -> Sequence[Look]:
        return [around(15 * self.blocks + 2), *(enlarged(step) for step in self._steps), around(2)]

    def details(self, source: Tensor) -> Tensor:
        maps = self.first(source)
        return self.last(self.rise(maps + self.body(maps)))  # type: ignore[no-any-return]

    @property
    def _steps(self) -> list[int]:
        return {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[self.scale]


def enlarging(width: int, scale: int) -> list[nn.Module]:
    """Copies of each pixel, then a 3x3 convolution."""
    if scale == 2:
        return [Enlarge(width, width)]
    return [nn.Upsample(scale_factor=scale, mode="nearest"), nn.Conv2d(width, width, 3, padding=1)]


class RRDB(nn.Module):
    """maps + 0.2 * (three dense blocks)(maps)."""

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(DenseBlock(width, growth) for _ in range(3)))

    def forward(self, maps: Tensor) -> Tensor:
        return maps + 0.2 * self.blocks(maps)  # type: ignore[no-any-return]


class DenseBlock(nn.Module):
    """maps + 0.2 * (five 3x3 convolutions, each of which sees what all before it gave)(maps).

    Weights begin a tenth as large as He et al. 2015 have it, as in the paper's supplement.
    """

    def __init__(self, width: int, growth: int) -> None:
        super().__init__()
        afters = [growth] * 4 + [width]
        self.layers = nn.ModuleList(nn.Conv2d(width + i * growth, n, 3, padding=1) for i, n in enumerate(afters))
        for layer in self.layers:
            start_he(layer, 0.1)

    def forward(self, maps: Tensor) -> Tensor:
        seen = [maps]
        for layer in self.layers[:-1]:
            seen.append(F.leaky_relu(layer(torch.cat(seen, 1)), 0.2))
        return maps + 0.2 * self.layers[-1](torch.cat(seen, 1))  # type: ignore[no-any-return]


def start_he(layer: nn.Module, factor: float) -> None:
    """Weights as He et al. 2015 have it for rectified layers, times `factor`; biases 0."""
    assert isinstance(layer, nn.Conv2d)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    with torch.no_grad():
        layer.weight.mul_(factor)
