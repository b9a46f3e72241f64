"""Score a run's checkpoints, or anybody's images."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from sparring import __version__
from sparring.build import HeldOut, build_task, held_out_data, training_data
from sparring.checkpoint import Manifest, manifests, stem
from sparring.checkpoint import load as load_tensors
from sparring.data import Data, load_data, load_held_out
from sparring.device import find_device, prepare
from sparring.errors import UserError
from sparring.evaluation.likeness import usual_measures
from sparring.evaluation.measures import MEASURES, find_measures
from sparring.evaluation.measuring import Value, check_possible, compute, errors_of, values_of
from sparring.evaluation.options import Options as Options
from sparring.evaluation.protocol import Protocol, Scores, differences
from sparring.evaluation.recolour import recoloured
from sparring.evaluation.subject import Reference, Subject, prepare_extractor, shuffled
from sparring.evaluation.translated import Tests, make_tests, score_translations
from sparring.game import Game
from sparring.generator import TrainedGenerator, load
from sparring.pictures import grid, save_image
from sparring.recipe import Recipe
from sparring.run import Run
from sparring.seeds import derive_seed
from sparring.state import find_checkpoint
from sparring.tasks.base import Task, Translating

FEW = 5  # samples for each feature, below which a covariance says little
COPIES_SHOWED = 24


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


def evaluate_images(
    path: str | Path,
    *,
    against: str,
    size: str | int = "",
    fit: str = "crop",
    picture: Path | None = None,
    **options: Any,
) -> Scores:
    """Score images (a folder, `.npz`, `.npy`) or points (`.csv`, too) that anyone's software made.

    Args:
        path: where they are, as in `load_data`. Sub-folders, or labels, are the classes that they were made for.
        against: the reference, as in `load_data`.
        size: the size that images are brought to, as in `load_data`.
        fit: how they are brought to it.
        picture: where the samples closest to training samples are shown beside these, if anywhere.
        options: fields of `Options`; all images are scored, unless there are more than `count`.

    Raises:
        UserError: images or reference cannot be read or do not fit together.
    """
    chosen = Options(**options)
    whole = load_data(against, size, fit=fit)
    made = load_data(str(path), size, fit=fit)
    check_same_shape(made, whole)
    if len(made) < 2:
        raise UserError(f"{made.name} holds 1 sample; scores are of many, the more the better")
    made = shuffled(made, chosen.count, derive_seed(chosen.seed, "made"))
    held_out = load_held_out(against, size, fit=fit, train=whole)
    reference = make_reference(whole, held_out, replace(chosen, count=len(made)))
    subject = Subject(reference, made.samples, labels=matched_labels(made, whole), seed=chosen.seed)
    scores = measure(subject, str(path), chosen)
    if picture is not None:
        save_image(copies_picture(subject), picture)
    return scores


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
        from sparring.training import start_state

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


def make_reference(data: Data, held_out: Data | None, options: Options) -> Reference:
    """The reference that the options describe.

    Raises:
        UserError: there are no held-out samples for the split, or the extractor does not fit.
    """
    if held_out is not None:
        check_same_shape(held_out, data)
    if options.split == "test" and held_out is None:
        raise UserError(f"{data.name!r} has no held-out samples; take --split train, or train with --held-out 0.1")
    device = find_device(options.device)
    prepare(device)  # the same settings as in training, so that the same samples get the same scores
    extractor = prepare_extractor(options.extractor, data, device, options.trust)
    return Reference(data, held_out, options.reference, options.count, extractor, options.seed)


def recipe_reference(
    recipe: Recipe, data: Data, options: Options, name: str, held_out: HeldOut | None = None
) -> Reference:
    """The reference of a recipe's runs, once it is known that their samples can be scored.

    Args:
        recipe: the recipe.
        data: what it trains on.
        options: how to score.
        name: of the run, for messages.
        held_out: its held-out samples, if they are at hand.

    Raises:
        UserError: as `make_reference`, and if a metric that was named cannot be computed of such runs.
    """
    reference = make_reference(data, (held_out or HeldOut(recipe, options.trust, data)).data, options)
    generator = TrainedGenerator(nn.Identity(), build_task(recipe, data.form, options.trust), recipe, data.form, 0)
    labels = None if "fake_label" not in generator.task.draw(1) else torch.zeros(0, dtype=torch.int64)
    check_measures(Subject(reference, data.samples[:0], labels, generator, _no_game), name, options)
    return reference


def _no_game() -> Game:
    raise AssertionError("asked only whether there will be one")


def score_generator(
    generator: TrainedGenerator,
    reference: Reference,
    options: Options,
    name: str,
    game: Callable[[], Game],
    ema: bool,
) -> tuple[Scores, Subject]:
    """Draw samples and score them; the cost counts both.

    Args:
        generator: what makes them, in evaluation mode.
        reference: what they are compared with.
        options: how to score.
        name: of the run.
        game: builds the game that the generator comes from; it may be changed.
        ema: are the generator's weights an average?
    """
    start = time.perf_counter()
    samples, labels = generator.sample_labelled(min(options.count, len(reference.data)), seed=options.seed)
    subject = Subject(reference, samples, labels, generator, game, options.seed)
    scores = measure(subject, name, options)
    protocol = replace(scores.protocol, ema=ema)
    return replace(scores, step=generator.step, protocol=protocol, cost=time.perf_counter() - start), subject


def make_protocol(reference: Reference, count: int, options: Options) -> Protocol:
    """What scores by these options are measured with."""
    return Protocol(
        data=reference.train.name,
        data_digest=reference.digest,
        split=options.reference,
        reference=len(reference.data),
        count=count,
        extractor=reference.extractor.name,
        extractor_digest=reference.extractor.digest,
        resizer=reference.extractor.resizer,
        weights="raw" if options.raw else "as sampled",
        seed=options.seed,
        version=__version__,
    )


def measure(subject: Subject, name: str, options: Options) -> Scores:
    """Compute the metrics that the options name.

    Raises:
        UserError: one that is named cannot be computed; of `usual` and `all` it is left out, with a note.
    """
    start = time.perf_counter()
    names = check_measures(subject, name, options)
    notes = small_sample_notes(subject, names)
    beside = ["kernel_distance"] if notes and "kernel_distance" not in names else []
    found: dict[str, Value] = {}
    for measure_name in [*names, *beside]:
        found.update(compute(MEASURES, measure_name, subject, options.named, notes))
    values = values_of(found)
    if not values:
        raise UserError(f"{name} cannot be scored: {'; '.join(notes)}")
    if subject.reference.held_out is None and {"memorised", "duality_gap"} & set(values):
        notes.append("no samples are held out; training samples stand in for them in memorised and duality_gap")
    if subject.reference.extractor.about:
        notes.append(f"{subject.reference.extractor.name}: {subject.reference.extractor.about}")
    protocol = make_protocol(subject.reference, len(subject.samples), options)
    cost = time.perf_counter() - start
    return Scores(name, values, protocol, errors=errors_of(found), notes=notes, asked=names, cost=cost)


def check_measures(subject: Subject, name: str, options: Options) -> list[str]:
    """The names of the metrics to compute.

    Raises:
        UserError: one that was named needs what the subject lacks.
    """
    names = find_measures(options.metrics)
    check_possible(MEASURES, names, subject, name, options.named)
    return names


def small_sample_notes(subject: Subject, names: Sequence[str]) -> list[str]:
    """A warning where a Frechet distance is mostly an effect of few samples."""
    dimension = subject.real.features.shape[1]
    counts = {"a": min(len(subject.real), len(subject.fake))} if {"frechet", "frechet_infinity"} & set(names) else {}
    labels, made_for = subject.reference.data.labels, subject.labels
    if "class_frechet" in names and labels is not None and made_for is not None:
        shared = set(labels.tolist()) & set(made_for.tolist())
        counts["a class's"] = min((int((s == c).sum()) for c in shared for s in (labels, made_for)), default=0)
    return [
        f"CAREFUL: {count:,} samples are too few for {what} Frechet distance of {dimension:,} features (at least "
        f"{FEW * dimension:,}); it is too large by an unknown amount: go by kernel_distance, which is unbiased"
        for what, count in counts.items()
        if count < FEW * dimension
    ]


def check_same_shape(made: Data, whole: Data) -> None:
    """Raise UserError unless both hold samples of the same shape."""
    if made.form.shape == whole.form.shape:
        return
    ours, theirs = list(made.form.shape), list(whole.form.shape)
    images = len(ours) == len(theirs) == 3
    mend = "add --size, which brings images to one size" if images else "compare like with like"
    raise UserError(f"{made.name} holds samples of shape {ours}, {whole.name} of shape {theirs}; {mend}")


def matched_labels(made: Data, whole: Data) -> Tensor | None:
    """The labels of `made` as indices of the classes of `whole`, by the classes' names; None unless all are known."""
    if made.labels is None or not set(made.form.classes) <= set(whole.form.classes):
        return None
    return torch.tensor([whole.form.classes.index(name) for name in made.form.classes])[made.labels]


def copies_picture(subject: Subject) -> Image.Image:
    """The samples that lie closest to training samples, each left of its nearest one."""
    found = subject.copies
    closest = found.distance.argsort()[:COPIES_SHOWED]
    pairs = torch.stack([subject.samples[closest], subject.reference.train.take(found.index[closest])], 1)
    return grid(pairs.flatten(0, 1), columns=8)


def read_scores(run: Run) -> list[Scores]:
    """All scores that a run's `scores.jsonl` holds, in the order in which they were measured."""
    return [Scores.from_json(plain, str(run.path / "scores.jsonl")) for plain in run.scores()]
