"""From an encoded image to 8-bit pixels, grey or RGB, of the size that is wanted."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
GREY_MODES = ("1", "L", "LA", "La", "F")  # besides those that begin with I: 16 or 32 bits of grey
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height

# What Pillow raises for files that are damaged, or that it cannot read.
DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

Content = Path | bytes | Image.Image
Size = tuple[int, int]


class NotDecodedError(Exception):
    """An image that cannot be read; the message says why."""


@dataclass(frozen=True)
class Target:
    """The size (width, height) that images are brought to, and how; None leaves them as they are."""

    size: Size | None = None
    fit: str = "crop"

    def apply(self, image: Image.Image) -> Image.Image:
        """Crop (scale to cover, cut the middle), pad (scale to fit inside, black borders) or stretch."""
        if self.size is None or image.size == self.size:
            return image
        if self.fit == "stretch":
            return image.resize(self.size, Image.Resampling.LANCZOS)
        if self.fit == "pad":
            return ImageOps.pad(image, self.size, Image.Resampling.LANCZOS, color=0)
        return ImageOps.fit(image, self.size, Image.Resampling.LANCZOS)


def decode(content: Content, target: Target) -> tuple[Image.Image, Size]:
    """An image of mode L or RGB, brought to the target's size, and the (upright) size that it had.

    Upright by its EXIF orientation, the first frame of several, transparency on white; 16 bits keep the upper 8. Raises
    NotDecodedError if it is damaged, no image, or of numbers that are no grey levels.
    """
    with load_upright(content) as image, reading():
        plain = eight_bits(image)
        return target.apply(plain), plain.size


@contextmanager
def load_upright(content: Content) -> Iterator[Image.Image]:
    """An image in the mode that it is stored in, turned as its EXIF orientation says, while it is open; raises
    NotDecodedError if it is damaged, or no image."""
    with reading():
        opened = _opened(content)
    with opened:
        with reading():
            opened.load()
            upright = ImageOps.exif_transpose(opened)
        yield upright


@contextmanager
def reading() -> Iterator[None]:
    """Turn what Pillow raises into one error."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise NotDecodedError("not an image") from error
    except DAMAGED as error:
        raise NotDecodedError(" ".join(str(error).split()) or type(error).__name__) from error


def look(content: Content) -> tuple[Size, bool]:
    """From its head alone: an image's upright size, and whether it is grey; raises as `decode` where the head shows
    damage."""
    with reading(), _opened(content) as image:
        width, height = image.size
        turned = image.getexif().get(0x0112) in TURNED
        return (height, width) if turned else (width, height), is_grey(image)


def is_grey(image: Image.Image) -> bool:
    """The image's mode holds one channel of brightness."""
    return image.mode in GREY_MODES or image.mode.startswith("I")


def _opened(content: Content) -> Image.Image:
    if isinstance(content, Image.Image):
        return content
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)


def eight_bits(image: Image.Image) -> Image.Image:
    """Mode L or RGB, transparency on white; raises ValueError if its numbers are no grey levels."""
    if image.mode.startswith("I"):
        values = np.asarray(image, np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"pixels span {values.min()} to {values.max()}; allowed are 16 bits, 0 to 65535")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        levels = np.asarray(image, np.float32)
        low, high = float(levels.min()), float(levels.max())
        if not (low >= 0 and high <= 1):  # NaN is neither
            raise ValueError(f"floating-point pixels span {low:g} to {high:g}; allowed are 0 to 1")
        return Image.fromarray(np.rint(levels * 255).astype(np.uint8))
    mode = "L" if is_grey(image) else "RGB"
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert(straight).convert("RGBA")).convert(mode)
    return image.convert(mode)
