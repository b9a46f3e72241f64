"""Classification terms of both players: classes (AC-GAN) and codes (InfoGAN)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.errors import UserError
from sparring.game.match import Match, Side
from sparring.game.penalties.base import Penalty
from sparring.game.schedules import Scheduled
from sparring.networks.critic import CriticOutput


@dataclass(frozen=True)
class AuxiliaryClassifier(Penalty):
    """AC-GAN: cross-entropy of D's class prediction, `weight * -log p(class | sample)`.

    D minimises it on real and generated samples, G on generated ones. It gives clear classes at the cost of variety:
    G avoids samples that are hard to classify. UserError: the task has no `classes=True`, or the discriminator no
    `condition='classifier'`.

    Attributes:
        weight: factor of the term for both players; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.

    Source: Odena et al. 2017 (AC-GAN), equation 3.
    """

    weight: Scheduled = 1.0
    sides: ClassVar[tuple[Side, ...]] = ("discriminator", "generator")

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        value = _cross_entropy(match.fake_output, match.fake_condition.label)
        if side == "discriminator":
            value = value + _cross_entropy(match.real_output, match.real_condition.label)
        return value


def _cross_entropy(output: CriticOutput, label: Tensor | None) -> Tensor:
    if output.classes is None or label is None:
        raise UserError(
            "AuxiliaryClassifier needs Generate(classes=True) and a discriminator with condition='classifier'"
        )
    return F.cross_entropy(output.classes, label, reduction="none")


@dataclass(frozen=True)
class MutualInformation(Penalty):
    """InfoGAN: cross-entropy of predicting the code of a generated sample, `weight * -log Q(code | G(z, code))`.

    Both players minimise it. Q is a head of the discriminator. The codes' entropy plus the mean of `log Q` is a lower
    bound of the mutual information between code and sample, so codes gain a meaning without labels. UserError: the task
    has no codes; write `Generate(codes=(Categorical(10), Continuous(2)))`.

    Attributes:
        weight: factor of the term for both players; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.

    Source: Chen et al. 2016 (InfoGAN), equations 5 and 6.
    """

    weight: Scheduled = 1.0
    sides: ClassVar[tuple[Side, ...]] = ("discriminator", "generator")

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        output = match.fake_output.codes
        if output is None or match.code is None:
            raise UserError(
                "MutualInformation needs codes; write task = Generate(codes=(Categorical(10), Continuous(2)))"
            )
        parameters = output.split([code.parameters for code in match.codes], dim=1)
        values = match.code.split([code.width for code in match.codes], dim=1)
        parts = zip(match.codes, parameters, values)
        return torch.stack([code.surprise(predicted, value) for code, predicted, value in parts]).sum(0)
