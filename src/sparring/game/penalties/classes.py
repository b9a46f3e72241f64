"""Terms by which a critic tells classes and codes, and the generator makes them easy to tell."""

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
    """-log of the probability that D gives a sample's class: of reals and fakes for D, of fakes for G. It wants a
    discriminator with condition="classifier". Source: Odena et al. 2017 (AC-GAN), equation 3."""

    weight: Scheduled = 1.0
    sides: ClassVar[tuple[Side, ...]] = ("discriminator", "generator")

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        value = _surprise(match.fake_output, match.fake_condition.label)
        if side == "discriminator":
            value = value + _surprise(match.real_output, match.real_condition.label)
        return value


def _surprise(output: CriticOutput, label: Tensor | None) -> Tensor:
    if output.classes is None or label is None:
        raise UserError(
            "AuxiliaryClassifier needs Generate(classes=True) and a discriminator with condition='classifier'"
        )
    return F.cross_entropy(output.classes, label, reduction="none")


@dataclass(frozen=True)
class MutualInformation(Penalty):
    """Both players': -log Q(code | G(z, code)), where Q is a head of the discriminator; its negative is a lower bound
    of the mutual information between code and sample, up to the codes' entropy. It wants a task with codes.
    Source: Chen et al. 2016 (InfoGAN), equations 5 and 6."""

    weight: Scheduled = 1.0
    sides: ClassVar[tuple[Side, ...]] = ("discriminator", "generator")

    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        said = match.fake_output.codes
        if said is None or match.code is None:
            raise UserError("MutualInformation needs codes: task = Generate(codes=(Categorical(10), Continuous(2)))")
        parameters = said.split([code.parameters for code in match.codes], dim=1)
        values = match.code.split([code.width for code in match.codes], dim=1)
        parts = zip(match.codes, parameters, values)
        return torch.stack([kind.surprise(found, value) for kind, found, value in parts]).sum(0)
