"""Scores of image-to-image runs on test images, compared with a trivial baseline."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import torch

from sparring.apply.generator import TrainedGenerator
from sparring.assemble.build import build_generator
from sparring.base.device import prepared
from sparring.base.errors import UserError
from sparring.data.samples import Data, image_data
from sparring.evaluation.examples import Examples, Outcome, make_examples, recoloured
from sparring.evaluation.measuring import Value
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import Protocol, differences
from sparring.evaluation.scoring import MIN_PER_FEATURE, NO_EXTRACTOR, Scoring
from sparring.evaluation.similarity import BASELINE, SIMILARITY
from sparring.evaluation.subject import prepare_extractor
from sparring.game.game import Game
from sparring.metrics.extractors import Prepared
from sparring.recipe import Recipe
from sparring.tasks.base import Task, Translating

FEATURE_METRICS = {"frechet", "kernel_distance", "perceptual", "taken_for_target"}  # metrics that use an extractor


class Translated(Scoring):
    """Scores image-to-image runs on test images, with the trivial baseline's scores.

    Raises:
        UserError: there are no test images but the options score on them.
    """

    def __init__(
        self, task: Translating, train: Data, options: Options, held_out: Data | None = None, on: Data | None = None
    ) -> None:
        super().__init__(train, options, held_out)
        if options.split == "test" and held_out is None and on is None:
            raise UserError(f"{train.name!r} has no held-out images; train with --held-out 0.1, or give --on IMAGES")
        self.task, self.scores = task, task.scores
        fitting = None if on is None else recoloured(on, train)
        unseen = held_out if fitting is None else replace(fitting, split="test")
        self.tests = train if unseen is None or (on is None and options.split == "train") else unseen
        self.images = self.tests
        self._notes = ["WARNING: scored on training images"] if self.tests is train else []
        if fitting is not on:
            self._notes.append(
                "the test images have other channels than the run's: grey is converted to RGB, or RGB to grey"
            )
        self._examples: dict[str, Examples] = {}
        self._extractors: dict[tuple[int, ...], Prepared] = {}

    def for_task(self, task: Task) -> Scoring:
        assert isinstance(task, Translating)
        other = copy.copy(self)
        other.task, other.scores = task, task.scores
        return other

    @property
    def examples(self) -> Examples:
        """The test images with targets and baseline, prepared once per task."""
        key = repr(self.task)
        if key not in self._examples:
            with prepared(self.device):
                self._examples[key] = self._first_examples(self.options.count)
        return self._examples[key]

    def check(self, recipe: Recipe, task: Task, name: str) -> None:
        with prepared(self.device):
            network = build_generator(recipe, self.train.form).to(self.device).eval()
            generator = TrainedGenerator(network, task, recipe, self.train.form, 0)
            examples = self._first_examples(1)
            self._check_named(examples.outcome(generator), name)
            if FEATURE_METRICS & set(self.names):
                examples.extractor  # noqa: B018

    def warm_up(self) -> None:
        examples = self.examples
        if FEATURE_METRICS & set(self.names):
            examples.real  # noqa: B018

    def same_protocol(self, found: Protocol) -> bool:
        extractor = None if found.extractor == NO_EXTRACTOR else self._extractor(self.tests)
        expected = replace(self._protocol_of(extractor), resizer=found.resizer)  # it depends on the pieces' size, too
        return not differences(found, expected)

    @property
    def about(self) -> str:
        return f"of outputs for {'held-out' if self.options.split == 'test' else 'training'} images"

    def _generate(self, generator: TrainedGenerator, game: Callable[[], Game] | None) -> Outcome:
        return self.examples.outcome(generator)

    def _values(self, scored: Outcome, notes: list[str]) -> Mapping[str, Value]:
        notes += [f"baseline: {self.task.baseline_name}", *self._notes]
        found: dict[str, Value] = {}
        for name in self.names:
            missing = SIMILARITY[name].missing(scored) if name in self.scores else ""
            notes += [f"{name} left out: it needs {missing}"] if missing else []
            values = self._compute(scored, name, notes)
            baseline = self._baseline_values(scored.examples, name, notes) if values else {}
            found |= {**values, **{key + BASELINE: value for key, value in baseline.items()}}
        notes += _exact_notes(scored, found)
        if FEATURE_METRICS & set(found) and scored.examples.extractor.about:
            notes.append(f"{scored.examples.extractor.name}: {scored.examples.extractor.about}")
        if "frechet" in found and len(scored.pieces) < MIN_PER_FEATURE * scored.fake.features.shape[1]:
            dimension = scored.fake.features.shape[1]
            notes.append(
                f"WARNING: {len(scored.pieces):,} images or patches are too few for a stable Frechet distance of "
                f"{dimension:,} features (at least {MIN_PER_FEATURE * dimension:,}): it is biased upwards, for the run "
                "and the baseline; compare kernel_distance (KID), which is unbiased"
            )
        return found

    def _baseline_values(self, examples: Examples, name: str, notes: list[str]) -> Mapping[str, Value]:
        """The baseline's values of a metric, computed once."""
        if name not in examples.baseline_scores:
            remarks: list[str] = []
            examples.baseline_scores[name] = self._compute(examples.baseline_outcome, name, remarks), remarks
        values, remarks = examples.baseline_scores[name]
        notes += remarks
        return values

    def _protocol(self, scored: Outcome, values: Collection[str]) -> Protocol:
        return self._protocol_of(scored.examples.extractor if FEATURE_METRICS & set(values) else None)

    def _protocol_of(self, extractor: Prepared | None) -> Protocol:
        """The protocol of scores; no extractor if they use no features."""
        tests, degradation = self.tests, self.task.degradation
        count = min(self.options.count, len(tests if tests.source is None else tests.source))
        against = count if tests.source is None or tests.paired else len(tests)
        found = self._measured_with(tests.name, tests.digest, tests.split, against, count, extractor)
        return replace(found, degradation=f"{degradation}, seed {self.options.seed}") if degradation else found

    def _first_examples(self, count: int) -> Examples:
        return make_examples(self.task, self.tests, self.train, count, self.options.seed, self._extractor)

    def _extractor(self, data: Data) -> Prepared:
        """The extractor for images of this form. For two sets of one shape, `auto` is a classifier of the two sets."""
        a, b, options = self.train.source, self.train, self.options
        separate = options.extractor == "auto" and a is not None and not b.paired and a.form.shape == b.form.shape
        key = () if separate else data.form.shape
        if key not in self._extractors:
            if separate and a is not None:
                labels = torch.cat([torch.zeros(len(a), dtype=torch.int64), torch.ones(len(b), dtype=torch.int64)])
                data = image_data(f"both sets of {b.name}", torch.cat([a.samples, b.samples]), labels, ("A", "B"))
            else:
                data = image_data(data.name, data.samples)  # pieces of images have no labels
            self._extractors[key] = prepare_extractor(options.extractor, data, self.device)
        return self._extractors[key]


def _exact_notes(outcome: Outcome, values: Collection[str]) -> list[str]:
    """Notes on images that are left out of PSNR."""
    notes = []
    for name in ("psnr", "psnr_hole"):
        left = int((~outcome.examples.finite_baseline(name)).sum()) if name in values else 0
        if left:
            notes.append(
                f"{name} leaves out {left} of {len(outcome.images)} images: their baseline equals the target, so its "
                "PSNR is infinite"
            )
    return notes
