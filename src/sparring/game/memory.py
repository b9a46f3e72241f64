"""Components with numbers that change while they are used, and that therefore belong into checkpoints."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import Tensor

from sparring.game.losses import Loss


class Remembers(ABC):
    """A component with a memory: small tensors on the CPU, by name, which a resumed run gets back.

    The memory is read wherever the component is used, and changed in `observe` alone, which a game calls once after
    each of the discriminator's turns. So a turn that is only looked ahead to (an unroll) changes nothing.
    """

    memory: dict[str, Tensor]

    @abstractmethod
    def observe(
        self, real: Tensor, fake: Tensor, loss: Loss, samples: int, made: Sequence[Mapping[str, Tensor]] = ()
    ) -> None:
        """Take note of the turn that the discriminator took.

        Args:
            real, fake: its logits, detached, of all micro-batches.
            loss: what it minimised.
            samples: how many real samples it saw, each of which may have several logits, or share one with others of
                its pack.
            made: what it was shown of the generator's, one entry a micro-batch.
        """

    def readings(self) -> dict[str, float]:
        """What the log shows of it."""
        return {}
