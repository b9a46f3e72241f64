"""The residual translator. Source: Johnson et al. 2016, supplementary material; Zhu et al. 2017 (CycleGAN), 7.2."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sparring.base.errors import UserError, check_choice, check_number
from sparring.networks.images import (
    ImageGenerator,
    InputRange,
    conv_range,
    pad_to_multiple,
    reach_of,
    strided_range,
    upsample_range,
)
from sparring.networks.layers import NORMS, Shape, Upsample, check_counts, image_norm, init_normal, reflection_pad


class ResNetTranslator(ImageGenerator):
    """Sources [n, C, h, w] -> raw maps [n, C', h, w]: 7x7 convolution, downsampling, residual blocks, upsampling, 7x7.

    Upsampling repeats pixels before a 3x3 convolution, as the papers' transposed convolutions leave checkerboards.
    Padding reflects, except in down- and upsampling. `encode` numbers the stages: 0 is the source, 1 the first
    convolution; the halvings and the blocks follow.

    Args:
        source_shape: [C, H, W].
        target_shape: [C', H, W].
        width: channels at full size; CycleGAN uses 64, Johnson et al. 32.
        blocks: number of residual blocks; CycleGAN uses 6 for images of 128x128, and 9 from 256x256.
        norm: "instance", "batch" or "none".
        downsamplings: number of halvings, 0 to 6.
    """

    def __init__(
        self,
        source_shape: Shape,
        target_shape: Shape,
        *,
        width: int = 32,
        blocks: int = 6,
        norm: str = "instance",
        downsamplings: int = 2,
    ) -> None:
        super().__init__(source_shape, target_shape)
        check_counts("ResNetTranslator", width=width, blocks=blocks)
        check_number("ResNetTranslator", "downsamplings", downsamplings, low=0, high=6, whole=True)
        check_choice("ResNetTranslator", "norm", norm, NORMS)
        self.norm, self.blocks, self.downsamplings, self.stride = norm, blocks, downsamplings, 2**downsamplings
        channels = [width * 2**level for level in range(downsamplings + 1)]
        bias = norm == "none"  # a normalisation would cancel it
        first = nn.Conv2d(source_shape[0], width, 7, bias=bias)
        stages: list[nn.Module] = [nn.Sequential(ReflectionPad(3), first, image_norm(norm, width), nn.ReLU())]
        for before, after in zip(channels, channels[1:]):
            halve = nn.Conv2d(before, after, 3, 2, 1, bias=bias)
            stages.append(nn.Sequential(halve, image_norm(norm, after), nn.ReLU()))
        stages += [TranslatorBlock(channels[-1], norm) for _ in range(blocks)]
        self.stages = nn.ModuleList(stages)
        rise: list[nn.Module] = []
        for before, after in zip(channels[:0:-1], channels[-2::-1]):
            rise += [Upsample(before, after, bias=bias), image_norm(norm, after), nn.ReLU()]
        self.rise = nn.Sequential(*rise, ReflectionPad(3), nn.Conv2d(width, target_shape[0], 7))
        self.widths = [source_shape[0], *channels, *[channels[-1]] * blocks]
        init_normal(self, norm)

    @property
    def reach(self) -> int | None:
        if self.norm == "instance":
            return None
        down: list[InputRange] = [strided_range(3)] * self.downsamplings
        up: list[InputRange] = [upsample_range()] * self.downsamplings
        return reach_of(
            [conv_range(3), *down, conv_range(2 * self.blocks), *up, conv_range(3)], self.scale, self.stride
        )

    @property
    def contrast_layers(self) -> tuple[int, ...]:
        """The stages whose features CUT compares: the source, each halving, the first and the middle block.

        Source: Park et al. 2020, section 3 and appendix C.2, where the middle block is the fifth of nine.
        """
        before = self.downsamplings + 1
        return tuple(sorted({0, *range(2, before + 1), before + 1, before + self.blocks // 2 + 1}))

    def encoder_channels(self, layers: Sequence[int]) -> tuple[int, ...]:
        """Channels of the features that `encode` returns for these stages."""
        return tuple(self.widths[layer] for layer in self._known(layers))

    def encode(self, source: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """Features [n, C_i, h_i, w_i] of a source [n, C, h, w] after these stages, in the order of `layers`.

        Later stages are not run. UserError: there is no such stage.
        """
        wanted = self._known(layers)
        maps = self._padded(source)
        found = {0: maps}
        for number in range(1, max(wanted, default=0) + 1):
            maps = self.stages[number - 1](maps)
            found[number] = maps
        return [found[layer] for layer in wanted]

    def translate(self, source: Tensor) -> Tensor:
        maps = self._padded(source)
        for stage in self.stages:
            maps = stage(maps)
        return self.rise(maps)  # type: ignore[no-any-return]

    def _padded(self, source: Tensor) -> Tensor:
        """Pad for reflection, which needs sources of 4 pixels, and for it and instance normalisation on maps of 2."""
        return pad_to_multiple(source, self.stride, least=max(2 * self.stride, 4))

    def _known(self, layers: Sequence[int]) -> Sequence[int]:
        unknown = [layer for layer in layers if layer not in range(len(self.widths))]
        if unknown:
            raise UserError(f"ResNetTranslator: stage {unknown[0]} is not one of 0 to {len(self.widths) - 1}")
        return layers


class TranslatorBlock(nn.Module):
    """maps + (3x3, normalisation, ReLU, 3x3, normalisation)(maps), with reflection padding."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        bias = norm == "none"
        self.residual = nn.Sequential(
            *(ReflectionPad(1), nn.Conv2d(channels, channels, 3, bias=bias), image_norm(norm, channels), nn.ReLU()),
            *(ReflectionPad(1), nn.Conv2d(channels, channels, 3, bias=bias), image_norm(norm, channels)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.residual(maps)  # type: ignore[no-any-return]


class ReflectionPad(nn.Module):
    """`reflection_pad` as a layer."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def forward(self, maps: Tensor) -> Tensor:
        return reflection_pad(maps, self.by)
