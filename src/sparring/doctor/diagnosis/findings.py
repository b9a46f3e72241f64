"""What ails a training, told from its log: pure functions, so the answer is the same live, afterwards and elsewhere.

A rule (see `rules`) reads medians over the last fifth of the budget, or over three looks where something broke, never
one look, and has to hold at two looks in a row.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparring.doctor.diagnosis.rules import COVERAGE, FAILURES, LEAK, LIMITS, RULES, Evidence, Rule
from sparring.doctor.diagnosis.signs import Signs, directions_of, in_direction, last_position, probes_of, signs_at
from sparring.run.log import LEAKED, NOT_FINITE, RESUME, Row, kind_of, of_kind

IN_A_ROW = 2
PLAYERS = ("growth/", "gradient/")  # numbers of the players as a whole, whatever ways they have
SLOW = 0.85  # share of the cells below which a run is not finished
WELL = ("too-early", "slow", "healthy")  # what is said of a way without an illness, the worst first


@dataclass(frozen=True)
class Finding:
    """An illness, or that there is none."""

    failure: str  # of `ILLNESSES`, or `healthy`, `slow`, `too-early`, `not-watched`; of a log of losses also `no-sign`
    since_step: int = 0  # of the first look from which on it was seen without a break
    confidence: float = 1.0  # the share of the last stretch's looks that show it each by itself, in [0, 1]
    evidence: tuple[Evidence, ...] = ()  # the numbers that say so
    why: str = ""  # how such a thing comes about, in a sentence or two
    caused_by: str = ""  # the illness that it is a consequence of
    direction: str = (
        ""  # the name of the direction that it is of, where a task has several (`Task.ways`); "" of the first
    )

    @property
    def named(self) -> str:
        """The illness, with the way that it is of."""
        return f"{self.failure} ({self.direction})" if self.direction else self.failure

    def of(self, direction: str) -> Finding:
        """The same of one of a task's ways; where it has a name, its numbers begin with that in the log."""
        if not direction:
            return self
        evidence = (
            replace(e, name=f"{direction}/{e.name}") if not e.name.startswith(PLAYERS) else e for e in self.evidence
        )
        return replace(self, evidence=tuple(evidence), direction=direction)

    def to_json(self) -> dict[str, Any]:
        found = {name: value for name, value in vars(self).items() if name not in ("caused_by", "direction") or value}
        return {**found, "evidence": [each.to_json() for each in self.evidence]}

    def __str__(self) -> str:
        """One line: the illness, since when, and the numbers that say so."""
        since = f" since step {self.since_step:,}" if self.evidence else ""
        reported = [f"{e.name} {e.value:.3g} (normal: {e.normal})" for e in self.evidence if math.isfinite(e.value)]
        return f"{self.named}{since}{': ' if reported else ''}{', '.join(reported)}"


def diagnose(history: Sequence[Row]) -> list[Finding]:
    """What a run's log says of it as it stands at the log's end: illnesses, causes first, or one of `healthy`, `slow`,
    `too-early` and `not-watched`.

    Args:
        history: rows of numbers, looks and events, as `Run.history` gives them.
    """
    broken, leaks, probes = _not_finite(history), _out_of_reach(history), probes_of(history)
    if broken or not probes:
        unseen = Finding("not-watched", why="The log holds no looks at the samples; train with --doctor watch.")
        return broken or leaks or [unseen]
    step, share = last_position(history)
    found, well = [], []
    for direction in ("", *directions_of(probes)):
        own = [in_direction(probe, direction) for probe in probes] if direction else probes
        signs = functools.partial(signs_at, own, step_now=step, share_now=share)
        timeline = Timeline([probe["step"] for probe in probes], signs)
        ills = _consequences(timeline.found() if direction else leaks + timeline.found())
        found += [finding.of(direction) for finding in ills]
        well.append(_unsuspicious(timeline.signs(len(probes) - 1)).of(direction))
    return found or [min(well, key=lambda finding: WELL.index(finding.failure))]


