"""Components with state, which checkpoints hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from sparring.game.losses import Loss

# logits of real and generated samples, flat and detached, by match
Logits = Mapping[str, tuple[Tensor, Tensor]]


class Stateful(ABC):
    """A component with state. Only `observe` changes it, so updates that `Unrolled` simulates leave it unchanged.

    Attributes:
        memory: small tensors on the CPU, by name; checkpoints save and restore them.
    """

    memory: dict[str, Tensor]

    @abstractmethod
    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Mapping[str, Tensor]] = ()) -> None:
        """Update the state; the game calls this once after each turn of the discriminator.

        Args:
            logits: logits of all micro-batches, by match. Different critics have no common scale.
            loss: adversarial loss of the turn.
            samples: real samples in the turn. A sample may have several logits (patches) or share one (packs).
            made: generated images that the discriminator received, one entry for each micro-batch.
        """

    def readings(self) -> dict[str, float]:
        """Metrics for the log, by name."""
        return {}
