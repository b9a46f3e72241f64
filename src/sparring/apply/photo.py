"""Image files as people have them: with a colour profile, an orientation, transparency, 16 bits, or inks."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageCms

from sparring.base.errors import UserError
from sparring.data.sources.decode import Content, eight_bits, load_upright, reading

SPACES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # colour spaces of profiles -> modes of images
STRAIGHT = {"La": "LA", "RGBa": "RGBA", "L": "LA", "1": "LA"}  # modes -> those in which alpha is apart; else RGBA
LEVEL = 128  # of a mask's white, and more


class Photo(NamedTuple):
    """An image as it looks: sRGB colours of 8 bits (mode L or RGB) and, where it has it, opacity (mode L)."""

    colours: Image.Image
    alpha: Image.Image | None


def open_photo(content: Content) -> Photo:
    """An image, upright, its colours brought from its profile to sRGB; transparent pixels keep theirs. 16 bits keep the
    upper 8, of several frames it is the first. Raises as `decode`."""
    with load_upright(content) as image, reading():
        profile = image.info.get("icc_profile")
        colours, alpha = _apart(image)
        if colours.mode != "CMYK":
            colours = eight_bits(colours)
        return Photo(eight_bits(to_srgb(colours, profile) if profile else colours), alpha)


def open_mask(name: str, content: Content) -> Image.Image:
    """A mask as an image of mode 1, upright: on where it is white (above 127) and opaque. Raises as `open_photo`, and
    UserError if it is not black everywhere, but nowhere white."""
    colours, alpha = open_photo(content)
    levels = np.asarray(colours.convert("L"))
    if 0 < levels.max() < LEVEL:
        brightest = f"the brightest pixel of the mask {name} is {levels.max()} of 255"
        raise UserError(f"{brightest}; what is to be filled must be white, above {LEVEL - 1}")
    white = levels >= LEVEL
    return Image.fromarray(white if alpha is None else white & (np.asarray(alpha) >= LEVEL))


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Colours (mode L, RGB or CMYK) of a profile in sRGB; as they are, if the profile cannot be read, is of another
    kind of image, or moves no colour by more than rounding does."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = SPACES.get(source.profile.xcolor_space.strip(), "")
        if mode == "RGB" and image.mode == "L":
            image = image.convert("RGB")
        if mode != image.mode:
            return image
        colours = ImageCms.Intent.RELATIVE_COLORIMETRIC  # "perceptual" may move what both spaces have
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", colours)
        probe = _probe(mode)
        moved = np.asarray(ImageCms.applyTransform(probe, transform), int) - np.asarray(probe.convert("RGB"), int)
        if mode != "CMYK" and np.abs(moved).max() <= 1:
            return image
        converted = ImageCms.applyTransform(image, transform)
    except (OSError, ImageCms.PyCMSError, ValueError, TypeError):  # damaged profiles are common; colours are there
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


def _probe(mode: str) -> Image.Image:
    """Colours from all over a space."""
    bands = Image.getmodebands(mode)
    levels = np.linspace(0, 255, 256 if bands == 1 else 9).astype(np.uint8)
    lattice = np.stack(np.meshgrid(*[levels] * bands), -1).reshape(1, -1, bands)
    return Image.frombytes(mode, (lattice.shape[1], 1), lattice.tobytes())
