"""Test images of image-to-image runs with their targets, their trivial baseline and a run's outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from sparring.apply import apply_tensor
from sparring.apply.generator import TrainedGenerator
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.form import Form, bytes_to_input
from sparring.data.samples import Data, image_data
from sparring.data.store.whole import Whole
from sparring.evaluation.measuring import Value
from sparring.game.match import Batch
from sparring.metrics.extractors import Features, Prepared
from sparring.metrics.paired import psnr
from sparring.tasks.base import Translating
from sparring.tasks.degrade.images import LUMA

LARGEST = 128  # pixels a side of a patch; larger images are cut into patches for features


@dataclass(frozen=True)
class Examples:
    """Test images with targets and baseline, shared by all runs; features of them are computed once.

    Images are stored as in the data: uint8 [C, H, W], or class ids [1, H, W], each of its own size.

    Attributes:
        task: the image-to-image task.
        tests: the data that the images come from.
        sources: inputs of the generator.
        truth: targets; None for tasks without pairs.
        baselines: outputs of the trivial baseline.
        masks: missing pixels, bool [1, H, W]; None for tasks without masks.
        prepare: prepares the extractor for images [N, C, H, W].
        seed: seed of random degradations.
        baseline_scores: the baseline's values and notes by metric, filled on first use.
    """

    task: Translating
    tests: Data
    sources: Sequence[Tensor]
    truth: Sequence[Tensor] | None
    baselines: Sequence[Tensor]
    masks: Sequence[Tensor] | None
    prepare: Callable[[Data], Prepared]
    seed: int = 0
    baseline_scores: dict[str, tuple[Mapping[str, Value], list[str]]] = field(default_factory=dict)

    @cached_property
    def baseline_outcome(self) -> Outcome:
        """The trivial baseline's outputs."""
        return Outcome(self, self.baselines)

    def finite_baseline(self, name: str) -> Tensor:
        """Examples whose baseline has a finite PSNR, bool [n]: PSNR is averaged over them, the same for every run.

        `name` is "psnr" or "psnr_hole".
        """
        return self.baseline_outcome.psnr_by_name[name].isfinite()

    @cached_property
    def extractor(self) -> Prepared:
        """The extractor for `pieces`."""
        return self.prepare(image_data(self.tests.name, self.real_pieces))

    @cached_property
    def real_pieces(self) -> Tensor:
        """`pieces` of the targets or, without pairs, of the target set."""
        return self.pieces(list(self.tests.samples) if self.truth is None else self.truth)

    @cached_property
    def real(self) -> Features:
        """Features of `real_pieces`."""
        return self.extractor(self.real_pieces)

    def pieces(self, images: Sequence[Tensor]) -> Tensor:
        """Cut images into the equally large pieces that feature distances compare, uint8 [n, C, H, W].

        Pieces are whole images, patches of larger images or, for tasks with masks, the squares around the holes.
        UserError: images are too small.
        """
        if self.masks is None:
            return patches(images, min(LARGEST, *self.tests.form.shape[1:]))
        found = holes(self.masks, images)
        side = min(min(image.shape[1:]) for image in found)
        return torch.stack([_resized(image, side) for image in found])

    def outcome(self, generator: TrainedGenerator) -> Outcome:
        """Run a generator, in evaluation mode, on all sources; also its reverse direction, if it has one."""
        task, network = self.task, generator.network
        translator, reverse = task.translator(network), task.back(network)
        device, images, returned = next(network.parameters()).device, [], []
        for index in places(self.tests, len(self.sources)):
            batch = prepared(task, self.tests, index, self.seed)
            mask = batch["mask"].to(device) if "mask" in batch else None
            output = apply_tensor(translator, batch["source"].to(device), mask)
            images.append(_stored(translator.target, output))
            if reverse is not None:
                returned.append(_stored(translator.source, apply_tensor(reverse, output)))
        return Outcome(self, images, returned or None)


@dataclass(frozen=True)
class Outcome:
    """Outputs for the test images, of a run or of the baseline.

    Attributes:
        examples: the test images.
        images: one output per example.
        returned: each output translated back to the source's domain; None without a reverse direction.
    """

    examples: Examples
    images: Sequence[Tensor]
    returned: Sequence[Tensor] | None = None

    @property
    def truth(self) -> Sequence[Tensor]:
        """The targets."""
        assert self.examples.truth is not None
        return self.examples.truth

    @property
    def compared(self) -> list[tuple[Tensor, Tensor]]:
        """Pairs of output and target [1, C, H, W] in levels 0 to 255, in the form that the task's PSNR and SSIM use.

        SSIM is not invariant to an offset: values in [-1, 1] would give another score.
        """
        form = self.examples.task.compared
        return [(form(x[None]), form(y[None])) for x, y in zip(self.images, self.truth)]

    @cached_property
    def psnr_by_name(self) -> Mapping[str, Tensor]:
        """PSNR of each example [n]: "psnr" of the whole image and, with masks, "psnr_hole" of the missing pixels."""
        found = {"psnr": torch.cat([psnr(x, y, span=255) for x, y in self.compared])}
        if self.examples.masks is None:
            return found
        values = []
        for mask, x, y in zip(self.examples.masks, self.images, self.truth):
            squares = (bytes_to_input(x) - bytes_to_input(y)).square()[mask.expand_as(x)]
            values.append(10 * (4 / squares.mean()).log10())
        return {**found, "psnr_hole": torch.stack(values)}

    @cached_property
    def pieces(self) -> Tensor:
        """`Examples.pieces` of the outputs."""
        return self.examples.pieces(self.images)

    @cached_property
    def fake(self) -> Features:
        """Features of `pieces`."""
        return self.examples.extractor(self.pieces)


