"""Score a run's checkpoints, or images from any source."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sparring.apply.generator import load
from sparring.assemble.build import build_task, held_out_data, training_data
from sparring.assemble.start import start_state
from sparring.assemble.state import find_checkpoint
from sparring.base.components import is_trusted, trusted
from sparring.base.device import find_device, prepared
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.load import load_data, load_held_out
from sparring.data.pictures import save_image
from sparring.data.samples import Data
from sparring.doctor.checkup.report import duplicates
from sparring.evaluation.generated import Generated
from sparring.evaluation.options import Options as Options
from sparring.evaluation.protocol import Scores
from sparring.evaluation.scoring import Scoring
from sparring.evaluation.subject import Subject, check_same_shape, shuffled
from sparring.evaluation.translated import Translated
from sparring.game.game import Game
from sparring.run.checkpoint import Manifest, manifests, stem
from sparring.run.checkpoint import load as load_tensors
from sparring.run.directory import Run
from sparring.tasks.base import Task, Translating


def evaluate(run: str | Path, *, checkpoint: str = "best", on: str = "", trust: bool = False, **options: Any) -> Scores:
    """Score one checkpoint of a run, and append the scores to the run's `scores.jsonl`.

    Args:
        run: the run directory.
        checkpoint: "best", "last" or a step.
        on: other test images, as in `load_data`; only for image-to-image runs.
        trust: let component texts import your own code.
        options: fields of `Options`, such as `metrics="frechet,precision_recall"`.

    Raises:
        UserError: there is no such run, checkpoint or metric, or the run's data are missing.
    """
    with trusted(trust):
        evaluator = RunEvaluator(Path(run), Options(**options), on=on)
        return evaluator(find_checkpoint(evaluator.run, checkpoint))


def evaluate_images(
    path: str | Path,
    *,
    against: str,
    size: str | int = "",
    fit: str = "crop",
    picture: Path | None = None,
    trust: bool = False,
    **options: Any,
) -> Scores:
    """Score generated images or points from any software against a reference.

    Args:
        path: images (a folder, `.npz` or `.npy`) or points (also `.csv`), as in `load_data`. Sub-folders or labels are
            the classes that the samples were generated for. At most `count` samples are scored.
        against: the reference data, as in `load_data`.
        size: size that images are resized to, as in `load_data`.
        fit: how images fit that size, as in `load_data`.
        picture: file for a picture of the samples closest to training samples, next to these; None for no picture.
        trust: let component texts import your own code.
        options: fields of `Options`.

    Raises:
        UserError: samples or reference cannot be read, or have different shapes.
    """
    chosen = Options(**options)
    with trusted(trust):
        reference = load_data(against, size, fit=fit)
        samples = load_data(str(path), size, fit=fit)
        held_out = load_held_out(against, size, fit=fit, train=reference)
    check_same_shape(samples, reference)
    if len(samples) < 2:
        raise UserError(f"{samples.name} holds 1 sample; give at least 2 (thousands for stable scores)")
    copies = duplicates(samples.samples)
    repeated = f"WARNING: {copies:,} of {len(samples):,} samples are exact copies of other samples"
    samples = shuffled(samples, chosen.count, derive_seed(chosen.seed, "made"))
    with trusted(trust):
        scoring = Generated(reference, replace(chosen, count=len(samples)), held_out)
        subject = Subject(
            scoring.reference, samples.samples, labels=matched_labels(samples, reference), seed=chosen.seed
        )
        with prepared(scoring.device):
            scores = scoring.measure(subject, str(path))
            if picture is not None:
                save_image(scoring.copies(subject), picture)
    return replace(scores, notes=(repeated, *scores.notes)) if copies else scores


def matched_labels(samples: Data, reference: Data) -> Tensor | None:
    """Map the labels of `samples` to class indices of `reference` by name; None if a name is unknown."""
    if samples.labels is None or not set(samples.form.classes) <= set(reference.form.classes):
        return None
    return torch.tensor([reference.form.classes.index(name) for name in samples.form.classes])[samples.labels]


def scoring_of(
    task: Task,
    train: Data,
    options: Options,
    held_out: Data | None = None,
    *,
    on: Data | None = None,
    like: Scoring | None = None,
) -> Scoring:
    """Build the scoring of a task's runs.

    Args:
        task: the task; image-to-image tasks have other metrics than generation.
        train: the training data.
        options: how to score.
        held_out: samples of the same distribution that are not trained on.
        on: other test images, for image-to-image runs.
        like: a scoring with the same data and options, whose features are reused.

    Raises:
        UserError: the options do not fit the data, or the extractor is not available.
    """
    kind = Translated if isinstance(task, Translating) else Generated
    if isinstance(like, kind):
        return like.for_task(task)
    if isinstance(task, Translating):
        return Translated(task, train, options, held_out, on)
    return Generated(train, options, held_out)


class RunEvaluator:
    """Scores checkpoints of one run; the reference's features are computed once."""

    def __init__(self, path: Path, options: Options, like: Scoring | None = None, on: str = "") -> None:
        """Open a run for scoring.

        Args:
            path: the run directory.
            options: how to score.
            like: scoring of another run on the same data, whose features are reused.
            on: other test images, for image-to-image runs.

        Raises:
            UserError: there is no such run, or `on` is given for a run that generates from latents.
        """
        self.run, self.options, self.like, self.on = Run.open(path), options, like, on
        self.recipe = self.run.read_recipe()
        self.task = build_task(self.recipe, self.run.read_data()[1])
        if on and not self.task.scores:
            raise UserError(f"{path} generates from latents, and --on is for image-to-image runs; leave --on out")

    @cached_property
    def scoring(self) -> Scoring:
        """The run's scoring; UserError: the data are missing, or a named metric cannot be computed for the run."""
        if self.like is not None and bool(self.like.scores) == bool(self.task.scores):
            scoring = self.like.for_task(self.task)
        else:
            recipe = self.recipe
            on = training_data(recipe.replace(data=self.on, held_out=0.0)) if self.on else None
            train = self._train()
            scoring = scoring_of(self.task, train, self.options, held_out_data(recipe, train), on=on)
        scoring.check(self.recipe, self.task, str(self.run.path))
        return scoring

    def shared_score(self, manifest: Manifest, known: MutableMapping[str, Scoring]) -> Scores:
        """Scores of a checkpoint: saved ones if they exist, else new ones.

        Args:
            manifest: the checkpoint.
            known: scorings by the hash of their data, which runs on the same data share; extended by this run's.
        """
        digest, _ = self.run.read_data()
        self.like = known.get(digest)
        known[digest] = self.scoring
        return self.known(manifest) or self(manifest)

    def _train(self) -> Data:
        """Load the training data, and check that they are unchanged."""
        recipe = self.recipe
        try:
            data = training_data(recipe)
        except UserError as error:
            raise UserError(f"{self.run.path} cannot be scored without its data: {error}") from error
        if data.digest != self.run.read_data()[0]:
            raise UserError(f"data {recipe.data!r} have changed since {self.run.path} was trained; restore them")
        return data

    def __call__(self, manifest: Manifest) -> Scores:
        """Score a checkpoint, and save the scores and the picture of near copies, if any, in the run.

        If the run directory cannot be written, a note is printed and the scores are still returned.
        """
        scores, scored = self._measure(manifest)
        try:
            self.run.append_scores(scores.to_json())
            picture = self.scoring.picture(scored, scores)
            if picture is not None:
                save_image(picture, self.run.path / "nearest" / f"{stem(manifest.step)}.png", self.run.fix)
        except UserError as error:
            print(f"Note: the scores are not saved: {error}", file=sys.stderr)
        return scores

    def measure(self, manifest: Manifest) -> Scores:
        """Score a checkpoint without writing to the run."""
        return self._measure(manifest)[0]

    def _measure(self, manifest: Manifest) -> tuple[Scores, Any]:
        options, scoring = self.options, self.scoring
        generator = load(
            self.run.path, checkpoint=str(manifest.step), device=options.device, trust=is_trusted(), raw=options.raw
        )
        ema = bool(self.recipe.ema.strip()) and not options.raw
        scores, scored = scoring.score(generator, str(self.run.path), ema, lambda: self._game(manifest))
        return replace(scores, seconds=manifest.seconds, checkpoint=manifest.sha256), scored

    def _game(self, manifest: Manifest) -> Game:
        """Build the game (generator, discriminator, loss) of a checkpoint."""
        device = find_device(self.options.device)
        state = start_state(self.recipe, self.scoring.train, device)
        state.restore(manifest, load_tensors(self.run.checkpoints, manifest))
        return state.game

    def find(self, which: str) -> list[Manifest]:
        """The checkpoints named by "best", "last", "all" or a step."""
        last = find_checkpoint(self.run, "last" if which == "all" else which)
        return manifests(self.run.checkpoints) if which == "all" else [last]

    def known(self, manifest: Manifest) -> Scores | None:
        """Saved scores of the checkpoint with these options, or None."""
        for scores in reversed(read_scores(self.run)):
            same = scores.checkpoint == manifest.sha256 and scores.protocol.seed == self.options.seed
            if same and list(scores.asked) == self.scoring.names and self.scoring.same_protocol(scores.protocol):
                return scores
        return None


def read_scores(run: Run) -> list[Scores]:
    """All scores in a run's `scores.jsonl`, oldest first."""
    return [Scores.from_json(plain, str(run.path / "scores.jsonl")) for plain in run.scores()]
