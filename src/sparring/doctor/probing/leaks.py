"""Data leaks: silly differences between real and generated samples, by which D tells them apart instead of learning.

Some are certain before the first step: values of the data that the generator's last activation cannot emit. Others show
while it trains: D is rather sure, and no longer is once a difference is repaired in the generated samples. Real samples
stay as they are, and a repair keeps all that they differ in among each other.

Maps of classes are not examined: true ones are 0 and 1, a generator's are shares. D may go by that, but a map of 0 and
1 alone would give the generator no slope (Luc et al. 2016, section 3.2).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparring.base.errors import UserError
from sparring.game.game import Game
from sparring.game.match import Batch

HUGE = 1e4  # what layers are made to give, so that an activation behind them saturates
NEAR = 1e-3  # of a bound, within which an output sits on it
SITTING = 0.05  # share of the outputs that sit on it, from which on it is one
BEYOND = 0.1  # of the data's range: values that much beyond a bound are out of reach; tanh only just misses -1
TOLERATED = 0.01  # share of a channel's values that may be out of reach
LEVEL = 2 / 255  # of bytes, as networks see them
ALIKE = 3 * LEVEL  # the range within which values are one colour, as in `sparring data`
ALIKE_POINTS = 0.01  # the same for points, whose deviation is 1
OUTLIERS = 0.01  # share of the values at either end that do not count for the span of images
STRETCHED = 1.5  # factor from which on a narrower span is not mended by stretching
REPEATED = 0.25  # distinct values of a coordinate, as a share of the points, below which it is rounded

IMAGES_END = "torch.nn.Tanh(), for images are in -1 to 1, and make all their places by layers that learn"
POINTS_END = "a linear layer, for points have mean 0 and deviation 1"

Repair = Callable[[Tensor], Tensor]


class Bounds(NamedTuple):
    """The lowest and the highest value that a generator can emit at each place, [C, ...]; infinite where any."""

    low: Tensor
    high: Tensor


class OutOfReach(NamedTuple):
    """Real values that a generator cannot emit, of the channel (or coordinate) that has most of them: their share, what
    the generator can emit at the places where they lie, and the span of the real values there."""

    share: float
    channel: int
    low: float
    high: float
    real_low: float
    real_high: float

    @property
    def numbers(self) -> dict[str, float]:
        """Of a row of the log; what is infinite is left out."""
        return {f"leak/{name}": value for name, value in self._asdict().items() if math.isfinite(value)}

    def reported(self, points: bool) -> str:
        """The leak in words, with what mends it."""
        emits = f"{self.low:.3g} to {self.high:.3g}" if self.low < self.high else f"{self.low:.3g}, whatever it learns"
        where = f"coordinate {self.channel}" if points else f"channel {self.channel}"
        return (
            f"{self.share:.0%} of the data's values in {where} lie in {self.real_low:.3g} to {self.real_high:.3g}, "
            f"where the generator emits {emits}: end it in {POINTS_END if points else IMAGES_END}"
        )


def emitted(generator: nn.Module, make: Callable[[nn.Module], Tensor]) -> Bounds:
    """What a generator can emit whatever it learns: the bounds of its last activation.

    In a copy, each layer with weights gives huge noise. Outputs that then sit on their lowest or highest value are kept
    there by something behind the layers: tanh both ways, ReLU below only. A place that the noise does not reach, such
    as padding, has its one value as both bounds. Nothing is claimed where an activation follows inside of a layer that
    has weights itself, unless the network is that one layer.

    Neither the network nor the random state is touched. `make` gives some hundred samples [n, C, ...] of a network.

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
    low, high = made.amin(0), made.amax(0)
    if bool((low == high).all()):  # noise reached nothing: of a network that starts at 0 that tells nothing
        return Bounds(torch.full_like(low, -torch.inf), torch.full_like(high, torch.inf))
    on_low = (made <= low + NEAR).double().mean(0) >= SITTING
    on_high = (made >= high - NEAR).double().mean(0) >= SITTING
    return Bounds(low.masked_fill(~on_low, -torch.inf), high.masked_fill(~on_high, torch.inf))


def _is_layer(module: nn.Module) -> bool:
    """Has it weights of its own, and no part that has?"""
    inner = [each for each in module.modules() if next(each.parameters(recurse=False), None) is not None]
    return inner == [module]


