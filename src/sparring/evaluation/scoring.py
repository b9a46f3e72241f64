"""Base class of scorings: the steps that generated samples and image-to-image runs share."""

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

MIN_PER_FEATURE = 5  # samples per feature; fewer give unreliable covariances
NO_EXTRACTOR = "none"


class Scoring(ABC):
    """Scores generators with the same options on the same data; features of real samples are computed once.

    Attributes:
        train: the training data.
        held_out: samples of the same distribution that are not trained on, or None.
        options: how to score.
        scores: the task's own scores; empty for generated samples.
        images: test images of image-to-image runs; None for generated samples.
    """

    scores: Sequence[str] = ()
    images: Data | None = None

    def __init__(self, train: Data, options: Options, held_out: Data | None) -> None:
        self.train, self.options, self.held_out = train, options, held_out
        self.device = find_device(options.device)

    @abstractmethod
    def for_task(self, task: Task) -> Scoring:
        """The scoring of another task of the same kind, which shares features of the data."""

    @abstractmethod
    def check(self, recipe: Recipe, task: Task, name: str) -> None:
        """Check that the named metrics can be computed for a recipe's runs, and prepare the extractor.

        Args:
            recipe: the recipe.
            task: its task.
            name: the run's name in messages.

        Raises:
            UserError: a named metric cannot be computed.
        """

    @abstractmethod
    def warm_up(self) -> None:
        """Compute features of the real data now, so that the first scores take no longer than others."""

    @abstractmethod
    def same_protocol(self, found: Protocol) -> bool:
        """True if scores of this protocol are comparable with scores by these options."""

    @property
    @abstractmethod
    def about(self) -> str:
        """What the deciding value is measured on; continues its name in messages."""

    @abstractmethod
    def _generate(self, generator: TrainedGenerator, game: Callable[[], Game] | None) -> Any:
        """Run a generator; the result is what the metrics score."""

    @abstractmethod
    def _values(self, scored: Any, notes: list[str]) -> Mapping[str, Value]:
        """Compute the metrics' values by name; add remarks and warnings to the notes."""

    @abstractmethod
    def _protocol(self, scored: Any, values: Collection[str]) -> Protocol:
        """The protocol of these values."""

    def picture(self, scored: Any, scores: Scores) -> Image.Image | None:
        """A picture to save with the scores, or None."""
        return None

    @property
    def names(self) -> list[str]:
        """The requested metrics."""
        return metric_names(self.options.metrics, self.scores)

    @property
    def deciding(self) -> str:
        """The value that decides which checkpoint is best."""
        return deciding_value(self.options.metrics, self.scores)

    def score(
        self, generator: TrainedGenerator, name: str, ema: bool, game: Callable[[], Game] | None = None
    ) -> tuple[Scores, Any]:
        """Run a generator and score its outputs.

        Args:
            generator: the generator, in evaluation mode.
            name: the run's name.
            ema: the weights are an EMA.
            game: builds the generator's game; metrics may train its networks.

        Returns:
            The scores, whose cost includes generation, and the outputs that were scored.

        Raises:
            UserError: a named metric cannot be computed.
        """
        start = time.perf_counter()
        with prepared(self.device):
            scored = self._generate(generator, game)
            scores = self.measure(scored, name)
        protocol = replace(scores.protocol, ema=ema)
        return replace(scores, step=generator.step, protocol=protocol, cost=time.perf_counter() - start), scored

    def measure(self, scored: Any, name: str) -> Scores:
        """Compute the requested metrics.

        A metric of the groups "usual" and "all" that fails is left out, with a note.

        Raises:
            UserError: a metric that is named itself cannot be computed, or none can.
        """
        start, notes = time.perf_counter(), list[str]()
        self._check_named(scored, name)
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

    def _check_named(self, scored: Any, name: str) -> None:
        """Raise UserError if a requirement of a named metric is not met."""
        for each in [n for n in self.names if n in self.options.named]:
            if missing := measures_of(self.scores)[each].missing(scored):
                raise UserError(f"{each} cannot be computed for {name}: it needs {missing}")

    def _compute(self, scored: Any, name: str, notes: list[str]) -> Mapping[str, Value]:
        return compute(measures_of(self.scores), name, scored, self.options.named, notes)

    def _measured_with(
        self, data: str, digest: str, split: str, reference: int, count: int, extractor: Prepared | None
    ) -> Protocol:
        """The protocol of these options. The arguments are fields of `Protocol`; no extractor: no features are used."""
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
