"""Loading pairs: both images are decoded and resized in the same way."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import zip_longest

from torch import Tensor

from sparring.data.form import Form
from sparring.data.layout import Pairs, class_names
from sparring.data.patches import read_patches
from sparring.data.samples import Data, joined, map_data
from sparring.data.sources.decode import Target
from sparring.data.sources.reading import ReadReport, Side, read_images
from sparring.data.sources.source import PairSource
from sparring.data.store.mapped import map_file, mapped_folder, memory_bound, nameless_file
from sparring.data.store.pixels import InFile, InMemory, TooLargeError
from sparring.data.store.whole import Whole


def load_pairs(found: PairSource, layout: Pairs, target: Target, like: Form | None = None) -> Data:
    """All pairs of a source, without labels; both images are resized to the target in the same way.

    Without a target size the images keep their sizes: all sources must have one size and all targets one, which may
    differ by a whole factor. Pairs with a broken image are left out and listed in `notes`.

    Args:
        found: the source of the pairs.
        layout: the class names of maps.
        target: the size of both images, and how they are resized.
        like: the form of the training part, whose numbers of channels a test part gets.

    Raises:
        UserError: no pairs, more than a tenth broken, sizes that do not fit together, or class ids out of range.
    """
    a, b = (0, 0) if like is None or like.source is None else (like.source.shape[0], like.shape[0])
    sides = [
        Side("source", Target(), class_names(layout.source_classes), layout.ignore, a),
        Side("target", Target(), class_names(layout.target_classes), layout.ignore, b),
    ]
    report, tensors, wholes = (read_patches if target.fit == "patch" else _read)(found, sides, target)
    source, translated = (
        map_data(found.name, samples, side.classes, side.what, whole)
        if side.classes
        else Data(found.name, samples, Form(tuple(samples.shape[1:])), whole=whole)
        for side, samples, whole in zip_longest(sides, tensors, wholes)
    )
    remarks = (*report.remarks, *source.remarks, *translated.remarks)
    return replace(joined(found.name, source, translated, paired=True), notes=report.notes, remarks=remarks)


def _read(found: PairSource, sides: Sequence[Side], target: Target) -> tuple[ReadReport, list[Tensor], list[Whole]]:
    """The report, and both sides in memory or in temporary files; the list of whole images is empty."""
    try:
        memory = [InMemory(found.count, memory_bound() // 2) for _ in sides]
        return read_images(found, sides, target, memory), [pixels.tensor() for pixels in memory], []
    except TooLargeError:
        del memory
    with ExitStack() as stack:
        files = [InFile(stack.enter_context(nameless_file()), mapped_folder()) for _ in sides]
        report = read_images(found, sides, target, files)
        for pixels in files:
            pixels.file.flush()
        return report, [map_file(pixels.file, pixels.shape) for pixels in files], []
