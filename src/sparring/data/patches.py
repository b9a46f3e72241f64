"""Loading images at their original sizes, from which training cuts patches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.samples import Data, image_data
from sparring.data.sources.decode import Size, Target
from sparring.data.sources.reading import ReadReport, Side, channels_first, decoded, factor
from sparring.data.sources.source import PairSource, Source
from sparring.data.store.mapped import PARTS, is_mapped, map_file, memory_bound, nameless_file, written
from sparring.data.store.pixels import Pixel
from sparring.data.store.whole import Whole, middle


class _ImageStore:
    """Stores images of any size: in memory up to a bound, beyond it in a temporary file of the cache."""

    def __init__(self, bound: int) -> None:
        self.bound, self.held = bound, 0
        self.images: list[Pixel] = []
        self.shapes: list[tuple[int, ...]] = []
        self.file: BinaryIO | None = None
        self.stack = ExitStack()

    def add(self, image: Pixel) -> None:
        self.shapes.append(image.shape)
        self.images.append(np.array(image, np.uint8, order="C"))  # a copy, because Pillow's memory is read-only
        self.held += image.nbytes
        if self.file is None and self.held > self.bound:
            self.file = self.stack.enter_context(nameless_file())
        if self.file is not None:
            for waiting in self.images:
                self.file.write(waiting.data)
            self.images.clear()

    def whole(self, unit: int = 1) -> Whole:
        """The stored images; grey images become RGB if any image is RGB."""
        if self.file is None:
            images = [torch.from_numpy(image) for image in self.images]
        else:
            with self.stack:
                self.file.flush()
                pixels = map_file(self.file, (self.held,))
            sizes = [math.prod(shape) for shape in self.shapes]
            images = [part.view(shape) for part, shape in zip(pixels.split(sizes), self.shapes)]
        channels = max(len(image) for image in images)
        return Whole(tuple(image.expand(channels, -1, -1) for image in images), unit)


def load_whole(source: Source, target: Target) -> Data:
    """All images of a source at their original sizes; the samples are middle patches of the target size.

    Images smaller than a patch are padded by reflection. Images smaller than half a patch are left out.

    Raises:
        UserError: as `load_images`, no target size, or no image is large enough.
    """
    report, (samples,), (whole,) = read_patches(source, [Side(channels=source.channels)], target)
    return replace(image_data(source.name, samples, *report.metadata(source)), whole=whole)


def read_patches(
    source: Source | PairSource, sides: Sequence[Side], target: Target
) -> tuple[ReadReport, list[Tensor], list[Whole]]:
    """Decode all images or pairs of a source at their original sizes.

    Returns:
        The report, and for each side the middle patches and the whole images. Patches have the target size; where
        source and target of pairs differ in size, the patches of the sources are scaled in proportion.

    Raises:
        UserError: as `load_whole`, or the sizes of a pair do not fit together.
    """
    patch = patch_of(target)
    stores = [_ImageStore(memory_bound() // len(sides)) for _ in sides]
    report, larger = ReadReport(source.name, target, sides), Counter[tuple[int, bool]]()
    for name, label, images, sizes in decoded(source, report):
        first, last = sizes[0], sizes[-1]  # equal for single images
        times, missing = factor(first, last), shortfall(last, patch)
        if not times:
            continue
        larger[times, first > last] += 1
        if missing is None:
            size, wanted = "{}x{}".format(*last), "{}x{}".format(*patch)
            report.too_small.append(f"left out {name}: its {size} pixels are less than half a patch of {wanted}")
            continue
        report.labels.append(label)
        report.padded += any(missing)
        for store, side, image, padding in zip(stores, sides, images, _scaled(missing, first, last)):
            step = times if image.size > min(first, last) else 1
            store.add(reflected(channels_first(image, side.channels), padding, step))
    report.check()
    if not report.labels:
        small = f"({report.too_small[0]}, ...)"
        raise UserError(f"{source.name} holds no image that is large enough {small}; choose a smaller --size")
    units, patches = _proportions(source.name, larger, patch)
    wholes = [store.whole(unit) for store, unit in zip(stores, units)]
    return report, [cut_middle(whole, size) for whole, size in zip(wholes, patches)], wholes


def _scaled(missing: Size, source: Size, target: Size) -> tuple[Size, Size]:
    """The padding of source and target: whole pixels of the smaller, and the same in proportion of the larger."""
    if source > target:
        times = source[0] // target[0]
        return (missing[0] * times, missing[1] * times), missing
    times = target[0] // source[0]
    coarse = -(-missing[0] // times), -(-missing[1] // times)
    return coarse, (coarse[0] * times, coarse[1] * times)


def _proportions(name: str, larger: Counter[tuple[int, bool]], patch: Size) -> tuple[list[int], list[Size]]:
    """The units of patch positions, and the patch sizes, of sources and targets."""
    if len(larger) > 1:
        kinds = ", ".join(f"{times} times ({n})" for (times, _), n in larger.most_common(3))
        raise UserError(
            f"the images of pairs in {name} differ in size by {kinds}; keep only pairs that differ by the same factor"
        )
    ((times, of_source),) = larger
    if of_source:
        return [times, 1], [(patch[0] * times, patch[1] * times), patch]
    if any(side % times for side in patch):
        near = f"{patch[0] // times * times or times}x{patch[1] // times * times or times}"
        wanted = f"patches of {patch[0]}x{patch[1]} must be a multiple of {times}: use --size {near}"
        raise UserError(f"{name} has targets {times} times as large as sources; {wanted}")
    return [1, times], [(patch[0] // times, patch[1] // times), patch]


def with_patches(data: Data, target: Target) -> Data:
    """Decoded images as whole images with middle patches of the target size, as in `load_whole`, with their sources.

    Raises:
        UserError: no target size, points, or images smaller than a patch.
    """
    patch = patch_of(target)
    if data.form.is_points:
        raise UserError(f"{data.name} holds points, but --fit patch is for images; remove --fit")
    _, height, width = data.form.shape
    if width < patch[0] or height < patch[1]:
        size = f"{width}x{height}"
        wanted = f"patches of {patch[0]}x{patch[1]} must fit inside"
        raise UserError(f"{data.name} has images of {size}; {wanted}: choose a smaller --size")
    whole = Whole(tuple(data.samples.unbind()))
    source = None if data.source is None else with_patches(data.source, target)
    shape = (data.form.shape[0], patch[1], patch[0])
    form = replace(data.form, shape=shape, source=None if source is None else source.form)
    return replace(data, samples=cut_middle(whole, patch), form=form, whole=whole, source=source)


def patch_of(target: Target) -> Size:
    """The (width, height) of patches; raises UserError without a target size."""
    if target.size is None:
        fix = "add --size 64, or --size 96x64 (width x height)"
        raise UserError(f"fit='patch' needs the size of the patches; {fix}")
    return target.size


def shortfall(size: Size, patch: Size) -> Size | None:
    """The pixels (width, height) missing to hold a patch; None if the image is smaller than half a patch."""
    if any(2 * side < wanted for side, wanted in zip(size, patch)):
        return None
    return max(0, patch[0] - size[0]), max(0, patch[1] - size[1])


def reflected(image: Pixel, missing: Size, step: int = 1) -> Pixel:
    """Pad an image [C, H, W] by reflection, with a multiple of `step` pixels on the left and at the top.

    The edge pixels are repeated, so that both images of a pair with different sizes stay aligned.
    """
    if not any(missing):
        return image
    (left, top), (wide, high) = (side // step // 2 * step for side in missing), missing
    return np.pad(image, ((0, 0), (top, high - top), (left, wide - left)), mode="symmetric")


def cut_middle(whole: Whole, patch: Size) -> Tensor:
    """The middle patches (width, height), uint8 [N, C, H, W]; for many mapped images, in a temporary file."""
    size, indices = (patch[1], patch[0]), torch.arange(len(whole))
    places = middle(whole.rooms(indices, size))
    shape = (len(whole), len(whole.images[0]), *size)
    if not is_mapped(whole.images[0]) or math.prod(shape) <= memory_bound() // PARTS:
        return whole.cut(indices, places, size)
    return written((whole.cut(some, places[some], size) for some in indices.split(64)), shape)
