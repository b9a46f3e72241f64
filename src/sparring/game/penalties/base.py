"""What penalties and constraints are."""

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
    """Something that a player minimises besides its loss, added every `every` steps."""

    weight: Scheduled = scheduled(10.0, low=0)
    every: int = number(1, low=1)

    @property
    @abstractmethod
    def sides(self) -> tuple[Side, ...]:
        """Whose term it is."""


@dataclass(frozen=True)
class Penalty(Term):
    """A term that is computed of a match."""

    sides: ClassVar[tuple[Side, ...]] = ("discriminator",)
    differentiates: ClassVar[bool] = False  # it differentiates the critic with respect to the match's samples
    judges: ClassVar[bool] = True  # it asks the critic; if not, samples count once, however many critics see them

    @abstractmethod
    def __call__(self, match: Match, side: Side = "discriminator") -> Tensor:
        """A match of n samples -> [n] (or [1], where it is about the whole batch), before the weight."""


@dataclass(frozen=True)
class WeightPenalty(Term):
    """A term that is computed of a player's weights."""

    side: Side = choice("generator", ("discriminator", "generator"))

    @property
    def sides(self) -> tuple[Side, ...]:
        return (self.side,)

    @abstractmethod
    def __call__(self, network: nn.Module) -> Tensor:
        """A scalar, before the weight."""


class Constraint(Limited, ABC):
    """A projection of one player's weights after each of its steps."""

    side: ClassVar[Side] = "discriminator"

    @abstractmethod
    def project(self, network: nn.Module) -> None: ...


def by_sample(values: Tensor) -> Tensor:
    """[n, ...] -> [n]: of a patch critic, the mean over patches."""
    return values.flatten(1).mean(1) if values.dim() > 1 else values
