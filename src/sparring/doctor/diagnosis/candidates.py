"""Which fixes to try on a failed run, and from which checkpoint: pure functions of its log, recipe and checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.doctor.diagnosis.findings import Finding, diagnose
from sparring.doctor.diagnosis.fixes import IN_FLIGHT, Fix, fixes_for
from sparring.doctor.diagnosis.rules import FAILURES
from sparring.doctor.diagnosis.signs import STRETCH, last_position
from sparring.recipe import Recipe
from sparring.run.checkpoint import Manifest
from sparring.run.log import NOT_FINITE, PROBE, Row, kind_of


@dataclass(frozen=True)
class Candidate:
    """A fix to try.

    Attributes:
        name: The name of its folder.
        about: What the fix does.
        failure: The failure that it is for.
        changes: The fields of the recipe that it changes.
        start: The step of the failed run's checkpoint from which it continues; 0 trains from the start.
    """

    name: str
    about: str
    failure: str
    changes: Mapping[str, Any]
    start: int


def failures(findings: Sequence[Finding]) -> list[Finding]:
    """The failures among findings, causes before consequences."""
    return sorted((v for v in findings if v.failure in FAILURES), key=lambda finding: bool(finding.caused_by))


def candidates(found: Sequence[Finding], recipe: Recipe, form: Form, start: int, most: int) -> list[Candidate]:
    """The best fixes for a failed run.

    Args:
        found: The failures of the run, causes first.
        recipe: The run's recipe, which is not among the candidates.
        form: The form of its samples.
        start: The step of the checkpoint from which fixes that allow it continue; 0 for none.
        most: The largest number of candidates.

    Raises:
        UserError: There is no fix that would change the recipe.
    """
    chosen: list[Candidate] = []
    tried = {recipe}
    for failure, fix in _ordered(found, recipe, form):
        changed = recipe.replace(**fix.changes)
        if changed in tried or len(chosen) == most:
            continue
        tried.add(changed)
        begin = start if fix.changes.keys() <= IN_FLIGHT else 0
        chosen.append(Candidate(f"{len(chosen) + 1}-{failure}", fix.about, failure, dict(fix.changes), begin))
    if not chosen:
        raise UserError(
            f"no known fix for {found[0].failure} changes this recipe; change it by hand: sparring train --help lists "
            "its fields"
        )
    return chosen


def _ordered(found: Sequence[Finding], recipe: Recipe, form: Form) -> Iterator[tuple[str, Fix]]:
    """(failure, fix), best first. After the first two fixes of the leading failure comes the best pair that changes
    different fields, since the loss and the learning rate, say, may both be at fault."""
    leading, *others = found
    fixes = fixes_for(leading.failure, recipe, form)
    pairs = itertools.combinations(fixes, 2)
    both = next(((a, b) for a, b in pairs if _go_together(leading.failure, a, b, recipe, form)), None)
    together = [Fix(f"{both[0].about}; and {both[1].about}", {**both[0].changes, **both[1].changes})] if both else []
    yield from ((leading.failure, fix) for fix in [*fixes[:2], *together, *fixes[2:]])
    for finding in others:
        yield from ((finding.failure, fix) for fix in fixes_for(finding.failure, recipe, form))


def _go_together(failure: str, first: Fix, second: Fix, recipe: Recipe, form: Form) -> bool:
    """The fixes change different fields, and the second still is one for the recipe with the first."""
    if first.changes.keys() & second.changes.keys():
        return False
    return second.about in {r.about for r in fixes_for(failure, recipe.replace(**first.changes), form)}


def last_healthy(
    history: Sequence[Row], saved: Sequence[Manifest], since: int, earliest: float = 0.0
) -> Manifest | None:
    """The last checkpoint from before a failure, or None.

    Medians show a failure half a stretch (a tenth of the budget) late, so the checkpoint is that much older than
    `since`; at its step the log showed no failure.

    Args:
        history: The rows of the log.
        saved: The checkpoints that exist.
        since: The first step of the failure.
        earliest: Share of the budget before which checkpoints are not trusted.
    """
    step, share = last_position(history)
    per_step = max(share, 1e-9) / step
    before = since - STRETCH / 2 / per_step
    for manifest in sorted(saved, key=lambda manifest: -manifest.step):
        trusted = manifest.step > 0 and manifest.step * per_step >= earliest
        if trusted and manifest.step <= before and unsuspicious(history, manifest.step):
            return manifest
    return None


def first_named(history: Sequence[Row], names: Collection[str]) -> float:
    """The share of the budget at which the doctor first reports one of these failures; 1 where it never does.

    `Finding.since_step` may be later: it is the start of the last uninterrupted stretch.
    """
    step, share = last_position(history)
    for end, row in enumerate(history, start=1):
        reported = diagnose(history[:end]) if kind_of(row) in (PROBE, NOT_FINITE) else []
        if {finding.failure for finding in reported} & set(names):
            return float(row["step"] * share / step)
    return 1.0


def unsuspicious(history: Sequence[Row], step: int) -> bool:
    """The log up to a step shows no failure."""
    reported = {finding.failure for finding in diagnose([row for row in history if row["step"] <= step])}
    return not reported & {*FAILURES, "not-watched"}
