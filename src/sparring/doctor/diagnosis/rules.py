"""The rules behind the doctor's findings: limits of metrics and their combinations, read from `rules.toml`."""

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

Metrics = Mapping[str, float]
GROSS_ONLY = 0.3  # share of the budget before which limits are at their `gross` bounds


@dataclass(frozen=True)
class Evidence:
    """A metric that supports a finding.

    Attributes:
        name: Its name in the log.
        value: Its median over the last fifth of the budget, or over the last three probes where only these show the
            failure.
        normal: Its range in a healthy training.
        means: What it measures.
    """

    name: str
    value: float
    normal: str
    means: str

    def to_json(self) -> dict[str, Any]:
        """The attributes as plain values; a `value` that is not finite becomes None."""
        return {**vars(self), "value": self.value if math.isfinite(self.value) else None}


@dataclass(frozen=True)
class Limit:
    """Bounds of a metric; `name`, `normal` and `means` as in `Evidence`.

    Attributes:
        low: Lowest value within the limit.
        high: Highest value within the limit.
        gross: A wider bound in place of `low` or `high`. It applies in the first part of the budget, when healthy
            trainings lack variety, too, and to failures that the last three probes alone show.
    """

    name: str
    normal: str
    means: str
    low: float = float("-inf")
    high: float = float("inf")
    gross: float | None = None

    def violated(self, metrics: Metrics, gross: bool = False) -> bool:
        """The metric is known and out of bounds; with `gross`, out of the wider bound where there is one."""
        value = metrics.get(self.name)
        low, high = self.low, self.high
        if gross and self.gross is not None:
            low, high = (self.gross, high) if low > float("-inf") else (low, self.gross)
        return value is not None and (value < low or value > high)

    def evidence(self, metrics: Metrics) -> Evidence:
        return Evidence(self.name, metrics[self.name], self.normal, self.means)


@dataclass(frozen=True)
class Rule:
    """A failure holds where all limits of `all_of` are violated, and at least one of `any_of` where there are any.

    Attributes:
        defer_while_improving: While coverage improves, the rule is silent before 60 % of the budget; after that, it
            holds only if the last probe alone violates it, too.
        not_before: Share of the budget before which the rule is silent. Such a rule also is silent while coverage
            improves.
        not_before_unpaired: The same share where images are translated without pairs; 0 elsewhere.
        causes: Failures that follow from this one.
    """

    failure: str
    why: str
    all_of: tuple[Limit, ...] = ()
    any_of: tuple[Limit, ...] = ()
    defer_while_improving: bool = False
    not_before: float = 0.0
    not_before_unpaired: float = 0.0
    causes: tuple[str, ...] = ()

    def holds(self, metrics: Metrics, gross: bool = False) -> bool:
        """The metrics violate the limits, whatever the share of the budget."""
        every = all(limit.violated(metrics, gross) for limit in self.all_of)
        one = not self.any_of or any(limit.violated(metrics, gross) for limit in self.any_of)
        return every and one

    def holds_for(self, signs: Signs | None) -> bool:
        """The failure is reported of these signs. Medians lag while coverage improves: there the last probe decides."""
        if signs is None or (signs.unpaired and signs.share < self.not_before_unpaired):
            return False
        gross_only = signs.share < GROSS_ONLY
        sudden = self.can_be_sudden and not gross_only and self.holds(signs.recent, gross=True)
        if sudden and not signs.improving:
            return True
        if self.not_before and (signs.improving or signs.share < self.not_before):
            return False
        deferred = signs.share < LATE or not self.holds(signs.probes[-1], gross_only)
        if self.defer_while_improving and signs.improving and deferred:
            return False
        return self.holds(signs.metrics, gross_only)

    @property
    def can_be_sudden(self) -> bool:
        """All limits have a gross bound, so that three probes are enough evidence."""
        return all(limit.gross is not None for limit in (*self.all_of, *self.any_of))

    def evidence(self, metrics: Metrics) -> tuple[Evidence, ...]:
        return tuple(limit.evidence(metrics) for limit in (*self.all_of, *self.any_of) if limit.violated(metrics))


def _read() -> tuple[dict[str, Limit], tuple[Rule, ...]]:
    """The limits by id, and the rules, of `rules.toml`."""
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
COVERAGE = tuple(LIMITS[name] for name in ("mode-coverage", "spread", "effective-rank"))
LEAK = "data-leak"
SURE = LIMITS["auc-leak-check"].high  # AUC of D above which a probe looks for a data leak
TOO_LARGE = RULES[0].why.partition(".")[0] + "."  # why networks diverge
