"""From pairs of encoded images to a set: both decoded, and brought to a size together."""

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
from sparring.data.sources.reading import Reported, Side, read_images
from sparring.data.sources.source import PairSource
from sparring.data.store.mapped import map_file, mapped_folder, memory_bound, nameless_file
from sparring.data.store.pixels import InFile, InMemory, TooLargeError
from sparring.data.store.whole import Whole


def load_pairs(found: PairSource, layout: Pairs, target: Target, like: Form | None = None) -> Data:
    """All pairs of a source, both members brought to the target's size in the same way.

    Without a size they stay as they are; then all sources are of one size and all targets of one, which may be a whole
    number of times as large, or the other way round. A pair of which a member is broken is named in `notes` and left
    out. There are no labels. `like` is the form of another part of the set, whose numbers of channels these pairs get.

    Raises:
        UserError: no pairs, too many broken ones, sizes that do not fit together, or class ids out of range.
    """
    a, b = (0, 0) if like is None or like.source is None else (like.source.shape[0], like.shape[0])
    sides = [
        Side("source", Target(), class_names(layout.source_classes), layout.ignore, a),
        Side("target", Target(), class_names(layout.target_classes), layout.ignore, b),
    ]
    reported, tensors, wholes = (read_patches if target.fit == "patch" else _read)(found, sides, target)
    source, aim = (
        map_data(found.name, samples, side.classes, side.what, whole)
        if side.classes
        else Data(found.name, samples, Form(tuple(samples.shape[1:])), whole=whole)
        for side, samples, whole in zip_longest(sides, tensors, wholes)
    )
    remarks = (*reported.remarks, *source.remarks, *aim.remarks)
    return replace(joined(found.name, source, aim, paired=True), notes=reported.notes, remarks=remarks)


def _read(found: PairSource, sides: Sequence[Side], target: Target) -> tuple[Reported, list[Tensor], list[Whole]]:
    """Both sides in memory, or in files of the cache without a name; nothing is whole."""
    try:
        memory = [InMemory(found.count, memory_bound() // 2) for _ in sides]
        return read_images(found, sides, target, memory), [pixels.tensor() for pixels in memory], []
    except TooLargeError:
        del memory
    with ExitStack() as stack:
        files = [InFile(stack.enter_context(nameless_file()), mapped_folder()) for _ in sides]
        reported = read_images(found, sides, target, files)
        for pixels in files:
            pixels.file.flush()
        return reported, [map_file(pixels.file, pixels.shape) for pixels in files], []
