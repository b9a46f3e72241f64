"""A recipe for data: which named one to start from, what to change in it, and why."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median_low

from sparring.data.labels import count_classes
from sparring.data.samples import Data
from sparring.game.augment.adaptive import FEW_SAMPLES
from sparring.game.penalties.slopes import suggested_gamma
from sparring.recipe import train_command

LARGEST = 64  # pixels of a side that two cores can train in an hour or so
SMALLEST = 16  # pixels of a side; below, convolutions and augmentation have nothing to hold on to
FEWEST = 20  # images that the median class needs, for labels to be worth it
BATCH = 32

OWN = {  # named sets that a named recipe was made for, and tried on
    "digits": "digits",
    "mnist": "mnist-conditional",
    "small-mnist": "small-data",
    "stacked-mnist": "stacked-mnist",
    "cifar10": "sngan-cifar10",
    "ring": "ring",
    "grid": "grid",
}

Change = str | int | float | bool


@dataclass(frozen=True)
class Proposal:
    """Where to start with a data set."""

    recipe: str
    changes: Mapping[str, Change]  # of fields of the recipe, `data` first
    reasons: tuple[str, ...]  # one line for each choice, and questions that only the user can answer

    @property
    def command(self) -> str:
        """The command line that trains it, quoted for a shell."""
        return train_command(self.recipe, self.changes)


def propose(data: Data, given: Mapping[str, Change] | None = None) -> Proposal:
    """A recipe for the data by rules of thumb, from their shape, number and labels alone.

    `given` are options that the data was loaded with (`size`, `fit`), which training needs as well.
    """
    changes = {name: value for name, value in (given or {}).items() if value}
    if own := OWN.get(data.name):
        return Proposal(own, changes, (f"the recipe {own} was made for this set, and tried on it",))
    changes = {"data": data.name, **changes}
    if data.form.is_points:
        return Proposal("ring", changes, ("points: small multilayer perceptrons, as for the ring",))
    return _for_images(data, changes)


def _for_images(data: Data, changes: dict[str, Change]) -> Proposal:
    height, width = proper_size(*data.form.shape[1:])
    reasons = []
    if (height, width) != data.form.shape[1:]:
        changes["size"] = str(width) if width == height else f"{width}x{height}"
        reasons.append(f"size {width}x{height}: more is slow on two cores; on a GPU try twice that")
    counts = count_classes(data.labels, data.form.classes)
    conditional = len(counts) > 1 and median_low(counts) >= FEWEST
    recipe, reason = _recipe(len(data), min(height, width), conditional)
    reasons.append(f"{recipe}: {reason}")
    latent = 32 if recipe == "digits" else 64
    if conditional:
        changes["task"] = f"Generate(latent=Normal({latent}), classes=True)"
        reasons.append(f"task: {len(counts)} classes, so the label is given to both; drop --task to ignore it")
    elif len(counts) > 1:
        reasons.append(f"labels unused: half of the {len(counts)} classes have less than {FEWEST} images")
    if recipe == "digits":
        return Proposal(recipe, changes, tuple(reasons))
    gamma = suggested_gamma(height, width, BATCH)
    changes |= {"loss": "NonSaturating()", "penalties": f"R1(weight={gamma:.3g}, every=8)", "batch_size": BATCH}
    reasons.append(f"loss: the plain one with R1, weight 0.0002 * {height} * {width} / {BATCH} (batch) = {gamma:.3g}")
    reasons.append(f"batch {BATCH}: as in the recipes for two cores")
    changes["minutes"] = min(60, max(5, math.ceil(5 * height * width / 28**2)))
    reasons.append("minutes: as many for each pixel as MNIST had; `sparring resume` adds more")
    reasons.append("left and right mean nothing in these images? Then add --mirror, which doubles them")
    return Proposal(recipe, changes, tuple(reasons))


def _recipe(count: int, side: int, conditional: bool) -> tuple[str, str]:
    if side < SMALLEST:
        return "digits", "images this small need no convolutions"
    if count < FEW_SAMPLES:
        return "small-data", f"for less than {FEW_SAMPLES:,} images: augmentation grows as D learns them by heart"
    if conditional:
        return "mnist-conditional", "small convolutional networks that are given the label"
    return "mnist", "small convolutional networks"


def proper_size(height: int, width: int) -> tuple[int, int]:
    """The size to train at: as it is up to 64 pixels, else with a longer side of 64 and about the same shape."""
    longer = max(height, width)
    if longer <= LARGEST:
        return height, width
    shorter = min(height, width) * LARGEST / longer
    other = min(LARGEST, max(SMALLEST, 4 * round(shorter / 4)))
    return (LARGEST, other) if height >= width else (other, LARGEST)
