"""Loading pairs: both images are decoded and resized in the same way."""

from __future__ import annotations

from dataclasses import replace
from itertools import zip_longest

from torch import Tensor

from sparring.data.decoded import Decoding
from sparring.data.form import Form
from sparring.data.images import ONE_SIZE
from sparring.data.layout import Pairs, class_names
from sparring.data.patches import ANY_SIZE, cut_middles, wholes_of
from sparring.data.samples import Data, joined, map_data
from sparring.data.sources.decode import Target
from sparring.data.sources.reading import Metadata
from sparring.data.sources.records import Side
from sparring.data.sources.source import PairSource
from sparring.data.store.pixels import Stored


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
    patches = target.fit == "patch"

    def build(stored: list[Stored], metadata: Metadata) -> Data:
        wholes = wholes_of(stored, metadata.units) if patches else []
        tensors = cut_middles(wholes, target) if patches else [each for each in stored if isinstance(each, Tensor)]
        source, translated = (
            map_data(found.name, samples, side.classes, side.what, whole)
            if side.classes
            else Data(found.name, samples, Form(tuple(samples.shape[1:])), whole=whole)
            for side, samples, whole in zip_longest(sides, tensors, wholes)
        )
        remarks = (*metadata.remarks, *source.remarks, *translated.remarks)
        return replace(joined(found.name, source, translated, paired=True), notes=metadata.notes, remarks=remarks)

    return Decoding(found, sides, target, ANY_SIZE if patches else ONE_SIZE, build).data()
