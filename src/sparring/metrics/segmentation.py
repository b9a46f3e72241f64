"""How well the classes of pixels agree, counted over all pixels together, so that images of any sizes add up.

Segmentations are whole numbers of equal shape, the classes of pixels. UserError is raised where no pixel is left.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.base.errors import UserError


def confusion(found: Tensor, wanted: Tensor, classes: int, ignore: int | None = None) -> Tensor:
    """How many pixels of each wanted class (row) are found to be of each class (column): int64 [classes, classes].

    Matrices of several images may be added up; `iou_of`, `class_iou` and `accuracy_of` read them. Pixels whose wanted
    class is `ignore`, or one beyond `classes`, by which maps mark what is of none, are left out.
    UserError: shapes differ, or another pixel is of no class.
    """
    _check_shapes(found, wanted)
    kept = _kept(wanted, ignore) & (wanted < classes)
    found, wanted = found[kept].long(), wanted[kept].long()
    for pixels in (found, wanted):
        _check_classes(pixels, classes)
    return torch.bincount(wanted * classes + found, minlength=classes**2).view(classes, classes)


def class_iou(pairs: Tensor) -> Tensor:
    """Intersection over union of each class [classes], from a `confusion`; NaN for one that occurs in neither.

    Source: Everingham et al. 2010, section 4.2.
    """
    pairs = pairs.double()
    both = pairs.diagonal()
    return both / (pairs.sum(0) + pairs.sum(1) - both)


def iou_of(pairs: Tensor) -> float:
    """Mean over the classes that occur of intersection over union, in [0, 1], from a `confusion` of any pixels."""
    _check_pairs(pairs)
    return class_iou(pairs).nanmean().item()


def accuracy_of(pairs: Tensor) -> float:
    """Share of the pixels whose class was found, in [0, 1], from a `confusion` of any pixels."""
    _check_pairs(pairs)
    return (pairs.diagonal().sum() / pairs.sum()).item()


def mean_iou(found: Tensor, wanted: Tensor, classes: int, ignore: int | None = None) -> float:
    """Mean over the classes that occur of intersection over union, counted over all pixels together, in [0, 1].

    Pixels that are wanted to be of the class `ignore` are left out; all others must be of a class, unlike in
    `confusion`. Source: Everingham et al. 2010, section 4.2.
    """
    if found.shape == wanted.shape:
        _check_classes(wanted[_kept(wanted, ignore)], classes)
    return iou_of(confusion(found, wanted, classes, ignore))


def pixel_accuracy(found: Tensor, wanted: Tensor, ignore: int | None = None) -> float:
    """Share of the pixels whose class was found, in [0, 1], without those whose wanted class is `ignore`."""
    _check_shapes(found, wanted)
    kept = _kept(wanted, ignore)
    _check_pairs(kept)
    return (found[kept] == wanted[kept]).double().mean().item()


def _check_shapes(found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        raise UserError(f"segmentations of shape {list(found.shape)} and {list(wanted.shape)} cannot be compared")


def _kept(wanted: Tensor, ignore: int | None) -> Tensor:
    return torch.ones_like(wanted, dtype=torch.bool) if ignore is None else wanted != ignore


def _check_classes(pixels: Tensor, classes: int) -> None:
    if len(pixels) and not 0 <= int(pixels.min()) <= int(pixels.max()) < classes:
        raise UserError(f"a segmentation holds classes {int(pixels.min())} to {int(pixels.max())}, of {classes}")


def _check_pairs(pairs: Tensor) -> None:
    if not pairs.sum():
        raise UserError("no pixel is left to compare; all are of the class to ignore")
