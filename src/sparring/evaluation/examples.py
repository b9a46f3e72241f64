"""Test images, what they should become, what the trivial way makes of them, and what a run does."""

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
from sparring.metrics.extractors import Prepared, Seen
from sparring.metrics.paired import psnr
from sparring.tasks.base import Translating
from sparring.tasks.degrade.images import LUMA

LARGEST = 128  # pixels a side of what is looked at as one image


@dataclass(frozen=True)
class Examples:
    """Test images and what belongs to them, the same for every run; what is computed of them is kept.

    Images are as the data stores them: uint8 [C, H, W], or ids of classes [1, H, W], each of its own size.
    """

    task: Translating  # what turns them into others
    tests: Data  # where they come from
    sources: Sequence[Tensor]  # what is turned into something else
    truth: Sequence[Tensor] | None  # what they should become, where that is known
    baselines: Sequence[Tensor]  # what the trivial way makes of them
    masks: Sequence[Tensor] | None  # where pixels are missing, bool [1, H, W], if the task has masks
    prepare: Callable[[Data], Prepared]  # makes the extractor for images [N, C, H, W]
    seed: int = 0  # of what is random in degrading them
    # The baseline's scores by the metric's name, with notes on what was left out.
    beside: dict[str, tuple[Mapping[str, Value], list[str]]] = field(default_factory=dict)

    @cached_property
    def baseline_name(self) -> Outcome:
        """What the trivial way makes of them."""
        return Outcome(self, self.baselines)

    def inexact(self, name: str) -> Tensor:
        """Of which examples the trivial way's PSNR, by its name, is finite, so that there is something to do: bool [n].
        These are the same ones for every run."""
        return self.baseline_name.decibels[name].isfinite()

    @cached_property
    def extractor(self) -> Prepared:
        """What looks at pieces of images."""
        return self.prepare(image_data(self.tests.name, self.real_pieces))

    @cached_property
    def real_pieces(self) -> Tensor:
        """Pieces of what the images should become or, without pairs, of the set that they should be like."""
        return self.pieces(list(self.tests.samples) if self.truth is None else self.truth)

    @cached_property
    def real(self) -> Seen:
        """What the extractor sees in them."""
        return self.extractor(self.real_pieces)

    def pieces(self, images: Sequence[Tensor]) -> Tensor:
        """What the distances of distributions look at: images, patches of larger ones, or what was missing in them;
        raises UserError if images are too small."""
        if self.masks is None:
            return patches(images, min(LARGEST, *self.tests.form.shape[1:]))
        found = holes(self.masks, images)
        side = min(min(image.shape[1:]) for image in found)
        return torch.stack([_resized(image, side) for image in found])

    def outcome(self, generator: TrainedGenerator) -> Outcome:
        """What a generator, in evaluation mode, makes of them, and the way back of that where there is one."""
        task, network = self.task, generator.network
        translator, back = task.translator(network), task.back(network)
        device, images, returned = next(network.parameters()).device, [], []
        for index in places(self.tests, len(self.sources)):
            batch = prepared(task, self.tests, index, self.seed)
            mask = batch["mask"].to(device) if "mask" in batch else None
            made = apply_tensor(translator, batch["source"].to(device), mask)
            images.append(_stored(translator.target, made))
            if back is not None:
                returned.append(_stored(translator.source, apply_tensor(back, made)))
        return Outcome(self, images, returned or None)


@dataclass(frozen=True)
class Outcome:
    """What became of the examples."""

    examples: Examples
    images: Sequence[Tensor]  # what was made of them
    returned: Sequence[Tensor] | None = None  # what the way back makes of that, if there is one

    @property
    def truth(self) -> Sequence[Tensor]:
        """What they should have become."""
        assert self.examples.truth is not None
        return self.examples.truth

    @property
    def compared(self) -> list[tuple[Tensor, Tensor]]:
        """Images [1, C, H, W] in levels 0 to 255 beside what they should be, as the field looks at them. (SSIM is about
        levels: it would be another number for values in [-1, 1].)"""
        look = self.examples.task.compared
        return [(look(x[None]), look(y[None])) for x, y in zip(self.images, self.truth)]

    @cached_property
    def decibels(self) -> Mapping[str, Tensor]:
        """PSNR of each example, [n], by the name of the score: of all of it and, with masks, of what was missing."""
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
        """Pieces of them, as those of the real images."""
        return self.examples.pieces(self.images)

    @cached_property
    def seen(self) -> Seen:
        """What the extractor sees in its pieces."""
        return self.examples.extractor(self.pieces)


