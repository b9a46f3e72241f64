"""Samples in memory, and how they become a network's input and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from sparring.data.labels import count_classes, lonely_classes
from sparring.data.mapped import chunks, gather, select

Split = Literal["train", "test"]


def bytes_to_input(images: Tensor) -> Tensor:
    """uint8 images -> float32 in [-1, 1], as networks see them."""
    return images.float().div_(127.5).sub_(1)


@dataclass(frozen=True)
class Mixture:
    """A mixture of equal round Gaussians: centres [modes, d] and their standard deviation, in the data's units."""

    centres: Tensor
    deviation: float


@dataclass(frozen=True)
class Form:
    """What a sample looks like, and how it becomes a network's input and back; a run keeps it beside its weights.

    Images are uint8 [C, H, W] and become [-1, 1]. Points [D] become (x - centre) / scale; `low` and `high` frame them.
    `counts` are how many samples each class has (none where there are no labels, or a run was made before they were
    kept); forms that differ in it alone are equal, for it does not tell what a sample looks like.
    """

    shape: tuple[int, ...]
    classes: tuple[str, ...] = ()
    centre: tuple[float, ...] = ()
    scale: float = 1.0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    counts: tuple[int, ...] = field(default=(), compare=False)

    @property
    def is_points(self) -> bool:
        return len(self.shape) == 1

    def to_input(self, samples: Tensor) -> Tensor:
        """Stored samples -> float32 as networks see them."""
        if self.is_points:
            return (samples - samples.new_tensor(self.centre)) / self.scale
        return bytes_to_input(samples)

    def to_units(self, outputs: Tensor) -> Tensor:
        """A generator's output -> floats: images stay in [-1, 1], points go back to their own units."""
        return outputs * self.scale + outputs.new_tensor(self.centre) if self.is_points else outputs

    def to_stored(self, outputs: Tensor) -> Tensor:
        """A generator's output -> uint8 images (to the nearest level), or points in their own units."""
        if self.is_points:
            return self.to_units(outputs)
        return outputs.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8)


@dataclass(frozen=True)
class Data:
    """A set of samples.

    Attributes:
        name: where it came from, as the user wrote it.
        samples: images as uint8 [N, C, H, W], or points as float32 [N, D] in their own units. Images that outgrow
            memory are mapped from a file: go through `chunks`, `take` or `batch`, which keep few of them in memory.
        form: what they look like, and how they become inputs.
        labels: int64 [N] into `form.classes`, or None.
        notes: lines about what was left out or changed on reading.
        mixture: the true distribution, where it is a known mixture.
        channels: the labelled grey set whose samples are the channels, where there is one (StackedMNIST).
        split: which part of the set it is.
        remarks: lines about what was done to all samples on reading, and what is odd about them.
    """

    name: str
    samples: Tensor
    form: Form
    labels: Tensor | None = None
    notes: tuple[str, ...] = ()
    mixture: Mixture | None = None
    channels: Data | None = None
    split: Split = "train"
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def digest(self) -> str:
        """A hash of samples and labels, which tells whether two runs saw the same data."""
        state = hashlib.blake2b(digest_size=16)
        state.update(str((self.samples.dtype, tuple(self.samples.shape))).encode())
        for chunk in self.chunks():
            state.update(chunk.contiguous().numpy().data)
        if self.labels is not None:
            state.update(self.labels.contiguous().numpy().data)
        return state.hexdigest()

    def part(self, indices: Tensor, split: Split | None = None) -> Data:
        """The samples at `indices`, in the same form; a large part of mapped samples is mapped, too."""
        labels = None if self.labels is None else self.labels[indices]
        form = replace(self.form, counts=count_classes(labels, self.form.classes))
        samples = select(self.samples, indices)
        return replace(self, samples=samples, form=form, labels=labels, split=split or self.split)

    def chunks(self) -> Iterator[Tensor]:
        """All samples in order, in slices of about 16 MiB."""
        return chunks(self.samples)

    def take(self, indices: Tensor) -> Tensor:
        """The samples at `indices` as they are stored: a copy in memory."""
        return gather(self.samples, indices)

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples at `indices` as `real` (and `label`)."""
        batch = {"real": self.form.to_input(self.take(indices))}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch


def image_data(
    name: str,
    images: Tensor,
    labels: Tensor | None = None,
    classes: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    remarks: tuple[str, ...] = (),
) -> Data:
    """Images, uint8 [N, C, H, W], and what `Data` says of them."""
    counts = count_classes(labels, classes)
    form = Form(tuple(images.shape[1:]), classes, counts=counts)
    return Data(name, images, form, labels, notes, remarks=(*remarks, *lonely_classes(counts, classes)))


def point_data(
    name: str,
    points: Tensor,
    labels: Tensor | None = None,
    classes: tuple[str, ...] = (),
    mixture: Mixture | None = None,
) -> Data:
    """Points [N, D], scaled to mean 0 and, over all axes together, variance 1."""
    points = points.float()
    centre = points.double().mean(0)
    scale = (points.double() - centre).square().mean().sqrt().item() or 1.0
    low, high = (tuple(edge.tolist()) for edge in (points.amin(0), points.amax(0)))
    counts = count_classes(labels, classes)
    form = Form(tuple(points.shape[1:]), classes, tuple(centre.tolist()), scale, low, high, counts)
    return Data(name, points, form, labels, mixture=mixture)
