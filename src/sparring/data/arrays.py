"""Arrays and tables of the user: `.npz` and `.npy` of images or points, `.csv` of points."""

from __future__ import annotations

import csv
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.samples import Data, image_data, point_data

LARGEST = 1e30  # the squares of larger values overflow float32


def _channels_first(pixels: NDArray[np.uint8]) -> Tensor:
    """[N, H, W] or [N, H, W, C] -> [N, C, H, W]."""
    tensor = torch.from_numpy(np.ascontiguousarray(pixels))
    return tensor.unsqueeze(1) if tensor.dim() == 3 else tensor.permute(0, 3, 1, 2).contiguous()


def load_npz(path: Path) -> Data:
    """Load an `.npz` of samples and optional labels.

    * Samples: the array `images`, `samples`, `x` or `arr_0`, else the only array besides the labels. Images are
      [N, H, W] or [N, H, W, C], uint8 or floats in [0, 1] or [-1, 1]; points are [N, D].
    * Labels: the array `labels`, `label` or `y`, [N].

    Raises:
        UserError: the file is damaged, or its arrays have other shapes, types or values.
    """
    arrays = _arrays(path)
    labels = next((arrays.pop(n) for n in ("labels", "label", "y") if n in arrays), None)
    usual: list[str] = [name for name in ("images", "samples", "x", "arr_0") if name in arrays]
    names = usual[:1] or [*arrays]
    if len(names) != 1:
        raise UserError(f"{path} holds {sorted(arrays) or 'no samples'}; name the array of samples 'images'")
    return _array_data(path, f"'{names[0]}'", arrays[names[0]], labels)


def _arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise UserError(f"{path} is a single array; write it with numpy.savez(path, images=...)")
        with archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        fix = "write it with numpy.savez(path, images=...)"
        raise UserError(f"{path} is not an .npz of plain arrays ({error}); {fix}") from error


def paired_arrays(path: Path, *maps: bool) -> list[NDArray[np.generic]]:
    """The arrays `source` and `target` of an `.npz`.

    Args:
        path: the file.
        maps: for each side, True if it holds maps of class ids.

    Returns:
        For images, uint8 [N, H, W] or [N, H, W, 3]; for maps, int32 [N, H, W].

    Raises:
        UserError: an array is missing or has another shape, type or range.
    """
    arrays = _arrays(path)
    if not {"source", "target"} <= arrays.keys():
        raise UserError(f"{path} holds {sorted(arrays)}; pairs need two arrays: name them 'source' and 'target'")
    found = [arrays["source"], arrays["target"]]
    if len(found[0]) != len(found[1]):
        raise UserError(f"{path}: {len(found[0])} sources and {len(found[1])} targets; save one target per source")
    return [_side(path, name, array, ids) for name, array, ids in zip(("source", "target"), found, maps)]


def _side(path: Path, name: str, array: NDArray[np.generic], ids: bool) -> NDArray[np.generic]:
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 and (array.ndim != 4 or array.shape[3] != 3 or ids):
        shape = list(array.shape)
        allowed = "[N, H, W] for class ids" if ids else "[N, H, W] (grey) and [N, H, W, 3] (RGB)"
        raise UserError(f"{path}: {name!r} has shape {shape}; allowed: {allowed}")
    if not ids:
        return _as_bytes(path, array)
    if array.dtype.kind not in "uib":
        raise UserError(f"{path}: {name!r} is of type {array.dtype}; class ids are whole numbers: save it as uint8")
    return array.astype(np.int32)


def load_npy(path: Path) -> Data:
    """Load an `.npy` of images or points as in `load_npz`, without labels; raises UserError likewise."""
    try:
        samples = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} is not an .npy of numbers ({error}); write it with numpy.save") from error
    return _array_data(path, "the array", np.asarray(samples), None)


