"""The metrics of generated samples by name: what each computes, what it needs, and its better direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.evaluation.measuring import Measure, Need, Value, single
from sparring.evaluation.players import measure_critic_gap, measure_duality_gap, measure_path_length
from sparring.evaluation.subject import Subject
from sparring.metrics.distribution import (
    MAX_TRANSPORTED,
    Estimate,
    agreement,
    class_frechet,
    cmmd,
    frechet,
    frechet_infinity,
    inception_score,
    kernel_distance,
    mmd,
    sliced_wasserstein,
    wasserstein,
)
from sparring.metrics.modes import class_modes, count_modes, different_bins
from sparring.metrics.neighbours import birthday, density_coverage, precision_recall
from sparring.metrics.periodic import SMALLEST, grid_share

Measured = Callable[[Subject], Mapping[str, Value]]


def _equal_counts(subject: Subject, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Features of equally many real and generated samples, at most `most` of each."""
    count = min(len(subject.real), len(subject.fake))
    return subject.real.features[:count][:most], subject.fake.features[:count][:most]


def _wasserstein(subject: Subject) -> Value:
    return wasserstein(*_equal_counts(subject, MAX_TRANSPORTED))


def _of_features(metric: Callable[[Tensor, Tensor], Value]) -> Callable[[Subject], Value]:
    """A metric of the features of real and generated samples."""
    return lambda subject: metric(subject.real.features, subject.fake.features)


def _pair(about: str, metric: Callable[[Tensor, Tensor], tuple[float, float]], *values: str) -> Measure[Subject]:
    """A metric of features with two values, named after both; higher is better."""

    def compute(subject: Subject) -> Mapping[str, Value]:
        return dict(zip(values, metric(subject.real.features, subject.fake.features)))

    return Measure("_".join(values), about, compute, dict.fromkeys(values, 1))


def _on_request(name: str, about: str, compute: Measured, better: str, *needs: Need[Subject]) -> Measure[Subject]:
    """A metric that is only computed when named; lower values of `better` are better."""
    return Measure(name, about, compute, {better: -1}, needs, usual=False)


def _inception(subject: Subject) -> Estimate:
    logits = subject.fake.logits
    assert logits is not None
    return inception_score(logits, splits=10 if len(logits) >= 20 * logits.shape[1] else 1)


def _modes(subject: Subject) -> Mapping[str, Value]:
    mixture = subject.reference.train.mixture
    if mixture is not None:
        counted = count_modes(subject.samples, mixture.centres, mixture.deviation)
        return {"modes": counted.covered, "modes_there": counted.total, "high_quality": counted.high_quality}
    logits, labels = subject.fake.logits, subject.reference.train.labels
    assert logits is not None
    assert labels is not None
    shares = torch.bincount(labels, minlength=logits.shape[1]).double() / len(labels)
    found = class_modes(logits.argmax(1), shares)
    return {"modes": found.covered, "modes_there": found.total, "kl": found.divergence, "kl_floor": found.floor}


def _bins(subject: Subject) -> Mapping[str, Value]:
    found = different_bins(subject.real.features, subject.fake.features)
    return {"different_bins": found.different, "different_bins_chance": found.expected}


def _birthday(subject: Subject) -> Mapping[str, Value]:
    found = birthday(subject.fake.features, subject.real.features)
    pairs = {"near_duplicates": found.duplicates, "near_duplicates_real": found.expected}
    return {"support": found.size, "support_found": found.found, **pairs}


def _memorising(subject: Subject) -> Mapping[str, Value]:
    found = subject.copies
    return {"memorised": found.share, "memorised_chance": found.expected, "memorised_p": found.p_value}


def _grid(subject: Subject) -> Mapping[str, Value]:
    found, expected = grid_share(subject.reference.data.samples, subject.samples)
    return {"grid": found, "grid_real": expected}


def _class_frechet(subject: Subject) -> Mapping[str, Value]:
    labels, requested = subject.reference.data.labels, subject.labels
    assert labels is not None
    assert requested is not None
    found = class_frechet(subject.real.features, labels, subject.fake.features, requested)
    names = subject.reference.train.form.classes
    if not found:
        raise UserError("no class has 2 real and 2 generated samples; raise --count")
    mean, each = sum(found.values()) / len(found), {f"class_frechet/{names[c]}": v for c, v in found.items()}
    return {"class_frechet": mean, "class_frechet_over": len(found), **each}