def make_examples(
    task: Translating, tests: Data, train: Data, count: int, seed: int, prepare: Callable[[Data], Prepared]
) -> Examples:
    """Prepare at most `count` test images, spread evenly over the data, each uncropped.

    The data are pairs, two sets without pairs, or images that the task degrades. The baseline may use `train`.
    """
    source, target = task.forms
    known, baseline = tests.source is None or tests.paired, task.baseline(train)
    sources, truth, baselines, masks = [], [], [], []
    for index in places(tests, count):
        batch = prepared(task, tests, index, seed)
        sources.append(_stored(source, batch["source"]))
        truth += [_stored(target, batch["real"])] if known else []
        baselines.append(_stored(target, baseline(batch)))
        masks += [batch["mask"][0] > 0] if "mask" in batch else []
    return Examples(task, tests, sources, truth or None, baselines, masks or None, prepare, seed)


def places(tests: Data, count: int) -> list[int]:
    """Indices of at most `count` test images, spread evenly over the data."""
    total = len(tests if tests.source is None else tests.source)
    count = min(count, total)
    return [index * total // count for index in range(count)]


def prepared(task: Translating, tests: Data, index: int, seed: int) -> Batch:
    """The batch of one test image; its randomness depends only on the seed and the index."""
    return task.prepare(whole(tests, index), torch.Generator().manual_seed(derive_seed(seed, "example", index)))


def whole(data: Data, index: int) -> Batch:
    """A batch of one uncropped image: `real`, and `source` if the data have sources."""
    if data.source is None:
        return {"real": data.form.to_input(data.image(index)[None])}
    real = data.image(index if data.paired else index % len(data))
    return {"real": data.form.to_input(real[None]), "source": data.source.form.to_input(data.source.image(index)[None])}


def patches(images: Sequence[Tensor], side: int) -> Tensor:
    """Cut images into square patches [n, C, side, side] without overlap, row by row.

    Images of one size that are not larger than a patch stay whole. UserError: no image is as large as a patch.
    """
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) == 1 and max(images[0].shape[1:]) <= side:
        return torch.stack(list(images))
    cut = [image.unfold(1, side, side).unfold(2, side, side) for image in images if min(image.shape[1:]) >= side]
    if not cut:
        height, width = images[0].shape[1:]
        raise UserError(f"no image is as large as a patch ({width}x{height} is the first); give at least {side}x{side}")
    return torch.cat([part.permute(1, 2, 0, 3, 4).flatten(0, 1) for part in cut])


def holes(masks: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
    """Crop each image to the bounding box of its missing pixels."""
    found = []
    for mask, image in zip(masks, images):
        rows, columns = (mask[0].any(axis).nonzero().flatten() for axis in (1, 0))
        found.append(image[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1])
    return found


def _resized(image: Tensor, side: int) -> Tensor:
    """Resize an image, uint8 [C, H, W], to [C, side, side]."""
    if tuple(image.shape[1:]) == (side, side):
        return image
    sized = F.interpolate(image[None].float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return sized[0].round().to(torch.uint8)


def _stored(form: Form, image: Tensor) -> Tensor:
    """Convert a network's image [1, C, H, W] to the form of the data [C, H, W]."""
    return form.to_stored(image.cpu())[0]


def recoloured(data: Data, like: Data) -> Data:
    """Convert images, and their sources, to the number of channels of another dataset.

    Grey is repeated to RGB; RGB becomes luminance, as in reading files (ITU-R BT.601).

    Raises:
        UserError: the samples are points, or have channels other than grey and RGB.
    """
    source = data.source
    if source is not None and like.source is not None:
        source = recoloured(source, like.source)
    channels, wanted = data.form.shape[0], like.form.shape[0]
    if not data.form.is_points and channels == wanted:
        if source is data.source:
            return data
    elif data.form.is_points or {channels, wanted} != {1, 3}:
        ours, theirs = list(data.form.shape), list(like.form.shape)
        raise UserError(f"{data.name} has samples of shape {ours}, {like.name} {theirs}; give grey or RGB images")
    else:
        change = _to_rgb if wanted == 3 else _to_grey
        whole = None if data.whole is None else Whole(tuple(map(change, data.whole.images)), data.whole.unit)
        data = replace(data, samples=torch.cat([change(chunk) for chunk in data.chunks()]), whole=whole)
    form = replace(data.form, shape=(wanted, *data.form.shape[1:]), source=None if source is None else source.form)
    return replace(data, form=form, source=source)


def _to_grey(images: Tensor) -> Tensor:
    shares = torch.tensor(LUMA).view(3, 1, 1)
    return (images.float() * shares).sum(-3, keepdim=True).round().to(torch.uint8)


def _to_rgb(images: Tensor) -> Tensor:
    return images.expand(*images.shape[:-3], 3, -1, -1)
