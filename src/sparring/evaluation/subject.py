"""What is scored, and what it is compared with: samples and their features, each looked at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from sparring.apply.generator import TrainedGenerator
from sparring.base.components import make
from sparring.base.errors import UserError
from sparring.data.samples import Data
from sparring.game.game import Game
from sparring.metrics import extractors
from sparring.metrics.extractors import Classifier, Extractor, Pixels, Prepared, Random, Seen
from sparring.metrics.neighbours import Memorising, memorising, usual_distances

LEAST_IN_CLASS = 10  # samples of a class on average, for labels to be classes that can be learned


@dataclass(frozen=True)
class Reference:
    """The real samples that scores refer to; one for many subjects, so that their features are computed once."""

    train: Data  # whole
    held_out: Data | None  # samples of the same distribution that no training saw
    data: Data  # those that are compared with
    extractor: Prepared

    @cached_property
    def digest(self) -> str:
        """A hash of all real samples that scores depend on: those trained on, and those held out."""
        parts = (self.train.digest, "" if self.held_out is None else self.held_out.digest)
        return hashlib.blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()

    @cached_property
    def real(self) -> Seen:
        return self.extractor(self.data.samples)

    @cached_property
    def train_features(self) -> Tensor:
        """Features of the whole training set."""
        return self.extractor(self.train.samples).features

    @cached_property
    def usual_distances(self) -> Tensor:
        """How far samples that were not copied lie from their nearest training sample."""
        held_out = None if self.held_out is None else self.extractor(self.held_out.samples).features
        return usual_distances(self.train_features, held_out)


def shuffled(data: Data, count: int, seed: int) -> Data:
    """At most `count` samples in random order, however they were sorted."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.part(order[:count])


@dataclass(frozen=True)
class Subject:
    """Samples to be scored, and what they are compared with."""

    reference: Reference
    samples: Tensor  # uint8 images or points, as the data stores them
    labels: Tensor | None = None  # the classes that they were made for, as indices of the reference's classes
    generator: TrainedGenerator | None = None  # what made them
    game: Callable[[], Game] | None = None  # builds the game that it comes from
    seed: int = 0  # for what is random in metrics

    @cached_property
    def fake(self) -> Seen:
        return self.reference.extractor(self.samples)

    @property
    def real(self) -> Seen:
        return self.reference.real

    @cached_property
    def copies(self) -> Memorising:
        """Its samples' nearest training samples."""
        return memorising(self.fake.features, self.reference.train_features, self.reference.usual_distances)

    @property
    def draws_latents(self) -> bool:
        """Its generator makes samples of latent vectors."""
        return self.generator is not None and "latent" in self.generator.task.draw(1)


def check_same_shape(made: Data, whole: Data) -> None:
    """Raise UserError unless both hold samples of the same shape."""
    if made.form.shape == whole.form.shape:
        return
    ours, theirs = list(made.form.shape), list(whole.form.shape)
    images = len(ours) == len(theirs) == 3
    fix = "add --size, which brings images to one size" if images else "compare like with like"
    raise UserError(f"{made.name} holds samples of shape {ours}, {whole.name} of shape {theirs}; {fix}")


def prepare_extractor(text: str, data: Data, device: torch.device) -> Prepared:
    """The extractor that a text names; `auto` takes Pixels for points, Classifier for labelled images, else Random.
    Raises UserError if there is no such extractor, or it does not fit the data."""
    if text == "auto":
        classes = len(data.form.classes) if data.labels is not None else 0
        labelled = classes > 1 and len(data) >= LEAST_IN_CLASS * classes
        chosen: Extractor = Pixels() if data.form.is_points else Classifier() if labelled else Random()
    else:
        names = {name.lower(): name for name in extractors.__all__}  # `inception` means Inception()
        chosen = make(names.get(text.lower(), text), extractors)
        if not isinstance(chosen, Extractor):
            raise UserError(
                f"extractor {text!r} is not an Extractor; derive it from sparring.metrics.extractors.Extractor"
            )
    return chosen.prepare(data, device)
