"""Loading images at their original sizes, from which training cuts patches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.decoded import Decoding, Method
from sparring.data.samples import Data, image_data
from sparring.data.sources.decode import Size, Target
from sparring.data.sources.reading import Metadata, ReadReport, decoded, factor
from sparring.data.sources.records import Side
from sparring.data.sources.source import PairSource, Source
from sparring.data.store.mapped import PARTS, is_large, memory_bound, written
from sparring.data.store.pixels import ImagesInFile, ImagesInMemory, Pixel, Sink, Stored
from sparring.data.store.whole import Whole, middle


def load_whole(source: Source, target: Target) -> Data:
    """All images of a source at their original sizes; the samples are middle patches of the target size.

    Images smaller than a patch are padded by reflection. Images smaller than half a patch are left out.

    Raises:
        UserError: as `load_images`, no target size, or no image is large enough.
    """

    def build(stored: list[Stored], metadata: Metadata) -> Data:
        wholes = wholes_of(stored, metadata.units)
        (samples,) = cut_middles(wholes, target)
        return replace(image_data(source.name, samples, *metadata[:4]), whole=wholes[0])

    return Decoding(source, [Side(channels=source.channels)], target, ANY_SIZE, build).data()


def read_whole(source: Source | PairSource, sides: Sequence[Side], target: Target, sinks: Sequence[Sink]) -> ReadReport:
    """Decode all images or pairs of a source at their original sizes, each side into its sink.

    Patches will have the target size; where source and target of pairs differ in size, the patches of the larger are
    scaled in proportion.

    Raises:
        UserError: as `load_whole`, or the sizes of a pair do not fit together.
        TooLargeError: the images exceed the memory bound of a sink.
    """
    patch = patch_of(target)
    report, larger = ReadReport(source.name, target, sides), Counter[tuple[int, bool]]()
    for name, label, images, sizes in decoded(source, report):
        first, last = sizes[0], sizes[-1]  # equal for single images
        times, missing = factor(first, last), shortfall(last, patch)
        if not times:
            continue
        larger[times, first > last] += 1
        if missing is None:
            pixels, wanted = "{}x{}".format(*last), "{}x{}".format(*patch)
            report.too_small.append(f"left out {name}: its {pixels} pixels are less than half a patch of {wanted}")
            continue
        report.labels.append(label)
        report.padded += any(missing)
        for sink, image, size, padding in zip(sinks, images, sizes, _scaled(missing, first, last)):
            sink.add(reflected(image, padding, times if size > min(first, last) else 1))
    report.check()
    if not report.labels:
        small = f"({report.too_small[0]}, ...)"
        raise UserError(f"{source.name} holds no image that is large enough {small}; choose a smaller --size")
    report.units = _units(source.name, larger, patch)[-len(sides) :]
    return report


ANY_SIZE = Method(read_whole, ImagesInMemory, ImagesInFile)


def wholes_of(stored: Sequence[Stored], units: Sequence[int]) -> list[Whole]:
    """The whole images of each side; grey images become RGB if any image of the side is RGB."""
    channels = [max(len(image) for image in images) for images in stored]
    return [Whole(tuple(image.expand(n, -1, -1) for image in i), unit) for i, n, unit in zip(stored, channels, units)]


def cut_middles(wholes: Sequence[Whole], target: Target) -> list[Tensor]:
    """The middle patches of each side; those of pairs are in proportion to the images."""
    width, height = patch_of(target)
    of_target = wholes[-1].unit
    sizes = [(width * whole.unit // of_target, height * whole.unit // of_target) for whole in wholes]
    return [cut_middle(whole, size) for whole, size in zip(wholes, sizes)]


def _scaled(missing: Size, source: Size, target: Size) -> tuple[Size, Size]:
    """The padding of source and target: whole pixels of the smaller, and the same in proportion of the larger."""
    if source > target:
        times = source[0] // target[0]
        return (missing[0] * times, missing[1] * times), missing
    times = target[0] // source[0]
    coarse = -(-missing[0] // times), -(-missing[1] // times)
    return coarse, (coarse[0] * times, coarse[1] * times)


def _units(name: str, larger: Counter[tuple[int, bool]], patch: Size) -> tuple[int, int]:
    """The units of patch positions of sources and targets."""
    if len(larger) > 1:
        kinds = ", ".join(f"{times} times ({n})" for (times, _), n in larger.most_common(3))
        raise UserError(
            f"the images of pairs in {name} differ in size by {kinds}; keep only pairs that differ by the same factor"
        )
    ((times, of_source),) = larger
    if of_source:
        return times, 1
    if any(side % times for side in patch):
        near = f"{patch[0] // times * times or times}x{patch[1] // times * times or times}"
        wanted = f"patches of {patch[0]}x{patch[1]} must be a multiple of {times}: use --size {near}"
        raise UserError(f"{name} has targets {times} times as large as sources; {wanted}")
    return 1, times


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
    if not is_large(whole.images[0]) or math.prod(shape) <= memory_bound() // PARTS:
        return whole.cut(indices, places, size)
    return written((whole.cut(some, places[some], size) for some in indices.split(64)), shape)
