"""Scoring options, and the metrics that they can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparring.base.errors import UserError, check_choice, check_number, did_you_mean
from sparring.evaluation.measures import MEASURES
from sparring.evaluation.measuring import Measure
from sparring.evaluation.similarity import BASELINE, SIMILARITY

GROUPS = ("usual", "all")


@dataclass(frozen=True)
class Options:
    """Scoring options.

    Attributes:
        metrics: names separated by commas, from `MEASURES` or, for image-to-image runs, `SIMILARITY`; "usual" or "all".
        extractor: an extractor's text, such as "Inception()"; "auto" chooses by the data.
        count: number of samples, and largest number of reference samples.
        split: reference data: "train", "test" or "auto". "auto" is the training data; for image-to-image runs it is the
            test images, if there are any.
        seed: seed of the samples and of the choice of reference samples.
        raw: score the generator's raw weights instead of their EMA.
        device: as in `sparring.load`.

    Raises:
        UserError: a field has a value that is not allowed.
    """

    metrics: str = "usual"
    extractor: str = "auto"
    count: int = 10_000
    split: str = "auto"
    seed: int = 0
    raw: bool = False
    device: str = "auto"

    def __post_init__(self) -> None:
        names_in(self.metrics)
        check_choice("evaluate", "split", self.split, ("auto", "train", "test"))
        check_number("evaluate", "count", self.count, low=2, whole=True)
        check_number("evaluate", "seed", self.seed, low=0, whole=True)

    @property
    def named(self) -> list[str]:
        """The names in `metrics`; a metric named here must be computable."""
        return names_in(self.metrics)


def measures_of(scores: Sequence[str]) -> Mapping[str, Measure[Any]]:
    """The metrics of a task: `SIMILARITY` if it has its own scores (`Task.scores`), else `MEASURES`."""
    return SIMILARITY if scores else MEASURES


METRIC_OF = {value: name for name, each in SIMILARITY.items() for value in each.better}
METRIC_OF |= {value: name for name, each in MEASURES.items() for value in each.better}
INCEPTION_NAMES = {"fid": "frechet", "kid": "kernel_distance"}


def names_in(text: str) -> list[str]:
    """Split a list of metrics at commas; UserError: there is no name, or an unknown one."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("no metric is named; write --metrics frechet,precision_recall, or leave --metrics out")
    known = [*{**MEASURES, **SIMILARITY}, *GROUPS]
    for name in names:
        if name.lower() in INCEPTION_NAMES:
            metric = INCEPTION_NAMES[name.lower()]
            use = f'write --metrics {metric} --extractor "Inception()"'
            raise UserError(f"{name!r} is {metric} with Inception features; {use}")
        if name not in known and name in METRIC_OF:
            raise UserError(f"{name!r} is a value of {METRIC_OF[name]}; write --metrics {METRIC_OF[name]}")
        if name not in known:
            raise UserError(f"unknown metric {name!r}: {did_you_mean(name, known)}")
    return names


def metric_names(text: str, scores: Sequence[str] = ()) -> list[str]:
    """The metrics to compute, each once, in the order of their names.

    Args:
        text: names separated by commas. "usual" stands for the task's own scores or, for generated samples, the metrics
            with `Measure.usual`; "all" for all metrics of such runs.
        scores: the task's own scores; empty for generated samples.

    Raises:
        UserError: a name is unknown, or a metric of other runs.
    """
    measures, found = measures_of(scores), list[str]()
    usual = list(scores) or [name for name, measure in MEASURES.items() if measure.usual]
    groups = {"usual": usual, "all": [*scores, *measures]}
    for name in names_in(text):
        if name not in measures and name not in GROUPS:
            raise UserError(
                f"{name} is a metric of generated samples; image-to-image runs have: {', '.join(SIMILARITY)}"
                if scores
                else f"{name} is a metric of image-to-image runs; generated samples have: {', '.join(MEASURES)}"
            )
        found += [n for n in groups.get(name, [name]) if n not in found]
    return list(dict.fromkeys(found))


def deciding_value(text: str, scores: Sequence[str] = ()) -> str:
    """The value that decides which checkpoint is best: the first value of the first metric.

    Args and errors are those of `metric_names`.
    """
    return next(iter(measures_of(scores)[metric_names(text, scores)[0]].better))


def better(value: str) -> int:
    """Direction of a value: -1 if lower is better, 1 if higher is better, 0 if it is only reported."""
    name = value.removesuffix(BASELINE)
    known = [*(m.better for m in MEASURES.values()), *(m.better for m in SIMILARITY.values())]
    return next((directions[name] for directions in known if name in directions), 0)
