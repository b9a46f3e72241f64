"""Components with numbers that change while they are used, and that therefore belong into checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from sparring.game.losses import Loss

# the logits of real and of generated samples, flat and detached, by the name of their match
Logits = Mapping[str, tuple[Tensor, Tensor]]


class Remembers(ABC):
    """A component with a memory: small tensors on the CPU, by name, which a resumed run gets back. The memory is read
    wherever the component is used, and changed in `observe` alone, which a game calls once after each of the
    discriminator's turns. So a turn that is only looked ahead to (an unroll) changes nothing."""

    memory: dict[str, Tensor]

    @abstractmethod
    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Mapping[str, Tensor]] = ()) -> None:
        """Take note of the turn that the discriminator took: of its logits of all micro-batches, by match (those of
        different critics share no scale), of the loss that it minimised, of how many real samples it saw (each may have
        several logits, or share one with others of its pack), and of what it was shown of the generator's, one entry a
        micro-batch."""

    def readings(self) -> dict[str, float]:
        """What the log shows of it."""
        return {}
