"""Scores of runs that turn images into others: each of what was made, and beside it of the trivial baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring import metrics
from sparring.data import Data
from sparring.data.samples import bytes_to_input, image_data
from sparring.errors import UserError
from sparring.evaluation.examples import Example, holes, patches
from sparring.extractors import Prepared
from sparring.metrics import Estimate
from sparring.metrics.paired import l1, psnr, ssim
from sparring.tasks.base import Translating

BASELINE = "_baseline"  # what the names of the baseline's values end in
LARGEST = 128  # pixels a side of what is looked at as one image
Value = float | Estimate


@dataclass(frozen=True)
class Examples:
    """What is scored.

    Attributes:
        task: what the run was trained for.
        tests: the test images.
        all: what became of them.
        extractor: makes the extractor for images [N, C, H, W].
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
        return self.prepare(image_data(self.tests.name, self.pieces("real")))

    def pieces(self, which: str) -> Tensor:
        """What the distances of distributions look at: images, patches of larger ones, or what was missing in them."""
        if which == "real":
            images = self.images("truth") if self.known else list(self.tests.samples)
        else:
            images = self.images(which)
        if self.masked:
            images = holes(self.all, images)
            side = min(min(image.shape[1:]) for image in images)
            return torch.stack([_resized(image, side) for image in images])
        return patches(images, min(LARGEST, *self.tests.form.shape[1:]))


@dataclass(frozen=True)
class LikenessMeasure:
    """A score by name, as `Measure` is for generated samples.

    Attributes:
        about: one line.
        compute: (examples, which images: "made" or "baseline") -> values by name.
        better: which way each value is better: -1 low, 1 high.
        lacks: what is lacking for it, in words; empty if nothing.
    """

    about: str
    compute: Callable[[Examples, str], Mapping[str, Value]]
    better: Mapping[str, int]
    lacks: Callable[[Examples], str] = lambda examples: "" if examples.known else "pairs"


def _pairs(examples: Examples, which: str) -> list[tuple[Tensor, Tensor]]:
    """Images [1, C, H, W] in levels 0 to 255 beside what they should be, as the field looks at them. (SSIM is about
    levels: it would be another number for values in [-1, 1].)"""
    made, truth = ([image[None] for image in examples.images(name)] for name in (which, "truth"))
    return [(examples.task.compared(x), examples.task.compared(y)) for x, y in zip(made, truth)]


def _mean(values: Sequence[Tensor]) -> Estimate:
    """The mean over images with its standard error."""
    found = torch.cat(list(values)).double()
    error = float(found.std()) / len(found) ** 0.5 if len(found) > 1 and found.isfinite().all() else 0.0
    return Estimate(float(found.mean()), error)


def _psnr(examples: Examples, which: str) -> Mapping[str, Value]:
    return {"psnr": _mean([psnr(x, y, span=255) for x, y in _pairs(examples, which)])}


def _ssim(examples: Examples, which: str) -> Mapping[str, Value]:
    return {"ssim": _mean([ssim(x, y, span=255) for x, y in _pairs(examples, which)])}


def _l1(examples: Examples, which: str) -> Mapping[str, Value]:
    made, truth = ([bytes_to_input(image[None]) for image in examples.images(name)] for name in (which, "truth"))
    return {"l1": _mean([l1(x, y) for x, y in zip(made, truth)])}


def _psnr_hole(examples: Examples, which: str) -> Mapping[str, Value]:
    made, truth = (examples.images(name) for name in (which, "truth"))
    values = []
    for example, x, y in zip(examples.all, made, truth):
        assert example.mask is not None
        squares = (bytes_to_input(x) - bytes_to_input(y)).square()[example.mask.expand_as(x)]
        values.append(10 * (4 / squares.mean()).log10()[None])
    return {"psnr_hole": _mean(values)}


def _perceptual(examples: Examples, which: str) -> Mapping[str, Value]:
    made, truth = (examples.images(name) for name in (which, "truth"))
    values = [metrics.perceptual_maps(x[None], y[None], examples.extractor) for x, y in zip(made, truth)]
    return {"perceptual": _mean(values)}


def _frechet(examples: Examples, which: str) -> Mapping[str, Value]:
    real, made = (examples.extractor(examples.pieces(name)).features for name in ("real", which))
    return {"frechet": metrics.frechet(real, made)}


def _kernel(examples: Examples, which: str) -> Mapping[str, Value]:
    real, made = (examples.extractor(examples.pieces(name)).features for name in ("real", which))
    return {"kernel_distance": metrics.kernel_distance(real, made)}


