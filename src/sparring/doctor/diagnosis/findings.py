"""Findings from a log: pure functions, so a run gets the same findings while it trains, later, and elsewhere.

A rule (see `rules`) reads medians over the last fifth of the budget or over the last three probes, never a single
probe, and has to hold at two probes in a row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparring.doctor.diagnosis.rules import COVERAGE, FAILURES, LEAK, LIMITS, RULES, Evidence, Rule
from sparring.doctor.diagnosis.signs import (
    EARLIEST,
    LEAST_PROBES,
    Signs,
    directions_of,
    in_direction,
    last_position,
    probes_of,
    signs_at,
)
from sparring.run.log import LEAKED, NOT_FINITE, RESUME, Row, kind_of, of_kind

IN_A_ROW = 2
SHARED = ("growth/", "gradient/")  # metrics of the whole networks, the same in all directions
SLOW = 0.85  # mode coverage below which a run without a failure is `slow`
NO_FAILURE = ("too-early", "slow", "healthy")  # what a direction without a failure is, worst first


@dataclass(frozen=True)
class Finding:
    """A failure of a training, or the statement that there is none.

    Attributes:
        failure: One of `FAILURES`, or `healthy`, `slow`, `too-early`, `not-watched`; for a log of losses also
            `no-sign`.
        since_step: The step of the probe since which the failure holds without interruption.
        confidence: The share of the probes in the last fifth of the budget that show the failure by themselves, in
            [0, 1].
        evidence: The metrics that support the finding.
        why: How such a failure comes about.
        caused_by: The failure that this one follows from; "" for none.
        direction: The name of the task's direction, such as `back` of CycleGAN; "" for the first.
    """

    failure: str
    since_step: int = 0
    confidence: float = 1.0
    evidence: tuple[Evidence, ...] = ()
    why: str = ""
    caused_by: str = ""
    direction: str = ""

    @property
    def named(self) -> str:
        """The failure, followed by its direction where it has a name."""
        return f"{self.failure} ({self.direction})" if self.direction else self.failure

    def of(self, direction: str) -> Finding:
        """The same finding in a direction; its metrics get the direction's prefix, as in the log."""
        if not direction:
            return self
        evidence = (
            replace(e, name=f"{direction}/{e.name}") if not e.name.startswith(SHARED) else e for e in self.evidence
        )
        return replace(self, evidence=tuple(evidence), direction=direction)

    def to_json(self) -> dict[str, Any]:
        """The attributes as plain values; `caused_by` and `direction` only where they are not empty."""
        found = {name: value for name, value in vars(self).items() if name not in ("caused_by", "direction") or value}
        return {**found, "evidence": [each.to_json() for each in self.evidence]}

    def __str__(self) -> str:
        """One line: the failure, its first step, and the evidence."""
        since = f" since step {self.since_step:,}" if self.evidence else ""
        shown = [f"{e.name} {e.value:.3g} (normal: {e.normal})" for e in self.evidence if math.isfinite(e.value)]
        return f"{self.named}{since}{': ' if shown else ''}{', '.join(shown)}"


def diagnose(history: Sequence[Row]) -> list[Finding]:
    """Diagnose a run from its log, as of the end of the log.

    Args:
        history: Rows of metrics, probes and events, as `Run.history` returns them.

    Returns:
        The failures, causes first; or a single finding: `healthy`, `slow`, `too-early` or `not-watched`.
    """
    not_finite, leaks, probes = _not_finite(history), _leaks_before_training(history), probes_of(history)
    if not_finite or not probes:
        not_watched = Finding("not-watched", why="The log contains no probes; train with --doctor watch.")
        return not_finite or leaks or [not_watched]
    step, share = last_position(history)
    found, without_failure = [], []
    for direction in ("", *directions_of(probes)):
        own = [in_direction(probe, direction) for probe in probes] if direction else probes
        signs = functools.partial(signs_at, own, step_now=step, share_now=share)
        timeline = Timeline([probe["step"] for probe in probes], signs)
        failures = _with_causes(timeline.found() if direction else leaks + timeline.found())
        found += [finding.of(direction) for finding in failures]
        without_failure.append(_no_failure(timeline.signs(len(probes) - 1), len(probes)).of(direction))
    return found or [min(without_failure, key=lambda finding: NO_FAILURE.index(finding.failure))]


