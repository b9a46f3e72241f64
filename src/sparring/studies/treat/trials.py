"""Trials: short trainings of candidate fixes. Each folder holds the state of its trial, so trials can resume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sparring.assemble.branch import begin_with, branch
from sparring.assemble.build import build_task, held_out_data, training_data
from sparring.assemble.start import share_spent, start_state
from sparring.assemble.state import State, find_checkpoint
from sparring.base.components import trusted
from sparring.base.cores import limit_cores, share_of
from sparring.base.device import find_device, prepared
from sparring.base.errors import UserError
from sparring.base.process import Interrupted
from sparring.doctor.diagnosis.candidates import Candidate
from sparring.doctor.diagnosis.findings import diagnose
from sparring.doctor.diagnosis.report import is_failure
from sparring.evaluation.evaluator import RunEvaluator, scoring_of
from sparring.evaluation.options import Options, better
from sparring.recipe import Recipe
from sparring.run import checkpoint
from sparring.run.directory import Run
from sparring.training.completion import clear_unsaved, finish

SAMPLES = 2000
HIDDEN = ("memorising",)  # failures that improve the score


@dataclass(frozen=True)
class Trial(Candidate):
    """The result of a candidate.

    Attributes:
        share: the share of the budget that it was trained for; 1: to the end.
        step: the last trained step.
        score: distance to held-out data, lower is better; None if it stopped on NaN or could not be trained.
        remaining: the failures that the doctor reports at its end.
        ended: why it ended early; "" if it did not.
    """

    share: float
    step: int
    score: float | None
    remaining: tuple[str, ...]
    ended: str = ""

    def rank(self, failures: Sequence[str]) -> tuple[bool, float, bool, float]:
        """The key to sort trials by, best first.

        1. Trials with a score.
        2. Longer trainings.
        3. Trials with neither memorising nor, unless trained to the end, one of `failures`.
        4. Lower scores.
        """
        score = math.inf if self.score is None else self.score
        counted = {*failures, *HIDDEN} if self.share < 1 else HIDDEN
        return self.score is None, -self.share, bool(set(self.remaining) & set(counted)), score

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "remaining": list(self.remaining)}


@dataclass(frozen=True)
class TrialSetup:
    """The settings that all trials of one treatment share.

    Attributes:
        run: the failing run's directory.
        recipe: its recipe, with `doctor="watch"`.
        folder: the folder that holds the trials' run directories.
        trust: component texts may import the user's own code, also in other processes.
    """

    run: Path
    recipe: Recipe
    folder: Path
    trust: bool

    def prepare(self, candidate: Candidate) -> str:
        """Check the candidate's recipe and, if it starts from a checkpoint, create its run directory.

        An incomplete run directory is created again. Returns "" or the error of a recipe that cannot be trained.
        """
        path, failing = self.path(candidate), Run.open(self.run)
        clear_unsaved(path)
        if path.exists():
            return ""
        recipe, device = self.recipe.replace(**candidate.changes), find_device(self.recipe.device)
        data = training_data(recipe)
        try:
            with prepared(device):
                state: State = start_state(recipe, data, device)
                begin_with(state, recipe.start)
        except UserError as error:
            return str(error)
        if candidate.start:
            manifest = find_checkpoint(failing, str(candidate.start))
            state.take_over(checkpoint.load(failing.checkpoints, manifest))
            state.go_on_from(manifest)
            branch(failing, path, recipe, state)
        return ""

    def path(self, candidate: Candidate) -> Path:
        """The candidate's run directory."""
        return self.folder / candidate.name

    def until(self, candidate: Candidate, share: float) -> float:
        """The share of the budget at which the run stops after training for `share` from its start."""
        if not candidate.start:
            return share
        manifest = find_checkpoint(Run.open(self.run), str(candidate.start))
        return min(1.0, share_spent(self.recipe, manifest.step, manifest.clock) + share)

    def train(self, candidate: Candidate, share: float) -> str:
        """Start or resume a trial until it has trained for a share of the budget.

        Returns:
            "" or the error of a recipe that cannot be trained.

        Raises:
            UserError: the disk is full, say; the treatment can resume.
            Interrupted: Ctrl-C; the trial has a checkpoint.
        """
        with trusted(self.trust):
            if error := self.prepare(candidate):
                return error
            finish(self.path(candidate), self.recipe.replace(**candidate.changes), self.until(candidate, share))
            return ""

    def train_all(self, chosen: Sequence[Candidate], share: float, jobs: int) -> list[str]:
        """Train several trials as `train` does, `jobs` at a time, each in a process with its share of the cores."""
        if jobs == 1:
            return [self.train(candidate, share) for candidate in chosen]
        workers = min(jobs, len(chosen))
        with ProcessPoolExecutor(workers, get_context("spawn"), limit_cores, (share_of(workers),)) as pool:
            try:
                return list(pool.map(self.train, chosen, [share] * len(chosen)))
            except KeyboardInterrupt:
                pool.shutdown(wait=True, cancel_futures=True)
                raise Interrupted("stopped between trials") from None
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


