"""Image arguments of the Python API: paths, PIL images, arrays and tensors."""

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
    """Convert an image argument to a path or a PIL image.

    Args:
        name: what error messages call it.
        image: a path, a PIL image, or an array or tensor, uint8 or bool: [H, W], [H, W, C] or [C, H, W] with C 1, 3
            or 4. If both layouts fit, numpy arrays are read as [H, W, C], tensors as [C, H, W].

    Raises:
        UserError: there is no such file, or the array has another shape or type.
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, (str, Path)):
        path = existing_path(str(image))
        if path is None:
            raise UserError(f"apply: {name}={shortened(repr(str(image)))} does not exist; give the path of an image")
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
