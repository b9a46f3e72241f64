"""Extractors that need neither labels nor trained weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparring.base.fields import number
from sparring.data.samples import Data
from sparring.metrics.extractors.base import Extractor, Prepared, digest_of, refuse_points


class Shrink(nn.Module):
    """Shrink images to at most `most` pixels a side (antialiased bilinear); smaller ones stay unchanged."""

    def __init__(self, shape: tuple[int, ...], most: int) -> None:
        super().__init__()
        scale = min(1.0, most / max(shape[1:]))
        self.size = tuple(max(1, round(side * scale)) for side in shape[1:])
        self.words = f"antialiased bilinear to {self.size[0]}x{self.size[1]}" if scale < 1 else "none"

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[2:]) == self.size:
            return images
        return F.interpolate(images, self.size, mode="bilinear", antialias=True, align_corners=False)


class _Flat(nn.Module):
    def __init__(self, *before: nn.Module) -> None:
        super().__init__()
        self.before = nn.Sequential(*before)

    def forward(self, samples: Tensor) -> tuple[Tensor, None]:
        return self.before(samples).flatten(1), None


@dataclass(frozen=True)
class Pixels(Extractor):
    """The samples' own values: a point's coordinates, or an image's pixels in [-1, 1].

    Attributes:
        most: images are shrunk to at most so many pixels a side.
    """

    most: int = number(32, low=1, high=256)

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        if data.form.is_points:
            return Prepared(repr(self), _Flat(), "points")
        shrink = Shrink(data.form.shape, self.most)
        return Prepared(repr(self), _Flat(shrink).to(device), f"pixels {shrink.size[0]}x{shrink.size[1]}", shrink.words)


@dataclass(frozen=True)
class Random(Extractor):
    """128 features of a fixed convolutional network with random weights, for images without labels.

    Four 3x3 convolutions of stride 2 (32, 64, 128, 256 channels) with leaky ReLUs, average pooling to a 2x2 grid, and a
    random projection. Images are shrunk to at most 64 pixels a side. Idea: Naeem et al. 2020, section 3.2.

    Attributes:
        seed: seed of the weights.
    """

    seed: int = number(0, low=0)

    def prepare(self, data: Data, device: torch.device) -> Prepared:
        refuse_points("Random", data)
        rng = torch.Generator().manual_seed(self.seed)
        shrink = Shrink(data.form.shape, 64)
        network = _RandomNetwork(data.form.shape[0], shrink, rng).requires_grad_(False).eval()
        about = "features of a network with random weights: coarse, and not comparable with a published FID or KID"
        return Prepared(repr(self), network.to(device), digest_of(network.state_dict()), shrink.words, about=about)


class _RandomNetwork(nn.Module):
    def __init__(self, channels: int, shrink: Shrink, rng: torch.Generator) -> None:
        super().__init__()
        self.shrink = shrink
        widths = (channels, 32, 64, 128, 256)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in zip(widths, widths[1:]))
        self.projection = nn.Linear(4 * widths[-1], 128)
        for parameter in self.parameters():  # He et al. 2015, from a separate random generator
            fan = parameter[0].numel()
            parameter.data = torch.randn(parameter.shape, generator=rng) * (2 / fan) ** 0.5 * (parameter.dim() > 1)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        last = self.maps(self.shrink(images))[-1]
        return self.projection(F.adaptive_avg_pool2d(last, 2).flatten(1)), None

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps of all four layers."""
        found, x = [], images
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            found.append(x)
        return found
