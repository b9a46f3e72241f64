"""Numbers that change over a run.

A schedule maps progress, the share of the budget that is spent (0 at the start, 1 at the end), to a number. Budgets
may be steps or minutes, so that one recipe serves a short and a long run alike.
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
    """Progress in [0, 1] -> a number."""

    @abstractmethod
    def __call__(self, progress: float) -> float: ...


Scheduled: TypeAlias = "float | Schedule"


def value_at(scheduled: Scheduled, progress: float) -> float:
    """The number that holds at `progress`; a plain number holds always."""
    return scheduled(progress) if isinstance(scheduled, Schedule) else scheduled


Component = TypeVar("Component")


def at(component: Component, progress: float) -> Component:
    """A component with the numbers that hold at `progress` in the place of the schedules among its fields."""
    if not is_dataclass(component):
        return component
    values = {f.name: getattr(component, f.name) for f in fields(component) if f.init}
    changes = {name: value(progress) for name, value in values.items() if isinstance(value, Schedule)}
    return replace(component, **changes) if changes else component  # type: ignore[type-var]


def check_scheduled(owner: str, name: str, scheduled: object, *, low: float, high: float = math.inf) -> None:
    """Raise UserError unless a number or schedule stays within [low, high] (schedules here are monotone)."""
    ends = [scheduled(0.0), scheduled(1.0)] if isinstance(scheduled, Schedule) else [scheduled]
    for end in ends:
        check_number(owner, name, end, low=low, high=high)


def scheduled(default: Scheduled, *, low: float, high: float = math.inf) -> Any:
    """A field for a number or schedule within [low, high]."""
    return checked(default, partial(check_scheduled, low=low, high=high))


@dataclass(frozen=True)
class Constant(Schedule):
    """The same number throughout."""

    value: float = number(1.0)

    def __call__(self, progress: float) -> float:
        return self.value


@dataclass(frozen=True)
class _Ramp(Schedule):
    """From `start` to `end` between the shares `begin` and `finish` of the run; constant before and after."""

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
    """A straight line from `start` to `end` between the shares `begin` and `finish` of the run."""

    def __call__(self, progress: float) -> float:
        return self.start + (self.end - self.start) * self._share(progress)


class Cosine(_Ramp):
    """Half a cosine from `start` to `end` between the shares `begin` and `finish` of the run. Source: Loshchilov and
    Hutter, "SGDR", 2017, equation 5 (without restarts)."""

    def __call__(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * self._share(progress))) / 2
