"""How to score."""

from __future__ import annotations

from dataclasses import dataclass

from sparring.base.errors import check_choice, check_number
from sparring.evaluation.names import named


@dataclass(frozen=True)
class Options:
    """How to score.

    Attributes:
        metrics: names with commas; see `sparring.evaluation.MEASURES`.
        extractor: a component's text, or `auto`.
        count: samples, and at most as many reference samples.
        split: the reference: "train", "test", or "auto": train, and for runs that turn images into others the test
            images, if there are such.
        seed: of samples and reference.
        raw: take the generator's own weights, not their average.
        device, trust: as in `sparring.load`.
    """

    metrics: str = "usual"
    extractor: str = "auto"
    count: int = 10_000
    split: str = "auto"
    seed: int = 0
    raw: bool = False
    device: str = "auto"
    trust: bool = False

    def __post_init__(self) -> None:
        named(self.metrics)
        check_choice("evaluate", "split", self.split, ("auto", "train", "test"))
        check_number("evaluate", "count", self.count, low=2, whole=True)
        check_number("evaluate", "seed", self.seed, low=0, whole=True)

    @property
    def reference(self) -> str:
        """The split that generated samples are compared with."""
        return "train" if self.split == "auto" else self.split

    @property
    def named(self) -> list[str]:
        """The metrics that were named one by one, so that they must be computed."""
        return named(self.metrics)
