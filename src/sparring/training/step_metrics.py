"""The metrics of a log row, from the turns of a step."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from sparring.base.device import widest_float
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

    Of several workers, terms are averaged and all logits count; all workers call this. Nothing else in a step reads
    values from the device.

    Raises:
        NotFiniteError: a deferred check failed; see `FiniteChecks`.
    """
    game.checks.read()
    turns = {side: turn.over_workers() for side, turn in turns.items()}
    scalars: dict[tuple[str, ...], Tensor] = {}
    for side, turn in turns.items():
        scalars |= {("term", side, name): value for name, value in turn.terms.items()}
        scalars["gradient", side] = turn.gradient_norm
    logits = turns["discriminator"].logits if "discriminator" in turns else {}
    for name, tensors in zip(("real", "fake"), zip(*logits.values())):
        scalars["logit", name] = torch.cat(tensors).mean()
    scalars |= {("accuracy", name): accuracy(game.loss, real, fake) for name, (real, fake) in logits.items()}
    values = numbers(scalars)
    row: dict[str, float] = {}
    for side, turn in turns.items():
        losses = [values["term", side, name] for name in turn.matches if name in turn.terms]
        if losses:
            row[f"loss/{side}"] = sum(losses) / len(losses) / turn.weight
        row |= {f"term/{side}/{n}": values["term", side, n] for n in turn.terms if n not in turn.matches}
        row[f"gradient/{side}"] = values["gradient", side]
        row[f"learning_rate/{side}"] = game.player(side).optimizer.param_groups[0]["lr"]
    if not logits:
        return row
    row |= {f"logit/{name}": values["logit", name] for name in ("real", "fake")}
    # mean over critics, whose logits have different scales
    row["accuracy"] = sum(values["accuracy", name] for name in logits) / len(logits)
    for component in game.stateful.values():
        row |= component.readings()
    return row


Key = TypeVar("Key", bound=Hashable)


def numbers(scalars: Mapping[Key, Tensor]) -> dict[Key, float]:
    """The values of scalars as numbers; those on an accelerator are read in one transfer."""
    devices = {scalar.device for scalar in scalars.values()}
    found: dict[Key, float] = {}
    for device in devices:
        here = {key: scalar.to(widest_float(device)) for key, scalar in scalars.items() if scalar.device == device}
        found |= zip(here, torch.stack(list(here.values())).tolist())
    return found


def accuracy(loss: Loss, real: Tensor, fake: Tensor) -> Tensor:
    """The share that the discriminator classifies correctly, in [0, 1], as a scalar; 0.5 is guessing.

    It counts samples on the right side of the loss's undecided logit. Wasserstein and relativistic losses have none;
    for them it counts (real, fake) pairs with the higher logit on the real sample.
    """
    if loss.undecided is None:
        signs, pairs = signs_of(real, fake, None)
        return (1 + signs.to(widest_float(signs.device)) / pairs) / 2
    return torch.cat([real > loss.undecided, fake <= loss.undecided]).float().mean()