def _colours(examples: Examples, which: str) -> Mapping[str, Value]:
    made, truth = (torch.stack(examples.images(name)) for name in (which, "truth"))
    return {"colours": metrics.colour_distance(made, truth)}


def _classes(examples: Examples, which: str) -> Tensor:
    count = len(examples.tests.form.classes)
    found, wanted = (examples.images(name) for name in (which, "truth"))
    return sum((metrics.confusion(x, y, count) for x, y in zip(found, wanted)), torch.zeros(count, count))


def _mean_iou(examples: Examples, which: str) -> Mapping[str, Value]:
    return {"mean_iou": metrics.iou_of(_classes(examples, which))}


def _pixel_accuracy(examples: Examples, which: str) -> Mapping[str, Value]:
    return {"pixel_accuracy": metrics.accuracy_of(_classes(examples, which))}


def _taken(examples: Examples, which: str) -> Mapping[str, Value]:
    logits = examples.extractor(torch.stack(examples.images(which))).logits
    assert logits is not None
    return {"taken_for_target": _mean([(logits.argmax(1) == 1).float()])}


def _edges(examples: Examples, which: str) -> Mapping[str, Value]:
    made, sources = ([edges(image) for image in examples.images(name)] for name in (which, "source"))
    return {"edges": _mean([_correlation(x, y) for x, y in zip(made, sources)])}


def _cycle(examples: Examples, which: str) -> Mapping[str, Value]:
    back, sources = (examples.images(name) for name in ("returned", "source"))
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


def _no_maps(examples: Examples) -> str:
    if examples.tests.form.map:
        return "images, not maps of classes"
    return "" if examples.known else "pairs"


def _distributions(examples: Examples) -> str:
    return "images, not maps of classes" if examples.tests.form.map else ""


def _holes(examples: Examples) -> str:
    return "" if examples.masked else "a task with a mask"


def _maps(examples: Examples) -> str:
    return "" if examples.tests.form.map else "maps of classes"


def _sets(examples: Examples) -> str:
    if examples.known:
        return "two sets without pairs"
    return "" if examples.extractor.labels else "an extractor that tells the two sets apart; leave --extractor out"


def _same_places(examples: Examples) -> str:
    sources = examples.tests.form.source
    if examples.tests.form.map or (sources is not None and sources.map):
        return "images, not maps of classes"
    same = all(example.made.shape[1:] == example.source.shape[1:] for example in examples.all)
    return "" if same else "sources of the size of what is made"


def _way_back(examples: Examples) -> str:
    return "" if examples.all[0].returned is not None else "a generator for the way back"


LIKENESS: dict[str, LikenessMeasure] = {
    "psnr": LikenessMeasure("peak signal-to-noise ratio in dB", _psnr, {"psnr": 1}, _no_maps),
    "ssim": LikenessMeasure("structural similarity", _ssim, {"ssim": 1}, _no_maps),
    "l1": LikenessMeasure("mean absolute difference of values in [-1, 1]", _l1, {"l1": -1}, _no_maps),
    "psnr_hole": LikenessMeasure("PSNR of the pixels that were missing", _psnr_hole, {"psnr_hole": 1}, _holes),
    "perceptual": LikenessMeasure("distance of features, place by place", _perceptual, {"perceptual": -1}, _no_maps),
    "frechet": LikenessMeasure("Frechet distance of images or patches", _frechet, {"frechet": -1}, _distributions),
    "kernel_distance": LikenessMeasure("the unbiased one", _kernel, {"kernel_distance": -1}, _distributions),
    "colours": LikenessMeasure("distance of the histograms of a* and b*", _colours, {"colours": -1}, _no_maps),
    "mean_iou": LikenessMeasure("mean intersection over union of classes", _mean_iou, {"mean_iou": 1}, _maps),
    "pixel_accuracy": LikenessMeasure("share of pixels that are right", _pixel_accuracy, {"pixel_accuracy": 1}, _maps),
    "taken_for_target": LikenessMeasure(
        "share that a classifier takes for the target set", _taken, {"taken_for_target": 1}, _sets
    ),
    "edges": LikenessMeasure("correlation of edges with the source's", _edges, {"edges": 1}, _same_places),
    "cycle_l1": LikenessMeasure("mean absolute difference after there and back", _cycle, {"cycle_l1": -1}, _way_back),
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
        every = list(task.scores if name == "usual" else LIKENESS) if name in ("usual", "all") else [name]
        found += [n for n in every if n not in found]
    return found
