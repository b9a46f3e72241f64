"""Images in as many channels as another set has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from sparring.data.samples import Data
from sparring.data.whole import Whole
from sparring.degrade.images import LUMA
from sparring.errors import UserError


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