class Timeline:
    """A run's signs at each of its looks, found when they are asked for: `find` gives those at the look with an index,
    or None where there are too few looks."""

    def __init__(self, steps: Sequence[int], find: Callable[[int], Signs | None]) -> None:
        self.steps, self.signs = steps, functools.cache(find)

    def holds(self, rule: Rule, index: int, probes: int = 1) -> bool:
        """Does the rule hold at a look, and at those before it, so many in all? At that look it must not be too early
        to say so; for a rule that waits at none of them, since all trainings begin without variety."""
        signs = [self.signs(i) if i >= 0 else None for i in range(index - probes + 1, index + 1)]
        if any(each is None or each.early for each in (signs if rule.waits else signs[-1:])):
            return False
        return all(rule.holds_for(each) for each in signs)

    def found(self, rules: Sequence[Rule] = RULES) -> list[Finding]:
        """Those of all rules that hold at the end."""
        return [self._finding(rule) for rule in rules if self.holds(rule, len(self.steps) - 1, IN_A_ROW)]

    def _held(self, rule: Rule, index: int) -> bool:
        """Did what a rule tells late alone hold before it was late?"""
        signs = self.signs(index)
        return rule.late and signs is not None and rule.holds(signs.numbers)

    def _finding(self, rule: Rule) -> Finding:
        """That of a rule which holds at the last look."""
        first = last = len(self.steps) - 1
        while first > 0 and (self.holds(rule, first - 1) or self._held(rule, first - 1)):
            first -= 1
        now = self.signs(last)
        assert now is not None
        alone = [rule.holds(probe) for probe in now.probes]
        evidence = rule.evidence(now.numbers) or rule.evidence(now.recent)
        return Finding(rule.failure, self.steps[first], sum(alone) / len(alone), evidence, rule.why)


def _consequences(found: Sequence[Finding]) -> list[Finding]:
    """The verdicts, with what follows from an earlier one marked; one verdict an illness."""
    causes = {failure: {c for rule in RULES if rule.failure == failure for c in rule.causes} for failure in FAILURES}
    kept: dict[str, Finding] = {}
    for finding in found:
        cause = next((v.failure for v in kept.values() if finding.failure in causes[v.failure]), "")
        kept.setdefault(finding.failure, replace(finding, caused_by=cause))
    return list(kept.values())


def _unsuspicious(signs: Signs | None) -> Finding:
    if signs is None or signs.early:
        return Finding("too-early", why="There are fewer than four looks, or too little of the budget is spent.")
    missing = Rule("", "", any_of=COVERAGE).holds(signs.numbers)
    if missing and signs.improving:
        return Finding("too-early", signs.step, why="Samples do not cover the data yet, and are still becoming better.")
    if signs.numbers.get("mode_coverage", 1.0) < SLOW:
        evidence = (LIMITS["mode_coverage"].evidence(signs.numbers),)
        return Finding("slow", signs.step, 1.0, evidence, "Nothing is wrong, but it is not finished: train it longer.")
    return Finding("healthy", signs.step)


def _out_of_reach(history: Sequence[Row]) -> list[Finding]:
    """The leak by range that was seen before training, if there is one."""
    for row in history:
        if kind_of(row) == LEAKED:
            reported = Evidence("leak/share", row["leak/share"], "0", str(row.get("what", "")))
            return [Finding(LEAK, row["step"], 1.0, (reported,), next(r.why for r in RULES if r.failure == LEAK))]
    return []


def _not_finite(history: Sequence[Row]) -> list[Finding]:
    """The divergence of a run that ended in NaN or infinity, if it did."""
    ends = of_kind(history, NOT_FINITE, RESUME)
    if not ends or ends[-1]["event"] != NOT_FINITE:
        return []
    reported = Evidence("not finite", float("nan"), "finite numbers", str(ends[-1].get("what", "")))
    return [Finding("divergence", ends[-1]["step"], 1.0, (reported,), RULES[0].why)]
