"""Base classes of penalties and constraints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sparring.base.fields import Limited, choice, number
from sparring.game.match import Match, Side
from sparring.game.schedules import Scheduled, scheduled


@dataclass(frozen=True)
class Term(Limited, ABC):
    """An additional term of a player's loss.

    Attributes:
        weight: factor of the term; from 0, a number or a schedule.
        every: steps between two applications, from 1; the weight is multiplied by it.
    """

    weight: Scheduled = scheduled(10.0, low=0)
    every: int = number(1, low=1)

    @property
    @abstractmethod
    def sides(self) -> tuple[Side, ...]:
        """The players that minimise it."""


@dataclass(frozen=True)
class Penalty(Term):
    """A term computed from a match.

    Attributes:
        sides: the players that minimise it.
        differentiates: it differentiates the critic with respect to the match's samples; computed in fp32.
        uses_critic: it runs the critic. If False, it is computed once for all critics of the same samples.
    """

    sides: ClassVar[tuple[Side, ...]] = ("discriminator",)
    differentiates: ClassVar[bool] = False
    uses_critic: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        """A match of n samples -> [n], or [1] for a term of the whole batch; without the weight."""


@dataclass(frozen=True)
class WeightPenalty(Term):
    """A term computed from a player's weights.

    Attributes:
        side: the player, "generator" or "discriminator".
    """

    side: Side = choice("generator", ("discriminator", "generator"))

    @property
    def sides(self) -> tuple[Side, ...]:
        return (self.side,)

    @abstractmethod
    def __call__(self, network: nn.Module) -> Tensor:
        """A network -> a scalar, without the weight."""


class Constraint(Limited, ABC):
    """A projection of a player's weights after each of its updates."""

    side: ClassVar[Side] = "discriminator"

    @abstractmethod
    def project(self, network: nn.Module) -> None: ...


def by_sample(values: Tensor) -> Tensor:
    """[n, ...] -> [n]: the mean over the patches of each sample."""
    return values.flatten(1).mean(1) if values.dim() > 1 else values
