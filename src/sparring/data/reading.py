"""One pass over a source of images: decode, keep the pixels, remember the rest."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from sparring.data.decode import NotDecodedError, Pixel, Target, decode, look
from sparring.data.fitting import Fitting
from sparring.data.labels import Label, class_labels
from sparring.data.pixels import Pixels
from sparring.data.source import Source
from sparring.errors import UserError

MOST_BROKEN = 0.1


class Found(NamedTuple):
    """What a pass found besides pixels, as `image_data` takes it."""

    labels: Tensor | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]


def read_source(source: Source, target: Target, pixels: Pixels) -> Found:
    """Decode all images of a source into `pixels`.

    Raises:
        UserError: no images, too many broken ones, different sizes and none wanted, or bad labels.
        TooLargeError: they do not fit into `pixels`.
    """
    fitting, labels, broken = Fitting(target), [], []
    label: Label
    for name, content, label in source.items():
        try:
            if isinstance(content, Exception):
                raise NotDecodedError(str(content))
            if len(fitting.sizes) > 1 and target.size is None:  # it is refused, once all sizes are known
                fitting.note(look(content)[0])
                continue
            image, before = decode(content, target)
        except NotDecodedError as error:
            broken.append(f"left out {name}: {error}")
            continue
        fitting.note(before)
        labels.append(label)
        if len(fitting.sizes) == 1 or target.size is not None:
            pixels.add(channels_first(image, source.channels))
    check_broken(source.name, broken, sum(fitting.sizes.values()))
    if len(fitting.sizes) > 1 and target.size is None:
        raise UserError(
            f"the images in {source.name} have {len(fitting.sizes)} sizes: {fitting.most_common()}; add --size 64 to "
            "bring them to one"
        )
    found = class_labels(source.name, labels, source.classes, source.part)
    return Found(*found, tuple(broken), (*source.remarks, *fitting.remarks()))


def check_broken(name: str, broken: list[str], read: int, what: str = "images") -> None:
    """Raise UserError if there were none, or too many of them could not be read."""
    total = len(broken) + read
    if not total:
        raise UserError(f"{name} holds no {what}")
    if len(broken) > MOST_BROKEN * total:
        raise UserError(
            f"{len(broken)} of {total} {what} in {name} cannot be read ({broken[0].removeprefix('left out ')}, "
            f"...); mend or remove them"
        )


def channels_first(image: Image.Image, channels: int) -> Pixel:
    """[C, H, W], of as many channels as wanted, if that is not 0."""
    mode = {0: image.mode, 1: "L", 3: "RGB"}[channels]
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
