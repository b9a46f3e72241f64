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
    """One turn that was taken. It holds no graph."""

    terms: dict[str, float]  # what the player minimised, averaged over micro-batches
    gradient_norm: float  # before clipping
    matches: tuple[str, ...] = ()  # their names
    logits: Logits = field(default_factory=dict)  # the discriminator's, of all micro-batches
    samples: int = 0  # real ones that were judged
    weight: float = 1.0  # that the adversarial term had among the terms

    @property
    def loss(self) -> float:
        return sum(self.terms.values())


def _flat(logits: Tensor) -> Tensor:
    return logits.detach().flatten()
