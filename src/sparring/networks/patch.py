"""Critics that judge patches of an image, at one scale or several. Source: Isola et al. 2017, appendix 6.1.2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.compat import no_autocast
from sparring.base.errors import UserError, check_choice
from sparring.networks.critic import CriticOutput, exact
from sparring.networks.layers import NORMS, Shape, check_counts, halvings, image_norm, maybe_spectral, start_normal

SMALLEST = 8


class PatchDiscriminator(nn.Module):
    """Strided 4x4 convolutions -> a map of logits, each of which sees a patch of the image: 70x70 with 3 layers.

    With several `scales`, as many critics look at the image, at half of it, at a quarter (Wang et al. 2018, section
    3.2). `judge` gives all their logits side by side, where the larger scales have more of them; for scales that count
    alike, judge by each of `critics()`. The defaults are pix2pix's, but for the normalisation, which is CycleGAN's.

    Channels double from `width` with each strided layer, up to 8 times; there are fewer `layers` where the image would
    be smaller than 4x4 behind them. `norm` is "instance", "batch" (pix2pix's; samples then see each other) or "none". A
    source image of `source_channels` stands beside the judged one; 0: there is none.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        width: int = 64,
        layers: int = 3,
        scales: int = 1,
        norm: str = "instance",
        spectral_norm: bool = False,
        source_channels: int = 0,
    ) -> None:
        super().__init__()
        check_counts("PatchDiscriminator", width=width, layers=layers, scales=scales)
        check_counts("PatchDiscriminator", 0, source_channels=source_channels)
        check_choice("PatchDiscriminator", "norm", norm, NORMS)
        halvings(shape)  # no points, and no smaller images
        channels, height, width_of_image = shape
        sizes = [(-(-height // 2**i), -(-width_of_image // 2**i)) for i in range(scales)]
        fitting = sum(min(size) >= SMALLEST for size in sizes)
        if fitting < scales:
            raise UserError(
                f"PatchDiscriminator: scales={scales} halves images of {height}x{width_of_image} below "
                f"{SMALLEST}x{SMALLEST}; use scales={fitting}"
            )
        self.scales = nn.ModuleList(
            PatchCritic((channels, *size), width, layers, norm, spectral_norm, source_channels, shrink=i)
            for i, size in enumerate(sizes)
        )

    def critics(self) -> list[PatchCritic]:
        """The critic of each scale, the finest first; each takes images of full size."""
        return [critic for critic in self.scales if isinstance(critic, PatchCritic)]

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        """Judge images [n, C, H, W], with their sources [n, source_channels, h, w] if it has some -> logits [n, P]."""
        found = [critic.judge(samples, condition) for critic in self.critics()]
        layers = tuple(layer for output in found for layer in output.layers)
        return CriticOutput(torch.cat([output.logits for output in found], 1), layers=layers)

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.judge(samples, condition).logits


class PatchCritic(nn.Module):
    """The critic of one scale, which halves the images `shrink` times before it looks.

    Convolutions whose output is normalised have no bias, which the normalisation would take away.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        width: int,
        layers: int,
        norm: str,
        spectral_norm: bool,
        source_channels: int,
        shrink: int,
    ) -> None:
        super().__init__()
        self.source_channels, self.shrink = source_channels, shrink
        halves = min(layers, len(halvings(shape)) - 1)
        channels = [min(width * 2**level, 8 * width) for level in range(halves + 1)]
        before = shape[0] + source_channels
        self.hidden = nn.ModuleList()
        for level, after in enumerate(channels):
            plain = level == 0 or norm == "none"
            layer = nn.Conv2d(before, after, 4, stride=2 if level < halves else 1, padding=1, bias=plain)
            normal = image_norm("none" if plain else norm, after)
            self.hidden.append(nn.Sequential(layer, normal, nn.LeakyReLU(0.2)))
            before = after
        self.logit = nn.Conv2d(before, 1, 4, padding=1)
        start_normal(self, "instance" if spectral_norm else norm)  # which makes up for any scale
        if spectral_norm:
            for convolution in [m for m in self.modules() if isinstance(m, nn.Conv2d)]:
                maybe_spectral(convolution, use=True)

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        """As `PatchDiscriminator.judge`, of this scale alone; UserError where the source is missing or not known."""
        if (condition is None) == bool(self.source_channels):
            raise UserError(
                f"PatchDiscriminator(source_channels={self.source_channels}) judges images "
                f"{'with their' if self.source_channels else 'without a'} source; give source_channels the number of "
                "the source's channels, or 0"
            )
        maps = samples
        if condition is not None:
            maps = torch.cat([samples, resized(condition, samples).to(samples.dtype)], 1)
        for _ in range(self.shrink):
            maps = F.avg_pool2d(maps, 3, 2, 1, count_include_pad=False)
        layers = []
        for part in self.hidden:
            maps = part(maps)
            layers.append(maps)
        maps = exact(maps)
        with no_autocast(maps.device):
            return CriticOutput(self.logit(maps).flatten(1), layers=tuple(layers))

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.judge(samples, condition).logits


def resized(source: Tensor, like: Tensor) -> Tensor:
    """A source in the size of the images that were made of it: smaller ones by copies of pixels, larger by means."""
    size = (like.shape[2], like.shape[3])
    return source if source.shape[2:] == size else F.interpolate(source, size, mode="area")
