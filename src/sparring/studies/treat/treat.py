"""Treat a failing run: try fixes in short trainings (successive halving), train the best to the end."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparring.assemble.build import build_loss, build_task, training_data
from sparring.assemble.state import find_checkpoint
from sparring.base.components import trusted
from sparring.base.errors import UserError, check_number, writing
from sparring.base.files import write_atomically
from sparring.base.process import locked
from sparring.doctor.diagnosis.candidates import failures
from sparring.doctor.diagnosis.findings import diagnose
from sparring.run.directory import Run
from sparring.studies.treat.halving import SuccessiveHalving, ended, make_plan, read_json, shown, where, write_json
from sparring.studies.treat.trials import Trial, TrialScorer, TrialSetup, check_watched
from sparring.training.summary import write_summary

TRIALS, SHARE, SEED = 6, 0.25, 1


@dataclass(frozen=True)
class Treatment:
    """The result of a treatment.

    Attributes:
        run: the directory of the original run.
        diagnosed: its failures, causes first; empty if it had none, then nothing was done.
        healthy: the step of the checkpoint that trials started from; 0: from the start.
        measured: the score's name and what it compares.
        untreated: the score of the original run; None if it stopped on NaN.
        trials: the results of the trials, best first.
        chosen: the name of the trial that was chosen; "" if none.
        why: why it was chosen; for a run without failures, the doctor's findings.
        path: the run directory of the chosen trial, trained to the end of the budget; None if none was chosen.
        score: the score of that run; None if there is none.
        remaining: the failures of that run.
    """

    run: str
    diagnosed: tuple[str, ...]
    healthy: int = 0
    measured: str = ""
    untreated: float | None = None
    trials: tuple[Trial, ...] = ()
    chosen: str = ""
    why: str = ""
    path: str | None = None
    score: float | None = None
    remaining: tuple[str, ...] = ()

    @property
    def fixed(self) -> bool:
        """The final run has no failure: the chosen one or, if nothing was diagnosed, the original one."""
        return not self.diagnosed or (self.score is not None and not self.remaining)

    def to_json(self) -> dict[str, Any]:
        """The result as plain values, with `fixed`."""
        return {**vars(self), "fixed": self.fixed, "trials": [trial.to_json() for trial in self.trials]}


def treat(
    run: str | Path,
    *,
    out: str | Path | None = None,
    trials: int = TRIALS,
    share: float = SHARE,
    seed: int = SEED,
    jobs: int = 1,
    trust: bool = False,
    say: Callable[[str], None] = print,
) -> Treatment:
    """Try fixes for a failing run in short trainings, and train the best to the end of the budget.

    Trials are ranked by the failures that the doctor still reports, then by a score that the doctor does not see, and
    eliminated by successive halving (Jamieson and Talwalkar 2016). A run without failures is left alone. An interrupted
    treatment resumes when it is called again.

    Args:
        run: directory of the failing run; nothing in it is changed.
        out: folder of the treatment; default: the run's name with `-treated`.
        trials: number of fixes to try.
        share: share of the budget that the last two trials train for at least, in (0, 1].
        seed: seed of the scored samples.
        jobs: trials at a time, each in its own process with its share of the cores.
        trust: allow component texts to import the user's own code.
        say: called with each line of progress.

    Returns:
        The result, also written to `treatment.json` and `treatment.md` in the folder.

    Raises:
        UserError: the run was not watched or is still training, no fix is known, or the folder holds another treatment.
        Interrupted: Ctrl-C; the trial in progress has a checkpoint.
    """
    check_number("treat", "trials", trials, low=1, whole=True)
    check_number("treat", "share", share, low=0, open_low=True, high=1)
    check_number("treat", "seed", seed, low=0, whole=True)
    check_number("treat", "jobs", jobs, low=1, whole=True)
    failing = Run.open(Path(run))
    folder = Path(out) if out else failing.path.with_name(f"{failing.path.name}-treated")
    with failing.locked() if os.access(failing.path, os.W_OK) else nullcontext():  # nobody trains it meanwhile
        findings = diagnose(failing.history())
        check_watched(failing.path, [finding.failure for finding in findings])
        found = failures(findings)
        if not found:
            return Treatment(str(failing.path), (), why=", ".join(finding.failure for finding in findings))
        if failing.read_recipe().trust and not trust:
            raise UserError(f"the recipe of {failing.path} runs code of your own; if you trust it, add --trust")
        check_free(folder, failing.path)
        plan = make_plan(failing, found, trials, share, seed)
        with writing(folder, "choose another --out"):
            folder.mkdir(parents=True, exist_ok=True)
        taken = f"another process works in {folder}; wait for it"
        with trusted(trust), locked(folder / "lock", taken, "choose another --out"):
            check_same(folder / "plan.json", plan.to_json())
            setup = TrialSetup(failing.path, plan.recipe, folder / "trials", trust)
            halving = SuccessiveHalving(plan, folder / "trials.json", setup, TrialScorer(plan.recipe, seed), jobs)
            halving.run(say)
            done = _result(halving, folder / "run")
            write(folder, done)
    return done


def _result(halving: SuccessiveHalving, path: Path) -> Treatment:
    """The result of the trials; the best one moves to `path` if it was trained to the end."""
    plan, scorer, best = halving.plan, halving.scorer, halving.trials[0]
    untreated = scorer.score_unchanged(plan.run.path)
    common = (str(plan.run.path), plan.diagnosed, plan.healthy, scorer.about, untreated, tuple(halving.trials))
    if best.score is None or best.share < 1:
        return Treatment(*common, why="all trials stopped on NaN or infinity, or could not be trained")
    if not path.exists():
        (halving.setup.folder / best.name).rename(path)
    _summarize(Run.open(path))
    return Treatment(*common, best.name, halving.why(), str(path), best.score, best.remaining)


def _summarize(run: Run) -> None:
    """Write the summary again, as its commands contain the path of the run."""
    recipe, manifest = run.read_recipe(), find_checkpoint(run)
    data = training_data(recipe)
    task = build_task(recipe, data.form)
    write_summary(run, data, build_loss(recipe), task, manifest.step, manifest.clock)


def check_free(folder: Path, failing: Path) -> None:
    """Raise UserError unless the folder is new, empty, or holds a treatment."""
    own = {folder.resolve(), (folder / "run").resolve()}
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    begun = "plan.json" in names or not {name for name in names if not name.startswith(("lock", "plan.json"))}
    foreign = folder.exists() and not (folder.is_dir() and begun)
    if foreign or failing.resolve() in own:
        raise UserError(f"{folder} holds other files than a treatment of {failing}; choose another --out")


def check_same(path: Path, plan: dict[str, Any]) -> None:
    """Write the treatment's plan; raise UserError if the folder holds another plan."""
    if not path.exists():
        write_json(path, plan)
    before = read_json(path, dict)
    for name, value in json.loads(json.dumps(plan)).items():
        if before.get(name) != value:
            raise UserError(
                f"{path.parent} holds another treatment ({name} differs); remove it, or choose another --out"
            )


