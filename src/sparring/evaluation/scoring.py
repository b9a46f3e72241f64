"""How generators are scored: the steps that generated samples and translated images share."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from sparring.apply.generator import TrainedGenerator
from sparring.base.device import find_device, prepared
from sparring.base.errors import UserError
from sparring.base.version import __version__
from sparring.data.samples import Data
from sparring.evaluation.measuring import Value, compute
from sparring.evaluation.options import Options, deciding_value, measures_of, metric_names
from sparring.evaluation.protocol import Protocol, Scores
from sparring.game.game import Game
from sparring.metrics.distribution import Estimate
from sparring.metrics.extractors import Prepared
from sparring.recipe import Recipe
from sparring.tasks.base import Task

FEW = 5  # samples for each feature, below which a covariance says little
NO_EXTRACTOR = "none"


class Scoring(ABC):
    """Scores generators by the same options on the same data. What does not depend on the generator, such as the
    features of real samples, is computed once for all of them. `train` is what runs are trained on; `held_out` are
    samples of the same distribution that they never see, if there are any."""

    scores: Sequence[str] = ()  # the task's own; none for generated samples
    images: Data | None = None  # the test images that runs are shown by; None where samples are drawn

    def __init__(self, train: Data, options: Options, held_out: Data | None) -> None:
        self.train, self.options, self.held_out = train, options, held_out
        self.device = find_device(options.device)

    @abstractmethod
    def for_task(self, task: Task) -> Scoring:
        """The scoring of another task of the same kind; what is known of the data is shared."""

    @abstractmethod
    def check(self, recipe: Recipe, task: Task, name: str) -> None:
        """Raise UserError if a metric that was named cannot be computed of runs of a recipe and its task, and prepare
        the extractor; `name` is that of the run in messages."""

    @abstractmethod
    def warm_up(self) -> None:
        """Compute what does not depend on the generator now, so that the first scores cost no more than others."""

    @abstractmethod
    def same_protocol(self, found: Protocol) -> bool:
        """These options measure with the protocol of scores that were found."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What the deciding value compares, in words."""

    @abstractmethod
    def _made(self, generator: TrainedGenerator, game: Callable[[], Game] | None) -> Any:
        """What a generator makes, to be scored."""

    @abstractmethod
    def _values(self, scored: Any, notes: list[str]) -> Mapping[str, Value]:
        """The metrics' values by name; what one must know to read them is added to the notes."""

    @abstractmethod
    def _protocol(self, scored: Any, values: Collection[str]) -> Protocol:
        """What these values were measured with."""

    def picture(self, scored: Any, scores: Scores) -> Image.Image | None:
        """A picture that belongs to the scores of what was scored, if there is one."""
        return None

    @property
    def names(self) -> list[str]:
        """The metrics that the options ask for."""
        return metric_names(self.options.metrics, self.scores)

    @property
    def deciding(self) -> str:
        """The value that decides what is best."""
        return deciding_value(self.options.metrics, self.scores)

    def score(
        self, generator: TrainedGenerator, name: str, ema: bool, game: Callable[[], Game] | None = None
    ) -> tuple[Scores, Any]:
        """Score what a generator, in evaluation mode, makes; return the scores and what was scored. The cost counts
        both. `name` is the run's; with `ema`, the weights are an average. `game` builds the game that the generator
        comes from, which may be changed. Raises UserError if a metric that was named cannot be computed."""
        start = time.perf_counter()
        with prepared(self.device):
            scored = self._made(generator, game)
            scores = self.measure(scored, name)
        protocol = replace(scores.protocol, ema=ema)
        return replace(scores, step=generator.step, protocol=protocol, cost=time.perf_counter() - start), scored

    def measure(self, scored: Any, name: str) -> Scores:
        """Compute the metrics that the options name; raises UserError if one that is named cannot be computed. Of
        `usual` and `all` it is left out, with a note."""
        start, notes = time.perf_counter(), list[str]()
        self._refuse(scored, name)
        found = self._values(scored, notes)
        if not found:
            raise UserError(f"{name} cannot be scored: {'; '.join(notes)}")
        return Scores(
            name,
            {n: value.value if isinstance(value, Estimate) else float(value) for n, value in found.items()},
            self._protocol(scored, found),
            errors={n: value.error for n, value in found.items() if isinstance(value, Estimate) and value.error},
            notes=notes,
            asked=self.names,
            cost=time.perf_counter() - start,
        )

    def _refuse(self, scored: Any, name: str) -> None:
        """Raise UserError if a metric that was named, not meant by `usual` or `all`, needs what is missing."""
        for each in [n for n in self.names if n in self.options.named]:
            if missing := measures_of(self.scores)[each].lacks(scored):
                raise UserError(f"{each} cannot be computed of {name}: it needs {missing}")

    def _compute(self, scored: Any, name: str, notes: list[str]) -> Mapping[str, Value]:
        return compute(measures_of(self.scores), name, scored, self.options.named, notes)

    def _measured_with(
        self, data: str, digest: str, split: str, reference: int, count: int, extractor: Prepared | None
    ) -> Protocol:
        """The protocol of these options; the arguments are fields of `Protocol`. No extractor: no features."""
        return Protocol(
            data=data,
            data_digest=digest,
            split=split,
            reference=reference,
            count=count,
            extractor=NO_EXTRACTOR if extractor is None else extractor.name,
            extractor_digest="" if extractor is None else extractor.digest,
            resizer="none" if extractor is None else extractor.resizer,
            weights="raw" if self.options.raw else "as sampled",
            seed=self.options.seed,
            version=__version__,
        )
