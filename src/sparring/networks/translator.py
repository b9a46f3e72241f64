"""The residual translator. Source: Johnson et al. 2016, supplementary material; Zhu et al. 2017 (CycleGAN), 7.2."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from sparring.base.errors import UserError, check_choice, check_number
from sparring.networks.images import ImageGenerator, Look, around, enlarged, filled_up, halved, reach_of
from sparring.networks.layers import NORMS, Enlarge, Shape, check_counts, image_norm, reflected, start_normal


class ResNetTranslator(ImageGenerator):
    """A 7x7 convolution, strided 3x3 ones, residual blocks, enlargements, and a 7x7 convolution.

    Maps are enlarged by copying pixels before a 3x3 convolution, not by the papers' transposed convolutions, whose
    uneven overlap leaves checkerboards. Borders are mirrored, except where maps are halved or enlarged. Its stages are
    numbered for `encode`: 0 is the source, 1 the first convolution, then come the halvings and the blocks.

    The papers' `width` is 64, 32 of Johnson et al.; CycleGAN's `blocks` are 6 for images of 128, 9 from 256 on. Maps
    are halved `downsamplings` times. `norm` is "instance", "batch" or "none".
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
        bias = norm == "none"  # elsewhere the normalisation takes it away
        first = nn.Conv2d(source_shape[0], width, 7, bias=bias)
        stages: list[nn.Module] = [nn.Sequential(Mirror(3), first, image_norm(norm, width), nn.ReLU())]
        for before, after in zip(channels, channels[1:]):
            halve = nn.Conv2d(before, after, 3, 2, 1, bias=bias)
            stages.append(nn.Sequential(halve, image_norm(norm, after), nn.ReLU()))
        stages += [TranslatorBlock(channels[-1], norm) for _ in range(blocks)]
        self.stages = nn.ModuleList(stages)
        rise: list[nn.Module] = []
        for before, after in zip(channels[:0:-1], channels[-2::-1]):
            rise += [Enlarge(before, after, bias=bias), image_norm(norm, after), nn.ReLU()]
        self.rise = nn.Sequential(*rise, Mirror(3), nn.Conv2d(width, target_shape[0], 7))
        self.widths = [source_shape[0], *channels, *[channels[-1]] * blocks]
        start_normal(self, norm)

    @property
    def reach(self) -> int | None:
        if self.norm == "instance":
            return None
        down: list[Look] = [halved(3)] * self.downsamplings
        up: list[Look] = [enlarged()] * self.downsamplings
        return reach_of([around(3), *down, around(2 * self.blocks), *up, around(3)], self.scale, self.stride)

    @property
    def contrast_layers(self) -> tuple[int, ...]:
        """The stages whose features CUT compares: the source, each halving, the first and the middle block.

        Source: Park et al. 2020, section 3 and appendix C.2, where the middle one is the fifth of nine.
        """
        before = self.downsamplings + 1
        return tuple(sorted({0, *range(2, before + 1), before + 1, before + self.blocks // 2 + 1}))

    def encoder_channels(self, layers: Sequence[int]) -> tuple[int, ...]:
        """The channels of what `encode` gives for these stages."""
        return tuple(self.widths[layer] for layer in self._known(layers))

    def encode(self, source: Tensor, layers: Sequence[int]) -> list[Tensor]:
        """What these stages give of a source [n, C, h, w], in the order of `layers`; later stages are not run."""
        wanted = self._known(layers)
        maps = self._filled_up(source)
        found = {0: maps}
        for number in range(1, max(wanted, default=0) + 1):
            maps = self.stages[number - 1](maps)
            found[number] = maps
        return [found[layer] for layer in wanted]

    def translate(self, source: Tensor) -> Tensor:
        maps = self._filled_up(source)
        for stage in self.stages:
            maps = stage(maps)
        return self.rise(maps)  # type: ignore[no-any-return]

    def _filled_up(self, source: Tensor) -> Tensor:
        """Mirrors need 4 pixels of the source, and 2 of the smallest maps, which instance normalisation needs, too."""
        return filled_up(source, self.stride, least=max(2 * self.stride, 4))

    def _known(self, layers: Sequence[int]) -> Sequence[int]:
        strange = [layer for layer in layers if layer not in range(len(self.widths))]
        if strange:
            raise UserError(f"ResNetTranslator: stage {strange[0]} is not one of 0 to {len(self.widths) - 1}")
        return layers


class TranslatorBlock(nn.Module):
    """maps + (3x3, normalise, ReLU, 3x3, normalise)(maps), with mirrored borders."""

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        bias = norm == "none"
        self.residual = nn.Sequential(
            *(Mirror(1), nn.Conv2d(channels, channels, 3, bias=bias), image_norm(norm, channels), nn.ReLU()),
            *(Mirror(1), nn.Conv2d(channels, channels, 3, bias=bias), image_norm(norm, channels)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.residual(maps)  # type: ignore[no-any-return]


class Mirror(nn.Module):
    """`reflected` as a layer."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def forward(self, maps: Tensor) -> Tensor:
        return reflected(maps, self.by)
