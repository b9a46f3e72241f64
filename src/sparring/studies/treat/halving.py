"""The course of a treatment: what is to be tried, for how long, and what is known of it so far."""

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

MARGIN = 0.05  # of the budget, by which trials that begin anew go beyond the moment at which an illness was named
STAGES = 3  # of trials, each twice as long as the one before, and with fewer remedies; two are left in the last one
WHOLE = 2  # trials that are trained to the end at most: the second one where the first is ill there

Plain = TypeVar("Plain", dict[str, Any], list[Any])


@dataclass(frozen=True)
class Plan:
    """What is to be tried on a sick run; `share` and `seed` as in `treat`.

    Attributes:
        ailed: its illnesses, causes first.
        healthy: the step of the checkpoint that is gone back to; 0: none, all begin anew.
        since: the share of the budget at which one of the illnesses was first named.
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
        """For each stage: how many trials, and the share of the budget that they have trained by its end."""
        count = len(self.candidates)
        stages = min(STAGES, max(1, math.ceil(math.log2(count))))
        last = self.share if self.healthy else max(self.share, min(1.0, self.since + MARGIN))
        fewer = (WHOLE / count) ** (1 / max(1, stages - 1))
        return [(min(count, round(count * fewer**i)), last / 2 ** (stages - 1 - i)) for i in range(stages)]

    @property
    def recipe(self) -> Recipe:
        """The sick run's recipe, with the doctor watching: what trials change."""
        return self.run.read_recipe().replace(doctor="watch")

    def to_json(self) -> dict[str, Any]:
        """As plain values, so that the same command is known to be the same."""
        found = [vars(candidate) for candidate in self.candidates]
        reported = {"run": str(self.run.path.resolve()), "diagnosed": list(self.diagnosed), "healthy": self.healthy}
        return {
            **reported,
            "share": self.share,
            "seed": self.seed,
            "recipe": self.recipe.to_toml(),
            "candidates": found,
        }


def make_plan(failing: Run, found: Sequence[Finding], trials: int, share: float, seed: int) -> Plan:
    """What to try on a run with these illnesses. Only a checkpoint that leaves room for a trial is gone back to, and
    only one of which it could be said that it is healthy: to begin anew costs little more then."""
    recipe = failing.read_recipe()
    saved = [m for m in manifests(failing.checkpoints) if share_spent(recipe, m.step, m.seconds) <= 1 - share]
    history, diagnosed = failing.history(), tuple(dict.fromkeys(finding.failure for finding in found))
    healthy = last_healthy(history, saved, min(finding.since_step for finding in found), EARLIEST)
    start = 0 if healthy is None else healthy.step
    chosen = candidates(found, recipe, failing.read_data()[1], start, trials)
    return Plan(failing, diagnosed, start, first_named(history, diagnosed), tuple(chosen), share, seed)


class SuccessiveHalving:
    """A treatment under way. What is known after each stage is written to the file `told`, for later stages replace its
    scores; `found` is how the candidates did so far, best first."""

    def __init__(self, plan: Plan, reported: Path, setup: TrialSetup, judge: TrialScorer, jobs: int) -> None:
        self.plan, self.reported, self.setup, self.judge, self.jobs = plan, reported, setup, judge, jobs
        self.found = _read_trials(reported) if reported.exists() else []

    def carry_out(self, say: Callable[[str], None]) -> None:
        """Try in stages, then train the best to the end; if it is ill then, the next one, too."""
        say(f"{self.plan.run.path}: {', '.join(self.plan.diagnosed)}; fixes are tried from {where(self.plan.healthy)}")
        for count, share in self.plan.stages:
            if not any(trial.share >= share for trial in self.found):
                names = self.best(count)
                say(f"{len(names)} trials, each for {share:.1%} of the budget")
                self.go_on(names, share)
        for trial in self.found:
            remaining = ", ".join(trial.remaining) or "no failure"
            say(f"  {shown(trial.score):>9}  {remaining:20}  {trial.about}{ended(trial)}")
        while True:
            whole = [trial for trial in self.found if trial.share >= 1]
            left = [trial for trial in self.found if trial.share < 1 and trial.score is not None]
            if not left or len(whole) >= WHOLE or any(t.score is not None and not t.remaining for t in whole):
                return
            say(f"Going on with: {left[0].about}")
            self.go_on([left[0].name], 1.0)

    def best(self, count: int) -> list[str]:
        """The names of the best so many; of all, before the first stage."""
        if not self.found:
            return [candidate.name for candidate in self.plan.candidates]
        return [trial.name for trial in self.found if trial.score is not None][:count]

    def go_on(self, names: Sequence[str], share: float) -> None:
        """Train candidates until they have trained a share of the budget, and judge them."""
        left = [candidate for candidate in self.plan.candidates if candidate.name in names]
        if not left:
            return
        why_not = self.setup.carry_out_all(left, share, self.jobs if len(left) > 1 else 1)
        judged = [self.judge.trial(c, self.setup.folder / c.name, share, why) for c, why in zip(left, why_not)]
        others = [trial for trial in self.found if trial.name not in {new.name for new in judged}]
        self.found = sorted([*judged, *others], key=lambda trial: trial.rank(self.plan.diagnosed))
        write_json(self.reported, [trial.to_json() for trial in self.found])

    def why(self) -> str:
        """Why the first of the trials is the best, in words."""
        whole = sum(trial.share >= 1 and trial.score is not None for trial in self.found)
        if whole > 1:
            return f"it had the lowest score of {whole} that were trained to the end"
        return "of the trials it was the best"


def where(step: int) -> str:
    """From where trials begin, in words."""
    return f"the healthy checkpoint of step {step:,}" if step else "the start"


def shown(score: float | None) -> str:
    """A score in four digits."""
    return "-" if score is None else f"{score:.4g}"


def ended(trial: Trial) -> str:
    """Why a trial ended early, in brackets, if it did."""
    return f" (ended: {trial.ended})" if trial.ended else ""


def read_json(path: Path, kind: type[Plain]) -> Plain:
    """What a treatment wrote. UserError: it is something else."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(found, kind):
        raise _damaged(path, f"it is no {kind.__name__}")
    return found


def _read_trials(path: Path) -> list[Trial]:
    try:
        return [Trial(**{**row, "remaining": tuple(row["remaining"])}) for row in read_json(path, list)]
    except (TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> UserError:
    return UserError(f"{path} is damaged ({why}); remove {path.parent}, or choose another --out")


def write_json(path: Path, plain: Any) -> None:
    """Write plain values down."""
    write_atomically(path, (json.dumps(plain, indent=1) + "\n").encode(), f"make room in {path.parent}")
