"""Dataset artifacts: what tells real images from generated ones by itself, found before training.

A generator ends in tanh: it makes continuous values within 0..255, with no frame, no compression grid and no constant
channel. Where real images have such a thing, the discriminator looks at nothing else. Thresholds were chosen on 21 real
sets and on planted faults.
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
FEWEST = 16  # images from which on it makes sense to speak of shares of them

SMALLEST = 16  # pixels of a side; in smaller pictures a stroke fills a row, and looks like the start of a picture
NARROW = 144  # levels; fewer between the lowest and the highest are a mistake of scale, or very dull pictures
FEW_LEVELS = 32
ALL_GREY = 0.98  # share of grey images from which on colour is a mistake
SAME = 3  # levels by which values may differ and still be one colour, or grey
EDGE = 20  # levels from which on a picture is seen against its bar, in which JPEG leaves ripples of half of that


def checked_images(samples: Tensor) -> Tensor:
    """At most 2,000 images and 64 MB of them, chosen at random but always the same: [N, C, H, W] -> [n, C, H, W]."""
    most = min(MOST_IMAGES, max(1, MOST_VALUES // samples[0].numel()))
    if len(samples) <= most:
        return samples
    seen = samples[torch.randperm(len(samples), generator=torch.Generator().manual_seed(0))[:most].sort().values]
    release(samples)
    return seen


def dataset_artifacts(images: Tensor) -> list[Artifact]:
    """All findings on a look at the images, uint8 [n, C, H, W]: what needs care first."""
    found = [*_channels(images), *_values(images)]
    if len(images) >= FEWEST:
        bars = [_bars(images, side) for side in SIDES] if min(images.shape[2:]) >= SMALLEST else []
        frame = _frame(bars)
        barred = _barred(bars) if bars and not frame else torch.zeros(len(images), dtype=torch.bool)
        within = _cut(images, frame)[~barred]  # an edge of a bar would pass for a grid, a bar for a background
        found += [*_padding(frame, barred), *_backgrounds(within), *compression(within), *enlargement(within)]
    return sorted(found, key=lambda artifact: artifact.kind)


def grey_share(images: Tensor) -> float:
    """The share of the images whose channels are all alike, [n, C, H, W] with C at least 3."""
    colours = images[:, :3]
    spread = colours.amax(1) - colours.amin(1)  # uint8 cannot underflow: the largest minus the smallest
    return (spread.flatten(1).amax(1) <= SAME).double().mean().item()


def _channels(images: Tensor) -> Iterator[Artifact]:
    count = images.shape[1]
    for c in range(count):
        if images[:, c].min() == images[:, c].max():
            alpha = " (alpha: remove it)" if count in (2, 4) and c == count - 1 else ""
            yield Artifact("careful", f"channel {c} is the same everywhere: nothing to learn{alpha}")
    narrow = int(images.max()) - int(images.min()) < NARROW  # then a few levels are no small difference
    if count >= 3 and not narrow and grey_share(images) > ALL_GREY:
        text = (
            "the channels are all alike, grey stored as RGB: a generator's never are. Store one channel: "
            'Image.open(path).convert("L").save(path) with Pillow'
        )
        yield Artifact("careful", text)


def _values(images: Tensor) -> Iterator[Artifact]:
    counts = torch.zeros(256, dtype=torch.int64)
    for part in images.split(64):  # bincount widens to 8 bytes a value
        counts += part.flatten().long().bincount(minlength=256)
    share = counts.double() / counts.sum()
    used = counts.nonzero().flatten()
    low, high = int(used[0]), int(used[-1])
    if low < high < low + NARROW:
        yield Artifact("careful", _narrow(low, high, len(used)))
    if high - low < NARROW or len(images) < FEWEST:
        return  # of one value alone the channels' check has said it
    levels = int((share > 1e-5).sum())
    two = share.topk(2).values.sum().item()
    if levels <= 3 or two > 0.99:
        text = (
            f"{levels} levels only, two of them in {two:.1%} of the values: a generator makes what lies between, and "
            "is told by it. Keep the grey levels, shrink with smoothing (--size), or add --augment 'InstanceNoise()'"
        )
        yield Artifact("careful", text)
        return
    if levels <= FEW_LEVELS:
        text = f"only {levels} of 256 levels are used (posterised, or a map of classes): did no harm where it was tried"
        yield Artifact("harmless", text)
    for level in (0, 255):
        if share[level] > 0.3:
            text = f"{share[level]:.0%} of the values are exactly {level}: a flat background, or exposure cut off"
            yield Artifact("harmless", text)


def _narrow(low: int, high: int, levels: int) -> str:
    cause = " (0..1 stored as bytes?)" if high <= 1 else ""
    numbers = "; if these are numbers of classes, they are labels, not an image" if levels <= FEW_LEVELS else ""
    shifted = f"(x - {low})" if low else "x"
    return (
        f"values span only {low} to {high} of 0 to 255{cause}: the discriminator tells by the range alone. "
        f"Stretch them: {shifted} * {255 / (high - low):.4g}{numbers}"
    )


SIDES = ("top", "bottom", "left", "right")


class _Bars(NamedTuple):
    """One side of each image."""

    flat: Tensor  # bool [n]: the outermost row is of one colour
    colour: Tensor  # int64 [n, C]: which
    thickness: Tensor  # int64 [n]: rows before a picture begins; 0: none begins abruptly, over most of the row's length


def _bars(images: Tensor, side: str) -> _Bars:
    rows = images.transpose(2, 3) if side in ("left", "right") else images
    rows = rows.flip(2) if side in ("bottom", "right") else rows
    rows = rows[:, :, : rows.shape[2] // 2].short()
    colour = rows[:, :, 0].median(2).values
    off = (rows - colour[:, :, None, None]).abs().amax(1)  # [n, rows, length]
    flat = (off[:, 0] <= EDGE // 2).double().mean(1) >= 0.95
    seen = (off > EDGE).double().mean(2)
    picture = seen > 0.6
    start = picture.long().argmax(1)  # the first such row
    before = seen.gather(1, (start - 2).clamp(min=0)[:, None])[:, 0]  # one blurred row may lie between
    abrupt = flat & picture.any(1) & (before < 0.2)
    return _Bars(flat, colour.long(), start.where(abrupt, torch.zeros_like(start)))


def _frame(bars: list[_Bars]) -> dict[str, int]:
    """Sides of (nearly) all images that are bars of one colour, and how many rows or columns each bar has."""
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
    """Which images lie between bars, if that is more than a chance of a few: bool [n]."""
    barred = _letterboxed(*bars[:2]) | _letterboxed(*bars[2:])
    return barred if barred.sum() >= 3 and barred.double().mean() >= 0.02 else torch.zeros_like(barred)


def _padding(frame: dict[str, int], barred: Tensor) -> Iterator[Artifact]:
    """Bars of one colour beside a picture that begins abruptly. A background that the picture fades into is none."""
    if frame:
        where = ", ".join(f"{count} at the {side}" for side, count in frame.items())
        text = (
            f"the images have a frame of constant rows or columns ({where}): a generator's never is exactly constant. "
            "Cut it off: image.crop((left, top, right, bottom)) with Pillow"
        )
        yield Artifact("careful", text)
    elif barred.any():
        text = (
            f"{barred.double().mean():.0%} of the images have bars of one colour at two opposite sides, the others "
            "have none: the generator will learn the bars. Crop to the picture instead of padding it"
        )
        yield Artifact("careful", text)


def _letterboxed(one: _Bars, other: _Bars) -> Tensor:
    """Which images lie between two bars alike: bool [n]. None, where that colour is the background of the others."""
    flat = one.flat & other.flat & ((one.colour - other.colour).abs().amax(1) <= SAME)
    barred = (one.thickness > 0) & (other.thickness > 0) & ((one.thickness - other.thickness).abs() <= 1)
    bars = flat & barred
    if not bars.any():
        return bars
    usual = one.colour[bars].mode(0).values
    same_colour = flat & ((one.colour - usual).abs().amax(1) <= SAME)
    return bars if bars.sum() > 0.7 * same_colour.sum() else torch.zeros_like(bars)


def _backgrounds(images: Tensor) -> Iterator[Artifact]:
    """Some on white and some on black: transparency that was filled in two ways."""
    corners = images[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].flatten(1)
    white = (corners >= 255 - SAME).all(1).double().mean().item()
    black = (corners <= SAME).all(1).double().mean().item()
    if len(images) >= FEWEST and min(white, black) >= 0.1 and white + black >= 0.8:
        text = (
            f"{white:.0%} of the images stand on white and {black:.0%} on black, as if transparency had been filled in "
            "two ways: fill it with one colour, or the generator learns both"
        )
        yield Artifact("careful", text)
