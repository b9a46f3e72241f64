"""One pass over images, or over pairs of them: decode, keep the pixels, remember the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor

from sparring.base.errors import UserError, listed
from sparring.data.labels import Label, class_labels
from sparring.data.maps import decode_map
from sparring.data.sources.decode import NotDecodedError, Size, Target, decode, look
from sparring.data.sources.fitting import fit_alike, fitted_remarks, patch_remarks, usual_sizes
from sparring.data.sources.source import Item, PairSource, Source
from sparring.data.store.pixels import Pixel, Pixels

MOST_BROKEN = 0.1
SHAPE = 0.02  # by which the ratio of width to height of a pair's members may differ, before it is told


@dataclass(frozen=True)
class Side:
    """How single images, or the members of one side of pairs, are read."""

    what: str = "image"  # what one of them is called
    target: Target = Target()  # what single images are brought to as they are read
    classes: tuple[str, ...] = ()  # of a map, whose pixels are ids of them; (): colours
    ignore: int | None = None  # an id that is no class, besides 255
    channels: int = 0  # 1 or 3, or 0: grey if every image is

    def read(self, item: Item) -> tuple[Image.Image, Size]:
        """An image of mode L or RGB, and the size that it had; raises as `decode` and `decode_map`."""
        if not self.classes:
            return decode(item.encoded, self.target)
        ids = decode_map(item.name, item.encoded, len(self.classes), self.ignore)
        return ids, ids.size


Record = tuple[str, Label, list[Image.Image], list[Size]]
"""The name and label of an image (of a pair, its target's), the one image or both, and the sizes they had."""


@dataclass
class Reported:
    """What a pass found besides pixels; `sizes` and what is said of them are of each side."""

    name: str
    target: Target
    sides: Sequence[Side]
    sizes: list[Counter[Size]] = field(init=False)
    labels: list[Label] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    unequal: list[str] = field(default_factory=list)
    bent: list[str] = field(default_factory=list)
    padded: int = 0

    def __post_init__(self) -> None:
        self.sizes = [Counter() for _ in self.sides]

    @property
    def what(self) -> str:
        return "images" if len(self.sides) == 1 else "pairs"

    @property
    def refused(self) -> bool:
        """Images stay as they are, but have several sizes."""
        return self.target.size is None and (bool(self.unequal) or any(len(sizes) > 1 for sizes in self.sizes))

    def note(self, name: str, sizes: Sequence[Size]) -> None:
        """Count the sizes of an image or a pair."""
        for counts, size in zip(self.sizes, sizes):
            counts[size] += 1
        if self.target.size is None or self.target.fit == "patch":
            self.unequal += [] if factor(sizes[0], sizes[-1]) else [_members(name, sizes)]

    def check(self) -> None:
        """Raise UserError if there was nothing, too much was broken, or sizes do not fit together."""
        check_broken(self.name, self.broken, self.sizes[-1].total(), self.what)
        if self.unequal:
            fix = "add --size 64 to bring both to one, or mend them"
            if self.target.fit == "patch":
                fix = "patches are cut from both: mend them, or choose --fit crop"
            pairs = f"{len(self.unequal)} pairs in {self.name}"
            raise UserError(f"{pairs} have members of different sizes: {listed(self.unequal)}; {fix}")
        for side, sizes in zip(self.sides, self.sizes):
            if self.target.size is None and len(sizes) > 1:
                found = f"{len(sizes)} sizes: {usual_sizes(sizes)}"
                raise UserError(f"the {side.what}s in {self.name} have {found}; add --size 64 to bring them to one")

    def found(self, source: Source) -> Found:
        """All of it, of single images; raises UserError on bad labels."""
        labelled = class_labels(source.name, self.labels, source.classes, source.part)
        return Found(*labelled, self.notes, (*source.remarks, *self.remarks))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out."""
        return (*self.broken, *self.small)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was done to all."""
        if self.target.fit == "patch":
            return patch_remarks(self.sizes[-1], self.target, self.padded, self.what)
        fitted = fitted_remarks(self.sizes[-1], self.target, self.what)
        if not self.bent:
            return fitted
        bent = f"{len(self.bent):,} sources are of another shape than their targets, and squeezed: {self.bent[0]}, ..."
        return (*fitted, f"careful: {bent}")


class Found(NamedTuple):
    """What a pass over single images found besides pixels, as `image_data` takes it."""

    labels: Tensor | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]


def read_source(source: Source, target: Target, pixels: Pixels) -> Found:
    """Decode all images of a source into `pixels`; raises as `read_images`, and UserError on bad labels."""
    side = Side(target=target, channels=source.channels)
    return read_images(source, [side], target, [pixels]).found(source)


def read_images(
    source: Source | PairSource, sides: Sequence[Side], target: Target, sinks: Sequence[Pixels]
) -> Reported:
    """Decode all images, or pairs, of a source into a sink for each side; raises UserError if there are none, too many
    broken ones, or different sizes and none wanted, TooLargeError if they do not fit into the sinks."""
    reported = Reported(source.name, target, sides)
    for name, label, images, sizes in decoded(source, reported):
        reported.labels.append(label)
        if len(sides) == 2 and target.size is not None:
            (wide, high), frame = sizes
            reported.bent += [_members(name, sizes)] if abs(wide * frame[1] / (high * frame[0]) - 1) > SHAPE else []
            images = [fit_alike(image, frame, target, bool(side.classes)) for side, image in zip(sides, images)]
        if not reported.refused:
            for sink, side, image in zip(sinks, sides, images):
                sink.add(channels_first(image, side.channels))
    reported.check()
    return reported


def decoded(source: Source | PairSource, reported: Reported) -> Iterator[Record]:
    """The images, or pairs, that can be read; their sizes, and what cannot be read, go into `told`."""
    for found in source.items():
        items = (found,) if isinstance(found, Item) else found
        name, label = items[-1].name, items[-1].label
        read = []
        for side, item in zip(reported.sides, items):
            try:  # of images that will be refused nothing but the size is needed
                read.append((None, look(item.encoded)[0]) if reported.refused else side.read(item))
            except NotDecodedError as error:
                reported.broken.append(f"left out {item.name}: {error}")
                break
        else:
            sizes = [size for _, size in read]
            reported.note(name, sizes)
            images = [image for image, _ in read if image is not None]
            if images:
                yield name, label, images, sizes


def factor(source: Size, target: Size) -> int:
    """How many times one of two images is larger than the other; 0 if it is not a whole number."""
    small, large = sorted((source, target))
    times = large[0] // small[0]
    return times if (small[0] * times, small[1] * times) == large else 0


def _members(name: str, sizes: Sequence[Size]) -> str:
    (a, b), (c, d) = sizes
    return f"{name} (source {a}x{b}, target {c}x{d})"


def check_broken(name: str, broken: list[str], read: int, what: str = "images") -> None:
    """Raise UserError if there were none, or too many of them could not be read."""
    total = len(broken) + read
    if not total:
        raise UserError(f"{name} holds no {what}")
    if len(broken) > MOST_BROKEN * total:
        first = broken[0].removeprefix("left out ")
        raise UserError(f"{len(broken)} of {total} {what} in {name} cannot be read ({first}, ...); mend or remove them")


def channels_first(image: Image.Image, channels: int) -> Pixel:
    """[C, H, W], of as many channels as wanted, if that is not 0."""
    mode = {0: image.mode, 1: "L", 3: "RGB"}[channels]
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), np.uint8)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
