"""What is scored, and what it is compared with: samples and their features, each looked at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sparring import extractors
from sparring.components import make
from sparring.data import Data
from sparring.errors import UserError, check_choice, check_number
from sparring.extractors import Classifier, Extractor, Pixels, Prepared, Random, Seen
from sparring.game import Game
from sparring.generator import TrainedGenerator
from sparring.metrics import Estimate, Memorising, memorising
from sparring.seeds import derive_seed

Value = float | Estimate


@dataclass(frozen=True)
class Reference:
    """The real samples that scores refer to; one for many subjects, so that their features are computed once.

    Attributes:
        train: the training set, whole.
        held_out: samples of the same distribution that no training saw, or None.
        split: which of both samples are compared with.
        count: with how many of them.
        extractor: what looks at them.
        seed: decides which.
    """

    train: Data
    held_out: Data | None
    split: str
    count: int
    extractor: Prepared
    seed: int = 0

    def __post_init__(self) -> None:
        check_number("evaluate", "count", self.count, low=2, whole=True)
        check_choice("evaluate", "split", self.split, ("train", "test"))

    @cached_property
    def data(self) -> Data:
        """The samples that are compared with: a random part of the split, or all of it."""
        whole = self.held_out if self.split == "test" and self.held_out is not None else self.train
        if len(whole) <= self.count:
            return whole
        rng = torch.Generator().manual_seed(derive_seed(self.seed, "reference"))
        return whole.part(torch.randperm(len(whole), generator=rng)[: self.count].sort().values)

    @cached_property
    def real(self) -> Seen:
        return self.extractor(self.data.samples)

    @cached_property
    def train_features(self) -> Tensor:
        """Features of the whole training set."""
        return self.real.features if self.data is self.train else self.extractor(self.train.samples).features

    @cached_property
    def held_out_features(self) -> Tensor | None:
        if self.held_out is None:
            return None
        return self.real.features if self.data is self.held_out else self.extractor(self.held_out.samples).features


@dataclass(frozen=True)
class Subject:
    """Samples to be scored.

    Attributes:
        reference: what they are compared with.
        samples: uint8 images or points, as the data stores them.
        labels: the classes that they were made for, as indices of the reference's classes, or None.
        generator: what made them, or None.
        game: builds the game that it comes from, or None.
        seed: for what is random in metrics.
    """

    reference: Reference
    samples: Tensor
    labels: Tensor | None = None
    generator: TrainedGenerator | None = None
    game: Callable[[], Game] | None = None
    seed: int = 0

    @cached_property
    def fake(self) -> Seen:
        return self.reference.extractor(self.samples)

    @property
    def real(self) -> Seen:
        return self.reference.real

    @cached_property
    def copies(self) -> Memorising:
        """Its samples' nearest training samples."""
        return memorising(self.fake.features, self.reference.train_features, self.reference.held_out_features)

    @property
    def draws_latents(self) -> bool:
        """Does its generator make samples of latent vectors?"""
        return self.generator is not None and "latent" in self.generator.task.draw(1)


def prepare_extractor(text: str, data: Data, device: torch.device, trust: bool = False) -> Prepared:
    """The extractor that a text names; `auto` takes Pixels for points, Classifier for labelled images, else Random."""
    if text == "auto":
        labelled = data.labels is not None and len(data.form.classes) > 1
        chosen: Extractor = Pixels() if data.form.is_points else Classifier() if labelled else Random()
    else:
        names = {name.lower(): name for name in extractors.__all__}  # `inception` means Inception()
        chosen = make(names.get(text.lower(), text), extractors, trust=trust)
        if not isinstance(chosen, Extractor):
            raise UserError(f"extractor {text!r} is not an Extractor; derive it from sparring.extractors.Extractor")
    return chosen.prepare(data, device)