def _array_data(path: Path, what: str, samples: NDArray[np.generic], labels: NDArray[np.generic] | None) -> Data:
    fits = samples.ndim in (3, 4) or (samples.ndim == 2 and samples.shape[1] >= 2)
    if not fits or samples.size == 0 or samples.dtype.kind not in "uif":
        raise UserError(
            f"{path}: {what} has shape {list(samples.shape)} and type {samples.dtype}; allowed are images "
            "[N, H, W] or [N, H, W, C] and points [N, D] of numbers, D at least 2"
        )
    if samples.dtype.kind == "f" and not (np.abs(samples.astype(np.float64)) < LARGEST).all():
        raise UserError(f"{path}: {what} holds NaN, infinity or values beyond {LARGEST:g}; remove those samples")
    targets, classes = _npz_labels(path, labels, len(samples))
    if samples.ndim == 2:
        return point_data(str(path), torch.from_numpy(samples.astype(np.float32)), targets, classes)
    if samples.ndim == 4 and samples.shape[3] not in (1, 3):
        raise UserError(f"{path}: images of shape {list(samples.shape)}; the last axis must be 1 (grey) or 3 (RGB)")
    return image_data(str(path), _channels_first(_as_bytes(path, samples)), targets, classes)


def _npz_labels(path: Path, labels: NDArray[np.generic] | None, count: int) -> tuple[Tensor | None, tuple[str, ...]]:
    if labels is None:
        return None, ()
    if labels.shape != (count,):
        raise UserError(f"{path}: labels have shape {list(labels.shape)}; {count} samples need labels of [{count}]")
    if labels.dtype.kind == "f" and not np.equal(labels, np.round(labels.astype(np.float64))).all():
        raise UserError(f"{path}: labels hold fractions; allowed are whole numbers or names: save class numbers")
    if labels.dtype.kind in "if" and len(labels) and labels.min() < 0:
        raise UserError(
            f"{path}: label {labels.min():g} is negative; allowed are names and whole numbers of at least 0; correct it"
        )
    names, indices = np.unique(labels, return_inverse=True)
    return torch.from_numpy(indices.astype(np.int64)), tuple(map(str, names))


def _as_bytes(path: Path, pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels  # type: ignore[return-value]
    values = pixels.astype(np.float64)
    low, high = values.min(), values.max()
    if pixels.dtype.kind in "ui" and low >= 0 and high <= 255:
        return values.astype(np.uint8)
    if pixels.dtype.kind == "f" and low >= -1 and high <= 1:
        return np.rint(values * 255 if low >= 0 else (values + 1) * 127.5).astype(np.uint8)
    span = f"{low:g} to {high:g}"
    allowed = "allowed are uint8, floats in [0, 1] or floats in [-1, 1]"
    raise UserError(f"{path}: pixels span {span}; {allowed}; rescale them")


def load_csv(path: Path) -> Data:
    """Load points from a `.csv`: one per row, at least two columns; a first row without numbers is a header.

    Raises:
        UserError: the file is not text, has no points, or a row is not of as many finite numbers as the first.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table of text ({error}); save it as UTF-8 CSV") from error
    points: list[list[float]] = []
    for number, row in enumerate(rows, start=1):
        try:
            values = [float(cell) for cell in row]
        except ValueError:
            if number == 1:
                continue
            raise UserError(
                f"{path}, row {number}: {row!r} is not a row of numbers; separate numbers by commas, such as 0.5,-1.2"
            ) from None
        columns = len(points[0]) if points else max(2, len(values))
        if len(values) != columns or not all(abs(value) < LARGEST for value in values):
            wanted = f"{len(points[0])} finite numbers" if points else "at least two finite numbers"
            raise UserError(f"{path}, row {number}: {row!r} must be {wanted}; correct or remove it")
        points.append(values)
    if not points:
        raise UserError(f"{path} holds no points; write one per row, such as 0.5,-1.2")
    return point_data(str(path), torch.tensor(points))
