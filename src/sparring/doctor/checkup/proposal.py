"""A proposed recipe for a data set: a named recipe, changes to it, and reasons."""

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

LARGEST = 64  # pixels per side that two cores can train in about an hour
SMALLEST = 16  # pixels per side; smaller images are too small for convolutions and augmentation
FEWEST = 20  # images that the median class needs for class conditioning
BATCH = 32

TESTED_RECIPES = {  # named sets, and the recipe that was made for each and tested on it
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
    """A recipe to start with.

    Attributes:
        recipe: the name of the recipe.
        changes: values for its fields, `data` first.
        reasons: a line for each choice, and options for the user to consider.
    """

    recipe: str
    changes: Mapping[str, Change]
    reasons: tuple[str, ...]

    @property
    def command(self) -> str:
        """The `sparring train` command, quoted for a shell."""
        return train_command(self.recipe, self.changes)


def propose(data: Data, given: Mapping[str, Change] | None = None) -> Proposal:
    """Propose a recipe by rules of thumb from the shape, number and labels of the samples.

    Args:
        data: the data set.
        given: the options that it was loaded with (`data`, `size`, `fit`), which training needs as well.
    """
    changes = {"data": data.name, **{name: value for name, value in (given or {}).items() if value}}
    if tested := TESTED_RECIPES.get(str(changes["data"])):
        del changes["data"]  # the recipe names it
        return Proposal(tested, changes, (f"the recipe {tested} was made for this set and tested on it",))
    if data.form.is_points:
        return Proposal("ring", changes, ("ring: small multilayer perceptrons suit points",))
    return _for_images(data, changes)


def _for_images(data: Data, changes: dict[str, Change]) -> Proposal:
    height, width = training_size(*data.form.shape[1:])
    reasons = []
    if (height, width) != data.form.shape[1:]:
        changes["size"] = str(width) if width == height else f"{width}x{height}"
        reasons.append(f"size {width}x{height}: larger images are slow on two cores; on a GPU try twice the size")
    counts = count_classes(data.labels, data.form.classes)
    conditional = len(counts) > 1 and median_low(counts) >= FEWEST
    recipe, reason = _recipe(data.total, min(height, width), conditional)
    reasons.append(f"{recipe}: {reason}")
    latent = 32 if recipe == "digits" else 64
    if conditional:
        changes["task"] = f"Generate(latent=Normal({latent}), classes=True)"
        reasons.append(f"task: class-conditional, for the {len(counts)} classes; remove --task to ignore the labels")
    elif len(counts) > 1:
        reasons.append(
            f"labels are not used: at least half of the {len(counts)} classes have fewer than {FEWEST} images"
        )
    if recipe == "digits":
        return Proposal(recipe, changes, tuple(reasons))
    gamma = suggested_gamma(height, width, BATCH)
    changes |= {"loss": "NonSaturating()", "penalties": f"R1(weight={gamma:.3g}, every=8)", "batch_size": BATCH}
    reasons.append(f"loss: non-saturating with R1, weight 0.0002 * {height} * {width} / {BATCH} (batch) = {gamma:.3g}")
    reasons.append(f"batch {BATCH}: as in the recipes for two cores")
    changes["minutes"] = min(60, max(5, math.ceil(5 * height * width / 28**2)))
    reasons.append("minutes: as many per pixel as for MNIST (5 to 60); `sparring resume` continues the training")
    reasons.append("option: if left and right are interchangeable in these images, add --mirror to double the data")
    return Proposal(recipe, changes, tuple(reasons))


def _recipe(count: float, side: int, conditional: bool) -> tuple[str, str]:
    if side < SMALLEST:
        return "digits", f"images below {SMALLEST} pixels need no convolutions"
    if count < FEW_SAMPLES:
        return "small-data", f"fewer than {FEW_SAMPLES:,} images: adaptive augmentation against overfitting"
    if conditional:
        return "mnist-conditional", "small class-conditional convolutional networks"
    return "mnist", "small convolutional networks"


def training_size(height: int, width: int) -> tuple[int, int]:
    """The (height, width) to train at: unchanged up to 64 pixels, else 64 on the longer side, same shape."""
    longer = max(height, width)
    if longer <= LARGEST:
        return height, width
    shorter = min(height, width) * LARGEST / longer
    other = min(LARGEST, max(SMALLEST, 4 * round(shorter / 4)))
    return (LARGEST, other) if height >= width else (other, LARGEST)
