"""Results of a turn: terms with their graphs, and what remains after the backward pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from sparring.base.device import widest_float
from sparring.base.workers import workers
from sparring.game.match import Images, Match, Side, Terms
from sparring.game.memory import Logits


@dataclass
class Outcome:
    """One player's terms on one batch, with their graphs, generated images and matches.

    The player minimises the sum of the terms. After the backward pass, keep only `detached`.
    """

    terms: Terms
    made: Images
    matches: dict[str, Match]

    def detached(self, side: Side, made: bool) -> MicroBatch:
        """The result without graphs. Logits are kept for the discriminator only: the generator may have none."""
        judged = self.matches if side == "discriminator" else {}
        return MicroBatch(
            terms={name: value.detach() for name, value in self.terms.items()},
            matches=tuple(self.matches),
            logits={name: (_flat(match.real_logits), _flat(match.fake_logits)) for name, match in judged.items()},
            samples=sum(len(match.real) * match.pack for match in self.matches.values() if not match.repeated),
            made={name: images.detach() for name, images in self.made.items()} if made else {},
        )


@dataclass
class MicroBatch:
    """Result of a micro-batch, kept until the turn ends: terms, detached logits, and images for stateful components."""

    terms: Terms
    matches: tuple[str, ...]
    logits: Logits
    samples: int
    made: Images


@dataclass
class Turn:
    """Result of one turn, without graphs. Its values are scalars on the device; reading one waits for the device.

    Attributes:
        terms: terms of the player's objective, averaged over micro-batches.
        gradient_norm: norm of the gradient before clipping.
        matches: names of the matches.
        logits: logits of all micro-batches; of the discriminator only.
        samples: number of real samples.
        weight: weight of the adversarial loss among the terms.
    """

    terms: Terms
    gradient_norm: Tensor
    matches: tuple[str, ...] = ()
    logits: Logits = field(default_factory=dict)
    samples: int = 0
    weight: float = 1.0

    def over_workers(self) -> Turn:
        """The turn with the terms averaged over all workers, and the logits of all of them."""
        if not workers().several:
            return self
        wide, gathered = widest_float(self.gradient_norm.device), workers().gathered
        terms = torch.stack([*self.terms.values()]).to(wide) if self.terms else torch.empty(0)
        workers().average_([terms])
        logits = {name: (gathered(real), gathered(fake)) for name, (real, fake) in self.logits.items()}
        return replace(self, terms=dict(zip(self.terms, terms)), logits=logits)


def _flat(logits: Tensor) -> Tensor:
    return logits.detach().flatten()
