"""What a score by name is, and how those that are asked for are computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from sparring.base.errors import UserError
from sparring.metrics import Estimate

Value = float | Estimate
Scored = TypeVar("Scored")


@dataclass(frozen=True)
class Measure(Generic[Scored]):
    """A metric that can be asked for by name.

    Attributes:
        about: one line.
        compute: what is scored -> values by name; the first is the one to choose checkpoints by.
        better: which way each value is better: -1 low, 1 high; those left out are told only.
        lacks: what is lacking for it, in words; empty if nothing.
        usual: is it computed when no metrics are named?
    """

    about: str
    compute: Callable[[Scored], Mapping[str, Value]]
    better: Mapping[str, int]
    lacks: Callable[[Scored], str] = lambda scored: ""
    usual: bool = True


def check_possible(
    measures: Mapping[str, Measure[Scored]], names: Sequence[str], scored: Scored, owner: str, named: Sequence[str]
) -> None:
    """Raise UserError if one of the metrics that were named one by one needs what is lacking.

    Args:
        measures: all metrics.
        names: of those that are asked for.
        scored: what is scored.
        owner: what to call it.
        named: the names that were written out, not meant by `usual` or `all`.
    """
    for name in names:
        lacking = measures[name].lacks(scored) if name in named else ""
        if lacking:
            raise UserError(f"{name} cannot be computed of {owner}: it needs {lacking}")


def compute(
    measures: Mapping[str, Measure[Scored]], name: str, scored: Scored, named: Sequence[str], notes: list[str]
) -> Mapping[str, Value]:
    """One metric's values; nothing if something is lacking for it, or it does not fit, which is noted.

    Raises:
        UserError: it does not fit, and was named.
    """
    try:
        return {} if measures[name].lacks(scored) else measures[name].compute(scored)
    except UserError as error:
        if name in named:
            raise UserError(f"{name}: {error}") from error
        notes.append(f"{name} left out: {error}")
        return {}


def values_of(found: Mapping[str, Value]) -> dict[str, float]:
    """The values alone."""
    return {name: value.value if isinstance(value, Estimate) else float(value) for name, value in found.items()}


def errors_of(found: Mapping[str, Value]) -> dict[str, float]:
    """The standard errors, where there are such."""
    return {name: value.error for name, value in found.items() if isinstance(value, Estimate) and value.error}
