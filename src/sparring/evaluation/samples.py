"""Scores of generated samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from sparring.apply.generator import TrainedGenerator
from sparring.assemble.build import HeldOut, build_task
from sparring.base.device import find_device, prepare
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.base.version import __version__
from sparring.data.load import load_data, load_held_out
from sparring.data.pictures import grid, save_image
from sparring.data.samples import Data
from sparring.evaluation.measures import MEASURES, find_measures
from sparring.evaluation.measuring import Value, check_possible, compute, errors_of, values_of
from sparring.evaluation.options import Options as Options
from sparring.evaluation.protocol import Protocol, Scores
from sparring.evaluation.subject import Reference, Subject, prepare_extractor, shuffled
from sparring.game.game import Game
from sparring.recipe import Recipe

FEW = 5  # samples for each feature, below which a covariance says little


COPIES_SHOWED = 24


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
    labels = torch.zeros(0, dtype=torch.int64) if generator.task.class_names else None
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
