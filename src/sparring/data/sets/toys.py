"""Small sets for trying image translation and patches, made from images that scikit-learn contains."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from sparring.data.samples import Data, image_data, joined, map_data
from sparring.data.sets.mnist import load_digits
from sparring.data.sources.source import Item, Source

Levels = NDArray[np.int64]
PAPER: Levels = np.array([30, 50, 140])  # red, green and blue
INK: Levels = np.array([255, 190, 60])


def load_digit_edges() -> Data:
    """1,797 pairs of 16x16, grey: the outline of a digit (source), and the digit (target)."""
    digits = _enlarged()
    bright = np.pad(digits > 63, ((0, 0), (1, 1), (1, 1)))
    inside = bright[:, :-2, 1:-1] & bright[:, 2:, 1:-1] & bright[:, 1:-1, :-2] & bright[:, 1:-1, 2:]
    outlines = 255 * (bright[:, 1:-1, 1:-1] & ~inside).astype(np.int64)
    return joined("digit-edges", _data("digit-edges", outlines), _data("digit-edges", digits), paired=True)


def load_digit_maps() -> Data:
    """1,797 pairs of 16x16: a digit (source), and its map of the classes paper and ink (target)."""
    digits = _enlarged()
    ink = map_data("digit-maps", _data("digit-maps", (digits > 127).astype(np.int64)).samples, ("paper", "ink"))
    return joined("digit-maps", _data("digit-maps", digits), ink, paired=True)


def load_digit_inverts() -> Data:
    """Two unpaired sets of different digits of 16x16, grey: 899 white on black (A), and 898 black on white (B)."""
    digits = _enlarged()
    a, b = _data("digit-inverts", digits[::2]), _data("digit-inverts", 255 - digits[1::2])
    return joined("digit-inverts", a, b, paired=False)


def load_digit_colours() -> Data:
    """Two unpaired sets of different digits of 16x16, RGB: 899 white on black (A), and 898 orange on blue (B)."""
    ink = _enlarged()[..., None]
    coloured: Levels = (PAPER * (255 - ink[1::2]) + INK * ink[1::2]) // 255
    a, b = _data("digit-colours", ink[::2].repeat(3, -1)), _data("digit-colours", coloured)
    return joined("digit-colours", a, b, paired=False)


def photo_source() -> Source:
    """Two photos of 640x427 (a temple and a flower), to cut patches from."""
    return Source("photos", "of scikit-learn", _photos, 2)


def _photos() -> Iterator[Item]:
    from sklearn import datasets

    found = datasets.load_sample_images()
    for path, pixels in zip(found.filenames, found.images):
        yield Item(str(path), Image.fromarray(pixels))


def _enlarged() -> Levels:
    """The digits enlarged twice, bilinearly, in integer arithmetic for equal results on every machine: [N, 16, 16]."""
    levels = load_digits().samples[:, 0].numpy().astype(np.int64)
    enlarged: Levels = (_twice(_twice(levels).swapaxes(1, 2)).swapaxes(1, 2) + 8) // 16
    return enlarged


def _twice(levels: Levels) -> Levels:
    """Double the rows and multiply by 4: each new row is 3 times its own old row plus the nearest other row."""
    beyond = np.pad(levels, ((0, 0), (1, 1), (0, 0)), mode="edge")
    above, row, below = beyond[:, :-2], beyond[:, 1:-1], beyond[:, 2:]
    return np.stack([3 * row + above, 3 * row + below], 2).reshape(len(levels), -1, levels.shape[2])


def _data(name: str, levels: Levels) -> Data:
    """Grey images [N, H, W], or images [N, H, W, C]."""
    channels_last = levels.reshape(*levels.shape[:3], -1).astype(np.uint8)
    return image_data(name, torch.from_numpy(channels_last).permute(0, 3, 1, 2).contiguous())
