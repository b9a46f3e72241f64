"""The metrics by name: what each one computes of a subject, what it needs, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sparring import metrics
from sparring.base.errors import UserError, did_you_mean
from sparring.evaluation.likeness import BASELINE, LIKENESS, usual_measures
from sparring.evaluation.measuring import Measure, Value
from sparring.evaluation.players import measure_critic_gap, measure_duality_gap, measure_path_length
from sparring.evaluation.subject import Subject
from sparring.metrics.distribution import MOST_TRANSPORTED
from sparring.tasks.base import Task, Translating


def _frechet(subject: Subject) -> Mapping[str, Value]:
    return {"frechet": metrics.frechet(subject.real.features, subject.fake.features)}


def _frechet_infinity(subject: Subject) -> Mapping[str, Value]:
    return {"frechet_infinity": metrics.frechet_infinity(subject.real.features, subject.fake.features)}


def _kernel(subject: Subject) -> Mapping[str, Value]:
    return {"kernel_distance": metrics.kernel_distance(subject.real.features, subject.fake.features)}


def _mmd(subject: Subject) -> Mapping[str, Value]:
    return {"mmd": metrics.mmd(subject.real.features, subject.fake.features)}


def _cmmd(subject: Subject) -> Mapping[str, Value]:
    return {"cmmd": metrics.cmmd(subject.real.features, subject.fake.features)}


def _precision_recall(subject: Subject) -> Mapping[str, Value]:
    return dict(zip(("precision", "recall"), metrics.precision_recall(subject.real.features, subject.fake.features)))


def _density_coverage(subject: Subject) -> Mapping[str, Value]:
    return dict(zip(("density", "coverage"), metrics.density_coverage(subject.real.features, subject.fake.features)))


def _sliced(subject: Subject) -> Mapping[str, Value]:
    count = min(len(subject.real), len(subject.fake))
    return {
        "sliced_wasserstein": metrics.sliced_wasserstein(subject.real.features[:count], subject.fake.features[:count])
    }


def _wasserstein(subject: Subject) -> Mapping[str, Value]:
    real, fake = (seen.features[:MOST_TRANSPORTED] for seen in (subject.real, subject.fake))
    return {"wasserstein": metrics.wasserstein(real, fake)}


def _inception(subject: Subject) -> Mapping[str, Value]:
    logits = subject.fake.logits
    assert logits is not None
    return {"inception_score": metrics.inception_score(logits, splits=10 if len(logits) >= 20 * logits.shape[1] else 1)}


def _modes(subject: Subject) -> Mapping[str, Value]:
    mixture = subject.reference.train.mixture
    if mixture is not None:
        counted = metrics.count_modes(subject.samples, mixture.centres, mixture.deviation)
        return {"modes": counted.covered, "modes_there": counted.total, "high_quality": counted.high_quality}
    logits, labels = subject.fake.logits, subject.reference.train.labels
    assert logits is not None
    assert labels is not None
    shares = torch.bincount(labels, minlength=logits.shape[1]).double() / len(labels)
    found = metrics.class_modes(logits.argmax(1), shares)
    return {"modes": found.covered, "modes_there": found.total, "kl": found.divergence, "kl_floor": found.floor}


def _bins(subject: Subject) -> Mapping[str, Value]:
    found = metrics.different_bins(subject.real.features, subject.fake.features)
    return {"different_bins": found.different, "different_bins_chance": found.expected}


def _birthday(subject: Subject) -> Mapping[str, Value]:
    found = metrics.birthday(subject.fake.features, subject.real.features)
    return {
        "support": found.size,
        "support_found": found.found,
        "near_duplicates": found.duplicates,
        "near_duplicates_real": found.expected,
    }


def _memorising(subject: Subject) -> Mapping[str, Value]:
    found = subject.copies
    return {"memorised": found.share, "memorised_chance": found.expected, "memorised_p": found.p_value}


def _class_frechet(subject: Subject) -> Mapping[str, Value]:
    labels, made_for = subject.reference.data.labels, subject.labels
    assert labels is not None
    assert made_for is not None
    found = metrics.class_frechet(subject.real.features, labels, subject.fake.features, made_for)
    names = subject.reference.train.form.classes
    if not found:
        raise UserError("no class has two samples of either kind; raise --count")
    mean = sum(found.values()) / len(found)
    return {
        "class_frechet": mean,
        "class_frechet_over": len(found),
        **{f"class_frechet/{names[c]}": value for c, value in found.items()},
    }


def _agreement(subject: Subject) -> Mapping[str, Value]:
    assert subject.fake.logits is not None
    assert subject.labels is not None
    return {"agreement": metrics.agreement(subject.fake.logits, subject.labels)}


def _needs_logits(subject: Subject) -> str:
    logits = subject.reference.extractor.classes
    return "" if logits else "an extractor with logits, such as --extractor Classifier"


def _needs_unit_length(subject: Subject) -> str:
    return "" if subject.reference.extractor.unit_length else "embeddings of length 1: --extractor CLIP()"


def _needs_modes(subject: Subject) -> str:
    known = subject.reference.train.mixture is not None or subject.reference.extractor.labels
    return "" if known else "data of known modes, or labelled data and --extractor Classifier"


def _needs_labels(subject: Subject) -> str:
    both = subject.labels is not None and subject.reference.train.labels is not None
    return "" if both else "samples made for classes, and labelled data"


def _needs_agreement(subject: Subject) -> str:
    return _needs_labels(subject) or ("" if subject.reference.extractor.labels else "--extractor Classifier")


def _needs_points(subject: Subject) -> str:
    few = subject.reference.train.form.is_points and subject.reference.train.form.shape[0] <= 8
    return "" if few else "points of at most 8 dimensions"


def _needs_generator(subject: Subject) -> str:
    return "" if subject.generator is not None else "a run, not images"


def _needs_latent(subject: Subject) -> str:
    if subject.reference.extractor.rounds:
        return "an extractor that does not round images to 256 levels, such as Classifier() or Random()"
    return _needs_generator(subject) or ("" if subject.draws_latents else "a generator of latents")


def _needs_game(subject: Subject) -> str:
    return "" if subject.game is not None else "a run, not images"


def _needs_held_out(subject: Subject) -> str:
    missing = "" if subject.reference.held_out is not None else "held-out samples: train with --held-out 0.1"
    return _needs_game(subject) or missing


MEASURES: dict[str, Measure[Subject]] = {
    "frechet": Measure("Frechet distance (FID with Inception features)", _frechet, {"frechet": -1}),
    "frechet_infinity": Measure(
        "the same for endlessly many samples, extrapolated", _frechet_infinity, {"frechet_infinity": -1}
    ),
    "kernel_distance": Measure("kernel distance (KID), unbiased", _kernel, {"kernel_distance": -1}),
    "mmd": Measure("squared MMD under a Gaussian kernel, unbiased", _mmd, {"mmd": -1}),
    "cmmd": Measure("CMMD: squared MMD of CLIP's embeddings, times 1000", _cmmd, {"cmmd": -1}, _needs_unit_length),
    "precision_recall": Measure("improved precision and recall", _precision_recall, {"precision": 1, "recall": 1}),
    "density_coverage": Measure("density and coverage", _density_coverage, {"density": 1, "coverage": 1}),
    "sliced_wasserstein": Measure("sliced Wasserstein distance", _sliced, {"sliced_wasserstein": -1}),
    "wasserstein": Measure("exact Wasserstein distance of points", _wasserstein, {"wasserstein": -1}, _needs_points),
    "inception_score": Measure("inception score", _inception, {"inception_score": 1}, _needs_logits),
    "modes": Measure(
        "modes covered, high-quality share or KL", _modes, {"modes": 1, "high_quality": 1, "kl": -1}, _needs_modes
    ),
    "different_bins": Measure("statistically different bins (NDB / K)", _bins, {"different_bins": -1}),
    "birthday": Measure("size of the support, from near-duplicates", _birthday, {"support": 1}),
    "memorising": Measure("copies of training samples", _memorising, {"memorised": -1}),
    "class_frechet": Measure(
        "mean of the classes' Frechet distances", _class_frechet, {"class_frechet": -1}, _needs_labels
    ),
    "agreement": Measure(
        "share of samples of the class they were made for", _agreement, {"agreement": 1}, _needs_agreement
    ),
    "path_length": Measure(
        "perceptual path length", measure_path_length, {"path_length": -1}, _needs_latent, usual=False
    ),
    "critic_gap": Measure(
        "D's gap between training and held-out samples",
        measure_critic_gap,
        {"overfitting": -1},
        _needs_held_out,
        usual=False,
    ),
    "duality_gap": Measure(
        "what either player can still gain", measure_duality_gap, {"duality_gap": -1}, _needs_game, usual=False
    ),
}


def find_measures(text: str) -> list[str]:
    """Names of metrics from text: commas between names; `usual` for the usual ones, `all` for all that can be computed.

    Raises:
        UserError: an unknown name.
    """
    names = check_names(text)
    strange = [name for name in names if name not in MEASURES and name not in ("usual", "all")]
    if strange:
        raise UserError(f"{strange[0]} is for runs that turn images into others, not for generated samples")
    found: list[str] = []
    for name in names:
        every = [n for n, m in MEASURES.items() if name == "all" or m.usual]
        found += [n for n in (every if name in ("usual", "all") else [name]) if n not in found]
    return found


def check_names(text: str) -> list[str]:
    """The names in a list of metrics with commas between them.

    Raises:
        UserError: there are none, or one is unknown.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("no metric is named; write such as --metrics frechet,precision_recall, or leave it out")
    known = [*MEASURES, *(name for name in LIKENESS if name not in MEASURES), "usual", "all"]
    for name in names:
        if name not in known:
            raise UserError(f"unknown metric {name!r}: {did_you_mean(name, known)}")
    return names


def deciding_value(text: str, task: Task | None = None) -> str:
    """The value that decides what is best where these metrics are named: the first one of the first metric.

    Args:
        text: as for `find_measures`.
        task: what the run is trained for; `usual` and `all` mean its own first score, if it turns images into others.

    Raises:
        UserError: an unknown name, or the first is not for such runs.
    """
    first = check_names(text)[0]
    if isinstance(task, Translating):
        return next(iter(LIKENESS[usual_measures(task, [first])[0]].better))
    if first in LIKENESS and first not in MEASURES:
        return next(iter(LIKENESS[first].better))
    return next(iter(MEASURES[find_measures(text)[0]].better))


def better(value: str) -> int:
    """-1 if low values of that name are better, 1 if high ones are, 0 if it is told only."""
    name = value.removesuffix(BASELINE)
    known = [*(m.better for m in MEASURES.values()), *(m.better for m in LIKENESS.values())]
    return next((ways[name] for ways in known if name in ways), 0)
