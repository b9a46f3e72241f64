"""Generated samples and their reference, with features that are computed once."""

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
from sparring.metrics.extractors import Classifier, Extractor, Features, Pixels, Prepared, Random
from sparring.metrics.neighbours import Memorising, memorising, reference_distances

MIN_PER_CLASS = 10  # mean number of samples per class, for a classifier to be trainable


@dataclass(frozen=True)
class Reference:
    """Real samples that generated samples are compared with.

    Attributes:
        train: the whole training set.
        held_out: samples of the same distribution that are not trained on, or None.
        data: the samples that distribution metrics compare with.
        extractor: computes the features.
    """

    train: Data
    held_out: Data | None
    data: Data
    extractor: Prepared

    @cached_property
    def digest(self) -> str:
        """Hash of all real samples that scores depend on: training and held-out samples."""
        parts = (self.train.digest, "" if self.held_out is None else self.held_out.digest)
        return hashlib.blake2b(" ".join(parts).encode(), digest_size=16).hexdigest()

    @cached_property
    def real(self) -> Features:
        """Features of `data`."""
        return self.extractor(self.data.samples)

    @cached_property
    def train_features(self) -> Tensor:
        """Features of the whole training set."""
        return self.extractor(self.train.samples).features

    @cached_property
    def reference_distances(self) -> Tensor:
        """Distances of uncopied samples to their nearest training sample, for `memorising`."""
        held_out = None if self.held_out is None else self.extractor(self.held_out.samples).features
        return reference_distances(self.train_features, held_out)


def shuffled(data: Data, count: int, seed: int) -> Data:
    """At most `count` random samples, in random order."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    return data.part(order[:count])


@dataclass(frozen=True)
class Subject:
    """Generated samples with their reference.

    Attributes:
        reference: the real samples.
        samples: uint8 images or points, in the form of the data.
        labels: requested classes, as indices of the reference's classes; None without classes.
        generator: the generator; None for images of other origin.
        game: builds the generator's game; None for images of other origin.
        seed: seed of random metrics.
    """

    reference: Reference
    samples: Tensor
    labels: Tensor | None = None
    generator: TrainedGenerator | None = None
    game: Callable[[], Game] | None = None
    seed: int = 0

    @cached_property
    def fake(self) -> Features:
        """Features of the generated samples."""
        return self.reference.extractor(self.samples)

    @property
    def real(self) -> Features:
        """Features of the reference."""
        return self.reference.real

    @cached_property
    def copies(self) -> Memorising:
        """The samples' nearest training samples."""
        return memorising(self.fake.features, self.reference.train_features, self.reference.reference_distances)

    @property
    def draws_latents(self) -> bool:
        """The generator has latents."""
        return self.generator is not None and "latent" in self.generator.task.draw(1)


def check_same_shape(samples: Data, reference: Data) -> None:
    """Raise UserError unless both hold samples of the same shape."""
    if samples.form.shape == reference.form.shape:
        return
    ours, theirs = list(samples.form.shape), list(reference.form.shape)
    images = len(ours) == len(theirs) == 3
    fix = "add --size to resize both" if images else "give samples of one shape"
    raise UserError(f"{samples.name} has samples of shape {ours}, {reference.name} of shape {theirs}; {fix}")


def prepare_extractor(text: str, data: Data, device: torch.device) -> Prepared:
    """Prepare an extractor.

    Args:
        text: a component's text. "auto" is Pixels for points, Classifier for labelled images and Random otherwise.
        data: the data to score against.
        device: where it runs.

    Raises:
        UserError: there is no such extractor, or it does not fit the data.
    """
    if text == "auto":
        classes = len(data.form.classes) if data.labels is not None else 0
        labelled = classes > 1 and len(data) >= MIN_PER_CLASS * classes
        chosen: Extractor = Pixels() if data.form.is_points else Classifier() if labelled else Random()
    else:
        names = {name.lower(): name for name in extractors.__all__}  # `inception` means Inception()
        chosen = make(names.get(text.lower(), text), extractors)
        if not isinstance(chosen, Extractor):
            raise UserError(
                f"extractor {text!r} is not an Extractor; derive it from sparring.metrics.extractors.Extractor"
            )
    return chosen.prepare(data, device)
