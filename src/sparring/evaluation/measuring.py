"""What a score by name is, and how those that are asked for are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sparring.base.errors import UserError
from sparring.metrics.distribution import Estimate

Value = float | Estimate
Scored = TypeVar("Scored")


@dataclass(frozen=True)
class Need(Generic[Scored]):
    """What a metric needs of what is scored: a condition, and how it is named in messages."""

    met: Callable[[Scored], bool]
    text: str


@dataclass(frozen=True)
class Measure(Generic[Scored]):
    """A metric that can be asked for by name."""

    name: str
    about: str  # one line
    compute: Callable[[Scored], Mapping[str, Value]]  # values by name; the first is the one to choose checkpoints by
    better: Mapping[str, int]  # which way each value is better: -1 low, 1 high; those left out are reported only
    needs: Sequence[Need[Scored]] = ()  # the first that is not met is reported
    usual: bool = True  # computed when no metrics are named

    def lacks(self, scored: Scored) -> str:
        """What is missing for it, in words; empty if nothing is."""
        return next((need.text for need in self.needs if not need.met(scored)), "")


def single(
    name: str, about: str, value: Callable[[Scored], Value], better: int, *needs: Need[Scored], usual: bool = True
) -> Measure[Scored]:
    """A metric of one value, which has the metric's name."""
    return Measure(name, about, lambda scored: {name: value(scored)}, {name: better}, needs, usual)


def compute(
    measures: Mapping[str, Measure[Scored]], name: str, scored: Scored, named: Sequence[str], notes: list[str]
) -> Mapping[str, Value]:
    """One metric's values; nothing if something is missing for it, or it does not fit, which is noted or, if it was
    named, raised as UserError."""
    try:
        return {} if measures[name].lacks(scored) else measures[name].compute(scored)
    except UserError as error:
        if name in named:
            raise UserError(f"{name}: {error}") from error
        notes.append(f"{name} left out: {error}")
        return {}
