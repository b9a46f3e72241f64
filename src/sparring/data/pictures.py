"""Samples as pictures: grids of images and scatter plots of points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from sparring.base.errors import UserError, writing
from sparring.data.form import Form


def as_arrays(images: Tensor) -> NDArray[np.uint8]:
    """uint8 [N, C, H, W] -> [N, H, W] (grey) or [N, H, W, 3]."""
    arrays: NDArray[np.uint8] = images.cpu().permute(0, 2, 3, 1).numpy()
    return arrays[..., 0] if arrays.shape[-1] == 1 else arrays


def grid(images: Tensor, columns: int = 0, least: int = 640) -> Image.Image:
    """A grid of uint8 images [N, C, H, W], enlarged by a whole number to about `least` pixels width if smaller."""
    arrays = as_arrays(images)
    columns = columns or math.ceil(math.sqrt(len(arrays)))
    rows = math.ceil(len(arrays) / columns)
    height, width = arrays.shape[1:3]
    sheet = np.full((rows * (height + 1) + 1, columns * (width + 1) + 1, *arrays.shape[3:]), 96, np.uint8)
    for i, array in enumerate(arrays):
        y, x = (i // columns) * (height + 1) + 1, (i % columns) * (width + 1) + 1
        sheet[y : y + height, x : x + width] = array
    zoom = max(1, round(least / sheet.shape[1]))
    return Image.fromarray(sheet.repeat(zoom, 0).repeat(zoom, 1))


def sheet(rows: Sequence[Tensor], least: int = 640) -> Image.Image:
    """A grid of rows of uint8 images [n, 1 or 3, H, W]; smaller images are enlarged (nearest) to the largest size."""
    size = [max(row.shape[axis] for row in rows) for axis in (2, 3)]
    alike = [F.interpolate(row.expand(-1, 3, -1, -1).float(), size, mode="nearest-exact") for row in rows]
    return grid(torch.cat(alike).to(torch.uint8), columns=len(rows[0]), least=least)


def scatter(points: Tensor, form: Form, reference: Tensor | None = None, side: int = 640) -> Image.Image:
    """A scatter plot of the first two axes of points [N, D], blue, over reference points, grey."""
    low, high = torch.tensor(form.low[:2]), torch.tensor(form.high[:2])
    middle, reach = (low + high) / 2, ((high - low).max().item() or 1.0) * 0.6
    image = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(image)
    for cloud, radius, colour in ((reference, 2.0, (205, 205, 205)), (points, 1.5, (30, 80, 200))):
        if cloud is None:
            continue
        places = ((cloud[:, :2].cpu() - middle) / reach * torch.tensor([1.0, -1.0]) + 1) * side / 2
        for x, y in places.tolist():
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return image


def picture(samples: Tensor, form: Form, reference: Tensor | None = None, columns: int = 0) -> Image.Image:
    """A picture of stored samples: a grid of uint8 images (`columns=0`: square), or a scatter plot of points."""
    return scatter(samples, form, reference) if form.is_points else grid(samples, columns)


def save_image(image: Image.Image, path: Path, fix: str = "choose another --out") -> None:
    """Write a PNG and create its folder; raises UserError if it cannot be written."""
    with writing(path, fix):
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, format="PNG")


def save_samples(samples: Tensor, path: Path, form: Form, columns: int = 0) -> None:
    """Write uint8 images or points: `.png` for one picture, `.npy` for an array, no ending for a folder of PNG files.

    Raises:
        UserError: another ending, points with a folder, or the file cannot be written.
    """
    if path.suffix == ".png":
        save_image(picture(samples, form, columns=columns), path)
    elif path.suffix == ".npy":
        with writing(path, "choose another --out"):
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, samples.cpu().numpy() if form.is_points else as_arrays(samples))
    elif path.suffix:
        ending = path.suffix
        raise UserError(f"--out {path}: unknown file type {ending!r}; use .png, .npy or the name of a folder")
    elif form.is_points:
        raise UserError(
            f"--out {path}: points cannot be written as a folder of images; use a name ending in .png or .npy"
        )
    else:
        digits = len(str(len(samples) - 1))
        for i, array in enumerate(as_arrays(samples)):
            save_image(Image.fromarray(array), path / f"{i:0{digits}d}.png")
