"""What could be tried against a run's illness, and from where: pure functions of its log, recipe and checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.base.errors import UserError
from sparring.data.form import Form
from sparring.doctor.diagnosis.remedies import IN_FLIGHT, Remedy, remedies_for
from sparring.doctor.diagnosis.rules import ILLNESSES
from sparring.doctor.diagnosis.signs import STRETCH, stands_at
from sparring.doctor.diagnosis.verdicts import Verdict, diagnose
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
    illness: str
    changes: Mapping[str, Any]
    start: int


def illnesses(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The illnesses among verdicts, causes before what follows from them."""
    return sorted((v for v in verdicts if v.illness in ILLNESSES), key=lambda verdict: bool(verdict.follows))


def candidates(found: Sequence[Verdict], recipe: Recipe, form: Form, start: int, most: int) -> list[Candidate]:
    """The best remedies for a sick run's recipe, at most so many; the recipe as it was is none of them. Those that can
    go on from the checkpoint of the step `start`, if there is one. UserError: there is no remedy."""
    chosen: list[Candidate] = []
    tried = {recipe}
    for illness, remedy in _ordered(found, recipe, form):
        changed = recipe.replace(**remedy.changes)
        if changed in tried or len(chosen) == most:
            continue
        tried.add(changed)
        begin = start if remedy.changes.keys() <= IN_FLIGHT else 0
        chosen.append(Candidate(f"{len(chosen) + 1}-{illness}", remedy.about, illness, dict(remedy.changes), begin))
    if not chosen:
        raise UserError(f"nothing is known to help against {found[0].illness} that this recipe does not have already")
    return chosen


def _ordered(found: Sequence[Verdict], recipe: Recipe, form: Form) -> Iterator[tuple[str, Remedy]]:
    """Remedies with what they are against: after the first two of the leading illness both together with the best that
    changes other fields, since the loss and the learning rate, say, may both be at fault."""
    leading, *others = found
    remedies = remedies_for(leading.illness, recipe, form)
    pairs = itertools.combinations(remedies, 2)
    both = next(((a, b) for a, b in pairs if _go_together(leading.illness, a, b, recipe, form)), None)
    together = [Remedy(f"{both[0].about}; and {both[1].about}", {**both[0].changes, **both[1].changes})] if both else []
    yield from ((leading.illness, remedy) for remedy in [*remedies[:2], *together, *remedies[2:]])
    for verdict in others:
        yield from ((verdict.illness, remedy) for remedy in remedies_for(verdict.illness, recipe, form))


def _go_together(illness: str, first: Remedy, second: Remedy, recipe: Recipe, form: Form) -> bool:
    """Do two remedies change different fields, and is the second one still right once the first one is taken?"""
    if first.changes.keys() & second.changes.keys():
        return False
    return second.about in {r.about for r in remedies_for(illness, recipe.replace(**first.changes), form)}


def last_healthy(
    history: Sequence[Row], saved: Sequence[Manifest], since: int, earliest: float = 0.0
) -> Manifest | None:
    """The last checkpoint from before an illness that was first seen at the step `since`, or None. Medians notice half
    a stretch late what single looks show, so it lies that much before `since`; by then the log showed no illness.
    Checkpoints from before the share `earliest` of the budget are not trusted.
    """
    step, share = stands_at(history)
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
    step, share = stands_at(history)
    for end, row in enumerate(history, start=1):
        told = diagnose(history[:end]) if kind_of(row) in (PROBE, NOT_FINITE) else []
        if {verdict.illness for verdict in told} & set(names):
            return float(row["step"] * share / step)
    return 1.0


def unsuspicious(history: Sequence[Row], step: int) -> bool:
    """Did the log until a step tell of no illness?"""
    told = {verdict.illness for verdict in diagnose([row for row in history if row["step"] <= step])}
    return not told & {*ILLNESSES, "not-watched"}
