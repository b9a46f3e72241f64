"""The order of training samples: a new permutation in each epoch, reproducible from any position."""

from __future__ import annotations

import torch
from torch import Tensor

from sparring.base.seeds import derive_seed


class Sampler:
    """Shuffles `count` samples; the permutation of an epoch depends only on the seed and the number of the epoch."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.int64)

    def take(self, start: int, count: int) -> Tensor:
        """Indices of `count` samples from position `start` of all concatenated epochs: int64 [count]."""
        parts = []
        while count:
            epoch, offset = divmod(start, self.count)
            part = self._permutation(epoch)[offset : offset + count]
            parts.append(part)
            start, count = start + len(part), count - len(part)
        return torch.cat(parts)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            rng = torch.Generator().manual_seed(derive_seed(self.seed, "epoch", epoch))
            self._epoch, self._order = epoch, torch.randperm(self.count, generator=rng)
        return self._order
