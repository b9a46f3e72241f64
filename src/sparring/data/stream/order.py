"""The endless order in which a worker reads the samples of shards."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import torch

from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.sources.source import Item
from sparring.data.stream.counts import Counts
from sparring.data.stream.shards import Shard, read_shard


@dataclass(frozen=True)
class Order:
    """The samples of shards in the order in which one of several workers reads them, before they are shuffled.

    Each epoch has a random order of shards, which depends on the seed and the number of the epoch alone. With at least
    as many shards as workers, a worker reads every n-th shard of that order; otherwise it reads all shards, and takes
    every n-th sample.

    Attributes:
        shards: all shards.
        counts: their numbers of samples.
        seed: the seed of the run.
        rank: the number of this worker, from 0.
        workers: their number.
    """

    shards: tuple[Shard, ...]
    counts: Counts
    seed: int
    rank: int
    workers: int

    def __post_init__(self) -> None:
        assert 0 <= self.rank < self.workers

    @property
    def first(self) -> int:
        """The first sample of an epoch that this worker takes from the shards that it reads."""
        return self.rank if len(self.shards) < self.workers else 0

    @property
    def step(self) -> int:
        """From one of its samples to the next."""
        return self.workers if len(self.shards) < self.workers else 1

    def part(self, epoch: int) -> list[Shard]:
        """The shards that this worker reads in an epoch, in order."""
        rng = torch.Generator().manual_seed(derive_seed(self.seed, "shards", epoch))
        order = torch.randperm(len(self.shards), generator=rng).tolist()
        return [self.shards[i] for i in (order if self.step > 1 else order[self.rank :: self.workers])]

    def locate(self, position: int) -> tuple[int, int]:
        """The epoch of a position of this worker's endless order, and the position within it, from 0.

        Shards before it whose number of samples is unknown are read without decoding.
        """
        if position == 0:
            return 0, 0
        for epoch in count():
            end = 0
            for shard in self.part(epoch):
                end += self.counts.count(shard)
                if self.first + self.step * position < end:
                    return epoch, position
            length = len(range(self.first, end, self.step))
            self.check(length)
            position -= length
        raise AssertionError

    def check(self, length: int) -> None:
        """Raise UserError if an epoch of this length shows that this worker never gets a sample."""
        if not length and self.step > 1:
            few = f"worker {self.rank} of {self.workers} gets no sample of {len(self.shards):,} shards"
            raise UserError(f"{few}; use fewer workers or more samples")

    def read(self, epoch: int, start: int) -> Iterator[Item]:
        """Yield this worker's samples of an epoch from number `start` on.

        Shards before it whose number of samples is known are not opened, others are read without decoding.
        """
        begin, first = 0, self.first + self.step * start  # of the shard, and of the samples, within the epoch
        for shard in self.part(epoch):
            skip = first - begin if first >= begin else (first - begin) % self.step
            known = self.counts.get(shard)
            if known is None or skip < known:
                wanted = range(skip, sys.maxsize, self.step)
                number = 0
                for item in read_shard(shard, wanted.__contains__):
                    number += 1
                    if item is not None:
                        yield item
                self.counts.record(shard, number)
                known = number
            begin += known
