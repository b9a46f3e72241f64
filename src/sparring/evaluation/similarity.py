"""Scores of runs that turn images into others: each of what was made, and beside it of the trivial baseline."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.base.errors import UserError
from sparring.data.form import bytes_to_input
from sparring.evaluation.examples import Outcome
from sparring.evaluation.measuring import Measure, Need, Value, single
from sparring.metrics.colour import colour_distance
from sparring.metrics.distribution import Estimate, frechet, kernel_distance
from sparring.metrics.paired import l1, perceptual_maps, ssim
from sparring.metrics.segmentation import accuracy_of, confusion, iou_of

BASELINE = "_baseline"  # what the names of the baseline's values end in
EXACT = 100.0  # dB of an image without a fault, about as many as one of 8 bits with a single fault can have


def _mean(values: Sequence[Tensor]) -> Estimate:
    """The mean over images with its standard error."""
    found = torch.cat(list(values)).double()
    error = float(found.std()) / len(found) ** 0.5 if len(found) > 1 and found.isfinite().all() else 0.0
    return Estimate(float(found.mean()), error)


def _differences(images: Sequence[Tensor], others: Sequence[Tensor]) -> Estimate:
    """The mean absolute difference of images in [-1, 1]."""
    return _mean([l1(bytes_to_input(x[None]), bytes_to_input(y[None])) for x, y in zip(images, others)])


def _decibels(outcome: Outcome, name: str) -> Estimate:
    """The mean PSNR of those examples that the baseline does not make exactly what they should be; what a run makes
    exactly counts as `EXACT`."""
    kept = outcome.examples.inexact(name)
    if not kept.any():
        raise UserError("the baseline makes of each image exactly what it should be, so that it is infinite")
    return _mean([outcome.decibels[name][kept].clamp(max=EXACT)])


def _perceptual(outcome: Outcome) -> Estimate:
    extractor, pairs = outcome.examples.extractor, zip(outcome.images, outcome.truth)
    return _mean([perceptual_maps(x[None], y[None], extractor) for x, y in pairs])


def _colours(outcome: Outcome) -> float:
    return colour_distance(outcome.images, outcome.truth)


def _of_features(metric: Callable[[Tensor, Tensor], Value]) -> Callable[[Outcome], Value]:
    """A metric of the features of real pieces and of those that were made."""
    return lambda outcome: metric(outcome.examples.real.features, outcome.seen.features)


def _classes(outcome: Outcome) -> Tensor:
    count, pairs = len(outcome.examples.tests.form.classes), zip(outcome.images, outcome.truth)
    return sum((confusion(x, y, count) for x, y in pairs), torch.zeros(count, count))


def _taken_for_target(outcome: Outcome) -> Estimate:
    images = outcome.images
    alike = len({image.shape for image in images}) == 1
    parts = [torch.stack(list(images))] if alike else [image[None] for image in images]
    found = [outcome.examples.extractor(part).logits for part in parts]
    logits = torch.cat([part for part in found if part is not None])
    return _mean([(logits.argmax(1) == 1).float()])


def _edges(outcome: Outcome) -> Estimate:
    pairs = zip(outcome.images, outcome.examples.sources)
    return _mean([_correlation(edges(x), edges(y)) for x, y in pairs])


def edges(image: Tensor) -> Tensor:
    """The length of the Sobel gradient of an image's brightness: uint8 [C, H, W] -> [H - 2, W - 2]."""
    brightness = image.float().mean(0)[None, None]
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    slopes = F.conv2d(brightness, torch.stack([sobel, sobel.T])[:, None])[0]
    return slopes.square().sum(0).sqrt()


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of two maps, [1]; 0 where one is flat."""
    return torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1].nan_to_num()[None]


def _same_shapes(outcome: Outcome) -> bool:
    """The two sets hold images of one shape."""
    tests = outcome.examples.tests
    return tests.source is None or tests.source.form.shape == tests.form.shape


def _places_kept(outcome: Outcome) -> bool:
    """What is made has the size of its source."""
    return all(x.shape[1:] == y.shape[1:] for x, y in zip(outcome.images, outcome.examples.sources))


PIXELS = Need[Outcome](lambda o: not o.examples.tests.form.map, "images, not maps of classes")
SOURCE_PIXELS = Need[Outcome](
    lambda o: o.examples.tests.source is None or not o.examples.tests.source.form.map, PIXELS.text
)
MAPS = Need[Outcome](lambda o: o.examples.tests.form.map, "maps of classes")
PAIRS = Need[Outcome](lambda o: o.examples.truth is not None, "pairs")
PAIRED = (PIXELS, PAIRS)
SETS = Need[Outcome](lambda o: o.examples.truth is None, "two sets without pairs")
COLOURS = Need[Outcome](lambda o: o.examples.tests.form.shape[0] > 1, "images in colour")
HOLES = Need[Outcome](lambda o: o.examples.masks is not None, "a task with a mask")
SHAPES = Need[Outcome](lambda o: o.examples.extractor.labels or _same_shapes(o), "two sets of images of one shape")
TELLING = Need[Outcome](
    lambda o: o.examples.extractor.labels, "an extractor that tells the two sets apart; leave --extractor out"
)
TELLABLE = (SETS, SHAPES, TELLING)
PLACES = Need[Outcome](_places_kept, "sources of the size of what is made")
BACK = Need[Outcome](lambda o: o.returned is not None, "a generator for the way back")

_MEASURES: tuple[Measure[Outcome], ...] = (
    single("psnr", "peak signal-to-noise ratio in dB", lambda o: _decibels(o, "psnr"), 1, *PAIRED),
    single("ssim", "structural similarity", lambda o: _mean([ssim(x, y, span=255) for x, y in o.compared]), 1, *PAIRED),
    single(
        "l1", "mean absolute difference of values in [-1, 1]", lambda o: _differences(o.images, o.truth), -1, *PAIRED
    ),
    single("psnr_hole", "PSNR of the pixels that were missing", lambda o: _decibels(o, "psnr_hole"), 1, HOLES),
    single("perceptual", "distance of features, place by place", _perceptual, -1, *PAIRED),
    single("frechet", "Frechet distance of images or patches", _of_features(frechet), -1, PIXELS),
    single("kernel_distance", "the unbiased one", _of_features(kernel_distance), -1, PIXELS),
    single("colours", "distance of the histograms of a* and b*", _colours, -1, *PAIRED, COLOURS),
    single("mean_iou", "mean intersection over union of classes", lambda o: iou_of(_classes(o)), 1, MAPS),
    single("pixel_accuracy", "share of pixels that are right", lambda o: accuracy_of(_classes(o)), 1, MAPS),
    single("taken_for_target", "share that a classifier takes for the target set", _taken_for_target, 1, *TELLABLE),
    single("edges", "correlation of edges with the source's", _edges, 1, PIXELS, SOURCE_PIXELS, PLACES),
    single(
        "cycle_l1",
        "mean absolute difference after there and back",
        lambda o: _differences(o.returned or (), o.examples.sources),
        -1,
        BACK,
    ),
)
SIMILARITY = {measure.name: measure for measure in _MEASURES}
