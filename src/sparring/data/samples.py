"""A set of samples, its batches for training, and constructors for images, maps and points."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from sparring.base.device import sent
from sparring.base.workers import workers
from sparring.data.form import Form
from sparring.data.labels import count_classes, single_image_classes
from sparring.data.maps import class_pixels, map_remarks
from sparring.data.store.mapped import chunks, gather, select
from sparring.data.store.whole import Whole, at_random

if TYPE_CHECKING:
    from sparring.data.stream.stream import Stream

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Mixture:
    """A mixture of equally likely isotropic Gaussians, in the units of the data.

    Attributes:
        centres: float [modes, d].
        deviation: the standard deviation of each mode.
    """

    centres: Tensor
    deviation: float


@dataclass(frozen=True)
class Data:
    """A set of samples.

    Attributes:
        name: the name as the user wrote it.
        samples: images as uint8 [N, C, H, W], or points as float32 [N, D] in their own units. Sets larger than memory
            are memory-mapped: read them with `chunks`, `take` or `batch`, which keep few samples in memory.
        form: the form of a sample.
        labels: int64 [N] into `form.classes`, or None.
        notes: a line for each image that was left out.
        mixture: the true distribution, if known.
        channels: for StackedMNIST, the labelled grey set that the channels are drawn from.
        split: "train" or "test".
        remarks: lines on changes to many samples, and warnings.
        source: the source images of pairs, or the source set of two sets.
        paired: True if sample i of `source` belongs to sample i.
        whole: the uncut images, if `samples` are patches from their middle.
        rest: the held-out share of the same set.
        stream: training samples in shards; then the set holds the first of them, for all but training.
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
    source: Data | None = None
    paired: bool = True
    whole: Whole | None = None
    rest: Data | None = None
    stream: Stream | None = None

    def __post_init__(self) -> None:
        assert self.source is None or not self.paired or len(self.source) == len(self)
        assert self.whole is None or len(self.whole) == len(self)

    def __len__(self) -> int:
        return len(self.samples)

    @cached_property
    def digest(self) -> str:
        """A hash of samples, labels, sources and names of shards: equal for equal data."""
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
        if self.stream is not None:
            state.update(self.stream.identity.encode())
        return state.hexdigest()

    @property
    def total(self) -> float:
        """The number of training samples; infinity for shards with more than this set holds."""
        return len(self) if self.stream is None or self.stream.complete else math.inf

    @property
    def amount(self) -> str:
        """The number of training samples, or of their shards, as text."""
        return f"{len(self):,} samples" if self.stream is None else f"{len(self.stream.shards):,} shards"

    def part(self, indices: Tensor, split: Split | None = None) -> Data:
        """The samples at `indices` as a set of the same form.

        Pairs stay together. With two sets, the source set is unchanged. A large part of mapped samples is mapped.
        """
        labels = None if self.labels is None else self.labels[indices]
        whole = None if self.whole is None else self.whole.part(indices)
        source = self.source.part(indices, split) if self.source is not None and self.paired else self.source
        split = split or self.split
        samples = select(self.samples, indices)
        counts = count_classes(labels, self.form.classes)
        if self.form.map:
            counts = map_data("", samples, self.form.classes, whole=whole).form.counts
        form = replace(self.form, counts=counts)
        part = replace(self, samples=samples, form=form, labels=labels, split=split, whole=whole, source=source)
        return replace(part, rest=None, stream=None)

    def renamed(self, name: str = "", split: Split | None = None) -> Data:
        """The same samples with another name or split; the split also applies to the source."""
        source = None if self.source is None else self.source.renamed(split=split)
        found = replace(self, name=name or self.name, split=split or self.split, source=source)
        vars(found).update({"digest": self.digest} if "digest" in vars(self) else {})
        return found

    def chunks(self) -> Iterator[Tensor]:
        """Yield all samples in order, in slices of about 16 MiB."""
        return chunks(self.samples)

    def take(self, indices: Tensor) -> Tensor:
        """The stored samples at `indices`, copied into memory."""
        return gather(self.samples, indices)

    def image(self, index: int) -> Tensor:
        """One stored image or map, uncut: uint8 [C, H, W]."""
        return self.take(torch.tensor([index]))[0] if self.whole is None else self.whole.images[index].clone()

    def batch(self, indices: Tensor) -> dict[str, Tensor]:
        """The samples at `indices` as input of networks: `real`, with `label` and `source` if the set has them.

        Deterministic: middle patches, no mirroring. With two sets, sample i gets source i modulo their number.
        """
        batch = {"real": self.take(indices)}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        if self.source is not None:
            batch["source"] = self.source.take(indices if self.paired else indices % len(self.source))
        return self.to_input(batch)

    def varied(self, indices: Tensor, mirror: bool) -> dict[str, Tensor]:
        """A batch for training, as `batch`, varied with torch's global generator.

        Patches are cut at random places, and the samples of an unpaired source set are drawn at random. With `mirror`,
        each sample is mirrored with probability 1/2. The images of a pair are cut and mirrored in the same way.
        """
        return self.to_input(self.stored(indices, mirror))

    def stored(self, indices: Tensor, mirror: bool) -> dict[str, Tensor]:
        """A batch as `varied`, with samples in their stored form: uint8 for images and maps. `to_input` converts it."""
        places = None if self.whole is None else at_random(self.whole.rooms(indices, self.form.shape[1:]))
        return self.vary(self.gathered(indices, places), mirror)

    def gathered(self, indices: Tensor, places: Tensor | None = None) -> dict[str, Tensor]:
        """The stored samples at `indices`, with labels and the sources of pairs, before `vary`. Draws nothing.

        With `places`, int64 [n, 2], samples are patches of the uncut images at these positions.
        """
        batch = {"real": self._at(places, indices)}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        if self.source is not None and self.paired:
            batch["source"] = self.source._at(places, indices)
        return batch

    def vary(self, batch: dict[str, Tensor], mirror: bool) -> dict[str, Tensor]:
        """A batch of `gathered`, mirrored at random, with random samples of an unpaired source set.

        It computes on the batch's device. The draws are those of torch's global generator on the CPU.
        """
        if mirror:
            turned = workers().draw(torch.rand, len(batch["real"])) < 0.5
            turned = sent(turned, batch["real"].device).view(-1, 1, 1, 1)
            batch |= {n: torch.where(turned, batch[n].flip(-1), batch[n]) for n in ("real", "source") if n in batch}
        if self.source is not None and not self.paired:
            sources = len(self.source)
            partners = workers().draw(lambda count: torch.randint(sources, (count,)), len(batch["real"]))
            partners = sent(partners, self.source.samples.device)
            batch["source"] = self.source.stored(partners, mirror)["real"]
        return batch

    def to_input(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The batch with its stored samples, `real` and `source`, as input of networks, on their device."""
        forms = {"real": self.form} if self.source is None else {"real": self.form, "source": self.source.form}
        return {name: forms[name].to_input(tensor) if name in forms else tensor for name, tensor in batch.items()}

    def _at(self, places: Tensor | None, indices: Tensor) -> Tensor:
        """The samples at `indices`, or patches of their uncut images if places are given."""
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
    """A set of images, uint8 [N, C, H, W]; the other arguments are those of `Data`."""
    counts = count_classes(labels, classes)
    form = Form(tuple(images.shape[1:]), classes, counts=counts)
    return Data(name, images, form, labels, notes, remarks=(*remarks, *single_image_classes(counts, classes)))


def map_data(name: str, maps: Tensor, classes: tuple[str, ...], what: str = "maps", whole: Whole | None = None) -> Data:
    """A set of maps, uint8 [N, 1, H, W] of ids of `classes`; pixels are counted in `whole` if they are its patches."""
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
    """A set of points [N, D]; its form scales them to mean 0 and variance 1 over all axes."""
    points = points.float()
    centre = points.double().mean(0)
    scale = (points.double() - centre).square().mean().sqrt().item() or 1.0
    low, high = (tuple(edge.tolist()) for edge in (points.amin(0), points.amax(0)))
    counts = count_classes(labels, classes)
    form = Form(tuple(points.shape[1:]), classes, tuple(centre.tolist()), scale, low, high, counts)
    return Data(name, points, form, labels, mixture=mixture)


def joined(name: str, source: Data, target: Data, paired: bool) -> Data:
    """The target set with its source set attached."""
    form = replace(target.form, source=source.form)
    return replace(target, name=name, form=form, source=source, paired=paired)
