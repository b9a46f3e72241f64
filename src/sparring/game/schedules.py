"""Schedules: numbers that change over a run.

A schedule maps progress, the share of the budget spent (0 at the start, 1 at the end), to a number. The budget is in
steps or minutes, so one recipe fits short and long runs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeAlias, TypeVar

from sparring.base.errors import check_number
from sparring.base.fields import Limited, checked, number

__all__ = ["Constant", "Cosine", "Linear"]


class Schedule(Limited, ABC):
    """A function from progress in [0, 1] to a number."""

    @abstractmethod
    def __call__(self, progress: float) -> float: ...


Scheduled: TypeAlias = "float | Schedule"


def value_at(scheduled: Scheduled, progress: float) -> float:
    """Value of a number or schedule at `progress`."""
    return scheduled(progress) if isinstance(scheduled, Schedule) else scheduled


Component = TypeVar("Component")


def at(component: Component, progress: float) -> Component:
    """Replace the schedules among a component's fields by their values at `progress`."""
    if not is_dataclass(component):
        return component
    values = {f.name: getattr(component, f.name) for f in fields(component) if f.init}
    changes = {name: value(progress) for name, value in values.items() if isinstance(value, Schedule)}
    return replace(component, **changes) if changes else component  # type: ignore[type-var]


def check_scheduled(owner: str, name: str, scheduled: object, *, low: float, high: float = math.inf) -> None:
    """Raise UserError unless a number or (monotone) schedule stays within [low, high]."""
    ends = [scheduled(0.0), scheduled(1.0)] if isinstance(scheduled, Schedule) else [scheduled]
    for end in ends:
        check_number(owner, name, end, low=low, high=high)


def scheduled(default: Scheduled, *, low: float, high: float = math.inf) -> Any:
    """A field for a number or schedule within [low, high]."""
    return checked(default, partial(check_scheduled, low=low, high=high))


@dataclass(frozen=True)
class Constant(Schedule):
    """A constant number.

    Attributes:
        value: the number.
    """

    value: float = number(1.0)

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class _Ramp(Schedule):
    """A change from `start` to `end` between `begin` and `finish`; constant before and after."""

    start: float = number(1.0)
    end: float = number(0.0)
    begin: float = number(0.0, low=0, high=1)
    finish: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(type(self).__name__, "finish", self.finish, low=self.begin, high=1, open_low=True)

    def _share(self, progress: float) -> float:
        return min(max((progress - self.begin) / (self.finish - self.begin), 0.0), 1.0)


class Linear(_Ramp):
    """Linear schedule: `start + (end - start) * u`, where u rises from 0 to 1 between `begin` and `finish`.

    Attributes:
        start: value before `begin`.
        end: value after `finish`.
        begin: share of the run at which the change begins, in [0, 1].
        finish: share of the run at which it ends, above `begin`, at most 1.
    """

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * self._share(progress)


class Cosine(_Ramp):
    """Cosine schedule: `end + (start - end) * (1 + cos(pi u)) / 2`, u from 0 to 1 between `begin` and `finish`.

    Attributes:
        start: value before `begin`.
        end: value after `finish`.
        begin: share of the run at which the change begins, in [0, 1].
        finish: share of the run at which it ends, above `begin`, at most 1.

    Source: Loshchilov and Hutter, "SGDR", 2017, equation 5 (without restarts).
    """

    def __call__(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * self._share(progress))) / 2
