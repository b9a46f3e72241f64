"""Data leaks: silly differences between real and generated samples, by which D tells them apart instead of learning.

Some are certain before the first step: values of the data that the generator's last activation cannot emit. Others show
while it trains: D is nearly perfect, and no longer is once a silly difference is repaired in the generated samples. The
real samples are left as they are, so that D meets nothing there that it has not seen; and a repair takes away nothing
that real samples differ in among each other, so that what D knows of the data stays in view.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparring.errors import UserError

HUGE = 1e4  # what layers are made to give, so that an activation behind them saturates
NEAR = 1e-3  # of a bound, within which an output sits on it
SITTING = 0.05  # share of the outputs that sit on it, from which on it is one
BEYOND = 0.1  # of the data's range: values that much beyond a bound are out of reach; tanh only just misses -1
TOLERATED = 0.01  # share of a channel's values that may be out of reach
SURE = 0.95  # chance that D rates a real sample above a generated one, from which on it is asked what it goes by
LEVEL = 2 / 255  # of bytes, as networks see them
ALIKE = 3 * LEVEL  # the range within which values are one colour, as in `sparring data`
ALIKE_POINTS = 0.01  # the same for points, whose deviation is 1
REPEATED = 0.25  # distinct values of a coordinate, as a share of the points, below which it is rounded

Repair = Callable[[Tensor], Tensor]


class Bounds(NamedTuple):
    """The lowest and the highest value that a generator can emit, of each channel or coordinate [C]; else infinite."""

    low: Tensor
    high: Tensor


class OutOfReach(NamedTuple):
    """Real values that a generator cannot emit, of the channel (or coordinate) that has most of them.

    Attributes:
        share: of the channel's values.
        channel: which one, from 0.
        low, high: what the generator can emit there.
        real_low, real_high: the span of the real values there.
    """

    share: float
    channel: int
    low: float
    high: float
    real_low: float
    real_high: float


def emitted(generator: nn.Module, make: Callable[[nn.Module], Tensor]) -> Bounds:
    """What a generator can emit whatever it learns: the bounds of its last activation.

    In a copy, each layer with weights gives huge noise instead of what it would. Where outputs then sit on their lowest
    or highest value, something behind the layers keeps them there: tanh both ways, ReLU below only. That needs no names
    of activations, and holds for functions as for modules. Nothing is claimed where that something follows inside of a
    layer that has weights itself, unless the network is that one layer.

    Args:
        generator: the network; neither it nor the random state is touched.
        make: samples [n, C, ...] of such a network; some hundred values of each channel at least.

    Raises:
        UserError: the network does not give samples of at least two axes.
    """
    copied = copy.deepcopy(generator)
    rng = torch.Generator().manual_seed(0)

    def loud(module: nn.Module, given: object, output: object) -> Tensor | None:
        if isinstance(output, Tensor) and output.is_floating_point():
            return HUGE * torch.randn(output.shape, generator=rng).to(output)
        return None  # indices and tuples stay

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        layers = [layer for layer in copied.modules() if _is_layer(layer)]
        for layer in layers:
            if layer is not copied:
                layer.register_forward_hook(loud)
        if copied in layers:
            for weight in copied.parameters():
                weight.mul_(HUGE)
        made = make(copied).detach().float().cpu()
    if made.dim() < 2:
        raise UserError(f"the generator makes samples of shape {list(made.shape)}; it must be [n, ...]")
    values = made.transpose(0, 1).flatten(1)
    low, high = values.amin(1), values.amax(1)
    varies = low < high  # layers that start at 0 and swallow noise would seem to emit one value only
    on_low = (values <= low[:, None] + NEAR).double().mean(1) >= SITTING
    on_high = (values >= high[:, None] - NEAR).double().mean(1) >= SITTING
    inf = torch.full_like(low, torch.inf)
    return Bounds(low.where(varies & on_low, -inf), high.where(varies & on_high, inf))


def _is_layer(module: nn.Module) -> bool:
    """Has it weights of its own, and no part that has?"""
    inner = [each for each in module.modules() if next(each.parameters(recurse=False), None) is not None]
    return inner == [module]


def out_of_reach(bounds: Bounds, real: Tensor) -> OutOfReach | None:
    """The leak by range: more than 1 % of a channel's real values lie clearly outside of what can be emitted.

    Clearly is a tenth of the data's range (or of four standard deviations, where outliers make the range long): tanh
    never reaches the -1 that pictures are full of, and that is none.

    Args:
        bounds: of `emitted`.
        real: samples [n, C, ...] in the networks' units.

    Raises:
        UserError: the samples have another number of channels.
    """
    if real.dim() < 2 or real.shape[1] != len(bounds.low):
        raise UserError(
            f"real samples of shape {list(real.shape[1:])} have not the {len(bounds.low)} channels that the generator "
            "makes; choose a generator that fits"
        )
    values = real.float().cpu().transpose(0, 1).flatten(1)
    margin = BEYOND * min(float(values.max() - values.min()), 4 * float(values.std()))
    outside = (values < bounds.low[:, None] - margin) | (values > bounds.high[:, None] + margin)
    shares = outside.double().mean(1)
    worst = int(shares.argmax())
    if not shares[worst] > TOLERATED:
        return None
    span = float(values[worst].min()), float(values[worst].max())
    return OutOfReach(float(shares[worst]), worst, float(bounds.low[worst]), float(bounds.high[worst]), *span)


def repairs(real: Tensor) -> dict[str, Repair]:
    """Functions that mend silly differences in generated samples, by name; only those that this data can have.

    `range`: values beyond the real ones of their channel or coordinate. `rounding`: values between the real ones'
    levels; of points only where values repeat. `channel`: a channel or coordinate in which all real samples are one
    value. `border`: places at which all real samples are alike, such as padding, in other channels.

    Args:
        real: samples [n, C, H, W] that were bytes, or points [n, D], in the networks' units.
    """
    values = real.transpose(0, 1).flatten(1)
    shape = (1, -1, *[1] * (real.dim() - 2))
    low, high = values.amin(1).view(shape), values.amax(1).view(shape)
    found: dict[str, Repair] = {"range": lambda fake: fake.clamp(low.to(fake), high.to(fake))}
    levels = _levels(real)
    if levels is not None:
        found["rounding"] = lambda fake: _snapped(fake, levels)
    alike = ALIKE if real.dim() == 4 else ALIKE_POINTS
    constant = (high - low <= alike).expand(1, *real.shape[1:])
    places = (real.amax(0, keepdim=True) - real.amin(0, keepdim=True) <= alike) & ~constant
    mean = real.mean(0, keepdim=True)
    for name, where in (("channel", constant), ("border", places)):
        if where.any() and not (constant | places).all():
            found[name] = _overwrite(where, mean)
    return found


def _overwrite(where: Tensor, value: Tensor) -> Repair:
    return lambda fake: torch.where(where.to(fake.device), value.to(fake), fake)


def _levels(real: Tensor) -> list[Tensor] | None:
    """The values that occur, ascending, of all channels together or of each coordinate; None where any may."""
    if real.dim() == 4:
        counts = ((real + 1) / LEVEL).round().long().flatten().bincount(minlength=256)
        return [counts.nonzero().flatten() * LEVEL - 1]
    each = [column.unique() for column in real.T]
    return each if all(len(levels) <= REPEATED * len(real) for levels in each) else None


def _snapped(fake: Tensor, levels: list[Tensor]) -> Tensor:
    """Each value at the nearest level."""
    columns = [fake] if len(levels) == 1 else list(fake.unbind(1))
    found = []
    for column, own in zip(columns, levels):
        own = own.to(column)
        found.append(own[torch.bucketize(column.contiguous(), (own[1:] + own[:-1]) / 2)])
    return found[0] if len(levels) == 1 else torch.stack(found, 1)