def out_of_reach(bounds: Bounds, real: Tensor) -> OutOfReach | None:
    """The leak by range: more than 1 % of a channel's real values lie clearly outside of what can be emitted.

    Clearly is by a tenth of the data's range, or of four standard deviations: tanh only just misses -1. `real` are
    samples [n, C, ...] in the networks' units.

    Raises:
        UserError: the samples have another shape.
    """
    if real.shape[1:] != bounds.low.shape:
        raise UserError(
            f"real samples of shape {list(real.shape[1:])} are set against a generator's of {list(bounds.low.shape)}; "
            "choose a generator that fits"
        )
    real = real.float().cpu()
    margin = BEYOND * min(float(real.max() - real.min()), 4 * float(real.std()))
    outside = (real < bounds.low - margin) | (real > bounds.high + margin)
    shares = outside.transpose(0, 1).flatten(1).double().mean(1)
    worst = int(shares.argmax())
    if not shares[worst] > TOLERATED:
        return None
    where = outside[:, worst].any(0)
    values = real[:, worst][:, where]
    emits = float(bounds.low[worst][where].min()), float(bounds.high[worst][where].max())
    return OutOfReach(float(shares[worst]), worst, *emits, float(values.min()), float(values.max()))


def beyond_reach(game: Game, inputs: Batch, real: Tensor) -> OutOfReach | None:
    """The leak by range of a game, if there is one; training does not change the answer.

    `inputs` are some hundred that the game's task draws; `real` and errors are as in `out_of_reach`."""
    network = game.generator.network
    batch = {name: tensor.to(next(network.parameters()).device) for name, tensor in inputs.items()}
    return out_of_reach(emitted(network, lambda copied: game.task.generate(copied, batch)["fake"]), real)


def repairs(real: Tensor) -> dict[str, Repair]:
    """Functions that mend silly differences in generated samples, by name; only those that this data can have.

    `range`: values beyond the real ones of their channel or coordinate; images whose values span a little less than
    real ones do are stretched. `rounding`: values between the real ones' levels; of points only where values repeat.
    `channel`: a channel or coordinate in which all real samples are one value. `border`: places at which all real
    samples are alike, such as padding, in other channels.

    `real` are samples [n, C, H, W] that were bytes, or points [n, D], in the networks' units.
    """
    low, high = _span(real, 0.0)
    found: dict[str, Repair] = {"range": partial(_fitted, _span(real, 0.0), _span(real, OUTLIERS))}
    levels = _levels(real)
    if levels is not None:
        found["rounding"] = partial(_snapped, levels)
    alike = ALIKE if real.dim() == 4 else ALIKE_POINTS
    constant = (high - low <= alike).expand(1, *real.shape[1:])
    places = (real.amax(0, keepdim=True) - real.amin(0, keepdim=True) <= alike) & ~constant
    mean = real.mean(0, keepdim=True)
    for name, where in (("channel", constant), ("border", places)):
        if where.any() and not (constant | places).all():
            found[name] = partial(_overwritten, where, mean)
    return found


Span = tuple[Tensor, Tensor]


def _span(samples: Tensor, cut: float) -> Span:
    """Each channel's lowest and highest value [1, C, ...], without a share of `cut` at either end."""
    values = samples.float().transpose(0, 1).flatten(1)
    shape = (1, -1, *[1] * (samples.dim() - 2))
    rank = 1 + int(cut * (values.shape[1] - 1))
    low, high = values.kthvalue(rank, 1).values, values.kthvalue(values.shape[1] + 1 - rank, 1).values
    return low.view(shape), high.view(shape)


def _fitted(whole: Span, inner: Span, fake: Tensor) -> Tensor:
    """Samples within the real ones' whole span; images stretched to the span without outliers."""
    if fake.dim() == 4:
        low, high = _span(fake, OUTLIERS)
        factor = (inner[1] - inner[0]).to(fake) / (high - low).clamp_min(1e-12)
        little = (factor > 1) & (factor < STRETCHED)  # beyond that it is no difference of range alone
        fake = torch.where(little, (fake - low) * factor + inner[0].to(fake), fake)
    return fake.clamp(whole[0].to(fake), whole[1].to(fake))


def _overwritten(where: Tensor, value: Tensor, fake: Tensor) -> Tensor:
    return torch.where(where.to(fake.device), value.to(fake), fake)


def _levels(real: Tensor) -> list[Tensor] | None:
    """The values that occur, ascending, of all channels together or of each coordinate; None where any may."""
    if real.dim() == 4:
        counts = ((real + 1) / LEVEL).round().long().flatten().bincount(minlength=256)
        return [counts.nonzero().flatten() * LEVEL - 1]
    each = [column.unique() for column in real.T]
    return each if all(len(levels) <= REPEATED * len(real) for levels in each) else None


def _snapped(levels: list[Tensor], fake: Tensor) -> Tensor:
    """Each value at the nearest level."""
    found = []
    for column, own in zip([fake] if len(levels) == 1 else fake.unbind(1), levels):
        own = own.to(column)
        found.append(own[torch.bucketize(column.contiguous(), (own[1:] + own[:-1]) / 2)])
    return found[0] if len(levels) == 1 else torch.stack(found, 1)
