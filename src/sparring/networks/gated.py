"""Inpainting with gated convolutions. Source: Yu et al. 2019, sections 3.1 (the layer) and 3.2 (the network)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.networks.images import ImageGenerator, InputRange, conv_range, reach_of, strided_range, upsample_range
from sparring.networks.layers import Shape, Upsample, check_counts

DILATIONS = (2, 4, 8, 16)
GAIN = 2.5  # preserves the mean square of normal inputs: E[elu(2.5 z)^2] E[sigmoid(z)^2] = 1


class GatedGenerator(ImageGenerator):
    """Sources [n, C, h, w] -> raw maps [n, C', h, w]: an encoder to a quarter of the size, dilations, a decoder.

    All convolutions but the last are gated. A source is an image with zeros in its holes; its last channel is the mask,
    1 where pixels are missing. The layers are those of the paper's coarse network; the refinement network is left out.
    Unlike the paper's, the encoder's maps at full and half size are added to the decoder's.

    Args:
        source_shape: [C, H, W], mask included.
        target_shape: [C', H, W].
        width: channels at full size, at least 2; the authors' code uses 48.
        blocks: number of dilated convolutions, with dilations 2, 4, 8, 16 in turn.
    """

    def __init__(self, source_shape: Shape, target_shape: Shape, *, width: int = 32, blocks: int = 4) -> None:
        super().__init__(source_shape, target_shape)
        check_counts("GatedGenerator", 2, width=width)
        check_counts("GatedGenerator", 0, blocks=blocks)
        self.stride = 4
        self.dilations = [DILATIONS[i % len(DILATIONS)] for i in range(blocks)]
        half, double, most = width // 2, 2 * width, 4 * width
        self.at_full = gated(source_shape[0], width, kernel=5)
        self.at_half = nn.Sequential(gated(width, double, stride=2), gated(double, double))
        middle = [gated(double, most, stride=2), gated(most, most)]
        middle += [gated(most, most, dilation=dilation) for dilation in self.dilations]
        self.at_quarter = nn.Sequential(*middle, gated(most, most))
        self.to_half = Gated(Upsample(most, 2 * double))
        self.to_full = nn.Sequential(gated(double, double), Gated(Upsample(double, 2 * width)))
        self.last = nn.Sequential(gated(width, half), nn.Conv2d(half, target_shape[0], 3, padding=1))
        nn.init.zeros_(self.last[-1].bias)  # type: ignore[arg-type]

    @property
    def reach(self) -> int | None:
        down: list[InputRange] = [
            conv_range(2),
            strided_range(3),
            conv_range(1),
            strided_range(3),
            conv_range(1 + sum(self.dilations) + 1),
        ]
        return reach_of(
            [*down, upsample_range(), conv_range(1), upsample_range(), conv_range(2)], self.scale, self.stride
        )

    def translate(self, source: Tensor) -> Tensor:
        full = self.at_full(source)
        half = self.at_half(full)
        return self.last(full + self.to_full(half + self.to_half(self.at_quarter(half))))  # type: ignore[no-any-return]


class Gated(nn.Module):
    """elu(features) * sigmoid(gates), both from one convolution with twice the channels. Source: equation 4."""

    def __init__(self, convolution: nn.Conv2d | Upsample) -> None:
        super().__init__()
        self.convolution = convolution
        plain = convolution.convolution if isinstance(convolution, Upsample) else convolution
        inputs = math.prod(plain.weight.shape[1:])
        features, gates = plain.weight.detach().chunk(2)
        nn.init.normal_(features, std=GAIN * inputs**-0.5)
        nn.init.normal_(gates, std=inputs**-0.5)
        nn.init.zeros_(plain.bias)  # type: ignore[arg-type]

    def forward(self, maps: Tensor) -> Tensor:
        features, gates = self.convolution(maps).chunk(2, 1)
        return F.elu(features) * torch.sigmoid(gates)


def gated(before: int, after: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> Gated:
    """A gated convolution; stride 1 keeps the size, stride 2 halves it."""
    padding = dilation * (kernel // 2)
    return Gated(nn.Conv2d(before, 2 * after, kernel, stride, padding, dilation))
