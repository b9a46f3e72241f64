"""Do players, data, augmentation and penalties fit together? Told before there is a run."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sparring.base.errors import UserError
from sparring.data.samples import Data
from sparring.game.game import Game, kept_buffers
from sparring.game.match import Match, Moment
from sparring.game.penalties import AuxiliaryClassifier, MutualInformation
from sparring.game.penalties.base import Penalty, Term


def check_fit(game: Game, data: Data, device: torch.device, count: int) -> None:
    """Raise UserError unless players, data, augmentation and penalties fit together, on a batch of `count` samples."""
    drawn = game.task.prepare({**data.batch(torch.arange(count) % len(data)), **game.task.draw(count)})
    batch = {name: tensor.to(device) for name, tensor in drawn.items()}
    with torch.no_grad(), kept_buffers(game.generator.network, game.discriminator.network):
        made = game.task.generate(game.generator.network, batch)
        for match in game.matches(batch, made, Moment()).values():
            if match.fake.shape != match.real.shape:
                made_shape, shape = list(match.fake.shape[1:]), list(match.real.shape[1:])
                said = f"the generator makes samples of shape {made_shape}, the data's is {shape}"
                raise UserError(f"{said}; choose a generator that fits")
            if count % match.pack:
                fits = count // match.pack * match.pack or match.pack
                said = f"batches of {count} samples cannot be cut into packs of {match.pack}"
                raise UserError(f"{said}; choose a batch_size that can, such as {fits}")
            _check_heads(match, game.penalties)
            for penalty in game.penalties:
                if isinstance(penalty, Penalty) and not penalty.differentiates:
                    penalty(match, penalty.sides[0])


def _check_heads(match: Match, penalties: Sequence[Term]) -> None:
    """Raise UserError if the discriminator does not take the samples, or tells what no penalty teaches it."""
    said = match.real_output
    taught = {type(penalty) for penalty in penalties}
    if said.classes is not None and AuxiliaryClassifier not in taught:
        raise UserError(
            "condition='classifier' needs the penalty AuxiliaryClassifier(), or nothing tells the generator of classes"
        )
    if match.code is not None and MutualInformation not in taught:
        raise UserError("codes need the penalty MutualInformation(), or the generator may ignore them")
