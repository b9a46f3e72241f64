"""Metrics by name: their definition, requirements and computation."""

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
    """A requirement of a metric.

    Attributes:
        met: the condition on what is scored.
        text: completes "it needs ..." in messages.
    """

    met: Callable[[Scored], bool]
    text: str


@dataclass(frozen=True)
class Measure(Generic[Scored]):
    """A metric that options can name.

    Attributes:
        name: the name for `--metrics`.
        about: description in one line.
        compute: returns values by name; checkpoints are chosen by the first.
        better: direction of each value: -1 if lower is better, 1 if higher. Other values are only reported.
        needs: requirements; the first that is not met is reported.
        usual: part of the group `usual`.
    """

    name: str
    about: str
    compute: Callable[[Scored], Mapping[str, Value]]
    better: Mapping[str, int]
    needs: Sequence[Need[Scored]] = ()
    usual: bool = True

    def missing(self, scored: Scored) -> str:
        """The first requirement that is not met, in words; empty if all are."""
        return next((need.text for need in self.needs if not need.met(scored)), "")


def single(
    name: str, about: str, value: Callable[[Scored], Value], better: int, *needs: Need[Scored], usual: bool = True
) -> Measure[Scored]:
    """A metric with one value of the same name."""
    return Measure(name, about, lambda scored: {name: value(scored)}, {name: better}, needs, usual)


def compute(
    measures: Mapping[str, Measure[Scored]], name: str, scored: Scored, named: Sequence[str], notes: list[str]
) -> Mapping[str, Value]:
    """Compute one metric's values; none if a requirement is not met.

    If the metric fails, a note is added. UserError: the failing metric is in `named`.
    """
    try:
        return {} if measures[name].missing(scored) else measures[name].compute(scored)
    except UserError as error:
        if name in named:
            raise UserError(f"{name}: {error}") from error
        notes.append(f"{name} left out: {error}")
        return {}
