"""Degradations of whole images: downscaling, greyscale, noise, blur, compression."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from sparring.base.errors import UserError
from sparring.base.fields import Limited, number
from sparring.tasks.degrade.base import Degraded, Shape, check_divisible, check_shape, cropped, levels

LUMA = (0.299, 0.587, 0.114)  # of R, G, B: ITU-R BT.601


class _SameSize(Limited):
    """A degradation that keeps the size."""

    scale: ClassVar[int] = 1

    def shape(self, shape: Sequence[int]) -> Shape:
        return check_shape(type(self).__name__, shape)


@dataclass(frozen=True)
class Downscale(Limited):
    """Downscaling, for super-resolution: sides become `factor` times smaller.

    Antialiased bicubic, as Pillow's BICUBIC and MATLAB's imresize, rounded to 256 levels. Images are first cropped to
    multiples of the factor.

    Attributes:
        factor: factor between the sides, from 2 to 64.

    Source: Keys 1981, with a = -0.5.
    """

    factor: int = number(4, low=2, high=64)

    @property
    def scale(self) -> int:
        return self.factor

    def shape(self, shape: Sequence[int]) -> Shape:
        check_divisible(f"{self}", shape, self.factor)
        channels, height, width = shape
        return channels, height // self.factor, width // self.factor

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        check_shape(f"{self}", images.shape[1:], least=self.factor)
        images = cropped(images, self.factor)
        size = self.shape(images.shape[1:])[1:]
        return Degraded(levels(F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)))


@dataclass(frozen=True)
class Grey(_SameSize):
    """Greyscale, for colourisation: `0.299 R + 0.587 G + 0.114 B` of RGB images, rounded to 256 levels.

    Source: ITU-R BT.601.
    """

    def shape(self, shape: Sequence[int]) -> Shape:
        channels, height, width = check_shape("Grey()", shape)
        if channels != 3:
            raise UserError(
                f"Grey() needs RGB images (3 channels), these have {channels}; leave it out, or use RGB images"
            )
        return 1, height, width

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        self.shape(images.shape[1:])
        red, green, blue = images.split(1, 1)
        return Degraded(levels(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue))


@dataclass(frozen=True)
class Noise(_SameSize):
    """Gaussian noise, for denoising: `x + sigma / 127.5 * N(0, 1)` for images x in [-1, 1].

    The result is neither clipped nor rounded, as usual for denoisers, so it exceeds [-1, 1].

    Attributes:
        sigma: standard deviation in 8-bit levels, above 0, at most 255.

    Source: Zhang et al. 2017 (DnCNN), section IV.
    """

    sigma: float = number(25.0, low=0, high=255, open_low=True)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        self.shape(images.shape[1:])
        noise = torch.randn(images.shape, generator=generator)
        return Degraded(images + self.sigma / 127.5 * noise.to(images.device, images.dtype))


@dataclass(frozen=True)
class Blur(_SameSize):
    """Gaussian blur, for deblurring; truncated at 4 sigma, rounded to 256 levels.

    Beyond its border an image continues by reflection, without repeating the border's pixels.

    Attributes:
        sigma: standard deviation in pixels, above 0, at most 100.
    """

    sigma: float = number(2.0, low=0, high=100, open_low=True)

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        self.shape(images.shape[1:])
        radius = int(4 * self.sigma + 0.5)
        offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
        window = torch.exp(-offsets.square() / (2 * self.sigma**2))
        window = (window / window.sum()).to(images.device, images.dtype)
        flat = images.flatten(0, 1)[:, None]
        flat = F.conv2d(_reflected(flat, radius, axis=2), window.view(1, 1, -1, 1))
        flat = F.conv2d(_reflected(flat, radius, axis=3), window.view(1, 1, 1, -1))
        return Degraded(levels(flat.view_as(images)))


def _reflected(images: Tensor, by: int, axis: int) -> Tensor:
    """Pad images by reflection, repeatedly for wide windows, which torch's padding cannot do."""
    length = images.shape[axis]
    period = max(1, 2 * (length - 1))
    places = torch.arange(-by, length + by, device=images.device).remainder(period)
    return images.index_select(axis, torch.minimum(places, period - places))


@dataclass(frozen=True)
class Jpeg(_SameSize):
    """JPEG compression by Pillow, for artifact removal; images of 1 or 3 channels.

    Attributes:
        quality: Pillow's quality, from 1 (worst) to 95.
    """

    quality: int = number(30, low=1, high=95)

    def shape(self, shape: Sequence[int]) -> Shape:
        channels, height, width = check_shape(f"{self}", shape)
        if channels not in (1, 3):
            raise UserError(f"{self} needs images of 1 or 3 channels, these have {channels}; write Blur() instead")
        return channels, height, width

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Degraded:
        self.shape(images.shape[1:])
        stored = images.detach().add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).cpu()
        made = torch.stack([self._compressed(image) for image in stored])
        return Degraded(made.to(images.device).to(images.dtype).div(127.5).sub(1))

    def _compressed(self, image: Tensor) -> Tensor:
        """uint8 [C, H, W] -> the same after compression."""
        file = io.BytesIO()
        pixels = image.permute(1, 2, 0).squeeze(2).contiguous().numpy()
        Image.fromarray(pixels).save(file, "JPEG", quality=self.quality)
        return torch.from_numpy(np.array(Image.open(file))).view(*image.shape[1:], -1).permute(2, 0, 1)
