"""A translator applied to one picture."""

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
from sparring.data.sources.reading import channels_first
from sparring.tasks.base import Translator


class Applied(NamedTuple):
    """What came of an image."""

    source: Image.Image  # what the network was given, to look at
    image: Image.Image  # what was made, with the source's opacity if it has one, or class ids (mode L)
    colours: Image.Image | None  # those ids in colours, if it is a map of classes


def apply_image(
    translator: Translator,
    content: Content,
    mask: Content | None = None,
    tile: int = 0,
    device: torch.device | None = None,
    names: tuple[str, str] = ("the image", "the mask"),
) -> Applied:
    """Apply a translator to a picture, and to a mask that is white where it is to be filled.

    It is upright, its colours are brought to sRGB and become grey where the network's are; opacity is enlarged as the
    image is. Known pixels of a mask stay as they are. `tile` is that of `apply_tensor`; `names` are for messages.
    Raises UserError if image or mask cannot be read, the mask is not as wanted, or ids of classes are out of range.
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


def beside(applied: Applied) -> Image.Image:
    """Source and result side by side, the source enlarged by whole pixels; what is transparent is white."""
    right = applied.colours or applied.image
    sides = [_on_white(applied.source.resize(right.size, Image.Resampling.NEAREST)), _on_white(right)]
    sheet = Image.new("L" if all(side.mode == "L" for side in sides) else "RGB", (2 * right.width, right.height))
    for i, side in enumerate(sides):
        sheet.paste(side, (i * right.width, 0))
    return sheet


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Say which file cannot be read."""
    try:
        yield
    except NotDecodedError as error:
        raise UserError(f"{name} cannot be read: {error}") from error


def _given(translator: Translator, content: Content, name: str) -> Photo:
    if not translator.source.map:
        return open_photo(content)
    fix = "give a map of the classes that the run was trained with; 255 stands for no class"
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
