"""Treats a sick run: tries remedies in short trainings, scores them independently of the doctor, trains the best."""

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
    """What came of treating a run.

    Attributes:
        ailed: the sick run's illnesses, causes first; empty where it was not ill, and nothing was done.
        healthy: the step of the checkpoint that was gone back to; 0: none, all began anew.
        measured: the score's name and what it compares.
        untreated: the sick run's score; None if it ended in NaN.
        trials: how the candidates did, best first.
        chosen: the name of the one that was gone on with; "" if none could be.
        why: why that one; of a run that was not ill what the doctor says of it.
        path: the chosen one's run directory, trained to the whole budget; None where nothing was done.
        score: its score at the end; None where there is none.
        ill: what ails it at the end.
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
        """Is the run that it ended with free of illness?"""
        return not self.diagnosed or (self.score is not None and not self.remaining)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {**vars(self), "cured": self.fixed, "trials": [trial.to_json() for trial in self.trials]}


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
    """Try remedies on a sick run, and train the best to the end of the budget; a run that is not ill is left alone.

    A treatment that was stopped goes on: the folder holds what is done. Trials are ranked by whether the doctor still
    names the illness, then by the score, and shortened by successive halving (Jamieson and Talwalkar 2016).

    Args:
        run: the sick run's directory; nothing is changed in it.
        out: the folder for all of it; the default is the sick run's name with `-treated`.
        trials: how many remedies to try.
        share: of the budget that the last two are trained for at least, in (0, 1].
        seed: of the samples that are judged.
        jobs: trials at a time, each in its own process with its share of the threads.
        trust: may component texts import the user's own code?
        say: what tells how it goes.

    Raises:
        UserError: the run was not watched or is still being trained, nothing is known to help, or the folder holds
            another treatment.
        Interrupted: by Ctrl-C, after a checkpoint.
    """
    check_number("treat", "trials", trials, low=1, whole=True)
    check_number("treat", "share", share, low=0, open_low=True, high=1)
    check_number("treat", "seed", seed, low=0, whole=True)
    check_number("treat", "jobs", jobs, low=1, whole=True)
    failing = Run.open(Path(run))
    folder = Path(out) if out else failing.path.with_name(f"{failing.path.name}-treated")
    with failing.locked() if os.access(failing.path, os.W_OK) else nullcontext():  # nobody trains it on meanwhile
        findings = diagnose(failing.history())
        check_watched(failing.path, [finding.failure for finding in findings])
        found = failures(findings)
        if not found:
            return Treatment(str(failing.path), (), why=", ".join(finding.failure for finding in findings))
        check_free(folder, failing.path)
        plan = make_plan(failing, found, trials, share, seed)
        with writing(folder, "choose another --out"):
            folder.mkdir(parents=True, exist_ok=True)
        taken = f"{folder} is being worked at by another process; wait for it"
        with trusted(trust), locked(folder / "lock", taken, "choose another --out"):
            check_same(folder / "plan.json", plan.to_json())
            setup = TrialSetup(failing.path, plan.recipe, folder / "trials", trust)
            halving = SuccessiveHalving(plan, folder / "trials.json", setup, TrialScorer(plan.recipe, seed), jobs)
            halving.carry_out(say)
            done = _concluded(halving, folder / "run")
            write(folder, done)
    return done


def _concluded(halving: SuccessiveHalving, path: Path) -> Treatment:
    """What came of it, with the best trial in the place of the treated run, if it was trained to the end."""
    plan, judge, best = halving.plan, halving.judge, halving.found[0]
    reported = (str(plan.run.path), plan.diagnosed, plan.healthy, judge.about, judge.of_others(plan.run.path))
    if best.score is None or best.share < 1:
        why = "what was tried ended in NaN or infinity, or could not be trained"
        return Treatment(*reported, tuple(halving.found), why=why)
    if not path.exists():
        (halving.setup.folder / best.name).rename(path)
    _summarize(Run.open(path))
    return Treatment(*reported, tuple(halving.found), best.name, halving.why(), str(path), best.score, best.remaining)


def _summarize(run: Run) -> None:
    """Write the summary again: its commands name the folder that the run is in now."""
    recipe, manifest = run.read_recipe(), find_checkpoint(run)
    data = training_data(recipe)
    task = build_task(recipe, data.form)
    write_summary(run, data, build_loss(recipe), task, manifest.step, manifest.seconds)


def check_free(folder: Path, failing: Path) -> None:
    """Raise UserError unless the folder is for a treatment: a new one, an empty one, or one that holds one already."""
    own = {folder.resolve(), (folder / "run").resolve()}
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    begun = "plan.json" in names or not {name for name in names if not name.startswith(("lock", "plan.json"))}
    foreign = folder.exists() and not (folder.is_dir() and begun)
    if foreign or failing.resolve() in own:
        raise UserError(f"{folder} holds something else than a treatment of {failing}; choose another --out")


def check_same(path: Path, plan: dict[str, Any]) -> None:
    """Write a treatment's plan down, or raise UserError if the folder holds another one."""
    if not path.exists():
        write_json(path, plan)
    before = read_json(path, dict)
    for name, value in json.loads(json.dumps(plan)).items():
        if before.get(name) != value:
            why = f"{name} is not the same"
            raise UserError(f"{path.parent} holds another treatment ({why}); remove it, or choose another --out")


def write(folder: Path, done: Treatment) -> None:
    """Write `treatment.json` and `treatment.md`."""
    write_json(folder / "treatment.json", done.to_json())
    write_atomically(folder / "treatment.md", ("\n".join(report(done)) + "\n").encode(), f"make room in {folder}")


def report(done: Treatment) -> list[str]:
    """What was tried and what came of it, as Markdown."""
    lines = [
        f"# {done.run}: {', '.join(done.diagnosed)}",
        "",
        f"Each trial was the beginning of a whole run, from {where(done.healthy)} where it could be; the better half "
        f"was trained on. Score: {done.measured}. The sick run: {shown(done.untreated)}.",
        "",
        "| trained for | score | the doctor says | until step | from step | trial | changes |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for trial in done.trials:
        changes = ", ".join(f"`{name} = {value!r}`" for name, value in trial.changes.items()) or "none"
        reported = f"{', '.join(trial.remaining) or 'not remaining'}{ended(trial)}".replace("|", "\\|")
        steps = f"{trial.step:,} | {trial.start:,}"
        lines.append(f"| {trial.share:.1%} | {shown(trial.score)} | {reported} | {steps} | {trial.about} | {changes} |")
    return [*lines, "", *conclusion(done)]


def conclusion(done: Treatment) -> list[str]:
    """What came of it, in words."""
    if not done.diagnosed:
        return [f"{done.run} is not ill ({done.why}); nothing was done."]
    if done.path is None:
        return [f"Not cured: {done.why}."]
    about = next(trial.about for trial in done.trials if trial.name == done.chosen)
    before = "ended in NaN or infinity" if done.untreated is None else f"has {done.untreated:.4g}"
    finding = f"STILL ILL: {', '.join(done.remaining)}" if done.remaining else "not ill"
    treated = f"The treated run is {done.path}; trained to the end of the budget, it is {finding}"
    return [
        f"Chosen: {about}; {done.why}.",
        f"{treated}; its score is {shown(done.score)}, the sick run {before}.",
    ]
