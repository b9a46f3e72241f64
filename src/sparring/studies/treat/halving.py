"""Successive halving: which fixes to try, for how long, and their results so far (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from sparring.assemble.start import share_spent
from sparring.base.errors import UserError
from sparring.base.files import write_atomically
from sparring.doctor.diagnosis.candidates import Candidate, candidates, first_named, last_healthy
from sparring.doctor.diagnosis.findings import Finding
from sparring.doctor.diagnosis.signs import EARLIEST
from sparring.recipe import Recipe
from sparring.run.checkpoint import manifests
from sparring.run.directory import Run
from sparring.studies.treat.trials import Trial, TrialScorer, TrialSetup

MARGIN = 0.05  # share of the budget that a trial from step 0 trains past the point where the failure was first reported
STAGES = 3  # at most; each trains twice as long as the one before, with fewer fixes; the last has WHOLE
WHOLE = 2  # at most so many trials are trained to the end; the second only if the first fails there

Plain = TypeVar("Plain", dict[str, Any], list[Any])


@dataclass(frozen=True)
class Plan:
    """The trials for a failing run.

    Attributes:
        run: the failing run.
        diagnosed: its failures, causes first.
        healthy: the step of the healthy checkpoint that trials start from; 0: none, all start from step 0.
        since: the share of the budget at which one of the failures was first reported.
        candidates: the fixes to try, in the doctor's order.
        share: as in `treat`.
        seed: as in `treat`.
    """

    run: Run
    diagnosed: tuple[str, ...]
    healthy: int
    since: float
    candidates: tuple[Candidate, ...]
    share: float
    seed: int

    @property
    def stages(self) -> list[tuple[int, float]]:
        """For each stage: the number of trials, and the share of the budget that each has trained at its end."""
        count = len(self.candidates)
        stages = min(STAGES, max(1, math.ceil(math.log2(count))))
        last = self.share if self.healthy else max(self.share, min(1.0, self.since + MARGIN))
        fewer = (WHOLE / count) ** (1 / max(1, stages - 1))
        return [(min(count, round(count * fewer**i)), last / 2 ** (stages - 1 - i)) for i in range(stages)]

    @property
    def recipe(self) -> Recipe:
        """The failing run's recipe with `doctor="watch"`; each trial changes some of its fields."""
        return self.run.read_recipe().replace(doctor="watch")

    def to_json(self) -> dict[str, Any]:
        """The plan as plain values, to recognise a repeated command."""
        return {
            "run": str(self.run.path.resolve()),
            "diagnosed": list(self.diagnosed),
            "healthy": self.healthy,
            "share": self.share,
            "seed": self.seed,
            "recipe": self.recipe.to_toml(),
            "candidates": [vars(candidate) for candidate in self.candidates],
        }


def make_plan(failing: Run, found: Sequence[Finding], trials: int, share: float, seed: int) -> Plan:
    """Plan the trials for a run with these failures.

    Trials start from the last healthy checkpoint. It must leave enough of the budget for a trial, and must be late
    enough for the doctor to know that the run was healthy; starting from step 0 costs little more than an earlier one.
    """
    recipe = failing.read_recipe()
    saved = [m for m in manifests(failing.checkpoints) if share_spent(recipe, m.step, m.clock) <= 1 - share]
    history, diagnosed = failing.history(), tuple(dict.fromkeys(finding.failure for finding in found))
    healthy = last_healthy(history, saved, min(finding.since_step for finding in found), EARLIEST)
    start = 0 if healthy is None else healthy.step
    chosen = candidates(found, recipe, failing.read_data()[1], start, trials)
    return Plan(failing, diagnosed, start, first_named(history, diagnosed), tuple(chosen), share, seed)


class SuccessiveHalving:
    """Runs the trials of a plan; `trials` holds their results so far, best first.

    Results are saved after each stage, so an interrupted treatment resumes.
    """

    def __init__(self, plan: Plan, trials_file: Path, setup: TrialSetup, scorer: TrialScorer, jobs: int) -> None:
        self.plan, self.trials_file, self.setup, self.scorer, self.jobs = plan, trials_file, setup, scorer, jobs
        self.trials = _read_trials(trials_file) if trials_file.exists() else []

    def run(self, say: Callable[[str], None]) -> None:
        """Run all stages, then train the best trial to the end; if it fails there, also the next best."""
        say(f"{self.plan.run.path}: {', '.join(self.plan.diagnosed)}; trying fixes from {where(self.plan.healthy)}")
        for count, share in self.plan.stages:
            if not any(trial.share >= share for trial in self.trials):
                names = self.best(count)
                say(f"{len(names)} trials, each for {share:.1%} of the budget")
                self.train(names, share)
        for trial in self.trials:
            remaining = ", ".join(trial.remaining) or "no failure"
            say(f"  {shown(trial.score):>9}  {remaining:20}  {trial.about}{ended(trial)}")
        while True:
            whole = [trial for trial in self.trials if trial.share >= 1]
            left = [trial for trial in self.trials if trial.share < 1 and trial.score is not None]
            if not left or len(whole) >= WHOLE or any(t.score is not None and not t.remaining for t in whole):
                return
            say(f"Training to the end: {left[0].about}")
            self.train([left[0].name], 1.0)

    def best(self, count: int) -> list[str]:
        """The names of the `count` best trials; before the first stage, of all candidates."""
        if not self.trials:
            return [candidate.name for candidate in self.plan.candidates]
        return [trial.name for trial in self.trials if trial.score is not None][:count]

    def train(self, names: Sequence[str], share: float) -> None:
        """Train these candidates to a share of the budget, score and rank them, and save the results."""
        chosen = [candidate for candidate in self.plan.candidates if candidate.name in names]
        if not chosen:
            return
        errors = self.setup.train_all(chosen, share, self.jobs if len(chosen) > 1 else 1)
        scored = [self.scorer.trial(c, self.setup.folder / c.name, share, error) for c, error in zip(chosen, errors)]
        others = [trial for trial in self.trials if trial.name not in {new.name for new in scored}]
        self.trials = sorted([*scored, *others], key=lambda trial: trial.rank(self.plan.diagnosed))
        write_json(self.trials_file, [trial.to_json() for trial in self.trials])

    def why(self) -> str:
        """Why the first trial is the best, in words."""
        whole = sum(trial.share >= 1 and trial.score is not None for trial in self.trials)
        if whole > 1:
            return f"it had the lowest score of {whole} that were trained to the end"
        return "it was the best trial"


def where(step: int) -> str:
    """Where trials start, in words."""
    return f"the healthy checkpoint at step {step:,}" if step else "step 0"


def shown(score: float | None) -> str:
    """A score in four digits."""
    return "-" if score is None else f"{score:.4g}"


def ended(trial: Trial) -> str:
    """Why a trial ended early, in brackets; "" if it did not."""
    return f" (ended: {trial.ended})" if trial.ended else ""


def read_json(path: Path, kind: type[Plain]) -> Plain:
    """Read a JSON file of a treatment.

    Raises:
        UserError: it is damaged, or holds another type.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(found, kind):
        raise _damaged(path, f"it is not a {kind.__name__}")
    return found


def _read_trials(path: Path) -> list[Trial]:
    try:
        return [Trial(**{**row, "remaining": tuple(row["remaining"])}) for row in read_json(path, list)]
    except (TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged ({why}); remove {path.parent}, or choose another --out")


def write_json(path: Path, plain: Any) -> None:
    """Write plain values as JSON, atomically."""
    write_atomically(path, (json.dumps(plain, indent=1) + "\n").encode(), f"make room in {path.parent}")