class Timeline:
    """The signs of a run at each of its probes, computed on demand.

    Args:
        steps: The steps of the probes.
        find: Returns the signs at the probe with an index, or None where there are too few probes before it.
    """

    def __init__(self, steps: Sequence[int], find: Callable[[int], Signs | None]) -> None:
        self.steps, self.signs = steps, functools.cache(find)

    def holds(self, rule: Rule, index: int, probes: int = 1) -> bool:
        """The rule holds at probe `index` and at the ones before it, `probes` in all.

        It must not be too early for a finding at that probe; for a rule that defers while coverage improves, at none
        of them, since every training starts without variety.
        """
        signs = [self.signs(i) if i >= 0 else None for i in range(index - probes + 1, index + 1)]
        if any(each is None or each.early for each in (signs if rule.defer_while_improving else signs[-1:])):
            return False
        return all(rule.holds_for(each) for each in signs)

    def found(self, rules: Sequence[Rule] = RULES) -> list[Finding]:
        """The findings of all rules that hold at the end."""
        return [self._finding(rule) for rule in rules if self.holds(rule, len(self.steps) - 1, IN_A_ROW)]

    def _violated_earlier(self, rule: Rule, index: int) -> bool:
        """The metrics violate a rule with `not_before`, whether or not it was silent then."""
        signs = self.signs(index)
        return rule.not_before > 0 and signs is not None and rule.holds(signs.metrics)

    def _finding(self, rule: Rule) -> Finding:
        """The finding of a rule that holds at the last probe."""
        first = last = len(self.steps) - 1
        while first > 0 and (self.holds(rule, first - 1) or self._violated_earlier(rule, first - 1)):
            first -= 1
        now = self.signs(last)
        assert now is not None
        alone = [rule.holds(probe) for probe in now.probes]
        evidence = rule.evidence(now.metrics) or rule.evidence(now.recent)
        return Finding(rule.failure, self.steps[first], sum(alone) / len(alone), evidence, rule.why)


def _with_causes(found: Sequence[Finding]) -> list[Finding]:
    """One finding per failure, each with the earlier one that causes it."""
    causes = {failure: {c for rule in RULES if rule.failure == failure for c in rule.causes} for failure in FAILURES}
    kept: dict[str, Finding] = {}
    for finding in found:
        cause = next((v.failure for v in kept.values() if finding.failure in causes[v.failure]), "")
        kept.setdefault(finding.failure, replace(finding, caused_by=cause))
    return list(kept.values())


def _no_failure(signs: Signs | None, probes: int) -> Finding:
    if probes < LEAST_PROBES:
        return Finding("too-early", why=f"Probes so far: {probes}; at least {LEAST_PROBES} are needed: train longer.")
    if signs is None or signs.early:
        return Finding("too-early", why=f"Less than {EARLIEST:.0%} of the budget is spent.")
    low_coverage = Rule("", "", any_of=COVERAGE).holds(signs.metrics)
    if low_coverage and signs.improving:
        return Finding("too-early", signs.step, why="Coverage of the data is low but still improving.")
    if signs.metrics.get("mode_coverage", 1.0) < SLOW:
        evidence = (LIMITS["mode-coverage"].evidence(signs.metrics),)
        return Finding("slow", signs.step, 1.0, evidence, "No failure, but some modes are still missing: train longer.")
    return Finding("healthy", signs.step)


def _leaks_before_training(history: Sequence[Row]) -> list[Finding]:
    """The data leak by range that was found before training, if any."""
    for row in history:
        if kind_of(row) == LEAKED:
            evidence = Evidence("leak/share", row["leak/share"], "0", str(row.get("what", "")))
            return [Finding(LEAK, row["step"], 1.0, (evidence,), next(r.why for r in RULES if r.failure == LEAK))]
    return []


def _not_finite(history: Sequence[Row]) -> list[Finding]:
    """The divergence of a run that ended in NaN or infinity, if it did."""
    ends = of_kind(history, NOT_FINITE, RESUME)
    if not ends or ends[-1]["event"] != NOT_FINITE:
        return []
    evidence = Evidence("not finite", float("nan"), "finite values", str(ends[-1].get("what", "")))
    return [Finding("divergence", ends[-1]["step"], 1.0, (evidence,), RULES[0].why)]
