"""Patch discriminators at one or several scales. Source: Isola et al. 2017, appendix 6.1.2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.compat import no_autocast
from sparring.base.errors import UserError, check_choice
from sparring.networks.critic import CriticOutput, at_least_fp32
from sparring.networks.layers import NORMS, Shape, check_counts, halvings, image_norm, init_normal, maybe_spectral

SMALLEST = 8


class PatchDiscriminator(nn.Module):
    """Images [n, C, H, W] -> logits [n, P], one for each patch, by strided 4x4 convolutions.

    With 3 layers a patch has 70x70 pixels. Defaults are pix2pix's, except for the normalisation, which is CycleGAN's.
    With several `scales`, one critic each sees the image at full size, half, a quarter (Wang et al. 2018, section 3.2).
    `judge` concatenates their logits, so finer scales weigh more; use `critics()` to weigh the scales equally.

    Args:
        shape: [C, H, W] of the images.
        width: channels of the first layer; they double with each strided layer, up to 8 * width.
        layers: number of strided layers; fewer where maps would be smaller than 4x4.
        scales: number of scales.
        norm: "instance", "batch" (pix2pix's; it mixes the samples of a batch) or "none".
        spectral_norm: use spectral normalisation.
        source_channels: channels of the source image, which is concatenated to the image; 0: no source.
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
        halvings(shape)  # refuses points and images below 8x8
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
        """The critic of each scale, the finest first. Each takes images of full size."""
        return [critic for critic in self.scales if isinstance(critic, PatchCritic)]

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        """The output for images [n, C, H, W] and, if there are `source_channels`, sources [n, source_channels, h, w].

        Logits are [n, P]; `layers` holds the hidden layers of all scales.
        """
        found = [critic.judge(samples, condition) for critic in self.critics()]
        layers = tuple(layer for output in found for layer in output.layers)
        return CriticOutput(torch.cat([output.logits for output in found], 1), layers=layers)

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.judge(samples, condition).logits


class PatchCritic(nn.Module):
    """The critic of one scale; it halves images `shrink` times first.

    Convolutions before a normalisation have no bias, which the normalisation would cancel.
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
        init_normal(self, "instance" if spectral_norm else norm)  # spectral normalisation removes any scale
        if spectral_norm:
            for convolution in [m for m in self.modules() if isinstance(m, nn.Conv2d)]:
                maybe_spectral(convolution, use=True)

    def judge(self, samples: Tensor, condition: Tensor | None = None) -> CriticOutput:
        """As `PatchDiscriminator.judge`, for this scale. UserError: the source is missing or unexpected."""
        if (condition is None) == bool(self.source_channels):
            raise UserError(
                f"PatchDiscriminator(source_channels={self.source_channels}) takes images "
                f"{'with their' if self.source_channels else 'without a'} source; set source_channels to the number "
                "of the source's channels, or to 0"
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
        maps = at_least_fp32(maps)
        with no_autocast(maps.device):
            return CriticOutput(self.logit(maps).flatten(1), layers=tuple(layers))

    def forward(self, samples: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.judge(samples, condition).logits


def resized(source: Tensor, like: Tensor) -> Tensor:
    """A source at the size of the images `like`: upsampled by repetition, or downsampled by averages."""
    size = (like.shape[2], like.shape[3])
    return source if source.shape[2:] == size else F.interpolate(source, size, mode="area")
