"""How to score: the options, and the metrics that can be asked for by name."""

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
    """How to score. `split` is the reference: "train", "test", or "auto": train, and for runs that turn images into
    others the test images, if there are such."""

    metrics: str = "usual"  # names with commas; see `MEASURES` and `LIKENESS`
    extractor: str = "auto"  # or a component's text
    count: int = 10_000  # samples, and at most as many reference samples
    split: str = "auto"
    seed: int = 0  # of samples and reference
    raw: bool = False  # take the generator's own weights, not their average
    device: str = "auto"  # as in `sparring.load`

    def __post_init__(self) -> None:
        names_in(self.metrics)
        check_choice("evaluate", "split", self.split, ("auto", "train", "test"))
        check_number("evaluate", "count", self.count, low=2, whole=True)
        check_number("evaluate", "seed", self.seed, low=0, whole=True)

    @property
    def named(self) -> list[str]:
        """The metrics that were named one by one, so that they must be computed."""
        return names_in(self.metrics)


def measures_of(scores: Sequence[str]) -> Mapping[str, Measure[Any]]:
    """The metrics of a task by its own scores (`Task.scores`); those of generated samples for a task without."""
    return SIMILARITY if scores else MEASURES


def names_in(text: str) -> list[str]:
    """The names in a list of metrics with commas; raises UserError if there are none, or one is unknown."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise UserError("no metric is named; write such as --metrics frechet,precision_recall, or leave it out")
    known = [*{**MEASURES, **SIMILARITY}, *GROUPS]
    for name in names:
        if name not in known:
            raise UserError(f"unknown metric {name!r}: {did_you_mean(name, known)}")
    return names


def metric_names(text: str, scores: Sequence[str] = ()) -> list[str]:
    """The metrics to compute, of names with commas between them: `usual` means a task's own `scores`, or the usual ones
    of generated samples, which have none; `all` means all that can be computed. Raises UserError if a name is unknown,
    or not of such runs."""
    measures, found = measures_of(scores), list[str]()
    usual = list(scores) or [name for name, measure in MEASURES.items() if measure.usual]
    groups = {"usual": usual, "all": [*scores, *measures]}
    for name in names_in(text):
        if name not in measures and name not in GROUPS:
            raise UserError(
                f"{name} is not for runs that turn images into others; these have: {', '.join(SIMILARITY)}"
                if scores
                else f"{name} is for runs that turn images into others, not for generated samples"
            )
        found += [n for n in groups.get(name, [name]) if n not in found]
    return list(dict.fromkeys(found))


def deciding_value(text: str, scores: Sequence[str] = ()) -> str:
    """The value that decides what is best where these metrics are named: the first one of the first metric. Raises as
    `metric_names`."""
    return next(iter(measures_of(scores)[metric_names(text, scores)[0]].better))


def better(value: str) -> int:
    """-1 if low values of that name are better, 1 if high ones are, 0 if it is reported only."""
    name = value.removesuffix(BASELINE)
    known = [*(m.better for m in MEASURES.values()), *(m.better for m in SIMILARITY.values())]
    return next((directions[name] for directions in known if name in directions), 0)
