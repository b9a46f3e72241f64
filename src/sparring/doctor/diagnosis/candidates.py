"""What could be tried against a run's illness, and from where: pure functions of its log, recipe and checkpoints."""

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
    """A recipe to try: a remedy's changes against an illness.

    Attributes:
        name: of its folder.
        start: the step of the sick run's checkpoint that it goes on from; 0: anew.
    """

    name: str
    about: str
    failure: str
    changes: Mapping[str, Any]
    start: int


def failures(findings: Sequence[Finding]) -> list[Finding]:
    """The illnesses among verdicts, causes before what follows from them."""
    return sorted((v for v in findings if v.failure in FAILURES), key=lambda finding: bool(finding.caused_by))


def candidates(found: Sequence[Finding], recipe: Recipe, form: Form, start: int, most: int) -> list[Candidate]:
    """The best remedies for a sick run's recipe, at most so many; the recipe as it was is none of them. Those that can
    go on from the checkpoint of the step `start`, if there is one. UserError: there is no remedy."""
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
        raise UserError(f"nothing is known to help against {found[0].failure} that this recipe does not have already")
    return chosen


def _ordered(found: Sequence[Finding], recipe: Recipe, form: Form) -> Iterator[tuple[str, Fix]]:
    """Remedies with what they are against: after the first two of the leading illness both together with the best that
    changes other fields, since the loss and the learning rate, say, may both be at fault."""
    leading, *others = found
    fixes = fixes_for(leading.failure, recipe, form)
    pairs = itertools.combinations(fixes, 2)
    both = next(((a, b) for a, b in pairs if _go_together(leading.failure, a, b, recipe, form)), None)
    together = [Fix(f"{both[0].about}; and {both[1].about}", {**both[0].changes, **both[1].changes})] if both else []
    yield from ((leading.failure, fix) for fix in [*fixes[:2], *together, *fixes[2:]])
    for finding in others:
        yield from ((finding.failure, fix) for fix in fixes_for(finding.failure, recipe, form))


def _go_together(failure: str, first: Fix, second: Fix, recipe: Recipe, form: Form) -> bool:
    """Do two remedies change different fields, and is the second one still right once the first one is taken?"""
    if first.changes.keys() & second.changes.keys():
        return False
    return second.about in {r.about for r in fixes_for(failure, recipe.replace(**first.changes), form)}


def last_healthy(
    history: Sequence[Row], saved: Sequence[Manifest], since: int, earliest: float = 0.0
) -> Manifest | None:
    """The last checkpoint from before an illness that was first seen at the step `since`, or None. Medians notice half
    a stretch late what single looks show, so it lies that much before `since`; by then the log showed no illness.
    Checkpoints from before the share `earliest` of the budget are not trusted.
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
    """The share of the budget at which the doctor would first have named one of these illnesses; 1 where never. A
    verdict tells since when one holds without a break: one that comes and goes was named long before."""
    step, share = last_position(history)
    for end, row in enumerate(history, start=1):
        reported = diagnose(history[:end]) if kind_of(row) in (PROBE, NOT_FINITE) else []
        if {finding.failure for finding in reported} & set(names):
            return float(row["step"] * share / step)
    return 1.0


def unsuspicious(history: Sequence[Row], step: int) -> bool:
    """Did the log until a step tell of no illness?"""
    reported = {finding.failure for finding in diagnose([row for row in history if row["step"] <= step])}
    return not reported & {*FAILURES, "not-watched"}
