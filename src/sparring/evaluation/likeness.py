"""Scores of runs that turn images into others: each of what was made, and beside it of the trivial baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring import metrics
from sparring.base.errors import UserError
from sparring.data.form import bytes_to_input
from sparring.data.samples import Data, image_data
from sparring.evaluation.examples import Example, holes, patches
from sparring.evaluation.measuring import Measure, Value
from sparring.metrics import Estimate
from sparring.metrics.extractors import Prepared, Seen
from sparring.metrics.paired import l1, psnr, ssim
from sparring.tasks.base import Translating

BASELINE = "_baseline"  # what the names of the baseline's values end in
EXACT = 100.0  # dB of an image without a fault, about as many as one of 8 bits with a single fault can have
LARGEST = 128  # pixels a side of what is looked at as one image


@dataclass(frozen=True)
class Examples:
    """What is scored.

    Attributes:
        task: what the run was trained for.
        tests: the test images.
        all: what became of them.
        prepare: makes the extractor for images [N, C, H, W].
    """

    task: Translating
    tests: Data
    all: Sequence[Example]
    prepare: Callable[[Data], Prepared]

    def images(self, which: str) -> list[Tensor]:
        """All images of a name."""
        found = [getattr(example, which) for example in self.all]
        assert None not in found
        return found

    @cached_property
    def run(self) -> Outcome:
        """What the run made of them."""
        return Outcome(self, "made")

    @cached_property
    def trivial(self) -> Outcome:
        """What the trivial way made of them."""
        return Outcome(self, "baseline")

    def inexact(self, name: str) -> Tensor:
        """Of which examples the trivial way's PSNR, by its name, is finite, so that there is something to do: bool [n].
        These are the same ones for every run."""
        return self.trivial.decibels[name].isfinite()

    @property
    def known(self) -> bool:
        """Is it known what the images should become?"""
        return self.all[0].truth is not None

    @property
    def masked(self) -> bool:
        return self.all[0].mask is not None

    @cached_property
    def extractor(self) -> Prepared:
        """What looks at pieces of images."""
        return self.prepare(image_data(self.tests.name, self.real_pieces))

    @cached_property
    def real_pieces(self) -> Tensor:
        """Pieces of what the images should become or, without pairs, of the set that they should be like."""
        return self.pieces(self.images("truth") if self.known else list(self.tests.samples))

    @cached_property
    def real(self) -> Seen:
        """What the extractor sees in them."""
        return self.extractor(self.real_pieces)

    def pieces(self, images: Sequence[Tensor]) -> Tensor:
        """What the distances of distributions look at: images, patches of larger ones, or what was missing in them.

        Raises:
            UserError: images are too small.
        """
        if self.masked:
            found = holes(self.all, images)
            side = min(min(image.shape[1:]) for image in found)
            return torch.stack([_resized(image, side) for image in found])
        return patches(images, min(LARGEST, *self.tests.form.shape[1:]))


@dataclass(frozen=True)
class Outcome:
    """What became of the examples: what the run made of them, or what the trivial way did.

    Attributes:
        examples: of what, and what they should become.
        which: "made" or "baseline".
    """

    examples: Examples
    which: str

    @property
    def images(self) -> list[Tensor]:
        return self.examples.images(self.which)

    @property
    def truth(self) -> list[Tensor]:
        return self.examples.images("truth")

    @cached_property
    def decibels(self) -> Mapping[str, Tensor]:
        """PSNR of each example, [n], by the name of the score: of all of it and, with masks, of what was missing."""
        found = {"psnr": torch.cat([psnr(x, y, span=255) for x, y in _pairs(self)])}
        return {**found, "psnr_hole": _hole_decibels(self)} if self.examples.masked else found

    @cached_property
    def pieces(self) -> Tensor:
        return self.examples.pieces(self.images)

    @cached_property
    def seen(self) -> Seen:
        """What the extractor sees in its pieces."""
        return self.examples.extractor(self.pieces)


def _pairs(outcome: Outcome) -> list[tuple[Tensor, Tensor]]:
    """Images [1, C, H, W] in levels 0 to 255 beside what they should be, as the field looks at them. (SSIM is about
    levels: it would be another number for values in [-1, 1].)"""
    compared = outcome.examples.task.compared
    return [(compared(x[None]), compared(y[None])) for x, y in zip(outcome.images, outcome.truth)]


def _mean(values: Sequence[Tensor]) -> Estimate:
    """The mean over images with its standard error."""
    found = torch.cat(list(values)).double()
    error = float(found.std()) / len(found) ** 0.5 if len(found) > 1 and found.isfinite().all() else 0.0
    return Estimate(float(found.mean()), error)


def _psnr(outcome: Outcome) -> Mapping[str, Value]:
    return {"psnr": _finite_mean(outcome, "psnr")}


def _ssim(outcome: Outcome) -> Mapping[str, Value]:
    return {"ssim": _mean([ssim(x, y, span=255) for x, y in _pairs(outcome)])}


def _l1(outcome: Outcome) -> Mapping[str, Value]:
    made, truth = ([bytes_to_input(image[None]) for image in images] for images in (outcome.images, outcome.truth))
    return {"l1": _mean([l1(x, y) for x, y in zip(made, truth)])}


def _psnr_hole(outcome: Outcome) -> Mapping[str, Value]:
    return {"psnr_hole": _finite_mean(outcome, "psnr_hole")}


def _hole_decibels(outcome: Outcome) -> Tensor:
    values = []
    for example, x, y in zip(outcome.examples.all, outcome.images, outcome.truth):
        assert example.mask is not None
        squares = (bytes_to_input(x) - bytes_to_input(y)).square()[example.mask.expand_as(x)]
        values.append(10 * (4 / squares.mean()).log10())
    return torch.stack(values)


def _finite_mean(outcome: Outcome, name: str) -> Estimate:
    """The mean PSNR of those examples that the baseline does not make exactly what they should be; what a run makes
    exactly counts as `EXACT`."""
    kept = outcome.examples.inexact(name)
    if not kept.any():
        raise UserError("the baseline makes of each image exactly what it should be, so that it is infinite")
    return _mean([outcome.decibels[name][kept].clamp(max=EXACT)])


def _perceptual(outcome: Outcome) -> Mapping[str, Value]:
    extractor, pairs = outcome.examples.extractor, zip(outcome.images, outcome.truth)
    values = [metrics.perceptual_maps(x[None], y[None], extractor) for x, y in pairs]
    return {"perceptual": _mean(values)}


def _frechet(outcome: Outcome) -> Mapping[str, Value]:
    return {"frechet": metrics.frechet(outcome.examples.real.features, outcome.seen.features)}


def _kernel(outcome: Outcome) -> Mapping[str, Value]:
    return {"kernel_distance": metrics.kernel_distance(outcome.examples.real.features, outcome.seen.features)}


def _colours(outcome: Outcome) -> Mapping[str, Value]:
    return {"colours": metrics.colour_distance(outcome.images, outcome.truth)}


def _classes(outcome: Outcome) -> Tensor:
    count, pairs = len(outcome.examples.tests.form.classes), zip(outcome.images, outcome.truth)
    return sum((metrics.confusion(x, y, count) for x, y in pairs), torch.zeros(count, count))


def _mean_iou(outcome: Outcome) -> Mapping[str, Value]:
    return {"mean_iou": metrics.iou_of(_classes(outcome))}


def _pixel_accuracy(outcome: Outcome) -> Mapping[str, Value]:
    return {"pixel_accuracy": metrics.accuracy_of(_classes(outcome))}


def _taken(outcome: Outcome) -> Mapping[str, Value]:
    images = outcome.images
    alike = len({image.shape for image in images}) == 1
    parts = [torch.stack(images)] if alike else [image[None] for image in images]
    found = [outcome.examples.extractor(part).logits for part in parts]
    logits = torch.cat([part for part in found if part is not None])
    return {"taken_for_target": _mean([(logits.argmax(1) == 1).float()])}


def _edges(outcome: Outcome) -> Mapping[str, Value]:
    sources = outcome.examples.images("source")
    made, sources = ([edges(image) for image in images] for images in (outcome.images, sources))
    return {"edges": _mean([_correlation(x, y) for x, y in zip(made, sources)])}


def _cycle(outcome: Outcome) -> Mapping[str, Value]:
    back, sources = (outcome.examples.images(name) for name in ("returned", "source"))
    return {"cycle_l1": _mean([l1(bytes_to_input(x[None]), bytes_to_input(y[None])) for x, y in zip(back, sources)])}


def edges(image: Tensor) -> Tensor:
    """The length of the Sobel gradient of an image's brightness: uint8 [C, H, W] -> [H - 2, W - 2]."""
    brightness = image.float().mean(0)[None, None]
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    slopes = F.conv2d(brightness, torch.stack([sobel, sobel.T])[:, None])[0]
    return slopes.square().sum(0).sqrt()


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of two maps, [1]; 0 where one is flat."""
    return torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1].nan_to_num()[None]


def _resized(image: Tensor, side: int) -> Tensor:
    """An image uint8 [C, H, W] as [C, side, side]."""
    if tuple(image.shape[1:]) == (side, side):
        return image
    sized = F.interpolate(image[None].float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return sized[0].round().to(torch.uint8)


def _pairs_lacking(outcome: Outcome) -> str:
    if outcome.examples.tests.form.map:
        return "images, not maps of classes"
    return "" if outcome.examples.known else "pairs"


def _colours_lacking(outcome: Outcome) -> str:
    grey = outcome.examples.tests.form.shape[0] == 1
    return _pairs_lacking(outcome) or ("images in colour" if grey else "")


def _images_lacking(outcome: Outcome) -> str:
    return "images, not maps of classes" if outcome.examples.tests.form.map else ""


def _holes_lacking(outcome: Outcome) -> str:
    return "" if outcome.examples.masked else "a task with a mask"


def _maps_lacking(outcome: Outcome) -> str:
    return "" if outcome.examples.tests.form.map else "maps of classes"


def _sets_lacking(outcome: Outcome) -> str:
    examples = outcome.examples
    if examples.known:
        return "two sets without pairs"
    if examples.extractor.labels:
        return ""
    source = examples.tests.source
    if source is not None and source.form.shape != examples.tests.form.shape:
        return "two sets of images of one shape"
    return "an extractor that tells the two sets apart; leave --extractor out"


def _places_lacking(outcome: Outcome) -> str:
    form = outcome.examples.tests.form
    if form.map or (form.source is not None and form.source.map):
        return "images, not maps of classes"
    same = all(example.made.shape[1:] == example.source.shape[1:] for example in outcome.examples.all)
    return "" if same else "sources of the size of what is made"


def _way_back_lacking(outcome: Outcome) -> str:
    there = outcome.which == "made" and outcome.examples.all[0].returned is not None
    return "" if there else "a generator for the way back"


LIKENESS: dict[str, Measure[Outcome]] = {
    "psnr": Measure("peak signal-to-noise ratio in dB", _psnr, {"psnr": 1}, _pairs_lacking),
    "ssim": Measure("structural similarity", _ssim, {"ssim": 1}, _pairs_lacking),
    "l1": Measure("mean absolute difference of values in [-1, 1]", _l1, {"l1": -1}, _pairs_lacking),
    "psnr_hole": Measure("PSNR of the pixels that were missing", _psnr_hole, {"psnr_hole": 1}, _holes_lacking),
    "perceptual": Measure("distance of features, place by place", _perceptual, {"perceptual": -1}, _pairs_lacking),
    "frechet": Measure("Frechet distance of images or patches", _frechet, {"frechet": -1}, _images_lacking),
    "kernel_distance": Measure("the unbiased one", _kernel, {"kernel_distance": -1}, _images_lacking),
    "colours": Measure("distance of the histograms of a* and b*", _colours, {"colours": -1}, _colours_lacking),
    "mean_iou": Measure("mean intersection over union of classes", _mean_iou, {"mean_iou": 1}, _maps_lacking),
    "pixel_accuracy": Measure("share of pixels that are right", _pixel_accuracy, {"pixel_accuracy": 1}, _maps_lacking),
    "taken_for_target": Measure(
        "share that a classifier takes for the target set", _taken, {"taken_for_target": 1}, _sets_lacking
    ),
    "edges": Measure("correlation of edges with the source's", _edges, {"edges": 1}, _places_lacking),
    "cycle_l1": Measure("mean absolute difference after there and back", _cycle, {"cycle_l1": -1}, _way_back_lacking),
}


def usual_measures(task: Translating, named: Sequence[str]) -> list[str]:
    """The names to compute for a task: those that were named; `usual` are the task's own, `all` are all.

    Raises:
        UserError: a name is not of such scores.
    """
    found: list[str] = []
    for name in named:
        if name not in LIKENESS and name not in ("usual", "all"):
            raise UserError(f"{name} is not for runs that turn images into others; these have: {', '.join(LIKENESS)}")
        every = {"usual": [*task.scores], "all": [*task.scores, *LIKENESS]}.get(name, [name])
        found += [n for n in every if n not in found]
    return found
