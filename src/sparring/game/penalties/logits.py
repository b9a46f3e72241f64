"""Penalties on a critic's logits and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.base.fields import flag, number
from sparring.base.workers import workers
from sparring.game.augment import Augment, DiffAugment
from sparring.game.condition import Condition
from sparring.game.losses import Loss
from sparring.game.match import Images, Match, Side, augmented
from sparring.game.memory import Logits, Stateful
from sparring.game.penalties.base import Penalty, by_sample
from sparring.game.schedules import Scheduled


@dataclass(frozen=True)
class LeCam(Stateful, Penalty):
    """LeCam regularisation: `weight * ((D(x) - a_fake)^2 + (D(G(z)) - a_real)^2)`.

    `a_real` and `a_fake` are moving averages of D's mean logits. The penalty keeps D's logits of reals and fakes close
    to each other; use it for few samples. With too large a weight D learns nothing. The averages are updated once per
    turn of D, start at the means of the first turn (the penalty is 0 before), and are part of a checkpoint. Each critic
    (scale, direction) has its own.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.
        decay: decay of the averages per turn of D, in [0, 1].

    Source: Tseng et al. 2021, equation 5 (weight 0.3 and decay 0.99 in their settings).
    """

    weight: Scheduled = 0.3
    decay: float = number(0.99, low=0, high=1)
    # `turns`, and averages `real/NAME` and `fake/NAME` for each match; older checkpoints have one pair, `real` and
    # `fake`, from which all of them start
    memory: dict[str, Tensor] = field(init=False, repr=False, compare=False, default_factory=dict)
    counters: ClassVar[frozenset[str]] = frozenset({"turns"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.memory["turns"] = torch.zeros(())

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        real, fake = by_sample(match.real_logits), by_sample(match.fake_logits)
        started = float(self.memory["turns"] > 0)
        real_average, fake_average = (self._average(side, match.name) for side in ("real", "fake"))
        return started * ((real - fake_average).square() + (fake - real_average).square())

    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Images] = ()) -> None:
        decay = self.decay if self.memory["turns"] else 0.0
        for match, (real, fake) in logits.items():
            for side, now in (("real", real), ("fake", fake)):
                self.memory[f"{side}/{match}"] = decay * self._average(side, match) + (1 - decay) * now.mean()
        for old in self.memory.keys() & {"real", "fake"}:
            del self.memory[old]
        self.memory["turns"] += 1

    def _average(self, side: str, match: str) -> Tensor:
        found = self.memory.get(f"{side}/{match}", self.memory.get(side))
        return torch.zeros(()) if found is None else found


@dataclass(frozen=True)
class Consistency(Penalty):
    """Consistency regularisation (CR, bCR): `weight * (D(x) - D(T(x)))^2` for a random augmentation T.

    It makes D invariant to T. The adversarial loss uses samples without T, so T does not leak into generated samples.
    D runs twice as often. A spatial condition (source image, mask, label map) gets the geometric changes of T.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.
        augment: the augmentation T, such as `DiffAugment(color=False, cutout=0.0)`; not `ADA`, which adapts.
        fakes: also penalises generated samples (bCR); False: real samples only (CR).

    Source: Zhang et al. 2020 (CR), equation 3; Zhao et al. 2021 (bCR), algorithm 1.
    """

    augment: Augment = DiffAugment(color=False, cutout=0.0)
    fakes: bool = flag(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.augment) or isinstance(self.augment, Stateful):
            raise UserError(f"Consistency: augment={self.augment!r} must not adapt or have state; write DiffAugment()")

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        value = self._difference(match, match.real, match.real_logits, match.real_condition)
        if self.fakes:
            value = value + self._difference(match, match.fake, match.fake_logits, match.fake_condition)
        return value

    def _difference(self, match: Match, samples: Tensor, logits: Tensor, condition: Condition) -> Tensor:
        changed, condition = augmented(self.augment, samples.detach(), condition, match.progress, match.pack)
        return by_sample((logits - match.judge(changed, condition).logits).square())


@dataclass(frozen=True)
class FeatureMatching(Penalty):
    """Feature matching, for the generator: `weight * |mean of D's features of reals - mean for fakes|^2`.

    The sum runs over D's features before the logit, the means over the batch. It stabilises a G that follows each
    change of D. It is added to the adversarial loss. UserError: the discriminator outputs no features.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.

    Source: Salimans et al. 2016, section 3.1, where it replaces the adversarial loss.
    """

    weight: Scheduled = 1.0
    sides: ClassVar[tuple[Side, ...]] = ("generator",)

    def __call__(self, match: Match, side: Side = "generator") -> Tensor:
        real, fake = match.real_output.features, match.fake_output.features
        if real is None or fake is None:
            raise UserError(
                "FeatureMatching needs a discriminator that outputs its features, such as DCGANDiscriminator()"
            )
        difference = workers().mean(real.detach().mean(0) - fake.mean(0))
        return difference.square().sum().reshape(1)
