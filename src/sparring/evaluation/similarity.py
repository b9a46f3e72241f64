"""Scores of translated or restored images against their targets, for image-to-image runs and their trivial baseline."""

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

BASELINE = "_baseline"  # suffix of the baseline's values
EXACT = 100.0  # PSNR in dB of an output equal to its target; about the PSNR of one wrong value in an 8-bit image


def _mean(values: Sequence[Tensor]) -> Estimate:
    """The mean over images with its standard error."""
    found = torch.cat(list(values)).double()
    error = float(found.std()) / len(found) ** 0.5 if len(found) > 1 and found.isfinite().all() else 0.0
    return Estimate(float(found.mean()), error)


def _differences(images: Sequence[Tensor], others: Sequence[Tensor]) -> Estimate:
    """Mean absolute difference of images, in the unit of [-1, 1]."""
    return _mean([l1(bytes_to_input(x[None]), bytes_to_input(y[None])) for x, y in zip(images, others)])


def _mean_psnr(outcome: Outcome, name: str) -> Estimate:
    """Mean PSNR of the examples whose baseline differs from the target; an output equal to its target is `EXACT`."""
    kept = outcome.examples.finite_baseline(name)
    if not kept.any():
        raise UserError("the baseline equals the target of every image, so its PSNR is infinite")
    return _mean([outcome.psnr_by_name[name][kept].clamp(max=EXACT)])


def _perceptual(outcome: Outcome) -> Estimate:
    extractor, pairs = outcome.examples.extractor, zip(outcome.images, outcome.truth)
    return _mean([perceptual_maps(x[None], y[None], extractor) for x, y in pairs])


def _colours(outcome: Outcome) -> float:
    return colour_distance(outcome.images, outcome.truth)


def _of_features(metric: Callable[[Tensor, Tensor], Value]) -> Callable[[Outcome], Value]:
    """A metric of the features of real pieces and of the outputs' pieces."""
    return lambda outcome: metric(outcome.examples.real.features, outcome.fake.features)


def _classes(outcome: Outcome) -> Tensor:
    count, pairs = len(outcome.examples.tests.form.classes), zip(outcome.images, outcome.truth)
    return sum((confusion(x, y, count) for x, y in pairs), torch.zeros(count, count))


def _taken_for_target(outcome: Outcome) -> Estimate:
    images = outcome.images
    one_shape = len({image.shape for image in images}) == 1
    parts = [torch.stack(list(images))] if one_shape else [image[None] for image in images]
    found = [outcome.examples.extractor(part).logits for part in parts]
    logits = torch.cat([part for part in found if part is not None])
    return _mean([(logits.argmax(1) == 1).float()])


def _edges(outcome: Outcome) -> Estimate:
    pairs = zip(outcome.images, outcome.examples.sources)
    return _mean([_correlation(edges(x), edges(y)) for x, y in pairs])


def edges(image: Tensor) -> Tensor:
    """Magnitude of the Sobel gradient of an image's brightness: uint8 [C, H, W] -> float [H - 2, W - 2]."""
    brightness = image.float().mean(0)[None, None]
    sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
    slopes = F.conv2d(brightness, torch.stack([sobel, sobel.T])[:, None])[0]
    return slopes.square().sum(0).sqrt()


def _correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's correlation of two maps, [1]; 0 if one is constant."""
    return torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1].nan_to_num()[None]


def _same_shapes(outcome: Outcome) -> bool:
    """The two sets hold images of one shape."""
    tests = outcome.examples.tests
    return tests.source is None or tests.source.form.shape == tests.form.shape


def _same_sizes(outcome: Outcome) -> bool:
    """Outputs have the size of their sources."""
    return all(x.shape[1:] == y.shape[1:] for x, y in zip(outcome.images, outcome.examples.sources))


PIXELS = Need[Outcome](lambda o: not o.examples.tests.form.map, "images, not label maps")
SOURCE_PIXELS = Need[Outcome](
    lambda o: o.examples.tests.source is None or not o.examples.tests.source.form.map, PIXELS.text
)
MAPS = Need[Outcome](lambda o: o.examples.tests.form.map, "label maps")
PAIRS = Need[Outcome](lambda o: o.examples.truth is not None, "pairs")
PAIRED = (PIXELS, PAIRS)
SETS = Need[Outcome](lambda o: o.examples.truth is None, "two sets without pairs")
COLOURS = Need[Outcome](lambda o: o.examples.tests.form.shape[0] > 1, "images in colour")
HOLES = Need[Outcome](lambda o: o.examples.masks is not None, "a task with masks")
SHAPES = Need[Outcome](lambda o: o.examples.extractor.labels or _same_shapes(o), "two sets of images of one shape")
CLASSIFIER = Need[Outcome](lambda o: o.examples.extractor.labels, "a classifier of the two sets; leave --extractor out")
SEPARABLE = (SETS, SHAPES, CLASSIFIER)
SIZES = Need[Outcome](_same_sizes, "outputs of the size of their sources")
REVERSE = Need[Outcome](lambda o: o.returned is not None, "a generator of the reverse direction")

_MEASURES: tuple[Measure[Outcome], ...] = (
    single("psnr", "peak signal-to-noise ratio in dB", lambda o: _mean_psnr(o, "psnr"), 1, *PAIRED),
    single("ssim", "structural similarity", lambda o: _mean([ssim(x, y, span=255) for x, y in o.compared]), 1, *PAIRED),
    single(
        "l1", "mean absolute difference of values in [-1, 1]", lambda o: _differences(o.images, o.truth), -1, *PAIRED
    ),
    single("psnr_hole", "PSNR of the missing pixels in dB", lambda o: _mean_psnr(o, "psnr_hole"), 1, HOLES),
    single("perceptual", "perceptual distance of feature maps", _perceptual, -1, *PAIRED),
    single("frechet", "Frechet distance of images or patches", _of_features(frechet), -1, PIXELS),
    single("kernel_distance", "kernel distance (KID), unbiased", _of_features(kernel_distance), -1, PIXELS),
    single("colours", "distance of the distributions of a* and b* (CIELAB)", _colours, -1, *PAIRED, COLOURS),
    single("mean_iou", "mean intersection over union of classes", lambda o: iou_of(_classes(o)), 1, MAPS),
    single("pixel_accuracy", "share of pixels with the right class", lambda o: accuracy_of(_classes(o)), 1, MAPS),
    single(
        "taken_for_target",
        "share that a classifier assigns to the target set",
        _taken_for_target,
        1,
        *SEPARABLE,
    ),
    single("edges", "correlation of the edges of output and source", _edges, 1, PIXELS, SOURCE_PIXELS, SIZES),
    single(
        "cycle_l1",
        "mean absolute difference of the source and its reconstruction",
        lambda o: _differences(o.returned or (), o.examples.sources),
        -1,
        REVERSE,
    ),
)
SIMILARITY = {measure.name: measure for measure in _MEASURES}
