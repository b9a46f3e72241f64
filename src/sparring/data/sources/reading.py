"""One pass over images or pairs: decode them, store the pixels, and report what was left out or changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from sparring.base.errors import UserError, listed
from sparring.data.labels import Label, class_labels
from sparring.data.sources.decode import NotDecodedError, Size, Target
from sparring.data.sources.fitting import fitted_remarks, patch_remarks, usual_sizes
from sparring.data.sources.records import Record, Side, decoded_ahead, read_headers
from sparring.data.sources.source import PairSource, Source
from sparring.data.store.pixels import Sink

MOST_BROKEN = 0.1  # share of the images
ASPECT_TOLERANCE = 0.02  # largest unreported relative difference between the aspect ratios of a pair's images


@dataclass
class ReadReport:
    """Everything but pixels that a pass over images or pairs collects.

    Attributes:
        name: the name of the source.
        target: the size that the images are brought to.
        sides: one for single images, two (source, target) for pairs.
        sizes: for each side, how many images have each original size.
        labels: the label of each image that was read.
        broken: a line for each image that cannot be decoded.
        too_small: a line for each image that is smaller than half a patch.
        mismatched: pairs whose sizes do not fit together.
        distorted: pairs whose images have different aspect ratios, so that the source is distorted.
        padded: the number of images that were padded to the size of a patch.
        units: for each side, the unit of the positions of patches (see `Whole`); () unless patches are cut.
    """

    name: str
    target: Target
    sides: Sequence[Side]
    sizes: list[Counter[Size]] = field(init=False)
    labels: list[Label] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    too_small: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)
    distorted: list[str] = field(default_factory=list)
    padded: int = 0
    units: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self.sizes = [Counter() for _ in self.sides]

    @property
    def what(self) -> str:
        return "images" if len(self.sides) == 1 else "pairs"

    @property
    def sizes_conflict(self) -> bool:
        """True if the images have several sizes and no target size was given: `check` will raise."""
        return self.target.size is None and (bool(self.mismatched) or any(len(sizes) > 1 for sizes in self.sizes))

    def count_sizes(self, name: str, sizes: Sequence[Size]) -> None:
        """Count the sizes of an image or a pair."""
        for counts, size in zip(self.sizes, sizes):
            counts[size] += 1
        if self.target.size is None or self.target.fit == "patch":
            self.mismatched += [] if factor(sizes[0], sizes[-1]) else [_pair_sizes(name, sizes)]

    def check(self) -> None:
        """Raise UserError if nothing was read, too much was broken, or the sizes do not fit together."""
        check_broken(self.name, self.broken, self.sizes[-1].total(), self.what)
        if self.mismatched:
            fix = "add --size 64 to resize both, or correct them"
            if self.target.fit == "patch":
                fix = "patches are cut from both at the same place: correct the pairs, or use --fit crop"
            pairs = f"{len(self.mismatched)} pairs in {self.name}"
            raise UserError(f"{pairs} have images of different sizes: {listed(self.mismatched)}; {fix}")
        for side, sizes in zip(self.sides, self.sizes):
            if self.target.size is None and len(sizes) > 1:
                found = f"{len(sizes)} sizes: {usual_sizes(sizes)}"
                raise UserError(f"the {side.what}s in {self.name} have {found}; add --size 64 to resize all of them")

    def metadata(self, source: Source | PairSource) -> Metadata:
        """Everything but pixels of the images or pairs; raises UserError on bad labels."""
        if isinstance(source, PairSource):
            return Metadata(None, (), self.notes, self.remarks, self.units)
        labelled = class_labels(source.name, self.labels, source.classes, source.part)
        return Metadata(*labelled, self.notes, (*source.remarks, *self.remarks), self.units)

    @property
    def notes(self) -> tuple[str, ...]:
        """A line for each image that was left out."""
        return (*self.broken, *self.too_small)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Lines on changes to many images."""
        if self.target.fit == "patch":
            return patch_remarks(self.sizes[-1], self.target, self.padded, self.what)
        fitted = fitted_remarks(self.sizes[-1], self.target, self.what)
        if not self.distorted:
            return fitted
        count = (
            f"{len(self.distorted):,} sources have another aspect ratio than their targets and are distorted to match"
        )
        return (*fitted, f"warning: {count}: {self.distorted[0]}, ...")


class Metadata(NamedTuple):
    """Labels, class names, notes and remarks as in `Data`, and the units of `ReadReport`."""

    labels: Tensor | None
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    remarks: tuple[str, ...]
    units: tuple[int, ...]


def read_images(
    source: Source | PairSource, sides: Sequence[Side], target: Target, sinks: Sequence[Sink]
) -> ReadReport:
    """Decode all images or pairs of a source, each side into its sink.

    Raises:
        UserError: no images, more than a tenth broken, or different sizes without a target size.
        TooLargeError: the images exceed the memory bound of a sink.
    """
    report = ReadReport(source.name, target, sides)
    for name, label, images, sizes in decoded(source, report):
        report.labels.append(label)
        if len(sides) == 2 and target.size is not None:
            (wide, high), frame = sizes
            if abs(wide * frame[1] / (high * frame[0]) - 1) > ASPECT_TOLERANCE:
                report.distorted.append(_pair_sizes(name, sizes))
        if not report.sizes_conflict:
            for sink, image in zip(sinks, images):
                sink.add(image)
    report.check()
    return report


def decoded(source: Source | PairSource, report: ReadReport) -> Iterator[Record]:
    """Decode in as many threads as there are cores, and yield the readable images or pairs in their order.

    Sizes and unreadable images are added to the report. After a conflict of sizes only headers are read, for the
    message. Of several UserErrors, of the source or of an image, the first in the order of the images is raised.
    """
    for found, result in decoded_ahead(source, report.sides, report.target):
        if report.sizes_conflict:  # `result` may have been decoded before the conflict was found
            result = read_headers(found)
        if isinstance(result, UserError):
            raise result
        if isinstance(result, NotDecodedError):
            report.broken.append(str(result))
            continue
        report.count_sizes(result.name, result.sizes)
        if result.images:
            yield result


def factor(source: Size, target: Size) -> int:
    """How many times larger one of two sizes is than the other; 0 if not a whole number."""
    small, large = sorted((source, target))
    times = large[0] // small[0]
    return times if (small[0] * times, small[1] * times) == large else 0


def _pair_sizes(name: str, sizes: Sequence[Size]) -> str:
    (a, b), (c, d) = sizes
    return f"{name} (source {a}x{b}, target {c}x{d})"


def check_broken(name: str, broken: list[str], read: int, what: str = "images") -> None:
    """Raise UserError if there are none, or more than a tenth cannot be read."""
    total = len(broken) + read
    if not total:
        raise UserError(f"{name} holds no {what}")
    if len(broken) > MOST_BROKEN * total:
        first = broken[0].removeprefix("left out ")
        raise UserError(
            f"{len(broken)} of {total} {what} in {name} cannot be read ({first}, ...); at most {MOST_BROKEN:.0%} may "
            "be broken; repair or remove them"
        )
