"""Check that players, data, augmentation and penalties fit together, before a run directory is created."""

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
    """Check that players, data, augmentation and penalties fit together, on a batch of `count` samples.

    Raises:
        UserError: they do not.
    """
    drawn = game.task.prepare({**data.batch(torch.arange(count) % len(data)), **game.task.draw(count)})
    batch = {name: tensor.to(device) for name, tensor in drawn.items()}
    with torch.no_grad(), kept_buffers(game.generator.network, game.discriminator.network):
        made = game.task.generate(game.generator.network, batch)
        for match in game.matches(batch, made, Moment()).values():
            if match.fake.shape != match.real.shape:
                made_shape, shape = list(match.fake.shape[1:]), list(match.real.shape[1:])
                shapes = f"the generator's samples have shape {made_shape}, the data {shape}"
                raise UserError(f"{shapes}; choose a generator that fits")
            if count % match.pack:
                fits = count // match.pack * match.pack or match.pack
                given = f"batches of {count} samples cannot be cut into packs of {match.pack}"
                raise UserError(f"{given}; choose a multiple of {match.pack} as batch_size, such as {fits}")
            _check_heads(match, game.penalties)
            for penalty in game.penalties:
                if isinstance(penalty, Penalty) and not penalty.differentiates:
                    penalty(match, penalty.sides[0])


def _check_heads(match: Match, penalties: Sequence[Term]) -> None:
    """Raise UserError if the discriminator does not take the samples, or no penalty trains one of its heads."""
    output = match.real_output
    trained = {type(penalty) for penalty in penalties}
    if output.classes is not None and AuxiliaryClassifier not in trained:
        raise UserError(
            "condition='classifier' needs the penalty AuxiliaryClassifier(), which trains the class output; add it to "
            "--penalties"
        )
    if match.code is not None and MutualInformation not in trained:
        raise UserError("codes need the penalty MutualInformation(), which trains G to use them; add it to --penalties")
