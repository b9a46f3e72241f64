"""A stream: training samples in shards, which are read and decoded while training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, islice

import numpy as np
import torch
from torch import Tensor

from sparring.base.errors import UserError
from sparring.base.seeds import derive_seed
from sparring.data.form import Form
from sparring.data.sources.decode import NotDecodedError, Target
from sparring.data.sources.reading import check_broken
from sparring.data.sources.records import Record, Result, Side, decoded_ahead
from sparring.data.sources.source import Source
from sparring.data.store.pixels import Pixel
from sparring.data.stream.counts import Counts
from sparring.data.stream.names import file_name
from sparring.data.stream.order import Order
from sparring.data.stream.reader import Block, Reader
from sparring.data.stream.shards import Shard

LIST_CLASSES = "list all classes, one a line, in a file classes.txt beside the shards, and start a new run"
SAMPLES, BYTES = 2048, 256 << 20  # limits of a block; changing them changes the order of all streams


@dataclass(frozen=True)
class Stream:
    """Training samples in shards.

    Attributes:
        name: the name as the user wrote it.
        shards: the shards.
        form: the form of a sample.
        target: the size that images are resized to, and the method.
        numbered: labels are numbers of the form's classes; otherwise they are their names.
        complete: the set that the stream belongs to holds all of its samples.
        spare: a batch of one sample in stored form, for a block of which no sample can be decoded.
    """

    name: str
    shards: tuple[Shard, ...]
    form: Form
    target: Target
    numbered: bool
    complete: bool
    spare: dict[str, Tensor] = field(repr=False, compare=False)

    @property
    def block(self) -> int:
        """The number of samples that are shuffled together: 2,048, or as many as 256 MiB hold."""
        return min(SAMPLES, max(1, BYTES // math.prod(self.form.shape)))

    @cached_property
    def identity(self) -> str:
        """Text that is equal for equal shards, wherever they are: the names of the files, or the commands."""
        return "\n".join(file_name(shard.name) for shard in self.shards)

    def reader(self, seed: int, rank: int = 0, workers: int = 1) -> Reader:
        """The sequence of training samples of one of several workers, which share the samples of each epoch.

        Args:
            seed: the seed of the run.
            rank: the number of the worker, from 0.
            workers: their number.
        """
        order = Order(self.shards, Counts(self.shards), seed, rank, workers)
        return Reader(partial(self._blocks, order), order, self.block)

    def _blocks(self, order: Order, epoch: int, number: int) -> Iterator[Block]:
        """Yield all blocks from block `number` of an epoch on, endlessly."""
        side = Side(target=self.target, channels=self.form.shape[0])
        while True:
            source = Source(self.name, "", partial(order.read, epoch, number * self.block))
            results = (result for _, result in decoded_ahead(source, [side], self.target))
            while (first := next(results, None)) is not None:
                seed = derive_seed(order.seed, "shuffle", order.rank, epoch, number)
                yield self._block(chain((first,), results), seed)
                number += 1
            order.check(number)
            epoch, number = epoch + 1, 0

    def _block(self, results: Iterator[Result], seed: int) -> Block:
        """The next samples, shuffled."""
        real = np.empty((self.block, *self.form.shape), np.uint8)  # pages that are not written take no memory
        labels = np.zeros(self.block, np.int64)
        readable, left_out = list[bool](), list[str]()
        for row, result in enumerate(islice(results, self.block)):
            if isinstance(result, UserError):
                raise result
            if isinstance(result, NotDecodedError):
                left_out.append(str(result))
            else:
                real[row], labels[row] = self._pixels(result), self._label(result)
            readable.append(not isinstance(result, NotDecodedError))
        if len(readable) == self.block:
            check_broken(self.name, left_out, self.block - len(left_out))
        if not any(readable):
            real[0], labels[0] = self.spare["real"][0], self.spare.get("label", torch.zeros(1))[0]
            readable[0] = True
        stored = torch.from_numpy(labels) if self.form.classes else None
        return Block(torch.from_numpy(real), stored, _shuffled(torch.tensor(readable), seed), tuple(left_out))

    def _pixels(self, record: Record) -> Pixel:
        (pixels,) = record.images
        if pixels.shape != self.form.shape:
            (width, height), (_, high, wide) = record.sizes[0], self.form.shape
            differs = f"{record.name} is {width}x{height}, and the first samples are {wide}x{high}"
            raise UserError(f"{differs}; add --size {wide}x{high} to resize all of them, and start a new run")
        return pixels

    def _label(self, record: Record) -> int:
        """The class of a sample, 0 without classes."""
        classes, label = self.form.classes, record.label
        if not classes:
            return 0
        if label is None:
            raise UserError(f"{record.name} has no label, and the first samples have one; label all samples or none")
        number = label if self.numbered and isinstance(label, int) else self._numbers.get(str(label), -1)
        if not 0 <= number < len(classes):
            wrong = f"the label {label!r}, none of the {len(classes):,} classes"
            raise UserError(f"{record.name} has {wrong}; correct it, or {LIST_CLASSES}")
        return number

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.form.classes)}


def _shuffled(readable: Tensor, seed: int) -> Tensor:
    """The rows of a block in random order; readable ones, drawn at random, stand in for those that are not."""
    rng = torch.Generator().manual_seed(seed)
    rows, good = torch.arange(len(readable)), readable.nonzero()[:, 0]
    missing = len(rows) - len(good)
    if missing:
        rows[~readable] = good[torch.randint(len(good), (missing,), generator=rng)]
    return rows[torch.randperm(len(rows), generator=rng)]
