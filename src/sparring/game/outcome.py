"""What turns give: the terms of a batch while its graphs live, and the numbers that stay."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from sparring.game.match import Images, Match, Side, Terms
from sparring.game.memory import Logits


@dataclass
class Outcome:
    """What one batch gave one player: the scalars whose sum it minimises, and what they were computed from, with their
    graphs. No longer needed after the backward pass, but for `kept`."""

    terms: Terms
    made: Images
    matches: dict[str, Match]

    def kept(self, side: Side, made: bool) -> Kept:
        """What the turn needs of it, without graphs; the generator's turn needs no logits, and may not have any."""
        judged = self.matches if side == "discriminator" else {}
        return Kept(
            terms={name: value.item() for name, value in self.terms.items()},
            matches=tuple(self.matches),
            logits={name: (_flat(match.real_logits), _flat(match.fake_logits)) for name, match in judged.items()},
            samples=sum(len(match.real) * match.pack for match in self.matches.values() if not match.again),
            made={name: images.detach() for name, images in self.made.items()} if made else {},
        )


@dataclass
class Kept:
    """What is kept of a micro-batch until the turn ends: numbers, detached logits, and images for who observes them."""

    terms: dict[str, float]
    matches: tuple[str, ...]
    logits: Logits
    samples: int
    made: Images


@dataclass
class Turn:
    """One turn that was taken. It holds no graph.

    Attributes:
        terms: what the player minimised, averaged over micro-batches.
        gradient_norm: before clipping.
        matches: the names of the matches.
        logits: the discriminator's, of all micro-batches, by match; of the generator's turn none.
        samples: how many real samples were judged.
        weight: the weight that the adversarial term had among the terms.
    """

    terms: dict[str, float]
    gradient_norm: float
    matches: tuple[str, ...] = ()
    logits: Logits = field(default_factory=dict)
    samples: int = 0
    weight: float = 1.0

    @property
    def loss(self) -> float:
        return sum(self.terms.values())


def _flat(logits: Tensor) -> Tensor:
    return logits.detach().flatten()
