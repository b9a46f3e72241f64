"""Scores of segmentations, counted over the pixels of all images together, whatever their sizes.

A segmentation holds a class index per pixel. All functions raise UserError if no pixel is left to compare.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.base.errors import UserError


def confusion(found: Tensor, wanted: Tensor, classes: int, ignore: int | None = None) -> Tensor:
    """Confusion matrix: pixels by target class (row) and predicted class (column).

    The matrices of several images can be added; `iou_of`, `class_iou` and `accuracy_of` take the sum.

    Args:
        found: predicted class of each pixel, integers.
        wanted: target class of each pixel, in the same shape. Values of `classes` or more mark unlabelled pixels,
            which are left out.
        classes: number of classes.
        ignore: another target value to leave out.

    Returns:
        Counts, int64 [classes, classes].

    Raises:
        UserError: shapes differ, or another value is no class.
    """
    _check_shapes(found, wanted)
    kept = _kept(wanted, ignore) & (wanted < classes)
    found, wanted = found[kept].long(), wanted[kept].long()
    for pixels in (found, wanted):
        _check_classes(pixels, classes)
    return torch.bincount(wanted * classes + found, minlength=classes**2).view(classes, classes)


def class_iou(pairs: Tensor) -> Tensor:
    """Intersection over union (IoU) of each class [classes], from a `confusion` matrix; NaN for absent classes.

    Source: Everingham et al. 2010, section 4.2.
    """
    pairs = pairs.double()
    both = pairs.diagonal()
    return both / (pairs.sum(0) + pairs.sum(1) - both)


def iou_of(pairs: Tensor) -> float:
    """Mean IoU over the classes that occur, from a `confusion` matrix; in [0, 1], higher is better."""
    _check_pairs(pairs)
    return class_iou(pairs).nanmean().item()


def accuracy_of(pairs: Tensor) -> float:
    """Pixel accuracy from a `confusion` matrix; in [0, 1], higher is better."""
    _check_pairs(pairs)
    return (pairs.diagonal().sum() / pairs.sum()).item()


def mean_iou(found: Tensor, wanted: Tensor, classes: int, ignore: int | None = None) -> float:
    """Mean IoU over the classes that occur; in [0, 1], higher is better.

    Pixels with the target value `ignore` are left out. Unlike in `confusion`, all other values must be classes.
    Source: Everingham et al. 2010, section 4.2.
    """
    if found.shape == wanted.shape:
        _check_classes(wanted[_kept(wanted, ignore)], classes)
    return iou_of(confusion(found, wanted, classes, ignore))


def pixel_accuracy(found: Tensor, wanted: Tensor, ignore: int | None = None) -> float:
    """Share of pixels with the right class, without those of the target value `ignore`; in [0, 1]."""
    _check_shapes(found, wanted)
    kept = _kept(wanted, ignore)
    _check_pairs(kept)
    return (found[kept] == wanted[kept]).double().mean().item()


def _check_shapes(found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape:
        raise UserError(
            f"segmentations of shape {list(found.shape)} and {list(wanted.shape)} cannot be compared; give equal shapes"
        )


def _kept(wanted: Tensor, ignore: int | None) -> Tensor:
    return torch.ones_like(wanted, dtype=torch.bool) if ignore is None else wanted != ignore


def _check_classes(pixels: Tensor, classes: int) -> None:
    if len(pixels) and not 0 <= int(pixels.min()) <= int(pixels.max()) < classes:
        raise UserError(
            f"a segmentation has classes {int(pixels.min())} to {int(pixels.max())}; give 0 to {classes - 1}"
        )


def _check_pairs(pairs: Tensor) -> None:
    if not pairs.sum():
        raise UserError("no pixel is left to compare: all are ignored; give at least one with a class")
