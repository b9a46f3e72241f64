"""Score a run's checkpoints, or anybody's images."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from sparring.apply.generator import load
from sparring.assemble.build import build_task, held_out_data, training_data
from sparring.assemble.state import find_checkpoint
from sparring.base.device import find_device
from sparring.base.errors import UserError
from sparring.data.pictures import save_image
from sparring.data.samples import Data
from sparring.evaluation.examples import recoloured
from sparring.evaluation.likeness import usual_measures
from sparring.evaluation.measures import find_measures
from sparring.evaluation.options import Options as Options
from sparring.evaluation.protocol import Protocol, Scores, differences
from sparring.evaluation.samples import copies_picture, make_protocol, recipe_reference, score_generator
from sparring.evaluation.subject import Reference, Subject
from sparring.evaluation.translations import Tests, make_tests, score_translations
from sparring.game.game import Game
from sparring.run.checkpoint import Manifest, manifests, stem
from sparring.run.checkpoint import load as load_tensors
from sparring.run.directory import Run
from sparring.tasks.base import Task, Translating


def evaluate(run: str | Path, *, checkpoint: str = "best", on: str = "", **options: Any) -> Scores:
    """Score one checkpoint of a run; the scores are also added to the run's `scores.jsonl`.

    Args:
        run: the run directory.
        checkpoint: best, last or a step.
        on: for a run that turns images into others: other test images than the run's own, as in `load_data`.
        options: fields of `Options`, such as `metrics="frechet,precision_recall"`.

    Raises:
        UserError: no such run, checkpoint or metric, or data that are gone.
    """
    evaluator = RunEvaluator(Path(run), Options(**options), on=on)
    return evaluator(find_checkpoint(evaluator.run, checkpoint))


class RunEvaluator:
    """Scores checkpoints of one run; the reference is looked at once."""

    def __init__(self, path: Path, options: Options, reference: Reference | Tests | None = None, on: str = "") -> None:
        """Args: reference: what is compared with, if it is at hand; on: other test images than the run's own."""
        self.run, self.options, self.on = Run.open(path), options, on
        self.recipe = self.run.read_recipe()
        self.given: Reference | Tests | None = reference
        if on and not self.translates:
            raise UserError(f"{path} makes samples from noise; --on is for runs that turn images into others")

    @cached_property
    def task(self) -> Task:
        """What the run was trained for."""
        return build_task(self.recipe, self.run.read_data()[1], self.options.trust)

    @property
    def translates(self) -> bool:
        """Does the run turn images into others?"""
        return isinstance(self.task, Translating)

    @property
    def compared(self) -> Reference | Tests:
        """What the run is scored against: `tests` or `reference`."""
        return self.tests if self.translates else self.reference

    @cached_property
    def tests(self) -> Tests:
        """The images that a run which turns images into others is scored on."""
        if isinstance(self.given, Tests):
            return self.given
        if self.on:
            images = training_data(self.recipe.replace(data=self.on, held_out=0.0), self.options.trust)
            fitting = recoloured(images, self.train)
            tests = make_tests(self.train, replace(fitting, split="test"), self.options)
            told = "the test images have other channels than the run's; grey ones are given as RGB, RGB ones as grey"
            return tests if fitting is images else replace(tests, told=(told,))
        return make_tests(self.train, held_out_data(self.recipe, self.options.trust, self.train), self.options)

    @cached_property
    def reference(self) -> Reference:
        """What the run's samples are compared with."""
        if isinstance(self.given, Reference):
            return self.given
        return recipe_reference(self.recipe, self.train, self.options, str(self.run.path))

    @cached_property
    def train(self) -> Data:
        """What the run was trained on."""
        recipe = self.recipe
        try:
            data = training_data(recipe, self.options.trust)
        except UserError as error:
            raise UserError(f"the data of {self.run.path} are needed to score it: {error}") from error
        digest, _ = self.run.read_data()
        if data.digest != digest:
            raise UserError(f"data {recipe.data!r} is not what {self.run.path} was trained on; put it back")
        return data

    def __call__(self, manifest: Manifest) -> Scores:
        """Score a checkpoint, write the scores down, and the picture of near copies if these were looked for."""
        scores, subject = self.measure(manifest)
        self.write_down(scores, subject)
        return scores

    def measure(self, manifest: Manifest) -> tuple[Scores, Subject | None]:
        """Score a checkpoint; nothing is written."""
        options = self.options
        generator = load(
            self.run.path,
            checkpoint_name=str(manifest.step),
            device=options.device,
            trust=options.trust,
            raw=options.raw,
        )
        ema = bool(self.recipe.ema.strip()) and not options.raw
        if self.translates:
            scores, _ = score_translations(generator, self.tests, str(self.run.path), ema)
            return replace(scores, seconds=manifest.seconds, checkpoint=manifest.sha256), None
        scores, subject = score_generator(
            generator, self.reference, options, str(self.run.path), lambda: self.build_game(manifest), ema
        )
        return replace(scores, seconds=manifest.seconds, checkpoint=manifest.sha256), subject

    def write_down(self, scores: Scores, subject: Subject | None) -> None:
        """Keep the scores and the picture of near copies in the run; a run that cannot be written is still scored."""
        try:
            self.run.append_scores(scores.to_json())
            if subject is not None and "memorised" in scores.values and not self.reference.train.form.is_points:
                path = self.run.path / "nearest" / f"{stem(scores.step or 0)}.png"
                save_image(copies_picture(subject), path, self.run.mend)
        except UserError as error:
            print(f"Note: the scores are not kept: {error}", file=sys.stderr)

    def find(self, which: str) -> list[Manifest]:
        """The checkpoints that are meant by best, last, all or a step."""
        last = find_checkpoint(self.run, "last" if which == "all" else which)
        return manifests(self.run.checkpoints) if which == "all" else [last]

    def build_game(self, manifest: Manifest) -> Game:
        """The players of a checkpoint."""
        from sparring.assemble.start import start_state

        device = find_device(self.options.device)
        state = start_state(self.recipe, self.reference.train, device, self.options.trust)
        state.restore(manifest, load_tensors(self.run.checkpoints, manifest))
        return state.game

    def known(self, manifest: Manifest) -> Scores | None:
        """Scores of the checkpoint that were measured before with these options, or None."""
        task, options = self.task, self.options
        if isinstance(task, Translating):
            wanted = usual_measures(task, options.named)
        else:
            wanted = find_measures(options.metrics)
        for scores in reversed(read_scores(self.run)):
            same = scores.checkpoint == manifest.sha256 and scores.protocol.seed == options.seed
            if same and list(scores.asked) == wanted and self._same_protocol(scores.protocol):
                return scores
        return None

    def _same_protocol(self, found: Protocol) -> bool:
        if isinstance(self.task, Translating):
            return self.tests.same_protocol(self.task, found)
        return not differences(found, self.protocol)

    @property
    def protocol(self) -> Protocol:
        return make_protocol(self.reference, min(self.options.count, len(self.reference.data)), self.options)


def read_scores(run: Run) -> list[Scores]:
    """All scores that a run's `scores.jsonl` holds, in the order in which they were measured."""
    return [Scores.from_json(plain, str(run.path / "scores.jsonl")) for plain in run.scores()]
