"""Samples in memory, and how they become a network's input and back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from sparring.data.form import Form
from sparring.data.labels import count_classes, lonely_classes
from sparring.data.maps import class_pixels, map_remarks
from sparring.data.store.mapped import chunks, gather, select
from sparring.data.store.whole import Whole, at_random

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Mixture:
    """A mixture of equal round Gaussians: centres [modes, d] and their standard deviation, in the data's units."""

    centres: Tensor
    deviation: float


@dataclass(frozen=True)
class Data:
    """A set of samples.

    Attributes:
        samples: images as uint8 [N, C, H, W], or points as float32 [N, D] in their own units. Images that outgrow
            memory are mapped from a file: go through `chunks`, `take` or `batch`, which keep few of them in memory.
        labels: int64 [N] into `form.classes`, or None.
    """

    name: str  # as the user wrote it
    samples: Tensor
    form: Form
    labels: Tensor | None = None
    notes: tuple[str, ...] = ()  # what was left out or changed on reading
    mixture: Mixture | None = None  # the true distribution, where it is known
    channels: Data | None = None  # the labelled grey set whose samples are the channels (StackedMNIST)
    split: Split = "train"
    remarks: tuple[str, ...] = ()  # what was done to all samples on reading, and what is odd about them
    source: Data | None = None  # the images that these are made from: one for each, or a set of its own
    paired: bool = True  # the source has one for each, in the same order
    whole: Whole | None = None  # the uncut images, where `samples` are the patches in their middle
    rest: Data | None = None  # the share of the same set that is held out from these

    def __post_init__(self) -> None:
        assert self.source is None or not self.paired or len(self.source) == len(self)
        assert self.whole is None or len(self.whole) == len(self)

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def digest(self) -> str:
        """A hash of samples, labels and what they are made from, which tells whether two runs saw the same data."""
        state = hashlib.blake2b(digest_size=16)
        state.update(str((self.samples.dtype, tuple(self.samples.shape))).encode())
        for chunk in self.chunks():
            state.update(chunk.contiguous().numpy().data)
        if self.labels is not None:
            state.update(self.labels.contiguous().numpy().data)
        if self.whole is not None:
            for image in self.whole.in_order():
                state.update(str(tuple(image.shape)).encode())
                state.update(image.contiguous().numpy().data)
        if self.source is not None:
            state.update(f"{'pairs' if self.paired else 'sets'} {self.source.digest}".encode())
        return state.hexdigest()

    def part(self, indices: Tensor, split: Split | None = None) -> Data:
        """The samples at `indices`, in the same form; a large part of mapped samples is mapped, too. Pairs stay
        together. Of two sets it is a part of this one; the other stays unchanged."""
        labels = None if self.labels is None else self.labels[indices]
        whole = None if self.whole is None else self.whole.part(indices)
        source = self.source.part(indices, split) if self.source is not None and self.paired else self.source
        split = split or self.split
        samples = select(self.samples, indices)
        counts = count_classes(labels, self.form.classes)
        if self.form.map:
            counts = map_data("", samples, self.form.classes, whole=whole).form.counts
        form = replace(self.form, counts=counts)
        return replace(
            self, samples=samples, form=form, labels=labels, split=split, whole=whole, source=source, rest=None
        )

    def renamed(self, name: str = "", split: Split | None = None) -> Data:
        """The same samples under another name, or (with their source) as another split; a known digest is kept."""
        source = None if self.source is None else self.source.renamed(split=split)
        found = replace(self, name=name or self.name, split=split or self.split, source=source)
        vars(found).update({"digest": self.digest} if "digest" in vars(self) else {})
        return found

    def chunks(self) -> Iterator[Tensor]:
        """All samples in order, in slices of about 16 MiB."""
        return chunks(self.samples)

    def take(self, indices: Tensor) -> Tensor:
        """The samples at `indices` as they are stored: a copy in memory."""
        return gather(self.samples, indices)

    def image(self, index: int) -> Tensor:
        """One image or map as it is stored, uncut: uint8 [C, H, W]."""
        return self.take(torch.tensor([index]))[0] if self.whole is None else self.whole.images[index].clone()

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples at `indices` as `real` (and `label`, and `source`); always the same ones."""
        batch = self._batch(None, indices)
        if self.source is not None:
            partners = indices if self.paired else indices % len(self.source)
            batch["source"] = self.source.form.to_input(self.source.take(partners))
        return batch

    def varied(self, indices: Tensor, mirror: bool) -> dict[str, Tensor]:
        """The same for training, by torch's global random numbers: patches from anywhere, the source's samples of two
        sets at random and, with `mirror`, half of them seen in the mirror. Pairs are cut and turned alike."""
        places = None if self.whole is None else at_random(self.whole.rooms(indices, self.form.shape[1:]))
        batch = self._batch(places, indices)
        if self.source is not None and self.paired:
            batch["source"] = self.source.form.to_input(self.source._at(places, indices))
        if mirror:
            turned = (torch.rand(len(indices)) < 0.5).view(-1, 1, 1, 1)
            batch |= {n: torch.where(turned, batch[n].flip(-1), batch[n]) for n in ("real", "source") if n in batch}
        if self.source is not None and not self.paired:
            partners = torch.randint(len(self.source), (len(indices),))
            batch["source"] = self.source.varied(partners, mirror)["real"]
        return batch

    def _batch(self, places: Tensor | None, indices: Tensor) -> dict[str, Tensor]:
        batch = {"real": self.form.to_input(self._at(places, indices))}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch

    def _at(self, places: Tensor | None, indices: Tensor) -> Tensor:
        """The samples at `indices`, or the patches at places of their uncut images."""
        if places is None:
            return self.take(indices)
        assert self.whole is not None
        return self.whole.cut(indices, places, self.form.shape[1:])


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


def map_data(name: str, maps: Tensor, classes: tuple[str, ...], what: str = "maps", whole: Whole | None = None) -> Data:
    """Maps, uint8 [N, 1, H, W] of ids of `classes`; where they are patches, of `whole`, all of whose pixels count."""
    pixels = class_pixels(chunks(maps) if whole is None else whole.in_order())
    form = Form(tuple(maps.shape[1:]), classes, counts=tuple(pixels[: len(classes)].tolist()), map=True)
    return Data(name, maps, form, remarks=map_remarks(what, pixels, classes), whole=whole)


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


def joined(name: str, source: Data, target: Data, paired: bool) -> Data:
    """A target that is made from a source."""
    form = replace(target.form, source=source.form)
    return replace(target, name=name, form=form, source=source, paired=paired)
