"""What `sparring doctor` says and draws of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparring.base.errors import writing
from sparring.doctor.diagnosis.remedies import REMEDIES, remedies_for
from sparring.doctor.diagnosis.rules import ILLNESSES
from sparring.doctor.diagnosis.signs import looks_of, numbers_of
from sparring.doctor.diagnosis.verdicts import Verdict, diagnose
from sparring.run.directory import Run

Helping = Callable[[Verdict], list[tuple[str, str]]]  # the remedies against an illness: what to do, and a command or ""


def examine(path: Path) -> list[Verdict]:
    """The verdicts on a run, from its log alone; see `diagnose`. UserError: no such run, or a damaged log."""
    return diagnose(Run.open(path).history())


def is_illness(verdict: Verdict) -> bool:
    """Does it name an illness, and not `healthy` or that nothing can be said?"""
    return verdict.illness in ILLNESSES


def is_ill(verdicts: Sequence[Verdict]) -> bool:
    """Is one of the verdicts an illness?"""
    return any(is_illness(verdict) for verdict in verdicts)


def general(verdict: Verdict) -> list[tuple[str, str]]:
    """What helps against the illness where no recipe is known, best first: (what to do, no command)."""
    return [(about, "") for about, _ in REMEDIES.get(verdict.illness, ())]


def commands(run: Run, verdict: Verdict) -> list[tuple[str, str]]:
    """What helps against the illness in this run, best first: (what it does, the command)."""
    _, form = run.read_data()
    remedies = remedies_for(verdict.illness, run.read_recipe(), form)
    return [(remedy.about, remedy.command(run.path)) for remedy in remedies]


def as_json(run: Run, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """`{"healthy": ..., "verdicts": [...]}`, each verdict with its remedies."""
    told = plain(verdicts, lambda verdict: commands(run, verdict))
    return {"healthy": any(verdict.illness == "healthy" for verdict in verdicts), "verdicts": told}


def plain(verdicts: Sequence[Verdict], helping: Helping = general) -> list[dict[str, Any]]:
    """The verdicts as plain values, each with its remedies."""
    found = []
    for verdict in verdicts:
        remedies = [{"about": about, "command": command or None} for about, command in helping(verdict)]
        found.append({**verdict.to_json(), "remedies": remedies})
    return found


def lines(run: Run, verdicts: Sequence[Verdict]) -> list[str]:
    """The verdicts on a run in words, with remedies as commands."""
    found = words(str(run.path), verdicts, lambda verdict: commands(run, verdict))
    tried = f"to try what helps in short trainings, and train the best to the end: sparring treat {run.path}"
    return [*found, tried] if is_ill(verdicts) else found


def words(name: str, verdicts: Sequence[Verdict], helping: Helping = general) -> list[str]:
    """The verdicts on what has a name, in words, with remedies."""
    found = []
    for verdict in verdicts:
        if not is_illness(verdict):
            found.append(f"{name}: {verdict.named}{f' ({verdict.why})' if verdict.why else ''}")
        else:
            found.append(f"{name}: {verdict.named} since step {verdict.since_step:,}, sure {verdict.sure:.0%}")
            found += [f"  follows from {verdict.follows}"] if verdict.follows else []
            found += [f"  why: {verdict.why}"]
        for each in verdict.evidence:
            value = "" if math.isnan(each.value) else f" {each.value:.3g}"
            found.append(f"  {each.name}{value} (normal: {each.normal}): {each.means}")
        remedies = helping(verdict)
        found += ["  what helps, best first:"] if remedies else []
        for about, command in remedies:
            found += [f"    {about}:", f"      {command}"] if command else [f"    {about}"]
    return found


def draw(run: Run, verdicts: Sequence[Verdict]) -> Path | None:
    """Draw the numbers that speak against a run over its steps, into `doctor.png`, whose path is returned; None if
    there are none."""
    from matplotlib.figure import Figure

    looks = [(row["step"], numbers_of(row)) for row in looks_of(run.history())]
    numbers = [(v, e) for v in verdicts for e in v.evidence if any(e.name in found for _, found in looks)]
    if not numbers:
        return None
    figure = Figure(figsize=(8, 2.2 * len(numbers)), layout="constrained")
    for axes, (verdict, evidence) in zip(figure.subplots(len(numbers), 1, squeeze=False)[:, 0], numbers):
        values = [(step, found[evidence.name]) for step, found in looks if evidence.name in found]
        axes.plot(*zip(*values), lw=1)
        axes.axvline(verdict.since_step, color="tab:red", ls="--", lw=1)
        axes.set(title=f"{verdict.named}: {evidence.name} (normal: {evidence.normal})", xlabel="step")
    path = run.path / "doctor.png"
    with writing(path, run.mend):
        figure.savefig(path, dpi=100)
    return path
