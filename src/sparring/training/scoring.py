"""Scores during training: they choose the best checkpoint and stop a run without progress."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch

from sparring.apply.generator import TrainedGenerator
from sparring.assemble.build import HeldOut, build_task
from sparring.assemble.sampling import draw_samples, generate_samples
from sparring.assemble.state import State
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.samples import Data
from sparring.evaluation.evaluator import scoring_of
from sparring.evaluation.options import Options, better
from sparring.metrics.distribution import sliced_wasserstein
from sparring.metrics.modes import count_modes
from sparring.recipe import Recipe
from sparring.run.directory import Run
from sparring.run.log import EVALUATION, Row


class Scorer:
    """Evaluates a run every `evaluate_every` steps, for at most the share `evaluate_budget` of its training time.

    The first metric decides which checkpoint is best; for image-to-image tasks the default is the task's first score.
    Evaluating does not change the training. A resumed run reads its earlier evaluations from the log.
    """

    run: Run
    history: list[Row]

    def __init__(self, recipe: Recipe, data: Data, held_out: HeldOut) -> None:
        """Prepare extractor and reference before the run is created.

        Raises:
            UserError: the metric is unknown, or the extractor does not fit the data.
        """
        self.recipe, self.data = recipe, data
        task = build_task(recipe, data.form)
        options = Options(recipe.metrics, recipe.extractor, recipe.evaluate_count, device=recipe.device)
        self.scoring = scoring_of(task, data, options, held_out.data)
        self.deciding = self.scoring.deciding
        self.scoring.check(recipe, task, "this run")
        self.scoring.warm_up()
        self.skipped = 0

    def begin(self, run: Run) -> None:
        """Read the evaluations that the run's log already holds."""
        self.run = run
        self.history = [row for row in run.evaluations() if self.deciding in row]
        self.spent = sum(row["cost"] for row in self.history)

    def due(self, state: State, last: bool) -> bool:
        """An evaluation is due: at the end always, else every `evaluate_every` steps if the time budget allows it."""
        if last:
            return True
        if state.step % self.recipe.evaluate_every:
            return False
        next_cost = self.history[-1]["cost"] if self.history else 0.0
        affordable = self.spent + next_cost <= self.recipe.evaluate_budget * state.seconds
        allowed = not self.history or self.recipe.evaluate_budget >= 1 or affordable
        self.skipped += not allowed
        return allowed

    def evaluate(self, state: State) -> float:
        """Score the current samples; return the deciding score, negated where higher is better.

        Raises:
            UserError: a metric that the user named cannot be computed for these samples.
        """
        game, network = state.game, copy.deepcopy(state.sampling_network).eval()
        generator = TrainedGenerator(network, state.task, self.recipe, self.data.form, state.step)
        ema = state.average is not None
        scores, _ = self.scoring.score(generator, str(self.run.path), ema, lambda: copy.deepcopy(game))
        if self.deciding not in scores.values:
            why = "; ".join(scores.notes)
            raise UserError(f"{self.deciding} could not be measured: {why}; name another first metric with --metrics")
        scores = replace(scores, seconds=state.seconds)
        row = state.row(EVALUATION, cost=round(scores.cost, 3), **scores.values)
        self.run.append_scores(scores.to_json())
        self.run.append(row)
        self.history.append(row)
        self.spent += scores.cost
        return self.rank(row)

    def rank(self, row: Row) -> float:
        """The deciding score of an evaluation, negated where higher is better; NaN ranks last."""
        value = float(-(better(self.deciding) or -1) * row[self.deciding])
        return math.inf if math.isnan(value) else value

    def report(self, state: State) -> str:
        """The line about the last evaluation, with the time that scoring took."""
        now, best = self.history[-1], min(self.history, key=self.rank)
        share = self.spent / max(state.seconds, 1e-9)
        skipped = f", {self.skipped} evaluations skipped to stay within evaluate_budget" if self.skipped else ""
        return (
            f"step {state.step:,} | {self.deciding} {now[self.deciding]:.4g} (best {best[self.deciding]:.4g} at step "
            f"{best['step']:,}) | scoring took {now['cost']:.1f} s, {share:.0%} of the training time{skipped}"
        )

    def give_up(self) -> str:
        """The reason to stop early: no better score in `patience` evaluations. "" to go on."""
        patience = self.recipe.patience
        begun = max((i + 1 for i, row in enumerate(self.history) if row.get("stopped")), default=0)
        best = min(range(len(self.history)), key=lambda i: self.rank(self.history[i]))
        if not patience or len(self.history) - max(best + 1, begun) < patience:
            return ""
        row = self.history[best]
        reason = f"{self.deciding} has not improved in {patience} evaluations"
        return f"{reason}; the best, {row[self.deciding]:.4g}, was at step {row['step']:,}"


SCORE_SAMPLES, SCORE_PAIRS = 2048, 32


def score_samples(state: State, data: Data, seed: int) -> dict[str, float]:
    """Quick scores of a checkpoint, by name.

    | task | scores |
    | --- | --- |
    | generation | `sliced_wasserstein` to the data; for a known mixture `modes` and `high_quality` |
    | image to image, paired | `l1`: mean absolute difference to the targets of some training images |
    | image to image, unpaired | none |
    """
    rng = torch.Generator().manual_seed(derive_seed(seed, "score data"))
    order, (direction, *_) = torch.randperm(len(data), generator=rng), state.task.directions
    if direction.source:
        if not direction.paired:
            return {}
        batch = state.game.task.prepare(data.batch(order[:SCORE_PAIRS]), rng)
        fake = generate_samples(state.task, state.sampling_network, batch)
        return {"l1": (fake - batch["real"]).abs().mean().item()}
    count = min(SCORE_SAMPLES, len(data))
    fake = draw_samples(state.task, state.sampling_network, count, derive_seed(seed, "score"))
    scores = {"sliced_wasserstein": sliced_wasserstein(data.batch(order[:count])["real"], fake)}
    if data.mixture is not None:
        counted = count_modes(data.form.to_units(fake), data.mixture.centres, data.mixture.deviation)
        scores |= {"modes": counted.covered, "high_quality": counted.high_quality}
    return scores
