"""Score a run that turns images into others, on test images and beside the trivial baseline."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from sparring import __version__
from sparring.data import Data
from sparring.data.samples import image_data
from sparring.device import find_device
from sparring.errors import UserError
from sparring.evaluation.examples import make_examples
from sparring.evaluation.likeness import BASELINE, LIKENESS, Examples, usual_measures
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import Protocol, Scores
from sparring.evaluation.subject import prepare_extractor
from sparring.extractors import Prepared
from sparring.generator import TrainedGenerator
from sparring.metrics import Estimate
from sparring.tasks.base import Translating

FEW = 5  # images for each feature, below which a covariance says little


@dataclass(frozen=True)
class Tests:
    """The images that runs on the same data are scored on.

    Attributes:
        train: what they were trained on.
        images: the test images, or the training images where there are no others.
        options: how to score.
    """

    train: Data
    images: Data
    options: Options

    @cached_property
    def telling(self) -> Prepared:
        """An extractor that tells the two sets apart, trained on both, for runs without pairs."""
        a, b = self.train.source, self.train
        assert a is not None
        if a.form.shape != b.form.shape:
            raise UserError("the two sets differ in their images' shape; name an extractor, such as Random()")
        labels = torch.cat([torch.zeros(len(a), dtype=torch.int64), torch.ones(len(b), dtype=torch.int64)])
        both = image_data(f"both sets of {b.name}", torch.cat([a.samples, b.samples]), labels, ("A", "B"))
        return prepare_extractor("auto", both, find_device(self.options.device))

    @cached_property
    def known(self) -> dict[tuple[int, ...], Prepared]:
        return {}

    def extractor(self, data: Data) -> Prepared:
        """What looks at images of this form."""
        if self.options.extractor == "auto" and self.images.source is not None and not self.images.paired:
            return self.telling
        shape = data.form.shape
        if shape not in self.known:
            chosen, device = self.options.extractor, find_device(self.options.device)
            self.known[shape] = prepare_extractor(chosen, data, device, self.options.trust)
        return self.known[shape]


def make_tests(train: Data, held_out: Data | None, options: Options) -> Tests:
    """The test images that the options ask for: held-out ones, unless there are none or `split` is "train".

    Raises:
        UserError: `split` is "test", and there are none.
    """
    if options.split == "test" and held_out is None:
        raise UserError(f"{train.name!r} has no held-out images; train with --held-out 0.1, or score --on others")
    return Tests(train, train if held_out is None or options.split == "train" else held_out, options)


def score_translations(generator: TrainedGenerator, tests: Tests, name: str, ema: bool) -> tuple[Scores, Examples]:
    """Turn the test images into others, and score them.

    Args:
        generator: what turns them, in evaluation mode.
        tests: on what.
        name: of the run.
        ema: are the generator's weights an average?

    Raises:
        UserError: a metric that was named cannot be computed.
    """
    start, options, task = time.perf_counter(), tests.options, generator.task
    assert isinstance(task, Translating)
    made = make_examples(generator, tests.images, tests.train, options.count, options.seed)
    examples = Examples(task, tests.images, made, tests.extractor)
    names = [n for n in usual_measures(task, options.named) if possible(examples, n, name, options)]
    values: dict[str, float] = {}
    errors: dict[str, float] = {}
    for measure in names:
        for which, suffix in (("made", ""), ("baseline", BASELINE)):
            if measure == "cycle_l1" and suffix:
                continue
            for key, value in LIKENESS[measure].compute(examples, which).items():
                values[key + suffix] = value.value if isinstance(value, Estimate) else float(value)
                if isinstance(value, Estimate) and value.error:
                    errors[key + suffix] = value.error
    protocol = replace(make_protocol(examples, tests, names), ema=ema)
    notes = notes_of(examples, tests, names)
    cost = time.perf_counter() - start
    return Scores(name, values, protocol, generator.step, None, errors, notes, names, cost=cost), examples


def possible(examples: Examples, measure: str, name: str, options: Options) -> bool:
    """Can the measure be computed?

    Raises:
        UserError: it cannot, and was named.
    """
    lacking = LIKENESS[measure].lacks(examples)
    if lacking and measure in options.named:
        raise UserError(f"{measure} cannot be computed of {name}: it needs {lacking}")
    return not lacking


def looks(names: list[str]) -> bool:
    """Does one of these measures look at images through an extractor?"""
    return bool({"frechet", "kernel_distance", "perceptual", "taken_for_target"} & set(names))


def make_protocol(examples: Examples, tests: Tests, names: list[str]) -> Protocol:
    """What such scores are measured with."""
    options = tests.options
    extractor = examples.extractor if looks(names) else None
    return Protocol(
        data=tests.images.name,
        data_digest=tests.images.digest,
        split=tests.images.split,
        reference=len(examples.all) if examples.known else len(tests.images),
        count=len(examples.all),
        extractor="none" if extractor is None else extractor.name,
        extractor_digest="" if extractor is None else extractor.digest,
        resizer="none" if extractor is None else extractor.resizer,
        weights="raw" if options.raw else "as sampled",
        seed=options.seed,
        version=__version__,
    )


def notes_of(examples: Examples, tests: Tests, names: list[str]) -> list[str]:
    """What one must know to read the scores."""
    notes = [f"the baseline: {examples.task.trivial}"]
    if tests.images is tests.train:
        notes.append("CAREFUL: these are training images; there are no others")
    if looks(names) and examples.extractor.about:
        notes.append(f"{examples.extractor.name}: {examples.extractor.about}")
    if "frechet" in names:
        count, wide = len(examples.pieces("made")), examples.extractor(examples.pieces("made")[:1]).features.shape[1]
        if count < FEW * wide:
            notes.append(
                f"CAREFUL: {count:,} images or patches are few for a Frechet distance of {wide} features; it is too "
                "large by an unknown amount, for run and baseline alike: go by kernel_distance, which is unbiased"
            )
    return notes
