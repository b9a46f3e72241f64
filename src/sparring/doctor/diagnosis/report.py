"""What `sparring doctor` says and draws of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparring.base.errors import writing
from sparring.doctor.diagnosis.findings import Finding, diagnose
from sparring.doctor.diagnosis.fixes import FIXES, fixes_for
from sparring.doctor.diagnosis.rules import FAILURES
from sparring.doctor.diagnosis.signs import numbers_of, probes_of
from sparring.run.directory import Run

Helping = Callable[[Finding], list[tuple[str, str]]]  # the remedies against an illness: what to do, and a command or ""


def examine(path: Path) -> list[Finding]:
    """The verdicts on a run, from its log alone; see `diagnose`. UserError: no such run, or a damaged log."""
    return diagnose(Run.open(path).history())


def is_failure(finding: Finding) -> bool:
    """Does it name an illness, and not `healthy` or that nothing can be said?"""
    return finding.failure in FAILURES


def has_failures(findings: Sequence[Finding]) -> bool:
    """Is one of the verdicts an illness?"""
    return any(is_failure(finding) for finding in findings)


def general(finding: Finding) -> list[tuple[str, str]]:
    """What helps against the illness where no recipe is known, best first: (what to do, no command)."""
    return [(about, "") for about, _ in FIXES.get(finding.failure, ())]


def commands(run: Run, finding: Finding) -> list[tuple[str, str]]:
    """What helps against the illness in this run, best first: (what it does, the command)."""
    _, form = run.read_data()
    fixes = fixes_for(finding.failure, run.read_recipe(), form)
    return [(fix.about, fix.command(run.path)) for fix in fixes]


def as_json(run: Run, findings: Sequence[Finding]) -> dict[str, Any]:
    """`{"healthy": ..., "verdicts": [...]}`, each verdict with its remedies."""
    reported = plain(findings, lambda finding: commands(run, finding))
    return {"healthy": any(finding.failure == "healthy" for finding in findings), "findings": reported}


def plain(findings: Sequence[Finding], helping: Helping = general) -> list[dict[str, Any]]:
    """The verdicts as plain values, each with its remedies."""
    found = []
    for finding in findings:
        fixes = [{"about": about, "command": command or None} for about, command in helping(finding)]
        found.append({**finding.to_json(), "fixes": fixes})
    return found


def lines(run: Run, findings: Sequence[Finding]) -> list[str]:
    """The verdicts on a run in words, with remedies as commands."""
    found = words(str(run.path), findings, lambda finding: commands(run, finding))
    tried = f"to try what helps in short trainings, and train the best to the end: sparring treat {run.path}"
    return [*found, tried] if has_failures(findings) else found


def words(name: str, findings: Sequence[Finding], helping: Helping = general) -> list[str]:
    """The verdicts on what has a name, in words, with remedies."""
    found = []
    for finding in findings:
        if not is_failure(finding):
            found.append(f"{name}: {finding.named}{f' ({finding.why})' if finding.why else ''}")
        else:
            found.append(f"{name}: {finding.named} since step {finding.since_step:,}, sure {finding.confidence:.0%}")
            found += [f"  follows from {finding.caused_by}"] if finding.caused_by else []
            found += [f"  why: {finding.why}"]
        for each in finding.evidence:
            value = "" if math.isnan(each.value) else f" {each.value:.3g}"
            found.append(f"  {each.name}{value} (normal: {each.normal}): {each.means}")
        fixes = helping(finding)
        found += ["  what helps, best first:"] if fixes else []
        for about, command in fixes:
            found += [f"    {about}:", f"      {command}"] if command else [f"    {about}"]
    return found


def draw(run: Run, findings: Sequence[Finding]) -> Path | None:
    """Draw the numbers that speak against a run over its steps, into `doctor.png`, whose path is returned; None if
    there are none."""
    from matplotlib.figure import Figure

    probes = [(row["step"], numbers_of(row)) for row in probes_of(run.history())]
    numbers = [(v, e) for v in findings for e in v.evidence if any(e.name in found for _, found in probes)]
    if not numbers:
        return None
    figure = Figure(figsize=(8, 2.2 * len(numbers)), layout="constrained")
    for axes, (finding, evidence) in zip(figure.subplots(len(numbers), 1, squeeze=False)[:, 0], numbers):
        values = [(step, found[evidence.name]) for step, found in probes if evidence.name in found]
        axes.plot(*zip(*values), lw=1)
        axes.axvline(finding.since_step, color="tab:red", ls="--", lw=1)
        axes.set(title=f"{finding.named}: {evidence.name} (normal: {evidence.normal})", xlabel="step")
    path = run.path / "doctor.png"
    with writing(path, run.fix):
        figure.savefig(path, dpi=100)
    return path
