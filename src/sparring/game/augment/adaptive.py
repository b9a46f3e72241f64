"""Augmentation that grows as strong as the discriminator's overfitting asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparring.base.errors import check_number
from sparring.base.fields import flag, number
from sparring.game.augment.base import Change, SplitAugment, check_images
from sparring.game.augment.color import random_colors, recolor
from sparring.game.augment.geometry import random_affine, random_blits, resample
from sparring.game.losses import Loss
from sparring.game.memory import Logits, Remembers

FEW_SAMPLES = 5_000
SMALLEST_CHOSEN = 16


@dataclass(frozen=True)
class ADA(Remembers, SplitAugment):
    """Adaptive discriminator augmentation: each change is applied to each image with probability p, which adapts.

    D overfits to few samples, and then tells the generator nothing any more. A sign of it is r = E[sign D(real)] on
    the samples that D trains on: 0 before it overfits, 1 when it is sure of each. Where r is above `target`, p rises,
    else it falls. As long as p is clearly below 1, a generator gains nothing by making changed samples itself: they
    would come out changed twice (section 2.2). From p of about 0.8 on, changes leak into the samples: at 1 a rotated
    image is as likely as an upright one, so nothing tells the generator which to make. `most` bars that.

    Images [n, C, H, W] of at least 8x8, about in [-1, 1]; p = 0 costs nothing. Rotations of images that are not square
    cut and mirror what does not fit. Left out of the paper's pipeline "bgc": the wavelets against aliasing; images are
    resampled once, bilinearly, so images that are rotated, scaled or shifted by fractions are visibly smoother than
    others, on both sides alike. A spatial condition is resampled with its image, and keeps its colours.

    The r that p is led to is `target`. For losses that know only differences of logits (relativistic, Wasserstein), r
    is the mean of sign(D(real) - D(fake)) over all pairs of the turn, 2 AUC - 1. That is the stricter measure: 0.6 of
    it is 0.45 of the other, where logits are normal with equal spread about an undecided middle. Of several critics, r
    is the mean of each one's own. UserError: samples are points, or too small.

    Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 3.1 (adaptation),
    appendix B (changes).
    """

    target: float = number(0.6, low=-1, high=1)
    images: int = number(500_000, low=1)  # real ones that it takes p to go from 0 to 1 at the fastest
    every: int = number(4, low=1)  # turns of the discriminator between two changes of p
    start: float = 0.0  # p at the beginning; with `images=10**15` it stays there
    most: float = number(0.7, low=0, high=1)  # the largest p (the paper's may reach 1; it advises to stay below 0.8)
    flip: bool = flag(True)  # mirror left and right (here and below: with probability p)
    rotate90: bool = flag(True)  # quarter turns
    shift: bool = flag(True)  # by whole pixels, up to 1/8 of the size
    geometry: bool = flag(True)  # scaling, stretching, any rotation, fractional shifts
    color: bool = flag(True)  # brightness, contrast; of grey and RGB also inverted luma, of RGB hue and saturation
    # `p`; of the window that is open: `signs` (their sum), `logits` (their number), `samples`, `turns`; of the last one
    # that was closed: `heuristic`; and `windows`, how many were
    memory: dict[str, Tensor] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ADA", "start", self.start, low=0, high=self.most)
        names = ("signs", "logits", "samples", "turns", "heuristic", "windows")
        self._note(p=self.start, **dict.fromkeys(names, 0.0))

    def changes(self, images: Tensor, progress: float) -> Sequence[Change]:
        check_images("ADA", images)
        chance = self.memory["p"].item()
        if not chance:
            return []
        count, channels, height, width = images.shape
        found = []
        if self.flip or self.rotate90 or self.shift or self.geometry:
            maps = random_blits(count, chance, height, width, self.flip, self.rotate90, self.shift)
            maps = maps @ random_affine(count, chance, height, width) if self.geometry else maps
            found.append(Change(lambda x: resample(x, maps), geometric=True))
        if self.color:
            colors = random_colors(count, chance, channels)
            found.append(Change(lambda x: recolor(x, colors), geometric=False))
        return found

    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Mapping[str, Tensor]] = ()) -> None:
        seen = {name: tensor.item() for name, tensor in self.memory.items()}
        counted = [signs_of(real, fake, loss.undecided) for real, fake in logits.values()]
        number = counted[0][1]
        seen["signs"] += sum(signs * (number / own) for signs, own in counted) / len(counted)  # critics count alike
        seen["logits"] += number
        seen["samples"] += samples
        seen["turns"] += 1
        if seen["turns"] >= self.every:
            heuristic = seen["signs"] / seen["logits"]
            step = seen["samples"] / self.images * (1 if heuristic > self.target else -1)
            p = min(max(seen["p"] + step, 0.0), self.most)
            seen = {**dict.fromkeys(seen, 0.0), "p": p, "heuristic": heuristic, "windows": seen["windows"] + 1}
        self._note(**seen)

    def readings(self) -> dict[str, float]:
        """`augment/p`, `augment/target`, and r of the last `every` turns as soon as there were so many."""
        shown = {"augment/p": self.memory["p"].item(), "augment/target": float(self.target)}
        if self.memory["windows"]:
            shown["augment/heuristic"] = self.memory["heuristic"].item()
        return shown

    def _note(self, **numbers: float) -> None:
        self.memory.update({name: torch.tensor(number, dtype=torch.float64) for name, number in numbers.items()})


def signs_of(real: Tensor, fake: Tensor, undecided: float | None) -> tuple[float, float]:
    """Sum and number of sign(real - undecided), or of sign(real - fake) over all pairs where `undecided` is None."""
    real, fake = real.detach().flatten().double().cpu(), fake.detach().flatten().double().cpu()
    if undecided is not None:
        return (real - undecided).sign().sum().item(), real.numel()
    fake = fake.sort().values  # counts below and above, where a table of pairs would be too large for maps of logits
    below = torch.searchsorted(fake, real).sum().item()
    above = fake.numel() * real.numel() - torch.searchsorted(fake, real, right=True).sum().item()
    return below - above, fake.numel() * real.numel()


def chosen_augment(shape: Sequence[int], count: int) -> str:
    """The augmentation that suits `count` samples of this shape: "ADA()" for few images, else "" (none).

    Few are fewer than 5,000 (FEW_SAMPLES): the fewer there are, the sooner D knows them by heart, and at a few thousand
    that spoils any run of ordinary length; above, p would stay near 0 for long, and its owner can ask for ADA. Images
    below 16x16 are left alone: one pixel is a large step there, and a resampled image looks like no other.
    Source: Karras et al. 2020, figures 1 and 7 (what augmentation gains by the number of samples).
    """
    images = len(shape) == 3 and min(shape[1:]) >= SMALLEST_CHOSEN
    return "ADA()" if images and count < FEW_SAMPLES else ""
