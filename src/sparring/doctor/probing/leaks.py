"""Data leaks: dataset artifacts by which D separates real from generated samples, whatever the samples show.

Some are certain before the first step: values of the data that the generator's last activation cannot emit. Others show
during training: D has a high AUC, which drops once a difference is repaired in the generated samples. Real samples stay
unchanged. A repair removes no difference that exists between real samples.

Class maps are not checked: real ones are 0 and 1, generated ones are probabilities. D can use that, but a generated map
of 0 and 1 alone would have no gradient (Luc et al. 2016, section 3.2).
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

HUGE = 1e4  # scale of the noise that replaces the output of layers, so that an activation after them saturates
NEAR = 1e-3  # distance to a bound within which an output counts as on it
ON_BOUND = 0.05  # least share of outputs on their extreme value that makes it a bound
BEYOND = 0.1  # share of the data's range by which values must exceed a bound; tanh never quite reaches -1
TOLERATED = 0.01  # share of a channel's values that may be out of reach
LEVEL = 2 / 255  # one level of a byte, as networks see it
ALIKE = 3 * LEVEL  # range within which values count as one colour, as in `sparring data`
ALIKE_POINTS = 0.01  # the same for points, whose standard deviation is 1
OUTLIERS = 0.01  # share of the values at either end that the span of images leaves out
STRETCHED = 1.5  # a span that is narrower by this factor is not repaired by stretching
REPEATED = 0.25  # largest share of distinct values with which a coordinate counts as rounded

IMAGES_END = "torch.nn.Tanh(), since images are in [-1, 1], and generate every pixel by trainable layers"
POINTS_END = "a linear layer, since points have mean 0 and standard deviation 1"

Repair = Callable[[Tensor], Tensor]


class Bounds(NamedTuple):
    """The lowest and the highest value that a generator can emit at each place, [C, ...]; infinite without a bound."""

    low: Tensor
    high: Tensor


class OutOfReach(NamedTuple):
    """Real values that a generator cannot emit, in the channel (or coordinate) with the most of them.

    Attributes:
        share: Their share of the channel's values.
        channel: The index of the channel.
        low: The lowest value that the generator can emit at their places.
        high: The highest one.
        real_low: The lowest real value at their places.
        real_high: The highest one.
    """

    share: float
    channel: int
    low: float
    high: float
    real_low: float
    real_high: float

    @property
    def metrics(self) -> dict[str, float]:
        """The attributes for a row of the log, without infinite ones."""
        return {f"leak/{name}": value for name, value in self._asdict().items() if math.isfinite(value)}

    def describe(self, points: bool) -> str:
        """The leak in words, with its fix."""
        emits = f"{self.low:.3g} to {self.high:.3g}" if self.low < self.high else f"only {self.low:.3g}"
        where = f"coordinate {self.channel}" if points else f"channel {self.channel}"
        return (
            f"{self.share:.0%} of the data's values in {where} are in {self.real_low:.3g} to {self.real_high:.3g}, "
            f"but the generator can emit {emits}; end the generator with {POINTS_END if points else IMAGES_END}"
        )


def emitted(generator: nn.Module, make: Callable[[nn.Module], Tensor]) -> Bounds:
    """The bounds of a generator's last activation: what it can emit with any weights.

    In a copy, each layer with weights outputs huge noise. If the network's outputs then stay on their lowest or highest
    value, an activation after the layers bounds them: tanh on both sides, ReLU below. A place that the noise does not
    reach, such as padding, has its constant value as both bounds. An activation inside of a layer with weights is not
    found, unless the network is that one layer.

    Args:
        generator: The network, which stays unchanged, like the random state.
        make: Returns a few hundred samples [n, C, ...] of a network.

    Raises:
        UserError: The samples have fewer than two axes.
    """
    copied = copy.deepcopy(generator)
    rng = torch.Generator().manual_seed(0)

    def loud(module: nn.Module, given: object, output: object) -> Tensor | None:
        if isinstance(output, Tensor) and output.is_floating_point():
            return HUGE * torch.randn(output.shape, generator=rng).to(output)
        return None  # indices and tuples stay unchanged

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
        raise UserError(
            f"the generator outputs samples of shape {list(made.shape)}; they must be [n, ...]: samples[:, None]"
        )
    low, high = made.amin(0), made.amax(0)
    if bool((low == high).all()):  # the noise reached no output, as in a network with zero weights
        return Bounds(torch.full_like(low, -torch.inf), torch.full_like(high, torch.inf))
    on_low = (made <= low + NEAR).double().mean(0) >= ON_BOUND
    on_high = (made >= high - NEAR).double().mean(0) >= ON_BOUND
    return Bounds(low.masked_fill(~on_low, -torch.inf), high.masked_fill(~on_high, torch.inf))


def _is_layer(module: nn.Module) -> bool:
    """The module has weights of its own, and none of its parts has."""
    inner = [each for each in module.modules() if next(each.parameters(recurse=False), None) is not None]
    return inner == [module]


def out_of_reach(bounds: Bounds, real: Tensor) -> OutOfReach | None:
    """The leak by range, if more than 1 % of a channel's real values are clearly out of bounds.

    Clearly means by a tenth of the data's range or of four standard deviations, whichever is smaller: tanh never quite
    reaches -1.

    Args:
        bounds: What the generator can emit.
        real: Samples [n, C, ...] in the networks' units.

    Raises:
        UserError: The samples have another shape than the bounds.
    """
    if real.shape[1:] != bounds.low.shape:
        raise UserError(
            f"real samples have shape {list(real.shape[1:])}, but the generator outputs {list(bounds.low.shape)}; "
            "choose a generator for the shape of the data"
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


def leak_by_range(game: Game, inputs: Batch, real: Tensor) -> OutOfReach | None:
    """The leak by range of a game, if there is one; training does not change the result.

    Args:
        game: The game.
        inputs: A few hundred inputs that the game's task draws.
        real: Real samples as in `out_of_reach`.
    """
    network = game.generator.network
    batch = {name: tensor.to(next(network.parameters()).device) for name, tensor in inputs.items()}
    return out_of_reach(emitted(network, lambda copied: game.task.generate(copied, batch)["fake"]), real)


def repairs(real: Tensor) -> dict[str, Repair]:
    """Functions that repair dataset artifacts in generated samples, by name; only those that this data can have.

    - `range` clips values to the range of the real ones per channel or coordinate, and stretches images whose values
      span a slightly narrower range.
    - `rounding` moves values to the nearest real one; for points only where values repeat.
    - `channel` overwrites channels or coordinates in which all real samples have the same value.
    - `border` overwrites places of other channels at which all real samples have the same value, such as padding.

    Args:
        real: Images [n, C, H, W] that were bytes, or points [n, D], in the networks' units.
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
    """Each channel's lowest and highest value [1, C, ...], without the share `cut` of values at either end."""
    values = samples.float().transpose(0, 1).flatten(1)
    shape = (1, -1, *[1] * (samples.dim() - 2))
    rank = 1 + int(cut * (values.shape[1] - 1))
    low, high = values.kthvalue(rank, 1).values, values.kthvalue(values.shape[1] + 1 - rank, 1).values
    return low.view(shape), high.view(shape)


