"""Turn rules: the order of the players' updates within one step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from sparring.base.device import widest_float
from sparring.base.errors import UserError
from sparring.base.fields import Limited, flag, number
from sparring.base.workers import workers
from sparring.game.game import Game, NextBatches
from sparring.game.match import Batch, Moment, Side
from sparring.game.optimizers import uncompiled
from sparring.game.outcome import Outcome, Turn

__all__ = ["Alternating", "Simultaneous", "Unrolled"]


@runtime_checkable
class Checked(Protocol):
    """A turn rule that does not fit every game."""

    def check(self, game: Game) -> None:
        """Raise UserError if this game cannot use the rule."""


@dataclass(frozen=True)
class Alternating(Limited):
    """Alternating turns: `n_critic` updates of the discriminator, then one of the generator, each on a fresh batch.

    The default. While the weight of the adversarial loss is 0, only the generator is updated.

    Attributes:
        n_critic: updates of the discriminator per step; from 1. Wasserstein losses use 5; with an unpenalised D, more
            than 1 leads to vanishing gradients.
        reuse: the generator's turn has the batch and the generated images of the discriminator's last turn, which the
            updated discriminator judges again. This saves one forward pass of the generator. The generator's
            activations stay in memory during that turn of D. With several micro-batches it runs again on the same
            latents, with other dropout.

    Source: Goodfellow et al. 2014, algorithm 1 (k = n_critic); with `reuse`, the loops of DCGAN (Radford et al. 2016)
    and pix2pix (Isola et al. 2017).
    """

    n_critic: int = number(1, low=1)
    reuse: bool = flag(False)

    def __call__(self, game: Game, next_batches: NextBatches, moment: Moment) -> dict[Side, Turn]:
        turns: dict[Side, Turn] = {}
        if not game.adversarial_active(moment):
            return {"generator": game.take_turn("generator", next_batches(), moment)}
        for _ in range(self.n_critic - self.reuse):
            turns["discriminator"] = game.take_turn("discriminator", next_batches(), moment)
        if self.reuse:
            return game.take_turns_on_same_images(next_batches(), moment)
        turns["generator"] = game.take_turn("generator", next_batches(), moment)
        return turns


@dataclass(frozen=True)
class Simultaneous:
    """Simultaneous turns: both gradients are computed at the same parameters; then both optimisers step.

    This equals the usual notebook loop, where D trains on the images generated before G's step. It shares images and
    logits, so it saves one forward pass of each network compared with `Alternating`. UserError: the task has an image
    history (`Cycle(history=50)`).

    Source: Mescheder et al. 2017, algorithm 1.
    """

    def check(self, game: Game) -> None:
        if game.task.stateful is not None:
            raise UserError(
                "Simultaneous() cannot use a history of generated images; write history=0 in the task, or Alternating()"
            )

    def __call__(self, game: Game, next_batches: NextBatches, moment: Moment) -> dict[Side, Turn]:
        self.check(game)
        turns = game.accumulate_both(next_batches(), moment)
        for side in turns:
            game.update(side, moment)
        return turns


@dataclass(frozen=True)
class Unrolled(Limited):
    """Unrolled GAN: the generator minimises its loss against D after `depth` further updates of D.

    Use it against mode collapse. The gradient passes through those updates, which are differentiable steps of D's
    optimiser (SGD, Adam or AdamW with its current moments) on a copy of D, all on the generator's batch. D itself takes
    one ordinary step first. The cost is `depth` + 1 times D's work, with second derivatives.

    Each micro-batch is unrolled separately, so the gradient differs slightly from that of one batch. Several workers
    unroll their whole batch together. The copy of Adam
    divides by at least 1e-6: the slope of an update is the inverse of this divisor, and a product of `depth` slopes of
    1 / eps = 1e8 would exceed fp32. UserError: another optimiser of D, `WeightClip`, or gradient clipping.

    Attributes:
        depth: updates of D to look ahead; from 0 (none).

    Source: Metz et al. 2017, equations 7 to 9.
    """

    depth: int = number(5, low=0)

    def check(self, game: Game) -> None:
        if game.constraints or game.clip_gradients:
            raise UserError("Unrolled() can differentiate neither WeightClip nor clip_gradients; leave them out")
        _update_of(game.discriminator.optimizer)

    def __call__(self, game: Game, next_batches: NextBatches, moment: Moment) -> dict[Side, Turn]:
        self.check(game)
        if not game.adversarial_active(moment):
            return Alternating()(game, next_batches, moment)  # no discriminator to unroll
        discriminator = game.take_turn("discriminator", next_batches(), moment)
        generator = game.take_turn("generator", next_batches(), moment, partial(self._outcome, game))
        return {"discriminator": discriminator, "generator": generator}

    def _outcome(self, game: Game, batch: Batch, moment: Moment) -> Outcome:
        game = replace(game, autocast=nullcontext)  # second derivatives need fp32
        network = game.discriminator.network
        made = game.task.generate(game.generator.network, batch)
        weights = {name: p.detach().requires_grad_() for name, p in network.named_parameters()}
        update = differentiable_update(game.discriminator.optimizer, network)
        for ahead in range(1, self.depth + 1):  # D has taken this step's turn already
            later = replace(moment, step=moment.step + ahead)
            outcome = call_with(network, weights, game.discriminator_outcome, batch, later, made)
            total = torch.stack(list(outcome.terms.values())).sum()
            gradients = torch.autograd.grad(total, list(weights.values()), create_graph=True, materialize_grads=True)
            weights = update(weights, dict(zip(weights, workers().mean_of(gradients))))
        final: Outcome = call_with(network, weights, game.generator_outcome, batch, moment, made)
        return final


class _WithWeights(nn.Module):
    """A function as a module, so that `functional_call` can replace the parameters of the network it uses."""

    def __init__(self, network: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.function = function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def call_with(network: nn.Module, weights: Mapping[str, Tensor], function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function(*arguments)` while `network` has these `weights`; gradients flow to them."""
    named = {f"network.{name}": weight for name, weight in weights.items()}
    return functional_call(_WithWeights(network, function), named, arguments)


