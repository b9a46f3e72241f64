"""Numbers that a log row holds, read from the turns of a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from sparring.game.augment.adaptive import signs_of
from sparring.game.game import Game
from sparring.game.losses import Loss
from sparring.game.outcome import Turn


def turn_metrics(game: Game, turns: Mapping[Any, Turn]) -> dict[str, float]:
    """Losses and terms of both players, gradient norms (before clipping), logits and D's accuracy. `loss/...` is the
    adversarial term alone, before its weight, which has a line of equilibrium; `term/...` lists the other terms. Where
    there is no adversary now, what is about it is left out."""
    row: dict[str, float] = {}
    for side, turn in turns.items():
        losses = [turn.terms[name] for name in turn.matches if name in turn.terms]
        if losses:
            row[f"loss/{side}"] = sum(losses) / len(losses) / turn.weight
        row |= {f"term/{side}/{n}": value for n, value in turn.terms.items() if n not in turn.matches}
        row[f"gradient/{side}"] = turn.gradient_norm
        row[f"learning_rate/{side}"] = game.player(side).optimizer.param_groups[0]["lr"]
    if "discriminator" not in turns or not turns["discriminator"].matches:
        return row
    logits = turns["discriminator"].logits
    for name, tensors in zip(("real", "fake"), zip(*logits.values())):
        row[f"logit/{name}"] = torch.cat(tensors).mean().item()
    # the mean over critics: logits of different critics share no scale
    row["accuracy"] = sum(accuracy(game.loss, real, fake) for real, fake in logits.values()) / len(logits)
    for component in game.stateful.values():
        row |= component.readings()
    return row


def accuracy(loss: Loss, real: Tensor, fake: Tensor) -> float:
    """The share that the discriminator gets right; 0.5 is guessing. Of single samples, against the undecided logit; for
    losses that know only differences, of all pairs of a real and a fake sample."""
    if loss.undecided is None:
        signs, pairs = signs_of(real, fake, None)
        return (1 + signs / pairs) / 2
    return torch.cat([real > loss.undecided, fake <= loss.undecided]).float().mean().item()
