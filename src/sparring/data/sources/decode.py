"""Decoding an image to 8-bit pixels, grey or RGB, of the target size."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
GREY_MODES = ("1", "L", "LA", "La", "F")  # and all that begin with I: 16 or 32 bits of grey
ORIENTATION = 0x0112  # the EXIF tag
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height

# Errors that Pillow raises for damaged and unreadable files.
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

Content = Path | bytes | Image.Image | NDArray[np.uint8]
"""A file, its bytes, a decoded image, or the pixels of one: [1 or 3, H, W]."""

Size = tuple[int, int]


class NotDecodedError(Exception):
    """An image cannot be decoded; the message states the cause."""


@dataclass(frozen=True)
class Target:
    """The size (width, height) that images are resized to, and the method; None keeps their sizes."""

    size: Size | None = None
    fit: str = "crop"

    def apply(self, image: Image.Image) -> Image.Image:
        """Resize an image: crop (scale to cover, cut the middle), pad (scale to fit, black borders) or stretch."""
        if self.size is None or image.size == self.size:
            return image
        if self.fit == "stretch":
            return image.resize(self.size, Image.Resampling.LANCZOS)
        if self.fit == "pad":
            return ImageOps.pad(image, self.size, Image.Resampling.LANCZOS, color=0)
        return ImageOps.fit(image, self.size, Image.Resampling.LANCZOS)


def decode(content: Content, target: Target) -> tuple[Image.Image, Size]:
    """An image of mode L or RGB at the target size, and its original upright size (width, height).

    The EXIF orientation is applied, the first of several frames is taken, transparency is filled with white, and 16-bit
    pixels keep their upper 8 bits.

    Raises:
        NotDecodedError: the content is damaged, not an image, or its pixel values are out of range.
    """
    with load_upright(content) as image, reading():
        plain = eight_bits(image)
        return target.apply(plain), plain.size


@contextmanager
def load_upright(content: Content) -> Iterator[Image.Image]:
    """Open an image in its stored mode with its EXIF orientation applied; raises NotDecodedError if that fails."""
    with reading():
        opened = _opened(content)
    with opened:
        with reading():
            opened.load()
            orientation = opened.getexif().get(ORIENTATION, 1)
            upright = opened if orientation == 1 else ImageOps.exif_transpose(opened)
        yield upright


@contextmanager
def reading() -> Iterator[None]:
    """Convert Pillow's errors to NotDecodedError."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise NotDecodedError("not an image") from error
    except DAMAGED as error:
        raise NotDecodedError(" ".join(str(error).split()) or type(error).__name__) from error


def read_header(content: Content) -> tuple[Size, bool]:
    """The upright size of an image, and True if it is grey, from the header alone; raises NotDecodedError."""
    with reading(), _opened(content) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION) in TURNED
        return (height, width) if turned else (width, height), is_grey(image)


def is_grey(image: Image.Image) -> bool:
    """True if the mode has one channel of brightness."""
    return image.mode in GREY_MODES or image.mode.startswith("I")


def _opened(content: Content) -> Image.Image:
    if isinstance(content, Image.Image):
        return content
    if isinstance(content, np.ndarray):
        return Image.fromarray(content[0] if len(content) == 1 else np.ascontiguousarray(content.transpose(1, 2, 0)))
    return Image.open(io.BytesIO(content) if isinstance(content, bytes) else content)


def eight_bits(image: Image.Image) -> Image.Image:
    """Convert to mode L or RGB, transparency on white; raises ValueError if pixel values are out of range."""
    if image.mode.startswith("I"):
        values = np.asarray(image, np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"pixels span {values.min()} to {values.max()}; allowed are 0 to 65535 (16 bits)")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        levels = np.asarray(image, np.float32)
        low, high = float(levels.min()), float(levels.max())
        if not (low >= 0 and high <= 1):  # true for NaN, too
            raise ValueError(f"floating-point pixels span {low:g} to {high:g}; allowed are 0 to 1")
        return Image.fromarray(np.rint(levels * 255).astype(np.uint8))
    mode = "L" if is_grey(image) else "RGB"
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        straight = {"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode)
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert(straight).convert("RGBA")).convert(mode)
    return image if image.mode == mode else image.convert(mode)
