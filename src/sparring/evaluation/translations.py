"""Score a run that turns images into others, on test images and beside the trivial baseline."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from sparring.apply.generator import TrainedGenerator
from sparring.assemble.build import HeldOut, build_generator, build_task
from sparring.base.device import find_device
from sparring.base.errors import UserError
from sparring.base.version import __version__
from sparring.data.samples import Data, image_data
from sparring.evaluation.examples import make_examples
from sparring.evaluation.likeness import BASELINE, LIKENESS, Examples, Outcome, usual_measures
from sparring.evaluation.measuring import Value, check_possible, compute, errors_of, values_of
from sparring.evaluation.options import Options
from sparring.evaluation.protocol import Protocol, Scores, differences
from sparring.evaluation.subject import prepare_extractor
from sparring.metrics.extractors import Prepared
from sparring.recipe import Recipe
from sparring.tasks.base import Translating

NO_EXTRACTOR = "none"
FEW = 5  # images for each feature, below which a covariance says little


@dataclass(frozen=True)
class Tests:
    """The images that runs on the same data are scored on.

    Attributes:
        train: what they were trained on.
        images: the test images, or the training images where there are no others.
        options: how to score.
        told: what was done to the images.
    """

    train: Data
    images: Data
    options: Options
    told: tuple[str, ...] = ()

    @cached_property
    def telling(self) -> Prepared:
        """An extractor that tells the two sets apart, trained on both, for runs without pairs."""
        a, b = self.train.source, self.train
        assert a is not None
        labels = torch.cat([torch.zeros(len(a), dtype=torch.int64), torch.ones(len(b), dtype=torch.int64)])
        both = image_data(f"both sets of {b.name}", torch.cat([a.samples, b.samples]), labels, ("A", "B"))
        return prepare_extractor("auto", both, find_device(self.options.device))

    @cached_property
    def known(self) -> dict[tuple[int, ...], Prepared]:
        return {}

    def protocol(self, task: Translating, extractor: Prepared | None) -> Protocol:
        """What scores of these images are measured with; None: by measures that look at no features."""
        options, images, degradation = self.options, self.images, task.degradation
        count = min(options.count, len(images if images.source is None else images.source))
        return Protocol(
            data=images.name,
            data_digest=images.digest,
            split=images.split,
            reference=count if images.source is None or images.paired else len(images),
            count=count,
            extractor=NO_EXTRACTOR if extractor is None else extractor.name,
            extractor_digest="" if extractor is None else extractor.digest,
            resizer="none" if extractor is None else extractor.resizer,
            weights="raw" if options.raw else "as sampled",
            degradation=f"{degradation}, seed {options.seed}" if degradation else "",
            seed=options.seed,
            version=__version__,
        )

    def same_protocol(self, task: Translating, found: Protocol) -> bool:
        """Would these options measure with the protocol of scores that were found?"""
        extractor = None if found.extractor == NO_EXTRACTOR else self.extractor(self.images)
        expected = replace(self.protocol(task, extractor), resizer=found.resizer)  # it depends on the pieces' size, too
        return not differences(found, expected)

    def extractor(self, data: Data) -> Prepared:
        """What looks at images of this form."""
        a, b = self.train.source, self.train
        sets = a is not None and not b.paired and a.form.shape == b.form.shape
        if self.options.extractor == "auto" and sets:
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


def recipe_tests(recipe: Recipe, data: Data, options: Options, name: str, held_out: HeldOut | None = None) -> Tests:
    """The test images of a recipe's runs, once it is known that what is made of them can be scored.

    Args:
        recipe: the recipe, of a task that turns images into others.
        data: what it trains on.
        options: how to score.
        name: of the run, for messages.
        held_out: its held-out images, if they are at hand.

    Raises:
        UserError: as `make_tests`, and if a metric that was named cannot be computed of such runs.
    """
    tests = make_tests(data, (held_out or HeldOut(recipe, options.trust, data)).data, options)
    device, task = find_device(options.device), build_task(recipe, data.form, options.trust)
    assert isinstance(task, Translating)
    names = usual_measures(task, options.named)
    with torch.random.fork_rng(devices=[]):  # the start of networks is seeded
        network = build_generator(recipe, data.form, options.trust).to(device).eval()
    one = make_examples(TrainedGenerator(network, task, recipe, data.form, 0), tests.images, data, 1, options.seed)
    outcome = Examples(task, tests.images, one, tests.extractor).run
    check_possible(LIKENESS, names, outcome, name, options.named)
    if looks(names):
        outcome.examples.extractor  # noqa: B018  what is prepared once is no cost of the first evaluation
    return tests


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
    names, named, notes = usual_measures(task, options.named), options.named, notes_of(task, tests)
    run, trivial = examples.run, examples.trivial
    check_possible(LIKENESS, names, run, name, named)
    found: dict[str, Value] = {}
    for measure in names:
        lacking = LIKENESS[measure].lacks(run) if measure in task.scores else ""
        if lacking:
            notes.append(f"{measure} left out: it needs {lacking}")
        values = compute(LIKENESS, measure, run, named, notes)
        beside = compute(LIKENESS, measure, trivial, named, notes) if values else {}
        found |= {**values, **{key + BASELINE: value for key, value in beside.items()}}
    if not found:
        raise UserError(f"{name} cannot be scored: {'; '.join(notes)}")
    protocol = replace(tests.protocol(task, examples.extractor if looks(list(found)) else None), ema=ema)
    notes += [*exact_notes(examples, list(found)), *extractor_notes(run, list(found))]
    scores = Scores(
        name,
        values_of(found),
        protocol,
        generator.step,
        errors=errors_of(found),
        notes=notes,
        asked=names,
        cost=time.perf_counter() - start,
    )
    return scores, examples


def looks(values: list[str]) -> bool:
    """Is one of these values of what an extractor sees in images?"""
    return bool({"frechet", "kernel_distance", "perceptual", "taken_for_target"} & set(values))


def notes_of(task: Translating, tests: Tests) -> list[str]:
    """What one must know to read any of the scores."""
    careful = ["CAREFUL: these are training images; there are no others"] if tests.images is tests.train else []
    return [f"the baseline: {task.trivial}", *careful, *tests.told]


def exact_notes(examples: Examples, values: list[str]) -> list[str]:
    """Of how many images there is no PSNR."""
    notes = []
    for name in ("psnr", "psnr_hole"):
        left = int((~examples.inexact(name)).sum()) if name in values else 0
        if left:
            notes.append(
                f"{name} without {left} of {len(examples.all)} images, of which the baseline makes exactly what they "
                "should be: its own is infinite"
            )
    return notes


def extractor_notes(run: Outcome, values: list[str]) -> list[str]:
    """What one must know to read values of what an extractor sees."""
    notes = []
    if looks(values) and run.examples.extractor.about:
        notes.append(f"{run.examples.extractor.name}: {run.examples.extractor.about}")
    if "frechet" in values:
        count, wide = len(run.pieces), run.seen.features.shape[1]
        if count < FEW * wide:
            notes.append(
                f"CAREFUL: {count:,} images or patches are few for a Frechet distance of {wide} features; it is too "
                "large by an unknown amount, for run and baseline alike: go by kernel_distance, which is unbiased"
            )
    return notes
