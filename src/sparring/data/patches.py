"""Loading images at their own sizes, of which training cuts patches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.labels import class_labels
from sparring.data.samples import Data, image_data
from sparring.data.sources.decode import NotDecodedError, Size, Target, decode
from sparring.data.sources.reading import channels_first, check_broken
from sparring.data.sources.source import Source
from sparring.data.store.mapped import PARTS, is_mapped, map_file, memory_bound, nameless_file
from sparring.data.store.pixels import Pixel
from sparring.data.store.whole import Whole, middle


class Keeper:
    """Keeps images of any size: in memory up to a bound, beyond it in a file of the cache without a name."""

    def __init__(self, bound: int) -> None:
        self.bound, self.held = bound, 0
        self.images: list[Pixel] = []
        self.shapes: list[tuple[int, ...]] = []
        self.file: BinaryIO | None = None
        self.stack = ExitStack()

    def add(self, image: Pixel) -> None:
        """Put one more image, [C, H, W], at the end."""
        self.shapes.append(image.shape)
        self.images.append(np.array(image, np.uint8, order="C"))  # a copy: Pillow's own memory is not to be written
        self.held += image.nbytes
        if self.file is None and self.held > self.bound:
            self.file = self.stack.enter_context(nameless_file())
        if self.file is not None:
            for waiting in self.images:
                self.file.write(waiting.data)
            self.images.clear()

    def whole(self, unit: int = 1) -> Whole:
        """What was kept; grey images among coloured ones have their channel repeated."""
        if self.file is None:
            images = [torch.from_numpy(image) for image in self.images]
        else:
            with self.stack:
                self.file.flush()
                pixels = map_file(self.file, (self.held,))
            sizes = [int(np.prod(shape)) for shape in self.shapes]
            images = [part.view(shape) for part, shape in zip(pixels.split(sizes), self.shapes)]
        channels = max(len(image) for image in images)
        return Whole(tuple(image.expand(channels, -1, -1) for image in images), unit)


def load_whole(source: Source, target: Target) -> Data:
    """All images of a source at their own sizes; the samples are their middle patches of the target's size.

    Images that are smaller than a patch are padded with their reflection; smaller than half of it, they are left out.
    Broken images are named in `notes`, as by `load_images`.

    Raises:
        UserError: no size, no images, too many broken ones, or bad labels.
    """
    patch = patch_of(target)
    keeper, labels, notes, broken, sizes, padded = Keeper(memory_bound()), [], [], [], Counter[Size](), 0
    for name, content, label in source.items():
        try:
            if isinstance(content, Exception):
                raise NotDecodedError(str(content))
            image, size = decode(content, Target())
        except NotDecodedError as error:
            broken.append(f"left out {name}: {error}")
            continue
        sizes[size] += 1
        missing = lacking(size, patch)
        if missing is None:
            notes.append(too_small(name, size, patch))
            continue
        labels.append(label)
        keeper.add(reflected(channels_first(image, source.channels), missing))
        padded += any(missing)
    check_broken(source.name, broken, sum(sizes.values()))
    check_left(source.name, len(labels), notes)
    found = class_labels(source.name, labels, source.classes, source.part)
    whole = keeper.whole()
    remarks = (*source.remarks, *patch_remarks(sizes, patch, padded))
    return replace(image_data(source.name, cut_middle(whole, patch), *found, (*broken, *notes), remarks), whole=whole)


def uncut(data: Data, target: Target) -> Data:
    """The same for images that are in memory already, and for what they are made from.

    Raises:
        UserError: no size, they are points, or smaller than a patch.
    """
    patch = patch_of(target)
    if data.form.is_points:
        raise UserError(f"{data.name} holds points, of which no patches can be cut; leave --fit out")
    _, height, width = data.form.shape
    if width < patch[0] or height < patch[1]:
        raise UserError(
            f"{data.name} has images of {width}x{height}; patches cannot be larger: choose a smaller --size"
        )
    whole = Whole(tuple(data.samples.unbind()))
    form = replace(data.form, shape=(data.form.shape[0], patch[1], patch[0]))
    source = None if data.source is None else uncut(data.source, target)
    form = replace(form, source=None if source is None else source.form)
    return replace(data, samples=cut_middle(whole, patch), form=form, whole=whole, source=source)


def patch_of(target: Target) -> Size:
    """The (width, height) of patches.

    Raises:
        UserError: there is none.
    """
    if target.size is None:
        raise UserError(
            "fit='patch' needs the size of the patches that are cut; add --size 64, or 96x64 (width x height)"
        )
    return target.size


def lacking(size: Size, patch: Size) -> Size | None:
    """How much wider and higher an image must become to hold a patch; None if it is smaller than half of one."""
    if any(2 * side < wanted for side, wanted in zip(size, patch)):
        return None
    return max(0, patch[0] - size[0]), max(0, patch[1] - size[1])


def reflected(image: Pixel, missing: Size, step: int = 1) -> Pixel:
    """An image [C, H, W] made wider and higher by its reflection at its edges, in multiples of `step`; the edges are
    repeated, so that images of several scales stay alike."""
    if not any(missing):
        return image
    (left, top), (wide, high) = (side // step // 2 * step for side in missing), missing
    return np.pad(image, ((0, 0), (top, high - top), (left, wide - left)), mode="symmetric")


def cut_middle(whole: Whole, patch: Size) -> Tensor:
    """The middle patches (width, height), uint8 [N, C, H, W]; many of mapped images go to a nameless file."""
    shape = (patch[1], patch[0])
    indices = torch.arange(len(whole))
    places = middle(whole.rooms(indices, shape))
    total = len(whole) * len(whole.images[0]) * patch[0] * patch[1]
    if not is_mapped(whole.images[0]) or total <= memory_bound() // PARTS:
        return whole.cut(indices, places, shape)
    with nameless_file() as file:
        for some in indices.split(64):
            file.write(whole.cut(some, places[some], shape).numpy().data)
        file.flush()
        return map_file(file, (len(whole), len(whole.images[0]), *shape))


def too_small(name: str, size: Size, patch: Size) -> str:
    """A note about an image."""
    return f"left out {name}: its {size[0]}x{size[1]} pixels are less than half of a patch of {patch[0]}x{patch[1]}"


def check_left(name: str, count: int, notes: Sequence[str]) -> None:
    """Raise UserError if all images were too small."""
    if not count:
        raise UserError(f"{name} holds no image that is large enough ({notes[0]}, ...); choose a smaller --size")


def patch_remarks(sizes: Counter[Size], patch: Size, padded: int, what: str = "images") -> tuple[str, ...]:
    """What is done with images of these sizes, in a line or two."""
    common = ", ".join(f"{w}x{h} ({n:,} times)" for (w, h), n in sizes.most_common(3))
    kinds = f"{len(sizes)} size{'s' if len(sizes) > 1 else ''}"
    size = f"{patch[0]}x{patch[1]}"
    line = f"patches: of {size}, cut from anywhere in {sum(sizes.values()):,} {what} of {kinds}: {common}"
    more = f"padded: {padded:,} {what} were smaller than a patch of {size}, and are enlarged by their reflection"
    return (line, more) if padded else (line,)
