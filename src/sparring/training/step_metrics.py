"""The metrics of a log row, from the turns of a step."""

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
    """The metrics of a step, by name; while no adversarial term is active, those that need one are missing.

    | name | meaning |
    | --- | --- |
    | `loss/SIDE` | adversarial loss, before its weight; comparable with the loss's equilibrium value |
    | `term/SIDE/NAME` | every other term of the side's loss |
    | `gradient/SIDE` | gradient norm, before clipping |
    | `learning_rate/SIDE` | learning rate of this step |
    | `logit/real`, `logit/fake` | mean logits of D |
    | `accuracy` | share of samples that D classifies correctly |
    """
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
    # mean over critics, whose logits have different scales
    row["accuracy"] = sum(accuracy(game.loss, real, fake) for real, fake in logits.values()) / len(logits)
    for component in game.stateful.values():
        row |= component.readings()
    return row


def accuracy(loss: Loss, real: Tensor, fake: Tensor) -> float:
    """The share that the discriminator classifies correctly, in [0, 1]; 0.5 is guessing.

    It counts samples on the right side of the loss's undecided logit. Wasserstein and relativistic losses have none;
    for them it counts (real, fake) pairs with the higher logit on the real sample.
    """
    if loss.undecided is None:
        signs, pairs = signs_of(real, fake, None)
        return (1 + signs / pairs) / 2
    return torch.cat([real > loss.undecided, fake <= loss.undecided]).float().mean().item()
