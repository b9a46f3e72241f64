"""What every extractor is: a component that, once prepared, turns samples into features and perhaps logits."""

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
from sparring.data.form import bytes_to_input
from sparring.data.samples import Data
from sparring.data.store.mapped import release

CHUNK = 250


class Extractor(Limited, ABC):
    """A component such as `Classifier()`. `prepare` finds, trains or downloads its weights."""

    @abstractmethod
    def prepare(self, data: Data, device: torch.device) -> Prepared:
        """The extractor with its weights, for samples of this data's form; UserError: there is none that fits."""


@dataclass(frozen=True)
class Seen:
    """What an extractor sees in n samples: features [n, d] and, if it classifies, logits [n, classes]; on the CPU."""

    features: Tensor
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.features)


@runtime_checkable
class ShowsMaps(Protocol):
    """A network that shows what its layers see, place by place."""

    def maps(self, images: Tensor) -> list[Tensor]:
        """Images [n, C, H, W] in [-1, 1], at their own size -> maps [n, c, h, w] of several layers, the first layer
        first; differentiable. UserError: images are too small."""


@dataclass(frozen=True)
class Prepared:
    """An extractor with its weights."""

    name: str  # the component's text, such as `Classifier()`
    network: nn.Module  # images [n, C, H, W] in [-1, 1] or points [n, D] -> (features [n, d], logits [n, k] or None)
    digest: str  # a hash of the weights; scores of different digests are not comparable
    resizer: str = "none"  # how images come to the network's size, in words; "none" where they stay unchanged
    classes: int = 0  # how many logits it gives
    labels: bool = False  # these classes are those of the data
    rounds: bool = False  # images are rounded to 256 levels, as for files; features do not follow small changes
    unit_length: bool = False  # features have length 1, which CMMD's kernel is meant for
    about: str = ""  # what else to know, such as the accuracy

    @property
    def device(self) -> torch.device:
        return next((t.device for t in [*self.network.parameters(), *self.network.buffers()]), torch.device("cpu"))

    @property
    def maps(self) -> Callable[[Tensor], list[Tensor]]:
        """The network's `ShowsMaps.maps`; UserError: it has none."""
        if not isinstance(self.network, ShowsMaps):
            raise UserError(f"{self.name} shows no maps; take Random() or Inception()")
        return self.network.maps

    @torch.no_grad()
    def __call__(self, samples: Tensor) -> Seen:
        """Features of samples: uint8 images, float images in [-1, 1], or points; chunk by chunk, to bound the memory.
        UserError: a feature is NaN or infinite."""
        device = self.device
        parts = []
        for chunk in samples.split(CHUNK):
            images = chunk.to(device)
            if images.dtype == torch.uint8:
                images = bytes_to_input(images)
            release(samples)
            features, logits = self.network(images)
            parts.append(Seen(features.float().cpu(), None if logits is None else logits.float().cpu()))
        features = torch.cat([part.features for part in parts])
        bad = ~features.isfinite().all(1)
        if bad.any():
            bad_ones = f"{int(bad.sum())} of {len(samples)} samples (the first is number {int(bad.nonzero()[0])})"
            found = f"{bad_ones} have NaN or infinite features in {self.name}"
            raise UserError(f"{found}; remove them, or look at what made them")
        logits = [part.logits for part in parts if part.logits is not None]
        return Seen(features, torch.cat(logits) if logits else None)


def refuse_points(owner: str, data: Data) -> None:
    """Raise UserError if the data are points."""
    if data.form.is_points:
        raise UserError(f"{owner}() looks at images; the data are points, take Pixels()")


def digest_of(tensors: Mapping[str, Tensor]) -> str:
    """A hash of weights by name, shape and value: 16 hexadecimal digits."""
    state = hashlib.blake2b(digest_size=8)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.flatten().view(torch.uint8).numpy().data if tensor.numel() else b"")
    return state.hexdigest()
