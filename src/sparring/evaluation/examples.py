"""Test images, what a run makes of them, what they should become, and what the trivial way makes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparring.apply import apply_tensor
from sparring.apply.generator import TrainedGenerator
from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.form import Form
from sparring.data.samples import Data
from sparring.data.store.whole import Whole
from sparring.game.match import Batch
from sparring.tasks.base import Translating
from sparring.tasks.degrade.images import LUMA


@dataclass(frozen=True)
class Example:
    """One test image, as the data stores such: uint8 [C, H, W], or ids of classes [1, H, W].

    Attributes:
        source: what is turned into something else.
        made: what the run makes of it.
        truth: what it should be, where that is known.
        baseline: what the trivial way makes of it.
        mask: where pixels were missing, bool [1, H, W].
        returned: what the way back makes of `made`.
    """

    source: Tensor
    made: Tensor
    truth: Tensor | None
    baseline: Tensor
    mask: Tensor | None = None
    returned: Tensor | None = None


def make_examples(generator: TrainedGenerator, tests: Data, train: Data, count: int, seed: int) -> list[Example]:
    """At most `count` test images, spread over all of them, each whole, whatever its size.

    Args:
        generator: what turns them into others.
        tests: the images: of pairs, of two sets, or those that the task degrades.
        train: what the run was trained on, which the trivial way may look at.
        count: how many.
        seed: for what is random in degrading them.
    """
    task, network = generator.task, generator.network
    assert isinstance(task, Translating)
    sources = tests if tests.source is None else tests.source
    total = len(sources)
    translator, back = task.translator(network), task.back(network)
    trivial, found = task.baseline(train), []
    device = next(network.parameters()).device
    for index in (torch.arange(min(count, total)) * total // min(count, total)).tolist():
        batch = task.prepare(whole(tests, index), torch.Generator().manual_seed(derive_seed(seed, "example", index)))
        source, mask = batch["source"].to(device), batch.get("mask")
        mask = None if mask is None else mask.to(device)
        made = apply_tensor(translator, source, mask)
        returned = None if back is None else apply_tensor(back, made)
        target = translator.target
        found.append(
            Example(
                _stored(translator.source, source),
                _stored(target, made),
                _stored(target, batch["real"]) if tests.source is None or tests.paired else None,
                _stored(target, trivial(batch)),
                None if mask is None else mask[0].cpu() > 0,
                None if returned is None else _stored(translator.source, returned),
            )
        )
    return found


def whole(data: Data, index: int) -> Batch:
    """A batch of one uncut image: `source` and what belongs to it as `real`, or `real` alone."""
    if data.source is None:
        return {"real": data.form.to_input(data.image(index)[None])}
    real = data.image(index if data.paired else index % len(data))
    return {
        "real": data.form.to_input(real[None]),
        "source": data.source.form.to_input(data.source.image(index)[None]),
    }


def patches(images: Sequence[Tensor], side: int) -> Tensor:
    """Square pieces [n, C, side, side] of images that do not overlap, row by row; images of that size or smaller in
    both directions stay whole, if all are of one size.

    Raises:
        UserError: no image is so large.
    """
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) == 1 and max(images[0].shape[1:]) <= side:
        return torch.stack(list(images))
    cut = [image.unfold(1, side, side).unfold(2, side, side) for image in images if min(image.shape[1:]) >= side]
    if not cut:
        height, width = images[0].shape[1:]
        raise UserError(f"no image is as large as what is compared, {side}x{side} (the first has {width}x{height})")
    return torch.cat([part.permute(1, 2, 0, 3, 4).flatten(0, 1) for part in cut])


def holes(examples: Sequence[Example], images: Sequence[Tensor]) -> list[Tensor]:
    """The part of each image that frames what was missing, in a square."""
    found = []
    for example, image in zip(examples, images):
        assert example.mask is not None
        rows, columns = (example.mask[0].any(axis).nonzero().flatten() for axis in (1, 0))
        found.append(image[:, int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1])
    return found


def _stored(form: Form, image: Tensor) -> Tensor:
    """One image as networks see it -> as the data stores it."""
    return form.to_stored(image.cpu())[0]


def recoloured(data: Data, like: Data) -> Data:
    """The same images, in as many channels as those of another set, sources as well: grey ones thrice, RGB ones as
    their luminance, as in reading files (ITU-R BT.601). What has these channels stays as it is.

    Raises:
        UserError: they are points, or have other channels than grey and RGB.
    """
    source = data.source
    if source is not None and like.source is not None:
        source = recoloured(source, like.source)
    channels, wanted = data.form.shape[0], like.form.shape[0]
    if not data.form.is_points and channels == wanted:
        return data if source is data.source else _made_from(data, source)
    if data.form.is_points or {channels, wanted} != {1, 3}:
        ours, theirs = list(data.form.shape), list(like.form.shape)
        raise UserError(f"{data.name} holds samples of shape {ours}, {like.name} of shape {theirs}; give like images")
    change = _to_rgb if wanted == 3 else _to_grey
    samples = torch.cat([change(chunk) for chunk in data.chunks()])
    whole = None if data.whole is None else Whole(tuple(map(_one(change), data.whole.images)), data.whole.unit)
    form = replace(data.form, shape=(wanted, *data.form.shape[1:]))
    return _made_from(replace(data, samples=samples, form=form, whole=whole), source)


def _made_from(data: Data, source: Data | None) -> Data:
    form = replace(data.form, source=None if source is None else source.form)
    return replace(data, form=form, source=source)


def _to_grey(images: Tensor) -> Tensor:
    shares = torch.tensor(LUMA).view(3, 1, 1)
    return (images.float() * shares).sum(1, keepdim=True).round().to(torch.uint8)


def _to_rgb(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1)


def _one(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda image: change(image[None])[0]