class TrialScorer:
    """Scores runs independently of the doctor, against held-out data if there are any; lower is better.

    | data | score |
    | --- | --- |
    | points of at most 8 dimensions | exact Wasserstein distance |
    | other points | sliced Wasserstein distance |
    | images | Frechet distance by the recipe's extractor |
    | image to image | the task's first score, negated if higher is better |
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
        """Prepare data and metric; `recipe` is the failing run's, `seed` draws samples and reference."""
        data = training_data(recipe)
        held_out = held_out_data(recipe, data)
        task, form, split = build_task(recipe, data.form), data.form, "train" if held_out is None else "test"
        of_points = "wasserstein" if form.shape[0] <= 8 else "sliced_wasserstein"
        metrics = next(iter(task.scores), of_points if form.is_points else "frechet")
        extractor = "auto" if form.is_points else recipe.extractor
        options = Options(metrics, extractor, SAMPLES, split, seed, device=recipe.device)
        self.scoring = scoring_of(task, data, options, held_out)
        self.score = self.scoring.deciding
        self.sign = -better(self.score)

    @property
    def about(self) -> str:
        """The score and what it compares, in words."""
        return f"{'minus ' if self.sign < 0 else ''}{self.score} {self.scoring.about}; lower is better"

    def __call__(self, path: Path) -> float:
        """The score of a run's last checkpoint; it is saved in the run's `scores.jsonl`."""
        return self._score(path, keep=True)

    def score_unchanged(self, path: Path) -> float | None:
        """The score of a run's last checkpoint, without writing into the run; None if it stopped on NaN."""
        return None if outcome(path)[1].startswith(NAN) else self._score(path, keep=False)

    def _score(self, path: Path, keep: bool) -> float:
        evaluator = RunEvaluator(path, self.scoring.options, self.scoring)
        manifest = find_checkpoint(evaluator.run)
        measure = evaluator if keep else evaluator.measure
        scores = evaluator.known(manifest) or measure(manifest)
        return self.sign * scores.values[self.score]

    def trial(self, candidate: Candidate, path: Path, share: float, error: str = "") -> Trial:
        """The result of a candidate after a share of the budget; `error`: why it could not be trained."""
        if error:
            return Trial(**vars(candidate), share=share, step=candidate.start, score=None, remaining=(), ended=error)
        remaining, ended = outcome(path)
        score = None if ended.startswith(NAN) else self(path)
        step = find_checkpoint(Run.open(path)).step
        return Trial(**vars(candidate), share=share, step=step, score=score, remaining=remaining, ended=ended)


NAN = "NaN or infinity"


def outcome(path: Path) -> tuple[tuple[str, ...], str]:
    """The failures of a run at its end, and why it ended early ("" if it did not)."""
    history = Run.open(path).history()
    remaining = tuple(dict.fromkeys(finding.failure for finding in diagnose(history) if is_failure(finding)))
    ends = [row for row in history if row.get("event") in ("not finite", "stopped", "resumed")][-1:]
    prefixes = {"not finite": f"{NAN}: ", "stopped": ""}
    return remaining, next((f"{prefixes[row['event']]}{row['what']}" for row in ends if row["event"] in prefixes), "")


def check_watched(path: Path, names: Sequence[str]) -> None:
    """Raise UserError if the run has no probes of the doctor."""
    if "not-watched" in names:
        raise UserError(
            f"{path} cannot be treated: its log holds no probes; train it with the doctor: "
            f"sparring train {path / 'recipe.toml'} --doctor watch"
        )
