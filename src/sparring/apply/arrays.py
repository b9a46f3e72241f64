"""Images as a program holds them: paths, images of PIL, arrays and tensors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from sparring.base.errors import UserError, existing_path, shortened
from sparring.data.sources.decode import Content

Picture = str | Path | Image.Image | NDArray[np.generic] | Tensor

CHANNELS = (1, 3, 4)


def as_content(name: str, image: Picture) -> Content:
    """An image for those who read them: arrays uint8 or bool [H, W], [H, W, C] or [C, H, W] of 1, 3 or 4 channels.

    Where both fit, channels come last in an array of numpy, and first in a tensor of torch. Raises UserError if there
    is no such file, or an array is of another kind.
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, (str, Path)):
        path = existing_path(str(image))
        if path is None:
            raise UserError(f"apply: {name}={shortened(repr(str(image)))} is not there; give the path of an image")
        return path
    pixels = np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image)
    axes = {axis for axis in (0, 2) if pixels.ndim == 3 and pixels.shape[axis] in CHANNELS}
    if pixels.dtype not in (np.uint8, np.bool_) or not pixels.size or not (axes or pixels.ndim == 2):
        raise UserError(
            f"apply: {name} has shape {list(pixels.shape)} and type {pixels.dtype}; allowed is uint8 of shape [H, W], "
            "[H, W, C] or [C, H, W], C being 1, 3 or 4"
        )
    if pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    if axes and (axes == {0} or (len(axes) == 2 and isinstance(image, Tensor))):
        pixels = pixels.transpose(1, 2, 0)
    return Image.fromarray(np.ascontiguousarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels))
