"""What the doctor's verdicts go by: limits of numbers, and the rules that are made of them.

Most limits are of ratios to what real samples give or to the run's own past; that of D's logits is of the logits
themselves. They were chosen on a study of small multilayer perceptrons and on one seed of the clinic
(`sparring clinic`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sparring.doctor.diagnosis.signs import LATE, Signs

Numbers = Mapping[str, float]
YOUNG = 0.3  # share of the budget before which lack of variety must be gross to be an illness
SURE = 0.85  # chance that D rates a real sample above a generated one, from which on it is asked what it goes by
FOOLED = 0.7  # the same over repaired samples, below which what was repaired is what it went by


@dataclass(frozen=True)
class Evidence:
    """A number of the log beside what would be normal.

    Attributes:
        name: of the number in the log.
        value: its median over the last fifth of the budget, or over the last three looks where these alone show it.
        normal: what it is where all is well, in words.
        means: what it measures.
    """

    name: str
    value: float
    normal: str
    means: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "value": self.value if math.isfinite(self.value) else None}


@dataclass(frozen=True)
class Limit:
    """A number that is out of bounds above or below a limit.

    Attributes:
        name: of the number.
        low, high: the bounds.
        early: the bound in the first part of the budget, when healthy trainings lack variety, too.
        normal, means: as in `Evidence`.
    """

    name: str
    normal: str
    means: str
    low: float = float("-inf")
    high: float = float("inf")
    early: float | None = None

    def broken(self, numbers: Numbers, early: bool = False) -> bool:
        """Is the number there, and out of bounds?"""
        value = numbers.get(self.name)
        low, high = self.low, self.high
        if early and self.early is not None:
            low, high = (self.early, high) if low > float("-inf") else (low, self.early)
        return value is not None and (value < low or value > high)

    def evidence(self, numbers: Numbers) -> Evidence:
        return Evidence(self.name, numbers[self.name], self.normal, self.means)


@dataclass(frozen=True)
class Rule:
    """An illness holds where all of `all_of` are out of bounds, and one at least of `any_of`, if there are any.

    Attributes:
        illness, why: as in `Verdict`.
        all_of, any_of: the limits.
        waits: silent while coverage improves, before the last part of the budget.
        late: silent while coverage improves, and before the last part of the budget.
        learns: silent before the last part of the budget where a style is learnt without pairs.
        causes: illnesses that follow from this one.
    """

    illness: str
    why: str
    all_of: tuple[Limit, ...] = ()
    any_of: tuple[Limit, ...] = ()
    waits: bool = False
    late: bool = False
    learns: bool = False
    causes: tuple[str, ...] = ()

    def holds(self, numbers: Numbers, early: bool = False) -> bool:
        every = all(limit.broken(numbers, early) for limit in self.all_of)
        one = not self.any_of or any(limit.broken(numbers, early) for limit in self.any_of)
        return every and one

    def holds_for(self, signs: Signs | None) -> bool:
        """Does it hold for a stretch of the run? Where coverage improves, medians lag: then the last look decides.

        What is `sudden` is told of three looks alone where they are as bad as what is told early in a run.
        """
        if signs is None or (self.learns and signs.unpaired and signs.share < LATE):
            return False
        young = signs.share < YOUNG
        if self.sudden and not young and self.holds(signs.recent, early=True) and not signs.improving:
            return True
        if self.late and (signs.improving or signs.share < LATE):
            return False
        if self.waits and signs.improving and (signs.share < LATE or not self.holds(signs.looks[-1], young)):
            return False
        return self.holds(signs.numbers, young)

    @property
    def sudden(self) -> bool:
        """Have all of its limits bounds for the first part of the budget, which are gross for the rest of it?"""
        return all(limit.early is not None for limit in (*self.all_of, *self.any_of))

    def evidence(self, numbers: Numbers) -> tuple[Evidence, ...]:
        return tuple(limit.evidence(numbers) for limit in (*self.all_of, *self.any_of) if limit.broken(numbers))


CELLS = Limit("cells", "0.85 to 1", "share of the data's regions that samples reach", low=0.7, early=0.35)
SPREAD = Limit(
    "spread", "0.9 to 1.1", "distance between samples, as a share of that between real ones", low=0.6, early=0.4
)
RANK = Limit("rank", "0.7 to 1.1", "directions that samples vary in, as a share of real samples'", low=0.35, early=0.2)
LACKING = (CELLS, SPREAD, RANK)
MOST_CELLS = replace(CELLS, low=0.8, early=None)
MOVE = Limit(
    "move",
    "0.05 to 0.8",
    "how far samples of the same latents went between looks, in their mutual distance",
    high=1.0,
    early=1.3,
)
TOLD_APART = Limit("area/train", "0.5 to 0.86", "chance that D rates a real sample above a generated one", high=0.9)
PERFECT = replace(TOLD_APART, high=SURE)
SIGNAL = Limit("signal", "0.4 to 1", "slope of G's loss at the logits: all that G can learn by", low=0.25)
SCALE = Limit("logit/scale", "0.1 to 10", "standard deviation of D's logits", high=160.0)
FINITE = Limit("finite", "1", "are samples and logits free of NaN and infinity?", low=1.0)
GROWTH = Limit("growth/generator", "1 to 2", "G's weights beside those at the start", high=5.0)
MEMORY = Limit(
    "area/memory", "0.45 to 0.55", "chance that D rates a training sample above an unseen real one", high=0.7
)
CERTAIN = Limit("area/memory deviations", "-3 to 3", "the same in its standard errors, were there no memory", high=4.0)
OVERFITTING = Limit(
    "overfitting", "-0.2 to 0.6", "how far unseen reals lie below training samples, of the way to fakes", high=0.75
)
COPIES = Limit(
    "copies", "0.9 or more", "distance to the nearest training sample, as a share of unseen real samples'", low=0.5
)
BEATEN = Limit("fresh lead", "below 0.2", "by how much a critic solved for anew tells more apart than D", high=0.3)
FAR = Limit("far/targets", "falling to about 1", "far/reals, of what is made without pairs", high=2.0)
RATIO = Limit("gradient/ratio", "-1 to 1", "logarithm of G's gradient's norm over D's", low=-2.0)
NO_CLASS = Limit("effect/class share", "0.7 or more", "change by the class beside change by the latent", low=0.3)
DEAF_TO_CLASS = replace(NO_CLASS, low=0.12)  # healthy ones soon are beyond that
NO_SOURCE = Limit("effect/source", "0.7 or more", "change by the source, as a share of the distance of reals", low=0.1)
STRANGER = Limit("effect/truth", "0.9 or less", "distance to its own true image, beside that to another's", high=0.97)
NO_LATENT = Limit("effect/latent", "0.5 or more", "change by the latent, as a share of the distance of reals", low=0.1)

REPAIRED = "D's area/... once generated samples have "
GOES_BY = tuple(
    Limit(f"leak/{name}", "within 0.1 of area/train", REPAIRED + repair, low=FOOLED)
    for name, repair in (
        ("range", "the real ones' range"),
        ("rounding", "the real ones' levels"),
        ("channel", "the real ones' value in channels where these are all alike"),
        ("border", "the real ones' value at places where these are all alike"),
    )
)
LEAK = "data-leak"
TOO_LARGE = (
    "The steps are too large for what the players do to each other: each answer is bigger than the one before, until "
    "numbers leave what a float can hold."
)

RULES = (
    Rule(
        "divergence",
        f"{TOO_LARGE} Nothing holds D's slope or the learning rate in check.",
        any_of=(FINITE, SCALE),
        causes=("mode-collapse", "non-convergence", "vanishing-gradient"),
    ),
    Rule(
        "divergence",
        "G's weights grow and grow, and its samples are no use: its steps are too large, and nothing turns them back.",
        all_of=(GROWTH,),
        any_of=(*LACKING, MOVE),
        causes=("mode-collapse", "non-convergence", "vanishing-gradient"),
    ),
    Rule(
        LEAK,
        "D tells real from generated by a silly difference that the generator cannot mend, such as the range of its "
        "values, and need not look at anything else: what it tells G is not about the data. Mend the data or the end "
        "of the generator; `sparring data` looks at the former.",
        all_of=(PERFECT,),
        any_of=GOES_BY,
        causes=("vanishing-gradient", "mode-collapse", "non-convergence"),
    ),
    Rule(
        "vanishing-gradient",
        "D tells real from generated so surely that the generator's loss is flat where its samples lie: whatever G "
        "changes, the loss stays the same, and it learns nothing (Arjovsky and Bottou 2017, theorem 2.4).",
        all_of=(SIGNAL, TOLD_APART),
        causes=("mode-collapse",),
    ),
    Rule(
        "discriminator-overfit",
        "D has seen each training image so often that it knows them by heart, and takes real images that it has not "
        "seen for generated ones. What it tells G is then no longer about the data (Karras et al. 2020).",
        all_of=(MEMORY, CERTAIN, OVERFITTING),
    ),
    Rule(
        "memorising",
        "Samples lie much nearer to training images than unseen real images do: G gives back copies. Scores look best "
        "then, and say nothing.",
        all_of=(COPIES,),
    ),
    Rule(
        "discriminator-too-weak",
        "D cannot tell samples from data although they differ plainly: a critic solved for in a moment can. G gets no "
        "direction, and drifts.",
        all_of=(BEATEN,),
        any_of=(RATIO, FAR, *LACKING),
        causes=("mode-collapse", "non-convergence"),
    ),
    Rule(
        "ignored-condition",
        "The source changes nothing in what is made of it: G makes one and the same image, and D does not punish that "
        "it does not belong to the source.",
        any_of=(NO_SOURCE,),
        waits=True,
        causes=("mode-collapse",),
    ),
    Rule(
        "ignored-condition",
        "What is made of a source is no nearer to its true image than to another's: G goes by something else than the "
        "source.",
        any_of=(STRANGER,),
        waits=True,
    ),
    Rule(
        "mode-collapse",
        "For each latent, the best answer to the D of the moment is the same few samples, and nothing rewards G for "
        "variety. Once D has learnt to refuse them, G moves on to others (Metz et al. 2017).",
        any_of=LACKING,
        waits=True,
    ),
    Rule(
        "mode-collapse",
        "Some regions of the data are not reached, and no more of them come: where G makes nothing, D's slope tells it "
        "nothing of what is missing, so a mode that is lost seldom comes back.",
        all_of=(MOST_CELLS,),
        late=True,
    ),
    Rule(
        "non-convergence",
        "The players circle: each step of one undoes what the other learnt, so samples of the same latent keep "
        "changing and nothing improves (Mescheder et al. 2018).",
        all_of=(MOVE,),
        waits=True,
        learns=True,  # until then what is made of a source goes from its style to that of the targets, and so moves
    ),
    Rule(
        "ignored-condition",
        "The class changes nothing in the samples: G is not told of it, or D does not punish a wrong one.",
        any_of=(DEAF_TO_CLASS,),
    ),
    Rule(
        "ignored-condition",
        "The class changes nothing in the samples: D does not punish a wrong class, so G need not mind it.",
        any_of=(NO_CLASS,),
        waits=True,
    ),
    Rule(
        "ignored-condition",
        "The latent changes nothing in the samples: G makes one sample for each class.",
        any_of=(NO_LATENT,),
        waits=True,
    ),
)
ILLNESSES = tuple(dict.fromkeys(rule.illness for rule in RULES))