def make_examples(
    task: Translating, tests: Data, train: Data, count: int, seed: int, prepare: Callable[[Data], Prepared]
) -> Examples:
    """At most `count` test images (pairs, two sets, or those that the task degrades), spread over all of them, each
    whole, whatever its size. The trivial way may look at `train`, what runs were trained on."""
    source, target = task.forms
    known, baseline_name = tests.source is None or tests.paired, task.baseline(train)
    sources, truth, baselines, masks = [], [], [], []
    for index in places(tests, count):
        batch = prepared(task, tests, index, seed)
        sources.append(_stored(source, batch["source"]))
        truth += [_stored(target, batch["real"])] if known else []
        baselines.append(_stored(target, baseline_name(batch)))
        masks += [batch["mask"][0] > 0] if "mask" in batch else []
    return Examples(task, tests, sources, truth or None, baselines, masks or None, prepare, seed)


def places(tests: Data, count: int) -> list[int]:
    """The numbers of at most `count` test images, spread over all of them."""
    total = len(tests if tests.source is None else tests.source)
    count = min(count, total)
    return [index * total // count for index in range(count)]


def prepared(task: Translating, tests: Data, index: int, seed: int) -> Batch:
    """The batch of one test image; what is random in it depends on the seed and its number alone."""
    return task.prepare(whole(tests, index), torch.Generator().manual_seed(derive_seed(seed, "example", index)))


def whole(data: Data, index: int) -> Batch:
    """A batch of one uncut image: `source` and what belongs to it as `real`, or `real` alone."""
    if data.source is None:
        return {"real": data.form.to_input(data.image(index)[None])}
    real = data.image(index if data.paired else index % len(data))
    return {"real": data.form.to_input(real[None]), "source": data.source.form.to_input(data.source.image(index)[None])}


def patches(images: Sequence[Tensor], side: int) -> Tensor:
    """Square pieces [n, C, side, side] of images that do not overlap, row by row; images of that size or smaller in
    both directions stay whole, if all are of one size. Raises UserError if no image is so large."""
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) == 1 and max(images[0].shape[1:]) <= side:
        return torch.stack(list(images))
    cut = [image.unfold(1, side, side).unfold(2, side, side) for image in images if min(image.shape[1:]) >= side]
    if not cut:
        height, width = images[0].shape[1:]
        raise UserError(f"no image is as large as what is compared, {side}x{side} (the first has {width}x{height})")
    return torch.cat([part.permute(1, 2, 0, 3, 4).flatten(0, 1) for part in cut])


def holes(masks: Sequence[Tensor], images: Sequence[Tensor]) -> list[Tensor]:
    """The part of each image that frames what was missing, in a square."""
    found = []
    for mask, image in zip(masks, images):
        rows, columns = (mask[0].any(axis).nonzero().flatten() for axis in (1, 0))
        found.append(image[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1])
    return found


def _resized(image: Tensor, side: int) -> Tensor:
    """An image uint8 [C, H, W] as [C, side, side]."""
    if tuple(image.shape[1:]) == (side, side):
        return image
    sized = F.interpolate(image[None].float(), (side, side), mode="bilinear", antialias=True, align_corners=False)
    return sized[0].round().to(torch.uint8)


def _stored(form: Form, image: Tensor) -> Tensor:
    """One image as networks see it -> as the data stores it."""
    return form.to_stored(image.cpu())[0]


def recoloured(data: Data, like: Data) -> Data:
    """The same images, in as many channels as those of another set, sources as well: grey ones thrice, RGB ones as
    their luminance, as in reading files (ITU-R BT.601). What has these channels stays as it is. Raises UserError if
    they are points, or have other channels than grey and RGB."""
    source = data.source
    if source is not None and like.source is not None:
        source = recoloured(source, like.source)
    channels, wanted = data.form.shape[0], like.form.shape[0]
    if not data.form.is_points and channels == wanted:
        if source is data.source:
            return data
    elif data.form.is_points or {channels, wanted} != {1, 3}:
        ours, theirs = list(data.form.shape), list(like.form.shape)
        raise UserError(f"{data.name} holds samples of shape {ours}, {like.name} of shape {theirs}; give like images")
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