def _fitted(whole: Span, inner: Span, fake: Tensor) -> Tensor:
    """Samples clipped to the real ones' whole span, after images are stretched to the span without outliers."""
    if fake.dim() == 4:
        low, high = _span(fake, OUTLIERS)
        factor = (inner[1] - inner[0]).to(fake) / (high - low).clamp_min(1e-12)
        little = (factor > 1) & (factor < STRETCHED)  # beyond that, more than the range differs
        fake = torch.where(little, (fake - low) * factor + inner[0].to(fake), fake)
    return fake.clamp(whole[0].to(fake), whole[1].to(fake))


def _overwritten(where: Tensor, value: Tensor, fake: Tensor) -> Tensor:
    return torch.where(where.to(fake.device), value.to(fake), fake)


def _levels(real: Tensor) -> list[Tensor] | None:
    """The values that occur, ascending: of all channels or of each coordinate; None where they hardly repeat."""
    if real.dim() == 4:
        counts = ((real + 1) / LEVEL).round().long().flatten().bincount(minlength=256)
        return [counts.nonzero().flatten() * LEVEL - 1]
    each = [column.unique() for column in real.T]
    return each if all(len(levels) <= REPEATED * len(real) for levels in each) else None


def _snapped(levels: list[Tensor], fake: Tensor) -> Tensor:
    """Each value moved to the nearest level."""
    found = []
    for column, own in zip([fake] if len(levels) == 1 else fake.unbind(1), levels):
        own = own.to(column)
        found.append(own[torch.bucketize(column.contiguous(), (own[1:] + own[:-1]) / 2)])
    return found[0] if len(levels) == 1 else torch.stack(found, 1)
