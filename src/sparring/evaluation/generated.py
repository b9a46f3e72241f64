"""Scores of generated samples, of a run or from any other source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from PIL import Image
from torch import nn

from sparring.apply.generator import TrainedGenerator
from sparring.base.device import prepared
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.pictures import grid
from sparring.data.samples import Data
from sparring.evaluation.measuring import Value
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import Protocol, Scores, differences
from sparring.evaluation.scoring import MIN_PER_FEATURE, Scoring
from sparring.evaluation.subject import Reference, Subject, check_same_shape, prepare_extractor, shuffled
from sparring.game.game import Game
from sparring.recipe import Recipe
from sparring.tasks.base import Task

COPIES_SHOWN = 24


class Generated(Scoring):
    """Scores generated samples against `reference`, real samples with their features.

    Raises:
        UserError: no samples are held out but the options score against them, or the extractor is not available.
    """

    def __init__(self, train: Data, options: Options, held_out: Data | None = None) -> None:
        super().__init__(train, options, held_out)
        if held_out is not None:
            check_same_shape(held_out, train)
        if options.split == "test" and held_out is None:
            raise UserError(f"{train.name!r} has no held-out samples; take --split train, or train with --held-out 0.1")
        with prepared(self.device):  # as in training, so that equal samples get equal scores
            extractor = prepare_extractor(options.extractor, train, self.device)
        whole = train if held_out is None or options.split != "test" else held_out
        data = shuffled(whole, options.count, derive_seed(options.seed, "reference"))
        self.reference = Reference(train, held_out, data, extractor)

    def for_task(self, task: Task) -> Scoring:
        return self

    def check(self, recipe: Recipe, task: Task, name: str) -> None:
        generator = TrainedGenerator(nn.Identity(), task, recipe, self.train.form, 0)
        with prepared(self.device):
            labels = torch.zeros(0, dtype=torch.int64) if task.class_names else None
            self._check_named(Subject(self.reference, self.train.samples[:0], labels, generator, _no_game), name)

    def warm_up(self) -> None:
        self.reference.real  # noqa: B018

    def same_protocol(self, found: Protocol) -> bool:
        return not differences(found, self._protocol_of(self._count))

    @property
    def about(self) -> str:
        against = "held-out" if self.options.split == "test" else "training"
        return f"({self.reference.extractor.name}) of {self._count:,} new samples to as many {against} samples"

    def picture(self, scored: Subject, scores: Scores) -> Image.Image | None:
        """A picture of the nearest copies, if `memorising` was computed on images."""
        measured = "memorised" in scores.values and not self.train.form.is_points
        return self.copies(scored) if measured else None

    def copies(self, subject: Subject) -> Image.Image:
        """A picture of the samples closest to the training set, each to the left of its nearest training sample."""
        found = subject.copies
        closest = found.distance.argsort()[:COPIES_SHOWN]
        pairs = torch.stack([subject.samples[closest], self.train.take(found.index[closest])], 1)
        return grid(pairs.flatten(0, 1), columns=8)

    @property
    def _count(self) -> int:
        return min(self.options.count, len(self.reference.data))

    def _generate(self, generator: TrainedGenerator, game: Callable[[], Game] | None) -> Subject:
        samples, labels = generator.sample_labelled(self._count, seed=self.options.seed)
        return Subject(self.reference, samples, labels, generator, game, self.options.seed)

    def _values(self, scored: Subject, notes: list[str]) -> Mapping[str, Value]:
        names, extractor = self.names, self.reference.extractor
        notes += small_sample_notes(scored, names)
        unbiased = ["kernel_distance"] if notes and "kernel_distance" not in names else []
        found: dict[str, Value] = {}
        for name in [*names, *unbiased]:
            found.update(self._compute(scored, name, notes))
        compared = [name for name in ("memorised", "duality_gap") if name in found]
        if self.held_out is None and compared:
            notes.append(f"no held-out samples: training samples stand in for them in {' and '.join(compared)}")
        notes += [f"{extractor.name}: {extractor.about}"] if extractor.about else []
        return found

    def _protocol(self, scored: Subject, values: Collection[str]) -> Protocol:
        return self._protocol_of(len(scored.samples))

    def _protocol_of(self, count: int) -> Protocol:
        reference, split = self.reference, "test" if self.options.split == "test" else "train"
        where = (self.train.name, reference.digest, split, len(reference.data), count)
        return self._measured_with(*where, reference.extractor)


def small_sample_notes(subject: Subject, names: Collection[str]) -> list[str]:
    """Warnings for Frechet distances of too few samples."""
    dimension = subject.real.features.shape[1]
    counts = (
        {"a stable Frechet distance": min(len(subject.real), len(subject.fake))}
        if {"frechet", "frechet_infinity"} & set(names)
        else {}
    )
    labels, requested = subject.reference.data.labels, subject.labels
    if "class_frechet" in names and labels is not None and requested is not None:
        shared = set(labels.tolist()) & set(requested.tolist())
        smallest = min((int((s == c).sum()) for c in shared for s in (labels, requested)), default=0)
        counts["a stable Frechet distance per class"] = smallest
    return [
        f"WARNING: {count:,} samples are too few for {what} of {dimension:,} features (at least "
        f"{MIN_PER_FEATURE * dimension:,}): it is biased upwards; compare kernel_distance (KID), which is unbiased"
        for what, count in counts.items()
        if count < MIN_PER_FEATURE * dimension
    ]


def _no_game() -> Game:
    raise AssertionError("a check needs no game")
