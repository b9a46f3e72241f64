"""Penalties on what a critic says of samples, or on what lies behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.base.fields import flag, number
from sparring.game.augment import Augment, DiffAugment
from sparring.game.condition import Condition
from sparring.game.losses import Loss
from sparring.game.match import Images, Match, Side, augmented
from sparring.game.memory import Logits, Remembers
from sparring.game.penalties.base import Penalty, by_sample
from sparring.game.schedules import Scheduled


@dataclass(frozen=True)
class LeCam(Remembers, Penalty):
    """(D(x) - a_fake)^2 + (D(G(z)) - a_real)^2, where a_real and a_fake are moving averages of D's mean logits.

    It keeps D's verdicts on either side from moving away from each other where data is short. `decay` is that of the
    averages, each of the discriminator's turns; they begin at the first turn's means, before which the penalty is 0.
    Each critic (scale, direction) has averages of its own.
    Source: Tseng et al. 2021, equation 5 (weight 0.3 and decay 0.99 in their settings).
    """

    weight: Scheduled = 0.3
    decay: float = number(0.99, low=0, high=1)
    # `turns`, and the averages `real/NAME` and `fake/NAME` of each match; checkpoints of before hold one pair, `real`
    # and `fake`, at which all of them begin
    memory: dict[str, Tensor] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.memory["turns"] = torch.zeros(())

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        real, fake = by_sample(match.real_logits), by_sample(match.fake_logits)
        begun = float(self.memory["turns"] > 0)
        of_real, of_fake = (self._average(side, match.name).item() for side in ("real", "fake"))
        return begun * ((real - of_fake).square() + (fake - of_real).square())

    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Images] = ()) -> None:
        decay = self.decay if self.memory["turns"] else 0.0
        for match, (real, fake) in logits.items():
            for side, now in (("real", real), ("fake", fake)):
                self.memory[f"{side}/{match}"] = decay * self._average(side, match) + (1 - decay) * now.mean().cpu()
        for old in self.memory.keys() & {"real", "fake"}:
            del self.memory[old]
        self.memory["turns"] += 1

    def _average(self, side: str, match: str) -> Tensor:
        found = self.memory.get(f"{side}/{match}", self.memory.get(side))
        return torch.zeros(()) if found is None else found


@dataclass(frozen=True)
class Consistency(Penalty):
    """(D(x) - D(T(x)))^2 for reals and, with `fakes`, for generated samples, where T is a random augmentation. What T
    changes shall not matter to D; D itself plays on plain samples. A spatial condition (source image, mask, label map)
    moves with its sample and keeps its colours. With `fakes` it is the balanced form (bCR). Source: Zhang et al. 2020
    (CR), equation 3; Zhao et al. 2021 (bCR), algorithm 1."""

    augment: Augment = DiffAugment(color=False, cutout=0.0)
    fakes: bool = flag(True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not callable(self.augment) or isinstance(self.augment, Remembers):
            raise UserError(f"Consistency: augment={self.augment!r} must be one that does not adapt: DiffAugment()")

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        value = self._moved(match, match.real, match.real_logits, match.real_condition)
        if self.fakes:
            value = value + self._moved(match, match.fake, match.fake_logits, match.fake_condition)
        return value

    def _moved(self, match: Match, samples: Tensor, logits: Tensor, condition: Condition) -> Tensor:
        changed, condition = augmented(self.augment, samples.detach(), condition, match.progress, match.pack)
        return by_sample((logits - match.judge(changed, condition).logits).square())


@dataclass(frozen=True)
class FeatureMatching(Penalty):
    """The generator's: |mean of D's features of reals - mean of those of fakes|^2, over the features; [1]. It stands
    beside the adversarial term. Source: Salimans et al. 2016, section 3.1 (there in its place)."""

    weight: Scheduled = 1.0
    sides: ClassVar[tuple[Side, ...]] = ("generator",)

    def __call__(self, match: Match, side: Side = "generator") -> Tensor:
        real, fake = match.real_output.features, match.fake_output.features
        if real is None or fake is None:
            raise UserError("FeatureMatching needs a discriminator that shows its features, such as DCGANDiscriminator")
        return (real.detach().mean(0) - fake.mean(0)).square().sum().reshape(1)