SMALLEST_ROOT = 1e-6  # smallest divisor of the differentiable Adam

Update = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], "dict[str, Tensor]"]


def differentiable_update(optimizer: torch.optim.Optimizer, network: nn.Module) -> Update:
    """The optimiser's next steps as a differentiable function (weights, gradients) -> weights."""
    return _update_of(optimizer)(optimizer, network)


def _update_of(optimizer: torch.optim.Optimizer) -> Callable[[torch.optim.Optimizer, nn.Module], Update]:
    kind = type(optimizer)
    if kind not in _UPDATES:
        allowed = ", ".join(dict.fromkeys(k.__name__ for k in _UPDATES))
        raise UserError(f"Unrolled() cannot differentiate {kind.__name__}; discriminator_optimizer may be: {allowed}")
    return _UPDATES[kind]


def _sgd_update(optimizer: torch.optim.Optimizer, network: nn.Module) -> Update:
    group = optimizer.param_groups[0]
    lr, momentum, decay = group["lr"], group["momentum"], group["weight_decay"]
    velocity = {name: optimizer.state[p].get("momentum_buffer") for name, p in network.named_parameters()}

    def update(weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        new = {}
        for name, weight in weights.items():
            gradient = gradients[name] + decay * weight
            before = velocity[name]
            velocity[name] = gradient if before is None else momentum * before + gradient
            new[name] = weight - lr * (velocity[name] if momentum else gradient)
        return new

    return update


def _adam_update(optimizer: torch.optim.Optimizer, network: nn.Module) -> Update:
    group = optimizer.param_groups[0]
    lr, (beta1, beta2), eps = group["lr"], group["betas"], group["eps"]
    decoupled = isinstance(optimizer, torch.optim.AdamW)
    moments = {}
    for name, p in network.named_parameters():
        state = optimizer.state[p]
        zero = torch.zeros_like(p)
        mean, square = (state.get(name, zero).clone() for name in ("exp_avg", "exp_avg_sq"))
        moments[name] = mean, square, _steps(state.get("step"))

    def update(weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
        new = {}
        for name, weight in weights.items():
            mean, square, step = moments[name]
            decay = group["weight_decay"] * weight
            gradient = gradients[name] if decoupled else gradients[name] + decay
            mean, square = torch.lerp(gradient, mean, beta1), torch.lerp(gradient.square(), square, beta2)
            step = step + 1  # a new tensor: the old one may be the optimiser's own
            moments[name] = (mean, square, step)
            # eps inside the root: at 0, the root's derivative is infinite
            root = (square / _correction(beta2, step) + eps**2).clamp(min=SMALLEST_ROOT**2).sqrt()
            new[name] = weight - lr * (mean / _correction(beta1, step) / root + (decay if decoupled else 0.0))
        return new

    return update


def _steps(saved: Tensor | None) -> int | Tensor:
    """Steps taken by an optimiser; fused ones count on the device, where the count is not read."""
    if saved is None:
        return 0
    return int(saved) if saved.device.type == "cpu" else saved.to(widest_float(saved.device))


def _correction(beta: float, step: int | Tensor) -> float | Tensor:
    """Adam's correction `1 - beta^step` of a moment's bias."""
    if isinstance(step, Tensor):
        return -torch.expm1(step * math.log(beta)) if beta else 1.0
    return 1.0 - beta**step


_UPDATES: dict[type, Callable[[torch.optim.Optimizer, nn.Module], Update]] = {
    torch.optim.SGD: _sgd_update,
    torch.optim.Adam: _adam_update,
    torch.optim.AdamW: _adam_update,
}
_UPDATES |= {uncompiled(kind): update for kind, update in _UPDATES.items()}
