"""What both players may be given beside noise or pixels: a class label, attributes, a text, an image."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

FAKE = "fake_"  # begins the keys, in a batch, of what fakes are made for; those of real samples have no prefix
KEYS = {"label": "label", "attributes": "attributes", "tokens": "tokens", "mask": "tokens_mask", "image": "source"}


@dataclass(frozen=True)
class ConditionSpec:
    """A kind of condition that a task draws for its fakes, as real samples have it."""

    kind: str  # the field of `Condition` that holds it
    names: tuple[str, ...] = ()  # of the classes or attributes, in the order of their numbers


@dataclass(frozen=True, eq=False)
class Condition:
    """What n samples are made for or judged with. What is None is not given. In a batch, whose micro-batches are cut by
    rows, each field is a tensor of its own: see `to_batch`."""

    label: Tensor | None = None  # the class [n]
    attributes: Tensor | None = None  # numbers or categories [n, k]
    tokens: Tensor | None = None  # of a text [n, T]
    mask: Tensor | None = None  # 1 at the text's tokens, 0 behind its end [n, T]
    # a source, a mask or a label map [n, C, h, w]; an augmentation moves it with its sample, and adds neither colour
    # nor noise to it, whatever it holds
    image: Tensor | None = None

    @classmethod
    def from_batch(cls, batch: Mapping[str, Tensor], prefix: str = "", kinds: Collection[str] = (*KEYS,)) -> Condition:
        """The condition that a batch holds, of these kinds; a text's mask comes with its tokens."""
        chosen = {*kinds} | ({"mask"} if "tokens" in kinds else set())
        return cls(**{kind: batch.get(prefix + KEYS[kind]) for kind in chosen})

    def to_batch(self, prefix: str = "") -> dict[str, Tensor]:
        """What is given, as a batch holds it."""
        return {prefix + KEYS[kind]: tensor for kind, tensor in self.parts.items()}

    @property
    def parts(self) -> dict[str, Tensor]:
        """What is given, by field."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return {kind: tensor for kind, tensor in found.items() if tensor is not None}

    @property
    def arguments(self) -> tuple[Tensor, ...]:
        """What a network is called with after its latents or samples: the parts, in the order of the fields."""
        return tuple(self.parts.values())

    @property
    def spatial(self) -> bool:
        """An augmentation must move it with its sample."""
        return self.image is not None

    def __len__(self) -> int:
        """n; 0 where nothing is given."""
        return max(map(len, self.arguments), default=0)

    def __getitem__(self, rows: slice | Tensor) -> Condition:
        """The rows of a slice, or at indices in their order."""
        return self.mapped(lambda tensor: tensor[rows])

    def to(self, device: torch.device | str) -> Condition:
        return self.mapped(lambda tensor: tensor.to(device))

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Condition:
        return Condition(**{kind: change(tensor) for kind, tensor in self.parts.items()})

    def another(self, classes: int) -> Condition:
        """For each sample another condition of the same kinds: the next of the classes, the rest from its neighbour."""
        turned = self.mapped(lambda tensor: tensor.roll(1, 0))
        return turned if self.label is None else replace(turned, label=(self.label + 1) % classes)


NOTHING = Condition()


def in_rows(inputs: Mapping[str, Tensor], rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch in rows, each of the same `inputs` but for what `rows` holds one of for each row."""
    columns, count = (len(next(iter(batch.values()))) for batch in (inputs, rows))
    same = {name: tensor.repeat(count, *[1] * (tensor.dim() - 1)) for name, tensor in inputs.items()}
    return same | {name: tensor.repeat_interleave(columns, 0) for name, tensor in rows.items()}
