"""The report of `sparring doctor`: text, JSON and curves."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sparring.base.errors import writing
from sparring.doctor.diagnosis.findings import Finding, diagnose
from sparring.doctor.diagnosis.fixes import FIXES, fixes_for
from sparring.doctor.diagnosis.rules import FAILURES
from sparring.doctor.diagnosis.signs import metrics_of, probes_of
from sparring.run.directory import Run

FixesFor = Callable[[Finding], list[tuple[str, str]]]  # of a finding: what each fix does, and its command or ""


def examine(path: Path) -> list[Finding]:
    """The findings on a run, from its log alone; see `diagnose`. UserError: no such run, or a damaged log."""
    return diagnose(Run.open(path).history())


def is_failure(finding: Finding) -> bool:
    """The finding is a failure: not `healthy`, `slow`, `too-early`, `not-watched` or `no-sign`."""
    return finding.failure in FAILURES


def has_failures(findings: Sequence[Finding]) -> bool:
    """At least one finding is a failure."""
    return any(is_failure(finding) for finding in findings)


def general(finding: Finding) -> list[tuple[str, str]]:
    """The fixes for a finding where no recipe is known, best first: (what it does, "")."""
    return [(about, "") for about, _ in FIXES.get(finding.failure, ())]


def commands(run: Run, finding: Finding) -> list[tuple[str, str]]:
    """The fixes for a finding in this run, best first: (what it does, the command)."""
    _, form = run.read_data()
    fixes = fixes_for(finding.failure, run.read_recipe(), form)
    return [(fix.about, fix.command(run.path)) for fix in fixes]


def as_json(run: Run, findings: Sequence[Finding]) -> dict[str, Any]:
    """`{"healthy": ..., "findings": [...]}`, each finding with its fixes."""
    reported = plain(findings, lambda finding: commands(run, finding))
    return {"healthy": any(finding.failure == "healthy" for finding in findings), "findings": reported}


def plain(findings: Sequence[Finding], fixes_of: FixesFor = general) -> list[dict[str, Any]]:
    """The findings as plain values, each with its fixes."""
    found = []
    for finding in findings:
        fixes = [{"about": about, "command": command or None} for about, command in fixes_of(finding)]
        found.append({**finding.to_json(), "fixes": fixes})
    return found


def lines(run: Run, findings: Sequence[Finding]) -> list[str]:
    """The report of a run, with fixes as commands."""
    found = words(str(run.path), findings, lambda finding: commands(run, finding))
    command = f"sparring treat {run.path}{run.read_recipe().trust}"
    tried = f"to try these fixes in short trainings and train the best one to the end: {command}"
    return [*found, tried] if has_failures(findings) else found


def words(name: str, findings: Sequence[Finding], fixes_of: FixesFor = general) -> list[str]:
    """The report of a training with this name: findings, each with its evidence, reason and fixes."""
    found = []
    for finding in findings:
        if not is_failure(finding):
            found.append(f"{name}: {finding.named}{f' ({finding.why})' if finding.why else ''}")
        else:
            confidence = f"confidence {finding.confidence:.0%}"
            found.append(f"{name}: {finding.named} since step {finding.since_step:,}, {confidence}")
            found += [f"  caused by: {finding.caused_by}"] if finding.caused_by else []
            found += [f"  why: {finding.why}"]
        found += ["  evidence:"] if finding.evidence else []
        for each in finding.evidence:
            value = "" if math.isnan(each.value) else f" {each.value:.3g}"
            found.append(f"    {each.name}{value} (normal: {each.normal}): {each.means}")
        fixes = fixes_of(finding)
        found += ["  suggested fixes, best first:"] if fixes else []
        for about, command in fixes:
            found += [f"    {about}:", f"      {command}"] if command else [f"    {about}"]
    return found


def draw(run: Run, findings: Sequence[Finding]) -> Path | None:
    """Draw the metrics of the evidence over the steps into `doctor.png`.

    Returns:
        The path of the picture; None where no finding has a metric to draw.
    """
    from matplotlib.figure import Figure

    probes = [(row["step"], metrics_of(row)) for row in probes_of(run.history())]
    drawn = [(v, e) for v in findings for e in v.evidence if any(e.name in found for _, found in probes)]
    if not drawn:
        return None
    figure = Figure(figsize=(8, 2.2 * len(drawn)), layout="constrained")
    for axes, (finding, evidence) in zip(figure.subplots(len(drawn), 1, squeeze=False)[:, 0], drawn):
        values = [(step, found[evidence.name]) for step, found in probes if evidence.name in found]
        axes.plot(*zip(*values), lw=1)
        axes.axvline(finding.since_step, color="tab:red", ls="--", lw=1)
        axes.set(title=f"{finding.named}: {evidence.name} (normal: {evidence.normal})", xlabel="step")
    path = run.path / "doctor.png"
    with writing(path, run.fix):
        figure.savefig(path, dpi=100)
    return path
