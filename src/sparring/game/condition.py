"""Conditions of both players: class labels, attributes, texts, images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

FAKE = "fake_"  # prefix of batch keys for conditions of generated samples; those of real samples have none
KEYS = {"label": "label", "attributes": "attributes", "tokens": "tokens", "mask": "tokens_mask", "image": "source"}


@dataclass(frozen=True)
class ConditionSpec:
    """A kind of condition that a task draws for generated samples.

    Attributes:
        kind: field of `Condition`, such as "label".
        names: names of the classes or attributes, in the order of their indices.
    """

    kind: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Condition:
    """Conditions of n samples, for the generator or the discriminator. None: not given.

    Attributes:
        label: class indices [n].
        attributes: numbers or categories [n, k].
        tokens: tokens of a text [n, T].
        mask: 1 at the text's tokens, 0 after its end [n, T].
        image: source image, mask or label map [n, C, h, w]. Augmentations apply only their geometric changes to it.
    """

    label: Tensor | None = None
    attributes: Tensor | None = None
    tokens: Tensor | None = None
    mask: Tensor | None = None
    image: Tensor | None = None

    @classmethod
    def from_batch(cls, batch: Mapping[str, Tensor], prefix: str = "", kinds: Collection[str] = (*KEYS,)) -> Condition:
        """Read the condition of these kinds from a batch; `tokens` includes the text's mask."""
        chosen = {*kinds} | ({"mask"} if "tokens" in kinds else set())
        return cls(**{kind: batch.get(prefix + KEYS[kind]) for kind in chosen})

    def to_batch(self, prefix: str = "") -> dict[str, Tensor]:
        """The given tensors by batch key."""
        return {prefix + KEYS[kind]: tensor for kind, tensor in self.parts.items()}

    @property
    def parts(self) -> dict[str, Tensor]:
        """The given tensors by field."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {kind: tensor for kind, tensor in found.items() if tensor is not None}

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """A network's arguments after latents or samples: the given tensors in the order of the fields."""
        return tuple(self.parts.values())

    @property
    def spatial(self) -> bool:
        """Geometric augmentations apply to it."""
        return self.image is not None

    def __len__(self) -> int:
        """n; 0 if nothing is given."""
        return max(map(len, self.arguments), default=0)

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        """Select rows by a slice or by indices."""
        return self.mapped(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Condition:
        return self.mapped(lambda tensor: tensor.to(device))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Condition:
        return Condition(**{kind: change(tensor) for kind, tensor in self.parts.items()})

    def another(self, classes: int) -> Condition:
        """A different condition of the same kinds for each sample: the next class; other kinds from its neighbour."""
        rolled = self.mapped(lambda tensor: tensor.roll(1, 0))
        return rolled if self.label is None else replace(rolled, label=(self.label + 1) % classes)


NOTHING = Condition()


def in_rows(inputs: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch of rows: each row repeats all `inputs` with one value of each tensor in `rows`."""
    columns, count = (len(next(iter(batch.values()))) for batch in (inputs, rows))
    same = {name: tensor.repeat(count, *[1] * (tensor.dim() - 1)) for name, tensor in inputs.items()}
    return same | {name: tensor.repeat_interleave(columns, 0) for name, tensor in rows.items()}
