"""Maps of class ids: one id per pixel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sparring.base.errors import UserError, listed
from sparring.data.layout import IGNORED
from sparring.data.sources.decode import Content, load_upright


def one_hot(maps: Tensor, count: int) -> Tensor:
    """uint8 ids [n, 1, H, W] -> one-hot float32 [n, count, H, W]; all 0 for an id of no class."""
    return (maps == torch.arange(count, device=maps.device).view(1, -1, 1, 1)).float()


def coloured(maps: Tensor, count: int) -> Tensor:
    """uint8 ids [n, 1, H, W] -> uint8 [n, 3, H, W]: each id has a fixed colour, no class is black.

    Source: the colours of PASCAL VOC (Everingham et al. 2010), without its black.
    """
    colours = torch.zeros(256, 3, dtype=torch.uint8)
    colours[:count] = torch.tensor([_colour(i + 1) for i in range(count)], dtype=torch.uint8)
    return colours.to(maps.device)[maps[:, 0].long()].movedim(-1, 1)


def decode_map(name: str, content: Content, classes: int, ignore: int | None, fix: str = "") -> Image.Image:
    """A map of class ids as an upright image of mode L at its original size; `ignore` and 255 become 255.

    The ids are the grey levels (8 or 16 bits) or the palette indices of the image.

    Raises:
        NotDecodedError: the content is damaged or not an image.
        UserError: it is not a map, or an id is out of range; the message ends with `fix`, or suggests `ignore`.
    """
    with load_upright(content) as image:
        ids = _ids(name, image)
    ignored = ids == IGNORED if ignore is None else (ids == IGNORED) | (ids == ignore)
    beyond = ids[~ignored & ((ids < 0) | (ids >= classes))]
    if len(beyond):
        fix = fix or f"if it stands for no class, set ignore={beyond[0]}"
        raise UserError(f"class id {beyond[0]} in {name} is out of range; allowed are 0 to {classes - 1}; {fix}")
    return Image.fromarray(np.where(ignored, IGNORED, ids).astype(np.uint8))


def class_pixels(maps: Iterable[Tensor]) -> Tensor:
    """The number of pixels of each id, over all chunks: int64 [256]."""
    counts = torch.zeros(256, dtype=torch.int64)
    for chunk in maps:
        counts += torch.bincount(chunk.flatten(), minlength=256)
    return counts


def map_remarks(what: str, counts: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """Lines on the share of pixels of no class, and on classes without pixels."""
    share = counts[IGNORED].item() / max(1, counts.sum().item())
    missing = [name for name, count in zip(names, counts.tolist()) if not count]
    lines = (f"ignored: {share:.1%} of the {what} pixels belong to no class",) if share else ()
    absent = f"warning: no {what} pixel has class {listed([*map(repr, missing)], 3, ' and')}"
    return (*lines, absent) if missing else lines


def _ids(name: str, image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Ids [H, W]; an RGB image is accepted if its channels are equal, and transparency is ignored."""
    if image.mode == "F":
        raise UserError(
            f"{name} holds fractions; a class map holds one whole number per pixel; store the ids as 8-bit grey"
        )
    if image.mode in ("La", "RGBa", "CMYK", "YCbCr", "HSV"):
        image = image.convert("RGB")
    ids = np.asarray(image, np.int64)
    if ids.ndim == 2:
        return ids
    colours = ids[..., : {2: 1}.get(ids.shape[2], 3)]
    if (colours != colours[..., :1]).any():
        allowed = "a class map holds one id per pixel, as a grey level or palette index"
        raise UserError(f"{name} is a colour image; {allowed}; store the ids as 8-bit grey")
    return colours[..., 0]


def _colour(number: int) -> list[int]:
    """The bits of a number, lowest first, distributed to red, green and blue from the highest bit of each down."""
    return [sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
