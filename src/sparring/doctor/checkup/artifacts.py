"""Dataset artifacts: traits of real images that separate them from generated ones regardless of their content.

A generator ends in tanh: its values are continuous in 0..255, without exact frames, compression grids or constant
channels. If real images have one, the discriminator can use it alone. The thresholds were chosen on 21 real sets and on
injected faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sparring.data.store.mapped import release
from sparring.doctor.checkup.jpeg import Artifact, compression, enlargement

MOST_IMAGES = 2000
MOST_VALUES = 64_000_000  # one byte each
FEWEST = 16  # images needed for statements about shares of them

SMALLEST = 16  # pixels per side; in smaller images a stroke fills a row, and passes for the edge of a frame
NARROW = 144  # levels; a smaller range means wrong scaling or very low contrast
FEW_LEVELS = 32
ALL_GREY = 0.98  # share of grey images above which colour is taken for a mistake
SAME = 3  # largest difference in levels within one colour, or between the channels of grey
EDGE = 20  # smallest difference in levels between a picture and its bar; JPEG ripples in the bar reach half of it


def checked_images(samples: Tensor) -> Tensor:
    """A fixed random selection of at most 2,000 images and 64 MB: [N, C, H, W] -> [n, C, H, W]."""
    most = min(MOST_IMAGES, max(1, MOST_VALUES // samples[0].numel()))
    if len(samples) <= most:
        return samples
    chosen = samples[torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:most].sort().values]
    release(samples)
    return chosen


def dataset_artifacts(images: Tensor) -> list[Artifact]:
    """The dataset artifacts of images, uint8 [n, C, H, W], warnings first."""
    found = [*_channels(images), *_values(images)]
    if len(images) >= FEWEST:
        bars = [_bars(images, side) for side in SIDES] if min(images.shape[2:]) >= SMALLEST else []
        frame = _frame(bars)
        barred = _barred(bars) if bars and not frame else torch.zeros(len(images), dtype=torch.bool)
        within = _cut(images, frame)[~barred]  # the edge of a bar passes for a grid, a bar for a background
        found += [*_padding(frame, barred), *_backgrounds(within), *compression(within), *enlargement(within)]
    return sorted(found, key=lambda artifact: artifact.severity == "note")


def grey_share(images: Tensor) -> float:
    """The share of images whose first three channels are equal, [n, C, H, W] with C at least 3."""
    colours = images[:, :3]
    spread = colours.amax(1) - colours.amin(1)
    return (spread.flatten(1).amax(1) <= SAME).double().mean().item()


def _channels(images: Tensor) -> Iterator[Artifact]:
    count = images.shape[1]
    for c in range(count):
        if images[:, c].min() == images[:, c].max():
            fix = "remove the alpha channel" if count in (2, 4) and c == count - 1 else "check the files"
            yield Artifact("warning", f"channel {c} has one value in all images, so it holds no information: {fix}")
    narrow = int(images.max()) - int(images.min()) < NARROW  # then SAME is not a small difference
    if count >= 3 and not narrow and grey_share(images) > ALL_GREY:
        text = (
            "grey images are stored as RGB: the channels of generated images are never all equal. Store one channel: "
            'Image.open(path).convert("L").save(path) with Pillow'
        )
        yield Artifact("warning", text)


def _values(images: Tensor) -> Iterator[Artifact]:
    counts = torch.zeros(256, dtype=torch.int64)
    for part in images.split(64):  # in parts, because bincount needs 8 bytes per value
        counts += part.flatten().long().bincount(minlength=256)
    share = counts.double() / counts.sum()
    used = counts.nonzero().flatten()
    low, high = int(used[0]), int(used[-1])
    if low < high < low + NARROW:
        yield Artifact("warning", _narrow(low, high, len(used)))
    if high - low < NARROW or len(images) < FEWEST:
        return  # a single value is reported as constant channels
    levels = int((share > 1e-5).sum())
    two = share.topk(2).values.sum().item()
    if levels <= 3 or two > 0.99:
        text = (
            f"{two:.1%} of the values have one of two levels ({levels} levels in all): generated images also have the "
            "values between. Keep the grey levels, shrink the images (--size), or add --augment 'InstanceNoise()'"
        )
        yield Artifact("warning", text)
        return
    if levels <= FEW_LEVELS:
        text = f"only {levels} of 256 levels are used (posterised images or a class map); this did no harm in tests"
        yield Artifact("note", text)
    for level in (0, 255):
        if share[level] > 0.3:
            text = f"{share[level]:.0%} of the values are exactly {level}: a flat background or clipped exposure"
            yield Artifact("note", text)


def _narrow(low: int, high: int, levels: int) -> str:
    cause = " (perhaps 0..1 stored as bytes)" if high <= 1 else ""
    ids = "; if these are class ids, they are labels, not an image" if levels <= FEW_LEVELS else ""
    shifted = f"(x - {low})" if low else "x"
    return (
        f"values span only {low} to {high} of 0 to 255{cause}: the discriminator recognises real images by the range. "
        f"Rescale them: {shifted} * {255 / (high - low):.4g}{ids}"
    )


SIDES = ("top", "bottom", "left", "right")


class _Bars(NamedTuple):
    """One side of each image."""

    flat: Tensor  # bool [n]: the outermost row has one colour
    colour: Tensor  # int64 [n, C]: the median colour of that row
    thickness: Tensor  # int64 [n]: rows before the picture begins; 0 if it does not begin abruptly over most of a row


def _bars(images: Tensor, side: str) -> _Bars:
    rows = images.transpose(2, 3) if side in ("left", "right") else images
    rows = rows.flip(2) if side in ("bottom", "right") else rows
    rows = rows[:, :, : rows.shape[2] // 2].short()
    colour = rows[:, :, 0].median(2).values
    off = (rows - colour[:, :, None, None]).abs().amax(1)  # [n, rows, length]
    flat = (off[:, 0] <= EDGE // 2).double().mean(1) >= 0.95
    other = (off > EDGE).double().mean(2)
    picture = other > 0.6
    start = picture.long().argmax(1)  # the first such row
    before = other.gather(1, (start - 2).clamp(min=0)[:, None])[:, 0]  # one blurred row may lie between
    abrupt = flat & picture.any(1) & (before < 0.2)
    return _Bars(flat, colour.long(), start.where(abrupt, torch.zeros_like(start)))


def _frame(bars: list[_Bars]) -> dict[str, int]:
    """The sides at which more than 80% of the images have a bar of one thickness, and the thickness in pixels."""
    found: dict[str, int] = {}
    for side, (_, _, thickness) in zip(SIDES, bars):
        usual = int(thickness[thickness > 0].mode().values) if thickness.any() else 0
        if usual and (thickness == usual).double().mean() > 0.8:
            found[side] = usual
    return found


def _cut(images: Tensor, frame: dict[str, int]) -> Tensor:
    height, width = images.shape[2:]
    top, bottom, left, right = (frame.get(side, 0) for side in SIDES)
    return images[:, :, top : height - bottom, left : width - right]


def _barred(bars: list[_Bars]) -> Tensor:
    """True for images between two bars: bool [n]; all False if there are fewer than 3, or than 2%."""
    barred = _letterboxed(*bars[:2]) | _letterboxed(*bars[2:])
    return barred if barred.sum() >= 3 and barred.double().mean() >= 0.02 else torch.zeros_like(barred)


def _padding(frame: dict[str, int], barred: Tensor) -> Iterator[Artifact]:
    """Frames and bars of one colour that end abruptly, unlike a background."""
    if frame:
        where = ", ".join(f"{count} at the {side}" for side, count in frame.items())
        text = (
            f"the images have a frame of constant rows or columns ({where}), which a generator never matches exactly. "
            "Cut it off: image.crop((left, top, right, bottom)) with Pillow"
        )
        yield Artifact("warning", text)
    elif barred.any():
        text = (
            f"{barred.double().mean():.0%} of the images have bars of one colour at two opposite sides: the generator "
            "will learn the bars. Crop the images to the picture instead of padding them"
        )
        yield Artifact("warning", text)


def _letterboxed(one: _Bars, other: _Bars) -> Tensor:
    """True for images between two equal bars: bool [n]; all False if their colour is the background of the others."""
    flat = one.flat & other.flat & ((one.colour - other.colour).abs().amax(1) <= SAME)
    barred = (one.thickness > 0) & (other.thickness > 0) & ((one.thickness - other.thickness).abs() <= 1)
    bars = flat & barred
    if not bars.any():
        return bars
    usual = one.colour[bars].mode(0).values
    same_colour = flat & ((one.colour - usual).abs().amax(1) <= SAME)
    return bars if bars.sum() > 0.7 * same_colour.sum() else torch.zeros_like(bars)


def _backgrounds(images: Tensor) -> Iterator[Artifact]:
    """White backgrounds in some images and black in others, from transparency that was filled in two ways."""
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].flatten(1)
    white = (corners >= 255 - SAME).all(1).double().mean().item()
    black = (corners <= SAME).all(1).double().mean().item()
    if len(images) >= FEWEST and min(white, black) >= 0.1 and white + black >= 0.8:
        text = (
            f"{white:.0%} of the images have a white background and {black:.0%} a black one, perhaps from transparency "
            "that was filled in two ways: the generator will learn both. Fill it with one colour"
        )
        yield Artifact("warning", text)
