"""What the doctor's verdicts go by: limits of numbers, and rules made of them, both of which `rules.toml` holds."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from sparring.doctor.diagnosis.signs import LATE, Signs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Numbers = Mapping[str, float]
YOUNG = 0.3  # share of the budget before which lack of variety must be gross to be an illness


@dataclass(frozen=True)
class Evidence:
    """A number of the log (its median over the last fifth of the budget, or over the last three looks where these alone
    show it), what is normal, and what it measures."""

    name: str
    value: float
    normal: str
    means: str

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "value": self.value if math.isfinite(self.value) else None}


@dataclass(frozen=True)
class Limit:
    """Bounds of a number; `early` is the bound in the first part of the budget, when healthy trainings lack variety,
    too. Else as in `Evidence`."""

    name: str
    normal: str
    means: str
    low: float = float("-inf")
    high: float = float("inf")
    early: float | None = None

    def broken(self, numbers: Numbers, early: bool = False) -> bool:
        """Is the number there, and out of bounds?"""
        value = numbers.get(self.name)
        low, high = self.low, self.high
        if early and self.early is not None:
            low, high = (self.early, high) if low > float("-inf") else (low, self.early)
        return value is not None and (value < low or value > high)

    def evidence(self, numbers: Numbers) -> Evidence:
        return Evidence(self.name, numbers[self.name], self.normal, self.means)


@dataclass(frozen=True)
class Rule:
    """An illness holds where all of `all_of` are out of bounds, and one at least of `any_of`, if there are any.

    Attributes:
        waits: silent while coverage improves, before the last part of the budget.
        late: silent while coverage improves, and before the last part of the budget.
        learns: silent before the last part of the budget where a style is learnt without pairs.
        causes: illnesses that follow from this one.
    """

    failure: str
    why: str
    all_of: tuple[Limit, ...] = ()
    any_of: tuple[Limit, ...] = ()
    waits: bool = False
    late: bool = False
    learns: bool = False
    causes: tuple[str, ...] = ()

    def holds(self, numbers: Numbers, early: bool = False) -> bool:
        every = all(limit.broken(numbers, early) for limit in self.all_of)
        one = not self.any_of or any(limit.broken(numbers, early) for limit in self.any_of)
        return every and one

    def holds_for(self, signs: Signs | None) -> bool:
        """Does it hold for a stretch of the run? Where coverage improves, medians lag: then the last look decides.

        What is `sudden` is told of three looks alone where they are as bad as what is told early in a run.
        """
        if signs is None or (self.learns and signs.unpaired and signs.share < LATE):
            return False
        young = signs.share < YOUNG
        if self.sudden and not young and self.holds(signs.recent, early=True) and not signs.improving:
            return True
        if self.late and (signs.improving or signs.share < LATE):
            return False
        if self.waits and signs.improving and (signs.share < LATE or not self.holds(signs.probes[-1], young)):
            return False
        return self.holds(signs.numbers, young)

    @property
    def sudden(self) -> bool:
        """Have all of its limits bounds for the first part of the budget, which are gross for the rest of it?"""
        return all(limit.early is not None for limit in (*self.all_of, *self.any_of))

    def evidence(self, numbers: Numbers) -> tuple[Evidence, ...]:
        return tuple(limit.evidence(numbers) for limit in (*self.all_of, *self.any_of) if limit.broken(numbers))


def _read() -> tuple[dict[str, Limit], tuple[Rule, ...]]:
    """The limits by name, and the rules, of `rules.toml`."""
    text = (resources.files("sparring.doctor.diagnosis") / "rules.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text)
    limits: dict[str, Limit] = {}
    for name, table in tables["limits"].items():
        like = limits[table.pop("like")] if "like" in table else None
        words: dict[str, Any] = {"name": like.name, "normal": like.normal, "means": like.means} if like else {}
        limits[name] = Limit(**words, **table)
    rules = []
    for table in tables["rules"]:
        chosen = {key: tuple(limits[name] for name in table.pop(key, ())) for key in ("all_of", "any_of")}
        rules.append(Rule(**{**table, **chosen, "causes": tuple(table.get("causes", ()))}))
    return limits, tuple(rules)


LIMITS, RULES = _read()
FAILURES = tuple(dict.fromkeys(rule.failure for rule in RULES))
COVERAGE = tuple(LIMITS[name] for name in ("mode_coverage", "spread", "effective_rank"))
LEAK = "data-leak"
SURE = LIMITS["perfect"].high  # chance that D rates a real sample above a generated one; beyond, it may go by a leak
TOO_LARGE = RULES[0].why.partition(".")[0] + "."  # why players diverge
