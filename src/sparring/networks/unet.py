"""The U-Net of pix2pix. Source: Isola et al. 2017, appendix 6.1.1."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sparring.base.errors import check_choice, check_number
from sparring.networks.images import ImageGenerator, InputRange, reach_of, strided_range, upsample_range
from sparring.networks.layers import NORMS, Dropout, Shape, Upsample, check_counts, image_norm, init_normal

DEEPEST = 8
DROPPED = 3


class UNetGenerator(ImageGenerator):
    """Sources [n, C, h, w] -> raw maps [n, C', h, w], by strided 4x4 convolutions, upsampling and skip connections.

    Upsampling repeats pixels before a 3x3 convolution; the paper's transposed convolutions cost the same and leave
    checkerboards. As in the authors' code, the outermost and innermost levels are not normalised. Images are padded to
    a multiple of 2**depth, and the output is cropped.

    Args:
        source_shape: [C, H, W].
        target_shape: [C', H, W].
        width: channels of the first level; they double with each level, up to 8 * width.
        depth: number of halvings, at most 8 (the paper's); 0: halve to about 4 pixels at the size of training.
        norm: "instance", "batch" (the paper's) or "none".
        dropout: share of values dropped in training in the decoder's three innermost levels (the paper: 0.5).
    """

    def __init__(
        self,
        source_shape: Shape,
        target_shape: Shape,
        *,
        width: int = 64,
        depth: int = 0,
        norm: str = "instance",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(source_shape, target_shape)
        check_counts("UNetGenerator", width=width)
        check_number("UNetGenerator", "depth", depth, low=0, high=DEEPEST, whole=True)
        check_choice("UNetGenerator", "norm", norm, NORMS)
        check_number("UNetGenerator", "dropout", dropout, low=0, high=1)
        depth = depth or min(max(round(math.log2(min(source_shape[1:]) / 4)), 1), DEEPEST)
        self.norm, self.depth, self.stride = norm, depth, 2**depth
        channels = [min(width * 2**level, 8 * width) for level in range(depth)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, after in enumerate(channels):
            plain = level in (0, depth - 1)
            before = channels[level - 1] if level else source_shape[0]
            convolution = nn.Conv2d(before, after, 4, 2, 1, bias=plain or norm == "none")
            activation = [nn.LeakyReLU(0.2)] if level else []
            self.down.append(nn.Sequential(*activation, convolution, image_norm("none" if plain else norm, after)))
        for level in reversed(range(depth)):
            before = channels[level] * (1 if level == depth - 1 else 2)
            after = channels[level - 1] if level else target_shape[0]
            layers = [nn.ReLU(), Upsample(before, after, bias=level == 0 or norm == "none")]
            if level:
                layers.append(image_norm(norm, after))
                layers += [Dropout(dropout)] if dropout and depth - level <= DROPPED else []
            self.up.append(nn.Sequential(*layers))
        init_normal(self, norm)

    @property
    def reach(self) -> int | None:
        if self.norm == "instance" and self.depth > 1:
            return None
        input_ranges: list[InputRange] = [strided_range(4)] * self.depth + [upsample_range()] * self.depth
        return reach_of(input_ranges, self.scale, self.stride)

    def translate(self, source: Tensor) -> Tensor:
        skips = [self.down[0](source)]
        for layer in self.down[1:]:
            skips.append(layer(skips[-1]))
        maps = self.up[0](skips.pop())
        for layer in self.up[1:]:
            maps = layer(torch.cat([maps, skips.pop()], 1))
        return maps  # type: ignore[no-any-return]
