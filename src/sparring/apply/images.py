"""Apply a translator to one image file or PIL image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sparring.apply.photo import Photo, open_mask, open_photo
from sparring.apply.tensors import apply_stored, check_mask
from sparring.base.errors import UserError
from sparring.data.maps import decode_map
from sparring.data.pictures import as_arrays
from sparring.data.sources.decode import Content, NotDecodedError
from sparring.data.sources.records import channels_first
from sparring.tasks.base import Translator


class Applied(NamedTuple):
    """The result for one image.

    Attributes:
        source: the network's input as a picture.
        image: the output, with the source's alpha channel if it has one; for segmentation, class ids (mode L).
        colours: the class ids in colours; None unless the output is a class map.
    """

    source: Image.Image
    image: Image.Image
    colours: Image.Image | None


def apply_image(
    translator: Translator,
    content: Content,
    mask: Content | None = None,
    tile: int = 0,
    device: torch.device | None = None,
    names: tuple[str, str] = ("the image", "the mask"),
) -> Applied:
    """Apply a translator to an image.

    The image is turned upright (EXIF) and converted to sRGB, or to grey for a grey network. The alpha channel is
    resized to the output.

    Args:
        content: the image.
        mask: for inpainting: white is filled, other pixels stay unchanged.
        tile: tile size, as in `apply_tensor`.
        device: the device of the network.
        names: what error messages call image and mask.

    Raises:
        UserError: image or mask cannot be read, the mask is missing, not needed or of another size, or class ids are
            out of range.
    """
    check_mask(translator, mask is not None)
    with _named(names[0]):
        photo = _given(translator, content, names[0])
    stored = torch.from_numpy(channels_first(photo.colours, translator.source.shape[0]).copy())[None]
    holes = None if mask is None else _holes(mask, photo.colours.size, names)
    made = apply_stored(translator, stored, holes, tile, device)
    picture = _image(translator.target.to_picture(made))
    shown = _with_alpha(_image(translator.source.to_picture(stored)), photo.alpha)
    if translator.target.map:
        return Applied(shown, _image(made), picture)
    return Applied(shown, _with_alpha(picture, photo.alpha), None)


def comparison_picture(applied: Applied) -> Image.Image:
    """Source and result side by side; the source is enlarged by whole pixels, transparent pixels become white."""
    right = applied.colours or applied.image
    sides = [_on_white(applied.source.resize(right.size, Image.Resampling.NEAREST)), _on_white(right)]
    sheet = Image.new("L" if all(side.mode == "L" for side in sides) else "RGB", (2 * right.width, right.height))
    for i, side in enumerate(sides):
        sheet.paste(side, (i * right.width, 0))
    return sheet


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Name the file in the error about a file that cannot be read."""
    try:
        yield
    except NotDecodedError as error:
        raise UserError(f"{name} cannot be read: {error}") from error


def _given(translator: Translator, content: Content, name: str) -> Photo:
    if not translator.source.map:
        return open_photo(content)
    fix = "give a map of the classes that the run was trained with; 255 means no class"
    return Photo(decode_map(name, content, len(translator.source.classes), translator.ignore, fix), None)


def _holes(content: Content, size: tuple[int, int], names: tuple[str, str]) -> Tensor:
    with _named(names[1]):
        mask = open_mask(names[1], content)
    if mask.size != size:
        sizes = f"{names[1]} has {mask.width}x{mask.height} pixels, {names[0]} {size[0]}x{size[1]}"
        raise UserError(f"{sizes}; a mask must be as large as its image")
    return torch.from_numpy(np.array(mask))[None, None]


def _image(stored: Tensor) -> Image.Image:
    return Image.fromarray(as_arrays(stored)[0])


def _with_alpha(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    if alpha is not None:
        image.putalpha(alpha if alpha.size == image.size else alpha.resize(image.size, Image.Resampling.LANCZOS))
    return image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in ("LA", "RGBA"):
        return image
    plain = image.mode.removesuffix("A")
    white = Image.new(plain, image.size, "white")
    white.paste(image.convert(plain), mask=image.getchannel("A"))
    return white
