"""Short trainings of candidates: begun, gone on with, judged. What a folder holds tells how far it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from sparring.assemble.branch import begin_with, branch
from sparring.assemble.build import build_task, held_out_data, training_data
from sparring.assemble.start import share_spent, start_state
from sparring.assemble.state import State, find_checkpoint
from sparring.base.components import trusted
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
PRAISED = ("memorising",)  # illnesses that scores take for excellence


@dataclass(frozen=True)
class Trial(Candidate):
    """How a candidate did. The score is the held-out distance of its samples, lower is better; None if it ended in NaN
    or infinity, or could not be trained at all."""

    share: float  # of the budget, for which it was trained: the better half is trained on, the best to the end
    step: int  # the last one that is trained
    score: float | None
    remaining: tuple[str, ...]  # the illnesses that the doctor names at its end
    ended: str = ""  # why it ended before the trial did

    def rank(self, failures: Sequence[str]) -> tuple[bool, float, bool, float]:
        """For sorting, best first: those without a score last; those that were trained for longer before others; then
        those with none of these illnesses any more, which counts for trials alone, or that copy: scores praise them;
        then by the score."""
        score = math.inf if self.score is None else self.score
        counted = {*failures, *PRAISED} if self.share < 1 else PRAISED
        return self.score is None, -self.share, bool(set(self.remaining) & set(counted)), score

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "remaining": list(self.remaining)}


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of one treatment share."""

    run: Path  # the sick run's folder
    recipe: Recipe  # its recipe, with the doctor watching
    folder: Path  # where trials go, each into its own folder
    trust: bool  # component texts may import the user's own code, in other processes, too

    def begin(self, candidate: Candidate) -> str:
        """Make its run directory where it goes on from a checkpoint; one that was stopped before it was whole is made
        anew. Returns why these networks or data do not allow what it changes, or ""."""
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
            state.step, state.position, state.seconds = manifest.step, manifest.position, manifest.seconds
            branch(failing, path, recipe, state)
        return ""

    def path(self, candidate: Candidate) -> Path:
        """Its run directory."""
        return self.folder / candidate.name

    def until(self, candidate: Candidate, share: float) -> float:
        """The share of the budget at which a trial stops that trains such a share of it."""
        if not candidate.start:
            return share
        manifest = find_checkpoint(Run.open(self.run), str(candidate.start))
        return min(1.0, share_spent(self.recipe, manifest.step, manifest.seconds) + share)

    def carry_out(self, candidate: Candidate, share: float) -> str:
        """Train its trial, from where it is, until it has trained such a share of the budget; returns why it cannot be
        trained, or "". Raises UserError if the disk is full, say (the command can be given again), and Interrupted by
        Ctrl-C, after a checkpoint."""
        with trusted(self.trust):
            if why_not := self.begin(candidate):
                return why_not
            finish(self.path(candidate), self.recipe.replace(**candidate.changes), self.until(candidate, share))
            return ""

    def carry_out_all(self, chosen: Sequence[Candidate], share: float, jobs: int) -> list[str]:
        """The same of all, by so many processes."""
        if jobs == 1:
            return [self.carry_out(candidate, share) for candidate in chosen]
        threads = max(1, torch.get_num_threads() // jobs)
        with ProcessPoolExecutor(jobs, get_context("spawn"), torch.set_num_threads, (threads,)) as pool:
            try:
                return list(pool.map(self.carry_out, chosen, [share] * len(chosen)))
            except KeyboardInterrupt:
                pool.shutdown(wait=True, cancel_futures=True)
                raise Interrupted("stopped between trials") from None
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


class TrialScorer:
    """Scores runs by samples that the doctor never sees, against held-out samples where there are any: points by the
    exact Wasserstein distance, images by the Frechet distance of the extractor that suits the data; runs that turn
    images into others by their task's own deciding score, so that lower is better (one that is to be high is negated).
    `recipe` is the sick run's, `seed` that of the scored samples and the choice of the reference.
    """

    def __init__(self, recipe: Recipe, seed: int) -> None:
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
        """What it measures, in words."""
        return f"{'minus ' if self.sign < 0 else ''}{self.score} {self.scoring.about}; lower is better"

    def __call__(self, path: Path) -> float:
        """The score of a run's last checkpoint; it is kept in the run's `scores.jsonl`."""
        return self._score(path, keep=True)

    def of_others(self, path: Path) -> float | None:
        """The score of somebody's run, in which nothing is written; None if it ended in NaN or infinity."""
        return None if outcome(path)[1].startswith(NAN) else self._score(path, keep=False)

    def _score(self, path: Path, keep: bool) -> float:
        evaluator = RunEvaluator(path, self.scoring.options, self.scoring)
        manifest = find_checkpoint(evaluator.run)
        measure = evaluator if keep else evaluator.measure
        scores = evaluator.known(manifest) or measure(manifest)
        return self.sign * scores.values[self.score]

    def trial(self, candidate: Candidate, path: Path, share: float, impossible: str = "") -> Trial:
        """How a candidate did that was trained for a share of the budget; `impossible` tells why it could not be."""
        if impossible:
            return Trial(
                **vars(candidate), share=share, step=candidate.start, score=None, remaining=(), ended=impossible
            )
        remaining, ended = outcome(path)
        score = None if ended.startswith(NAN) else self(path)
        step = find_checkpoint(Run.open(path)).step
        return Trial(**vars(candidate), share=share, step=step, score=score, remaining=remaining, ended=ended)


NAN = "NaN or infinity"


def outcome(path: Path) -> tuple[tuple[str, ...], str]:
    """What ails a run at its end, and why it ended early, if it did."""
    history = Run.open(path).history()
    remaining = tuple(dict.fromkeys(finding.failure for finding in diagnose(history) if is_failure(finding)))
    ends = [row for row in history if row.get("event") in ("not finite", "stopped", "resumed")][-1:]
    reported = {"not finite": f"{NAN}: ", "stopped": ""}
    return remaining, next((f"{reported[row['event']]}{row['what']}" for row in ends if row["event"] in reported), "")


def check_watched(path: Path, names: Sequence[str]) -> None:
    """Raise UserError if the doctor has not looked at the run."""
    if "not-watched" in names:
        raise UserError(
            f"{path} cannot be treated: its log holds no looks; train it with the doctor: "
            f"sparring train {path / 'recipe.toml'} --doctor watch"
        )