def write(folder: Path, done: Treatment) -> None:
    """Write `treatment.json` and `treatment.md`."""
    write_json(folder / "treatment.json", done.to_json())
    write_atomically(folder / "treatment.md", ("\n".join(report(done)) + "\n").encode(), f"make room in {folder}")


def report(done: Treatment) -> list[str]:
    """The report of a treatment as lines of Markdown."""
    start = where(done.healthy) + (" if its fix allows that, else from step 0" if done.healthy else "")
    lines = [
        f"# {done.run}: {', '.join(done.diagnosed)}",
        "",
        *conclusion(done),
        "",
        f"Each trial trains with one fix from {start}; the better trials of each stage train on.",
        f"Score: {done.measured}. The original run: {shown(done.untreated)}.",
        "",
        "| fix | share of the budget | score | failures | from step | to step | changes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for trial in done.trials:
        changes = ", ".join(f"`{name} = {value!r}`" for name, value in trial.changes.items()) or "none"
        remaining = f"{', '.join(trial.remaining) or 'none'}{ended(trial)}".replace("|", "\\|")
        steps = f"{trial.start:,} | {trial.step:,}"
        lines.append(
            f"| {trial.about} | {trial.share:.1%} | {shown(trial.score)} | {remaining} | {steps} | {changes} |"
        )
    return lines


def conclusion(done: Treatment) -> list[str]:
    """The conclusion in a line or two."""
    if not done.diagnosed:
        return [f"No failure found in {done.run} ({done.why}); nothing was done."]
    if done.path is None:
        return [f"Not fixed: {done.why}."]
    about = next(trial.about for trial in done.trials if trial.name == done.chosen)
    before = "stopped on NaN or infinity" if done.untreated is None else f"has {done.untreated:.4g}"
    outcome = f"NOT FIXED ({', '.join(done.remaining)})" if done.remaining else "fixed, no failure found"
    return [
        f"Chosen: {about}; {done.why}.",
        f"The treated run is {done.path}: {outcome}. Its score is {shown(done.score)}, the original run {before}.",
    ]
