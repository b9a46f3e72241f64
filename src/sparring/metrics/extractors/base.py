"""Base classes of extractors: components that turn samples into features and, for classifiers, logits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.base.fields import Limited
from sparring.base.workers import in_parts
from sparring.data.form import bytes_to_input
from sparring.data.samples import Data
from sparring.data.store.mapped import release

CHUNK = 250


class Extractor(Limited, ABC):
    """Base class of extractors such as `Classifier()`. Derive from it to score with your own features."""

    @abstractmethod
    def prepare(self, data: Data, device: torch.device) -> Prepared:
        """Find, train or download the weights.

        Args:
            data: the data to score against; its form decides the inputs' shape.
            device: where the network runs.

        Raises:
            UserError: the extractor does not fit the data, or its weights are not available.
        """


@dataclass(frozen=True)
class Features:
    """Features and logits of n samples, on the CPU.

    Attributes:
        features: [n, d].
        logits: [n, classes], or None if the extractor is no classifier.
    """

    features: Tensor
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)


@runtime_checkable
class HasFeatureMaps(Protocol):
    """A network with spatial feature maps, for perceptual distances."""

    def maps(self, images: Tensor) -> list[Tensor]:
        """Feature maps [n, c, h, w] of several layers, first layer first; differentiable.

        Args:
            images: [n, C, H, W] in [-1, 1], at their own size.

        Raises:
            UserError: the images are too small.
        """


@dataclass(frozen=True)
class Prepared:
    """An extractor with its weights.

    Attributes:
        name: the component's text, such as `Classifier()`.
        network: maps images [n, C, H, W] in [-1, 1], or points [n, D], to features [n, d] and logits [n, k] or None.
        digest: hash of the weights; scores of different digests are not comparable.
        resizer: how images are resized for the network, in words; "none" if they are not.
        classes: number of logits.
        labels: the classes are those of the data.
        rounds: images are rounded to 256 levels, as in files, so features ignore smaller changes.
        unit_length: features have length 1, as CMMD's kernel expects.
        about: further facts for the report, such as the accuracy.
    """

    name: str
    network: nn.Module
    digest: str
    resizer: str = "none"
    classes: int = 0
    labels: bool = False
    rounds: bool = False
    unit_length: bool = False
    about: str = ""

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return next((t.device for t in [*self.network.parameters(), *self.network.buffers()]), torch.device("cpu"))

    @property
    def maps(self) -> Callable[[Tensor], list[Tensor]]:
        """The network's `HasFeatureMaps.maps`; UserError: it has no feature maps."""
        if not isinstance(self.network, HasFeatureMaps):
            raise UserError(f"{self.name} has no feature maps; take Random() or Inception()")
        return self.network.maps

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> Features:
        """Extract features in chunks, which bounds the memory.

        Args:
            samples: uint8 images or float images in [-1, 1], [n, C, H, W], or points [n, D].

        Raises:
            UserError: a feature is NaN or infinite.
        """
        device = self.device

        def features_of(chunk: Tensor) -> Features:
            images = chunk.to(device)
            if images.dtype == torch.uint8:
                images = bytes_to_input(images)
            release(samples)
            features, logits = self.network(images)
            return Features(features.float().cpu(), None if logits is None else logits.float().cpu())

        parts = in_parts(features_of, samples.split(CHUNK))
        features = torch.cat([part.features for part in parts])
        bad = ~features.isfinite().all(1)
        if bad.any():
            which = f"{int(bad.sum())} of {len(samples)} samples (the first is number {int(bad.nonzero()[0])})"
            raise UserError(f"{which} have NaN or infinite features in {self.name}; remove them")
        logits = [part.logits for part in parts if part.logits is not None]
        return Features(features, torch.cat(logits) if logits else None)


def refuse_points(owner: str, data: Data) -> None:
    """Raise UserError if the data are points."""
    if data.form.is_points:
        raise UserError(f"{owner}() needs images, and the data are points; take Pixels()")


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """Hash of tensors by name, type, shape and value: 16 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    return state.hexdigest()
