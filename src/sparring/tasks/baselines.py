"""Baselines without a network, which a trained network should surpass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.errors import UserError

if TYPE_CHECKING:
    from scipy import sparse


def interpolated(source: Tensor, size: tuple[int, int]) -> Tensor:
    """Enlarge images [n, C, h, w] in [-1, 1] to (H, W) by bicubic interpolation, as Pillow's BICUBIC; clamped.

    Source: Keys 1981 with a = -0.5, usual in super-resolution (torch without `antialias` uses -0.75).
    """
    return F.interpolate(source, size, mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)


def biharmonic(image: Tensor, mask: Tensor) -> Tensor:
    """Biharmonic inpainting: fill missing pixels with the smoothest surface through the known ones.

    The image is [C, H, W] in [-1, 1]; the mask [1, H, W] is not 0 at missing pixels. Known pixels keep every bit.
    Source: Damelin and Hoang 2018. UserError: no pixel is known.
    """
    from scipy.sparse import linalg  # here, since most trainings need no baseline

    missing = mask[0].bool().cpu()
    if missing.all():
        raise UserError("the mask covers the whole image; use one that leaves some pixels")
    if not missing.any():
        return image.clone()
    made = image.detach().double().cpu().flatten(1).T.numpy().copy()
    hole = missing.flatten().numpy()
    rows = _squared_laplacian(*missing.shape)[hole]
    least, most = made[~hole].min(0), made[~hole].max(0)
    solved = linalg.spsolve(rows[:, hole].tocsc(), -(rows[:, ~hole] @ made[~hole]))
    made[hole] = np.clip(solved.reshape(-1, made.shape[1]), least, most)
    filled = torch.from_numpy(made).T.reshape(image.shape)
    return torch.where(mask.bool(), filled.to(image.device, image.dtype), image)


def _squared_laplacian(height: int, width: int) -> sparse.csr_array:
    """The squared discrete Laplacian of an image with reflecting borders: [pixels, pixels]."""
    from scipy import sparse

    lines = []
    for count in (height, width):
        ends = np.full(count, -2.0)
        ends[0] += 1
        ends[-1] += 1
        lines.append(sparse.diags_array([np.ones(count - 1), ends, np.ones(count - 1)], offsets=[-1, 0, 1]))
    across = sparse.kron(lines[0], sparse.eye_array(width))
    laplacian = sparse.csr_array(across + sparse.kron(sparse.eye_array(height), lines[1]))
    return laplacian @ laplacian


def most_frequent_class(maps: Iterable[Tensor], classes: int, size: tuple[int, int]) -> Tensor:
    """Most frequent class of each pixel over class maps, the lowest id of equal ones: uint8 [1, H, W].

    Maps are uint8 [1, h, w], resized by nearest neighbour to (H, W). Ids from `classes` (at most 255) on are ignored. A
    pixel without a class in all maps gets the class most frequent overall. UserError: no map contains a class.
    """
    counts = torch.zeros(classes, *size, dtype=torch.int64)
    for stored in maps:
        found = stored.cpu()
        if tuple(found.shape[1:]) != tuple(size):
            found = F.interpolate(found[None].float(), size, mode="nearest-exact")[0]
        found = found.long()
        counts.scatter_add_(0, found.clamp(max=classes - 1), (found < classes).long())
    if not counts.any():
        raise UserError(f"no map contains one of the {classes} classes; give at least one that does")
    most = counts.argmax(0)
    most[counts.sum(0) == 0] = counts.sum((1, 2)).argmax()
    return most[None].to(torch.uint8)
