"""Scores of a run as it trains: which checkpoint is best, and when to stop."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import torch

from sparring.apply.generator import TrainedGenerator
from sparring.assemble.build import HeldOut, build_task
from sparring.assemble.sampling import draw_samples, make_samples
from sparring.assemble.state import State
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.samples import Data
from sparring.evaluation.evaluator import Options
from sparring.evaluation.measures import better, deciding_value
from sparring.evaluation.samples import recipe_reference, score_generator
from sparring.evaluation.translations import recipe_tests, score_translations
from sparring.metrics import count_modes, sliced_wasserstein
from sparring.recipe import Recipe
from sparring.run.directory import Run
from sparring.run.log import EVALUATION, Row
from sparring.tasks.base import Translating


class Scorer:
    """Evaluates a run every so many steps, within a share of its time. The first metric decides what is best: of runs
    that turn images into others the task's own first score, unless another is named.

    Evaluating changes nothing of the training. What was scored before is read from the log, so a resumed run goes on
    counting where it was.
    """

    run: Run
    history: list[Row]

    def __init__(self, recipe: Recipe, data: Data, trust: bool, held_out: HeldOut) -> None:
        """Prepare extractor and reference; mistakes in the recipe are told here, before there is a run.

        Raises:
            UserError: an unknown metric, or an extractor that does not fit.
        """
        self.recipe = recipe
        count = recipe.evaluate_count
        self.options = Options(recipe.metrics, recipe.extractor, count, device=recipe.device, trust=trust)
        task = build_task(recipe, data.form, trust)
        self.deciding = deciding_value(recipe.metrics, task)
        self.data = data
        if isinstance(task, Translating):
            self.tests = recipe_tests(recipe, data, self.options, "this run", held_out)
        else:
            self.reference = recipe_reference(recipe, data, self.options, "this run", held_out)
            self.reference.real  # noqa: B018  what is looked at once is no cost of the first evaluation
        self.skipped = 0

    def begin(self, run: Run) -> None:
        """Go on with what a run's log holds."""
        self.run = run
        self.history = [row for row in run.evaluations() if self.deciding in row]
        self.spent = sum(row["cost"] for row in self.history)

    def due(self, state: State, last: bool) -> bool:
        """Is it time to evaluate? Always at the end; else every so many steps, unless that would cost too much."""
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
        """Score the samples of now; return the deciding value so that lower is better.

        Raises:
            UserError: a metric that was named cannot be computed of these samples.
        """
        game, network = state.game, copy.deepcopy(state.sampling_network).eval()
        generator = TrainedGenerator(network, state.task, self.recipe, self.data.form, state.step)
        name, ema = str(self.run.path), state.average is not None
        if isinstance(state.task, Translating):
            scores, _ = score_translations(generator, self.tests, name, ema)
        else:
            scores, _ = score_generator(generator, self.reference, self.options, name, lambda: copy.deepcopy(game), ema)
        if self.deciding not in scores.values:
            raise UserError(f"{self.deciding}, which decides, could not be measured: {'; '.join(scores.notes)}")
        scores = replace(scores, seconds=state.seconds)
        row = state.row(EVALUATION, cost=round(scores.cost, 3), **scores.values)
        self.run.append_scores(scores.to_json())
        self.run.append(row)
        self.history.append(row)
        self.spent += scores.cost
        return self.rank(row)

    def rank(self, row: Row) -> float:
        """The deciding value of an evaluation so that lower is better; NaN is worst."""
        value = float(-(better(self.deciding) or -1) * row[self.deciding])
        return math.inf if math.isnan(value) else value

    def report(self, state: State) -> str:
        """The last evaluation in words, with what scoring has cost."""
        now, best = self.history[-1], min(self.history, key=self.rank)
        share = self.spent / max(state.seconds, 1e-9)
        skipped = f", {self.skipped} evaluations left out to keep within the budget" if self.skipped else ""
        return (
            f"step {state.step:,} | {self.deciding} {now[self.deciding]:.4g} (best {best[self.deciding]:.4g} at step "
            f"{best['step']:,}) | scoring took {now['cost']:.1f} s, {share:.0%} of the time{skipped}"
        )

    def give_up(self) -> str:
        """Why to stop now, in words; empty if there is no reason."""
        patience = self.recipe.patience
        begun = max((i + 1 for i, row in enumerate(self.history) if row.get("stopped")), default=0)
        best = min(range(len(self.history)), key=lambda i: self.rank(self.history[i]))
        if not patience or len(self.history) - max(best + 1, begun) < patience:
            return ""
        row = self.history[best]
        return (
            f"{self.deciding} has not become better in {patience} evaluations; "
            f"the best, {row[self.deciding]:.4g}, was at step {row['step']:,}"
        )


SCORE_SAMPLES = 2048


SCORE_PAIRS = 32


def score_samples(state: State, data: Data, seed: int) -> dict[str, float]:
    """How far samples are from the data: sliced Wasserstein distance and, for a known mixture, its modes."""
    if isinstance(state.task, Translating):
        return score_pairs(state, data, seed)
    count = min(SCORE_SAMPLES, len(data))
    fake = draw_samples(state.task, state.sampling_network, count, derive_seed(seed, "score"))
    rng = torch.Generator().manual_seed(derive_seed(seed, "score data"))
    real = data.batch(torch.randperm(len(data), generator=rng)[:count])["real"]
    scores = {"sliced_wasserstein": sliced_wasserstein(real, fake)}
    if data.mixture is not None:
        points = data.form.to_units(fake)
        counted = count_modes(points, data.mixture.centres, data.mixture.deviation)
        scores |= {"modes": counted.covered, "high_quality": counted.high_quality}
    return scores


def score_pairs(state: State, data: Data, seed: int) -> dict[str, float]:
    """The mean absolute difference of what is made of some training images from what it should be; for sets without
    pairs there is no such number."""
    if data.source is not None and not data.paired:
        return {}
    rng = torch.Generator().manual_seed(derive_seed(seed, "score data"))
    chosen = data.batch(torch.randperm(len(data), generator=rng)[:SCORE_PAIRS])
    batch = state.game.task.prepare(chosen, rng)
    made = make_samples(state.task, state.sampling_network, batch)
    return {"l1": (made - batch["real"]).abs().mean().item()}
