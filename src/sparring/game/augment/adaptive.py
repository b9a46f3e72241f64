"""Adaptive discriminator augmentation: its strength follows the discriminator's overfitting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor

from sparring.base.device import widest_float
from sparring.base.errors import check_number
from sparring.base.fields import flag, number
from sparring.game.augment.base import Change, SplitAugment, check_images
from sparring.game.augment.color import random_colors, recolor
from sparring.game.augment.geometry import random_affine, random_blits, resample
from sparring.game.losses import Loss
from sparring.game.memory import Logits, Stateful

FEW_SAMPLES = 5_000
SMALLEST_CHOSEN = 16


@dataclass(frozen=True)
class ADA(Stateful, SplitAugment):
    """Adaptive discriminator augmentation (ADA): each change applies to each image with probability p, which adapts.

    Use it for fewer than about 5,000 images: D overfits to few samples, and G's gradient then carries no information.
    Overfitting is measured on D's training samples:

    | loss | r |
    | --- | --- |
    | with an undecided logit u | mean of `sign(D(real) - u)`; 0: no overfitting, 1: all reals recognised |
    | relativistic, Wasserstein | mean of `sign(D(real) - D(fake))` over all pairs, `2 AUC - 1` |

    The second is stricter: 0.6 corresponds to 0.45 of the first for normal logits of equal spread. With several
    critics, r is the mean over critics. Each `every` turns of D, p rises by `samples / images` if r > `target`, else
    it falls by that; p stays in [0, `most`].

    Below p of about 0.8 the changes do not leak into generated samples (section 2.2). At p = 1 a rotated image is as
    likely as an upright one, so G cannot know which is real. Switch off changes that alter the meaning of an image
    (`rotate90=False` for digits).

    Images are [n, C, H, W] of at least 8x8, about in [-1, 1]. At p = 0 they stay unchanged. Images are resampled once,
    bilinearly, and mirrored at their edges, without the paper's wavelet filter against aliasing. A spatial condition is
    resampled with its image and keeps its colours. UserError: samples are points, or too small.

    Attributes:
        target: value of r at which p rests, in [-1, 1].
        images: real images that p needs to rise from 0 to 1; from 1. `10**15` keeps p at `start`.
        every: turns of the discriminator between two updates of p; from 1.
        start: p at the beginning of the run, in [0, `most`].
        most: upper limit of p, in [0, 1]. The paper allows 1 and recommends less than 0.8.
        flip: mirrors left and right.
        rotate90: rotates by multiples of 90 degrees.
        shift: moves by whole pixels, up to 1/8 of the size.
        geometry: scales, stretches, rotates by any angle, moves by fractions of pixels.
        color: changes brightness and contrast; luma inversion for grey and RGB; hue and saturation for RGB.

    Source: Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 3.1 (adaptation),
    appendix B (changes).
    """

    target: float = number(0.6, low=-1, high=1)
    images: int = number(500_000, low=1)
    every: int = number(4, low=1)
    start: float = 0.0
    most: float = number(0.7, low=0, high=1)
    flip: bool = flag(True)
    rotate90: bool = flag(True)
    shift: bool = flag(True)
    geometry: bool = flag(True)
    color: bool = flag(True)
    # `p`; of the current window of `every` turns: `signs` (sum), `logits` (count), `samples`, `turns`; of the last
    # complete window: `heuristic` (r); `windows` counts the complete ones
    memory: dict[str, Tensor] = field(init=False, repr=False, compare=False, default_factory=dict)
    counters: ClassVar[frozenset[str]] = frozenset({"logits", "samples", "turns", "windows"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("ADA", "start", self.start, low=0, high=self.most)
        names = ("signs", "logits", "samples", "turns", "heuristic", "windows")
        self._store(p=self.start, **dict.fromkeys(names, 0.0))

    def changes(self, images: Tensor, progress: float) -> Sequence[Change]:
        check_images("ADA", images)
        chance: float | Tensor = self.memory["p"]
        if self.memory["p"].device.type == "cpu":  # elsewhere p is not read, and at p = 0 all changes are identities
            chance = self.memory["p"].item()
            if not chance:
                return []
        count, channels, height, width = images.shape
        drawn = []
        if self.flip or self.rotate90 or self.shift or self.geometry:
            maps = random_blits(count, chance, height, width, self.flip, self.rotate90, self.shift)
            maps = maps @ random_affine(count, chance, height, width) if self.geometry else maps
            drawn.append(Change(lambda x: resample(x, maps), geometric=True))
        if self.color:
            colors = random_colors(count, chance, channels)
            drawn.append(Change(lambda x: recolor(x, colors), geometric=False))
        return drawn

    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Mapping[str, Tensor]] = ()) -> None:
        count = {name: self.memory[name].item() for name in self.counters}
        counted = [signs_of(real, fake, loss.undecided) for real, fake in logits.values()]
        number, wide = counted[0][1], widest_float(counted[0][0].device)
        equal = [signs.to(wide) * (number / own) for signs, own in counted]  # equal weight for each critic
        signs = self.memory["signs"].to(wide) + reduce(torch.add, equal) / len(counted)
        count["logits"] += number
        count["samples"] += samples
        count["turns"] += 1
        if count["turns"] >= self.every:
            heuristic = signs / count["logits"]
            direction = (heuristic > self.target).to(wide) * 2 - 1
            p = (self.memory["p"].to(wide) + count["samples"] / self.images * direction).clamp(0.0, self.most)
            self.memory.update(p=p, heuristic=heuristic)
            signs, count = torch.zeros_like(signs), {**dict.fromkeys(count, 0.0), "windows": count["windows"] + 1}
        self.memory["signs"] = signs
        self._store(**count)

    def readings(self) -> dict[str, float]:
        """Metrics `augment/p`, `augment/target` and, after `every` turns, `augment/heuristic` (r)."""
        p, heuristic = torch.stack([self.memory["p"], self.memory["heuristic"]]).tolist()
        metrics = {"augment/p": p, "augment/target": float(self.target)}
        return metrics | ({"augment/heuristic": heuristic} if self.memory["windows"] else {})

    def _store(self, **numbers: float) -> None:
        self.memory.update({name: torch.tensor(number, dtype=torch.float64) for name, number in numbers.items()})


def signs_of(real: Tensor, fake: Tensor, undecided: float | None) -> tuple[Tensor, int]:
    """Sum and count of sign(real - undecided); of sign(real - fake) over all pairs if `undecided` is None.

    The sum is a whole number, as a scalar on the logits' device.
    """
    wide = widest_float(real.device)
    real, fake = real.detach().flatten().to(wide), fake.detach().flatten().to(wide)
    if undecided is not None:
        return (real - undecided).sign().sum(), real.numel()
    fake = fake.sort().values  # binary search: a table of all pairs is too large for maps of logits
    below = torch.searchsorted(fake, real).sum()
    above = fake.numel() * real.numel() - torch.searchsorted(fake, real, right=True).sum()
    return below - above, fake.numel() * real.numel()


def chosen_augment(shape: Sequence[int], count: float) -> str:
    """Default augmentation for `count` samples of this shape, as text: "ADA()", or "" for none.

    | data | augmentation |
    | --- | --- |
    | fewer than 5,000 images of at least 16x16 | `ADA()`: D memorises so few images within a run of usual length |
    | more images | none: p would stay near 0 for long |
    | smaller images, points | none: one pixel is a large step |

    Source: Karras et al. 2020, figures 1 and 7 (gain by the number of images).
    """
    images = len(shape) == 3 and min(shape[1:]) >= SMALLEST_CHOSEN
    return "ADA()" if images and count < FEW_SAMPLES else ""