def _agreement(subject: Subject) -> float:
    assert subject.fake.logits is not None
    assert subject.labels is not None
    return agreement(subject.fake.logits, subject.labels)


def _few_dimensions(subject: Subject) -> bool:
    form = subject.reference.train.form
    return form.is_points and form.shape[0] <= 8


def _has_fine_structure(subject: Subject) -> bool:
    form = subject.reference.train.form
    return not form.is_points and min(form.shape[1:]) >= SMALLEST


def _labelled(subject: Subject) -> bool:
    return subject.labels is not None and subject.reference.train.labels is not None


UNIT_LENGTH = Need[Subject](lambda s: s.reference.extractor.unit_length, "embeddings of length 1: --extractor CLIP()")
LOGITS = Need[Subject](
    lambda s: bool(s.reference.extractor.classes), "an extractor with logits: --extractor Classifier"
)
MODES = Need[Subject](
    lambda s: s.reference.train.mixture is not None or s.reference.extractor.labels,
    "data with known modes, or labelled data and --extractor Classifier",
)
LABELS = Need[Subject](_labelled, "samples generated for classes, and labelled data")
CLASSIFIER = Need[Subject](lambda s: s.reference.extractor.labels, "a classifier of the data: --extractor Classifier")
POINTS = Need[Subject](_few_dimensions, "points of at most 8 dimensions")
IMAGES = Need[Subject](_has_fine_structure, f"images of at least {SMALLEST}x{SMALLEST}")
SMOOTH = Need[Subject](
    lambda s: not s.reference.extractor.rounds,
    "an extractor that does not round images to 256 levels, such as Classifier() or Random()",
)
GENERATOR = Need[Subject](lambda s: s.generator is not None, "a run instead of images")
LATENTS = Need[Subject](lambda s: s.draws_latents, "a generator with latents")
GAME = Need[Subject](lambda s: s.game is not None, "a run instead of images")
HELD_OUT = Need[Subject](lambda s: s.reference.held_out is not None, "held-out samples: train with --held-out 0.1")

_MEASURES: tuple[Measure[Subject], ...] = (
    single("frechet", "Frechet distance (FID with Inception features)", _of_features(frechet), -1),
    single(
        "frechet_infinity",
        "Frechet distance for infinitely many samples",
        _of_features(frechet_infinity),
        -1,
    ),
    single("kernel_distance", "kernel distance (KID), unbiased", _of_features(kernel_distance), -1),
    single("mmd", "squared MMD under a Gaussian kernel, unbiased", _of_features(mmd), -1),
    single("cmmd", "CMMD: 1000 times the squared MMD of CLIP's embeddings", _of_features(cmmd), -1, UNIT_LENGTH),
    _pair("improved precision and recall", precision_recall, "precision", "recall"),
    _pair("density and coverage", density_coverage, "density", "coverage"),
    single("sliced_wasserstein", "sliced Wasserstein distance", lambda s: sliced_wasserstein(*_equal_counts(s)), -1),
    single("wasserstein", "exact 2-Wasserstein distance of points", _wasserstein, -1, POINTS),
    single("inception_score", "inception score", _inception, 1, LOGITS),
    Measure(
        "modes",
        "covered modes, high-quality share or KL",
        _modes,
        {"modes": 1, "high_quality": 1, "kl": -1},
        (MODES,),
    ),
    Measure("different_bins", "statistically different bins (NDB / K)", _bins, {"different_bins": -1}),
    Measure("birthday", "size of the support, estimated from near-duplicates", _birthday, {"support": 1}),
    Measure("memorising", "share of samples that copy training samples", _memorising, {"memorised": -1}),
    Measure("class_frechet", "mean Frechet distance within classes", _class_frechet, {"class_frechet": -1}, (LABELS,)),
    single(
        "agreement",
        "share of samples of the requested class",
        _agreement,
        1,
        LABELS,
        CLASSIFIER,
    ),
    _on_request("grid", "share of images with a grid (periodic pattern)", _grid, "grid", IMAGES),
    _on_request(
        "path_length", "perceptual path length", measure_path_length, "path_length", SMOOTH, GENERATOR, LATENTS
    ),
    _on_request(
        "critic_gap",
        "D's gap between training and held-out samples",
        measure_critic_gap,
        "overfitting",
        GAME,
        HELD_OUT,
    ),
    _on_request("duality_gap", "what G and D can still gain", measure_duality_gap, "duality_gap", GAME),
)
MEASURES = {measure.name: measure for measure in _MEASURES}
