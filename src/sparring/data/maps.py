"""Maps of class ids: one number for each pixel."""

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
    """uint8 ids [n, 1, H, W] -> float32 [n, count, H, W] of 0 and 1; all 0 where an id is no class."""
    return (maps == torch.arange(count, device=maps.device).view(1, -1, 1, 1)).float()


def coloured(maps: Tensor, count: int) -> Tensor:
    """uint8 ids [n, 1, H, W] -> uint8 [n, 3, H, W] in fixed colours, the same for an id in every set; no class: black.

    Source: the colours of PASCAL VOC (Everingham et al. 2010), without its black.
    """
    colours = torch.zeros(256, 3, dtype=torch.uint8)
    colours[:count] = torch.tensor([_colour(i + 1) for i in range(count)], dtype=torch.uint8)
    return colours.to(maps.device)[maps[:, 0].long()].movedim(-1, 1)


def decode_map(name: str, content: Content, classes: int, ignore: int | None, fix: str = "") -> Image.Image:
    """A map of class ids as an image of mode L, upright, of its own size; what is `ignore` or 255 becomes 255.

    The ids are the levels of a grey image, of 8 or 16 bits, or the numbers of a palette's colours.

    Raises:
        NotDecodedError: it is damaged, or no image.
        UserError: it is no map, or has an id that is no class (the message then says `mend`, else to ignore it).
    """
    with load_upright(content) as image:
        ids = _ids(name, image)
    ignored = ids == IGNORED if ignore is None else (ids == IGNORED) | (ids == ignore)
    beyond = ids[~ignored & ((ids < 0) | (ids >= classes))]
    if len(beyond):
        fix = fix or f"say ignore={beyond[0]} if it stands for no class"
        raise UserError(f"class id {beyond[0]} in {name} is out of range: there are classes 0 to {classes - 1}; {fix}")
    return Image.fromarray(np.where(ignored, IGNORED, ids).astype(np.uint8))


def class_pixels(maps: Iterable[Tensor]) -> Tensor:
    """How many pixels of maps, which come in pieces, have each id: int64 [256]."""
    counts = torch.zeros(256, dtype=torch.int64)
    for chunk in maps:
        counts += torch.bincount(chunk.flatten(), minlength=256)
    return counts


def map_remarks(what: str, counts: Tensor, names: Sequence[str]) -> tuple[str, ...]:
    """How much of maps with so many pixels of each id is no class, and which classes they lack."""
    share = counts[IGNORED].item() / max(1, counts.sum().item())
    missing = [name for name, count in zip(names, counts.tolist()) if not count]
    lines = (f"ignored: {share:.1%} of the {what}'s pixels belong to no class",) if share else ()
    return (*lines, f"careful: the {what} lacks {listed([*map(repr, missing)], 3, ' and')}") if missing else lines


def _ids(name: str, image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """[H, W]; a colour image is a map if its channels are all the same, whatever its transparency."""
    if image.mode == "F":
        raise UserError(f"{name} holds fractions; a map of classes holds one whole number for each pixel")
    if image.mode in ("La", "RGBa", "CMYK", "YCbCr", "HSV"):
        image = image.convert("RGB")
    ids = np.asarray(image, np.int64)
    if ids.ndim == 2:
        return ids
    colours = ids[..., : {2: 1}.get(ids.shape[2], 3)]
    if (colours != colours[..., :1]).any():
        what = "a map of classes holds one number for each pixel: grey levels, or a palette"
        raise UserError(f"{name} is a colour image; {what}")
    return colours[..., 0]


def _colour(number: int) -> list[int]:
    """The bits of a number, dealt out to red, green and blue, the lowest of them for half of the brightness."""
    return [sum((number >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3)) for channel in range(3)]
