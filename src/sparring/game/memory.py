"""Components with state, which checkpoints hold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from sparring.base.device import widest_float
from sparring.game.losses import Loss

# logits of real and generated samples, flat and detached, by match
Logits = Mapping[str, tuple[Tensor, Tensor]]


class Stateful(ABC):
    """A component with state. Only `observe` changes it, so updates that `Unrolled` simulates leave it unchanged.

    Attributes:
        memory: small tensors by name; checkpoints save and restore them. Counters are on the CPU. Values computed from
            samples or logits are on their device, so that `observe` does not wait for it.
        counters: names of the counters in `memory`.
    """

    memory: dict[str, Tensor]
    counters: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def observe(self, logits: Logits, loss: Loss, samples: int, made: Sequence[Mapping[str, Tensor]] = ()) -> None:
        """Update the state; the game calls this once after each turn of the discriminator.

        Args:
            logits: logits of all micro-batches, by match. Different critics have no common scale.
            loss: adversarial loss of the turn.
            samples: real samples in the turn. A sample may have several logits (patches) or share one (packs).
            made: generated images that the discriminator received, one entry for each micro-batch.
        """

    def restore(self, saved: Mapping[str, Tensor], device: torch.device) -> None:
        """Take over the memory from a checkpoint, for networks on this device."""
        wide = widest_float(device)
        for name, tensor in saved.items():
            dtype = wide if tensor.dtype == torch.float64 else tensor.dtype
            self.memory[name] = tensor if name in self.counters else tensor.to(device, dtype)

    def readings(self) -> dict[str, float]:
        """Metrics for the log, by name; on an accelerator, this waits for the device."""
        return {}
