"""Read image files with a colour profile, an orientation, transparency, 16 bits or CMYK."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from sparring.base.errors import UserError
from sparring.data.sources.decode import Content, eight_bits, load_upright, reading

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour spaces of profiles -> modes of images
STRAIGHT = {"La": "LA", "RGBa": "RGBA", "L": "LA", "1": "LA"}  # mode -> mode with a separate alpha channel; else RGBA
LEVEL = 128  # mask pixels of this level or above are white


class Photo(NamedTuple):
    """An image: 8-bit sRGB colours (mode L or RGB) and, if it has one, an alpha channel (mode L)."""

    colours: Image.Image
    alpha: Image.Image | None


def open_photo(content: Content) -> Photo:
    """Read an image, turn it upright, and convert its colours from its profile to sRGB.

    Transparent pixels keep their colours. Of 16 bits the upper 8 are kept, of several frames the first. Raises as
    `decode`.
    """
    with load_upright(content) as image, reading():
        profile = image.info.get("icc_profile")
        colours, alpha = _apart(image)
        if colours.mode != "CMYK":
            colours = eight_bits(colours)
        return Photo(eight_bits(to_srgb(colours, profile) if profile else colours), alpha)


def open_mask(name: str, content: Content) -> Image.Image:
    """Read a mask as an upright image of mode 1: set where it is white (above 127) and opaque.

    Raises:
        UserError: the brightest pixel is neither black nor white. Also raises as `open_photo`.
    """
    colours, alpha = open_photo(content)
    levels = np.asarray(colours.convert("L"))
    if 0 < levels.max() < LEVEL:
        brightest = f"the brightest pixel of the mask {name} is {levels.max()} of 255"
        raise UserError(f"{brightest}; pixels to fill must be white, above {LEVEL - 1}")
    white = levels >= LEVEL
    return Image.fromarray(white if alpha is None else white & (np.asarray(alpha) >= LEVEL))


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert colours (mode L, RGB or CMYK) from a profile to sRGB.

    The image stays unchanged if the profile cannot be read, belongs to another image mode, or changes no colour by
    more than rounding.
    """
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = SPACES.get(source.profile.xcolor_space.strip(), "")
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode != image.mode:
            return image
        colours = ImageCms.Intent.RELATIVE_COLORIMETRIC  # "perceptual" may change colours that both spaces have
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", colours)
        palette = _palette(mode)
        moved = np.asarray(ImageCms.applyTransform(palette, transform), int) - np.asarray(palette.convert("RGB"), int)
        if mode != "CMYK" and np.abs(moved).max() <= 1:
            return image
        converted = ImageCms.applyTransform(image, transform)
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):  # damaged profiles are common; the pixels are fine
        return image
    assert converted is not None
    return converted.convert("L") if mode == "L" else converted


def _apart(image: Image.Image) -> Photo:
    if image.mode not in ("LA", "La", "PA", "RGBA", "RGBa") and "transparency" not in image.info:
        return Photo(image, None)
    if image.mode.startswith("I") or image.mode == "F":
        image = image.copy()
        del image.info["transparency"]
        return Photo(image, None)
    with_alpha = image if image.mode in ("LA", "RGBA") else image.convert(STRAIGHT.get(image.mode, "RGBA"))
    alpha = with_alpha.getchannel("A")
    return Photo(with_alpha.getchannel("L") if with_alpha.mode == "LA" else with_alpha.convert("RGB"), alpha)


def _palette(mode: str) -> Image.Image:
    """An image of colours from the whole colour space."""
    bands = Image.getmodebands(mode)
    levels = np.linspace(0, 255, 256 if bands == 1 else 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(*[levels] * bands), -1).reshape(1, -1, bands)
    return Image.frombytes(mode, (lattice.shape[1], 1), lattice.tobytes())
